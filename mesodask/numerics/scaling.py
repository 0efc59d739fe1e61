"""Traces of any size -> activity between 0 and 1, by percentiles of each trace."""

import numba
import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 20.0, 99.0  # percentiles of a trace that become 0 and 1


def percentile_scale(
    traces: NDArray, samples: NDArray[np.intp] | None = None, *, low: float = LOW, high: float = HIGH
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find what scales each trace so that one of its percentiles becomes 0 and another 1.

    With p_low and p_high the percentiles of a trace x over its finite samples (linear between samples) ::

        scaled = (x - offset) * gain,   offset = p_low,   gain = 1 / (p_high - p_low)

    A trace that is active in so few samples that p_high is no more than p_low has its largest sample in place of
    p_high; a constant one gets gain 0.

    Parameters
    ----------
    traces : numpy.ndarray, (n_traces, n_samples)
        May hold NaN, which counts as missing.
    samples : numpy.ndarray, (n,) int, optional
        Which samples count, such as the good frames; all by default.
    low, high : float
        Percentiles, 0 to 100.

    Returns
    -------
    offset, gain : numpy.ndarray, (n_traces,) float64
        Both NaN where a trace has no finite sample.

    Examples
    --------
    >>> offset, gain = percentile_scale(np.array([[0.0, 1, 2, 3, 4], [0, 0, 0, 0, 5], [7, 7, 7, 7, 7]]), low=0, high=50)
    >>> offset.tolist(), gain.tolist()
    ([0.0, 0.0, 7.0], [0.5, 0.2, 0.0])
    """
    samples = np.arange(traces.shape[1]) if samples is None else samples
    above = np.empty((len(traces), len(samples) + 1), dtype=traces.dtype)
    lowest = np.full(len(traces), np.nan, dtype=traces.dtype)
    n_finite, n_above = np.zeros((2, len(traces)), dtype=np.int64)
    _split_at_lowest(traces, samples, above, lowest, n_finite, n_above)
    bottom, top, largest = np.full((3, len(traces)), np.nan)
    for i in np.flatnonzero(n_finite):
        trace = above[i, : n_above[i]]
        trace.sort()
        n_lowest = n_finite[i] - n_above[i]
        bottom[i], top[i], largest[i] = (
            _at_quantile(float(lowest[i]), n_lowest, trace, q) for q in (low / 100, high / 100, 1.0)
        )
    top = np.where(top > bottom, top, largest)
    with np.errstate(divide="ignore"):
        return bottom, np.where(top == bottom, 0.0, 1.0 / (top - bottom))


def _at_quantile(lowest: float, n_lowest: int, above: NDArray, quantile: float) -> float:
    """Read a quantile off samples of which `n_lowest` have the lowest value and the others are sorted."""
    place = quantile * (n_lowest + len(above) - 1)
    before = int(place)
    after = min(before + 1, n_lowest + len(above) - 1)
    left, right = (lowest if i < n_lowest else float(above[i - n_lowest]) for i in (before, after))
    return left + (place - before) * (right - left)


@numba.njit(cache=True, nogil=True)
def _split_at_lowest(traces, samples, above, lowest, n_finite, n_above):  # type: ignore[no-untyped-def]
    """Find each trace's lowest sample, and put those above it into `above`: where most are zero, few need sorting."""
    for i in range(traces.shape[0]):
        smallest, n = np.inf, 0
        for j in samples:
            value = traces[i, j]
            smallest = min(smallest, value) if value == value else smallest
            n += value == value
        if n == 0:
            continue
        found = 0
        for j in samples:  # without a branch, of which the processor could not guess the way
            value = traces[i, j]
            above[i, found] = value
            found += value > smallest
        lowest[i], n_finite[i], n_above[i] = smallest, n, found
