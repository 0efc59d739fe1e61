"""Time the embedding of a session of real size, its opening and its trial features, beside the plain ways.

Run with ``python benchmarks/bench_session.py``. Every figure is taken in a process of its own, the ways in turn, and
the best of the repeats counts: on a machine that does other work as well, ratios hold within one run. All files were
read before, so that both sides find them in memory; imports and numba's compiler do not count.

The floor of embedding is ``np.load`` of each FOV's whole signal, and writing it with zarr-python in the same codec and
chunks, and in one of the best layouts without shards. The original's features load every FOV whole, stack them, and
loop over targets and trials. ``--layouts`` compares codecs and chunks on one FOV of each kind of activity.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import xarray as xr  # noqa: E402
import zarr  # noqa: E402
from numcodecs import Blosc, Zstd  # noqa: E402
from zarr.codecs import BloscCodec, Crc32cCodec  # noqa: E402

from mesodask import load_or_embed, simulate_subject  # noqa: E402
from mesodask import sessions as session_stores  # noqa: E402
from mesodask.features import session_features  # noqa: E402
from mesodask.io.shards import LEVEL, ROWS_A_FILE  # noqa: E402
from mesodask.numerics.windows import windowed_means  # noqa: E402
from mesodask.simulate import SimulatedSubject  # noqa: E402
from mesodask.simulate.recipe import REAL_FOV_SIZES, REAL_N_FRAMES, REAL_N_TRIALS  # noqa: E402
from mesodask.targets import TARGETS  # noqa: E402

SIGNAL = "mpci.ROIActivityDeconvolved.npy"
N_TRACKED = 3000
N_WORKERS = 2
FULL = {"rois_per_fov": REAL_FOV_SIZES, "n_frames": REAL_N_FRAMES, "n_trials": REAL_N_TRIALS}
SMALL = {"rois_per_fov": (1000, 1500), "n_frames": 4000, "n_trials": 100}


def fov_folders(subject: SimulatedSubject) -> list[Path]:
    return sorted(subject.session_folder(subject.eids[0]).glob("alf/FOV_*"))


def tracked_rows(n_rois: int) -> np.ndarray:
    """Draw rows, as far apart as the neurons found on all days."""
    return np.sort(np.random.default_rng(0).choice(n_rois, n_rois * N_TRACKED // sum(REAL_FOV_SIZES), replace=False))


def store_path(subject: SimulatedSubject) -> Path:
    return subject.one_dir / "meso" / "data" / f"{subject.eids[0]}.zarr"


def peak_memory() -> float:
    """Return the peak of this process's memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cost(run: Callable[[], object]) -> dict[str, float]:
    """Return seconds, those of processors that this process used, and its peak of memory."""
    before = time.process_time()
    took = seconds(run)
    return {"s": took, "cpu": time.process_time() - before, "MB": peak_memory()}


# what is measured, each in a process of its own ---------------------------------------------------------------


def floor(subject: SimulatedSubject, *, sharded: bool) -> dict[str, float]:
    """Load every FOV whole and write it; the same codec, in the same chunks or 64 rows a chunk and file."""
    target = subject.folder / "floor.zarr"

    def run() -> None:
        group = zarr.open_group(str(target), mode="w")
        for folder in fov_folders(subject):
            signal = np.load(folder / SIGNAL).T
            chunks = {"shards": (ROWS_A_FILE, signal.shape[1]), "chunks": (1, signal.shape[1])}
            blosc = BloscCodec(cname="lz4", clevel=LEVEL, shuffle="noshuffle", typesize=4)
            group.create_array(
                folder.name, shape=signal.shape, dtype="float32", compressors=[blosc, Crc32cCodec()],
                **(chunks if sharded else {"chunks": (64, signal.shape[1])}),
            )[...] = signal  # fmt: skip

    result = cost(run)
    shutil.rmtree(target)
    return result


def embed_here(subject: SimulatedSubject) -> dict[str, float]:
    def run() -> None:
        load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False, rerun=True)

    return cost(run)


