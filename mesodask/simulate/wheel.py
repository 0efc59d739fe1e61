"""The wheel that goes with the trials."""

import numpy as np
from numpy.typing import NDArray

from mesodask.simulate.behavior import Behavior

RESOLUTION = 2 * np.pi / 4096  # rad, one step of the rotary encoder
RESPONSE_ANGLE = 0.3  # rad, displacement that counts as a response
REST_INTERVAL, MOVEMENT_INTERVAL = 0.1, 0.005  # s, mean time between samples


def draw_wheel(behavior: Behavior, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the wheel's trace: still between trials, a smooth turn from first movement to response.

    A turn goes from 0 to D as ``D u^2 (3 - 2u)``, u being the time since the first movement over the
    duration; D is negative (clockwise) when the choice is +1.

    Parameters
    ----------
    behavior : Behavior
        The trials; no-go trials have no movement.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    timestamps : ndarray of float64, shape (n_samples,)
        Irregular sampling times, strictly increasing, s; dense in movements.
    position : ndarray of float64, shape (n_samples,)
        Unwrapped position in rad, counter-clockwise positive, in steps of the encoder.

    Examples
    --------
    >>> from mesodask.simulate.behavior import draw_behavior
    >>> rng = np.random.default_rng(0)
    >>> timestamps, position = draw_wheel(draw_behavior(rng, n_trials=10), rng)
    >>> timestamps.shape == position.shape and bool((np.diff(timestamps) > 0).all())
    True
    """
    trials = behavior.trials
    moved = np.isfinite(behavior.movement_times)
    start = behavior.movement_times[moved]
    duration = np.maximum(trials["response_times"].to_numpy()[moved] - start, 0.02)
    size = RESPONSE_ANGLE * rng.uniform(1.0, 1.4, len(start))
    displacement = -np.sign(trials["choice"].to_numpy()[moved]) * size

    timestamps = _sample_times(start, duration, float(trials["intervals_0"].iloc[0]), behavior.end, rng)
    landed = np.concatenate([[0.0], np.cumsum(displacement)])
    turn = np.searchsorted(start, timestamps, side="right")  # number of turns begun
    position = landed[turn]
    turning = turn > 0
    last = turn[turning] - 1
    progress = np.clip((timestamps[turning] - start[last]) / duration[last], 0, 1)
    position[turning] = landed[last] + displacement[last] * progress**2 * (3 - 2 * progress)
    return timestamps, np.round(position / RESOLUTION) * RESOLUTION


def _sample_times(
    start: NDArray[np.float64],
    duration: NDArray[np.float64],
    first: float,
    last: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    rest = rng.uniform(first - 1, last + 1, int((last - first + 2) / REST_INTERVAL))
    counts = np.ceil(np.minimum(duration, 2.0) / MOVEMENT_INTERVAL).astype(np.int64)
    within = rng.random(counts.sum()) * np.repeat(duration, counts)
    return np.unique(np.concatenate([rest, np.repeat(start, counts) + within, start, start + duration]))
