r"""L2 logistic regression with a free intercept, one label vector and several C, solved to rounding.

.. math:: \min_{w, b} \tfrac12 w \cdot w + C \sum_i \log(1 + \exp(-s_i\, (t_i \cdot w + b)))

is the objective of scikit-learn's ``LogisticRegression(C=C)``. At its optimum ``w = T'a`` with one coefficient a trial,
``a_i = C g_i`` with the pull ``g_i = s_i / (1 + exp(s_i f_i))``, and ``sum(a) = 0``. With the kernel K = T T' the
decisions are f = K a + b, and one Newton step solves, for the curvatures ``q = C |g| (1 - |g|)``,

.. math:: (K + Q^{-1})\, a + b = f + Q^{-1} C g, \qquad 1'a = 0

through the Cholesky factor of ``I + Q^{1/2} K Q^{1/2}``, which is never singular. There are as many unknowns as
trials, however many neurons there are.

References
----------
Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), algorithm 3.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs
from scipy.special import expit

Float64 = NDArray[np.float64]

# in decisions: a full Newton step of length d leaves an error of about d times as much
_LAST_STEP = 3e-5
_MAX_HALVINGS = 30
_ROUNDING = 1e-14


class FreeFit(NamedTuple):
    """A fit: coefficients (n_trials,) with w = T'a, the intercept, and whether it has converged."""

    coefficients: Float64
    intercept: float
    converged: bool


def fit_free(K: Float64, labels: NDArray[np.bool_], Cs: Sequence[float], max_iter: int = 100) -> list[FreeFit]:
    """Fit one label vector with every C.

    Parameters
    ----------
    K : float64 array (n_trials, n_trials)
        Kernel of the training trials, T T'.
    labels : bool array (n_trials,)
        Both classes occur.
    Cs : sequence of float
        Inverse strengths of the penalty; each fit starts from that of the C before.
    max_iter : int
        Newton steps at most; ten are usual.

    Returns
    -------
    list of FreeFit
        One a C.

    Examples
    --------
    >>> T = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> (fit,) = fit_free(T @ T.T, np.array([False, False, True, True]), [1.0])
    >>> weight = float(T[:, 0] @ fit.coefficients)
    >>> round(weight, 3), round(fit.intercept, 3), fit.converged
    (1.007, 0.0, True)
    """
    signs = np.where(labels, 1.0, -1.0)
    share = labels.mean()
    a, b = np.zeros(len(labels)), float(np.log(share / (1 - share)))
    fits, before = [], None
    for C in Cs:
        if before is not None:
            a = a * min(C / before, 1.0)
        fit = _newton(K, signs, C, a, b, max_iter)
        fits.append(fit)
        a, b, before = fit.coefficients, fit.intercept, C
    return fits


def _newton(K: Float64, signs: Float64, C: float, a: Float64, b: float, max_iter: int) -> FreeFit:
    Ka = K @ a
    loss = _loss(a, Ka, b, signs, C)
    for _ in range(max_iter):
        f = Ka + b
        pull = signs * expit(-signs * f)
        q = C * np.abs(pull) * (1 - np.abs(pull))
        new_a, new_b = _newton_target(K, q, f, C * pull)
        da, db = new_a - a, new_b - b
        Kda = K @ da
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            new_loss = _loss(a + length * da, Ka + length * Kda, b + length * db, signs, C)
            if new_loss <= loss * (1 + _ROUNDING):
                break
            length /= 2
        a, b, Ka, loss = a + length * da, b + length * db, Ka + length * Kda, new_loss
        if length == 1.0 and np.abs(Kda + db).max() < _LAST_STEP:
            return FreeFit(a, float(b), True)
    return FreeFit(a, float(b), False)


def _newton_target(K: Float64, q: Float64, f: Float64, pull: Float64) -> tuple[Float64, float]:
    root = np.sqrt(q)
    B = K * root
    B *= root[:, None]
    B.ravel()[:: len(B) + 1] += 1
    # a C-ordered symmetric matrix is its own transpose in the Fortran order that LAPACK takes
    factor, _ = dpotrf(B.T, lower=1, overwrite_a=1, clean=0)
    r = np.column_stack((q * f + pull, q))
    solved, _ = dpotrs(factor, root[:, None] * (K @ r), lower=1)
    u = r - root[:, None] * solved
    total = u.sum(axis=0)
    b = float(total[0] / total[1])
    return u[:, 0] - b * u[:, 1], b


def _loss(a: Float64, Ka: Float64, b: float, signs: Float64, C: float) -> float:
    return float(0.5 * (a @ Ka) + C * np.logaddexp(0, -signs * (Ka + b)).sum())
