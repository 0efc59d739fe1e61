"""How sparse the activity of a population is (Treves-Rolls)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError


def treves_rolls(rates: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Compute the sparseness of a population's rates.

    With r_i >= 0 the rate of neuron i of n ::

        a = (sum_i r_i / n)^2 / (sum_i r_i^2 / n)

    From 1 / n, one neuron alone is active, to 1, all have the same rate; for binary rates it is the share of neurons
    that are active. A single neuron has 1. Multiplying all rates by the same number changes nothing.

    Parameters
    ----------
    rates : array_like
        Not negative; NaN is left out, and does not count into n.
    axis : int
        That of the neurons.

    Returns
    -------
    numpy.ndarray
        Without that axis; NaN where no neuron is active, or there is none.

    Raises
    ------
    DataError
        A rate is negative.

    References
    ----------
    Treves, A. and Rolls, E. T. (1991), "What determines the capacity of autoassociative memories in the brain?",
    Network 2, 371-397; as population sparseness of rates: Rolls, E. T. and Tovee, M. J. (1995), J. Neurophysiol. 73,
    713-726, equation 1.

    Examples
    --------
    >>> float(treves_rolls([1, 1, 0, 0])), float(treves_rolls([5, 5, 5])), float(treves_rolls([0, 0]))
    (0.5, 1.0, nan)
    """
    rates = np.asarray(rates, dtype=np.float64)
    if (rates < 0).any():
        raise DataError(f"rates go down to {np.nanmin(rates):g}; sparseness is defined for rates of 0 or more")
    there = np.isfinite(rates)
    kept = np.where(there, rates, 0.0)
    return from_sums(kept.sum(axis=axis), (kept * kept).sum(axis=axis), there.sum(axis=axis))


def from_sums(total: ArrayLike, squares: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Compute the same from sums over neurons, so that a population can be added up in parts.

    Parameters
    ----------
    total, squares : array_like
        Sum of the rates, and of their squares.
    n : array_like of int
        How many neurons that is.

    Examples
    --------
    >>> float(from_sums(2.0, 2.0, 4))
    0.5
    """
    total, squares = np.asarray(total, dtype=np.float64), np.asarray(squares, dtype=np.float64)
    divisor = squares * np.asarray(n)
    return np.divide(total * total, divisor, out=np.full(divisor.shape, np.nan), where=divisor > 0)[()]
