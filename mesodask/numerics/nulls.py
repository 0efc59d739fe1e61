"""Null labels: what the trials could have been called if the neurons knew nothing of the target.

Every null is one label vector per absolute shuffle index, drawn from a stream keyed by that index: vector s
is the same whether it is asked for alone, in another order, or among a thousand others.

References
----------
Harris, K. D. (2021), "Nonsense correlations in neuroscience", bioRxiv 2020.11.29.402719: what permutation does to
slowly drifting data, and pseudo-sessions as a remedy.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.kinds import NullKind, TargetName, check_target
from mesodask.numerics.labels import trial_columns
from mesodask.numerics.seeds import Key, generator
from mesodask.numerics.taskmodel import Observer, draw_choices, draw_trials, fit_observer

Labels = NDArray[np.int8]

MIN_CLASS_SHARE = 0.4  # of the smaller class in a pseudo-session's labels
MAX_ATTEMPTS = 100  # draws of a pseudo-session before it is given up

_SESSION_COLUMNS = ("choice", "contrastLeft", "contrastRight", "probabilityLeft")


@dataclass(frozen=True, eq=False)
class PseudoSession:
    """How to simulate another session of the same mouse, and which of its trials to label.

    Attributes
    ----------
    observer : Observer
        Chooses on every simulated trial; it knows the contrast and the block, and has no history.
    target : {"choice", "feedback", "stimulus", "block"}
        What is labelled.
    n_trials : int
        Trials of the whole session.
    n_unbiased : int
        Trials at probability .5 before the first block.
    kept : ndarray of int64, shape (n_kept,)
        Rows of the session's trials that are decoded.
    folds : ndarray of bool, shape (n_folds, n_kept)
        Sets of decoded trials (test folds) that must each hold both classes; there may be none.

    Raises
    ------
    DataError
        If rows lie outside the session, folds do not match them, or a block is asked of unbiased trials.
    """

    observer: Observer
    target: TargetName
    n_trials: int
    n_unbiased: int
    kept: NDArray[np.int64]
    folds: NDArray[np.bool_]

    def __post_init__(self) -> None:
        first = self.n_unbiased if self.target == "block" else 0
        if len(self.kept) and not (first <= self.kept.min() and self.kept.max() < self.n_trials):
            raise DataError(
                f"rows {self.kept.min()} to {self.kept.max()} are decoded; a session of {self.n_trials} "
                f"trials has labels of {self.target!r} in rows {first} to {self.n_trials - 1} alone"
            )
        if self.folds.dtype != bool or self.folds.ndim != 2 or self.folds.shape[1] != len(self.kept):
            raise DataError(
                f"folds have shape {self.folds.shape} and dtype {self.folds.dtype}; "
                f"expected bool masks of shape (n_folds, {len(self.kept)}) over the decoded trials"
            )

    @classmethod
    def fit(
        cls, trials: Mapping[str, ArrayLike], target: str, kept: ArrayLike, folds: ArrayLike | None = None
    ) -> "PseudoSession":
        """Fit the observer to all trials of a session that have a choice, a contrast and a block.

        Parameters
        ----------
        trials : mapping of str to array_like, shape (n_trials,)
            ALF columns choice, contrastLeft, contrastRight and probabilityLeft of ALL trials of the session.
        target : {"choice", "feedback", "stimulus", "block"}
            What is labelled.
        kept : array_like of int, shape (n_kept,)
            Rows of the trials that are decoded.
        folds : array_like of bool, shape (n_folds, n_kept), optional
            Sets of decoded trials that must each hold both classes. The labels depend on them: where a run
            may grow, pass only sets that do not change with it.

        Returns
        -------
        PseudoSession
            To be handed to :func:`null_labels`.

        Raises
        ------
        DataError
            If a column is missing, or columns, rows and folds do not fit each other.
        SettingsError
            If the target is unknown.

        Examples
        --------
        >>> shown = draw_trials(300, np.random.default_rng(0))
        >>> trials = {
        ...     "choice": -shown.side,
        ...     "contrastLeft": np.where(shown.side < 0, shown.contrast, np.nan),
        ...     "contrastRight": np.where(shown.side > 0, shown.contrast, np.nan),
        ...     "probabilityLeft": shown.probability_left,
        ... }
        >>> pseudo = PseudoSession.fit(trials, "block", np.arange(90, 300))
        >>> pseudo.n_trials, pseudo.n_unbiased
        (300, 90)
        """
        choice, left, right, probability_left = trial_columns(trials, _SESSION_COLUMNS)
        shown = ~(np.isnan(left) & np.isnan(right))
        answered = np.isin(choice, (-1, 1)) & shown & np.isfinite(probability_left)
        signed_contrast = np.nan_to_num(right) - np.nan_to_num(left)
        biased = np.flatnonzero(np.isfinite(probability_left) & ~np.isclose(probability_left, 0.5))
        kept = np.asarray(kept, dtype=np.int64)
        return cls(
            observer=fit_observer(signed_contrast[answered], probability_left[answered], choice[answered] == -1),
            target=check_target(target),
            n_trials=len(choice),
            n_unbiased=int(biased[0]) if len(biased) else len(choice),
            kept=kept,
            folds=np.zeros((0, len(kept)), dtype=bool) if folds is None else np.asarray(folds),
        )

    def draw(self, rng: np.random.Generator) -> Labels:
        """Simulate one session and label the decoded trials.

        Labels as in :func:`mesodask.numerics.labels.binary_labels`, but a trial of zero contrast has the
        stimulus label of the side it is assigned to, and feedback is 1 where the choice matches that side.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        ndarray of int8, shape (n_kept,)
            Labels 0 and 1.
        """
        trials = draw_trials(self.n_trials, rng, self.n_unbiased)
        on_right = trials.side > 0
        if self.target == "stimulus":
            labels = on_right
        elif self.target == "block":
            labels = trials.probability_left > 0.5
        else:
            chose_right = draw_choices(self.observer, trials, rng)
            labels = ~chose_right if self.target == "choice" else chose_right == on_right
        return labels[self.kept].astype(np.int8)


def max_shuffles(kind: NullKind, n_trials: int) -> int:
    """Count the different shuffles that a null can give.

    Parameters
    ----------
    kind : {"permute", "circular", "blockwise", "pseudosession"}
        The null.
    n_trials : int
        Trials decoded.

    Returns
    -------
    int
        ``n_trials - 1`` shifts for ``circular``; ``sys.maxsize``, no limit, for the others.

    Raises
    ------
    SettingsError
        If the null is unknown.

    Examples
    --------
    >>> min(1000, max_shuffles("circular", 400)), min(1000, max_shuffles("permute", 400))
    (399, 1000)
    """
    if kind not in get_args(NullKind):
        raise SettingsError(f"null is {kind!r}; expected one of {', '.join(get_args(NullKind))}")
    return max(n_trials - 1, 0) if kind == "circular" else sys.maxsize


def null_labels(
    kind: NullKind,
    y: ArrayLike,
    shuffles: Sequence[int],
    *,
    key: tuple[Key, ...],
    blocks: ArrayLike | None = None,
    pseudo: PseudoSession | None = None,
) -> Labels:
    """Draw null labels, one vector for each absolute shuffle index.

    - ``permute``: the labels in random order.
    - ``circular``: the labels shifted in time, around the end, by element s of a keyed permutation of 1..n-1 for
      shuffle s: never by 0, and never twice by the same.
    - ``blockwise``: the labels in random order within each run of trials of the same block.
    - ``pseudosession``: the labels of the same trials in a simulated session, drawn again, up to 100 times, until the
      smaller class holds 40 % and every fold has both classes.

    Parameters
    ----------
    kind : {"permute", "circular", "blockwise", "pseudosession"}
        The null.
    y : array_like, shape (n_trials,)
        Labels 0 and 1 of the decoded trials, in the order of time.
    shuffles : sequence of int
        Absolute indices of shuffles, from 0.
    key : tuple of int and str
        Names the random stream (see :mod:`mesodask.numerics.seeds`), e.g. ``(seed, "null", eid, target)``.
    blocks : array_like, shape (n_trials,), optional
        For ``blockwise``: the block of each decoded trial, by its probabilityLeft or its number.
    pseudo : PseudoSession, optional
        For ``pseudosession``: what to simulate.

    Returns
    -------
    ndarray of int8, shape (n_trials, n_shuffles)
        Labels 0 and 1.

    Raises
    ------
    DataError
        If the session cannot have this null: `y` is not binary, `blocks` or `pseudo` do not fit it, no label
        differs from the others of its block, or no pseudo-session passes. The message says why.
    SettingsError
        If the null is unknown, lacks what it needs, or has no shuffle of such an index.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1, 1])
    >>> null = null_labels("circular", y, range(4), key=(0, "null"))
    >>> null.shape, null.sum(axis=0).tolist()
    ((5, 4), [2, 2, 2, 2])
    >>> null[:, 2].tolist() == null_labels("circular", y, [2], key=(0, "null"))[:, 0].tolist()
    True
    """
    limit = max_shuffles(kind, np.size(y))
    labels = _checked_labels(y)
    beyond = [s for s in shuffles if not 0 <= s < limit]
    if beyond:
        raise SettingsError(
            f"the {kind} null of {len(labels)} trials has no shuffle {beyond[0]}; expected 0 to {limit - 1}"
        )
    key = (*key, kind)
    if kind == "permute":
        columns = [generator(*key, s).permutation(labels) for s in shuffles]
    elif kind == "circular":
        shifts = 1 + generator(*key).permutation(limit)
        columns = [np.roll(labels, shifts[s]) for s in shuffles]
    elif kind == "blockwise":
        runs = _block_runs(blocks, labels)
        columns = [_permute_within(runs, labels, generator(*key, s)) for s in shuffles]
    else:
        pseudo = _checked_pseudo(pseudo, labels)
        columns = [_draw_pseudo_labels(pseudo, (*key, s)) for s in shuffles]
    return np.stack(columns, axis=1) if columns else np.zeros((len(labels), 0), dtype=np.int8)


def _checked_labels(y: ArrayLike) -> Labels:
    y = np.asarray(y)
    if y.ndim != 1 or not np.isin(y, (0, 1)).all():
        raise DataError(
            f"labels of shape {y.shape} and dtype {y.dtype} are not one 0 or 1 a trial; "
            "leave out the trials without a label"
        )
    return y.astype(np.int8)


def _block_runs(blocks: ArrayLike | None, labels: Labels) -> NDArray[np.int64]:
    """Give the trials of each run of the same block one number, shape (n_trials,), ascending."""
    if blocks is None:
        raise SettingsError("the blockwise null needs blocks=, the block of each decoded trial")
    blocks = np.asarray(blocks)
    if blocks.shape != labels.shape:
        raise DataError(f"blocks have shape {blocks.shape}; expected one for each of {len(labels)} decoded trials")
    starts = blocks[1:] != blocks[:-1]
    if not (np.diff(labels) != 0)[~starts].any():
        raise DataError(
            "the label is the same throughout every block, so that permuting within blocks changes nothing; "
            "use another null (pseudosession for the target block)"
        )
    return np.concatenate([[0], np.cumsum(starts)])


def _permute_within(runs: NDArray[np.int64], labels: Labels, rng: np.random.Generator) -> Labels:
    """Permute labels within runs: sort by run, and by a random number where the run is the same."""
    return labels[np.lexsort((rng.random(len(labels)), runs))]


def _checked_pseudo(pseudo: PseudoSession | None, labels: Labels) -> PseudoSession:
    if pseudo is None:
        raise SettingsError("the pseudosession null needs pseudo=, a PseudoSession; only targets of the task have one")
    if len(pseudo.kept) != len(labels):
        raise DataError(f"the pseudo-session keeps {len(pseudo.kept)} trials; expected the {len(labels)} decoded ones")
    return pseudo


def _draw_pseudo_labels(pseudo: PseudoSession, key: tuple[Key, ...]) -> Labels:
    """Draw until the labels are decodable, each attempt from a stream of its own."""
    faults: Counter[str] = Counter()
    for attempt in range(MAX_ATTEMPTS):
        labels = pseudo.draw(generator(*key, attempt))
        fault = _fault(labels, pseudo.folds)
        if fault is None:
            return labels
        faults[fault] += 1
    found = ", ".join(f"{count} times {fault}" for fault, count in faults.most_common())
    raise DataError(
        f"{MAX_ATTEMPTS} simulated sessions gave no labels of {pseudo.target!r} to decode on the "
        f"{len(pseudo.kept)} trials kept ({found}); use another null for this target"
    )


def _fault(labels: Labels, folds: NDArray[np.bool_]) -> str | None:
    """Say what makes labels, shape (n_kept,), unfit to be decoded; None if nothing does."""
    n_smaller = min(labels.sum(), len(labels) - labels.sum())
    if n_smaller == 0 or n_smaller < MIN_CLASS_SHARE * len(labels):
        return f"the smaller class held less than {MIN_CLASS_SHARE:.0%} of the trials"
    n_ones, n_fold = folds @ labels.astype(np.int64), folds.sum(axis=1)
    if ((n_ones == 0) | (n_ones == n_fold)).any():
        return "a fold held only one class"
    return None
