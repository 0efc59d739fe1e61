"""The readout that is carried to other sessions, against plain scikit-learn: settings, decisions, scores."""

import itertools
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import ELASTIC_NET
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mesodask import trial_features
from mesodask.errors import DataError, SettingsError
from mesodask.numerics import seeds
from mesodask.numerics.elastic_net import fit_elastic_net
from mesodask.numerics.free_logistic import fit_free
from mesodask.numerics.inference import p_value
from mesodask.numerics.reduction import largest_f, principal_components, standardised
from mesodask.numerics.transfer import (
    TransferGrid,
    fit_decoder_fold,
    fit_fold,
    fit_whole,
    median_fold,
    outer_folds,
    score_decisions,
)

# of the largest decision; saga stops by its last step, and its intercept creeps where trials are long vectors
NEAR = 1e-5
GRIDS = [
    pytest.param(TransferGrid(reduction=reduction, dim_k=12, use_elasticnet=elastic), id=f"{reduction}-{elastic=}")
    for reduction, elastic in itertools.product(("none", "pca", "selectk"), (False, True))
]


class CappedPCA(TransformerMixin, BaseEstimator):
    """PCA with as many components as there can be: scikit-learn's own refuses more."""

    def __init__(self, dim_k: int = 2) -> None:
        self.dim_k = dim_k

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        kept = min(self.dim_k, X.shape[1], len(X) - 1)
        self.pca_ = PCA(kept, random_state=0).fit(X)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self.pca_.transform(X)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of BLAS that share small products slow scikit-learn down tenfold on a busy machine."""
    with threadpool_limits(1, user_api="blas"):
        yield


def search(grid: TransferGrid, n_neurons: int, seed: int) -> GridSearchCV:
    """The definition in scikit-learn's words, with its solvers gone on to convergence."""
    reduce = {
        "none": "passthrough",
        "pca": CappedPCA(grid.dim_k),
        "selectk": SelectKBest(f_classif, k=min(grid.dim_k, n_neurons)),
    }[grid.reduction]
    tried: dict[str, list[float]] = {"fit__C": list(grid.C)}
    if grid.use_elasticnet:
        tried["fit__l1_ratio"] = list(grid.l1_ratio)
        model = LogisticRegression(**ELASTIC_NET, tol=1e-9, max_iter=500_000, random_state=0)
    else:
        model = LogisticRegression(tol=1e-9, max_iter=20_000)
    folds = StratifiedKFold(grid.inner_cv, shuffle=True, random_state=seed)
    steps = [("scale", StandardScaler()), ("reduce", reduce), ("fit", model)]
    return GridSearchCV(Pipeline(steps), tried, cv=folds, scoring="accuracy")


def population(
    n_trials: int = 90, n_neurons: int = 20, code: float = 0.6, seed: int = 0, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Neurons of unequal offsets, scales and common fluctuations, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.permutation((np.arange(n_trials) < share * n_trials).astype(int))
    X = rng.normal(size=(n_trials, n_neurons)) + 0.5 * rng.normal(size=(n_trials, 1))
    X += code * np.outer(y - 0.5, rng.normal(size=n_neurons))
    return X * np.logspace(-1, 2, n_neurons) + 10 * np.arange(n_neurons), y


def assert_same(X: np.ndarray, y: np.ndarray, grid: TransferGrid, seed: int, abroad: np.ndarray | None = None) -> None:
    """One outer fold by both: settings, decisions, accuracies at home and abroad."""
    train, test = outer_folds(y, seed=seed)[seed % 3]
    fit = fit_fold(X, y[:, None], train, test, grid, seed)
    plain = search(grid, X.shape[1], seed).fit(X[train], y[train])
    assert fit.C[0] == plain.best_params_["fit__C"]
    if grid.use_elasticnet:
        assert fit.l1_ratio[0] == plain.best_params_["fit__l1_ratio"]
    else:
        assert np.isnan(fit.l1_ratio[0])
    assert fit.unconverged[0] == 0
    expected = plain.decision_function(X[test])
    np.testing.assert_allclose(fit.decisions[0], expected, atol=NEAR * np.abs(expected).max())
    assert ((fit.decisions[0] > 0) == plain.predict(X[test])).all()
    if abroad is not None:
        decisions = fit.readout.decisions(abroad)[0]
        np.testing.assert_allclose(decisions, plain.decision_function(abroad), atol=NEAR * np.abs(decisions).max())


# settings and decisions against GridSearchCV


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("n_trials", "n_neurons"), [(90, 20), (60, 70)])
def test_a_fold_is_that_of_a_grid_search(grid: TransferGrid, n_trials: int, n_neurons: int) -> None:
    X, y = population(n_trials, n_neurons, seed=n_neurons)
    abroad, _ = population(40, n_neurons, seed=7)
    assert_same(X, y, grid, seed=4, abroad=abroad)


