r"""L2 logistic regression for many label vectors on the same features.

For labels s = -1 or 1 and features u (standardised neurons and a unit feature, all times sqrt(C)), the objective of
liblinear

.. math:: \tfrac12 w \cdot w + \sum_i \log(1 + \exp(-s_i\, u_i \cdot w))

is minimised for all label columns together. With the decisions f = U w and the pull g_i = s_i / (1 + exp(s_i f_i)) the
optimum is where ``w = U' g``. Hence w = U' a with one coefficient a trial, and f = K a with K = U U': where there are
at least half as many features as trials the solver works on (a, f), at one product with a trials x trials matrix an
iteration, else on w, rotated. The Hessian I + U' diag(q) U, ``q = |g| (1 - |g|)``, differs between columns only by q;
with one number c for q it becomes the preconditioner that all share, factored once: ``P = (I + c U'U)^-1`` for w, and
for f ``N = U P U' = (I - (I + c K)^-1) / c``. Where the kernel reaches most of the trial space, N is close to its mean
diagonal nu times the identity, and what a trial's own q_i lacks of c or exceeds it by is made good beside the product:

.. math:: (N^{-1} + \mathrm{diag}(q - c))^{-1} \approx N\, \mathrm{diag}(1 / (1 + \nu (q_i - c)))

Precision: features, kernel and iterations are float32. Every column is then checked against the first-order condition,
with decisions computed afresh; one that fails it is solved again by Newton's method in float64.

References
----------
Fan, Chang, Hsieh, Wang & Lin, LIBLINEAR, JMLR 9 (2008). Rasmussen & Williams, Gaussian Processes for Machine Learning
(2006), algorithm 3.1, for the Newton step in trial space.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, strtri

from mesodask.errors import DataError
from mesodask.numerics.conjugate import minimise, pulls, signs
from mesodask.numerics.newton import newton_fits
from mesodask.numerics.preconditioner import damped, shrunk_kernel

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# relative error of the solution in the energy norm: decisions stay within 1e-3. What fails the check goes on from where
# it is with a tighter one, at last without the preconditioner
_TOLERANCE = 2.5e-4
_TIGHTENING = (1.0, 0.25, 0.1)
# how far the decisions that the iterations carry along may lie from those of the solution where they are computed
# afresh, and by how many sums with random signs that is measured otherwise
_DRIFT = 3e-4
_N_PROBES = 8
# of a float32 sum of some hundred products, against the sum of their magnitudes
_ROUNDING = np.float32(4e-6)
# some tens are usual; along the kernel itself, data that are decoded without error take some hundreds (after 200
# decisions were 1.6e-3 off)
_MAX_ITERATIONS = 1000
# what may remain of the gradient, against its start, after the float32 solver
_GRADIENT_LEFT = 3e-4
# the energy norm counts every direction by its curvature, the iterations along the kernel itself are slowest where that
# is small, and there decisions are off by up to ten times as much
_WITHOUT_PRECONDITIONER = 0.1
# up to so many columns the 1.3 ms of an inverse cost more than the iterations they save (320 trials)
_FEW_COLUMNS = 8
# nu c is the share of the trial space that the kernel reaches. From a half on, weighting each trial by its own q saves
# up to half of the iterations (21.5 to 13.6 at k = 256, 16 to 8 at 512); below, it disturbs what lies out of reach
_MOST_OF_THE_SPACE = 0.5


@dataclass(frozen=True)
class LogisticFits:
    """The fits of all label columns.

    Attributes
    ----------
    features : float32 array (n_trials, n_features)
        What they were fitted on.
    solution : float32 array (n_columns, n_trials) or (n_columns, n_features)
        Coefficients a, with weights ``a @ features``, if `dual`; else the weights.
    dual : bool
        Which of them.
    converged : bool array (n_columns,)
        Whether the first-order condition holds: the gradient is below 3e-4 of its start.
    refined : bool array (n_columns,)
        Whether the float32 solution failed the check and the float64 one replaced it.
    """

    features: Float32
    solution: Float32
    dual: bool
    converged: NDArray[np.bool_]
    refined: NDArray[np.bool_]

    @property
    def weights(self) -> Float32:
        """Weights (n_columns, n_features)."""
        return self.solution @ self.features if self.dual else self.solution

    def decisions(self, U: Float32) -> Float32:
        """Return the decisions of all columns, (n_columns, n_trials), on the features U of other trials."""
        n_fitted, n_columns = len(self.features), len(self.solution)
        # through the kernel between the two sets of trials where that is less work than through the weights: a tenth
        # of a score at k = 2048, 101 columns
        if self.dual and n_fitted * len(U) < n_columns * (n_fitted + len(U)):
            return self.solution @ (self.features @ U.T)
        return self.weights @ U.T


class LogisticProblem:
    """Features of one fold, and what all fits on them share: the kernel between trials, or its factor.

    However many label columns are fitted before, others get the same bits.

    Parameters
    ----------
    U : float32 array (n_trials, n_features)
        Features as they enter the decision: scaled by sqrt(C), a constant sqrt(C) among them for the intercept.

    Raises
    ------
    DataError
        If U is no matrix, or a feature is not finite.
    """

    def __init__(self, U: Float32) -> None:
        if U.ndim != 2:
            raise DataError(f"features have shape {U.shape}, expected (n_trials, n_features)")
        self.U: Float32 = np.ascontiguousarray(U, dtype=np.float32)
        self._space = _Trials(self.U) if 2 * U.shape[1] >= len(U) else _Neurons(self.U)

    def fit(self, labels: NDArray[np.bool_], *, precision: float = 1.0) -> LogisticFits:
        """Fit every label column: :func:`fit_logistic`."""
        U, space = self.U, self._space
        if labels.shape[1] != len(U):
            raise DataError(
                f"features have shape {U.shape}, labels are for {labels.shape[1]} trials: one row a trial each"
            )
        S, n_true = signs(labels)
        space.begin(len(S))
        X, F = np.zeros((len(S), space.n_coordinates), dtype=np.float32), np.zeros_like(S)
        # one swapped pair of trials moves an AUC the more, the fewer pairs there are: 1 if balanced, .36 at 10 %
        share = n_true / len(U)
        balance = float(np.min(4 * share * (1 - share)))
        todo = np.arange(len(S))
        for attempt, tightening in enumerate(_TIGHTENING):
            if attempt == len(_TIGHTENING) - 1:
                space.drop_preconditioner()
            everything = len(todo) == len(S)  # then without copies: a twentieth of a score at k = 8
            s, x, f = (S, X, F) if everything else (S[todo], X[todo], F[todo])
            space.minimise(s, x, f, _TOLERANCE * balance * tightening / precision)
            stationary = space.check(s, x, f)
            if not everything:
                X[todo] = x
            todo = todo[~stationary]
            if not len(todo):
                break
            F[todo] = f[~stationary]
        solution, dual = space.solution(X), space.dual
        converged, refined = np.ones(len(S), dtype=bool), np.zeros(len(S), dtype=bool)
        if len(todo):
            # coefficients in float32 would lose what Newton's method in float64 has won
            solution, dual = (solution @ U if dual else solution), False
            refined[todo] = True
            solution[todo], converged[todo] = newton_fits(U, S[todo])
        return LogisticFits(U, solution, dual, converged, refined)


def fit_logistic(U: Float32, labels: NDArray[np.bool_], *, precision: float = 1.0) -> LogisticFits:
    """Minimise ``w.w / 2 + sum(log(1 + exp(-s * (U @ w))))`` for every label column.

    Parameters
    ----------
    U : float32 array (n_trials, n_features)
        As of :class:`LogisticProblem`.
    labels : bool array (n_columns, n_trials)
        True for s = 1; one row a label column.
    precision : float, default 1
        How many times as near the solution the iterations come.

    Returns
    -------
    LogisticFits
        Weights, and whether they satisfy the first-order condition.

    Raises
    ------
    DataError
        If the shapes do not fit or a feature is not finite.

    Examples
    --------
    >>> U = np.array([[1.0, 1.0], [2.0, 1.0], [-1.0, 1.0], [-2.0, 1.0]], dtype=np.float32)
    >>> fits = fit_logistic(U, np.array([[True, True, False, False]]))
    >>> (fits.decisions(U) > 0).tolist(), fits.converged.tolist()
    ([[True, True, False, False]], [True])
    """
    return LogisticProblem(U).fit(labels, precision=precision)


class _Trials:
    """The space of trials: X are coefficients a (n_columns, n_trials). All columns share kernel and preconditioner."""

    dual = True

    def __init__(self, U: Float32) -> None:
        self.kernel: Float32 = U @ U.T
        self.norm = np.float32(np.linalg.norm(self.kernel))
        self.n_coordinates = len(U)
        self._guess = _shared_curvature(self.kernel, len(U), 0.25)

    def begin(self, n_columns: int) -> None:
        """Make a preconditioner, if there are columns enough for it."""
        self.drop_preconditioner()
        if n_columns > _FEW_COLUMNS:
            self.preconditioner, self.curvature = shrunk_kernel(self.kernel, self._guess), self._guess
            mean_diagonal = np.float32(np.trace(self.preconditioner) / len(self.kernel))
            if mean_diagonal * self.curvature > _MOST_OF_THE_SPACE:
                self.diagonal = mean_diagonal

    def drop_preconditioner(self) -> None:
        """Descend along the kernel itself: more iterations, but none loses digits to an inverse."""
        self.preconditioner = self.kernel
        self.curvature = self.diagonal = np.float32(0)

    def minimise(self, S: Float32, X: Float32, F: Float32, tolerance: float) -> None:
        """Run the float32 solver from X and its decisions F, in place."""
        if self.preconditioner is self.kernel:
            tolerance *= _WITHOUT_PRECONDITIONER
        shared = self.preconditioner, self.curvature, self.diagonal
        minimise(True, *shared, S, X, F, np.float32(tolerance), _MAX_ITERATIONS)

    def check(self, S: Float32, X: Float32, F: Float32) -> NDArray[np.bool_]:
        """Tell for every column whether its gradient is small enough; F is computed afresh where that is in doubt."""
        residual: Float32 = pulls(S, F) - X
        probes = _probes(len(self.kernel))
        probed: Float32 = self.kernel @ probes
        drift = _mean_square(F @ probes - X @ probed)
        off = self.norm * drift
        # the squared length of the gradient U'r is r'Kr, at most |K| r.r; where that is not enough the product tells
        norm = _row_dot(X, F) + np.sqrt(_row_dot(X, X) * drift)
        limit = _GRADIENT_LEFT**2 * _least_start(S, F, drift, norm)
        verdict = _at_most(self.norm * _row_dot(residual, residual), off) <= limit
        unclear = np.flatnonzero(~verdict & (_at_most(np.float32(0), off) <= limit))
        if len(unclear):
            verdict[unclear] = _at_most(self._square(residual[unclear]), off[unclear]) <= limit[unclear]
        unclear = np.flatnonzero(~verdict)
        if len(unclear):
            s, x = S[unclear], X[unclear]
            f = x @ self.kernel
            small = self._square(pulls(s, f) - x) <= _GRADIENT_LEFT**2 * self._square(np.float32(0.5) * s)
            verdict[unclear] = small & _has_not_drifted(F[unclear], f)
            F[unclear] = f
        return verdict

    def _square(self, r: Float32) -> Float32:
        """Return r'Kr of every row, and what rounding may have taken from it."""
        return _row_dot(r, r @ self.kernel) + _ROUNDING * self.norm * _row_dot(r, r)

    def solution(self, X: Float32) -> Float32:
        """Return the coefficients."""
        return X


