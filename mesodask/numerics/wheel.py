"""The wheel's velocity from its position: what ``brainbox.behavior.wheel`` does, for where it is not installed."""

import numpy as np
from numpy.typing import NDArray
from scipy import signal

CORNER_FREQUENCY = 20.0  # Hz
ORDER = 8
SHORTEST = 3 * (ORDER + 1) + 1  # even samples that the filter can take: its own padding, and one more


def interpolate_position(
    times: NDArray[np.float64], position: NDArray[np.float64], freq: float = 1000.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sample the wheel's position evenly, linearly between its samples.

    Parameters
    ----------
    times : numpy.ndarray, (n_samples,)
        s, strictly increasing.
    position : numpy.ndarray, (n_samples,)
        rad.
    freq : float
        Samples a second.

    Returns
    -------
    position, times : numpy.ndarray, (n_even,)
        At ``times[0], times[0] + 1 / freq, ...`` before the last sample.

    Examples
    --------
    >>> interpolate_position(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]), freq=4)[0].tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    even = np.arange(times[0], times[-1], 1 / freq)
    even = even[even <= times[-1]]  # rounding may add one
    return np.interp(even, times, position), even


def velocity_filtered(
    position: NDArray[np.float64], fs: float, corner_frequency: float = CORNER_FREQUENCY, order: int = ORDER
) -> NDArray[np.float64]:
    """Differentiate the low-passed position.

    With x the position after a Butterworth low-pass of the given order, run forwards and backwards so that nothing is
    delayed ::

        v[0] = 0,   v[i] = (x[i] - x[i - 1]) * fs

    Parameters
    ----------
    position : numpy.ndarray, (n,)
        Evenly sampled, rad.
    fs : float
        Samples a second.
    corner_frequency : float
        Of the filter, Hz.
    order : int
        Of the filter, one way.

    Returns
    -------
    numpy.ndarray, (n,)
        rad/s.

    Examples
    --------
    >>> velocity = velocity_filtered(np.linspace(0, 2, 1001), fs=500.0)  # 2 rad in 2 s
    >>> bool(np.allclose(velocity[100:900], 1.0, atol=1e-3))
    True
    """
    sections = signal.butter(order, 2 * corner_frequency / fs, output="sos")
    smooth = signal.sosfiltfilt(sections, position)
    return np.diff(smooth, prepend=smooth[:1]) * fs
