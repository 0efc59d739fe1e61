"""Run a whole analysis of a subject at true size, and tell where time and memory go, stage by stage.

Run with ``python benchmarks/bench_subject.py``; it takes about 12 GB of disk and half an hour on two cores. Every stage
is asked for on top of those before it, which are then only opened. Memory is that of this process and all below it, as
the sum of what each has for itself (unique set size), sampled twice a second (a look costs 20 ms).
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import psutil  # noqa: E402

from mesodask import simulate_subject  # noqa: E402
from mesodask.simulate.recipe import REAL_FOV_SIZES, REAL_N_FRAMES, REAL_N_TRIALS  # noqa: E402
from mesodask.workflow import read_analysis, run_analysis  # noqa: E402

FULL = {"rois_per_fov": REAL_FOV_SIZES, "n_frames": REAL_N_FRAMES, "n_trials": REAL_N_TRIALS}
SMALL = {"rois_per_fov": (300, 400), "n_frames": 4000, "n_trials": 200}
# block after block of an analysis file, with all defaults but what a series of three days asks
BLOCKS = {
    "embed": "embed:\n",
    "ndc": "ndc:\n",
    "pairs": "pairs:\n",
    "cross_session": "cross_session:\n  min_sessions: 3\n  min_k_shared: 100\n  min_trials: 0\n",
    "sparseness": "sparseness:\n",
    "figures": "figures:\n",
    "report": "report:\n",
}


class Peak(threading.Thread):
    """Samples the memory of this process and its children until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        me = psutil.Process()
        while not self._stop_asked.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().uss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)

    def stop(self) -> float:
        """Return the peak, GiB."""
        self._stop_asked.set()
        self.join()
        return self.bytes / 2**30


def analysis_file(folder: Path, subject: str, n_stages: int, memory: str) -> Path:
    path = folder / f"{n_stages}.yaml"
    places = "data:\n  one: one\n  cache_dir: cache\n  roicat_root: chronic_csv\n"
    stages = "".join(list(BLOCKS.values())[:n_stages])
    path.write_text(f"{places}  subject: {subject}\n{stages}cluster:\n  workers: 2\n  memory: {memory}\n")
    return path


def measure(folder: Path, subject: str, memory: str) -> None:
    print(f"{'stage':<16}{'s':>8}{'peak GiB':>10}{'disk GB':>10}")
    whole = 0.0
    for n_stages, name in enumerate(BLOCKS, start=1):
        peak = Peak()
        peak.start()
        result = run_analysis(read_analysis(analysis_file(folder, subject, n_stages, memory)))
        highest = peak.stop()
        stage = result.stages[name]
        disk = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file()) / 1e9
        whole += stage.seconds
        print(f"{name:<16}{stage.seconds:>8.1f}{highest:>10.2f}{disk:>10.2f}  {stage.error or ''}", flush=True)
    begun = time.monotonic()
    run_analysis(read_analysis(folder / f"{len(BLOCKS)}.yaml"))
    print(f"{'sum':<16}{whole:>8.1f}\n{'once more':<16}{time.monotonic() - begun:>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a subject of two minutes instead")
    parser.add_argument("--memory", default="3GiB", help="of each of the two workers")
    parser.add_argument(
        "--folder", type=Path, help="where the subject and all stores go, and stay; else they are removed"
    )
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    try:
        begun = time.monotonic()
        size = SMALL if arguments.small else FULL
        subject = simulate_subject(folder, n_days=arguments.days, signals=("deconvolved",), **size)
        print(f"simulated in {time.monotonic() - begun:.0f} s: {arguments.days} sessions")
        measure(folder, subject.subject, arguments.memory)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
