r"""A readout fitted on one session and carried to others: grid search within a fold, in one weight vector over neurons.

Within an outer fold, neurons are standardised on the training trials, reduced (see :mod:`mesodask.numerics.reduction`)
and read out by a logistic regression, whose C (and l1_ratio) are those of the best accuracy over inner folds of the
training trials; standardisation and reduction are fitted anew within each of them. That is scikit-learn's ::

    pipeline = make_pipeline(StandardScaler(), PCA(svd_solver="full"), LogisticRegression())
    GridSearchCV(pipeline, grid, cv=StratifiedKFold(inner_cv, shuffle=True, random_state=seed), scoring="accuracy")

solved to rounding. Scaler, reduction and regression are affine maps, and so is their product: the
:class:`Readout`, one weight a neuron and an intercept, that any later session is decoded with.

Further label columns are a null of the training: each goes through the whole pipeline, with inner folds stratified on
its own labels, as GridSearchCV would.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.crossval import checked_population
from mesodask.numerics.decoders import Decoded, DecoderFold, fit_decoder_fold
from mesodask.numerics.elastic_net import fit_elastic_net
from mesodask.numerics.folds import Fold, make_folds
from mesodask.numerics.free_logistic import fit_free
from mesodask.numerics.reduction import (
    REDUCTIONS,
    Reduced,
    Reduction,
    largest_f,
    n_components,
    principal_components,
    standardised,
)
from mesodask.numerics.threads import ONE_BLAS_THREAD
from mesodask.numerics.transfer_scores import TransferScores, median_fold, score_decisions

__all__ = [
    "Decoded",
    "DecoderFold",
    "FoldFit",
    "Readout",
    "TransferGrid",
    "TransferScores",
    "fit_decoder_fold",
    "fit_fold",
    "fit_whole",
    "median_fold",
    "outer_folds",
    "score_decisions",
]

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class TransferGrid:
    """What is fitted in an outer fold.

    Attributes
    ----------
    reduction : {"pca", "none", "selectk"}
        Of the standardised neurons.
    dim_k : int
        Components or neurons that are kept at most, at least 2; components also at most ``n_train - 1``.
    use_elasticnet : bool
        Search over `l1_ratio` too; else the penalty is L2.
    C : tuple of float
        Inverse strengths of the penalty; of equally accurate settings the first is chosen.
    l1_ratio : tuple of float
        Shares of the l1 norm in the penalty, within each C; 0 is L2.
    inner_cv : int
        Inner folds; fewer where the smaller class has fewer training trials.
    max_iter : int
        Newton steps at most.

    Raises
    ------
    SettingsError
        If a setting has a value that is not allowed.

    Examples
    --------
    >>> TransferGrid(C=(0.1, 1.0), use_elasticnet=True).candidates
    [(0.1, 0.0), (0.1, 0.5), (1.0, 0.0), (1.0, 0.5)]
    """

    reduction: Reduction = "pca"
    dim_k: int = 128
    use_elasticnet: bool = False
    C: tuple[float, ...] = (0.03, 0.3, 1.0)
    l1_ratio: tuple[float, ...] = (0.0, 0.5)
    inner_cv: int = 3
    max_iter: int = 2000

    def __post_init__(self) -> None:
        if self.reduction not in REDUCTIONS:
            raise SettingsError(f"reduction is {self.reduction!r}, expected one of {', '.join(REDUCTIONS)}")
        if self.reduction != "none" and self.dim_k < 2:
            raise SettingsError(f"dim_k is {self.dim_k} with reduction {self.reduction!r}, expected at least 2")
        if not self.C or not all(np.isfinite(C) and C > 0 for C in self.C):
            raise SettingsError(f"C is {self.C}, expected one positive number or more")
        if self.use_elasticnet and (not self.l1_ratio or not all(0 <= ratio <= 1 for ratio in self.l1_ratio)):
            raise SettingsError(f"l1_ratio is {self.l1_ratio}, expected one number in [0, 1] or more")
        if self.inner_cv < 2:
            raise SettingsError(f"inner_cv is {self.inner_cv}, expected at least 2 folds")
        if self.max_iter < 1:
            raise SettingsError(f"max_iter is {self.max_iter}, expected at least 1")

    @property
    def ratios(self) -> tuple[float, ...]:
        """The l1_ratios that are tried: 0 alone without elastic net."""
        return tuple(map(float, self.l1_ratio)) if self.use_elasticnet else (0.0,)

    @property
    def candidates(self) -> list[tuple[float, float]]:
        """All (C, l1_ratio), in the order of scikit-learn's ``ParameterGrid``."""
        return [(float(C), ratio) for C in self.C for ratio in self.ratios]


