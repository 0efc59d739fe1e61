"""Cross-validated scores of many label columns on one population."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.decoders import check_decoder, decoder_scores
from mesodask.numerics.folds import FoldKind, make_folds
from mesodask.numerics.logistic import LogisticProblem
from mesodask.numerics.scores import auc, balanced_accuracy
from mesodask.numerics.standardise import standardised_features
from mesodask.numerics.threads import ONE_BLAS_THREAD

__all__ = ["CrossValidation", "cross_val_batches", "cross_val_details", "cross_val_scores", "make_folds"]

Metric = Literal["auc", "accuracy"]
_METRICS = {"auc": auc, "accuracy": balanced_accuracy}
# a trial whose decision is next to 0 counts whole in an accuracy, in an AUC only by the pairs it changes places with
_PRECISION = {"auc": 1.0, "accuracy": 3.0}


class CrossValidation(NamedTuple):
    """What a cross-validation gave for every label column.

    Attributes
    ----------
    scores : float64 array (n_labels,)
        Mean score over the folds used; NaN if there is none.
    folds_used : int array (n_labels,)
        Folds with both classes among the training and among the test trials.
    unconverged : int array (n_labels,)
        Fits, out of `folds_used`, that did not converge; their scores are in the mean.
    """

    scores: NDArray[np.float64]
    folds_used: NDArray[np.intp]
    unconverged: NDArray[np.intp]


def cross_val_scores(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    n_splits: int = 5,
    seed: int = 0,
    metric: Metric = "auc",
    C: float = 1.0,
    folds: FoldKind = "shuffled",
    gap: int = 0,
    decoder: Any = None,
) -> NDArray[np.float64]:
    """Score how well every label column is decoded from the population: :func:`cross_val_details`, scores alone.

    Returns
    -------
    float64 array (n_labels,)
        Mean score over folds; NaN where no fold has both classes.

    Examples
    --------
    >>> X = np.arange(12.0)[:, None]
    >>> cross_val_scores(X, np.c_[X > 5, X % 2 == 0], n_splits=3).tolist()[0]
    1.0
    """
    return cross_val_details(
        X, Y, n_splits=n_splits, seed=seed, metric=metric, C=C, folds=folds, gap=gap, decoder=decoder
    ).scores


def cross_val_details(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    n_splits: int = 5,
    seed: int = 0,
    metric: Metric = "auc",
    C: float = 1.0,
    folds: FoldKind = "shuffled",
    gap: int = 0,
    decoder: Any = None,
    stratify: ArrayLike | None = None,
) -> CrossValidation:
    """Cross-validate a decoder, by default an L2 logistic regression, on every label column, with folds in common.

    In each fold neurons are standardised on the training trials, every column is fitted (see
    :mod:`mesodask.numerics.logistic`), and the decisions on the test trials are scored. A decoder of the user's is
    fitted to the training trials of X as they are, not standardised, in a fresh clone for every column.

    Parameters
    ----------
    X : array (n_trials, n_neurons)
        Activity, float32 or float64.
    Y : array (n_trials, n_labels) of 0 and 1
        Column 0, the data, makes the folds unless `stratify` does; the others are its null, or further labels.
    n_splits, seed, folds, gap
        See :func:`mesodask.numerics.folds.make_folds`.
    metric : {"auc", "accuracy"}, default "auc"
        Area under the ROC curve (ties count half), or balanced accuracy.
    C : float, default 1
        Inverse strength of the penalty, as in scikit-learn; not to be given with `decoder`.
    decoder : scikit-learn classifier or pipeline, optional
        Takes the place of the logistic regression, at its own speed. Standardise within it:
        ``make_pipeline(StandardScaler(), SVC(kernel="linear"))``. Decisions are those of its ``decision_function``, or
        ``predict_proba`` where it has none; for metric "accuracy" its ``predict`` counts. Where a part of it has
        ``random_state=None``, that is seeded from `seed`, the fold, the label column and the parameter's name. A
        ConvergenceWarning is not shown, but counted. One fit runs at a time in a process.
    stratify : array (n_trials,) of 0 and 1, optional
        Labels that make the folds in place of column 0, and are not fitted.

    Returns
    -------
    CrossValidation
        Scores, folds used and unconverged fits of every column. The same X and Y give the same bits, whatever
        the number of threads. Columns computed in another company agree to about 1e-3 in decisions; with a decoder of
        the user's, to the bit.

    Raises
    ------
    DataError
        If X is not finite, Y is not of 0 and 1, or their shapes do not fit; or the decoder fails on a fold.
    SettingsError
        If a setting has a value that is not allowed, or the decoder is no classifier.

    Examples
    --------
    >>> X = np.arange(12.0)[:, None]
    >>> cross_val_details(X, X > 5, n_splits=3)
    CrossValidation(scores=array([1.]), folds_used=array([3]), unconverged=array([0]))
    """
    return cross_val_batches(
        X, [Y], n_splits=n_splits, seed=seed, metric=metric, C=C, folds=folds, gap=gap, decoder=decoder,
        stratify=stratify,
    )[0]  # fmt: skip


def cross_val_batches(
    X: ArrayLike,
    batches: Sequence[ArrayLike],
    *,
    n_splits: int = 5,
    seed: int = 0,
    metric: Metric = "auc",
    C: float = 1.0,
    folds: FoldKind = "shuffled",
    gap: int = 0,
    decoder: Any = None,
    stratify: ArrayLike | None = None,
    note: Callable[[int], None] | None = None,
) -> list[CrossValidation]:
    """Cross-validate batches of label columns, each to the bit as :func:`cross_val_details` would alone.

    What depends on the activity alone, its standardisation and the kernel between trials, is computed once a fold for
    all of them.

    Parameters
    ----------
    X, n_splits, seed, metric, C, folds, gap, decoder, stratify
        As of :func:`cross_val_details`.
    batches : sequence of array (n_trials, n_labels) of 0 and 1
        Column 0 of the first makes the folds of all, unless `stratify` does.
    note : callable(batch), optional
        Called whenever one of them is done with a fold: so time is measured.

    Returns
    -------
    list of CrossValidation
        One a batch.

    Raises
    ------
    DataError, SettingsError
        As :func:`cross_val_details`.

    Examples
    --------
    >>> X = np.arange(12.0)[:, None]
    >>> [batch.scores.tolist() for batch in cross_val_batches(X, [X > 5, X <= 5], n_splits=3)]
    [[1.0], [1.0]]
    """
    if metric not in _METRICS:
        raise SettingsError(f"metric is {metric!r}, expected one of {sorted(_METRICS)}")
    if not (np.isfinite(C) and C > 0):
        raise SettingsError(f"C is {C}, expected a positive number")
    if decoder is not None:
        check_decoder(decoder, metric, C)
    activity = checked_activity(X)
    sums = [_Sums(checked_labels(Y, activity)) for Y in batches]
    labels = sums[0].labels[0] if stratify is None else stratify
    splits = make_folds(labels, n_splits=n_splits, seed=seed, folds=folds, gap=gap)
    memory = np.empty((activity.shape[0], activity.shape[1] + 1), dtype=np.float32)
    with ONE_BLAS_THREAD:
        for number, fold in enumerate(splits):
            features = _FoldFeatures(activity, fold, C, memory)
            for place, batch in enumerate(sums):
                columns: NDArray[np.intp] = np.flatnonzero(_have_both_classes(batch.labels, *fold))
                if not len(columns):
                    continue
                if decoder is None:
                    found = features.scores(batch.labels, columns, metric)
                else:
                    found = decoder_scores(decoder, activity, batch.labels, columns, fold, metric, (seed, number))
                batch.add(columns, *found)
                if note is not None:
                    note(place)
    return [batch.means() for batch in sums]


class _Sums:
    """What the folds have given so far for the label columns of a batch, (n_labels, n_trials)."""

    def __init__(self, labels: NDArray[np.bool_]) -> None:
        self.labels = labels
        self._total = np.zeros(len(labels))
        self._folds_used, self._unconverged = np.zeros(len(labels), dtype=np.intp), np.zeros(len(labels), dtype=np.intp)

    def add(self, columns: NDArray[np.intp], scores: NDArray[np.floating], converged: NDArray[np.bool_]) -> None:
        """Add what one fold has given for some of the columns."""
        self._total[columns] += scores
        self._folds_used[columns] += 1
        self._unconverged[columns] += ~converged

    def means(self) -> CrossValidation:
        """Give the means over the folds used."""
        used = self._folds_used
        means = np.divide(self._total, used, out=np.full(len(used), np.nan), where=used > 0)
        return CrossValidation(means, used, self._unconverged)


class _FoldFeatures:
    """The features of one fold, standardised in `memory` when they are first asked for."""

    def __init__(
        self, activity: NDArray[np.floating], fold: tuple[NDArray, NDArray], C: float, memory: NDArray[np.float32]
    ) -> None:
        self._fold = fold
        self._standardise = lambda: standardised_features(activity, *fold, C, memory)

    @cached_property
    def _problem(self) -> tuple[LogisticProblem, NDArray[np.float32]]:
        train, test = self._standardise()
        return LogisticProblem(train), test

    def scores(
        self, labels: NDArray[np.bool_], columns: NDArray[np.intp], metric: Metric
    ) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        """Fit some label columns and score their decisions on the test trials; say which fits converged."""
        problem, test = self._problem
        usable = labels if len(columns) == len(labels) else labels[columns]
        # take gives rows in C order, unlike usable[:, train]
        fits = problem.fit(usable.take(self._fold[0], axis=1), precision=_PRECISION[metric])
        return _METRICS[metric](fits.decisions(test), usable[:, self._fold[1]]), fits.converged


@numba.njit(cache=True, nogil=True)
def _have_both_classes(labels, train, test):  # type: ignore[no-untyped-def]
    """Tell which rows of labels have both classes among the training and among the test trials."""
    both = np.empty(len(labels), np.bool_)
    for column in range(len(labels)):
        both[column] = _is_mixed(labels[column], train) and _is_mixed(labels[column], test)
    return both


@numba.njit(cache=True, forceinline=True, nogil=True)
def _is_mixed(row, trials):  # type: ignore[no-untyped-def]
    for trial in trials:  # the first few decide, as a rule; numba knows no any() of a generator  # noqa: SIM110
        if row[trial] != row[trials[0]]:
            return True
    return False


def checked_population(X: ArrayLike, Y: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return X as a C-ordered float32 or float64 array and the labels as rows of bool (n_labels, n_trials)."""
    activity = checked_activity(X)
    return activity, checked_labels(Y, activity)