@pytest.mark.parametrize("grid", GRIDS)
def test_simulated_sessions_give_the_settings_and_accuracies_of_a_grid_search(
    grid: TransferGrid, sessions: list[xr.Dataset], tracked: xr.Dataset
) -> None:
    """The shared subject, from its first day to its second; saga takes long where features are many."""
    home, abroad = (
        trial_features(session, rows, "choice")
        for session, rows in zip(sessions[:2], tracked["roi"].values[:2], strict=True)
    )
    X, y = home["X"].values.astype(np.float64), home["y"].values.astype(int)
    n_neurons = 15 if grid.use_elasticnet else X.shape[1]
    assert_same(X[:, :n_neurons], y, grid, seed=1, abroad=abroad["X"].values[:, :n_neurons].astype(np.float64))


def test_more_components_than_trials_are_capped_within_every_inner_fold() -> None:
    X, y = population(48, 60, seed=3)
    grid = TransferGrid(dim_k=512)
    assert_same(X, y, grid, seed=2)
    train, test = outer_folds(y)[0]
    assert fit_fold(X, y[:, None], train, test, grid, 0).n_components.tolist() == [len(train) - 1]


def test_an_l1_norm_sees_that_all_components_are_a_rotation() -> None:
    X, _ = population(40, 45, seed=3)
    rng = np.random.default_rng(1)
    grid = TransferGrid(dim_k=512, use_elasticnet=True, C=(0.1, 0.3, 1.0), l1_ratio=(0.1, 0.4))
    for _ in range(4):
        assert_same(X, rng.permutation(np.arange(40) % 2), grid, seed=2)


@pytest.mark.parametrize("reduction", ["none", "pca", "selectk"])
def test_near_ties_are_broken_as_in_a_grid_search(reduction: str) -> None:
    """Labels without a code and many settings next to each other: often several have the same mean accuracy."""
    grid = TransferGrid(reduction=reduction, dim_k=6, C=(1.0, 0.9, 0.01, 0.011, 3.0, 0.3))  # type: ignore[arg-type]
    X, _ = population(50, 14, code=0, seed=5)
    rng = np.random.default_rng(0)
    Y = np.column_stack([rng.permutation(np.arange(50) % 2) for _ in range(6)])
    train, test = outer_folds(Y[:, 0])[0]
    fit = fit_fold(X, Y, train, test, grid, seed=11)
    n_tied = 0
    for column, y in enumerate(Y.T):
        plain = search(grid, 14, 11).fit(X[train], y[train])
        means = plain.cv_results_["mean_test_score"]
        n_tied += (means == means.max()).sum() > 1
        assert fit.C[column] == plain.best_params_["fit__C"]
        assert ((fit.decisions[column] > 0) == plain.predict(X[test])).all()
    assert n_tied > 2
    assert len(set(fit.C)) > 1


def test_ties_go_to_the_smaller_c_before_the_smaller_ratio() -> None:
    grid = TransferGrid(C=(2.0, 1.0), l1_ratio=(0.5, 0.0), use_elasticnet=True, reduction="none")
    y = np.arange(30) % 2
    X = np.column_stack([y, y]) + 0.01 * np.random.default_rng(0).normal(size=(30, 2))
    fit = fit_whole(X, y[:, None], grid, 0)
    plain = search(grid, 2, 0).fit(X, y)
    assert (plain.cv_results_["mean_test_score"] == 1).all()
    assert (fit.C[0], fit.l1_ratio[0]) == (2.0, 0.5) == tuple(plain.best_params_.values())
    order = ParameterGrid({"fit__C": grid.C, "fit__l1_ratio": grid.l1_ratio})
    assert grid.candidates == [(point["fit__C"], point["fit__l1_ratio"]) for point in order]


