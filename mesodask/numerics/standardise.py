"""Neurons standardised on a training set, as the features of the decoder."""

import numba
import numpy as np
from numpy.typing import NDArray

# neurons standardised together: a block of 320 trials x 512 float32 stays in the second-level cache between the passes
_BLOCK = 512


def standardised_features(
    X: NDArray[np.floating],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    C: float,
    out: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    r"""Standardise neurons on the training trials and append the unit feature, all times sqrt(C).

    .. math:: u_{ij} = \sqrt C\, (x_{ij} - m_j) / \sigma_j, \qquad u_{i,last} = \sqrt C

    with mean and standard deviation (divisor: number of trials) over the training trials, in float64. A neuron that is
    constant there becomes 0 everywhere, and so contributes nothing.

    Parameters
    ----------
    X : float array (n_trials, n_neurons)
        Activity, C-ordered.
    train, test : int arrays (n_train,), (n_test,)
        Rows of X.
    C : float
        Inverse strength of the penalty.
    out : float32 array (at least n_train + n_test, n_neurons + 1), optional
        Memory for the result: fresh memory for every fold costs as much as the work.

    Returns
    -------
    U_train, U_test : float32 arrays (n_train, n_neurons + 1), (n_test, n_neurons + 1)

    Examples
    --------
    >>> X = np.array([[0.0, 7.0], [2.0, 7.0], [5.0, 8.0]])
    >>> train, test = standardised_features(X, np.array([0, 1]), np.array([2]), 1.0)
    >>> train.tolist(), test.tolist()
    ([[-1.0, 0.0, 1.0], [1.0, 0.0, 1.0]], [[4.0, 0.0, 1.0]])
    """
    trials = np.concatenate((train, test))
    if out is None:
        out = np.empty((len(trials), X.shape[1] + 1), dtype=np.float32)
    features = out[: len(trials)]
    scale = np.sqrt(C)
    standardise_into(X, trials, len(train), scale, features)
    features[:, -1] = scale
    return features[: len(train)], features[len(train) :]


# sums over trials stay in order (no reassociation): each neuron is a lane of its own, so they vectorise as they are
@numba.njit(cache=True, nogil=True)
def standardise_into(X, trials, n_train, scale, out):  # type: ignore[no-untyped-def]
    """Write the rows `trials` of X, standardised on the first `n_train` of them and times `scale`, to `out`.

    Examples
    --------
    >>> out = np.empty((2, 1))
    >>> standardise_into(np.array([[1.0], [3.0]]), np.array([0, 1]), 2, 1.0, out)
    >>> out.ravel().tolist()
    [-1.0, 1.0]
    """
    n_neurons = X.shape[1]
    for start in range(0, n_neurons, _BLOCK):
        stop = min(start + _BLOCK, n_neurons)
        mean, factor = np.zeros(stop - start), np.zeros(stop - start)
        # sums about the first trial, in one pass. As one of the n trials it lies within sqrt(n) standard deviations of
        # the mean, so that the difference below loses a factor n of precision at most, and a constant neuron gives 0
        first = X[trials[0], start:stop]
        for trial in trials[1:n_train]:
            _add_to(mean, factor, X[trial, start:stop], first)
        for j in range(stop - start):
            offset = mean[j] / n_train
            variance = factor[j] / n_train - offset * offset
            mean[j] = first[j] + offset
            factor[j] = scale / np.sqrt(variance) if variance > 0 else 0.0
        for row in range(len(trials)):
            _write_scaled(X[trials[row], start:stop], mean, factor, out[row, start:stop])


# one row of a block at a time: an offset in the index would keep the loops from vectorising
@numba.njit(cache=True, forceinline=True, nogil=True)
def _add_to(total, squares, row, first):  # type: ignore[no-untyped-def]
    for j in range(row.size):
        difference = np.float64(row[j]) - np.float64(first[j])
        total[j] += difference
        squares[j] += difference * difference


@numba.njit(cache=True, forceinline=True, nogil=True)
def _write_scaled(row, mean, factor, out):  # type: ignore[no-untyped-def]
    for j in range(row.size):
        out[j] = (row[j] - mean[j]) * factor[j]
