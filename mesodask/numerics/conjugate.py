r"""Nonlinear conjugate gradients for many label vectors at once, as numba kernels in float32.

The logistic loss of one label column (see :mod:`mesodask.numerics.logistic`) is minimised over planes: the direction of
a step is the best combination, in the local quadratic model, of the preconditioned gradient and the last direction
(two unknowns), and its length is corrected by Newton steps along the line where the model was poor. Only the
preconditioned gradient mixes trials or neurons, and that is one matrix product for all columns together; all else is
done row by row while a row lies in the innermost cache.

Every vector of the weight space exists twice: as coordinates ``x`` and as dual coordinates ``y`` with
``<p, q> = sum(p.x * q.y)``. In the space of neurons both are the rotated weights v; in the space of trials (a kernel
method) they are the coefficients ``a`` and the decisions ``f``, because ``w = U'a`` and ``f = U w`` give ``w.w = a.f``.

Rotated weights have ``v.v = w.w + c f.f`` and ``f = V v``. What is minimised over them is ``v.v / 2`` plus the loss
less ``c f.f / 2``: c is the `shift` of the loss's descent and curvature, 0 in the space of trials.
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
# Gains are taken to shrink by no more and no less than this from step to step, whatever the last two did: where
# features are all but the same, the first step gains nearly all and the next ones little
_LEAST_SHRINKAGE, _MOST_SHRINKAGE = _f4(0.1), _f4(0.9)
_GOES_ON, _ARRIVED, _LOST = 0, 1, 2


# reassociation would cancel the rounding constant; a check for division by zero would keep the loop from vectorising
@numba.njit(cache=True, forceinline=True, fastmath={"contract", "nsz", "arcp"}, nogil=True, error_model="numpy")
def _walk(t, v, f, pull, powers, series):  # type: ignore[no-untyped-def]
    """Add t v to the decisions f and make `pull` s / (1 + exp(s f)), minus the derivative of the loss.

    The label s is the sign that `pull` has: an array less in the cache.

    exp(x) = 2**whole * exp(rest), |rest| <= ln(2) / 2, the second factor by a polynomial (relative error of the whole
    below 3e-6). Unlike a call of the library's exp it vectorises, and is many times as fast. `powers` and `series` are
    work space.
    """
    bits = powers.view(np.int32)
    for i in range(f.size):
        f[i] += t * v[i]
        x = f[i] if pull[i] > 0 else -f[i]
        x = min(max(x, _f4(-60)), _f4(60)) * _f4(1.44269504)
        # adding 1.5 * 2**23 rounds to an integer and leaves it in the lowest bits
        rounded = x + _f4(12582912)
        powers[i] = rounded
        r = (x - (rounded - _f4(12582912))) * _f4(0.69314718)
        third = _f4(1 / 6) + r * (_f4(1 / 24) + r * (_f4(1 / 120) + r * _f4(1 / 720)))
        series[i] = _f4(1) + r * (_f4(1) + r * (_f4(0.5) + r * third))
    for i in range(f.size):
        bits[i] = (bits[i] + np.int32(127)) << np.int32(23)
    for i in range(f.size):
        s = _f4(1) if pull[i] > 0 else _f4(-1)
        pull[i] = s / (_f4(1) + series[i] * powers[i])


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _slope_and_curvature(pull, f, v, shift):  # type: ignore[no-untyped-def]
    """Return p.v and v'Qv: descent and Hessian of the loss along v; p and q as in `_loss_products`."""
    slope = curvature = _f4(0)
    for i in range(v.size):
        slope += (pull[i] + shift * f[i]) * v[i]
        curvature += (abs(pull[i]) - pull[i] * pull[i] - shift) * v[i] * v[i]
    return slope, curvature


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _weight_products(x, y, ux, uy, vx, vy):  # type: ignore[no-untyped-def]
    """Return x.x, x.u, x.v, u.u, u.v and v.v in one pass over the weights."""
    xx = xu = xv = uu = uv = vv = _f4(0)
    for i in range(x.size):
        xx += x[i] * y[i]
        xu += x[i] * uy[i]
        xv += x[i] * vy[i]
        uu += ux[i] * uy[i]
        uv += ux[i] * vy[i]
        vv += vx[i] * vy[i]
    return xx, xu, xv, uu, uv, vv


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _loss_products(pull, f, uf, vf, shift):  # type: ignore[no-untyped-def]
    """Return p.u, p.v and f'Qf, u'Qu, u'Qv, v'Qv in one pass over the trials.

    p = pull + shift f is the descent and Q = diag(q), q = |pull| (1 - |pull|) - shift, the Hessian of the shifted loss.
    """
    pu = pv = ff = uu = uv = vv = _f4(0)
    for i in range(f.size):
        p = pull[i] + shift * f[i]
        q = abs(pull[i]) - pull[i] * pull[i] - shift
        pu += p * uf[i]
        pv += p * vf[i]
        ff += q * f[i] * f[i]
        uu += q * uf[i] * uf[i]
        uv += q * uf[i] * vf[i]
        vv += q * vf[i] * vf[i]
    return pu, pv, ff, uu, uv, vv


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _combine(alpha, u, beta, v):  # type: ignore[no-untyped-def]
    """Set v to alpha u + beta v."""
    for i in range(v.size):
        v[i] = alpha * u[i] + beta * v[i]


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _combine_and_add(alpha, u, beta, v, t, x):  # type: ignore[no-untyped-def]
    """Set v to alpha u + beta v and add t v to x."""
    for i in range(x.size):
        v[i] = alpha * u[i] + beta * v[i]
        x[i] += t * v[i]