def embed_on_workers(subject: SimulatedSubject) -> dict[str, float]:
    """Do the same on workers that are there already; the peak is the largest of any process."""
    from mesodask.compute.cluster import local_client

    with local_client(N_WORKERS) as client:
        took = seconds(
            lambda: load_or_embed(
                subject.eids[0], one=subject.one_dir, rastermap=False, rerun=True, client=client
            )
        )  # fmt: skip
        return {"s": took, "MB": max(peak_memory(), *client.run(peak_memory).values())}


def features(subject: SimulatedSubject) -> dict[str, float]:
    windowed_means(np.zeros((1, 3), np.float32), [0.0, 1.0, 2.0], [1.0], (0.0, 0.5))
    xr.backends.list_engines()  # imports them

    def run() -> None:
        session = session_stores.open_session(store_path(subject))
        session_features(session, tracked_rows(session.sizes["roi"]), list(TARGETS))

    before = peak_memory()
    return cost(run) | {"before": before}


def original_features(subject: SimulatedSubject) -> dict[str, float]:
    """Compute windowed means by the first FOV's frames, as the scripts did."""
    trials = pd.read_parquet(next(subject.session_folder(subject.eids[0]).glob("alf/task_00/*trials.table.pqt")))

    def run() -> None:
        folders = fov_folders(subject)
        signal = np.vstack([np.load(folder / SIGNAL).T for folder in folders])
        times = np.load(folders[0] / "mpci.times.npy")
        rows = tracked_rows(len(signal))
        for target in TARGETS.values():
            means = []
            for event in trials[target.event].to_numpy():
                frames = np.flatnonzero((times >= event + target.window[0]) & (times <= event + target.window[1]))
                if len(frames):
                    means.append(signal[np.ix_(rows, frames)].mean(axis=1))
            X = np.array(means)
            X = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-12)

    return cost(run)


def opening(subject: SimulatedSubject) -> dict[str, float]:
    """Open the store for the first time in a process, and again."""
    xr.backends.list_engines()

    def run() -> None:
        session_stores.open_session(store_path(subject))

    return cost(run) | {"again": seconds(run)}


MEASURES: dict[str, Callable[[SimulatedSubject], dict[str, float]]] = {
    "floor": lambda subject: floor(subject, sharded=True),
    "floor, 64 rows a chunk": lambda subject: floor(subject, sharded=False),
    "embed": embed_here,
    "embed on workers": embed_on_workers,
    "original features": original_features,
    "features": features,
    "open": opening,
}