class Readout(NamedTuple):
    """Weights over the neurons as they were recorded, before any standardisation.

    Attributes
    ----------
    weights : float64 array (n_labels, n_neurons)
        One row a label column.
    intercept : float64 array (n_labels,)
        Added to every decision.
    """

    weights: Float64
    intercept: Float64

    def decisions(self, X: ArrayLike) -> Float64:
        """Return the decisions of all label columns on the trials of any session, (n_labels, n_trials).

        Examples
        --------
        >>> Readout(np.array([[1.0, -1.0]]), np.array([0.5])).decisions([[2.0, 1.0], [0.0, 1.0]]).tolist()
        [[1.5, -0.5]]
        """
        activity = np.asarray(X, dtype=np.float64)
        if activity.ndim != 2 or activity.shape[1] != self.weights.shape[1]:
            raise DataError(
                f"X has shape {activity.shape}, expected (n_trials, {self.weights.shape[1]}): the neurons that the "
                "readout was fitted on, in the same order"
            )
        if not np.isfinite(activity).all():
            raise DataError(f"X is not finite in {(~np.isfinite(activity).all(axis=1)).sum()} trials; drop those")
        with ONE_BLAS_THREAD:
            return self.weights @ activity.T + self.intercept[:, None]


class FoldFit(NamedTuple):
    """The fit of one outer fold, all label columns.

    Attributes
    ----------
    readout : Readout
        Fitted on all training trials with the chosen settings.
    C, l1_ratio : float64 arrays (n_labels,)
        Chosen settings; l1_ratio is NaN without elastic net.
    n_components : int array (n_labels,)
        Dimensions after the reduction.
    decisions : float64 array (n_labels, n_test)
        Of the readout on the test trials.
    unconverged : int array (n_labels,)
        Fits, inner ones included, that did not converge.
    """

    readout: Readout
    C: Float64
    l1_ratio: Float64
    n_components: Indices
    decisions: Float64
    unconverged: Indices


def outer_folds(y: ArrayLike, n_splits: int = 3, seed: int = 0) -> list[Fold]:
    """Split the trials of the home session: stratified, shuffled, as :func:`mesodask.numerics.folds.make_folds`.

    Parameters
    ----------
    y : array (n_trials,) of 0 and 1
        The labels of the data.
    n_splits : int, default 3
        Folds, at least 2.
    seed : int, default 0
        In [0, 2**32); see ``seeds.integer_seed``.

    Returns
    -------
    list of (train, test)
        Increasing trial indices.

    Raises
    ------
    DataError
        If a class has fewer trials than there are folds.

    Examples
    --------
    >>> [len(test) for _, test in outer_folds([0, 1] * 6)]
    [4, 4, 4]
    """
    folds = make_folds(y, n_splits=n_splits, seed=seed)
    _check_classes(np.asarray(y) == 1, n_splits, f"n_splits={n_splits} folds")
    return folds


