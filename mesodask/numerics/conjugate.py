r"""Nonlinear conjugate gradients for many label vectors at once, as numba kernels in float32.

The logistic loss of one label column (see :mod:`mesodask.numerics.logistic`) is minimised over planes: the direction of
a step is the best combination, in the local quadratic model, of the preconditioned gradient and the last direction
(two unknowns), and its length is corrected by Newton steps along the line where the model was poor. Only the
preconditioned gradient mixes trials or neurons, and that is one matrix product for all columns together; all else is
done row by row while a row lies in the innermost cache.

Every vector of the weight space exists twice: as coordinates ``x`` and as dual coordinates ``y`` with
``<p, q> = sum(p.x * q.y)``. In the space of neurons both are the weights; in the space of trials (a kernel method) they
are the coefficients ``a`` and the decisions ``f``, because ``w = U'a`` and ``f = U w`` give ``w.w = a.f``.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_f4 = np.float32
# sums may be reordered and fused so that they vectorise; NaN and infinity keep their meaning
_FAST = {"reassoc", "contract", "nsz", "arcp"}
# Newton steps along a line, and the share of the first slope that may remain there
_MAX_LINE_STEPS = 4
_LINE_TOLERANCE = _f4(0.2)
# In trial space a step of length t multiplies what a has outside the range of the kernel by 1 - t. Steps far above 2
# come where the loss is much flatter than the shared curvature (data decoded without error): that column starts anew
_LONGEST_STEP = _f4(4)
_GOES_ON, _ARRIVED, _LOST = 0, 1, 2


# reassociation would cancel the rounding constant; a check for division by zero would keep the loop from vectorising
@numba.njit(cache=True, fastmath={"contract", "nsz", "arcp"}, nogil=True, error_model="numpy")
def _pull(s: Float32, f: Float32, powers: Float32, out: Float32) -> None:
    """Write s / (1 + exp(s f)), minus the derivative of log(1 + exp(-s f)), to `out`, all (n_trials,).

    exp(x) = 2**whole * exp(rest), |rest| <= ln(2) / 2, the second factor by a polynomial (relative error of the whole
    below 3e-6). Unlike a call of the library's exp it vectorises, and is many times as fast. `powers` is work space.
    """
    bits = powers.view(np.int32)
    for i in range(f.size):
        x = min(max(s[i] * f[i], _f4(-60)), _f4(60)) * _f4(1.44269504)
        # adding 1.5 * 2**23 rounds to an integer and leaves it in the lowest bits
        rounded = x + _f4(12582912)
        powers[i] = rounded
        r = (x - (rounded - _f4(12582912))) * _f4(0.69314718)
        series = _f4(1 / 6) + r * (_f4(1 / 24) + r * (_f4(1 / 120) + r * _f4(1 / 720)))
        out[i] = _f4(1) + r * (_f4(1) + r * (_f4(0.5) + r * series))
    for i in range(f.size):
        bits[i] = (bits[i] + np.int32(127)) << np.int32(23)
    for i in range(f.size):
        out[i] = s[i] / (_f4(1) + out[i] * powers[i])


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _dot(p, q):  # type: ignore[no-untyped-def]
    total = _f4(0)
    for i in range(p.size):
        total += p[i] * q[i]
    return total


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _add(t: float, p: Float32, out: Float32) -> None:
    for i in range(p.size):
        out[i] += t * p[i]


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _curvature(pull, p, q):  # type: ignore[no-untyped-def]
    """Sum of |pull| (1 - |pull|) p q: the Hessian of the loss between two directions of decisions."""
    total = _f4(0)
    for i in range(p.size):
        total += (abs(pull[i]) - pull[i] * pull[i]) * p[i] * q[i]
    return total


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _plane_products(x, y, g, ux, uy, vx, vy):  # type: ignore[no-untyped-def]
    """Return g.u, g.v, u.u, u.v, v.v and x.x in one pass over the weights."""
    gu = gv = uu = uv = vv = xx = _f4(0)
    for i in range(x.size):
        gu += g[i] * uy[i]
        gv += g[i] * vy[i]
        uu += ux[i] * uy[i]
        uv += ux[i] * vy[i]
        vv += vx[i] * vy[i]
        xx += x[i] * y[i]
    return gu, gv, uu, uv, vv, xx


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _plane_curvatures(pull, uf, vf, f):  # type: ignore[no-untyped-def]
    """Return u'Qu, u'Qv, v'Qv and f'Qf, Q = diag(q), in one pass over the trials."""
    uu = uv = vv = ff = _f4(0)
    for i in range(f.size):
        q = abs(pull[i]) - pull[i] * pull[i]
        uu += q * uf[i] * uf[i]
        uv += q * uf[i] * vf[i]
        vv += q * vf[i] * vf[i]
        ff += q * f[i] * f[i]
    return uu, uv, vv, ff


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _move(alpha, u, beta, v, x):  # type: ignore[no-untyped-def]
    """Set v to alpha u + beta v and add it to x."""
    for i in range(x.size):
        v[i] = alpha * u[i] + beta * v[i]
        x[i] += v[i]


@numba.njit(cache=True, nogil=True)
def _best_in_plane(gu, gv, huu, huv, hvv):  # type: ignore[no-untyped-def]
    """Minimise the quadratic with descent (gu, gv) and Hessian ((huu, huv), (huv, hvv)) over a plane."""
    determinant = huu * hvv - huv * huv
    if determinant > _f4(1e-5) * huu * hvv:
        return (gu * hvv - gv * huv) / determinant, (gv * huu - gu * huv) / determinant
    return gu / max(huu, _f4(1e-30)), _f4(0)


@numba.njit(cache=True, nogil=True)
def _step(s, x, y, f, g, ux, uy, uf, vx, vy, vf, pull, powers, tol, longest):  # type: ignore[no-untyped-def]
    """Move one column a step; return whether it goes on, has arrived or is lost.

    ``x, y, f``: weights in both coordinates and decisions; ``g``: descent, dual to y; ``u*``: preconditioned descent;
    ``v*``: last direction, replaced by the new one. The suffixes are x, y and f (decisions of the direction).
    """
    gu, gv, uu, uv, vv, size = _plane_products(x, y, g, ux, uy, vx, vy)
    quu, quv, qvv, qff = _plane_curvatures(pull, uf, vf, f)
    alpha, beta = _best_in_plane(gu, gv, uu + quu, uv + quv, vv + qvv)
    slope = alpha * gu + beta * gv
    if not (slope > 0 and alpha < longest):
        return _LOST
    _move(alpha, ux, beta, vx, x)
    _move(alpha, uf, beta, vf, f)
    _pull(s, f, powers, pull)
    # twice what the model says is left to gain, against the size of the solution in the same (energy) norm
    if slope <= tol * tol * (size + qff):
        return _ARRIVED
    length = _f4(1)
    for _ in range(_MAX_LINE_STEPS):
        left = _dot(pull, vf) - _dot(x, vy)
        if abs(left) <= _LINE_TOLERANCE * slope:
            break
        newton = left / max(_dot(vx, vy) + _curvature(pull, vf, vf), _f4(1e-30))
        # half to twice the length: beyond the bend of the loss a Newton step means little
        change = min(max(newton, -length / 2), length)
        length += change
        _add(change, vx, x)
        _add(change, vf, f)
        _pull(s, f, powers, pull)
    return _GOES_ON


@numba.njit(cache=True, fastmath=_FAST, nogil=True)
def _subtract(P, t, Q, n_rows, out):  # type: ignore[no-untyped-def]
    """Write P - t Q to `out`, for the first rows; an array expression would allocate."""
    for j in range(n_rows):
        for i in range(P.shape[1]):
            out[j, i] = P[j, i] - t * Q[j, i]


@numba.njit(cache=True, nogil=True)
def minimise(dual, U, M, curvature, S, X, F, tol, max_iter):  # type: ignore[no-untyped-def]
    """Minimise the loss of every column, in place.

    In the space of neurons (`dual` false) X are weights w, and the preconditioned descent is ``M (U' g - w)`` with M
    about the inverse of the Hessian: two thin products an iteration. In the space of trials X are coefficients a, and
    the preconditioned descent is ``df = N (g - a)``, ``da = (g - a) - curvature df`` with M = N: one product.
    Columns that have arrived leave the products; those that are lost are left at 0.

    Parameters
    ----------
    dual : bool
        Which space.
    U : float32 array (n_trials, n_features)
        Features; not read in the space of trials.
    M : float32 array (n_features, n_features) or (n_trials, n_trials)
        Preconditioner, symmetric.
    curvature : float32
        The curvature of the loss that N was made for; 0 if N is the kernel itself, and in the space of neurons.
    S : float32 array (n_columns, n_trials)
        Labels -1 and 1.
    X : float32 array (n_columns, n_features) or (n_columns, n_trials)
        Weights or coefficients: start, then solution.
    F : float32 array (n_columns, n_trials)
        Decisions of X: start, then end.
    tol : float32
        Relative error, in the energy norm, at which a column has arrived.
    max_iter : int
        Iterations at most.
    """
    n_live, n_trials = F.shape
    # the columns not yet arrived are the first n_live rows of all that follows; order tells which they are
    order = np.arange(n_live)
    s, x, f = S.copy(), X.copy(), F.copy()
    powers = np.empty(n_trials, np.float32)
    longest = _LONGEST_STEP if curvature > 0 else _f4(np.inf)
    g, ux, vx = np.empty_like(X), np.empty_like(X), np.zeros_like(X)
    uf, vf, pull = np.empty_like(F), np.zeros_like(F), np.empty_like(F)
    # the dual coordinates of weights and directions, see the top of this module
    y, uy, vy = (f, uf, vf) if dual else (x, ux, vx)
    for j in range(n_live):
        _pull(s[j], f[j], powers, pull[j])
    for _ in range(max_iter):
        if dual:
            _subtract(pull, _f4(1), x, n_live, g)
            np.dot(g[:n_live], M, uf[:n_live])
            _subtract(g, curvature, uf, n_live, ux)
        else:
            np.dot(pull[:n_live], U, g[:n_live])
            _subtract(g, _f4(1), x, n_live, g)
            np.dot(g[:n_live], M, ux[:n_live])
            np.dot(ux[:n_live], U.T, uf[:n_live])
        for j in range(n_live - 1, -1, -1):
            status = _step(
                s[j], x[j], y[j], f[j], g[j], ux[j], uy[j], uf[j], vx[j], vy[j], vf[j], pull[j], powers, tol, longest
            )
            if status != _GOES_ON:
                kept = _f4(status == _ARRIVED)
                X[order[j]], F[order[j]] = kept * x[j], kept * f[j]
                n_live -= 1
                order[j] = order[n_live]
                for rows in (s, x, f, vx, vf, pull):
                    rows[j] = rows[n_live]
        if n_live == 0:
            return
    for j in range(n_live):
        X[order[j]], F[order[j]] = x[j], f[j]


@numba.njit(cache=True, nogil=True)
def mirror_upper(matrix: Float32) -> Float32:
    """Copy the upper triangle of a C-ordered float32 matrix (n, n) over the lower one, in place; return it.

    Examples
    --------
    >>> mirror_upper(np.array([[1, 2], [9, 3]], dtype=np.float32)).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    # in tiles: a column of a large matrix touches one cache line an element
    n, tile = len(matrix), 32
    for top in range(0, n, tile):
        for left in range(0, top + tile, tile):
            for i in range(top, min(top + tile, n)):
                for j in range(left, min(left + tile, i)):
                    matrix[i, j] = matrix[j, i]
    return matrix