def checked_activity(X: ArrayLike) -> NDArray[np.floating]:
    """Return X as a C-ordered float32 or float64 array (n_trials, n_neurons); all of it is finite."""
    activity = np.asarray(X)
    if activity.dtype not in (np.float32, np.float64):
        activity = activity.astype(np.float64)
    if activity.ndim == 2 and not np.isfinite(activity).all():
        bad = np.flatnonzero(~np.isfinite(activity).all(axis=1))
        raise DataError(
            f"X is not finite in {len(bad)} of {len(activity)} trials (the first is {bad[0]}); drop those trials, or "
            "the neurons that cause it"
        )
    return np.ascontiguousarray(activity)


def checked_labels(Y: ArrayLike, activity: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the labels of the trials of `activity` as rows of bool (n_labels, n_trials)."""
    values = np.asarray(Y)
    if activity.ndim != 2 or values.ndim != 2 or len(activity) != len(values) or 0 in values.shape:
        raise DataError(
            f"X has shape {activity.shape} and Y {values.shape}, expected (n_trials, n_neurons) and "
            "(n_trials, n_labels) with the same trials; a single label vector y is Y = y[:, None]"
        )
    ones = values == 1
    if not np.all(ones | (values == 0)):
        other = values[~(ones | (values == 0))][0]
        raise DataError(f"Y holds {other!r}, expected 0 and 1 alone; drop the trials without a label")
    return np.ascontiguousarray(ones.T)