def fit_fold(X: ArrayLike, Y: ArrayLike, train: ArrayLike, test: ArrayLike, grid: TransferGrid, seed: int) -> FoldFit:
    """Choose settings within the training trials, fit with them, and decide on the test trials.

    Parameters
    ----------
    X : array (n_trials, n_neurons)
        Activity of the home session.
    Y : array (n_trials, n_labels) of 0 and 1
        Column 0 the data; others, permuted, the null of the training.
    train, test : int arrays (n_train,), (n_test,)
        The outer fold.
    grid : TransferGrid
        What is tried.
    seed : int
        Of the inner folds, in [0, 2**32).

    Returns
    -------
    FoldFit
        The same X and Y give the same bits, whatever the number of threads; a column's settings and fit do not depend
        on the columns beside it, its decisions but for rounding (1e-12 of the largest).

    Raises
    ------
    DataError
        If X is not finite, Y is not of 0 and 1, their shapes do not fit, or a class has fewer than two training trials.

    Examples
    --------
    >>> X = np.arange(24.0)[:, None] * [1.0, -1.0]
    >>> train, test = outer_folds(X[:, 0] > 11)[0]
    >>> fit = fit_fold(X, X[:, :1] > 11, train, test, TransferGrid(reduction="none"), seed=0)
    >>> bool(((fit.decisions[0] > 0) == (X[test, 0] > 11)).all())
    True
    """
    activity, labels = checked_population(X, Y)
    train, test = np.asarray(train, dtype=np.intp), np.asarray(test, dtype=np.intp)
    with ONE_BLAS_THREAD:
        memory = np.empty((len(train), activity.shape[1]))
        chosen = [_choose(activity, y, train, grid, seed, memory) for y in labels]
        readout, unconverged = _fit_chosen(activity, labels, train, grid, [settings for settings, _ in chosen])
    C, ratio = np.array([settings for settings, _ in chosen]).T
    return FoldFit(
        readout,
        C,
        ratio if grid.use_elasticnet else np.full(len(C), np.nan),
        np.full(len(C), _n_dimensions(grid, len(train), activity.shape[1]), dtype=np.intp),
        readout.decisions(activity[test]),
        unconverged + np.array([n for _, n in chosen], dtype=np.intp),
    )


def fit_whole(X: ArrayLike, Y: ArrayLike, grid: TransferGrid, seed: int) -> FoldFit:
    """Fit the whole home session with settings chosen within it: a grid search over all of its trials.

    Parameters
    ----------
    X, Y, grid, seed
        As of :func:`fit_fold`.

    Returns
    -------
    FoldFit
        That of a fold that trains on every trial; `decisions` is (n_labels, 0).

    Raises
    ------
    DataError
        As :func:`fit_fold`.

    Examples
    --------
    >>> X = np.arange(24.0)[:, None] * [1.0, -1.0]
    >>> fit_whole(X, X[:, :1] > 11, TransferGrid(dim_k=2), seed=0).readout.weights.shape
    (1, 2)
    """
    return fit_fold(X, Y, np.arange(len(np.asarray(Y))), np.empty(0, dtype=np.intp), grid, seed)


def _check_classes(y: Bools, n_folds: int, purpose: str, where: str = "") -> None:
    n_ones = int(y.sum())
    if min(n_ones, len(y) - n_ones) < n_folds:
        raise DataError(
            f"{where}{len(y) - n_ones} trials of class 0 and {n_ones} of class 1 are too few for {purpose}: "
            f"each class needs {n_folds}; take fewer folds, or a session with more trials"
        )


def _n_dimensions(grid: TransferGrid, n_train: int, n_neurons: int) -> int:
    if grid.reduction == "pca":
        return n_components(grid.dim_k, n_train, n_neurons)
    return min(grid.dim_k, n_neurons) if grid.reduction == "selectk" else n_neurons


def _reduce(Z_train: Float64, Z_test: Float64, y: Bools, grid: TransferGrid, rotate: bool) -> Reduced:
    """Reduce standardised trials; all components are a rotation, that a penalty without l1 norm does not see."""
    n_train, n_neurons = Z_train.shape
    n_kept = _n_dimensions(grid, n_train, n_neurons)
    if grid.reduction == "pca" and (rotate or n_kept < min(n_neurons, n_train - 1)):
        return principal_components(Z_train, Z_test, n_kept)
    if grid.reduction == "selectk" and n_kept < n_neurons:
        neurons = largest_f(Z_train, y, n_kept)
        return Reduced(Z_train[:, neurons], Z_test[:, neurons], neurons, n_neurons)
    return Reduced(Z_train, Z_test, None, n_neurons)


