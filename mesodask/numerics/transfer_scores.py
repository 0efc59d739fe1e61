"""Scores of a readout on other sessions, against many null label vectors at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from mesodask.errors import DataError

Float64 = NDArray[np.float64]


class TransferScores(NamedTuple):
    """Scores of every label column.

    Attributes
    ----------
    accuracy : float64 array (n_labels,)
        Share of trials whose class is that of the sign of their decision.
    balanced_accuracy : float64 array (n_labels,)
        Mean of the two classes' shares; NaN where a class has no trial.
    auc : float64 array (n_labels,)
        Area under the ROC curve, equal decisions count half; NaN where a class has no trial.
    """

    accuracy: Float64
    balanced_accuracy: Float64
    auc: Float64


def score_decisions(decisions: ArrayLike, Y: ArrayLike, called: ArrayLike | None = None) -> TransferScores:
    """Score decisions against labels: one of them may be a single vector that serves all rows of the other.

    Parameters
    ----------
    decisions : array (n_trials,) or (n_labels, n_trials)
        Higher means class 1.
    Y : array (n_trials,) or (n_trials, n_labels) of 0 and 1
        Labels.
    called : bool array of the shape of `decisions`, optional
        The class that each trial is taken for, where that is not ``decisions > 0`` (a decoder's ``predict``).

    Returns
    -------
    TransferScores
        Arrays (n_labels,), as scikit-learn's ``accuracy_score``, ``balanced_accuracy_score`` and ``roc_auc_score``.

    Raises
    ------
    DataError
        If there is no trial, the shapes do not fit, decisions are NaN, or a label is neither 0 nor 1.

    Examples
    --------
    >>> score_decisions([-1.0, 2.0, 3.0], [[0, 1], [0, 0], [1, 0]])
    TransferScores(accuracy=array([0.66666667, 0.        ]), balanced_accuracy=array([0.75, 0.  ]), auc=array([1., 0.]))
    """
    values = np.atleast_2d(np.asarray(decisions, dtype=np.float64))
    labels = np.asarray(Y)
    labels = labels[:, None] if labels.ndim == 1 else labels
    _check(values, labels)
    ones = np.asarray(labels == 1, dtype=np.float64)
    positive = values > 0 if called is None else np.atleast_2d(np.asarray(called, dtype=bool))
    if positive.shape != values.shape:
        raise DataError(f"called has shape {positive.shape}, expected that of the decisions, {values.shape}")
    n_trials, n_ones = len(ones), ones.sum(axis=0)
    n_zeros, n_called = n_trials - n_ones, positive.sum(axis=1)
    hits = _pairwise_sum(positive.astype(np.float64), ones)
    rejections = n_zeros - n_called + hits
    with np.errstate(invalid="ignore", divide="ignore"):
        balanced = 0.5 * (hits / n_ones + rejections / n_zeros)
        # the sum of ranks of class 1 counts, beside its own pairs, those it wins against class 0
        won = _pairwise_sum(rankdata(values, axis=1), ones) - n_ones * (n_ones + 1) / 2
        auc = won / (n_ones * n_zeros)
    both = (n_ones > 0) & (n_zeros > 0)
    return TransferScores((hits + rejections) / n_trials, np.where(both, balanced, np.nan), np.where(both, auc, np.nan))


def _pairwise_sum(rows: Float64, ones: Float64) -> Float64:
    """Sum each row over the trials of class 1 of its label column; a single row or column serves all."""
    if len(rows) == 1 or ones.shape[1] == 1:
        return (rows @ ones).ravel()
    return np.einsum("li,il->l", rows, ones)


def _check(decisions: Float64, labels: NDArray) -> None:
    n_rows = {len(decisions), labels.shape[-1]} - {1}
    if (
        decisions.ndim != 2
        or labels.ndim != 2
        or not labels.size
        or decisions.shape[1] != len(labels)
        or len(n_rows) > 1
    ):
        raise DataError(
            f"decisions have shape {decisions.shape} and labels {labels.shape}, expected (n_labels, n_trials) and "
            "(n_trials, n_labels) with the same trials, at least one"
        )
    if np.isnan(decisions).any():
        raise DataError(
            f"{np.isnan(decisions).sum()} of {decisions.size} decisions are NaN; drop what is NaN in X first"
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"labels hold {labels[~np.isin(labels, (0, 1))][0]!r}, expected 0 and 1 alone")


def median_fold(accuracies: Sequence[float] | NDArray[np.floating]) -> int:
    """Pick the fold whose accuracy is the median: of an even number the lower one in the middle, of equal the first.

    Parameters
    ----------
    accuracies : array (n_folds,)
        Accuracies on the test folds; folds that are NaN are never picked.

    Returns
    -------
    int
        Number of the fold.

    Raises
    ------
    DataError
        If all are NaN.

    Examples
    --------
    >>> median_fold([0.9, 0.6, 0.7])
    2
    >>> median_fold([0.7, 0.7, 0.7])
    0
    """
    values = np.asarray(accuracies, dtype=np.float64)
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        raise DataError(f"all {values.size} folds have no accuracy; there is no median fold to pick")
    return int(np.flatnonzero(values == known[(len(known) - 1) // 2])[0])
