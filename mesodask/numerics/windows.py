"""Traces and events -> one mean a trial and neuron, in a window around the event.

Two ways to read a sampled trace between its samples. ``hold`` treats it as piecewise constant, every ROI on
its own clock, each instant of the window taking a sample from its own side of the event: every trial counts,
however slow the imaging, and nothing crosses the event. ``frames`` averages the frames that fall into the
window, as is common: at 5 Hz a window of 0.1 s has none in half of the trials.
"""

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError

Sampling = Literal["hold", "frames"]

GAP_PERIODS = 2.0
GAP_TOLERANCE = 0.1  # of GAP_PERIODS: one missing frame plus clock jitter is no gap, two missing frames are


def check_window(window: tuple[float, float]) -> tuple[float, float]:
    """Check that a window is two finite times in order.

    Parameters
    ----------
    window : tuple of float
        Start and end relative to the event, in seconds.

    Returns
    -------
    tuple of float
        The same window.

    Raises
    ------
    SettingsError
        If the window is not two finite numbers, the first below the second.

    Examples
    --------
    >>> check_window((-0.1, 0))
    (-0.1, 0.0)
    """
    try:
        start, end = (float(edge) for edge in window)
    except (TypeError, ValueError):
        raise SettingsError(f"window is {window!r}; give (start, end) in seconds from the event") from None
    if not (np.isfinite(start) and np.isfinite(end) and start < end):
        raise SettingsError(f"window is ({start}, {end}); start and end must be finite, and start before end")
    return start, end


def find_gaps(times: ArrayLike, good: ArrayLike | None = None) -> NDArray[np.float64]:
    """Find the stretches of a recording in which no usable frame was taken.

    A gap is an interval between consecutive good frames that is longer than 2 median frame periods, with 10 %
    of tolerance: a single bad frame leaves an interval of 2 periods and some clock jitter, which is no gap.
    The median is that of all frames, good or bad.

    Parameters
    ----------
    times : array_like, shape (n_frames,)
        Frame times in seconds, increasing.
    good : array_like of bool, shape (n_frames,), optional
        False where a frame counts as missing; all frames are good by default.

    Returns
    -------
    ndarray of float64, shape (n_gaps, 2)
        Times in seconds of the last good frame before and the first good frame after each gap.

    Raises
    ------
    DataError
        If the times are not finite and increasing, or `good` has another shape.

    Examples
    --------
    >>> find_gaps([0.0, 0.2, 0.4, 0.8, 1.0, 1.6, 1.8])
    array([[1. , 1.6]])
    """
    times, frames = _good_frames(times, good)
    clock = times[frames]
    gap = _is_gap(times, clock)
    return np.stack([clock[:-1][gap], clock[1:][gap]], axis=1)