class _Neurons:
    """The space of neurons: X are rotated weights v (n_columns, n_features), in which the shared Hessian is 1.

    With the Cholesky factor ``L L' = I + c U'U`` and R = L'^-1, ``w = R v`` and ``V = U R``: decisions are
    f = U w = V v, and v.v = w.w + c f.f. Two products an iteration, where weights with a preconditioner take three.
    """

    dual = False

    def __init__(self, U: Float32) -> None:
        self.U = U
        self.n_coordinates = U.shape[1]
        gram = U.T @ U
        self.norm = np.float32(np.linalg.norm(gram))
        self.curvature = _shared_curvature(gram, len(U), 0.5)
        # a C-ordered symmetric matrix is its own transpose in the Fortran order that LAPACK takes. Products with R are
        # up to four times as fast as solving with L
        factor, _ = spotrf(damped(gram, self.curvature).T, lower=1)
        self.R_transposed, _ = strtri(factor, lower=1, overwrite_c=1)
        self.V = U @ self.R_transposed.T

    def begin(self, n_columns: int) -> None:
        """Nothing to begin with: the factor serves any number of columns."""

    def drop_preconditioner(self) -> None:
        """Nothing to drop: an error of the factor is one of the coordinates, and moves no optimum."""

    def minimise(self, S: Float32, X: Float32, F: Float32, tolerance: float) -> None:
        """Run the float32 solver from X and its decisions F, in place."""
        minimise(False, self.V, self.curvature, np.float32(0), S, X, F, np.float32(tolerance), _MAX_ITERATIONS)

    def check(self, S: Float32, X: Float32, F: Float32) -> NDArray[np.bool_]:
        """Tell for every column whether its gradient is small enough; F is computed afresh where that is in doubt."""
        W = self.solution(X)
        gradient: Float32 = pulls(S, F) @ self.U
        gradient -= W
        probes = _probes(len(self.U))
        probed: Float32 = self.U.T @ probes
        drift = _mean_square(F @ probes - W @ probed)
        left = _at_most(_row_dot(gradient, gradient), self.norm * drift)
        unclear = np.flatnonzero(left > _GRADIENT_LEFT**2 * _least_start(S, F, drift, _row_dot(W, W)))
        verdict = np.ones(len(S), dtype=bool)
        if len(unclear):
            s, f = S[unclear], W[unclear] @ self.U.T
            g, descent = pulls(s, f) @ self.U - W[unclear], np.float32(0.5) * (s @ self.U)
            small = _row_dot(g, g) <= _GRADIENT_LEFT**2 * _row_dot(descent, descent)
            verdict[unclear] = small & _has_not_drifted(F[unclear], f)
            F[unclear] = f
        return verdict

    def solution(self, X: Float32) -> Float32:
        """Return the weights w of rotated weights, (n_columns, n_features)."""
        return X @ self.R_transposed


