"""Time the Rastermap order, with peak memory, and hold it against the direct way and planted truth.

Run with ``python benchmarks/bench_order.py``; it sets one thread itself. ``--full`` simulates a session of a real one's
size in a temporary folder (a minute, 5 GB) and sorts it; ``--store`` sorts a session store that is there already, and
writes nothing.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from mesodask import load_or_embed, simulate_subject  # noqa: E402
from mesodask.embedding.raster_order import compute_order  # noqa: E402
from mesodask.numerics.order import PARAMETERS, rastermap_order  # noqa: E402
from mesodask.simulate.recipe import REAL_FOV_SIZES  # noqa: E402

N_ROIS, N_FRAMES = 800, 5000
REAL_FRAMES, REAL_TRIALS = 19_569, 522


def planted_sequences(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Simulate sweeps along a line of ROIs, over sparse noise, (N_ROIS, N_FRAMES) float32; give the line, too."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(N_ROIS) / N_ROIS
    signal = rng.exponential(size=(N_ROIS, N_FRAMES)) * (rng.random((N_ROIS, N_FRAMES)) < 0.1)
    front = np.arange(30) / 30
    for onset in rng.integers(0, N_FRAMES - 30, N_FRAMES // 60):
        bump = 2 * np.exp(-0.5 * ((place[:, None] - front) / 0.04) ** 2)
        signal[:, onset : onset + 30] += bump * (rng.random(bump.shape) < 0.5)
    return signal.astype(np.float32), np.argsort(place)


def direct_order(signal: np.ndarray) -> np.ndarray:
    """Sort with Rastermap on the whole matrix; ROIs in the same place stay in the order of their rows."""
    from rastermap import Rastermap

    model = Rastermap(**PARAMETERS, verbose=False).fit(signal, compute_X_embedding=False)
    return np.argsort(model.embedding[:, 0], kind="stable")


def blockwise_order(signal: np.ndarray) -> np.ndarray:
    return rastermap_order(signal.__getitem__, np.arange(len(signal)), len(signal)).isort


def timed(sort: Callable[[np.ndarray], np.ndarray], signal: np.ndarray) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    return sort(signal), time.perf_counter() - start


def shared_neighbours(one: np.ndarray, other: np.ndarray, reach: int = 10) -> float:
    """Share of the pairs at most `reach` places apart in one order that are so in the other, too."""
    near = [np.abs(np.subtract.outer(p, p)) <= reach for p in (np.argsort(one), np.argsort(other))]
    pairs = ~np.eye(len(one), dtype=bool)
    return float((near[0] & near[1] & pairs).sum() / (near[0] & pairs).sum())


def compare() -> None:
    signal, truth = planted_sequences()
    blockwise_order(signal[:20, :100])  # what is compiled at first use
    blockwise, seconds = timed(blockwise_order, signal)
    direct, direct_seconds = timed(direct_order, signal)
    print(f"{N_ROIS} ROIs x {N_FRAMES} frames: {seconds:.1f} s in blocks, {direct_seconds:.1f} s directly")
    print(f"{'':<24} {'rank correlation':>18} {'neighbours in common':>22}")
    for name, one, other in (
        ("blocks and direct", blockwise, direct),
        ("blocks and truth", blockwise, truth),
        ("direct and truth", direct, truth),
    ):
        rho = abs(spearmanr(np.argsort(one), np.argsort(other))[0])
        print(f"{name:<24} {rho:>18.4f} {shared_neighbours(one, other):>22.3f}")


def sort_store(path: Path, rows: str) -> None:
    """Sort a session store in this process, and print time and peak memory of the process."""
    start = time.perf_counter()
    found = compute_order(path, "neurons" if rows == "neurons" else "all")
    seconds = time.perf_counter() - start
    unit = 1e9 if sys.platform == "darwin" else 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"{rows} of {len(found.isort)} ROIs: {seconds:.0f} s, {peak:.2f} GB at peak {found.reason}")


def sort_full() -> None:
    with tempfile.TemporaryDirectory() as name:
        subject = simulate_subject(
            name,
            n_days=1,
            rois_per_fov=REAL_FOV_SIZES,
            n_frames=REAL_FRAMES,
            n_trials=REAL_TRIALS,
            signals=("deconvolved",),
        )
        session = load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False)
        for rows in ("all", "neurons"):  # each in a process of its own: the peak of simulating is not that of sorting
            command = [sys.executable, __file__, "--store", session.encoding["source"], "--rows", rows]
            subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="simulate and sort a session of full size, too")
    parser.add_argument("--store", type=Path, help="sort this session store and nothing else")
    parser.add_argument("--rows", choices=["all", "neurons"], default="all")
    options = parser.parse_args()
    if options.store:
        sort_store(options.store, options.rows)
        return
    compare()
    if options.full:
        sort_full()


if __name__ == "__main__":
    main()
