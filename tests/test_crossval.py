"""Folds, standardisation and scores against scikit-learn; invariances; edge cases."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.crossval import cross_val_batches, cross_val_details, cross_val_scores, make_folds
from mesodask.numerics.logistic import LogisticFits
from mesodask.numerics.scores import auc, balanced_accuracy
from mesodask.numerics.standardise import standardised_features

# what separates two scores that differ by a swapped pair of trials, and by rounding
PAIR = 5e-4


def population(n_trials=400, n_neurons=32, code=0.3, n_columns=1, seed=0, share=0.5):
    rng = np.random.default_rng(seed)
    y = np.zeros(n_trials, dtype=int)
    y[: round(share * n_trials)] = 1
    rng.shuffle(y)
    X = rng.normal(size=(n_trials, n_neurons)) + 0.3 * rng.normal(size=(n_trials, 1))
    X += code * np.outer(y - 0.5, rng.normal(size=n_neurons))
    return X.astype(np.float32), np.column_stack([y] + [rng.permutation(y) for _ in range(n_columns - 1)])


def liblinear_scores(X, y, splits):
    """AUC and balanced accuracy of one label column, mean over folds, by scikit-learn."""
    areas, accuracies = [], []
    for train, test in splits:
        scaler = StandardScaler().fit(X[train].astype(np.float64))
        model = LogisticRegression(C=1.0, solver="liblinear", tol=1e-8, max_iter=5000)
        model.fit(scaler.transform(X[train].astype(np.float64)), y[train])
        decisions = model.decision_function(scaler.transform(X[test].astype(np.float64)))
        areas.append(roc_auc_score(y[test], decisions))
        accuracies.append(balanced_accuracy_score(y[test], decisions > 0))
    return np.mean(areas), np.mean(accuracies)


# folds


@settings(deadline=None, max_examples=100)
@given(st.integers(8, 90), st.floats(0.1, 0.9), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_shuffled_folds_are_those_of_scikit_learn(n_trials, share, n_splits, seed):
    y = (np.random.default_rng(seed).random(n_trials) < share).astype(int)
    smallest = min(y.sum(), n_trials - y.sum())
    folds = make_folds(y, n_splits=n_splits, seed=seed)
    assert len(folds) == max(2, min(n_splits, smallest))
    if smallest >= 2:
        expected = StratifiedKFold(len(folds), shuffle=True, random_state=seed).split(y, y)
        for (train, test), (their_train, their_test) in zip(folds, expected, strict=True):
            np.testing.assert_array_equal(train, their_train)
            np.testing.assert_array_equal(test, their_test)


@settings(deadline=None, max_examples=100)
@given(st.integers(20, 200), st.integers(2, 6), st.integers(0, 4))
def test_contiguous_folds_are_blocks_with_a_gap_around_them(n_trials, n_splits, gap):
    folds = make_folds(np.arange(n_trials) % 2, n_splits=n_splits, folds="contiguous", gap=gap)
    np.testing.assert_array_equal(np.concatenate([test for _, test in folds]), np.arange(n_trials))
    sizes = [len(test) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1
    for train, test in folds:
        distance = np.abs(train[:, None] - test).min(axis=1)
        assert distance.min() == gap + 1
        assert len(train) == n_trials - np.sum(np.abs(np.arange(n_trials)[:, None] - test).min(axis=1) <= gap)


@pytest.mark.parametrize(
    ("labels", "settings_", "error", "text"),
    [
        ([0, 1, 2], {}, DataError, "labels 0 or 1"),
        ([0, 1, 0, 1], {"n_splits": 1}, SettingsError, "n_splits is 1"),
        ([0, 1, 0, 1], {"seed": -1}, SettingsError, "seed is -1"),
        ([0, 1, 0, 1], {"folds": "random"}, SettingsError, "folds is 'random'"),
        ([0, 1, 0, 1], {"gap": 1}, SettingsError, "needs folds='contiguous'"),
        ([0, 1, 0, 1], {"folds": "contiguous", "gap": 3}, DataError, "leaves no trial"),
    ],
)
def test_folds_refuse_what_they_cannot_do(labels, settings_, error, text):
    with pytest.raises(error, match=text):
        make_folds(labels, **settings_)


# standardisation and scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardisation_is_the_scalers(dtype):
    rng = np.random.default_rng(0)
    X = (1000 + rng.normal(size=(60, 300)) * rng.exponential(size=300)).astype(dtype)
    X[:40, 7] = 3.3
    train, test = np.arange(40), np.arange(40, 60)
    U_train, U_test = standardised_features(X, train, test, 4.0)
    scaler = StandardScaler().fit(X[train].astype(np.float64))
    expected = 2 * scaler.transform(X.astype(np.float64))
    # a neuron constant in training is 0 in both; scikit-learn leaves its test values unscaled
    expected[:, 7] = 0
    np.testing.assert_allclose(np.concatenate((U_train, U_test))[:, :-1], expected, atol=1e-4)
    np.testing.assert_array_equal(U_train[:, -1], 2)


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 2**31))
def test_scores_are_scikit_learns_ties_included(n_trials, n_levels, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random((3, n_trials)) < 0.5
    labels[:, 0], labels[:, 1] = True, False
    decisions = rng.integers(-n_levels, n_levels + 1, size=(3, n_trials)).astype(np.float32)
    expected = [roc_auc_score(y, f) for y, f in zip(labels, decisions, strict=True)]
    np.testing.assert_allclose(auc(decisions, labels), expected, atol=1e-12)
    # labels flipped against the same decisions
    np.testing.assert_allclose(auc(decisions, ~labels), 1 - auc(decisions, labels), atol=1e-12)
    expected = [balanced_accuracy_score(y, f > 0) for y, f in zip(labels, decisions, strict=True)]
    np.testing.assert_allclose(balanced_accuracy(decisions, labels), expected, atol=1e-12)


def test_decisions_that_differ_by_rounding_are_tied():
    decisions = np.array([[-8.0, 1.0, 1.0 + 1e-6]], dtype=np.float32)
    assert auc(decisions, np.array([[False, False, True]])).tolist() == [0.75]


def test_scores_without_both_classes_are_nan():
    decisions = np.array([[0.5, -0.5]], dtype=np.float32)
    assert np.isnan(auc(decisions, np.array([[True, True]]))).all()
    assert np.isnan(balanced_accuracy(decisions, np.array([[False, False]]))).all()


# the whole


@pytest.mark.parametrize("n_neurons", [8, 32, 128, 256, 512, 1024, 2048])
def test_scores_agree_with_the_scikit_learn_loop(n_neurons):
    errors, accuracy_errors = [], []
    for seed, code in ((1, 0.0), (2, 0.1), (3, 0.5)):
        X, Y = population(n_neurons=n_neurons, code=code, n_columns=12, seed=seed)
        areas = cross_val_scores(X, Y, seed=seed)
        accuracies = cross_val_scores(X, Y, seed=seed, metric="accuracy")
        splits = make_folds(Y[:, 0], seed=seed)
        for column in (0, 5):
            area, accuracy = liblinear_scores(X, Y[:, column], splits)
            errors.append(abs(areas[column] - area))
            accuracy_errors.append(abs(accuracies[column] - accuracy))
    assert max(errors) < PAIR
    # one trial more or less of the 40 of a class, in one of five folds
    assert max(accuracy_errors) <= 0.5 / 38 / 5 + 1e-9


@pytest.mark.parametrize("folds", ["shuffled", "contiguous"])
def test_rare_labels_agree_too(folds):
    X, Y = population(n_neurons=300, n_columns=12, share=0.15, seed=9)
    scores = cross_val_scores(X, Y, folds=folds)
    splits = make_folds(Y[:, 0], folds=folds)
    for column in (0, 7):
        assert abs(scores[column] - liblinear_scores(X, Y[:, column], splits)[0]) < PAIR


def test_equal_trials_are_ties():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((200, 3)) < 0.1, 1.0, 0.0)
    y = rng.random(200) < 0.5
    area = liblinear_scores(X, y.astype(int), make_folds(y.astype(int)))[0]
    assert abs(cross_val_scores(X, y[:, None])[0] - area) < 1e-9


@settings(deadline=None, max_examples=25)
@given(
    n_neurons=st.integers(1, 60),
    column=st.integers(0, 2),
    factor=st.floats(0.01, 100),
    negative=st.booleans(),
    offset=st.floats(-50, 50),
    seed=st.integers(0, 2**31),
)
def test_invariances(n_neurons, column, factor, negative, offset, seed):
    X, Y = population(60, n_neurons, 0.5, 3, seed)
    scores = cross_val_scores(X, Y)
    # a pair more or less in one fold of 6 x 6
    pair = 1 / 36 / 5 + 1e-9
    changed = X.astype(np.float64)
    changed[:, seed % n_neurons] = (-factor if negative else factor) * changed[:, seed % n_neurons] + offset
    np.testing.assert_allclose(cross_val_scores(changed, Y), scores, atol=pair)
    order = np.random.default_rng(seed).permutation(n_neurons)
    np.testing.assert_allclose(cross_val_scores(X[:, order], Y), scores, atol=pair)
    # column 0 makes the folds: flip a column beside it. Classes and decisions both change sign, so the score stays
    flipped = np.column_stack((Y, 1 - Y[:, column]))
    np.testing.assert_allclose(cross_val_scores(X, flipped)[3], scores[column], atol=pair)


def test_one_column_alone_and_another_order_agree_with_the_batch():
    X, Y = population(n_neurons=256, n_columns=30, seed=5)
    scores = cross_val_scores(X, Y)
    order = np.concatenate(([0], 1 + np.random.default_rng(0).permutation(29)))
    np.testing.assert_allclose(cross_val_scores(X, Y[:, order]), scores[order], atol=PAIR)
    np.testing.assert_allclose(cross_val_scores(X, Y[:, :1]), scores[:1], atol=PAIR)


def test_bits_do_not_depend_on_the_number_of_threads():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_crossval import population;"
        "from mesodask.numerics.crossval import cross_val_details; X, Y = population(400, 700, .1, 30);"
        "print(cross_val_details(X, Y).scores.tobytes().hex())"
    )
    printed = set()
    for threads in ("1", "2"):
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        printed.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        )
    assert len(printed) == 1


@pytest.mark.parametrize(
    ("n_trials", "n_neurons"), [(12, 1), (12, 50), (50, 49), (40, 40), (40, 32), (2000, 20), (400, 1)]
)
def test_shapes(n_trials, n_neurons):
    X, Y = population(n_trials, n_neurons, 0.8, 3, seed=3)
    details = cross_val_details(X, Y)
    splits = make_folds(Y[:, 0])
    assert np.isfinite(details.scores).all()
    assert not details.unconverged.any()
    smallest = min(Y[test, 0].sum() * (len(test) - Y[test, 0].sum()) for _, test in splits)
    area, _ = liblinear_scores(X, Y[:, 0], splits)
    assert abs(details.scores[0] - area) <= 1 / smallest / len(splits) + 1e-9


def test_separable_twins_and_one_sided_features():
    X, Y = population(code=0, n_neurons=20, n_columns=2)
    X[:, 0] = 10 * Y[:, 0] + X[:, 0]
    X[:, 1] = X[:, 0]
    X[:, 2] = 5
    X = np.maximum(X, 0)
    details = cross_val_details(X, Y)
    assert details.scores[0] == 1
    assert not details.unconverged.any()


def test_a_constant_neuron_does_no_harm():
    X, Y = population(n_neurons=20, n_columns=2)
    with_constant = np.column_stack((X, np.full(len(X), 0.1, dtype=np.float32)))
    np.testing.assert_allclose(cross_val_scores(with_constant, Y), cross_val_scores(X, Y), atol=PAIR)
    # constant in training, but not in test
    train, test = make_folds(Y[:, 0])[0]
    X[train, 3] = 2
    assert np.isfinite(cross_val_scores(X, Y)).all()
    assert not standardised_features(X, train, test, 1.0)[1][:, 3].any()


def test_folds_without_both_classes_are_left_out():
    X, _ = population(60, 5)
    y = np.arange(60) % 2
    late = np.arange(60) >= 55
    only_first = np.arange(60) < 1
    Y = np.column_stack((y, np.zeros(60), late, only_first))
    details = cross_val_details(X, Y, folds="contiguous")
    # in `late` the last fold trains and tests on both classes only where the block holds part of them
    assert details.folds_used.tolist() == [5, 0, 0, 0]
    assert np.isnan(details.scores[1:]).all()
    Y[50, 2] = 1
    Y[20, 2] = 1
    details = cross_val_details(X, Y, folds="contiguous")
    assert details.folds_used.tolist() == [5, 0, 2, 0]
    assert np.isfinite(details.scores[2])


def test_data_with_one_class_gives_nan():
    X, _ = population(30, 4)
    details = cross_val_details(X, np.ones((30, 1)))
    assert np.isnan(details.scores).all()
    assert details.folds_used.tolist() == [0]


@pytest.mark.parametrize("n_neurons", [5, 200])  # fitted in the space of neurons, and in that of trials
def test_batches_are_scored_as_each_would_be_alone(n_neurons):
    X, Y = population(120, n_neurons, n_columns=40)
    Y[:, 7] = np.arange(120) < 2  # of one class in all training trials of some fold: it leaves that out
    batches = [Y[:, :1], Y, Y[:, [0, 9, 3]]]
    noted = []
    together = cross_val_batches(X, batches, seed=3, note=noted.append)
    assert noted == [0, 1, 2] * 5
    for batch, found in zip(batches, together, strict=True):
        for one, alone in zip(found, cross_val_details(X, batch, seed=3), strict=True):
            np.testing.assert_array_equal(one, alone)


def test_unconverged_fits_are_counted(monkeypatch):
    def never(self, labels, *, precision):
        no = np.zeros(len(labels), dtype=bool)
        return LogisticFits(self.U, np.ones((len(labels), self.U.shape[1]), dtype=np.float32), False, no, ~no)

    monkeypatch.setattr("mesodask.numerics.crossval.LogisticProblem.fit", never)
    X, Y = population(60, 5, n_columns=3)
    assert cross_val_details(X, Y).unconverged.tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("X", "Y", "settings_", "error", "text"),
    [
        (np.full((4, 1), np.nan), [[0], [1], [0], [1]], {}, DataError, "not finite in 4 of 4 trials"),
        (np.ones((4, 1)), [[0], [1], [0]], {}, DataError, "the same trials"),
        (np.ones((4, 1)), [0, 1, 0, 1], {}, DataError, "y\\[:, None\\]"),
        (np.ones((4, 1)), [[0], [1], [0], [-1]], {}, DataError, "expected 0 and 1"),
        (np.ones((4, 1)), [[0], [1], [0], [1]], {"metric": "f1"}, SettingsError, "metric is 'f1'"),
        (np.ones((4, 1)), [[0], [1], [0], [1]], {"C": 0}, SettingsError, "C is 0"),
    ],
)
def test_wrong_input_is_refused(X, Y, settings_, error, text):
    with pytest.raises(error, match=text):
        cross_val_scores(X, Y, **settings_)


def test_one_blas_thread_holds_while_any_thread_is_inside():
    from threadpoolctl import threadpool_info, threadpool_limits

    from mesodask.numerics.threads import ONE_BLAS_THREAD

    def n_threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        inside, leave = threading.Event(), threading.Event()

        def stay() -> None:
            with ONE_BLAS_THREAD:
                inside.set()
                leave.wait(10)

        other = threading.Thread(target=stay)
        with ONE_BLAS_THREAD:
            other.start()
            assert inside.wait(10)
        assert n_threads() == {1}  # the first to come has left, the other is still at work
        leave.set()
        other.join()
        assert n_threads() == {2}
