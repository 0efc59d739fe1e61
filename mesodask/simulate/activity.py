"""From trials to calcium signals: codes, shared fluctuations, events, fluorescence, neuropil.

The log rate of a neuron is linear in what it codes and in the shared fluctuations ::

    rate(t) = rate_0 exp(sum_target weight[target] code_target(t)
                         + fast_loading . fast(t) + slow_loading . slow(t))

A sample at time t holds the events of (t - frame period, t], so that what happens after t never shows in it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from mesodask.simulate.behavior import Behavior
from mesodask.simulate.neurons import N_FAST_LATENTS, N_SLOW_LATENTS, FovRows
from mesodask.simulate.recipe import TARGETS, Recipe

FAST_TIME, SLOW_TIME = 1.0, 300.0  # s, time constants of the latents
MAX_LOG_GAIN = 3.0  # the log rate stays within this of the neuron's own: no runaway rates
AMPLITUDE_SHAPE = 4.0  # gamma shape of the amplitude of one event, whose mean is 1

CALCIUM_TIME = 0.7  # s, decay of the indicator
EVENT_FLUORESCENCE = 40.0  # fluorescence of an event of amplitude 1
FLUORESCENCE_NOISE = 8.0
NEUROPIL_LEVEL, NEUROPIL_SPREAD, NEUROPIL_NOISE = 80.0, 10.0, 3.0
NEUROPIL_CONTAMINATION = 0.7  # share of the neuropil that suite2p takes to be in a cell's fluorescence

BLOCK_ROIS = 64  # ROIs held in memory at a time


@dataclass(frozen=True)
class PulseTrain:
    """A piecewise constant time course, by its running integral.

    Attributes
    ----------
    knots : ndarray of float64, shape (n_knots,)
        Times at which the value changes, sorted, s.
    integral : ndarray of float64, shape (n_knots,)
        Integral of the time course up to each knot.
    """

    knots: NDArray[np.float64]
    integral: NDArray[np.float64]

    @classmethod
    def from_pulses(
        cls, start: NDArray[np.float64], stop: NDArray[np.float64], value: NDArray[np.float64]
    ) -> "PulseTrain":
        """Add up pulses of the given value over [start, stop); empty and NaN ones are left out.

        Examples
        --------
        >>> train = PulseTrain.from_pulses(np.array([1.0]), np.array([2.0]), np.array([3.0]))
        >>> train.mean_before(np.array([1.0, 1.5, 2.0, 2.5]), period=1.0).tolist()
        [0.0, 1.5, 3.0, 1.5]
        """
        real = (stop > start) & (value != 0)
        times = np.concatenate([start[real], stop[real], [0.0]])
        steps = np.concatenate([value[real], -value[real], [0.0]])
        order = np.argsort(times, kind="stable")
        knots = times[order]
        level = np.cumsum(steps[order])
        return cls(knots, np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(knots))]))

    def mean_before(self, times: NDArray[np.float64], period: float) -> NDArray[np.float64]:
        """Mean over (t - period, t] at each time t, same shape as `times`."""
        until, since = (np.interp(t, self.knots, self.integral) for t in (times, times - period))
        return (until - since) / period


def code_trains(behavior: Behavior) -> dict[str, PulseTrain]:
    """Time courses of the four codes of a session.

    ======== ======================= ================================== =====================
    target   value                   from                               to
    ======== ======================= ================================== =====================
    choice   choice (+1 / 0 / -1)    .5 s before the first movement, or first movement
                                     the stimulus if that is later
    stimulus side c / (c + .1)       stimulus onset                     .4 s later
    feedback feedbackType (+1 / -1)  feedback                           .5 s later
    block    +1 at .8, -1 at .2      .9 s before stimulus onset         stimulus onset
    ======== ======================= ================================== =====================

    Parameters
    ----------
    behavior : Behavior
        The session's trials; the choice follows the true movement, whether the table has it or not.

    Returns
    -------
    dict of str to PulseTrain

    Examples
    --------
    >>> from mesodask.simulate.behavior import draw_behavior
    >>> sorted(code_trains(draw_behavior(np.random.default_rng(0), n_trials=5)))
    ['block', 'choice', 'feedback', 'stimulus']
    """
    trials = behavior.trials
    stim_on, feedback = (trials[name].to_numpy() for name in ("stimOn_times", "feedback_times"))
    movement = behavior.movement_times
    values = code_values(behavior)
    return {
        "choice": PulseTrain.from_pulses(np.maximum(movement - 0.5, stim_on), movement, values["choice"]),
        "stimulus": PulseTrain.from_pulses(stim_on, stim_on + 0.4, values["stimulus"]),
        "feedback": PulseTrain.from_pulses(feedback, feedback + 0.5, values["feedback"]),
        "block": PulseTrain.from_pulses(stim_on - 0.9, stim_on, values["block"]),
    }


def code_values(behavior: Behavior) -> dict[str, NDArray[np.float64]]:
    """Give what each code holds on each trial: a value in [-1, 1] whose sign is the label, shape (n_trials,).

    Examples
    --------
    >>> from mesodask.simulate.behavior import draw_behavior
    >>> values = code_values(draw_behavior(np.random.default_rng(0), n_trials=100))
    >>> values["block"][:90].any()
    np.False_
    """
    trials = behavior.trials
    contrast = np.nan_to_num(trials[["contrastLeft", "contrastRight"]].to_numpy(dtype=float)).max(axis=1)
    return {
        "choice": trials["choice"].to_numpy(dtype=float),
        "stimulus": behavior.side * contrast / (contrast + 0.1),
        "feedback": trials["feedbackType"].to_numpy(dtype=float),
        "block": np.sign(np.round(trials["probabilityLeft"].to_numpy(dtype=float) - 0.5, 6)),
    }


@dataclass(frozen=True)
class Drive:
    """What drives all neurons of a session.

    Attributes
    ----------
    codes : mapping of str to PulseTrain
        See :func:`code_trains`.
    fast, slow : ndarray of float32, shape (n_latents, n_frames)
        Shared fluctuations and drift, unit variance; they know nothing of the trials.
    """

    codes: Mapping[str, PulseTrain]
    fast: NDArray[np.float32]
    slow: NDArray[np.float32]


def draw_drive(recipe: Recipe, day: int, behavior: Behavior, n_frames: int) -> Drive:
    """Draw what drives the neurons on a day: the codes of the behaviour and the shared fluctuations."""
    rng = recipe.rng("latents", day)
    fast = draw_fluctuations(N_FAST_LATENTS, n_frames, FAST_TIME / recipe.frame_period, rng)
    slow = draw_fluctuations(N_SLOW_LATENTS, n_frames, SLOW_TIME / recipe.frame_period, rng)
    return Drive(code_trains(behavior), fast, slow)


def draw_fluctuations(
    n_latents: int, n_frames: int, time_constant: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw stationary Ornstein-Uhlenbeck processes: ``x[t] = a x[t-1] + sqrt(1 - a^2) noise``.

    Parameters
    ----------
    n_latents, n_frames : int
        Shape of the result.
    time_constant : float
        In frames; a = exp(-1 / time_constant).
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of float32, shape (n_latents, n_frames)
        Mean 0, variance 1.

    Examples
    --------
    >>> x = draw_fluctuations(1, 100_000, 5.0, np.random.default_rng(0))[0]
    >>> bool(abs(np.corrcoef(x[:-1], x[1:])[0, 1] - np.exp(-1 / 5)) < 0.01)
    True
    """
    a = np.exp(-1 / time_constant)
    noise = rng.standard_normal((n_latents, n_frames))
    noise[:, 1:] *= np.sqrt(1 - a**2)  # the first sample has the stationary variance already
    return lfilter([1.0], [1.0, -a], noise).astype(np.float32)