def test_unequal_classes_and_other_fold_numbers() -> None:
    X, y = population(80, 12, seed=8, share=0.25)
    assert_same(X, y, TransferGrid(reduction="none", inner_cv=5, C=(0.01, 10.0)), seed=3)


def test_the_whole_session_is_that_of_a_grid_search_over_it() -> None:
    X, y = population(70, 25, seed=2)
    abroad, _ = population(30, 25, seed=9)
    grid = TransferGrid(dim_k=10)
    fit = fit_whole(X, y[:, None], grid, 21)
    plain = search(grid, 25, 21).fit(X, y)
    assert fit.C[0] == plain.best_params_["fit__C"]
    assert fit.decisions.shape == (1, 0)
    np.testing.assert_allclose(fit.readout.decisions(abroad)[0], plain.decision_function(abroad), atol=1e-4)


# columns, threads, invariances


@pytest.mark.parametrize("grid", GRIDS)
def test_a_column_does_not_depend_on_its_company(grid: TransferGrid) -> None:
    X, y = population(60, 30, seed=6)
    rng = np.random.default_rng(0)
    Y = np.column_stack([y, rng.permutation(y), rng.permutation(y)])
    train, test = outer_folds(y)[1]
    together = fit_fold(X, Y, train, test, grid, 3)
    for column in range(3):
        alone = fit_fold(X, Y[:, [column]], train, test, grid, 3)
        assert (alone.C[0], alone.n_components[0]) == (together.C[column], together.n_components[column])
        np.testing.assert_array_equal(alone.l1_ratio[0], together.l1_ratio[column])
        np.testing.assert_allclose(alone.decisions[0], together.decisions[column], rtol=0, atol=1e-9)
    assert np.ptp(together.decisions, axis=0).max() > 0.1


@pytest.mark.parametrize("grid", GRIDS)
def test_bits_do_not_depend_on_threads(grid: TransferGrid) -> None:
    X, y = population(150, 200, seed=1)
    train, test = outer_folds(y)[0]
    with threadpool_limits(1):
        one = fit_fold(X, y[:, None], train, test, grid, 0)
        abroad = one.readout.decisions(X[::-1])
    with threadpool_limits(2):
        two = fit_fold(X, y[:, None], train, test, grid, 0)
        np.testing.assert_array_equal(two.readout.decisions(X[::-1]), abroad)
    np.testing.assert_array_equal(one.decisions, two.decisions)
    np.testing.assert_array_equal(one.readout.weights, two.readout.weights)