@numba.njit(cache=True, forceinline=True, nogil=True)
def _best_in_plane(gu, gv, huu, huv, hvv):  # type: ignore[no-untyped-def]
    """Minimise the quadratic with descent (gu, gv) and Hessian ((huu, huv), (huv, hvv)) over a plane."""
    determinant = huu * hvv - huv * huv
    if determinant > _f4(1e-5) * huu * hvv:
        return (gu * hvv - gv * huv) / determinant, (gv * huu - gu * huv) / determinant
    return gu / max(huu, _f4(1e-30)), _f4(0)


@numba.njit(cache=True, forceinline=True, nogil=True)
def _step(x, y, f, ux, uy, uf, vx, vy, vf, pull, powers, series, shift, tol, longest, gain):  # type: ignore[no-untyped-def]
    """Move one column a step; return whether it goes on, has arrived or is lost, and what the model said it gains.

    ``x, y, f``: weights in both coordinates and decisions; ``u*``: preconditioned descent; ``v*``: last direction,
    replaced by the new one. The suffixes are x, y and f (decisions of the direction). `gain` is what the step before
    returned, next to nothing at first.
    """
    xx, xu, xv, uu, uv, vv = _weight_products(x, y, ux, uy, vx, vy)
    pu, pv, qff, quu, quv, qvv = _loss_products(pull, f, uf, vf, shift)
    alpha, beta = _best_in_plane(pu - xu, pv - xv, uu + quu, uv + quv, vv + qvv)
    slope = alpha * (pu - xu) + beta * (pv - xv)
    if not (slope > 0 and alpha < longest):
        return _LOST, slope
    # x.v and v.v of the new direction, while y and vy are still the old ones
    along = alpha * xu + beta * xv
    square = alpha * alpha * uu + _f4(2) * alpha * beta * uv + beta * beta * vv
    _combine(alpha, uf, beta, vf)
    # twice what the model says this step gains; if gains go on to shrink as this one did against the last, all that
    # come after it make up the squared error, in the energy norm, that it leaves
    shrinkage = min(max(slope / gain, _LEAST_SHRINKAGE), _MOST_SHRINKAGE)
    arrived = slope * shrinkage / (_f4(1) - shrinkage) <= tol * tol * (xx + qff)
    length, change = _f4(0), _f4(1)
    for _ in range(1 + _MAX_LINE_STEPS):
        length += change
        _walk(change, vf, f, pull, powers, series)
        if arrived:
            break
        ahead, curvature = _slope_and_curvature(pull, f, vf, shift)
        left = ahead - along - length * square
        if abs(left) <= _LINE_TOLERANCE * slope:
            break
        # half to twice the length: beyond the bend of the loss a Newton step means little
        newton = left / max(square + curvature, _f4(1e-30))
        change = min(max(newton, -length / 2), length)
    _combine_and_add(alpha, ux, beta, vx, length, x)
    return _ARRIVED if arrived else _GOES_ON, slope


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True, error_model="numpy")
def _scaled_residual(pull, x, curvature, diagonal, out):  # type: ignore[no-untyped-def]
    """Write (pull - x) / (1 + diagonal (q - curvature)) to `out`."""
    for i in range(x.size):
        q = abs(pull[i]) - pull[i] * pull[i]
        out[i] = (pull[i] - x[i]) / (_f4(1) + diagonal * (q - curvature))


