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

_LAST_STEP = 1e-8
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


@numba.njit(cache=True, forceinline=True, fastmath={"reassoc", "contract", "nsz"}, nogil=True)
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@numba.njit(cache=True, forceinline=True, fastmath={"reassoc", "contract", "nsz"}, nogil=True)
def _weighted_square(x, q):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(x.size):
        total += x[i] * x[i] * q[i]
    return total


@numba.njit(cache=True, forceinline=True, fastmath={"contract"}, nogil=True)
def _add_product(t, x, q, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] += t * x[i] * q[i]


@numba.njit(cache=True, forceinline=True, nogil=True)
def _sweep(rows, q, curvature, residual, rho, v, only_active, total_q, change_b):  # type: ignore[no-untyped-def]
    """Minimise the model over one coordinate after the other; return the largest gain and the intercept's change.

    `residual` is the descent of the loss's model, C g - q * (change of decisions).
    """
    largest = 0.0
    for j in range(v.size):
        if only_active and v[j] == 0.0:
            continue
        if curvature[j] == 0.0 and v[j] == 0.0:
            continue
        pull = _dot(rows[j], residual) + curvature[j] * v[j]
        new = max(abs(pull) - rho, 0.0) / (curvature[j] + 1 - rho) if curvature[j] + 1 - rho > 0 else 0.0
        if pull < 0:
            new = -new
        step = new - v[j]
        if step != 0.0:
            v[j] = new
            _add_product(-step, rows[j], q, residual)
            largest = max(largest, (curvature[j] + 1 - rho) * step * step)
    shift = residual.sum() / total_q
    for i in range(q.size):
        residual[i] -= shift * q[i]
    largest = max(largest, total_q * shift * shift)
    return largest, change_b + shift


@numba.njit(cache=True, nogil=True)
def _descend(rows, signs, C, rho, w, b, max_iter):  # type: ignore[no-untyped-def]
    """Fit in place; return whether it has converged."""
    n_coordinates, n_trials = rows.shape
    f = np.full(n_trials, b[0])
    for j in range(n_coordinates):
        if w[j] != 0.0:
            for i in range(n_trials):
                f[i] += w[j] * rows[j, i]
    q, residual, df = np.empty(n_trials), np.empty(n_trials), np.empty(n_trials)
    curvature, v = np.empty(n_coordinates), w.copy()
    objective = _objective(f, signs, C, rho, w)
    for _ in range(max_iter):
        total_q = 0.0
        for i in range(n_trials):
            pull = 1 / (1 + np.exp(signs[i] * f[i]))
            q[i] = max(C * pull * (1 - pull), 1e-12 * C)
            residual[i] = C * signs[i] * pull
            total_q += q[i]
        slope_loss = residual.copy()
        for j in range(n_coordinates):
            curvature[j] = _weighted_square(rows[j], q)
            v[j] = w[j]
        change_b = 0.0
        only_active = False
        tolerance = 1e-2 * _LAST_STEP * _LAST_STEP * C
        for _sweep_number in range(_MAX_SWEEPS):
            gain, change_b = _sweep(rows, q, curvature, residual, rho, v, only_active, total_q, change_b)
            if gain <= tolerance:
                if not only_active:
                    break
                only_active = False
            else:
                only_active = True
        for i in range(n_trials):
            df[i] = change_b
        for j in range(n_coordinates):
            if v[j] != w[j]:
                for i in range(n_trials):
                    df[i] += (v[j] - w[j]) * rows[j, i]
        largest, largest_f = 0.0, 0.0
        for i in range(n_trials):
            largest, largest_f = max(largest, abs(df[i])), max(largest_f, abs(f[i]))
        # what the model says that the objective falls at first, per length of the step
        slope = -_dot(slope_loss, df)
        for j in range(n_coordinates):
            slope += rho * (abs(v[j]) - abs(w[j])) + (1 - rho) * w[j] * (v[j] - w[j])
        length = 1.0
        for _halving in range(_MAX_HALVINGS):
            trial_w, trial_f = w + length * (v - w), f + length * df
            new = _objective(trial_f, signs, C, rho, trial_w)
            if new <= objective + 1e-4 * length * slope + 1e-14 * abs(objective):
                break
            length *= 0.5
        for j in range(n_coordinates):
            w[j] = v[j] if length == 1.0 else w[j] + length * (v[j] - w[j])
        for i in range(n_trials):
            f[i] += length * df[i]
        b[0] += length * change_b
        objective = new
        if largest <= _LAST_STEP * (1 + largest_f):
            return True
    return False
