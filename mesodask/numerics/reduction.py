r"""Dimension reduction of standardised neurons: none, principal components, or the neurons with the largest ANOVA F.

What is fitted on the training trials is a linear map, and its outcome here are the coordinates of training and test
trials, and the way back from weights over them to weights over the standardised neurons.

Principal components come from the Gram matrix of the trials, exactly: with Z (n_trials, n_neurons), centred,
:math:`Z Z' = U \Lambda U'`, the coordinates are :math:`U \Lambda^{1/2}`, those of other trials
:math:`Z_* Z' U \Lambda^{-1/2}`, and weights v over them are weights :math:`Z' U \Lambda^{-1/2} v` over the neurons.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from mesodask.numerics.standardise import standardise_into

Float64 = NDArray[np.float64]
Reduction = Literal["none", "pca", "selectk"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)

# components whose variance is less than this share of the first one's are the rounding of constant directions
_NO_VARIANCE = 1e-13


@dataclass(frozen=True)
class Reduced:
    """Coordinates of trials after the reduction.

    Attributes
    ----------
    train : float64 array (n_train, n_coordinates)
        Training trials.
    test : float64 array (n_test, n_coordinates)
        Test trials.
    directions : float64 array (n_neurons, n_coordinates) or int array (n_coordinates,) or None
        Each coordinate as weights over the standardised neurons; or the neuron that it is; or None if coordinate i is
        neuron i.
    n_neurons : int
        Neurons before the reduction.
    """

    train: Float64
    test: Float64
    directions: NDArray[np.float64] | NDArray[np.intp] | None
    n_neurons: int

    def over_neurons(self, weights: Float64) -> Float64:
        """Turn weights over coordinates, (n_labels, n_coordinates), into those over standardised neurons."""
        if self.directions is None:
            return weights
        if self.directions.ndim == 2:
            return weights @ self.directions.T
        full = np.zeros((len(weights), self.n_neurons))
        full[:, self.directions] = weights
        return full


def standardised(
    X: NDArray[np.floating], train: NDArray[np.intp], test: NDArray[np.intp], out: Float64 | None = None
) -> tuple[Float64, Float64]:
    """Standardise neurons on the training trials, in float64; constant ones become 0.

    Parameters
    ----------
    X : float array (n_trials, n_neurons)
        Activity, C-ordered.
    train, test : int arrays (n_train,), (n_test,)
        Rows of X.
    out : float64 array (at least n_train + n_test, n_neurons), optional
        Memory for the result: fresh memory for every fold costs as much as the work.

    Returns
    -------
    Z_train, Z_test : float64 arrays (n_train, n_neurons), (n_test, n_neurons)

    Examples
    --------
    >>> train, test = standardised(np.array([[0.0, 7.0], [2.0, 7.0], [5.0, 8.0]]), np.array([0, 1]), np.array([2]))
    >>> train.tolist(), test.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[4.0, 0.0]])
    """
    trials = np.concatenate((train, test))
    Z = np.empty((len(trials), X.shape[1])) if out is None else out[: len(trials)]
    standardise_into(X, trials, len(train), 1.0, Z)
    return Z[: len(train)], Z[len(train) :]


def n_components(dim_k: int, n_train: int, n_neurons: int) -> int:
    """Cap the number of principal components: ``min(dim_k, n_neurons, n_train - 1)``.

    Examples
    --------
    >>> n_components(128, 100, 500)
    99
    """
    return min(dim_k, n_neurons, n_train - 1)


def principal_components(Z_train: Float64, Z_test: Float64, n_kept: int) -> Reduced:
    """Rotate trials to the first principal components of the training trials.

    Parameters
    ----------
    Z_train, Z_test : float64 arrays (n_train, n_neurons), (n_test, n_neurons)
        Standardised on the training trials, hence centred there.
    n_kept : int
        How many components, at most; of more neurons than trials, directions without variance are left out, as no
        readout uses them.

    Returns
    -------
    Reduced
        Components in the order of decreasing variance, their signs arbitrary.

    Examples
    --------
    >>> Z = np.array([[1.0, 1.0], [-1.0, -1.0]])
    >>> np.abs(principal_components(Z, Z, 1).train).round(3).tolist()
    [[1.414], [1.414]]
    """
    n_train, n_neurons = Z_train.shape
    if n_neurons <= n_train:
        variances, V = eigh(Z_train.T @ Z_train, check_finite=False, driver="evd")
        V = V[:, ::-1][:, :n_kept]
    else:
        variances, U = eigh(Z_train @ Z_train.T, check_finite=False, driver="evd")
        kept = variances[::-1][:n_kept] > _NO_VARIANCE * variances[-1]
        V = Z_train.T @ (U[:, ::-1][:, :n_kept][:, kept] / np.sqrt(variances[::-1][:n_kept][kept]))
    return Reduced(Z_train @ V, Z_test @ V, V, n_neurons)


def largest_f(Z_train: Float64, labels: NDArray[np.bool_], n_kept: int) -> NDArray[np.intp]:
    """Choose the neurons with the largest F of a one-way analysis of variance of the training trials.

    As scikit-learn's ``SelectKBest(f_classif, k=n_kept)``: of equal F the later neurons come first, constant ones last.

    Parameters
    ----------
    Z_train : float64 array (n_train, n_neurons)
        Activity, of any scale and offset near 0.
    labels : bool array (n_train,)
        Their classes.
    n_kept : int
        How many; all if there are fewer.

    Returns
    -------
    int array (n_kept,)
        Increasing.

    Examples
    --------
    >>> Z = np.array([[0.0, 1.0, 0.0], [1.0, -1.0, 0.0], [8.0, 1.0, 0.0], [9.0, -1.0, 0.0]])
    >>> largest_f(Z, np.array([False, False, True, True]), 1).tolist()
    [0]
    """
    n, n_ones = len(labels), int(labels.sum())
    total, ones = Z_train.sum(axis=0), labels.astype(np.float64) @ Z_train
    squares = np.einsum("ij,ij->j", Z_train, Z_train)
    means = ones**2 / n_ones + (total - ones) ** 2 / (n - n_ones)
    between, within = means - total**2 / n, squares - means
    with np.errstate(divide="ignore", invalid="ignore"):
        F = between / (within / (n - 2))
    F = np.where(np.isnan(F) | (squares == 0), -np.inf, F)
    chosen: NDArray[np.intp] = np.sort(np.argsort(F, kind="stable")[-n_kept:])
    return chosen