@numba.njit(cache=True, forceinline=True, fastmath=_FAST, nogil=True)
def _add_scaled(p, t, q, out):  # type: ignore[no-untyped-def]
    """Write p + t q to `out`; an array expression would allocate."""
    for i in range(p.size):
        out[i] = p[i] + t * q[i]


@numba.njit(cache=True, forceinline=True, nogil=True)
def _set_out(dual, pull, x, f, curvature, diagonal, g):  # type: ignore[no-untyped-def]
    """Write to `g` what the next product takes: z in the space of trials, ``g + c f`` in that of neurons."""
    if dual:
        _scaled_residual(pull, x, curvature, diagonal, g)
    else:
        _add_scaled(pull, curvature, f, g)


@numba.njit(cache=True, forceinline=True, nogil=True)
def _multiply(dual, M, g, x, ux, uf):  # type: ignore[no-untyped-def]
    """Write the decisions of the preconditioned descent of all columns to `uf`, and in weight space itself to `ux`."""
    if dual:
        np.dot(g, M, uf)
        return
    np.dot(g, M, ux)
    for j in range(len(ux)):
        _add_scaled(ux[j], _f4(-1), x[j], ux[j])
    np.dot(ux, M.T, uf)


@numba.njit(cache=True, nogil=True)
def minimise(dual, M, curvature, diagonal, S, X, F, tol, max_iter):  # type: ignore[no-untyped-def]
    """Minimise the loss of every column, in place.

    In the space of neurons (`dual` false) X are rotated weights v, and the preconditioned descent is the gradient
    itself, ``V' (g + c f) - v`` with M = V: two thin products an iteration. In the space of trials X are coefficients
    a, and it is ``df = N z``, ``da = z - c df`` with M = N and z the residual g - a over ``1 + diagonal (q - c)``,
    trial by trial: one product. Columns that have arrived leave the products; those that are lost are left at 0.

    Parameters
    ----------
    dual : bool
        Which space.
    M : float32 array (n_trials, n_features) or (n_trials, n_trials)
        V, or the symmetric preconditioner N.
    curvature : float32
        The curvature c of the loss that M was made for; 0 if N is the kernel itself.
    diagonal : float32
        What stands for the diagonal of N when a trial's own curvature q differs from the shared one; 0 ignores q.
    S : float32 array (n_columns, n_trials)
        Labels -1 and 1.
    X : float32 array (n_columns, n_features) or (n_columns, n_trials)
        Rotated weights or coefficients: start, then solution.
    F : float32 array (n_columns, n_trials)
        Decisions of X: start, then end.
    tol : float32
        Relative error, in the energy norm, at which a column has arrived.
    max_iter : int
        Iterations at most.
    """
    n_live = len(F)
    # the columns not yet arrived are the first n_live rows of all that follows; order tells which they are
    order = np.arange(n_live)
    x, f, pull = X.copy(), F.copy(), _f4(0.5) * S
    powers, series = np.empty(F.shape[1], np.float32), np.empty(F.shape[1], np.float32)
    gain = np.full(n_live, np.float32(1e-30))
    longest = _LONGEST_STEP if dual and curvature > 0 else _f4(np.inf)
    shift = _f4(0) if dual else curvature
    # in the space of trials a row of ux serves all columns: what is not kept cannot fall out of the cache
    ux, vx = np.empty((1 if dual else n_live, X.shape[1]), np.float32), np.zeros_like(X)
    uf, vf, g = np.empty_like(F), np.zeros_like(F), np.empty_like(F)
    # the dual coordinates of weights and directions, see the top of this module
    y, uy, vy = (f, uf, vf) if dual else (x, ux, vx)
    for j in range(n_live):
        _walk(_f4(0), vf[j], f[j], pull[j], powers, series)
        _set_out(dual, pull[j], x[j], f[j], curvature, diagonal, g[j])
    for _ in range(max_iter):
        _multiply(dual, M, g[:n_live], x, ux[:n_live], uf[:n_live])
        for j in range(n_live - 1, -1, -1):
            row = 0 if dual else j
            if dual:
                _add_scaled(g[j], -curvature, uf[j], ux[row])
            status, gain[j] = _step(
                x[j], y[j], f[j], ux[row], uy[j], uf[j], vx[j], vy[j], vf[j], pull[j], powers, series, shift, tol,
                longest, gain[j],
            )  # fmt: skip
            if status == _GOES_ON:
                _set_out(dual, pull[j], x[j], f[j], curvature, diagonal, g[j])  # while its row lies in the cache
            else:
                if status != _ARRIVED:
                    x[j], f[j] = _f4(0), _f4(0)
                X[order[j]], F[order[j]] = x[j], f[j]
                n_live -= 1
                order[j], gain[j] = order[n_live], gain[n_live]
                for rows in (x, f, vx, vf, pull, g):
                    rows[j] = rows[n_live]
        if n_live == 0:
            return
    for j in range(n_live):
        X[order[j]], F[order[j]] = x[j], f[j]


