"""What a worker computes of a run: the scores of one block of a session and target."""

import time
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mesodask.curves.plan import Piece
from mesodask.numerics import seeds
from mesodask.runs import features as run_features
from mesodask.runs.features import NULL_BATCH, load_decoded
from mesodask.settings import NdcSettings


@dataclass(frozen=True)
class Block:
    """What one task computes: some scores of one session and target.

    Attributes
    ----------
    store : str
        Path of the run store.
    target, eid : str
        What is decoded, and from which session.
    pieces : tuple of Piece
        Which scores.
    n_null : int
        Null label vectors that the stored features hold.
    features : str
        Fingerprint of the features, so that a worker's copy in memory is never an old one.
    decoder : object or None
        A user's classifier; None for the default. It reaches the worker pickled, by cloudpickle where it must.
    """

    store: str
    target: str
    eid: str
    pieces: tuple[Piece, ...]
    n_null: int
    features: str
    decoder: Any = None


@dataclass(frozen=True)
class Scores:
    """What a worker gives back for one piece.

    Attributes
    ----------
    score : numpy.ndarray, (n_resamples,) float64, or None
        NaN where it is not defined; None if only the null was asked for.
    null : numpy.ndarray, (n_resamples, n_shuffles) float32
        The same for null labels.
    unconverged : int
        Fits that did not converge.
    data_seconds, null_seconds : float
        What the data's scores, and the null's, have taken.
    """

    score: np.ndarray | None
    null: np.ndarray
    unconverged: int
    data_seconds: float
    null_seconds: float


def score_block(block: Block, settings: NdcSettings) -> list[Scores]:
    """Compute the scores of one block, one result a piece; this is what a worker runs."""
    X, y, null_labels = load_decoded(block.store, block.target, block.eid, block.features, block.n_null)
    _warm_up()
    return [_score_piece(piece, block, settings, X, y, null_labels) for piece in block.pieces]


@cache
def _warm_up() -> None:
    """Load what is compiled, once a process, so that the first scores of a worker are timed as all others are."""
    from mesodask.numerics.crossval import cross_val_details

    y = np.arange(8) % 2
    cross_val_details(np.arange(16.0).reshape(8, 2), np.column_stack([y, 1 - y]), n_splits=2)


def _score_piece(
    piece: Piece, block: Block, settings: NdcSettings, X: np.ndarray, y: np.ndarray, null_labels: np.ndarray
) -> Scores:
    score = np.empty(len(piece.resamples))
    null = np.empty((len(piece.resamples), len(piece.shuffles)), dtype=np.float32)
    unconverged, data_seconds, null_seconds = 0, 0.0, 0.0
    for row, resample in enumerate(piece.resamples):
        order = seeds.generator(settings.seed, "neurons", resample).permutation(X.shape[1])
        folds = run_features.fold_settings(settings, block.eid, block.target, resample)
        how = {**folds, "metric": settings.metric, "C": settings.C}
        subset = X.take(order[: piece.k], axis=1)  # in C order, unlike X[:, order]
        if block.decoder is None:
            part = score_subset(subset, y, null_labels, piece, how)
        else:
            part = score_by_decoder(subset, y, null_labels, piece, how, block.decoder)
        score[row], null[row] = part.score, part.null
        unconverged += part.unconverged
        data_seconds += part.data_seconds
        null_seconds += part.null_seconds
    return Scores(score if piece.data else None, null, unconverged, data_seconds, null_seconds)


class SubsetScores(NamedTuple):
    """Scores of one subset of neurons; `score` is NaN where the data's was not asked for."""

    score: float
    null: np.ndarray
    unconverged: int
    data_seconds: float
    null_seconds: float


def score_subset(
    X: np.ndarray, y: np.ndarray, null_labels: np.ndarray, piece: Piece, how: dict[str, Any]
) -> SubsetScores:
    """Score the data's labels, and the null's in batches of fixed extent.

    A batch is always computed whole, whatever part of it is asked for: the last bits of a score depend on the shape of
    the matrix products it comes from, and neither growing a run nor cutting its plan must change them.

    Parameters
    ----------
    X : numpy.ndarray, (n_trials, k)
        One subset of neurons.
    y : numpy.ndarray, (n_trials,)
        Labels of the data.
    null_labels : numpy.ndarray, (n_null, n_trials)
        All null label vectors there are.
    piece : Piece
        Whether the data's score is wanted, and which shuffles.
    how : dict
        Arguments of :func:`mesodask.numerics.crossval.cross_val_batches`.
    """
    from mesodask.numerics.crossval import cross_val_batches

    wanted = piece.shuffles
    firsts = range(wanted.start // NULL_BATCH * NULL_BATCH, wanted.stop, NULL_BATCH)
    batches = [y[:, None]] if piece.data else []
    batches += [np.column_stack([y, null_labels[first : first + NULL_BATCH].T]) for first in firsts]
    seconds, noted = np.zeros(len(batches)), time.perf_counter()

    def note(batch: int) -> None:
        nonlocal noted
        now = time.perf_counter()
        seconds[batch] += now - noted
        noted = now

    results = cross_val_batches(X, batches, **how, note=note) if batches else []
    data, nulls = results[: piece.data], results[piece.data :]
    null = np.empty(len(wanted))
    for first, result in zip(firsts, nulls, strict=True):
        part = range(max(first, wanted.start), min(first + NULL_BATCH, wanted.stop))
        found = result.scores[1:]
        null[part.start - wanted.start : part.stop - wanted.start] = found[part.start - first : part.stop - first]
    unconverged = sum(int(one.unconverged.sum()) for one in data) + sum(int(n.unconverged[1:].sum()) for n in nulls)
    score = float(data[0].scores[0]) if data else np.nan
    return SubsetScores(score, null, unconverged, seconds[: piece.data].sum(), seconds[piece.data :].sum())


def score_by_decoder(
    X: np.ndarray, y: np.ndarray, null_labels: np.ndarray, piece: Piece, how: dict[str, Any], decoder: Any
) -> SubsetScores:
    """Score by a user's decoder, which fits each label vector alone, seeded by its column: no batch to fill."""
    from mesodask.numerics.crossval import cross_val_details

    start, wanted = time.perf_counter(), piece.shuffles
    # a column of one class is never fitted: those that are not wanted keep the others in their places
    labels = np.zeros((1 + wanted.stop, len(y)), dtype=np.int8)
    if piece.data:
        labels[0] = y
    labels[1 + wanted.start :] = null_labels[wanted.start : wanted.stop]
    result = cross_val_details(X, labels.T, **{**how, "decoder": decoder, "stratify": y})
    each = (time.perf_counter() - start) / (piece.data + len(wanted))
    score, null = float(result.scores[0]), result.scores[1 + wanted.start :]  # NaN where it was not fitted
    return SubsetScores(score, null, int(result.unconverged.sum()), each * piece.data, each * len(wanted))