def windowed_means(
    signal: ArrayLike,
    times: ArrayLike,
    events: ArrayLike,
    window: tuple[float, float],
    *,
    delays: ArrayLike | None = None,
    good: ArrayLike | None = None,
    sampling: Sampling = "hold",
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Mean of every trace in a window around every event.

    With event time e and window (w0, w1), ``sampling="hold"`` is the time-weighted mean ::

        x = 1 / (w1 - w0) * integral of f(t) dt from e + w0 to e + w1

    of the piecewise-constant f. Where w1 <= 0, f(t) is the last sample at or before t; where w0 >= 0, the
    next sample at or after t; in a window astride the event, the last. A sample's time is its frame's plus
    the ROI's delay. ``sampling="frames"`` is the mean of the samples of all frames with e + w0 <= t <= e +
    w1, delays ignored.

    Parameters
    ----------
    signal : array_like, shape (n_neurons, n_frames)
        Traces that share one frame clock (one FOV).
    times : array_like, shape (n_frames,)
        Frame times of that clock in seconds, increasing.
    events : array_like, shape (n_trials,)
        Event times in seconds; may hold NaN.
    window : tuple of float
        Start and end relative to the event, in seconds.
    delays : array_like, shape (n_neurons,), optional
        Scan-line delay of each ROI in seconds, added to `times`; 0 by default.
    good : array_like of bool, shape (n_frames,), optional
        False where a frame counts as missing (suite2p's bad frames).
    sampling : {"hold", "frames"}
        How the trace is read.

    Returns
    -------
    ndarray of float32 or float64, shape (n_trials, n_neurons)
        In the precision of `signal`, summed in float64. NaN where the event is NaN, the window overlaps a gap
        (see :func:`find_gaps`), no frame falls into it (``frames``), or a sample that counts is NaN; and where
        the window is not inside the recording: from the first to the last good sample for ``hold``, and to
        less than one median frame period beyond them for ``frames``, since it then misses no frame.

    Raises
    ------
    DataError
        If the shapes do not fit, or times or delays are not finite and times not increasing.
    SettingsError
        If the window or the sampling is not allowed.

    Examples
    --------
    >>> trace, times = [[1.0, 2.0, 3.0, 4.0]], [0.0, 0.2, 0.4, 0.6]
    >>> windowed_means(trace, times, [0.45], (-0.1, 0.0))  # half of it holds sample 2, half sample 3
    array([[2.5]])
    >>> windowed_means(trace, times, [0.45], (0.0, 0.1))  # only sample 4 comes after the event
    array([[4.]])
    >>> windowed_means(trace, times, [0.45, 0.35], (-0.1, 0.0), sampling="frames")
    array([[ 3.],
           [nan]])
    """
    return FrameClock.of(times, good).windowed_means(signal, events, window, delays=delays, sampling=sampling)


@dataclass(frozen=True)
class FrameClock:
    """When the frames of a FOV were taken: checked once, for any number of traces and windows.

    Attributes
    ----------
    n_frames : int
        Frames, good or bad.
    frames : ndarray of int, shape (n_good,)
        The good ones.
    times : ndarray of float64, shape (n_good,)
        Their times in seconds.
    gap : ndarray of bool, shape (n_good - 1,)
        Which intervals between them are gaps.
    period : float
        Median frame period, of all frames.
    """

    n_frames: int
    frames: NDArray[np.intp]
    times: NDArray[np.float64]
    gap: NDArray[np.bool_]
    period: float

    @classmethod
    def of(cls, times: ArrayLike, good: ArrayLike | None = None) -> "FrameClock":
        """Check frame times and the mask of good frames, as in :func:`windowed_means`."""
        times, frames = _good_frames(times, good)
        clock = times[frames]
        period = float(np.median(np.diff(times))) if len(times) > 1 else np.nan
        return cls(len(times), frames, clock, _is_gap(times, clock), period)

    def windowed_means(
        self,
        signal: ArrayLike,
        events: ArrayLike,
        window: tuple[float, float],
        *,
        delays: ArrayLike | None = None,
        sampling: Sampling = "hold",
    ) -> NDArray[np.float32] | NDArray[np.float64]:
        """Do what :func:`windowed_means` does, on this clock."""
        window = check_window(window)
        if sampling not in ("hold", "frames"):
            raise SettingsError(f'sampling is {sampling!r}; expected "hold" or "frames"')
        signal = np.asarray(signal)
        if signal.dtype != np.float32:
            signal = signal.astype(np.float64, copy=False)
        events = np.asarray(events, dtype=np.float64)
        n_neurons = len(signal)
        delays = np.zeros(n_neurons) if delays is None else np.asarray(delays, dtype=np.float64)
        _check_traces(signal, self.n_frames, events, delays)

        means = np.full((len(events), n_neurons), np.nan, dtype=signal.dtype)
        if len(self.frames) < 2:
            return means
        if sampling == "hold":
            _hold_means(signal, self.frames, self.times, self.gap, delays, events, window, means)
        else:
            _frame_means(signal, self.frames, self.times, self.gap, self.period, events, window, means)
        return means


def _good_frames(times: ArrayLike, good: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return checked frame times, shape (n_frames,), and the indices of good frames, shape (n_good,)."""
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise DataError(
            f"frame times of shape {times.shape} are not finite and strictly increasing; "
            "one time a frame is expected, in the order of recording"
        )
    good = np.ones(len(times), dtype=bool) if good is None else np.asarray(good)
    if good.shape != times.shape or good.dtype != bool:
        raise DataError(
            f"the mask of good frames has shape {good.shape} and dtype {good.dtype}; "
            f"expected bool, one for each of {len(times)} frame times"
        )
    return times, np.flatnonzero(good)


def _is_gap(times: NDArray[np.float64], clock: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which intervals of `clock`, shape (n_good,), are gaps: shape (n_good - 1,)."""
    if len(clock) < 2:
        return np.zeros(0, dtype=bool)
    period = np.median(np.diff(times))
    return np.diff(clock) > GAP_PERIODS * (1 + GAP_TOLERANCE) * period


def _check_traces(signal: NDArray, n_frames: int, events: NDArray[np.float64], delays: NDArray[np.float64]) -> None:
    if signal.ndim != 2 or signal.shape[1] != n_frames:
        raise DataError(f"signal has shape {signal.shape}; expected (n_neurons, {n_frames}), as many as frame times")
    if events.ndim != 1:
        raise DataError(f"events have shape {events.shape}; expected one time a trial")
    if delays.shape != (len(signal),) or not np.isfinite(delays).all():
        raise DataError(f"delays of shape {delays.shape}; expected one finite number for each of {len(signal)} ROIs")


@numba.njit(cache=True, nogil=True)
def _hold_means(signal, frames, clock, gap, delays, events, window, means):  # type: ignore[no-untyped-def]
    """Write the mean of the held signal into `means`, shape (n_trials, n_neurons), which comes full of NaN.

    signal (n_neurons, n_frames); frames (n_good,) columns of signal and clock (n_good,) their times;
    gap (n_good - 1,); delays (n_neurons,); events (n_trials,).
    """
    # interval i of the clock carries sample i, the last before it, or sample i + 1, the next after it
    carried = 1 if window[0] >= 0 else 0
    # where the windows begin, were there no delay; with one that is a small part of a frame, it is there or next to it
    near = np.searchsorted(clock, events + window[0], side="right") - 1
    near = np.minimum(np.maximum(near, 0), clock.shape[0] - 2)
    for neuron in range(signal.shape[0]):
        for trial in range(events.shape[0]):
            # the window on the clock of the FOV
            start = events[trial] + window[0] - delays[neuron]
            end = events[trial] + window[1] - delays[neuron]
            if not (clock[0] <= start < end <= clock[-1]):
                continue
            integral = 0.0
            i = near[trial]
            while clock[i] > start:
                i -= 1
            while i + 1 < clock.shape[0] and clock[i + 1] <= start:
                i += 1
            while i < gap.shape[0] and clock[i] < end:
                if gap[i]:
                    integral = np.nan
                    break
                overlap = min(end, clock[i + 1]) - max(start, clock[i])
                integral += overlap * signal[neuron, frames[i + carried]]
                i += 1
            means[trial, neuron] = integral / (end - start)


@numba.njit(cache=True, nogil=True)
def _frame_means(signal, frames, clock, gap, period, events, window, means):  # type: ignore[no-untyped-def]
    """Write the mean over frames inside the closed window into `means`; shapes as in `_hold_means`."""
    for trial in range(events.shape[0]):
        start, end = events[trial] + window[0], events[trial] + window[1]
        if not (clock[0] - period < start < end < clock[-1] + period):
            continue
        first_interval = max(np.searchsorted(clock, start, side="right") - 1, 0)
        stop_interval = np.searchsorted(clock, end, side="left")
        first = np.searchsorted(clock, start, side="left")
        stop = np.searchsorted(clock, end, side="right")
        if first == stop or gap[first_interval:stop_interval].any():
            continue
        for neuron in range(signal.shape[0]):
            total = 0.0
            for i in range(first, stop):
                total += signal[neuron, frames[i]]
            means[trial, neuron] = total / (stop - first)
