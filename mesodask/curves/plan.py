"""The plan of a run: what is missing, cut lazily into blocks that take about the same time.

A score belongs to a number of neurons k, a resample, and either the data's labels or one null label vector. What is
missing of a session and target is a few rectangles over resamples and shuffles (:class:`Piece`); they are cut, by what
scores have taken so far (:class:`Pace`), into blocks of some seconds each. However they are cut, the scores are the
same bit for bit, since the null of a resample is always computed in the same whole batches.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mesodask.io.runstore import RESAMPLE_CHUNK, RunStore
from mesodask.runs.features import NULL_BATCH

SECONDS_PER_TASK = 2.5  # what is aimed at; a task costs the scheduler some milliseconds, and 5 s are little to lose
FULL = 0.4  # a block that holds this share of it is not made longer than it


@dataclass(frozen=True)
class Piece:
    """Scores of one number of neurons: a range of resamples, each with the data's score, some of the null's, or both.

    Attributes
    ----------
    k : int
        Number of neurons.
    resamples, shuffles : range
        Absolute resample and shuffle indices; no shuffles where only the data's scores are meant.
    data : bool
        Whether the scores of the data's labels are among them.

    Examples
    --------
    >>> Piece(8, range(10), True, range(100)).n_scores
    1010
    """

    k: int
    resamples: range
    data: bool
    shuffles: range = range(0)

    @property
    def n_scores(self) -> int:
        """Number of scores."""
        return len(self.resamples) * (self.data + len(self.shuffles))


@dataclass(frozen=True)
class Extent:
    """How much is asked of a session and target.

    Attributes
    ----------
    ks : tuple of int
        Numbers of neurons.
    R : int
        Resamples.
    null_resamples : int
        The null is evaluated on the first so many of them.
    n_shuffles : int
        Null label vectors.
    """

    ks: tuple[int, ...]
    R: int
    null_resamples: int
    n_shuffles: int


@dataclass(frozen=True)
class Grain:
    """What may be cut.

    Attributes
    ----------
    resamples : int
        Length of the store's chunks: cuts fall on their ends, as long as a chunk is not too long a task.
    shuffles : int
        Null label vectors that are computed together, whatever part of them is asked for.
    """

    resamples: int = RESAMPLE_CHUNK
    shuffles: int = NULL_BATCH

    def batches(self, shuffles: range) -> int:
        """Count the batches that a range of shuffles has a part in.

        Examples
        --------
        >>> Grain(shuffles=100).batches(range(100, 220))
        2
        """
        return -(-shuffles.stop // self.shuffles) - shuffles.start // self.shuffles if len(shuffles) else 0

    def first_batches(self, shuffles: range, n: int) -> range:
        """Give the part of a range of shuffles that lies in its first n batches."""
        return range(shuffles.start, min(shuffles.stop, (shuffles.start // self.shuffles + n) * self.shuffles))


def resample_chunk_of(decoder: object | None) -> int:
    """Choose how many resamples a chunk of a new store holds.

    A score by a user's decoder may take minutes, and none shall be lost for the sake of its neighbours.
    """
    return RESAMPLE_CHUNK if decoder is None else 1


def grain_of(decoder: object | None, resample_chunk: int) -> Grain:
    """Tell what may be cut: a user's decoder fits every label vector alone, the default one a batch at once."""
    return Grain(resample_chunk, NULL_BATCH if decoder is None else 1)


# what is missing ----------------------------------------------------------------------------------------------


def fresh_pieces(extent: Extent) -> Iterator[Piece]:
    """Give all scores of a session and target, as if none were there."""
    with_null = extent.null_resamples if extent.n_shuffles else 0
    for k in _longest_first(extent.ks):
        if with_null:
            yield Piece(k, range(with_null), True, range(extent.n_shuffles))
        if with_null < extent.R:
            yield Piece(k, range(with_null, extent.R), True)


def missing_pieces(store: RunStore, target: str, session: int, extent: Extent, grain: Grain) -> Iterator[Piece]:
    """Read from the store which scores of a session and target are missing; one k is in memory at a time."""
    with_null = extent.null_resamples if extent.n_shuffles else 0
    ks = _longest_first(extent.ks)
    missing = store.missing_by_k(target, session, ks, extent.R, with_null, extent.n_shuffles)
    for k, data, null in missing:
        yield from pieces_of(k, data, null, grain)


def _longest_first(ks: Sequence[int]) -> list[int]:
    """Put the largest ks first: the last tasks of a run are short then, and no worker waits long for another."""
    return sorted(ks, reverse=True)


