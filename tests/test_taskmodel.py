"""The task model and its observer, against SciPy's laws and an objective written down again here. 3 s."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize

from mesodask.errors import DataError
from mesodask.numerics import taskmodel
from mesodask.numerics.taskmodel import (
    CONTRASTS,
    Observer,
    TaskTrials,
    draw_choices,
    draw_trials,
    fit_observer,
)

MOUSE = Observer(gain=6.0, bias=0.4, prior_weight=0.5, lapse_left=0.02, lapse_right=0.08)


def blocks_of(probability_left):
    """Values and lengths of the runs of equal probability."""
    edges = np.flatnonzero(np.diff(probability_left)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [len(probability_left)]]))
    return probability_left[np.concatenate([[0], edges])], lengths


@settings(deadline=None, max_examples=60)
@given(n_trials=st.integers(1, 900), n_unbiased=st.just(90) | st.integers(1, 900), seed=st.integers(0, 2**32 - 1))
def test_blocks_follow_the_protocol(n_trials, n_unbiased, seed):
    trials = draw_trials(n_trials, np.random.default_rng(seed), n_unbiased)
    assert all(len(column) == n_trials for column in trials)
    values, lengths = blocks_of(trials.probability_left)
    assert values[0] == 0.5
    assert lengths[0] == min(n_unbiased, n_trials)
    assert set(values[1:]) <= {0.2, 0.8}
    assert (np.diff(values[1:]) != 0).all()
    assert ((lengths[1:-1] >= 20) & (lengths[1:-1] <= 100)).all()
    assert (lengths[1:] <= 100).all()
    assert set(trials.side) <= {-1, 1}
    assert set(trials.contrast) <= set(CONTRASTS)
    np.testing.assert_array_equal(np.abs(trials.signed_contrast), trials.contrast)


def test_block_lengths_are_truncated_exponential():
    rng = np.random.default_rng(1)
    lengths = taskmodel.draw_block_lengths(20_000, rng)
    # the integer part plus a uniform draw is nearly the continuous variable again
    law = stats.truncexpon(b=80 / 60, loc=20, scale=60)
    assert stats.kstest(lengths + rng.random(len(lengths)), law.cdf).pvalue > 1e-3
    # and the plain exponential it is not
    assert stats.kstest(lengths + rng.random(len(lengths)), stats.expon(20, 60).cdf).pvalue < 1e-10


def test_sides_and_contrasts_have_the_stated_probabilities():
    sessions = [draw_trials(500, np.random.default_rng(seed)) for seed in range(60)]
    trials = TaskTrials(*(np.concatenate(column) for column in zip(*sessions, strict=True)))
    for p_left in (0.5, 0.2, 0.8):
        left = trials.side[trials.probability_left == p_left] == -1
        assert stats.binomtest(int(left.sum()), len(left), p_left).pvalue > 1e-3
    counts = [(trials.contrast == c).sum() for c in CONTRASTS]
    assert stats.chisquare(counts).pvalue > 1e-3
    first = [session.probability_left[90] for session in sessions]
    assert stats.binomtest(first.count(0.2), 60, 0.5).pvalue > 1e-3


def test_observer_is_its_formula():
    for c, q in [(-1.0, 0.2), (0.0, 0.8), (0.125, 0.5)]:
        z = 0.4 + 6.0 * c + 0.5 * math.log((1 - q) / q)
        expected = 0.08 + (1 - 0.02 - 0.08) / (1 + math.exp(-z))
        assert MOUSE.probability_right(c, q) == pytest.approx(expected, abs=1e-14)


def test_default_observer_performs_like_a_trained_mouse():
    # exact, over the task: 90 trials of 522 at .5, the others in blocks of two mirrored kinds
    def p_correct(contrast):
        total = 0.0
        for q, share in [(0.5, 90 / 522), (0.2, 216 / 522), (0.8, 216 / 522)]:
            right = Observer().probability_right(contrast, q)
            left = 1 - Observer().probability_right(-contrast, q)
            total += share * ((1 - q) * right + q * left)
        return total

    assert p_correct(0.0) == pytest.approx(0.59, abs=0.01)
    assert p_correct(1.0) > 0.9
    assert all(np.diff([p_correct(c) for c in CONTRASTS]) > 0)


def test_choices_have_the_observers_probability():
    rng = np.random.default_rng(2)
    trials = TaskTrials(np.full(50_000, 0.2), np.ones(50_000, dtype=int), np.full(50_000, 0.0625))
    right = draw_choices(MOUSE, trials, rng)
    assert stats.binomtest(int(right.sum()), len(right), float(MOUSE.probability_right(0.0625, 0.2))).pvalue > 1e-3


def penalised_loss(x, c, q, right):
    """The objective of fit_observer, written down a second time with plain logs."""
    p = Observer(*x).probability_right(c, q)
    if not (p > 0).all() or not (p < 1).all():
        return np.inf
    start, sd = np.array([8.0, 0.0, 0.6, 0.04, 0.04]), np.array([10.0, 2.0, 1.0, 0.1, 0.1])
    return -np.log(p[right]).sum() - np.log(1 - p[~right]).sum() + 0.5 * (((x - start) / sd) ** 2).sum()


@pytest.mark.parametrize("seed", range(4))
def test_fit_is_the_optimum_of_the_penalised_likelihood(seed):
    rng = np.random.default_rng(seed)
    trials = draw_trials(400, rng)
    c, q, right = trials.signed_contrast, trials.probability_left, draw_choices(MOUSE, trials, rng)
    fit = fit_observer(c, q, right)
    found = np.array([fit.gain, fit.bias, fit.prior_weight, fit.lapse_left, fit.lapse_right])
    # a search without gradients, from elsewhere in the same box, finds nothing better
    bounds = [(0, 60), (-6, 6), (-4, 4), (0, 0.45), (0, 0.45)]
    oracle = minimize(
        penalised_loss,
        [4.0, -0.5, 1.0, 0.1, 0.1],
        args=(c, q, right),
        method="Nelder-Mead",
        bounds=bounds,
        options={"maxiter": 6000, "maxfev": 6000, "xatol": 1e-6, "fatol": 1e-8},
    )
    assert penalised_loss(found, c, q, right) <= oracle.fun + 1e-3


def test_fit_recovers_the_mouse():
    rng = np.random.default_rng(3)
    trials = draw_trials(30_000, rng)
    fit = fit_observer(trials.signed_contrast, trials.probability_left, draw_choices(MOUSE, trials, rng))
    assert fit.gain == pytest.approx(MOUSE.gain, abs=0.5)
    assert fit.bias == pytest.approx(MOUSE.bias, abs=0.1)
    assert fit.prior_weight == pytest.approx(MOUSE.prior_weight, abs=0.05)
    assert fit.lapse_left == pytest.approx(MOUSE.lapse_left, abs=0.02)
    assert fit.lapse_right == pytest.approx(MOUSE.lapse_right, abs=0.02)


def test_mirrored_session_gives_the_mirrored_observer():
    rng = np.random.default_rng(4)
    trials = draw_trials(500, rng)
    c, q, right = trials.signed_contrast, trials.probability_left, draw_choices(MOUSE, trials, rng)
    fit, mirror = fit_observer(c, q, right), fit_observer(-c, 1 - q, ~right)
    assert mirror.bias == pytest.approx(-fit.bias, abs=2e-2)
    assert mirror.gain == pytest.approx(fit.gain, abs=0.1)
    assert mirror.lapse_left == pytest.approx(fit.lapse_right, abs=1e-2)
    assert mirror.lapse_right == pytest.approx(fit.lapse_left, abs=1e-2)


trial = st.tuples(
    st.sampled_from([s * c for c in CONTRASTS for s in (-1, 1)]),
    st.sampled_from([0.5, 0.2, 0.8]),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(session=st.lists(trial, max_size=40), repeats=st.integers(1, 30))
def test_fit_is_finite_on_any_session(session, repeats):
    c, q, right = (np.tile(np.array(column, dtype=float), repeats) for column in zip(*session, strict=True)) \
        if session else (np.zeros(0), np.zeros(0), np.zeros(0))  # fmt: skip
    fit = fit_observer(c, q, right.astype(bool))
    p = fit.probability_right(np.linspace(-1, 1, 9), 0.5)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


@pytest.mark.parametrize("chose", [True, False])
def test_fit_of_one_choice_in_one_block(chose):
    trials = draw_trials(90, np.random.default_rng(5))
    right = np.full(90, chose)
    fit = fit_observer(trials.signed_contrast, trials.probability_left, right)
    p = fit.probability_right(trials.signed_contrast, trials.probability_left)
    assert abs(p - right).mean() < 0.06


@pytest.mark.parametrize(
    ("c", "q", "right", "message"),
    [
        ([0.0, 1.0], [0.5], [True, False], "shapes"),
        ([0.0], [0.5], [-1], "choice == -1"),
        ([np.nan], [0.5], [True], "signed_contrast"),
        ([0.0], [1.0], [True], "probability_left"),
    ],
)
def test_bad_sessions_are_refused(c, q, right, message):
    with pytest.raises(DataError, match=message):
        fit_observer(c, q, right)


def test_negative_number_of_trials_is_refused():
    with pytest.raises(DataError, match="-1 trials"):
        draw_trials(-1, np.random.default_rng(0))
