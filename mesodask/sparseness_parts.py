"""What a worker computes of a session's sparseness: sums over some of its neurons, in each event window."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from mesodask import sessions
from mesodask.event_windows import WINDOWS
from mesodask.numerics.scaling import percentile_scale
from mesodask.numerics.windows import FrameClock, Sampling

ROWS_AT_ONCE = 64  # see features: the windows find them in the processor's cache
MARGIN = 1e-6  # s, so that rounding puts no part of the recording beyond its end


@dataclass(frozen=True)
class Timing:
    """When the windows of a session lie; those with the same event and window are read once.

    Attributes
    ----------
    events : numpy.ndarray, (n_readings, n_trials)
        Times in s; the last reading is of the whole recording in parts.
    windows : tuple of (float, float)
        One a reading, s.
    usable : numpy.ndarray, (n_readings, n_trials) bool
        Whether every neuron has a value.
    reading : tuple of int
        Which reading each window is of, the whole recording last.
    member : numpy.ndarray, (n_windows, n_trials) bool
        Trials of each window, usable or not.
    """

    events: np.ndarray
    windows: tuple[tuple[float, float], ...]
    usable: np.ndarray
    reading: tuple[int, ...]
    member: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Trials of each window that count, (n_windows, n_trials) bool."""
        return self.member & self.usable[list(self.reading)]


def timing_of(session: xr.Dataset, rows: np.ndarray, sampling: Sampling) -> Timing:
    """Find when the windows lie, and the trials on which they are usable for all of some neurons."""
    table = {str(name): column.values for name, column in sessions.trials(session).items()}
    kinds = list(dict.fromkeys((window.event, window.window) for window in WINDOWS))
    clocks = _clocks(session, rows, sampling)
    of_windows = [window.trials(table) for window in WINDOWS]  # which tells a column that is not there
    begin = max(clock.times[0] + delays[1] for clock, delays in clocks)
    end = min(clock.times[-1] + delays[0] for clock, delays in clocks) - MARGIN
    n_trials = len(of_windows[0])
    part = (end - begin) / n_trials
    member = np.array([*of_windows, np.ones(n_trials, dtype=bool)])
    events = np.array([np.asarray(table[event], float) for event, _ in kinds] + [begin + part * np.arange(n_trials)])
    windows = (*(window for _, window in kinds), (0.0, part))
    usable = np.ones(events.shape, dtype=bool)
    for clock, delays in clocks:
        silence = np.zeros((2, clock.n_frames), dtype=np.float32)
        for reading, window in enumerate(windows):
            means = clock.windowed_means(silence, events[reading], window, delays=delays, sampling=sampling)
            usable[reading] &= np.isfinite(means).all(axis=1)
    reading_of = tuple(kinds.index((window.event, window.window)) for window in WINDOWS)
    return Timing(events, windows, usable, (*reading_of, len(kinds)), member)


def _clocks(session: xr.Dataset, rows: np.ndarray, sampling: Sampling) -> list[tuple[FrameClock, np.ndarray]]:
    """Clock of each FOV that has some of the rows, with the smallest and the largest delay: others lie between."""
    fov_of_row = sessions.values(session, "fov_index")[rows]
    delay = sessions.values(session, "roi_delay")[rows] if "roi_delay" in session else np.zeros(len(rows))
    clocks = sessions.frame_clocks(session, first_clock=sampling == "frames")
    found = []
    for fov in np.unique(fov_of_row):
        of_fov = delay[fov_of_row == fov]
        found.append((clocks[fov], np.array([of_fov.min(), of_fov.max()])))
    return found


@dataclass(frozen=True)
class Part:
    """What a task finds out of some neurons.

    Attributes
    ----------
    rate : numpy.ndarray, (n_windows, n_neurons) float32
        NaN for a neuron whose trace is not finite, and for a window without a trial.
    total, squares : numpy.ndarray, (n_readings, n_trials)
        Sums over neurons of their rates on a trial, and of their squares.
    n_neurons : int
        Neurons that these are over.
    """

    rate: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    n_neurons: int


def compute_part(path: str, rows: np.ndarray, timing: Timing, scale: bool, sampling: Sampling) -> Part:
    """Compute what sparseness needs of some neurons of a session store."""
    session = sessions.open_session(Path(path))
    counted = timing.counted
    n_counted = counted.sum(axis=1)
    rate = np.full((len(counted), len(rows)), np.nan, dtype=np.float32)
    total, squares = np.zeros((2, *timing.events.shape))
    n_neurons = 0
    for block in sessions.roi_blocks(session, rows, at_once=ROWS_AT_ONCE, first_clock=sampling == "frames"):
        good = block.signal[:, block.clock.frames]
        finite = np.isfinite(good).all(axis=1)
        places, signal = block.places[finite], block.signal[finite]
        offset, gain = percentile_scale(good[finite]) if scale else (np.zeros(len(places)), np.ones(len(places)))
        n_neurons += len(places)
        rate[-1, places] = np.maximum((good[finite].mean(axis=1, dtype=np.float64) - offset) * gain, 0.0)
        for reading, (event, window) in enumerate(zip(timing.events, timing.windows, strict=True)):
            means = block.clock.windowed_means(signal, event, window, delays=block.delay[finite], sampling=sampling)
            rates = np.maximum((means.astype(np.float64) - offset) * gain, 0.0)  # (n_trials, n_places)
            rates[~timing.usable[reading]] = 0.0
            total[reading] += rates.sum(axis=1)
            squares[reading] += (rates * rates).sum(axis=1)
            for i in np.flatnonzero((np.array(timing.reading[:-1]) == reading) & (n_counted[:-1] > 0)):
                rate[i, places] = counted[i] @ rates / n_counted[i]
    return Part(rate, total, squares, n_neurons)