@numba.njit(cache=True, nogil=True)
def signs(labels):  # type: ignore[no-untyped-def]
    """Return labels as float32 -1 and 1, and how many of each row are true; in one pass, where NumPy takes four.

    Examples
    --------
    >>> s, n_true = signs(np.array([[True, False, True]]))
    >>> s.tolist(), n_true.tolist()
    ([[1.0, -1.0, 1.0]], [2])
    """
    s, n_true = np.empty(labels.shape, np.float32), np.zeros(len(labels), np.int64)
    for j in range(len(labels)):
        count = np.int32(0)
        for i in range(labels.shape[1]):
            s[j, i] = _f4(1) if labels[j, i] else _f4(-1)
            count += np.int32(labels[j, i])
        n_true[j] = count
    return s, n_true


@numba.njit(cache=True, nogil=True)
def pulls(S, F):  # type: ignore[no-untyped-def]
    """Return the pull g = s / (1 + exp(s f)) of every column at its decisions, (n_columns, n_trials) as S and F.

    Examples
    --------
    >>> pulls(np.array([[-1, 1]], dtype=np.float32), np.zeros((1, 2), dtype=np.float32)).tolist()
    [[-0.5, 0.5]]
    """
    pull, powers, series = _f4(0.5) * S, np.empty(S.shape[1], np.float32), np.empty(S.shape[1], np.float32)
    for j in range(len(S)):
        # a step of length 0; along f itself it would overlap, and the loop not vectorise
        _walk(_f4(0), S[j], F[j], pull[j], powers, series)
    return pull


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