def test_scale_and_offset_of_neurons_do_not_matter() -> None:
    X, y = population(60, 15, seed=4)
    train, test = outer_folds(y)[0]
    grid = TransferGrid(dim_k=5)
    plain = fit_fold(X, y[:, None], train, test, grid, 0)
    scaled = fit_fold(X * 1e3 - 1e5, y[:, None], train, test, grid, 0)
    np.testing.assert_allclose(scaled.decisions, plain.decisions, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_constant_neurons_have_no_weight(grid: TransferGrid) -> None:
    X, y = population(60, 12, seed=4)
    train, test = outer_folds(y)[0]
    X[train, 3], X[:, 7] = 0.1, 0.0
    fit = fit_fold(X, y[:, None], train, test, grid, 0)
    assert not fit.readout.weights[0, [3, 7]].any()
    assert np.isfinite(fit.decisions).all()
    others = np.delete(np.arange(12), [3, 7])
    without = fit_fold(X[:, others], y[:, None], train, test, grid, 0)
    np.testing.assert_allclose(fit.decisions, without.decisions, atol=1e-6)


def test_float32_activity_is_computed_with_in_double_precision() -> None:
    X, y = population(60, 30, seed=4)
    X = X.astype(np.float32)
    train, test = outer_folds(y)[0]
    single, double = (fit_fold(x, y[:, None], train, test, TransferGrid(), 0) for x in (X, X.astype(np.float64)))
    np.testing.assert_allclose(single.decisions, double.decisions, atol=1e-9)


# the parts


@pytest.mark.parametrize("shape", [(40, 15), (30, 80)])
def test_components_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    X = np.random.default_rng(0).normal(size=shape) @ np.diag(np.linspace(1, 4, shape[1]))
    Z_train, Z_test = standardised(X, np.arange(25), np.arange(25, len(X)))
    pca = PCA(9, svd_solver="full").fit(Z_train)
    reduced = principal_components(Z_train, Z_test, 9)
    np.testing.assert_allclose(np.abs(reduced.train), np.abs(pca.transform(Z_train)), atol=1e-9)
    np.testing.assert_allclose(np.abs(reduced.test), np.abs(pca.transform(Z_test)), atol=1e-9)
    v = np.random.default_rng(1).normal(size=(2, 9))
    np.testing.assert_allclose(reduced.over_neurons(v) @ Z_test.T, v @ reduced.test.T, atol=1e-9)


def test_directions_without_variance_are_left_out() -> None:
    half = np.random.default_rng(0).normal(size=(20, 6))
    Z, _ = standardised(np.hstack([half, half, half, half]), np.arange(20), np.arange(0))
    reduced = principal_components(Z, Z, 15)
    assert reduced.train.shape[1] == 6
    np.testing.assert_allclose(reduced.train @ reduced.train.T, Z @ Z.T, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.integers(6, 40), st.integers(2, 30), st.integers(1, 40), st.integers(0, 1000))
def test_neurons_of_largest_f_are_those_of_scikit_learn(n_trials, n_neurons, n_kept, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n_trials, n_neurons)), rng.permutation(np.arange(n_trials) % 2 == 0)
    plain = SelectKBest(f_classif, k=min(n_kept, n_neurons)).fit(X, y)
    np.testing.assert_array_equal(largest_f(X - X.mean(0), y, n_kept), np.flatnonzero(plain.get_support()))


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n_coordinates", [3, 60])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_fits_satisfy_the_conditions_of_the_optimum(C: float, n_coordinates: int, share: float) -> None:
    """The gradient, or its distance to the subdifferential of the l1 norm, in numbers; from cold and from warm."""
    T, y = population(50, n_coordinates, code=0.5, seed=1, share=share)
    T = (T - T.mean(0)) / T.std(0)
    signs = np.where(y == 1, 1.0, -1.0)
    free = fit_free(T @ T.T, y == 1, (0.1, C))[1]
    fits = [(T.T @ free.coefficients, free.intercept, free.converged, 0.0)]
    fits += [(*fit_elastic_net(T, y == 1, (C,), ratio)[0], ratio) for ratio in (0.0, 0.3, 1.0)]
    for w, b, converged, ratio in fits:
        assert converged
        pull = C * signs / (1 + np.exp(signs * (T @ w + b)))
        descent = T.T @ pull - (1 - ratio) * w
        scale = max(C * len(T), 1.0)
        assert abs(pull.sum()) < 1e-6 * scale
        at_zero = w == 0
        assert (np.abs(descent[at_zero]) <= ratio + 1e-6 * scale).all()
        np.testing.assert_allclose(descent[~at_zero], ratio * np.sign(w[~at_zero]), atol=1e-6 * scale)
    assert n_coordinates == 3 or not fits[-1][0].all()  # the l1 norm leaves weights out


def test_without_any_weight_the_intercept_is_that_of_the_classes() -> None:
    T, y = population(60, 5, seed=0)
    (fit,) = fit_elastic_net(T - T.mean(0), y == 1, (1e-9,), 1.0)
    assert (fit.weights.any(), fit.intercept, fit.converged) == (False, 0.0, True)


def test_what_does_not_converge_is_counted() -> None:
    X, y = population(60, 20, seed=0)
    train, test = outer_folds(y)[0]
    for ratios, n_fits in (((0.0,), 3 * 3 + 1), ((0.5,), 3 * 3 + 1), ((0.0, 0.5), 2 * 3 * 3 + 1)):
        grid = TransferGrid(max_iter=1, use_elasticnet=True, C=(0.3, 1.0, 10.0), l1_ratio=ratios)
        assert fit_fold(X, y[:, None], train, test, grid, 0).unconverged.tolist() == [n_fits]


# scores


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=(5, 40)).round(1)  # with ties, and zeros
    Y = (rng.random((40, 5)) < 0.3).astype(int)
    for rows, columns in ((decisions, Y), (decisions[0], Y), (decisions, Y[:, 0])):
        scores = score_decisions(rows, columns)
        for i in range(5):
            d, y = (rows if rows.ndim == 1 else rows[i]), (columns if columns.ndim == 1 else columns[:, i])
            assert scores.accuracy[i] == accuracy_score(y, d > 0)
            assert scores.balanced_accuracy[i] == pytest.approx(balanced_accuracy_score(y, d > 0), abs=1e-12)
            assert scores.auc[i] == pytest.approx(roc_auc_score(y, d), abs=1e-12)
    called = rng.random((5, 40)) < 0.5
    assert score_decisions(decisions, Y, called).accuracy[2] == accuracy_score(Y[:, 2], called[2])
    assert score_decisions(decisions[0], Y[:, 0]).auc.shape == (1,)