def pieces_of(k: int, data: np.ndarray, null: np.ndarray, grain: Grain) -> Iterator[Piece]:
    """Cut what is missing, data (R,) and null (null_resamples, n_shuffles), into rectangles.

    Examples
    --------
    >>> data, null = np.array([False, True, True]), np.ones((2, 150), dtype=bool)
    >>> null[0, :100] = False
    >>> for piece in pieces_of(8, data, null, Grain(shuffles=100)):
    ...     print(piece.resamples, piece.data, piece.shuffles)
    range(0, 1) False range(100, 150)
    range(1, 2) True range(0, 150)
    range(2, 3) True range(0, 0)
    """
    firsts = range(0, null.shape[1], grain.shuffles)
    pattern = np.zeros((len(data), 1 + len(firsts)), dtype=bool)  # of each resample: data, and the batches of the null
    pattern[:, 0] = data
    if null.size:
        pattern[: len(null), 1:] = np.logical_or.reduceat(null, firsts, axis=1)
    changes = np.flatnonzero((pattern[1:] != pattern[:-1]).any(axis=1)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(data)]):
        ranges = _runs(pattern[start, 1:], grain.shuffles, null.shape[1])
        with_data = bool(pattern[start, 0])
        if with_data and not ranges:
            ranges = [range(0)]
        for number, shuffles in enumerate(ranges):
            yield Piece(k, range(start, stop), with_data and number == 0, shuffles)


def _runs(wanted: np.ndarray, length: int, end: int) -> list[range]:
    """Turn wanted batches into ranges of shuffles.

    Examples
    --------
    >>> _runs(np.array([True, True, False, True]), 100, 350)
    [range(0, 200), range(300, 350)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return [range(a * length, min(b * length, end)) for a, b in edges.reshape(-1, 2).tolist()]


# how long it takes --------------------------------------------------------------------------------------------


class Pace:
    """How long scores take, by what they have taken.

    Seconds of the data's score of one resample, and of one batch of its null, are kept for each (target, k), in
    proportion to the trials. What has not been timed is estimated by the nearest k that has.

    Examples
    --------
    >>> pace = Pace()
    >>> pace.learn("choice", 8, False, n_trials=100, n=10, seconds=0.5)
    >>> pace.seconds("choice", 8, False, n_trials=200)
    0.1
    >>> pace.seconds("block", 16, False, n_trials=100)
    0.1
    >>> pace.seconds("choice", 8, True, n_trials=100) is None
    True
    """

    def __init__(self) -> None:
        self._taken: dict[
            tuple[bool, int, str], tuple[float, float]
        ] = {}  # seconds, and resamples (x batches) x trials

    def learn(self, target: str, k: int, null: bool, *, n_trials: int, n: int, seconds: float) -> None:
        """Note what n scores of the data, or n batches of the null, have taken together."""
        if n:
            before = self._taken.get((null, k, target), (0.0, 0.0))
            self._taken[null, k, target] = before[0] + seconds, before[1] + n * n_trials

    def seconds(self, target: str, k: int, null: bool, *, n_trials: int) -> float | None:
        """Estimate the seconds of one score of the data, or of one batch of the null; None if nothing is known."""
        key = (null, k, target)
        if key not in self._taken:
            alike = [other for other in self._taken if other[0] == null]
            if not alike:
                return None
            key = min(alike, key=lambda other: (abs(math.log(other[1] / k)), other[2]))
        taken, work = self._taken[key]
        return taken / work * n_trials * max(1.0, k / key[1])


@dataclass(frozen=True)
class Cost:
    """Seconds of one resample: of the data's score, and of one batch of its null."""

    data: float
    null: float

    def of(self, piece: Piece, grain: Grain) -> float:
        """Seconds of a piece."""
        return len(piece.resamples) * (self.data * piece.data + self.null * grain.batches(piece.shuffles))


def cost_of(piece: Piece, pace: Pace, target: str, n_trials: int) -> Cost | None:
    """Estimate what a piece's resamples take; None if nothing like it has been timed."""
    data = pace.seconds(target, piece.k, False, n_trials=n_trials) if piece.data else 0.0
    null = pace.seconds(target, piece.k, True, n_trials=n_trials) if len(piece.shuffles) else 0.0
    return None if data is None or null is None else Cost(data, null)


# blocks -------------------------------------------------------------------------------------------------------


