"""The solver against a float64 Newton reference of its own, liblinear, and the first-order condition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from mesodask.errors import DataError, SettingsError
from mesodask.numerics import logistic, newton
from mesodask.numerics.estimator import BatchedLogisticRegression
from mesodask.numerics.logistic import fit_logistic
from mesodask.numerics.newton import newton_fits

KINDS = ("plain", "easy", "separable", "shared", "twins", "same", "one-sided", "rare", "heavy-tailed")


def population(kind, n_trials, n_neurons, n_columns, seed):
    """Standardised features with the unit feature, and labels: the data's and permutations of them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_trials) % (10 if kind == "rare" else 2) == 0
    X = rng.normal(size=(n_trials, n_neurons))
    if kind == "easy":
        X += 2 * np.outer(y - 0.5, rng.normal(size=n_neurons))
    elif kind == "separable":
        X[:, : max(1, n_neurons // 4)] += 8 * (y[:, None] - 0.5)
    elif kind == "shared":
        X += 3 * rng.normal(size=(n_trials, 1)) + 0.5 * np.outer(y - 0.5, rng.normal(size=n_neurons))
    elif kind == "twins":
        X[:, n_neurons // 2 :] = X[:, : n_neurons - n_neurons // 2]
    elif kind == "same":
        X = rng.normal(size=(n_trials, 1)) + 1e-3 * X + 0.5 * y[:, None]
    elif kind == "one-sided":
        X = np.where(rng.random(X.shape) < 0.2, np.abs(X), 0)
    elif kind == "heavy-tailed":
        X = rng.standard_t(1.5, size=X.shape)
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    labels = np.array([y] + [rng.permutation(y) for _ in range(n_columns - 1)])
    return np.column_stack((Z, np.ones(n_trials))).astype(np.float32), labels


def gradient_left(U, labels, weights):
    """The length of the objective's gradient against that at w = 0, for every column, in float64."""
    U, weights = U.astype(np.float64), weights.astype(np.float64)
    s = np.where(labels, 1.0, -1.0)
    pull = 0.5 * s * (1 - np.tanh(0.5 * s * (weights @ U.T)))
    return np.linalg.norm(pull @ U - weights, axis=1) / np.linalg.norm(0.5 * s @ U, axis=1)


def liblinear_decisions(U, y):
    # liblinear adds the penalised unit feature itself
    model = LogisticRegression(C=1.0, solver="liblinear", tol=1e-8, max_iter=5000)
    return model.fit(U[:, :-1].astype(np.float64), y).decision_function(U[:, :-1].astype(np.float64))


@pytest.mark.parametrize("n_neurons", [1, 8, 100, 200, 320, 700])
@pytest.mark.parametrize("kind", KINDS)
def test_first_order_condition_holds_for_every_column(kind, n_neurons):
    U, labels = population(kind, 320, n_neurons, 14, seed=n_neurons)
    fits = fit_logistic(U, labels)
    assert fits.converged.all()
    assert gradient_left(U, labels, fits.weights).max() < 1e-3
    # a fault in the fast solver would only make the float64 path do its work
    if kind in ("plain", "easy", "separable", "one-sided", "rare"):
        assert not fits.refined.any()


@pytest.mark.parametrize("n_columns", [1, 12])
@pytest.mark.parametrize("n_neurons", [8, 150, 320, 1000])
@pytest.mark.parametrize("kind", ["plain", "easy", "separable", "twins"])
def test_decisions_are_those_of_liblinear(kind, n_neurons, n_columns):
    U, labels = population(kind, 320, n_neurons, n_columns, seed=7)
    decisions = fit_logistic(U, labels).weights @ U.T
    for column in {0, n_columns - 1}:
        expected = liblinear_decisions(U, labels[column])
        assert np.linalg.norm(decisions[column] - expected) < 1e-3 * np.linalg.norm(expected)


def test_weights_minimise_the_objective_of_the_docstring():
    U, labels = population("plain", 40, 5, 1, seed=0)
    s, features = np.where(labels[0], 1.0, -1.0), U.astype(np.float64)
    best = minimize(lambda w: 0.5 * w @ w + np.logaddexp(0, -s * (features @ w)).sum(), np.zeros(6), tol=1e-10)
    np.testing.assert_allclose(fit_logistic(U, labels).weights[0], best.x, rtol=0, atol=1e-3)


def test_float64_path_agrees_with_liblinear():
    U, labels = population("shared", 100, 60, 3, seed=1)
    weights, converged = newton_fits(U, np.where(labels, 1, -1).astype(np.float32))
    assert converged.all()
    for w, y in zip(weights, labels, strict=True):
        expected = liblinear_decisions(U, y)
        np.testing.assert_allclose(U @ w, expected, atol=1e-5 * np.abs(expected).max())


def test_what_float32_cannot_do_is_refined():
    U, labels = population("same", 320, 320, 12, seed=3)
    fits = fit_logistic(U, labels)
    assert fits.refined.any()
    assert fits.converged.all()


def test_data_decoded_without_error_stay_on_the_fast_path():
    # the loss of column 0 is far flatter than the curvature that the permutations share
    rng = np.random.default_rng(0)
    y = np.arange(320) % 2 == 0
    X = np.sqrt(0.7) * rng.normal(size=(320, 200))
    X += np.sqrt(0.03) * rng.normal(size=(320, 10)) @ rng.normal(size=(10, 200))
    X += 2 * np.outer(y - 0.5, rng.normal(size=200))
    U = np.column_stack(((X - X.mean(axis=0)) / X.std(axis=0), np.ones(320))).astype(np.float32)
    fits = fit_logistic(U, np.array([y] + [rng.permutation(y) for _ in range(30)]))
    assert fits.converged.all()
    assert not fits.refined.any()


def test_each_trials_own_curvature_saves_iterations_where_the_kernel_reaches(monkeypatch):
    U, labels = population("plain", 320, 512, 14, seed=5)
    S = np.where(labels, 1, -1).astype(np.float32)
    problem = logistic._Trials(U)
    problem.begin(len(S))
    monkeypatch.setattr(logistic, "_MAX_ITERATIONS", 9)

    def arrived():
        A, F = np.zeros_like(S), np.zeros_like(S)
        problem.minimise(S, A, F, 3e-4)
        return problem.check(S, A, F)[0]

    assert arrived().all()
    problem.diagonal = np.float32(0)
    assert not arrived().any()
    # twins fill a third of the trial space
    twins = logistic._Trials(population("twins", 320, 200, 1, seed=5)[0])
    twins.begin(14)
    assert twins.diagonal == 0


def test_a_fit_that_does_not_converge_says_so(monkeypatch):
    U, labels = population("plain", 60, 80, 3, seed=0)
    monkeypatch.setattr(logistic, "_MAX_ITERATIONS", 1)
    monkeypatch.setattr(newton, "_MAX_STEPS", 1)
    fits = fit_logistic(U, labels)
    assert not fits.converged.any()
    assert fits.refined.all()


def test_same_batch_same_bits_and_another_company_nearly_the_same():
    U, labels = population("easy", 320, 256, 30, seed=2)
    weights = fit_logistic(U, labels).weights
    np.testing.assert_array_equal(weights, fit_logistic(U.copy(), labels.copy()).weights)
    decisions = weights @ U.T
    order = np.random.default_rng(0).permutation(30)
    shuffled = fit_logistic(U, labels[order]).weights @ U.T
    alone = fit_logistic(U, labels[:1]).weights @ U.T
    for other, these in ((shuffled, decisions[order]), (alone, decisions[:1])):
        error = np.linalg.norm(other - these, axis=1) / np.linalg.norm(these, axis=1)
        assert error.max() < 1e-3


def test_no_information_gives_zero_weights():
    fits = fit_logistic(np.zeros((20, 3), dtype=np.float32), np.arange(40).reshape(2, 20) % 2 == 0)
    np.testing.assert_array_equal(fits.weights, 0)
    assert fits.converged.all()


@settings(deadline=None, max_examples=60)
@given(
    n_trials=st.integers(2, 60),
    n_neurons=st.integers(1, 90),
    n_columns=st.integers(1, 12),
    scale=st.floats(0.05, 20),
    seed=st.integers(0, 2**31),
)
def test_converges_whatever_the_shape_and_penalty(n_trials, n_neurons, n_columns, scale, seed):
    rng = np.random.default_rng(seed)
    U = (scale * rng.normal(size=(n_trials, n_neurons))).astype(np.float32)
    labels = rng.random((n_columns, n_trials)) < 0.5
    labels[:, 0], labels[:, 1] = True, False
    fits = fit_logistic(U, labels)
    assert fits.converged.all()
    assert gradient_left(U, labels, fits.weights).max() < 1e-3


def test_errors_name_the_cause():
    with pytest.raises(DataError, match="one row a trial"):
        fit_logistic(np.ones((3, 2), dtype=np.float32), np.ones((1, 4), dtype=bool))
    with pytest.raises(DataError, match="not finite"):
        fit_logistic(np.full((3, 2), np.nan, dtype=np.float32), np.array([[True, False, True]]))


@parametrize_with_checks([BatchedLogisticRegression()])
def test_estimator_passes_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_estimator_is_liblinear(C):
    U, labels = population("plain", 150, 30, 1, seed=4)
    X, y = U[:, :-1].astype(np.float64), np.where(labels[0], "right", "left")
    ours = BatchedLogisticRegression(C=C).fit(X, y)
    theirs = LogisticRegression(C=C, solver="liblinear", tol=1e-8, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-3 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-3)
    assert ours.converged_.all()


def test_estimator_refuses_a_penalty_that_is_not_positive():
    with pytest.raises(SettingsError, match="C is 0"):
        BatchedLogisticRegression(C=0).fit([[0.0], [1.0]], [0, 1])
