"""Time the figures of a session of real size, and their memory: 25 608 ROIs x 19 569 frames.

Run with ``python benchmarks/bench_figures.py``. Every figure is drawn and saved in a process of its own, whose peak of
memory is told, too; before each, what Python and its imports take. The store was read before, so that its files are in
memory; numba's compiler does not count. ``--dir`` keeps the session, or finds it there (bench_session.py makes the
same).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402
from bench_session import FULL, SMALL, peak_memory, store_path  # noqa: E402

from mesodask import load_or_embed, plot_raster, plot_xyz, simulate_subject  # noqa: E402
from mesodask.embedding.raster_order import store_order  # noqa: E402
from mesodask.population_sparseness import NEURONS_A_TASK  # noqa: E402
from mesodask.sessions import open_session  # noqa: E402
from mesodask.simulate import SimulatedSubject  # noqa: E402
from mesodask.sparseness_parts import compute_part, timing_of  # noqa: E402


def sparseness_task(session: xr.Dataset, _: Path) -> None:
    """One task of mesodask.sparseness; seven of them are a session."""
    rows = np.arange(min(NEURONS_A_TASK, session.sizes["roi"]))
    timing = timing_of(session, rows, "hold")
    compute_part(session.encoding["source"], rows, timing, True, "hold")


EVENTS = ("stimulus", "movement", "feedback")
FIGURES: dict[str, Callable[[xr.Dataset, Path], object]] = {
    "raster, one minute": lambda session, file: plot_raster(session, save=file, events=EVENTS),
    "raster, whole session": lambda session, file: plot_raster(session, save=file, interval="session"),
    "raster, firing rate": lambda session, file: plot_raster(session, save=file, interval="session", bg="firing_rate"),
    "raster, 1000 rows": lambda session, file: plot_raster(
        session, save=file, rows=np.arange(0, session.sizes["roi"], max(1, session.sizes["roi"] // 1000))
    ),
    "cells, 3-D": lambda session, file: plot_xyz(session, save=file),
    "cells, top view": lambda session, file: plot_xyz(session, save=file, view="top", color="order"),
    "sparseness, one task": sparseness_task,
}


def measure(name: str, folder: Path) -> dict[str, float]:
    """Draw one figure in this process: seconds, those of processors, and peaks of memory in MB."""
    session = open_session(store_path(SimulatedSubject.open(folder)))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "figure.png"
        plot_raster(session, rows=[0], save=file, dpi=20)  # compiles and imports
        before, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
        FIGURES[name](session, file)
        return {"s": time.perf_counter() - start, "cpu": time.process_time() - cpu, "MB": peak_memory(),
                "before": before}  # fmt: skip


def measured_apart(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, "--dir", str(folder), "--measure", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(subject: SimulatedSubject) -> None:
    session = load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False)
    # any order draws as fast as Rastermap's, which bench_order.py times
    store_order(store_path(subject), np.random.default_rng(0).permutation(session.sizes["roi"]))
    print(f"{session.sizes['roi']} ROIs x {session.sizes['time']} frames; {os.cpu_count()} cores\n")
    print(f"{'figure':<24} {'time':>9} {'processor':>10} {'peak':>9} {'imports':>9}")
    for name in FIGURES:
        one = measured_apart(name, subject.folder)
        print(f"{name:<24} {one['s']:>7.2f} s {one['cpu']:>8.2f} s {one['MB']:>6.0f} MB {one['before']:>6.0f} MB",
              flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="keep the simulated session here, or find it here")
    parser.add_argument("--small", action="store_true", help="a session of 2 500 ROIs, to try it out")
    parser.add_argument("--measure", choices=FIGURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.dir)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        size = SMALL if options.small else FULL
        report(simulate_subject(options.dir or temporary, n_days=1, signals=("deconvolved",), **size))


if __name__ == "__main__":
    main()
