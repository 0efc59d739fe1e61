r"""Logistic regression with an elastic net, solved to rounding by coordinate descent on Newton models.

.. math:: \min_{w, b} \rho |w|_1 + \tfrac{1 - \rho}2 w \cdot w + C \sum_i \log(1 + \exp(-s_i\, (t_i \cdot w + b)))

is the objective of scikit-learn's ``LogisticRegression(C=C, l1_ratio=rho, solver="saga")``. The loss is replaced by its
quadratic model at the present weights, that is minimised by cyclic coordinate descent, and a step along the way there
is halved until the objective falls as it should.

References
----------
Friedman, Hastie & Tibshirani, Regularization paths for generalized linear models via coordinate descent, J. Stat.
Softw. 33 (2010). Lee, Sun & Saunders, Proximal Newton-type methods, SIAM J. Optim. 24 (2014).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# sums may be reordered and fused so that they vectorise; NaN and infinity keep their meaning
_FAST = {"reassoc", "contract", "nsz", "arcp"}
# in decisions; the errors of Newton's method are about this times the step before
_LAST_STEP = 1e-6
# of the gain of a sweep over C: a coordinate that gains less moves decisions by its root, over the root of q
_MODEL_TOLERANCE = 1e-15
_LEAST_CURVATURE = 1e-12
_MAX_SWEEPS = 2000
_MAX_HALVINGS = 40


class ElasticFit(NamedTuple):
    """A fit: weights (n_coordinates,), the intercept, and whether it has converged."""

    weights: Float64
    intercept: float
    converged: bool


def fit_elastic_net(
    T: Float64, labels: NDArray[np.bool_], Cs: Sequence[float], l1_ratio: float, max_iter: int = 200
) -> list[ElasticFit]:
    """Fit one label vector with every C.

    Parameters
    ----------
    T : float64 array (n_trials, n_coordinates)
        Training trials.
    labels : bool array (n_trials,)
        Both classes occur.
    Cs : sequence of float
        Inverse strengths of the penalty; each fit starts from that of the C before.
    l1_ratio : float
        Share of the l1 norm in the penalty, in [0, 1].
    max_iter : int
        Newton steps at most.

    Returns
    -------
    list of ElasticFit
        One a C.

    Examples
    --------
    >>> T = np.array([[-2.0, 0.1], [-1.0, -0.1], [1.0, -0.1], [2.0, 0.1]])
    >>> (fit,) = fit_elastic_net(T, np.array([False, False, True, True]), [1.0], 0.5)
    >>> fit.weights.round(3).tolist(), abs(round(fit.intercept, 3)), fit.converged
    ([1.009, 0.0], 0.0, True)
    """
    signs = np.where(labels, 1.0, -1.0)
    share = labels.mean()
    # one coordinate's trials lie together
    rows = np.ascontiguousarray(T.T)
    w, b = np.zeros(T.shape[1]), np.array([np.log(share / (1 - share))])
    fits = []
    for C in Cs:
        converged = _descend(rows, signs, float(C), float(l1_ratio), w, b, max_iter)
        fits.append(ElasticFit(w.copy(), float(b[0]), bool(converged)))
    return fits


@numba.njit(cache=True, forceinline=True, nogil=True)
def _objective(f, signs, C, rho, w):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(f.size):
        x = -signs[i] * f[i]
        total += max(x, 0.0) + np.log1p(np.exp(-abs(x)))
    penalty = 0.0
    for j in range(w.size):
        penalty += rho * abs(w[j]) + 0.5 * (1 - rho) * w[j] * w[j]
    return C * total + penalty


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _weighted_square(x, q):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(x.size):
        total += x[i] * x[i] * q[i]
    return total


@numba.njit(cache=True, forceinline=True, fastmath={"contract"}, nogil=True)
def _add_weighted(t, x, q, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] += t * x[i] * q[i]


@numba.njit(cache=True, forceinline=True, fastmath={"contract"}, nogil=True)
def _add_scaled(t, x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] += t * x[i]


@numba.njit(cache=True, forceinline=True, nogil=True)
def _soft(pull, rho, curvature):  # type: ignore[no-untyped-def]
    """Minimise ``curvature x**2 / 2 - pull x + rho |x|``."""
    size = max(abs(pull) - rho, 0.0) / curvature
    return size if pull > 0 else -size


@numba.njit(cache=True, forceinline=True, nogil=True)
def _sweep(rows, q, total_q, curvature, residual, rho, v, only_active):  # type: ignore[no-untyped-def]
    """Minimise the model over one coordinate after the other and the intercept; return the largest gain and its change.

    `residual` is the descent of the loss's model at the present v, ``C g - q df``, and is kept so.
    """
    largest = 0.0
    for j in range(v.size):
        square = curvature[j] + 1 - rho
        # under a pure l1 norm a coordinate that is constant has no curvature at all
        if square <= 0.0 or (only_active and v[j] == 0.0):
            continue
        change = _soft(_dot(rows[j], residual) + curvature[j] * v[j], rho, square) - v[j]
        if change != 0.0:
            v[j] += change
            _add_weighted(-change, rows[j], q, residual)
            largest = max(largest, square * change * change)
    shift = residual.sum() / total_q
    _add_scaled(-shift, q, residual)
    return max(largest, total_q * shift * shift), shift


@numba.njit(cache=True, forceinline=True, nogil=True)
def _minimise_model(rows, q, residual, rho, v, curvature, tolerance):  # type: ignore[no-untyped-def]
    """Sweep until a whole sweep gains next to nothing; change v and return the change of the intercept."""
    total_q = q.sum()
    for j in range(v.size):
        curvature[j] = _weighted_square(rows[j], q)
    change, only_active = 0.0, False
    for _ in range(_MAX_SWEEPS):
        gain, shift = _sweep(rows, q, total_q, curvature, residual, rho, v, only_active)
        change += shift
        if gain <= tolerance and not only_active:
            break
        # coordinates at 0 are asked again only when the others have settled
        only_active = gain > tolerance
    return change


@numba.njit(cache=True, forceinline=True, nogil=True)
def _slope(pull, df, w, v, rho):  # type: ignore[no-untyped-def]
    """Return a bound of how the objective changes at first on the way from w to v."""
    slope = -_dot(pull, df)
    for j in range(w.size):
        slope += rho * (abs(v[j]) - abs(w[j])) + (1 - rho) * w[j] * (v[j] - w[j])
    return slope


@numba.njit(cache=True, forceinline=True, nogil=True)
def _step_length(f, df, signs, C, rho, w, v, slope, objective):  # type: ignore[no-untyped-def]
    """Halve a step until the objective falls as it should; return its length and the objective there."""
    length, new = 1.0, objective
    for _ in range(_MAX_HALVINGS):
        new = _objective(f + length * df, signs, C, rho, w + length * (v - w))
        if new <= objective + 1e-4 * length * slope + 1e-14 * abs(objective):
            break
        length *= 0.5
    return length, new


@numba.njit(cache=True, nogil=True)
def _descend(rows, signs, C, rho, w, b, max_iter):  # type: ignore[no-untyped-def]
    """Fit w and b in place; return whether it has converged."""
    f, df, curvature = np.full(rows.shape[1], b[0]), np.empty(rows.shape[1]), np.empty(len(rows))
    for j in range(len(rows)):
        _add_scaled(w[j], rows[j], f)
    objective = _objective(f, signs, C, rho, w)
    for _ in range(max_iter):
        g = 1 / (1 + np.exp(signs * f))
        pull = C * signs * g
        # without a floor trials decided beyond doubt would leave a model without curvature
        q = C * np.maximum(g * (1 - g), _LEAST_CURVATURE)
        v = w.copy()
        change = _minimise_model(rows, q, pull.copy(), rho, v, curvature, C * _MODEL_TOLERANCE)
        df[:] = change
        for j in range(len(rows)):
            if v[j] != w[j]:
                _add_scaled(v[j] - w[j], rows[j], df)
        length, objective = _step_length(f, df, signs, C, rho, w, v, _slope(pull, df, w, v, rho), objective)
        if length == 1.0:
            w[:] = v  # a weight that has become 0 is 0
        else:
            w += length * (v - w)
        f += length * df
        b[0] += length * change
        if length == 1.0 and np.abs(df).max() <= _LAST_STEP:
            return True
    return False