def _shared_curvature(gram: Float32, n_trials: int, largest: float) -> np.float32:
    """Guess the mean of q: it falls as features make the labels separable.

    A factor of 3 off costs 5 % more iterations.
    """
    typical_square = np.trace(gram) / n_trials
    if not np.isfinite(typical_square):
        raise DataError("features are not finite, or too large to square in float32; drop those trials or neurons")
    return np.float32(largest / (1 + typical_square / 45))


def _least_start(S: Float32, F: Float32, drift: Float32, norm: Float32) -> NDArray[np.floating]:
    """Return a lower bound of the squared gradient at w = 0, |U's / 2|^2 >= ((s.f) / 2|w|)^2, without a product.

    `drift` is the squared length of what the decisions F are off, `norm` is |w|^2 or more.
    """
    along = np.maximum(np.abs(_row_dot(S, F)) - np.sqrt(np.float32(S.shape[1]) * drift), np.float32(0))
    return np.float32(0.25) * along**2 / np.maximum(norm, np.float32(1e-30))


@lru_cache(maxsize=64)
def _probes(n_trials: int) -> Float32:
    """Draw random signs, (n_trials, n_probes): always the same ones."""
    return np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.float32), (n_trials, _N_PROBES))


def _has_not_drifted(F: Float32, decisions: Float32) -> NDArray[np.bool_]:
    """Tell whether the decisions that the iterations carried along are those of the solution."""
    drift = _row_dot(decisions - F, decisions - F)
    return drift <= _DRIFT**2 * _row_dot(decisions, decisions)


def _mean_square(probed: Float32) -> Float32:
    """Estimate the squared length of each row of a matrix, (n_columns,), from its sums with random signs.

    The relative error is sqrt(2 / n_probes). What the decisions carried along are off those of the solution is measured
    so (as Freivalds, 1977, checks products): the decisions themselves would cost a product, 3 to 5 % of a score.
    """
    return _row_dot(probed, probed) / np.float32(_N_PROBES)


def _at_most(gradient: Float32 | np.float32, off: Float32) -> Float32:
    """Bound a squared gradient by its value at decisions that are off, and the squared length of that, times |K|.

    The slope of the pull is at most 1/4, so the gradient is off by at most ``|U| |df| / 4``.
    """
    bound: Float32 = np.square(np.sqrt(gradient) + np.sqrt(off) / np.float32(4))
    return bound


def _row_dot(p: Float32, q: Float32) -> Float32:
    products: Float32 = np.vecdot(p, q)
    return products