def test_one_class_alone_has_an_accuracy_but_no_auc() -> None:
    scores = score_decisions([1.0, -1.0, 1.0], [1, 1, 1])
    assert scores.accuracy[0] == pytest.approx(2 / 3)
    assert np.isnan(scores.auc[0])
    assert np.isnan(scores.balanced_accuracy[0])


def test_p_values_count_the_observed_score_too() -> None:
    rng = np.random.default_rng(0)
    observed, null = rng.random(6), rng.random((6, 30))
    expected = [(1 + sum(x >= o for x in row)) / 31 for o, row in zip(observed, null, strict=True)]
    np.testing.assert_allclose(p_value(observed, null), expected)


@pytest.mark.parametrize(
    ("accuracies", "fold"),
    [([0.5, 0.9, 0.7], 2), ([0.7, 0.9, 0.7], 0), ([np.nan, 0.9, 0.7], 2), ([0.6], 0), ([0.1, 0.4, 0.2, 0.3], 2)],
)
def test_the_median_fold(accuracies: list[float], fold: int) -> None:
    assert median_fold(accuracies) == fold


def test_no_fold_has_an_accuracy() -> None:
    with pytest.raises(DataError, match="all 3 folds have no accuracy"):
        median_fold([np.nan] * 3)


# a decoder of the user's


@pytest.mark.parametrize(
    "decoder",
    [
        make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
        GaussianNB(),
        RandomForestClassifier(n_estimators=7, random_state=1),
    ],
    ids=["lda", "bayes", "forest"],
)
def test_a_decoder_decides_as_when_fitted_by_hand(decoder: Any) -> None:
    X, y = population(60, 8, seed=1)
    abroad = [population(30, 8, seed=s)[0] for s in (2, 3)]
    train, test = outer_folds(y)[0]
    fold = fit_decoder_fold(X, y, train, test, decoder, 0, abroad)
    assert fold.converged
    decoder.fit(X[train], y[train])
    decide = getattr(decoder, "decision_function", None) or (lambda X: decoder.predict_proba(X)[:, 1])
    for found, activity in zip((fold.home, *fold.abroad), (X[test], *abroad), strict=True):
        np.testing.assert_array_equal(found.decisions, decide(activity))
        np.testing.assert_array_equal(found.called, decoder.predict(activity) == 1)
    whole = fit_decoder_fold(X, y, np.arange(60), np.arange(0), decoder, 0, abroad)
    assert len(whole.home.decisions) == 0
    np.testing.assert_array_equal(whole.abroad[1].called, decoder.fit(X, y).predict(abroad[1]) == 1)


