"""What a run would cost, from counts alone: tasks, core hours, memory, and the size of its store.

A few scores of simulated populations of the same size are timed on this machine; the plan is then enumerated, block
after block, as it would be for the run itself. Nothing is written.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mesodask.curves.plan import (
    Extent,
    Pace,
    Piece,
    cost_of,
    cut_blocks,
    fresh_pieces,
    grain_of,
    resample_chunk_of,
)
from mesodask.curves.scores import score_by_decoder, score_subset
from mesodask.io.target_store import shuffle_chunk_of
from mesodask.numerics import seeds
from mesodask.runs.cost import (
    COPIES,
    FEATURES_COMPRESSED,
    FILES_PER_FEATURES,
    FILES_PER_RUN,
    FILES_PER_TARGET,
    HOURS_TO_WAIT,
    WORKER_BYTES,
    RunCost,
)
from mesodask.runs.features import NULL_BATCH, whole_batches
from mesodask.settings import NdcSettings

CALIBRATION_SECONDS = 3.0  # about what is spent on timing scores
FEATURES_IN_MEMORY = 4  # sets of features that a worker keeps
COMPRESSED = 0.9  # size of stored scores against plain ones: few bits repeat
TASKS_PER_WORKER = 20  # but no more than can be kept busy


@dataclass(frozen=True)
class Load:
    """What is asked of one session and target.

    Attributes
    ----------
    target : str
        What is decoded.
    n_trials, n_neurons : int
        Trials decoded, and neurons to draw from.
    extent : Extent
        What is asked for.
    missing : callable() -> iterable of Piece, optional
        Gives what is missing of it; by default everything is.
    """

    target: str
    n_trials: int
    n_neurons: int
    extent: Extent
    missing: Callable[[], Iterable[Piece]] | None = None

    def pieces(self) -> Iterable[Piece]:
        """Give what has to be computed."""
        return fresh_pieces(self.extent) if self.missing is None else self.missing()


def plan_of_loads(loads: Iterable[Load], pace: Pace, decoder: Any = None) -> Iterator[tuple[Load, tuple[Piece, ...]]]:
    """Enumerate lazily the blocks of a plan that is not run."""
    grain = grain_of(decoder, resample_chunk_of(decoder))
    for load in loads:
        cost = partial(cost_of, pace=pace, target=load.target, n_trials=load.n_trials)
        for block in cut_blocks(load.pieces(), cost, grain):
            yield load, block


def estimate(
    loads: Sequence[Load],
    settings: NdcSettings,
    decoder: Any = None,
    notes: Sequence[str] = (),
    *,
    n_runs: int = 1,
    pace: Pace | None = None,
) -> RunCost:
    """Estimate the cost of some loads, of one run or of several with the same settings.

    Parameters
    ----------
    loads : sequence of Load
        What is asked of each session and target.
    settings : NdcSettings
        Settings of the runs.
    decoder : object, optional
        A user's classifier.
    notes : sequence of str
        What else is to be said.
    n_runs : int
        Number of run stores that the loads go to.
    pace : Pace, optional
        How long scores take; measured here by default (:func:`calibrate`).

    Examples
    --------
    >>> settings = NdcSettings(R=1000, n_label_shuffles=1000, shuffle_resamples=100)
    >>> pace = Pace()
    >>> pace.learn("choice", 8, False, n_trials=400, n=1, seconds=0.002)
    >>> pace.learn("choice", 8, True, n_trials=400, n=1, seconds=0.02)
    >>> extent = Extent((8, 16), settings.R, settings.null_resamples, n_shuffles=399)  # a circular null: one a shift
    >>> cost = estimate([Load("choice", 400, 3000, extent)] * 8, settings, pace=pace)
    >>> cost.n_scores == 8 * 2 * (1000 + 100 * 399)
    True
    """
    if pace is None:
        pace = calibrate(loads, settings, decoder)
        notes = (*notes, "timed on simulated trials, on one core of this machine")
    n_scores = n_tasks = 0
    seconds = 0.0
    alike: dict[Load, tuple[int, int, float]] = {}  # what is asked in the same way many times is enumerated once
    for load in loads:
        if load not in alike:
            alike[load] = _enumerate(load, pace, decoder)
        scores, tasks, taken = alike[load]
        n_scores, n_tasks, seconds = n_scores + scores, n_tasks + tasks, seconds + taken
    store_bytes, files = _store_size(loads, n_runs, resample_chunk_of(decoder))
    n_workers = int(np.clip(np.ceil(seconds / 3600 / HOURS_TO_WAIT), 1, max(1, n_tasks // TASKS_PER_WORKER)))
    return RunCost(n_scores, n_tasks, seconds, _worker_bytes(loads), store_bytes, files, n_workers, tuple(notes))


def _enumerate(load: Load, pace: Pace, decoder: Any) -> tuple[int, int, float]:
    """Count a load's scores, its tasks and their seconds, block by block."""
    grain = grain_of(decoder, resample_chunk_of(decoder))
    n_scores = n_tasks = 0
    seconds = 0.0
    for _, block in plan_of_loads([load], pace, decoder):
        n_tasks += 1
        for piece in block:
            n_scores += piece.n_scores
            known = cost_of(piece, pace, load.target, load.n_trials)
            seconds += known.of(piece, grain) if known is not None else 0.0
    return n_scores, n_tasks, seconds


