"""Labels against the definition read row by row, and what a balanced subset must keep (2 s)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.labels import LABEL_COLUMNS, balanced_subset, binary_labels

NAN = float("nan")
CONTRASTS = st.sampled_from([NAN, 0.0, 0.0625, 0.125, 0.25, 1.0])
COLUMNS = {
    "choice": st.sampled_from([1.0, -1.0, 0.0, NAN]),
    "feedbackType": st.sampled_from([1.0, -1.0, NAN]),
    "contrastLeft": CONTRASTS,
    "contrastRight": CONTRASTS,
    "probabilityLeft": st.sampled_from([0.2, 0.5, 0.8, NAN]),
}


def label_of_row(row, target):
    if target == "choice":
        return {1.0: 1.0, -1.0: 0.0}.get(row["choice"], NAN)
    if target == "feedback":
        return {1.0: 1.0, -1.0: 0.0}.get(row["feedbackType"], NAN)
    if target == "block":
        return {0.8: 1.0, 0.2: 0.0}.get(row["probabilityLeft"], NAN)
    left = not math.isnan(row["contrastLeft"]) and row["contrastLeft"] > 0
    right = not math.isnan(row["contrastRight"]) and row["contrastRight"] > 0
    return NAN if left == right else float(right)


@pytest.mark.parametrize("target", list(LABEL_COLUMNS))
@settings(deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(COLUMNS), max_size=30))
def test_labels_follow_the_definition(target, rows):
    trials = {name: [row[name] for row in rows] for name in COLUMNS}
    np.testing.assert_array_equal(binary_labels(trials, target), [label_of_row(row, target) for row in rows])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_in_single_precision(dtype):
    trials = {"probabilityLeft": np.array([0.2, 0.5, 0.8], dtype=dtype)}
    np.testing.assert_array_equal(binary_labels(trials, "block"), [0, NAN, 1])


@pytest.mark.parametrize("target", list(LABEL_COLUMNS))
def test_a_missing_column_is_named(target):
    for missing in LABEL_COLUMNS[target]:
        trials = {name: [1.0] for name in LABEL_COLUMNS[target] if name != missing}
        with pytest.raises(DataError, match=missing):
            binary_labels(trials, target)


def test_columns_of_different_length():
    with pytest.raises(DataError, match="shapes"):
        binary_labels({"contrastLeft": [0.0], "contrastRight": [0.0, 1.0]}, "stimulus")


def test_unknown_target():
    with pytest.raises(SettingsError, match="mood"):
        binary_labels({"choice": [1]}, "mood")


LABELS = st.lists(st.sampled_from([0.0, 1.0, NAN]), max_size=60).map(np.array)


@settings(deadline=None)
@given(y=LABELS, seed=st.integers(0, 1000))
def test_balanced_subsets_are_nested_ordered_and_equal(y, seed):
    smallest = int(min((y == 0).sum(), (y == 1).sum()))
    subsets = [balanced_subset(y, n, key=(seed, "balance", "eid")) for n in range(smallest + 1)]
    for n, subset in enumerate(subsets):
        assert np.all(np.diff(subset) > 0)
        assert [(y[subset] == label).sum() for label in (0, 1)] == [n, n]
        assert len(subset) == 2 * n
        assert set(subset) <= set(subsets[-1])
    np.testing.assert_array_equal(balanced_subset(y, key=(seed, "balance", "eid")), subsets[-1])


def test_every_trial_is_as_likely_to_be_chosen():
    y = np.array([0, 1, 1, 0, 1, 1, 0, 1, 1])
    chosen = np.zeros(len(y))
    for seed in range(2000):
        chosen[balanced_subset(y, 2, key=(seed, "balance"))] += 1
    share = np.where(y == 0, 2 / 3, 2 / 6)
    # five standard deviations of a binomial share of 2000 draws
    assert np.all(np.abs(chosen / 2000 - share) < 5 * np.sqrt(share * (1 - share) / 2000))


@pytest.mark.parametrize("n", [3, -1])
def test_more_trials_than_there_are(n):
    with pytest.raises(DataError, match="at most 2"):
        balanced_subset([0, 0, 1, 1, 1], n, key=(0,))