def test_a_decoder_that_draws_is_seeded_and_not_changed() -> None:
    X, y = population(60, 8, seed=1)
    train, test = outer_folds(y)[0]
    decoder = RandomForestClassifier(n_estimators=5)
    one, again, other = (fit_decoder_fold(X, y, train, test, decoder, seed).home.decisions for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    by_hand = RandomForestClassifier(n_estimators=5, random_state=seeds.integer_seed(3, "decoder", "random_state"))
    np.testing.assert_array_equal(one, by_hand.fit(X[train], y[train]).predict_proba(X[test])[:, 1])
    assert decoder.random_state is None
    assert not hasattr(decoder, "estimators_")


def test_a_decoder_that_does_not_converge_says_so_silently() -> None:
    X, y = population(60, 8, seed=1)
    train, test = outer_folds(y)[0]
    assert not fit_decoder_fold(X, y, train, test, LogisticRegression(max_iter=1), 0).converged


def test_a_decoder_that_fails_is_named_with_the_session() -> None:
    X, y = population(60, 8, seed=1)
    train, test = outer_folds(y)[0]
    with pytest.raises(DataError, match=r"GaussianNB\(\) failed on test session 1: .*features"):
        fit_decoder_fold(X, y, train, test, GaussianNB(), 0, [X, X[:, :5]])
    with pytest.raises(SettingsError, match="is a class"):
        fit_decoder_fold(X, y, train, test, GaussianNB, 0)


# what is refused


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"reduction": "umap"}, "reduction is 'umap', expected one of none, pca, selectk"),
        ({"dim_k": 1}, "dim_k is 1 with reduction 'pca', expected at least 2"),
        ({"C": ()}, r"C is \(\), expected one positive number"),
        ({"C": (1.0, 0.0)}, "C is .*, expected one positive number"),
        ({"C": (float("nan"),)}, "C is .*, expected one positive number"),
        ({"l1_ratio": (), "use_elasticnet": True}, "l1_ratio is"),
        ({"l1_ratio": (0.0, 1.5), "use_elasticnet": True}, r"l1_ratio is \(0.0, 1.5\), expected .*in \[0, 1\]"),
        ({"inner_cv": 1}, "inner_cv is 1, expected at least 2 folds"),
        ({"max_iter": 0}, "max_iter is 0"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        TransferGrid(**wrong)


def test_dim_k_is_of_no_account_without_reduction() -> None:
    assert TransferGrid(reduction="none", dim_k=1).dim_k == 1


def test_a_column_of_few_has_fewer_inner_folds() -> None:
    """Null labels are not dealt evenly to the outer folds; one such column costs the others nothing."""
    X, y = population(60, 8)
    train, test = outer_folds(y)[0]
    few = np.zeros(60, dtype=int)
    few[train[:4]] = few[test[:3]] = 1
    grid = TransferGrid(inner_cv=6)
    both = fit_fold(X, np.stack([y, few], axis=1), train, test, grid, 0)
    assert both.C[0] == fit_fold(X, y[:, None], train, test, grid, 0).C[0]
    alone = fit_fold(X, few[:, None], train, test, TransferGrid(inner_cv=4), 0)
    assert both.C[1] == alone.C[0]
    np.testing.assert_allclose(both.decisions[1], alone.decisions[0], rtol=1e-9)


def test_a_value_given_twice_changes_nothing() -> None:
    X, y = population(60, 8)
    train, test = outer_folds(y)[0]
    how = {"use_elasticnet": True, "max_iter": 500}
    once = fit_fold(X, y[:, None], train, test, TransferGrid(C=(0.01, 1.0), l1_ratio=(0.0, 0.5), **how), 0)
    twice = fit_fold(X, y[:, None], train, test, TransferGrid(C=(0.01, 0.01, 1.0), l1_ratio=(0.0, 0.5, 0.5), **how), 0)
    assert (once.C[0], once.l1_ratio[0]) == (twice.C[0], twice.l1_ratio[0])
    np.testing.assert_array_equal(once.decisions, twice.decisions)


def test_wrong_data_are_named() -> None:
    X, y = population(30, 4)
    train, test = outer_folds(y)[0]
    with pytest.raises(DataError, match=r"28 trials of class 0 and 2 of class 1 are too few for n_splits=3 folds"):
        outer_folds(np.arange(30) < 2)
    few = np.zeros(30, dtype=int)
    few[train[:1]] = few[test[:3]] = 1
    with pytest.raises(DataError, match=r"of the training trials, .* 1 of class 1 are too few for two inner folds"):
        fit_fold(X, few[:, None], train, test, TransferGrid(), 0)
    with pytest.raises(DataError, match="X is not finite in 1 of 30 trials"):
        fit_fold(np.where(X[3, 1] == X, np.nan, X), y[:, None], train, test, TransferGrid(), 0)
    readout = fit_fold(X, y[:, None], train, test, TransferGrid(), 0).readout
    with pytest.raises(DataError, match=r"X has shape \(30, 3\), expected \(n_trials, 4\)"):
        readout.decisions(X[:, :3])
    with pytest.raises(DataError, match="not finite in 1 trials"):
        readout.decisions(np.where(X[3, 1] == X, np.inf, X))
    with pytest.raises(DataError, match="with the same trials"):
        score_decisions([1.0, 2.0], [0, 1, 1])
    with pytest.raises(DataError, match="decisions are NaN"):
        score_decisions([1.0, np.nan], [0, 1])
    with pytest.raises(DataError, match="labels hold"):
        score_decisions([1.0, 2.0], [0, 2])
    with pytest.raises(DataError, match="called has shape"):
        score_decisions([1.0, 2.0], [0, 1], [True])
