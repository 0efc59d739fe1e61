"""Folds of cross-validation: stratified and shuffled, or blocks of consecutive trials."""

import threading
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError

# one generator a thread, seeded anew for every draw: to construct one takes 90 times as long as to seed it (180 us)
_THREAD = threading.local()

FoldKind = Literal["shuffled", "contiguous"]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def make_folds(
    y: ArrayLike, *, n_splits: int = 5, seed: int = 0, folds: FoldKind = "shuffled", gap: int = 0
) -> list[Fold]:
    """Split the trials into training and test sets.

    The number of folds is ``max(2, min(n_splits, trials of the smaller class))``.

    Parameters
    ----------
    y : array (n_trials,) of 0 and 1
        The labels of the data.
    n_splits : int, default 5
        The most folds to make, at least 2.
    seed : int, default 0
        In [0, 2**32). Used by shuffled folds alone.
    folds : {"shuffled", "contiguous"}, default "shuffled"
        ``"shuffled"``: the folds of scikit-learn's ``StratifiedKFold(shuffle=True, random_state=seed)``.
        ``"contiguous"``: the test sets are blocks of consecutive trials whose sizes differ by one at most.
    gap : int, default 0
        Trials left out of the training set on each side of a contiguous test block.

    Returns
    -------
    list of (train, test)
        Increasing trial indices, two arrays a fold.

    Raises
    ------
    SettingsError
        If a setting has a value that is not allowed.
    DataError
        If `y` is not a vector of at least two 0s and 1s, or `gap` leaves nothing to train on.

    Examples
    --------
    >>> [test.tolist() for _, test in make_folds([0, 1, 0, 1, 0, 1], n_splits=3, folds="contiguous")]
    [[0, 1], [2, 3], [4, 5]]
    """
    labels = _checked_labels(y)
    _check_settings(n_splits, seed, folds, gap)
    n_ones = int(labels.sum())
    n_folds = max(2, min(n_splits, n_ones, len(labels) - n_ones))
    if folds == "shuffled":
        fold_of_trial = _stratified_folds(labels, n_folds, seed)
    else:
        fold_of_trial = np.arange(len(labels)) * n_folds // len(labels)
    return [_split(fold_of_trial == fold, gap) for fold in range(n_folds)]


def _checked_labels(y: ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(y)
    if values.ndim != 1 or len(values) < 2 or not np.all((values == 0) | (values == 1)):
        raise DataError(
            f"folds need a vector of at least two labels 0 or 1, found an array of shape {values.shape} "
            f"and dtype {values.dtype}; turn trials into labels first"
        )
    return values == 1


def _check_settings(n_splits: int, seed: int, folds: str, gap: int) -> None:
    if n_splits < 2:
        raise SettingsError(f"n_splits is {n_splits}, expected at least 2 folds")
    if not 0 <= seed < 2**32:
        raise SettingsError(f"seed is {seed}, expected 0 <= seed < 2**32; see seeds.integer_seed")
    if folds not in ("shuffled", "contiguous"):
        raise SettingsError(f"folds is {folds!r}, expected 'shuffled' or 'contiguous'")
    if gap < 0 or (gap > 0 and folds == "shuffled"):
        raise SettingsError(f"gap is {gap} with folds={folds!r}; a gap is >= 0 and needs folds='contiguous'")


def _stratified_folds(labels: NDArray[np.bool_], n_folds: int, seed: int) -> NDArray[np.intp]:
    """Give every trial its fold as scikit-learn does, without the cost of its checks (0.4 ms)."""
    if not hasattr(_THREAD, "random"):
        _THREAD.random = np.random.RandomState(0)
    random: np.random.RandomState = _THREAD.random
    random.seed(seed)
    fold_of_trial = np.empty(len(labels), dtype=np.intp)
    # the class that occurs first is dealt first; its places in fold order are 0 .. n_first - 1
    first = labels == labels[0]
    n_first = int(first.sum())
    for members, places in ((first, np.arange(n_first)), (~first, np.arange(n_first, len(labels)))):
        dealt = np.sort(places % n_folds)
        random.shuffle(dealt)
        fold_of_trial[members] = dealt
    return fold_of_trial


def _split(in_test: NDArray[np.bool_], gap: int) -> Fold:
    test = np.flatnonzero(in_test)
    in_train = ~in_test
    if gap:
        in_train[max(0, test[0] - gap) : test[-1] + 1 + gap] = False
    train = np.flatnonzero(in_train)
    if not len(train):
        raise DataError(f"gap={gap} leaves no trial to train on beside trials {test[0]} to {test[-1]}; lower it")
    return train, test