def draw_events(expected: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the summed amplitude of the events of each sample: Poisson events, gamma amplitudes of mean 1.

    Parameters
    ----------
    expected : ndarray of float64, shape (n_frames,)
        Expected number of events of each sample.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of float32, shape (n_frames,)
        Mostly zeros at the rates of cortex.

    Examples
    --------
    >>> events = draw_events(np.full(100_000, 0.2), np.random.default_rng(0))
    >>> round(float(events.mean()), 1), round(float((events == 0).mean()), 1)
    (0.2, 0.8)
    """
    counts = rng.poisson(expected)
    events = np.zeros(len(counts), dtype=np.float32)
    active = np.flatnonzero(counts)
    events[active] = rng.standard_gamma(AMPLITUDE_SHAPE * counts[active]) / AMPLITUDE_SHAPE
    return events


@dataclass(frozen=True)
class FovActivity:
    """Activity of one field of view on one day, made block by block.

    Attributes
    ----------
    recipe : Recipe
        Settings and seed of the subject.
    site, day : int
        Which place in the brain, which session; they name the random streams.
    rows : FovRows
        Who is in each row.
    frame_times : ndarray of float64, shape (n_frames,)
        The FOV's own clock, s.
    roi_delay : ndarray of float64, shape (n_rois,)
        Delay of each ROI's scan line, s.
    drive : Drive
        What drives the neurons of the session.
    """

    recipe: Recipe
    site: int
    day: int
    rows: FovRows
    frame_times: NDArray[np.float64]
    roi_delay: NDArray[np.float64]
    drive: Drive

    def blocks(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield the recipe's signals of BLOCK_ROIS rows after another, each of shape (n_rois, n_frames).

        Every row has a random stream of its own, so neither the size of a block nor the choice of signals
        changes what its neuron does.
        """
        neuropil = self._neuropil_of_fov()
        for start in range(0, len(self.rows), BLOCK_ROIS):
            rows = np.arange(start, min(start + BLOCK_ROIS, len(self.rows)))
            gains = self._fluctuating_gain(rows)  # (rows, n_frames)
            shape = (len(rows), len(self.frame_times))
            block = {signal: np.empty(shape, dtype=np.float32) for signal in self.recipe.signals}
            for position, log_gain in enumerate(gains):
                for signal, trace in self._traces(start + position, log_gain, neuropil).items():
                    block[signal][position] = trace
            yield block

    def _neuropil_of_fov(self) -> NDArray[np.float32]:
        rng = self.recipe.rng("neuropil", self.site, self.day)
        n_frames = len(self.frame_times)
        own = draw_fluctuations(1, n_frames, FAST_TIME / self.recipe.frame_period, rng)[0]
        return np.sqrt(np.float32(0.5)) * (own + self.drive.fast[self.site % N_FAST_LATENTS])

    def _fluctuating_gain(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        neurons = self.rows.neurons
        fast, slow = neurons.fast_loading[rows], neurons.slow_loading[rows]
        gain = fast.astype(np.float32) @ self.drive.fast
        return gain + slow.astype(np.float32) @ self.drive.slow if slow.any() else gain

    def _expected_events(self, row: int, log_gain: NDArray[np.float32]) -> NDArray[np.float64]:
        period, neurons = self.recipe.frame_period, self.rows.neurons
        times = self.frame_times + self.roi_delay[row]
        total = log_gain.astype(np.float64)
        for target, weight in zip(TARGETS, neurons.weight[row], strict=True):
            if weight:
                total += weight * self.drive.codes[target].mean_before(times, period)
        return neurons.rate[row] * period * np.exp(np.clip(total, -MAX_LOG_GAIN, MAX_LOG_GAIN))

    def _traces(
        self, row: int, log_gain: NDArray[np.float32], neuropil: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        rng = self.recipe.rng("activity", self.site, self.day, row)
        signals, neurons = self.recipe.signals, self.rows.neurons
        events = draw_events(self._expected_events(row, log_gain), rng)
        traces = {"deconvolved": events}
        if signals != ("deconvolved",):
            n_frames = len(events)
            surround = NEUROPIL_NOISE * rng.standard_normal(n_frames, dtype=np.float32)
            surround += NEUROPIL_LEVEL + np.float32(NEUROPIL_SPREAD * neurons.neuropil_gain[row]) * neuropil
            decay = np.exp(-self.recipe.frame_period / CALCIUM_TIME)
            trace = FLUORESCENCE_NOISE * rng.standard_normal(n_frames, dtype=np.float32)
            trace += EVENT_FLUORESCENCE * lfilter([1.0], [1.0, -decay], events)
            trace += np.float32(neurons.baseline[row]) + NEUROPIL_CONTAMINATION * surround
            traces |= {"fluorescence": trace, "neuropil": surround}
        return {signal: traces[signal] for signal in signals}