def cut_blocks(
    pieces: Iterable[Piece],
    cost: Callable[[Piece], Cost | None],
    grain: Grain,
    seconds: float | None = None,
) -> Iterator[tuple[Piece, ...]]:
    """Cut and gather pieces into blocks of about the same time, one after the other as they are asked for.

    Parameters
    ----------
    pieces : iterable of Piece
        What is missing of one session and target.
    cost : callable(piece) -> Cost or None
        Asked again for every block, so that what has been timed meanwhile counts. While it is not known, a block is
        the smallest there is: one resample with one batch of its null.
    grain : Grain
        Where pieces may be cut.
    seconds : float, optional
        What is aimed at, ``SECONDS_PER_TASK`` by default. A block takes from 0.4 to 1.4 times as long (the last
        one may take less, and one that cannot be cut further, more).

    Yields
    ------
    tuple of Piece

    Examples
    --------
    >>> pieces = fresh_pieces(Extent(ks=(8, 16), R=50, null_resamples=50, n_shuffles=100))
    >>> for block in cut_blocks(pieces, lambda piece: Cost(0.01, 0.04), Grain(10, 100), seconds=2):
    ...     print([(piece.k, piece.resamples) for piece in block])
    [(16, range(0, 40))]
    [(16, range(40, 50)), (8, range(0, 40))]
    [(8, range(40, 50))]
    """
    goal = SECONDS_PER_TASK if seconds is None else seconds
    block: list[Piece] = []
    filled = 0.0
    for whole in pieces:
        left = [whole]
        while left:
            piece = left.pop()
            known = cost(piece)
            head = _smallest(piece, grain) if known is None else _at_most(goal, piece, known, grain)
            takes = math.inf if known is None else known.of(head, grain)
            # what is too long, or of unknown length, is a block of its own; else a short one is made a little longer
            if block and (takes > goal or (filled >= FULL * goal and filled + takes > goal)):
                yield tuple(block)
                block, filled = [], 0.0
                left.append(piece)  # its cost may be known better by now
                continue
            block.append(head)
            filled += takes
            left.extend(_rest(piece, head))
    if block:
        yield tuple(block)


def _smallest(piece: Piece, grain: Grain) -> Piece:
    first = piece.resamples.start
    return replace(piece, resamples=range(first, first + 1), shuffles=grain.first_batches(piece.shuffles, 1))


def _at_most(seconds: float, piece: Piece, cost: Cost, grain: Grain) -> Piece:
    """Take from a piece's beginning what fits: whole chunks of resamples, else fewer shuffles, else fewer resamples."""
    first, n_left = piece.resamples.start, len(piece.resamples)
    chunk = min(grain.resamples - first % grain.resamples, n_left)
    fits = _n_within(seconds, cost.of(piece, grain) / n_left)
    if fits >= n_left:
        return piece
    if fits >= chunk:
        stop = (first + fits) // grain.resamples * grain.resamples
        return replace(piece, resamples=range(first, stop))
    n_batches = _n_within(seconds / chunk - cost.data * piece.data, cost.null) if len(piece.shuffles) else 0
    shuffles = grain.first_batches(piece.shuffles, max(1, n_batches)) if len(piece.shuffles) else piece.shuffles
    head = replace(piece, resamples=range(first, first + chunk), shuffles=shuffles)
    fits = max(1, _n_within(seconds, cost.of(head, grain) / chunk))
    return replace(head, resamples=range(first, first + min(chunk, fits)))


def _n_within(seconds: float, each: float) -> int:
    """How many things of the same length fit into a time."""
    return int(max(0.0, min(seconds / each, 1e9))) if each > 0 else 10**9


def _rest(piece: Piece, head: Piece) -> list[Piece]:
    """Give what is left of a piece without its head, the next part last."""
    rest = []
    if head.resamples.stop < piece.resamples.stop:
        rest.append(replace(piece, resamples=range(head.resamples.stop, piece.resamples.stop)))
    if head.shuffles.stop < piece.shuffles.stop:
        more = range(head.shuffles.stop, piece.shuffles.stop)
        rest.append(Piece(piece.k, head.resamples, False, more))
    return rest


def count_scores(pieces: Iterable[Piece]) -> int:
    """Count the scores of some pieces."""
    return sum(piece.n_scores for piece in pieces)


def actual_ks(ks: Sequence[int], n_shared: int) -> list[int]:
    """Numbers of neurons that are scored: those up to the shared ones, and that number itself.

    Examples
    --------
    >>> actual_ks([8, 16, 32, 64], 40)
    [8, 16, 32, 40]
    """
    return sorted({k for k in ks if k <= n_shared} | {n_shared})
