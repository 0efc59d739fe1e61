"""Scores of decision values against binary labels."""

import numba
import numpy as np
from numpy.typing import NDArray

# decisions closer than this share of the largest one are a tie: float32 orders equal trials by chance
_TIE = 2e-6


def auc(decisions: NDArray[np.floating], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    r"""Area under the receiver operating characteristic of every row.

    The share of pairs of a trial of class 1 and a trial of class 0 that the decisions order rightly, where a tie counts
    half. Decisions that differ by less than 2e-6 of the row's largest magnitude are tied.

    Parameters
    ----------
    decisions : float array (n_columns, n_trials)
        Higher means class 1.
    labels : bool array (n_columns, n_trials)
        True for class 1.

    Returns
    -------
    float64 array (n_columns,)
        In [0, 1]; NaN where a class has no trial.

    Examples
    --------
    >>> auc(np.array([[0.1, 0.4, 0.4, 0.8]]), np.array([[False, False, True, True]])).tolist()
    [0.875]
    """
    if decisions.shape[1] == 0:
        return np.full(len(decisions), np.nan)
    return _count_pairs(decisions, labels)


def balanced_accuracy(decisions: NDArray[np.floating], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of the two classes' shares of rightly classified trials, for every row.

    A trial is classified as 1 if its decision is above 0.

    Parameters
    ----------
    decisions : float array (n_columns, n_trials)
        Decision values.
    labels : bool array (n_columns, n_trials)
        True for class 1.

    Returns
    -------
    float64 array (n_columns,)
        In [0, 1]; NaN where a class has no trial.

    Examples
    --------
    >>> balanced_accuracy(np.array([[-1.0, 2.0, 3.0]]), np.array([[False, False, True]])).tolist()
    [0.75]
    """
    called = decisions > 0
    n_ones = labels.sum(axis=1)
    n_zeros = labels.shape[1] - n_ones
    with np.errstate(invalid="ignore"):
        return 0.5 * ((called & labels).sum(axis=1) / n_ones + (~called & ~labels).sum(axis=1) / n_zeros)


@numba.njit(cache=True, nogil=True)
def _count_pairs(decisions, labels):  # type: ignore[no-untyped-def]
    n_columns, n_trials = decisions.shape
    ones, zeros = np.empty(n_trials, decisions.dtype), np.empty(n_trials, decisions.dtype)
    areas = np.empty(n_columns)
    for column in range(n_columns):
        n_ones = n_zeros = 0
        largest = 0.0
        for i in range(n_trials):
            largest = max(largest, abs(decisions[column, i]))
            if labels[column, i]:
                ones[n_ones] = decisions[column, i]
                n_ones += 1
            else:
                zeros[n_zeros] = decisions[column, i]
                n_zeros += 1
        tie = decisions.dtype.type(_TIE * largest)
        half_wins = 0
        for i in range(n_ones):
            count = np.int32(0)  # as wide as a decision, so that the loop vectorises without widening
            for j in range(n_zeros):
                count += np.int32(ones[i] - zeros[j] > tie) + np.int32(ones[i] - zeros[j] >= -tie)
            half_wins += count
        areas[column] = half_wins / (2 * n_ones * n_zeros) if n_ones * n_zeros else np.nan
    return areas
