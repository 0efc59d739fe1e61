"""P-values, intervals and k* against formulas, SciPy and plain counting (4 s)."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.inference import benjamini_hochberg, interval, k_star, p_curve, p_value

KEY = (0, "k_star", "eid")
NAN = float("nan")
COARSE = st.integers(0, 10).map(lambda i: i / 10)


@settings(deadline=None)
@given(observed=COARSE | st.just(NAN), null=st.lists(COARSE | st.just(NAN), max_size=30))
def test_p_value_counts_the_null_scores_that_reach_the_observed(observed, null):
    counted = [x for x in null if x == x]
    expected = (1 + sum(x >= observed for x in counted)) / (1 + len(counted)) if counted else NAN
    ours = p_value(observed, null)
    np.testing.assert_allclose(ours, expected if observed == observed else NAN)
    # ties remain ties in the single precision of stored nulls
    np.testing.assert_array_equal(p_value(observed, np.array(null, dtype=np.float32)), ours)


def test_p_values_of_arrays_are_those_of_each_element():
    rng = np.random.default_rng(0)
    observed, null = rng.random((3, 4)), rng.random((3, 4, 19))
    ours = p_value(observed, null)
    assert ours.shape == (3, 4)
    for i, j in itertools.product(range(3), range(4)):
        assert ours[i, j] == p_value(observed[i, j], null[i, j])


def test_p_value_agrees_with_scipy():
    observed, null = 0.62, np.random.default_rng(1).normal(0.5, 0.1, 199)
    scipy = stats.monte_carlo_test(
        [observed], lambda size: null.reshape(size), np.mean, n_resamples=199, alternative="greater"
    )
    assert p_value(observed, null) == pytest.approx(scipy.pvalue)


def plain_p_curve(score, null):
    """The definition, one number at a time."""
    n_k, n = len(score), len(null[0])
    curves = [list(score)] + [[null[k][s] for k in range(n_k)] for s in range(n)]
    largest = []
    for curve in curves:
        standardised = []
        for k in range(n_k):
            column = [c[k] for c in curves]
            sd = np.std(column)
            standardised.append((curve[k] - np.mean(column)) / sd if sd > 1e-9 else -np.inf)
        largest.append(max(standardised))
    return (1 + sum(t >= largest[0] - 1e-9 for t in largest[1:])) / (1 + n)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())
def test_p_curve_is_that_of_the_largest_standardised_score(n_k, n, seed, coarse):
    rng = np.random.default_rng(seed)
    score, null = rng.normal(0.1, 0.1, n_k), rng.normal(0, 0.1, (n_k, n))
    if coarse:  # ties, and ks where all curves agree
        score, null = score.round(1), null.round(1)
    assert p_curve(score, null) == pytest.approx(plain_p_curve(score, null))


def test_p_curve_of_one_k_is_the_p_value():
    rng = np.random.default_rng(0)
    for observed in rng.normal(1, 1, 20):
        null = rng.normal(size=40)
        assert p_curve([observed], [null]) == p_value(observed, null)


@pytest.mark.parametrize("n_shuffles", [19, 99])
def test_p_values_without_a_code_are_uniform(n_shuffles):
    rng = np.random.default_rng(0)
    # curves of 5 ks with correlated neighbours, of which the first is called the observed one
    curves = np.cumsum(rng.normal(size=(3000, 5, n_shuffles + 1)), axis=1)
    single = p_value(curves[:, -1, 0], curves[:, -1, 1:])
    whole = np.array([p_curve(c[:, 0], c[:, 1:]) for c in curves])
    for p in (single, whole):
        # five standard deviations of a binomial share
        for level in (0.05, 0.2, 0.5):
            assert abs((p <= level + 1e-9).mean() - level) < 5 * np.sqrt(level * (1 - level) / len(p))


def test_p_curve_finds_a_code_at_one_k():
    rng = np.random.default_rng(0)
    null = rng.normal(0.5, 0.02, (6, 100))
    score = rng.normal(0.5, 0.02, 6)
    score[3] = 0.7
    assert p_curve(score, null) == pytest.approx(1 / 101)


def test_p_curve_leaves_out_what_is_unfinished():
    rng = np.random.default_rng(0)
    score, null = rng.normal(1, 1, 5), rng.normal(0, 1, (5, 40))
    expected = p_curve(score[[0, 2, 4]], null[[0, 2, 4]][:, 3:])
    score[1] = NAN
    null[3] = NAN
    null[2, 0] = null[4, 1] = null[0, 2] = NAN
    assert p_curve(score, null) == expected
    assert np.isnan(p_curve([NAN, NAN], np.zeros((2, 9))))
    assert np.isnan(p_curve([0.5], np.empty((1, 0))))
    assert np.isnan(p_curve([0.5], [[NAN, NAN]]))


def test_a_curve_equal_to_all_its_nulls_has_p_one():
    assert p_curve([0.5, 0.5], np.full((2, 9), 0.5, dtype=np.float32)) == 1
    score = np.array([0.1, 0.7])
    assert p_curve(score, np.repeat(score[:, None], 9, axis=1).astype(np.float32)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_null_curve_equal_to_the_observed_one_reaches_it_in_single_precision(seed):
    rng = np.random.default_rng(seed)
    score, null = rng.normal(0.9, 0.01, 4), rng.normal(0.5, 0.02, (4, 50))
    null[:, 7] = score
    assert p_curve(score, null.astype(np.float32)) == pytest.approx(2 / 51)


@pytest.mark.parametrize("seed", range(8))
def test_a_k_at_which_all_curves_agree_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    score, null = rng.normal(0, 1, 3), rng.normal(0.5, 1, (3, 50))
    flat = np.full((1, 50), 0.7, dtype=np.float32)
    assert p_curve(np.append(score, 0.7), np.append(null, flat, axis=0)) == p_curve(score, null)


@settings(deadline=None)
@given(st.lists(COARSE | st.floats(0, 1) | st.just(NAN), max_size=40))
def test_false_discovery_rate_agrees_with_scipy(values):
    p = np.array(values)
    tested = ~np.isnan(p)
    expected = np.full(len(p), NAN)
    if tested.any():
        expected[tested] = stats.false_discovery_control(p[tested])
    np.testing.assert_allclose(benjamini_hochberg(p), expected, rtol=1e-12)


def test_false_discovery_rate_of_a_table():
    p = np.random.default_rng(0).random((4, 6))
    np.testing.assert_array_equal(benjamini_hochberg(p), benjamini_hochberg(p.ravel()).reshape(4, 6))
    with pytest.raises(DataError, match="0, 1"):
        benjamini_hochberg([0.5, 1.5])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_interval_is_that_of_the_scores_there_are(axis):
    scores = np.random.default_rng(0).random((6, 5, 7))
    scores[2, 1:3] = scores[0, 0, 0] = NAN
    low, high = interval(scores, level=0.8, axis=axis)
    rows = np.moveaxis(scores, axis, -1)
    assert low.shape == high.shape == rows.shape[:-1]
    for index in np.ndindex(low.shape):
        there = rows[index][~np.isnan(rows[index])]
        expected = np.percentile(there, [10, 90]) if len(there) else [NAN, NAN]
        np.testing.assert_allclose([low[index], high[index]], expected)


def test_interval_of_nothing():
    low, high = interval(np.empty((3, 0)))
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    with pytest.raises(SettingsError, match="level"):
        interval([1.0], level=95)


def curves(n_resamples=40, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    ks = np.array([8, 16, 32, 64, 128])
    means = np.array([0.6, 0.7, 0.75, 0.79, 0.8])
    return ks, means[:, None] + rng.normal(0, noise, (5, n_resamples))


def slow_curves(n_resamples=40):
    ks = np.arange(1, 201)
    noise = np.random.default_rng(0).normal(0, 0.02, (200, n_resamples))
    return ks, 0.8 - 0.2 * np.exp(-ks[:, None] / 40) + noise


@pytest.mark.parametrize(("delta", "expected"), [(0.0, 128), (0.02, 64), (0.06, 32), (0.3, 8)])
def test_k_star_is_the_smallest_within_delta(delta, expected):
    ks, scores = curves(noise=0)
    star = k_star(ks, scores, delta, key=KEY)
    assert star == (expected, expected, expected, pytest.approx(0.8))
    order = [3, 0, 4, 1, 2]
    assert k_star(ks[order], scores[order], delta, key=KEY) == star


def test_a_mean_exactly_delta_below_the_ceiling_is_within():
    # 0.8 - 0.78 is a little above 0.02 in floating point
    assert k_star([8, 16], [[0.78], [0.8]], 0.02, key=KEY).k_star == 8


def test_a_curve_that_falls_again_is_within_where_it_is_above():
    assert k_star([8, 16, 32], [[0.6], [0.9], [0.8]], 0.02, key=KEY).k_star == 16


def test_k_star_interval_bootstraps_whole_curves():
    ks, scores = slow_curves()
    star = k_star(ks, scores, 0.02, key=KEY)
    rng = np.random.default_rng(7)
    bootstrapped = []
    for _ in range(4000):
        means = scores[:, rng.integers(40, size=40)].mean(axis=1)
        bootstrapped.append(next(k for k, mean in zip(ks, means, strict=True) if mean >= means[-1] - 0.02))
    bootstrapped = np.array(bootstrapped)
    for end, tail in ((star.low, 0.025), (star.high, 0.975)):
        # the share below either end, on the bootstrap drawn here
        assert np.mean(bootstrapped < end) <= tail + 0.015
        assert np.mean(bootstrapped <= end) >= tail - 0.015
    assert star.low <= star.k_star <= star.high
    assert star.low < star.high


def test_resamples_stay_together_across_k():
    # every resample shifts the whole curve: k* is certain, though the means at each k are not
    ks, scores = curves(noise=0)
    shifted = scores + np.random.default_rng(0).normal(0, 0.2, scores.shape[1])
    assert k_star(ks, shifted, 0.02, key=KEY)[:3] == (64, 64, 64)


def test_k_star_is_keyed():
    ks, scores = slow_curves()
    assert k_star(ks, scores, 0.02, key=KEY) == k_star(ks, scores, 0.02, key=KEY)
    ends = {k_star(ks, scores, 0.02, key=(seed,))[1:3] for seed in range(10)}
    assert len(ends) > 1


def test_unfinished_ks():
    ks, scores = curves(noise=0)
    scores[3, 7] = NAN
    assert k_star(ks, scores, 0.02, key=KEY)[:3] == (128, 128, 128)
    scores[4, 0] = NAN
    assert np.isnan(k_star(ks, scores, 0.02, key=KEY)).all()
    assert np.isnan(k_star([], np.empty((0, 5)), 0.02, key=KEY)).all()
    assert np.isnan(k_star(ks, np.empty((5, 0)), 0.02, key=KEY)).all()


@pytest.mark.parametrize(("p", "defined"), [(None, True), (0.05, True), (0.051, False), (NAN, True)])
def test_no_k_star_without_a_code(p, defined):
    ks, scores = curves(noise=0)
    star = k_star(ks, scores, 0.02, key=KEY, p=p)
    assert star.ceiling == pytest.approx(0.8)
    assert not np.isnan(star[:3]).any() if defined else np.isnan(star[:3]).all()


def test_arguments_that_do_not_fit():
    with pytest.raises(DataError, match="null scores"):
        p_value([0.5, 0.6], [0.1, 0.2])
    with pytest.raises(DataError, match="mean scores"):
        p_curve([0.5, 0.6], [[0.1, 0.2]])
    with pytest.raises(DataError, match="ks have shape"):
        k_star([8, 16], [[0.5]], 0.02, key=KEY)
    for delta, level in ((-0.1, 0.95), (NAN, 0.95), (0.02, 1.0)):
        with pytest.raises(SettingsError, match="delta"):
            k_star([8], [[0.5]], delta, key=KEY, level=level)
