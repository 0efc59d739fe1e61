"""Time the matching of neurons across days, from files on disk, and the choice of sessions.

Run with ``python benchmarks/bench_tracking.py``; it sets one thread itself, and writes its files into a temporary
folder. The neurons are those of a slowly moving plane of imaging: each lies at a depth, is there for some weeks, and is
found the more rarely the farther the day's plane is off. ``--highs`` also solves a small case with SciPy's
mixed-integer solver, for which the exact search is the alternative.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from scipy import sparse  # noqa: E402
from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: E402

from mesodask import track_neurons, tracking_table  # noqa: E402
from mesodask.io.alf import write_one_tables  # noqa: E402
from mesodask.io.fov import CELL_FILE, REGION_FILES  # noqa: E402
from mesodask.io.roicat import CLUSTER_FILE  # noqa: E402
from mesodask.numerics.subsets import exact_subsets, greedy_subsets  # noqa: E402
from mesodask.simulate.neurons import draw_uuids  # noqa: E402
from mesodask.simulate.recipe import REAL_FOV_SIZES  # noqa: E402

N_FILES, N_SESSIONS, N_UIDS = 20, 40, 25_000
N_ROIS = sum(REAL_FOV_SIZES)
LIFE = 100.0  # mean days that a neuron is to be seen
JITTER = 0.2  # of the plane on each day, in units of its thickness
WALK, STILL = 0.12, 0.02  # how far it moves from one day to the next
Result = TypeVar("Result")


def drifting_presence(n_sessions: int, n_uids: int, seed: int = 0, walk: float = WALK) -> np.ndarray:
    """Simulate who is found when: (n_sessions, n_neurons) bool, at most `n_uids` a session."""
    rng = np.random.default_rng(seed)
    plane = np.cumsum(rng.normal(0, walk, n_sessions)) + rng.normal(0, JITTER, n_sessions)
    n_neurons = 12 * n_uids
    depth = rng.uniform(plane.min() - 1, plane.max() + 1, n_neurons)
    first = rng.uniform(-3 * LIFE, n_sessions, n_neurons)
    last = first + rng.exponential(LIFE, n_neurons)
    found_if_in_plane = rng.beta(8, 1, n_neurons)
    presence = np.zeros((n_sessions, n_neurons), dtype=bool)
    for day in range(n_sessions):
        chance = found_if_in_plane * np.exp(-2 * (depth - plane[day]) ** 2) * (first <= day) * (day < last)
        seen = np.flatnonzero(rng.random(n_neurons) < chance)
        presence[day, rng.permutation(seen)[:n_uids]] = True
    return presence[:, presence.any(axis=0)]


def write_sessions(folder: Path, seed: int = 0) -> list[str]:
    """Write what tracking reads of N_FILES sessions of a real one's size; give their eids."""
    rng = np.random.default_rng(seed)
    presence = drifting_presence(N_FILES, N_ROIS * 9 // 10, seed, STILL)
    uids = draw_uuids(presence.shape[1], rng)
    for day, present in enumerate(presence):
        seen = uids[present]
        rows = np.full(N_ROIS, "", dtype=object)
        rows[rng.permutation(N_ROIS)[: len(seen)]] = seen
        session = Path("S1") / f"2025-01-{day + 1:02d}" / "001" / "alf"
        first = 0
        for fov, n_rois in enumerate(REAL_FOV_SIZES):
            alf = folder / "one" / "lab" / "Subjects" / session / f"FOV_{fov:02d}"
            tree = folder / "ROICaT" / session / f"FOV_{fov:02d}"
            alf.mkdir(parents=True)
            tree.mkdir(parents=True)
            np.save(alf / CELL_FILE, (rng.random(n_rois) < 0.95).astype(np.int16))
            np.save(alf / REGION_FILES["estimate"], rng.choice([385, 993], n_rois))
            (tree / CLUSTER_FILE).write_text("\n".join(rows[first : first + n_rois]) + "\n")
            first += n_rois
    return write_one_tables(folder / "one")


def peak_memory() -> float:
    """Return the peak of the process's memory so far, in MB."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def timed(name: str, run: Callable[[], Result]) -> Result:
    before, start = peak_memory(), time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    print(f"{name:<58} {seconds:>7.2f} s {max(0.0, peak_memory() - before):>6.0f} MB more at peak")
    return result


def match_files() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        eids = write_sessions(folder)
        where = {"one": folder / "one", "roicat_root": folder}
        size = f"{N_FILES} sessions x {N_ROIS} ROIs"
        tracked = timed(f"track_neurons, {size}", lambda: track_neurons(eids, **where))
        timed("  again, of one region", lambda: track_neurons(eids, neurons="VISp", **where))
        table = timed("  tracking_table", lambda: tracking_table("S1", **where))
        pairs = table["shared"].values[np.triu_indices(N_FILES, 1)]
        print(f"  {tracked.sizes['neuron']} neurons in all sessions, {pairs.min()} to {pairs.max()} in two of them")


def choose_sessions(time_limit: float) -> None:
    presence = drifting_presence(N_SESSIONS, N_UIDS)
    counts = presence.sum(axis=1)
    print(f"\n{N_SESSIONS} sessions with {counts.min()} to {counts.max()} UIDs, {presence.shape[1]} in all")
    greedy = timed("greedy, all sizes", lambda: greedy_subsets(presence, range(1, N_SESSIONS + 1)))
    sizes = range(5, 11)
    exact = timed(
        f"exact, sizes 5 to 10, at most {time_limit:g} s",
        lambda: exact_subsets(presence, sizes, time_limit=time_limit),
    )
    print(f"{'size':>6} {'greedy':>8} {'exact':>8} {'gap':>8}")
    for row, size in enumerate(sizes):
        n, gap = exact.n_shared[row], exact.bound[row] - exact.n_shared[row]
        print(f"{size:>6} {greedy.n_shared[size - 1]:>8} {n:>8} {gap:>8}")


def solve_with_highs(presence: np.ndarray, size: int) -> float:
    """Maximise the sum over patterns p of weight_p y_p, with y_p <= 1 - x_s for each session s that p lacks.

    x_s is 1 for the `size` sessions of the subset.
    """
    patterns, weight = np.unique(presence[:, presence.sum(axis=0) >= size], axis=1, return_counts=True)
    n_sessions, n_patterns = patterns.shape
    session, pattern = np.nonzero(~patterns)
    row = np.arange(len(session))
    lacks = sparse.csr_matrix(
        (np.ones(2 * len(row)), (np.r_[row, row], np.r_[session, n_sessions + pattern])),
        shape=(len(row), n_sessions + n_patterns),
    )
    chosen = sparse.csr_matrix(np.r_[np.ones(n_sessions), np.zeros(n_patterns)][None])
    result = milp(
        np.r_[np.zeros(n_sessions), -weight],
        constraints=[LinearConstraint(lacks, -np.inf, 1), LinearConstraint(chosen, size, size)],
        integrality=np.r_[np.ones(n_sessions), np.zeros(n_patterns)],
        bounds=Bounds(0, 1),
    )
    return -result.fun


def compare_with_highs() -> None:
    presence = drifting_presence(12, 300)
    print(f"\n12 sessions, {presence.shape[1]} UIDs, size 5")
    found = timed("exact", lambda: exact_subsets(presence, [5]))
    highs = timed("HiGHS", lambda: solve_with_highs(presence, 5))
    print(f"  {found.n_shared[0]} and {highs:.0f} neurons shared")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=40.0, help="seconds of the exact search")
    parser.add_argument("--highs", action="store_true", help="solve a small case with HiGHS, too")
    options = parser.parse_args()
    match_files()
    choose_sessions(options.time_limit)
    if options.highs:
        compare_with_highs()


if __name__ == "__main__":
    main()
