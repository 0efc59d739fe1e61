"""Windowed means against instant-by-instant sampling in plain Python (3 s, 6 when numba compiles)."""

from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.windows import check_window, find_gaps, windowed_means

# Times are whole ticks, and a tick is a power of 2: sums are exact, and the middles of the ticks see every
# piece of a piecewise-constant function.
TICK = 2.0**-7

# 0.3 to 0.6 s windows against a frame period of about 20 ticks = 0.16 s
window_ticks = st.tuples(st.just(0) | st.integers(-60, 60), st.integers(1, 40)).map(lambda w: (w[0], w[0] + w[1]))
causal_window_ticks = st.tuples(st.just(0) | st.integers(1, 40), st.integers(1, 40)).map(lambda w: (w[0], w[0] + w[1]))


@st.composite
def recordings(draw):
    """A clock with jitter and gaps, bad frames, delays, and events in and around it."""
    periods = draw(st.lists(st.sampled_from([17, 19, 20, 20, 20, 21, 23, 60]), min_size=4, max_size=30))
    times = 5000 + np.cumsum([0, *periods])
    good = np.array(draw(st.lists(st.sampled_from([True] * 9 + [False]), min_size=len(times), max_size=len(times))))
    delays = np.array(draw(st.lists(st.integers(0, 25), min_size=1, max_size=3)))
    events = np.array(draw(st.lists(st.integers(4950, int(times[-1]) + 50), min_size=1, max_size=8)))
    seed = draw(st.integers(0, 2**32 - 1))
    signal = np.random.default_rng(seed).integers(-50, 50, (len(delays), len(times))).astype(float)
    return times, good, delays, events, signal


def sampled_mean(trace, times, good, delay, event, window, sampling):
    """Mean over instants (hold) or frames, all arguments in ticks, one neuron and one trial."""
    samples = [
        (int(t) + (delay if sampling == "hold" else 0), x) for t, x, g in zip(times, trace, good, strict=True) if g
    ]
    start, end = event + window[0], event + window[1]
    period = median(b - a for a, b in pairwise(times))
    # a window that begins less than a period before the first frame misses none
    slack = period - 0.5 if sampling == "frames" else 0
    if len(samples) < 2 or start < samples[0][0] - slack or end > samples[-1][0] + slack:
        return float("nan")
    longest = 2.2 * period
    held = []
    for tick in range(max(start, samples[0][0]), min(end, samples[-1][0])):
        before = max((s for s in samples if s[0] <= tick), key=lambda s: s[0])
        after = min((s for s in samples if s[0] > tick), key=lambda s: s[0])
        if after[0] - before[0] > longest:
            return float("nan")
        held.append(after[1] if window[0] >= 0 else before[1])
    if sampling == "frames":
        held = [x for t, x in samples if start <= t <= end]
    return sum(held) / len(held) if held else float("nan")


@pytest.mark.parametrize("sampling", ["hold", "frames"])
@settings(deadline=None, max_examples=150)
@given(recording=recordings(), window=window_ticks)
def test_means_equal_instant_sampling(sampling, recording, window):
    times, good, delays, events, signal = recording
    ours = windowed_means(
        signal,
        times * TICK,
        events * TICK,
        (window[0] * TICK, window[1] * TICK),
        delays=delays * TICK,
        good=good,
        sampling=sampling,
    )
    expected = [
        [
            sampled_mean(trace, times, good, delay, event, window, sampling)
            for trace, delay in zip(signal, delays, strict=True)
        ]
        for event in events
    ]
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(recording=recordings(), window=causal_window_ticks, before=st.booleans())
def test_nothing_crosses_the_event(recording, window, before):
    times, good, delays, events, signal = recording
    if before:
        window = (-window[1], -window[0])
    event = events[0]
    sample_times = times + delays[:, None]
    other_side = sample_times >= event if before else sample_times < event
    args = (times * TICK, [event * TICK], (window[0] * TICK, window[1] * TICK))
    ours = windowed_means(signal, *args, delays=delays * TICK, good=good)
    changed = windowed_means(np.where(other_side, 1e6, signal), *args, delays=delays * TICK, good=good)
    np.testing.assert_array_equal(changed, ours)


