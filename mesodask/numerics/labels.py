"""Trial columns -> binary labels, and class-balanced subsets of trials."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError
from mesodask.numerics.kinds import TargetName, check_target
from mesodask.numerics.seeds import Key, generator

LABEL_COLUMNS: dict[TargetName, tuple[str, ...]] = {
    "choice": ("choice",),
    "feedback": ("feedbackType",),
    "stimulus": ("contrastLeft", "contrastRight"),
    "block": ("probabilityLeft",),
}


def trial_columns(trials: Mapping[str, ArrayLike], names: Sequence[str]) -> list[NDArray[np.float64]]:
    """Read columns of the trials that are needed together.

    Parameters
    ----------
    trials : mapping of str to array_like, shape (n_trials,)
        Columns of the ALF trials table.
    names : sequence of str
        Those to read.

    Returns
    -------
    list of ndarray of float64, shape (n_trials,)
        One array a name.

    Raises
    ------
    DataError
        If a column is missing, or columns differ in length.

    Examples
    --------
    >>> trial_columns({"choice": [1, -1, 0], "feedbackType": [1, 1, -1]}, ["choice"])
    [array([ 1., -1.,  0.])]
    """
    missing = [name for name in names if name not in trials]
    if missing:
        raise DataError(
            f"the trials have no column {', '.join(missing)}; expected {', '.join(names)}: load the trials with them"
        )
    columns = [np.asarray(trials[name], dtype=np.float64) for name in names]
    shapes = [column.shape for column in columns]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1:
        raise DataError(f"the columns {', '.join(names)} have shapes {shapes}; expected one value a trial")
    return columns


def binary_labels(trials: Mapping[str, ArrayLike], target: str) -> NDArray[np.float64]:
    """Label every trial 1 or 0 for one decoding target, NaN where it has no label.

    ========  ==============================  ==============================  ===================
    target    1                               0                               NaN
    ========  ==============================  ==============================  ===================
    choice    choice == +1 (reports left)     choice == -1 (reports right)    0 (no-go)
    feedback  feedbackType == +1 (reward)     feedbackType == -1
    stimulus  contrastRight > 0               contrastLeft > 0                neither or both > 0
    block     probabilityLeft == .8           probabilityLeft == .2           .5
    ========  ==============================  ==============================  ===================

    NaN in a column counts as no value. Probabilities are compared within rounding, float32 ones too.

    Parameters
    ----------
    trials : mapping of str to array_like, shape (n_trials,)
        Columns of the ALF trials table; those in ``LABEL_COLUMNS[target]`` are read.
    target : {"choice", "feedback", "stimulus", "block"}
        What is decoded.

    Returns
    -------
    ndarray of float64, shape (n_trials,)
        1, 0 or NaN.

    Raises
    ------
    DataError
        If a column is missing, or columns differ in length.
    SettingsError
        If the target is unknown.

    Examples
    --------
    >>> binary_labels({"choice": [1, -1, 0]}, "choice")
    array([ 1.,  0., nan])
    """
    target = check_target(target)
    columns = trial_columns(trials, LABEL_COLUMNS[target])
    if target == "stimulus":
        left, right = columns[0] > 0, columns[1] > 0
        one, zero = right & ~left, left & ~right
    elif target == "block":
        one, zero = np.isclose(columns[0], 0.8), np.isclose(columns[0], 0.2)
    else:
        one, zero = columns[0] == 1, columns[0] == -1
    return np.where(one, 1.0, np.where(zero, 0.0, np.nan))


def balanced_subset(y: ArrayLike, n_per_class: int | None = None, *, key: tuple[Key, ...]) -> NDArray[np.int64]:
    """Choose as many trials of class 0 as of class 1, in the order of time.

    The first `n_per_class` of a keyed permutation of each class: with the same key, the subset for a smaller
    number is part of the subset for a larger one.

    Parameters
    ----------
    y : array_like, shape (n_trials,)
        Labels 1 and 0; trials with any other value (NaN) are never chosen.
    n_per_class : int, optional
        Trials of each class; by default the size of the smaller class.
    key : tuple of int and str
        Names the random stream (see :mod:`mesodask.numerics.seeds`), e.g. ``(seed, "balance", eid, target)``.

    Returns
    -------
    ndarray of int64, shape (2 * n_per_class,)
        Ascending indices of trials.

    Raises
    ------
    DataError
        If a class holds fewer than `n_per_class` trials.

    Examples
    --------
    >>> y = np.array([0, 1, 0, 0, 1, 0])
    >>> chosen = balanced_subset(y, key=(0, "balance"))
    >>> y[chosen].sum().item(), len(chosen)
    (2, 4)
    """
    y = np.asarray(y)
    classes = [np.flatnonzero(y == label) for label in (0, 1)]
    smallest = min(len(rows) for rows in classes)
    n = smallest if n_per_class is None else n_per_class
    if not 0 <= n <= smallest:
        raise DataError(
            f"cannot choose {n} trials of each class: there are {len(classes[0])} of class 0 "
            f"and {len(classes[1])} of class 1; ask for at most {smallest}"
        )
    chosen = [generator(*key, label).permutation(rows)[:n] for label, rows in enumerate(classes)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)
