"""The grid: scores and decisions against StandardScaler + liblinear, over sizes, seeds and strengths of the code."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from test_crossval import population

from mesodask.numerics.crossval import cross_val_scores, make_folds
from mesodask.numerics.logistic import fit_logistic
from mesodask.numerics.standardise import standardised_features

KS = (8, 32, 128, 256, 512, 1024, 2048)
CODES = (0.0, 0.1, 2.0)  # chance at every k; rises from .6 to 1 with k; without error from a few neurons on
N_TRIALS, N_COLUMNS, N_COMPARED = 400, 101, 5
BOUNDS = {"auc": 5e-4, "trials": 1, "decisions": 1e-3}
AUC_ON_AVERAGE = 1e-4
BATCH, ALONE = 0, 1


class Differences(NamedTuple):
    """How far ours is from scikit-learn's, a value a score (auc, trials) or a fold's column (decisions).

    Decisions: the length of the difference against the length of scikit-learn's, over training and over test trials.
    """

    auc: np.ndarray
    trials: np.ndarray
    decisions: np.ndarray


def liblinear_decisions(X, y, train):
    """Decisions of one fold on all trials, (n_trials,)."""
    scaler = StandardScaler().fit(X[train].astype(np.float64))
    model = LogisticRegression(C=1.0, solver="liblinear", tol=1e-8, max_iter=5000)
    model.fit(scaler.transform(X[train].astype(np.float64)), y[train])
    return model.decision_function(scaler.transform(X.astype(np.float64)))


@cache
def differences(n_neurons, seed, code, n_compared=N_COMPARED):
    """The first columns in a batch of 101, and alone, against scikit-learn: two Differences."""
    X, Y = population(N_TRIALS, n_neurons, code, N_COLUMNS, seed)
    splits = make_folds(Y[:, 0], seed=seed)
    expected = np.array(  # of every fold, compared column and trial
        [[liblinear_decisions(X, Y[:, column], train) for column in range(n_compared)] for train, _ in splits]
    )
    areas = score_differences(X, Y, seed, splits, expected, "auc", roc_auc_score)
    accuracies = score_differences(
        X, Y, seed, splits, expected, "accuracy", lambda y, f: balanced_accuracy_score(y, f > 0)
    )
    # by how much one test trial moves the mean balanced accuracy of a column, where its class is smallest
    ones = np.array([Y[test, :n_compared].sum(axis=0) for _, test in splits])  # (n_splits, n_compared)
    sizes = np.array([len(test) for _, test in splits])[:, None]
    one_trial = 0.5 / np.minimum(ones, sizes - ones).min(axis=0) / len(splits)
    trials = accuracies / np.append(one_trial, one_trial[0])
    in_batch, alone = decision_differences(X, Y, splits, expected)
    return Differences(areas[:-1], trials[:-1], in_batch), Differences(areas[-1:], trials[-1:], alone)


def score_differences(X, Y, seed, splits, expected, metric, score):
    """Of the first columns in the batch, and of column 0 alone: it makes the folds, which others alone would change."""
    n_compared = expected.shape[1]
    theirs = np.mean(
        [
            [score(Y[test, column], decisions[column, test]) for column in range(n_compared)]
            for (_, test), decisions in zip(splits, expected, strict=True)
        ],
        axis=0,
    )
    batch = cross_val_scores(X, Y, seed=seed, metric=metric)[:n_compared]
    alone = cross_val_scores(X, Y[:, :1], seed=seed, metric=metric)
    return np.abs(np.append(batch - theirs, alone - theirs[0]))


def decision_differences(X, Y, splits, expected):
    """Of the first columns in the batch, and of each of them alone; over the training and over the test trials."""
    n_compared = expected.shape[1]
    batch_errors, alone_errors = [], []
    for (train, test), theirs in zip(splits, expected, strict=True):
        U_train, U_test = standardised_features(X, train, test, 1.0)
        labels = Y[train].T == 1
        batch = fit_logistic(U_train, labels)
        alone = [fit_logistic(U_train, labels[[column]]) for column in range(n_compared)]
        for U, trials in ((U_train, train), (U_test, test)):
            batch_errors.append(relative(batch.decisions(U)[:n_compared], theirs[:, trials]))
            alone_errors.append(relative(np.concatenate([fit.decisions(U) for fit in alone]), theirs[:, trials]))
    return np.ravel(batch_errors), np.ravel(alone_errors)


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)


def check(cases):
    """Hold a dict of (k, seed, code): Differences against the bounds; name the cases that break one."""
    broken = [
        f"{name} {getattr(found, name).max():.2g} > {bound:g} at k = {k}, seed {seed}, code {code}"
        for (k, seed, code), found in cases.items()
        for name, bound in BOUNDS.items()
        if not getattr(found, name).max() <= bound + 1e-9
    ]
    average = np.mean([found.auc.mean() for found in cases.values()])
    if not average <= AUC_ON_AVERAGE:
        broken.append(f"auc {average:.2g} > {AUC_ON_AVERAGE:g} on average")
    assert not broken, "\n".join(broken)


def corner(k, which):
    return {(k, seed, code): differences(k, seed, code, 2)[which] for seed, code in ((0, 0.1), (1, 2.0))}


def whole(k, which):
    cases = {(k, seed, code): differences(k, seed, code)[which] for seed in range(20) for code in CODES}
    for name in Differences._fields:
        values = np.concatenate([getattr(found, name) for found in cases.values()])
        path = ("batch", "alone")[which]
        print(f"k = {k}, {path}: {name}: largest {values.max():.2g}, mean {values.mean():.2g} of {len(values)}")
    return cases


@pytest.mark.parametrize("k", [8, 128, 512, 2048])
def test_a_batch_in_a_corner_of_the_grid(k):
    check(corner(k, BATCH))


@pytest.mark.parametrize("k", [8, 128, 512, 2048])
def test_a_column_alone_in_a_corner_of_the_grid(k):
    check(corner(k, ALONE))


@pytest.mark.slow
@pytest.mark.parametrize("k", KS)
def test_a_batch_in_the_whole_grid(k):
    check(whole(k, BATCH))


@pytest.mark.slow
@pytest.mark.parametrize("k", KS)
def test_a_column_alone_in_the_whole_grid(k):
    check(whole(k, ALONE))