def recording(n_frames=400, n_neurons=3, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    times = 10 + np.arange(n_frames) * 0.198 + rng.uniform(-2e-3, 2e-3, n_frames)
    return rng.normal(size=(n_neurons, n_frames)).astype(dtype), times


@pytest.mark.parametrize("window", [(-0.1, 0.0), (-0.4, -0.1), (0.0, 0.2)])
def test_hold_keeps_every_trial_where_frames_lose_half(window):
    signal, times = recording()
    events = np.random.default_rng(1).uniform(times[5], times[-5], 500)
    assert np.isfinite(windowed_means(signal, times, events, window)).all()
    kept = np.isfinite(windowed_means(signal, times, events, window, sampling="frames")).all(axis=1).mean()
    assert kept == pytest.approx(min(1, (window[1] - window[0]) / 0.198), abs=0.1)


def test_window_astride_the_event_takes_the_last_sample():
    means = windowed_means([[1.0, 2.0, 3.0]], [0.0, 1.0, 2.0], [1.0], (-0.5, 0.5))
    assert means.item() == pytest.approx(1.5)


@pytest.mark.parametrize("sampling", ["hold", "frames"])
def test_a_bad_frame_counts_as_missing_and_is_no_gap(sampling):
    signal, times = recording()
    events = (times[:-1] + times[1:])[5:-5] / 2
    good = np.ones(len(times), dtype=bool)
    good[200] = False
    window = (-0.15, 0.15)
    ours = windowed_means(signal, times, events, window, good=good, sampling=sampling)
    removed = windowed_means(signal[:, good], times[good], events, window, sampling=sampling)
    np.testing.assert_array_equal(ours, removed)
    poisoned = np.where(good, signal, np.nan)
    np.testing.assert_array_equal(windowed_means(poisoned, times, events, window, good=good, sampling=sampling), ours)
    assert find_gaps(times, good).shape == (0, 2)
    assert sampling == "frames" or np.isfinite(ours).all()


@pytest.mark.parametrize("sampling", ["hold", "frames"])
@pytest.mark.parametrize("window", [(-0.3, 0.0), (0.0, 0.3), (-0.3, 0.3)])
def test_windows_that_overlap_a_gap_are_not_usable(sampling, window):
    signal, times = recording()
    good = np.ones(len(times), dtype=bool)
    good[200:202] = False
    gap_start, gap_end = times[199], times[202]
    np.testing.assert_array_equal(find_gaps(times, good), [[gap_start, gap_end]])
    events = np.linspace(times[190], times[210], 301)
    overlaps = (events + window[0] < gap_end) & (events + window[1] > gap_start)
    means = windowed_means(signal, times, events, window, good=good, sampling=sampling)
    np.testing.assert_array_equal(np.isnan(means), np.repeat(overlaps[:, None], 3, axis=1))


def test_windows_outside_the_recording_of_a_delayed_roi():
    signal = np.arange(10.0)[None].repeat(2, axis=0)
    means = windowed_means(signal, np.arange(10.0), [0.25, 9.0], (0.0, 0.5), delays=[0.0, 0.5])
    # the ROI without delay has its last sample at 9, the delayed one its first at 0.5
    np.testing.assert_array_equal(np.isnan(means), [[False, True], [True, False]])


def test_windows_of_frames_may_begin_within_a_period_before_the_first():
    signal, times = np.arange(10.0)[None], np.arange(10.0)
    means = windowed_means(signal, times, [0.2, -0.2, 9.4, 9.6], (-0.9, 0.5), sampling="frames")
    np.testing.assert_array_equal(means[:, 0], [0.0, np.nan, 9.0, np.nan])


@pytest.mark.parametrize("sampling", ["hold", "frames"])
def test_nan_of_events_and_samples_stays_nan(sampling):
    signal, times = recording()
    signal[1, 100] = np.nan
    events = np.array([np.nan, np.inf, times[100] + 0.01, times[50] + 0.01])
    means = windowed_means(signal, times, events, (-0.2, 0.0), sampling=sampling)
    assert np.isnan(means[:2]).all()
    np.testing.assert_array_equal(np.isnan(means[2:]), [[False, True, False], [False, False, False]])


def test_precision_follows_the_signal():
    signal, times = recording(dtype=np.float32)
    events = times[10:20]
    single = windowed_means(signal, times, events, (-0.1, 0.0))
    double = windowed_means(signal.astype(np.float64), times, events, (-0.1, 0.0))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    np.testing.assert_array_equal(single, double.astype(np.float32))
    assert windowed_means(np.arange(400)[None], times, events, (-0.1, 0.0)).dtype == np.float64


@pytest.mark.parametrize("n_good", [0, 1])
def test_too_few_frames_give_nan(n_good):
    good = np.arange(3) < n_good
    assert np.isnan(windowed_means(np.ones((2, 3)), [0.0, 1.0, 2.0], [1.0], (-0.5, 0.5), good=good)).all()
    assert find_gaps([0.0, 1.0, 2.0], good).shape == (0, 2)


def test_no_trials_and_no_neurons():
    assert windowed_means(np.ones((2, 3)), [0.0, 1.0, 2.0], [], (-0.5, 0.5)).shape == (0, 2)
    assert windowed_means(np.ones((0, 3)), [0.0, 1.0, 2.0], [1.0], (-0.5, 0.5)).shape == (1, 0)


@pytest.mark.parametrize("window", [(0.1, 0.1), (0.1, 0.0), (np.nan, 1.0), (-np.inf, 0.0), (1.0,), "ab", None])
def test_window_that_is_none(window):
    with pytest.raises(SettingsError, match="window"):
        check_window(window)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.0, 1.0]}, "signal has shape"),
        ({"times": [0.0, 2.0, 1.0]}, "increasing"),
        ({"times": [0.0, 1.0, np.nan]}, "increasing"),
        ({"delays": [0.0]}, "delays"),
        ({"delays": [0.0, np.nan]}, "delays"),
        ({"good": [True, False]}, "good frames"),
        ({"good": [1, 1, 1]}, "good frames"),
        ({"events": [[1.0]]}, "events"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    arrays = {"signal": np.ones((2, 3)), "times": [0.0, 1.0, 2.0], "events": [1.0], "window": (-0.5, 0.5)}
    with pytest.raises(DataError, match=message):
        windowed_means(**(arrays | change))


def test_unknown_sampling():
    with pytest.raises(SettingsError, match="sampling"):
        windowed_means(np.ones((1, 3)), [0.0, 1.0, 2.0], [1.0], (-0.5, 0.5), sampling="nearest")