def _choose(
    activity: NDArray[np.floating], labels: Bools, train: Indices, grid: TransferGrid, seed: int, memory: Float64
) -> tuple[tuple[float, float], int]:
    """Return the settings of the best mean accuracy over inner folds, and how many fits did not converge."""
    candidates = grid.candidates
    y = labels[train]
    # null labels are not dealt evenly to the outer folds: where a class is small, there are fewer inner ones
    _check_classes(y, 2, "two inner folds", "of the training trials, ")
    if len(candidates) == 1:
        return candidates[0], 0
    folds = make_folds(y, n_splits=grid.inner_cv, seed=seed)
    accuracies, unconverged = np.empty((len(candidates), len(folds))), 0
    for number, (inner, held_out) in enumerate(folds):
        Z_train, Z_test = standardised(activity, train[inner], train[held_out], memory)
        reduced = _reduce(Z_train, Z_test, y[inner], grid, any(grid.ratios))
        kernel = _kernel(reduced, grid)
        for place, ratio in enumerate(grid.ratios):
            rows = slice(place, None, len(grid.ratios))  # of all C
            weights, intercepts, n_failed = _fit(reduced, kernel, y[inner], grid.C, ratio, grid.max_iter)
            called = weights @ reduced.test.T + intercepts[:, None] > 0
            accuracies[rows, number] = (called == y[held_out]).mean(axis=1)
            unconverged += n_failed
    return candidates[int(accuracies.mean(axis=1).argmax())], unconverged


def _kernel(reduced: Reduced, grid: TransferGrid) -> Float64 | None:
    return reduced.train @ reduced.train.T if 0.0 in grid.ratios else None


def _fit(
    reduced: Reduced, kernel: Float64 | None, y: Bools, Cs: tuple[float, ...], ratio: float, max_iter: int
) -> tuple[Float64, Float64, int]:
    """Fit one label vector with every C; return weights over coordinates, intercepts and unconverged fits."""
    if ratio == 0:
        assert kernel is not None
        free = fit_free(kernel, y, Cs, max_iter)
        weights = np.array([fit.coefficients for fit in free]) @ reduced.train
        return weights, np.array([fit.intercept for fit in free]), sum(not fit.converged for fit in free)
    fits = fit_elastic_net(reduced.train, y, Cs, ratio, max_iter)
    weights = np.array([fit.weights for fit in fits])
    return weights, np.array([fit.intercept for fit in fits]), sum(not fit.converged for fit in fits)


def _fit_chosen(
    activity: NDArray[np.floating], labels: Bools, train: Indices, grid: TransferGrid, chosen: list[tuple[float, float]]
) -> tuple[Readout, Indices]:
    """Fit every column on all training trials with its own settings."""
    Z, _ = standardised(activity, train, train[:0])
    n_labels, n_neurons = len(labels), activity.shape[1]
    weights, intercepts = np.empty((n_labels, n_neurons)), np.empty(n_labels)
    unconverged = np.zeros(n_labels, dtype=np.intp)
    shared: dict[bool, tuple[Reduced, Float64 | None]] = {}
    for column, (C, ratio) in enumerate(chosen):
        y = labels[column, train]
        rotate = ratio > 0
        if grid.reduction == "selectk" or rotate not in shared:
            reduced = _reduce(Z, Z[:0], y, grid, rotate)
            shared[rotate] = reduced, None if rotate else reduced.train @ reduced.train.T
        reduced, kernel = shared[rotate]
        over_coordinates, intercept, unconverged[column] = _fit(reduced, kernel, y, (C,), ratio, grid.max_iter)
        weights[column], intercepts[column] = reduced.over_neurons(over_coordinates)[0], intercept[0]
    mean = activity[train].mean(axis=0, dtype=np.float64)
    deviation = activity[train].std(axis=0, dtype=np.float64)
    # what was constant has no weight, but its deviation may be rounding
    constant = ~Z.any(axis=0)
    weights /= np.where(constant, 1.0, deviation)
    weights[:, constant] = 0
    return Readout(weights, intercepts - weights @ mean), unconverged