def _worker_bytes(loads: Iterable[Load]) -> float:
    largest = max((load.n_trials * load.n_neurons for load in loads), default=0)
    return WORKER_BYTES + 4 * largest * (FEATURES_IN_MEMORY + COPIES)


def _store_size(loads: Sequence[Load], n_runs: int, resample_chunk: int) -> tuple[float, int]:
    """Bytes and files of the stores when they are finished."""
    n_targets = len({load.target for load in loads})
    n_files = n_runs * (FILES_PER_RUN + n_targets * FILES_PER_TARGET)
    n_bytes = 500.0 * n_files
    for load in loads:
        extent = load.extent
        null = extent.null_resamples * extent.n_shuffles
        n_bytes += FEATURES_COMPRESSED * 4 * load.n_trials * load.n_neurons
        n_bytes += whole_batches(extent.n_shuffles) * load.n_trials / 4
        n_bytes += len(extent.ks) * COMPRESSED * (8 * extent.R + 4 * null) + 500 * FILES_PER_FEATURES
        chunks = -(-extent.R // resample_chunk)
        if null:
            shuffle_chunk = shuffle_chunk_of(extent.n_shuffles)
            chunks += -(-extent.null_resamples // resample_chunk) * -(-extent.n_shuffles // shuffle_chunk)
        n_files += len(extent.ks) * chunks + FILES_PER_FEATURES
    return n_bytes, n_files


# how long scores take here ------------------------------------------------------------------------------------


def calibrate(
    loads: Sequence[Load], settings: NdcSettings, decoder: Any = None, seconds: float = CALIBRATION_SECONDS
) -> Pace:
    """Time a few scores of every k, the data's and a batch of the null's, on simulated trials.

    The smallest ks first, and none after the time is up: what is not timed is estimated from what is.
    """
    pace = Pace()
    if not loads:
        return pace
    typical = sorted(loads, key=lambda load: load.n_trials)[len(loads) // 2]
    X, y, null_labels = _simulated(max(typical.n_trials, 4), typical.n_neurons)
    how = {"n_splits": settings.cv_splits, "folds": settings.folds, "gap": settings.gap, "metric": settings.metric,
           "C": settings.C, "seed": 0}  # fmt: skip
    with_null = any(load.extent.n_shuffles for load in loads)
    batch = (NULL_BATCH if decoder is None else 1) if with_null else 0
    ks = sorted({k for load in loads for k in load.extent.ks})
    _time(8, X, y, null_labels, batch, how, decoder)  # what is compiled is loaded
    deadline = time.perf_counter() + seconds
    for k in _ends_first(ks):
        for _ in range(2):
            taken = _time(k, X, y, null_labels, batch, how, decoder)
            pace.learn(typical.target, k, False, n_trials=typical.n_trials, n=1, seconds=taken[0])
            pace.learn(typical.target, k, True, n_trials=typical.n_trials, n=int(batch > 0), seconds=taken[1])
            if time.perf_counter() > deadline:
                return pace
    return pace


def _ends_first(ks: Sequence[int]) -> list[int]:
    """Order ks so that the first few span the range.

    Examples
    --------
    >>> _ends_first([8, 16, 32, 64])
    [64, 8, 32, 16]
    """
    left = list(ks)
    ordered: list[int] = []
    while left:
        ordered.append(left.pop(-1 if len(ordered) % 2 == 0 else 0))
    return ordered


def _simulated(n_trials: int, n_neurons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate neurons with a weak code and a shared fluctuation, labels, and permutations of them."""
    rng = seeds.generator("calibration")
    y = np.arange(n_trials) % 2
    rng.shuffle(y)
    X = rng.standard_normal((n_trials, n_neurons), dtype=np.float32)
    X += 0.3 * rng.standard_normal((n_trials, 1), dtype=np.float32)
    X += (0.15 * np.outer(y - 0.5, rng.standard_normal(n_neurons))).astype(np.float32)
    return X, y.astype(np.int8), np.array([rng.permutation(y) for _ in range(NULL_BATCH)], dtype=np.int8)


def _time(
    k: int, X: np.ndarray, y: np.ndarray, null_labels: np.ndarray, batch: int, how: dict[str, Any], decoder: Any
) -> tuple[float, float]:
    piece = Piece(k, range(1), True, range(batch))
    subset = X[:, :k].copy()
    if decoder is None:
        timed = score_subset(subset, y, null_labels, piece, how)
    else:
        timed = score_by_decoder(subset, y, null_labels, piece, how, decoder)
    return timed.data_seconds, timed.null_seconds