def measure(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", __file__, "--dir", str(folder), "--measure", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


# layouts ------------------------------------------------------------------------------------------------------


def layouts(folder: Path) -> None:
    """Print size and speed of codecs and chunks: of compressing, and of reading the rows of tracked neurons."""
    candidates = {"zstd 1": Zstd(1, checksum=True), "zstd 3": Zstd(3, checksum=True)}
    for name in ("lz4", "zstd"):
        for shuffle, word in ((Blosc.NOSHUFFLE, ""), (Blosc.SHUFFLE, " shuffled"), (Blosc.BITSHUFFLE, " bit-shuffled")):
            candidates[f"blosc {name}{word}"] = Blosc(
                name, clevel=5 if name == "lz4" else 1, shuffle=shuffle, typesize=4
            )
    for name in (SIGNAL, "mpci.ROIActivityF.npy"):
        signal = np.ascontiguousarray(np.load(folder / name, mmap_mode="r").T[:512])
        print(f"\n{name}, {np.mean(signal == 0):.0%} zeros, {signal.nbytes / 1e6:.0f} MB; one thread")
        print(f"{'codec':<22} {'rows x frames':>14} {'size':>6} {'compressed':>11} {'tracked rows':>13}")
        tracked = tracked_rows(len(signal))
        for label, codec in candidates.items():
            for n_rows, n_columns in ((1, signal.shape[1]), (16, signal.shape[1]), (64, signal.shape[1]), (64, 4096)):
                starts = range(0, len(signal), n_rows)
                chunks = {
                    i: [np.ascontiguousarray(signal[i : i + n_rows, j : j + n_columns])
                        for j in range(0, signal.shape[1], n_columns)]
                    for i in starts
                }  # fmt: skip
                begin = time.perf_counter()
                packed = {i: [codec.encode(chunk) for chunk in row] for i, row in chunks.items()}
                rate = signal.nbytes / 1e6 / (time.perf_counter() - begin)
                share = sum(len(part) for row in packed.values() for part in row) / signal.nbytes
                touched = sorted(set((tracked // n_rows * n_rows).tolist()))
                took = min(seconds(lambda: [codec.decode(p) for i in touched for p in packed[i]]) for _ in range(3))  # noqa: B023
                print(
                    f"{label:<22} {f'{n_rows} x {n_columns}':>14} {share:>6.0%} {rate:>6.0f} MB/s "
                    f"{1e6 * took / len(tracked):>6.0f} us a row"
                )


# the report ---------------------------------------------------------------------------------------------------


def folder_size(folder: Path, pattern: str) -> tuple[float, int]:
    files = [path for path in folder.glob(pattern) if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6, len(files)


def read_once(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                while stream.read(1 << 24):
                    pass


def report(subject: SimulatedSubject, repeats: int) -> None:
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in MEASURES}
    measure("embed", subject.folder)  # what is to be opened must be there
    read_once(subject.one_dir)
    for number in range(repeats):
        for name, found in measured.items():
            found.append(measure(name, subject.folder))
            print(f"{number + 1}  {name:<24} {found[-1]['s']:>8.2f} s   peak {found[-1]['MB']:>6.0f} MB", flush=True)
    best = {name: min(found, key=lambda one: one["s"]) for name, found in measured.items()}
    print("\nbest of all, largest peak")
    for name, one in best.items():
        peak = max(found["MB"] for found in measured[name])
        cpu = min((found["cpu"] for found in measured[name] if "cpu" in found), default=float("nan"))
        print(f"{name:<26} {one['s']:>8.2f} s {cpu:>8.2f} of a processor   peak {peak:>6.0f} MB")
    print(f"{'open, again':<26} {min(one['again'] for one in measured['open']):>8.3f} s")
    floor_s, original_s = best["floor"]["s"], best["original features"]["s"]
    print(f"\nembedding takes {best['embed']['s'] / floor_s:.2f} of the floor, "
          f"{best['embed']['s'] / best['floor, 64 rows a chunk']['s']:.2f} of the one with 64 rows a chunk, "
          f"{best['embed on workers']['s'] / floor_s:.2f} on {N_WORKERS} workers")  # fmt: skip
    print(f"features are {original_s / best['features']['s']:.1f} times as fast as the original's way; "
          f"of their peak, {best['features']['before']:.0f} MB are Python and its imports")  # fmt: skip
    alf, _ = folder_size(subject.session_folder(subject.eids[0]), f"alf/FOV_*/{SIGNAL}")
    store, n_files = folder_size(store_path(subject), "**/*")
    print(f"the store has {store:.0f} MB in {n_files} files; the ALF arrays of the signal {alf:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="keep the simulated session here, or find it here")
    parser.add_argument("--small", action="store_true", help="a session of 2 500 ROIs, to try it out")
    parser.add_argument("--layouts", action="store_true", help="compare codecs and chunks, and nothing else")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURES[options.measure](SimulatedSubject.open(options.dir))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        size = SMALL if options.small else FULL
        subject = simulate_subject(options.dir or temporary, n_days=1, signals=("deconvolved", "fluorescence"), **size)
        print(f"{sum(size['rois_per_fov'])} ROIs in {len(size['rois_per_fov'])} FOVs, {size['n_frames']} frames, "
              f"{size['n_trials']} trials; {os.cpu_count()} cores; Python {sys.version.split()[0]}, "
              f"NumPy {np.__version__}, Zarr {zarr.__version__}")  # fmt: skip
        if options.layouts:
            layouts(fov_folders(subject)[0])
        else:
            report(subject, options.repeats)


if __name__ == "__main__":
    main()
