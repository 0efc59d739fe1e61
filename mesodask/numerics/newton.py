"""L2 logistic regression by Newton's method in float64, a column at a time: slow, and sure.

References
----------
Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), algorithm 3.1, for the Newton step in trial space.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_GRADIENT_LEFT = 1e-6  # of the gradient, against its start
_MAX_STEPS = 60


def newton_fits(U: Float32, S: Float32) -> tuple[Float64, NDArray[np.bool_]]:
    """Solve columns by Newton's method in float64; return weights (n_columns, n_features) and convergence."""
    features = U.astype(np.float64)
    kernel = features @ features.T
    fits = [_newton(kernel, s) for s in S.astype(np.float64)]
    return np.array([a for a, _ in fits]) @ features, np.array([converged for _, converged in fits])


def _newton(kernel: Float64, s: Float64) -> tuple[Float64, bool]:
    """Solve one column by damped Newton steps in trial space; return the coefficients and whether they converged.

    With B = I + sqrt(q) K sqrt(q) and r = g - a the step is ``da = r - sqrt(q) B^-1 sqrt(q) K r``.
    """
    a, f = np.zeros_like(s), np.zeros_like(s)
    start = 0.25 * s @ kernel @ s
    for _ in range(_MAX_STEPS):
        pull = s * expit(-s * f)
        residual = pull - a
        ascent = kernel @ residual
        if residual @ ascent <= _GRADIENT_LEFT**2 * start:
            return a, True
        root = np.sqrt(np.abs(pull) * (1 - np.abs(pull)))
        factor = cho_factor(np.eye(len(s)) + root[:, None] * kernel * root, lower=True)
        da = residual - root * cho_solve(factor, root * ascent)
        df = kernel @ da
        loss, step = _loss(a, f, s), 1.0
        while _loss(a + step * da, f + step * df, s) > loss * (1 + 1e-12) and step > 1e-6:
            step /= 2
        a, f = a + step * da, f + step * df
    return a, False


def _loss(a: Float64, f: Float64, s: Float64) -> float:
    return float(0.5 * a @ f + np.logaddexp(0, -s * f).sum())
