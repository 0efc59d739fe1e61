"""Traces -> a picture's pixels: many ROIs and frames averaged into one, or one frame held over several."""

import numba
import numpy as np
from numpy.typing import NDArray

from mesodask.numerics.windows import FrameClock


def frames_of_columns(
    clock: FrameClock, edges: NDArray[np.float64], delay: float = 0.0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the good frames that each column of a picture shows.

    A column shows the frames taken within it. Where it is narrower than a frame and none is, it shows the last one
    before its middle, for as long as no gap follows that frame, and at the end for one frame period.

    Parameters
    ----------
    clock : FrameClock
        When the frames were taken.
    edges : numpy.ndarray, (n_columns + 1,)
        Borders of the columns in s, increasing; a column holds its first one, and not its last.
    delay : float
        Added to the times of the frames, s.

    Returns
    -------
    first, stop : numpy.ndarray, (n_columns,) int
        Column c shows the good frames ``clock.frames[first[c]:stop[c]]``; none where they are equal.

    Examples
    --------
    >>> first, stop = frames_of_columns(FrameClock.of([0.0, 1.0, 2.0, 9.0]), np.array([0.0, 1.5, 1.9, 3.0, 5.0]))
    >>> first.tolist(), stop.tolist()  # the third column holds frame 2, the last one lies in the gap
    ([0, 1, 2, 3], [2, 2, 3, 3])
    """
    times = clock.times + delay
    inside = np.searchsorted(times, edges, side="left")
    first, stop = inside[:-1].copy(), inside[1:].copy()
    if len(times) == 0:
        return first, stop
    middle = (edges[:-1] + edges[1:]) / 2
    held = np.searchsorted(times, middle, side="right") - 1
    # what follows the last frame is as if it was taken for one period more
    breaks = np.append(clock.gap, False)
    shown = (first == stop) & (held >= 0) & ~breaks[held] & (middle < times[-1] + clock.period)
    first[shown], stop[shown] = held[shown], held[shown] + 1
    return first, stop


def add_traces(
    signal: NDArray,
    clock: FrameClock,
    columns: tuple[NDArray[np.intp], NDArray[np.intp]],
    scale: tuple[NDArray[np.float64], NDArray[np.float64]],
    band: NDArray[np.intp],
    image: "Image",
) -> None:
    """Add traces of one FOV to a picture.

    Parameters
    ----------
    signal : numpy.ndarray, (n_rois, n_frames)
        May hold NaN, which counts as missing.
    clock : FrameClock
        That of the FOV.
    columns : (first, stop)
        From :func:`mesodask.numerics.raster.frames_of_columns`.
    scale : (offset, gain), each (n_rois,)
        From :func:`mesodask.numerics.scaling.percentile_scale`.
    band : numpy.ndarray, (n_rois,) int
        Row of the picture that each ROI falls into.
    image : Image
        What is added to.
    """
    _add(
        signal, clock.frames, *columns, *scale, band,
        image.scaled_total, image.count, image.total,
    )  # fmt: skip


class Image:
    """A picture under construction: sums over the ROIs of each band and the frames of each column.

    Parameters
    ----------
    n_bands, n_columns : int
        Its size.
    """

    def __init__(self, n_bands: int, n_columns: int) -> None:
        self.scaled_total = np.zeros((n_bands, n_columns))
        self.count = np.zeros((n_bands, n_columns), dtype=np.int64)
        self.total = np.zeros(n_bands)

    def activity(self) -> NDArray[np.float32]:
        """Mean scaled activity of each pixel, (n_bands, n_columns); NaN where nothing was recorded."""
        return _ratio(self.scaled_total, self.count).astype(np.float32)

    def rate(self) -> NDArray[np.float64]:
        """Mean activity of each band over all its ROIs and columns, unscaled, (n_bands,)."""
        return _ratio(self.total, self.count.sum(axis=1))


def _ratio(total: NDArray, count: NDArray) -> NDArray[np.float64]:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@numba.njit(cache=True, nogil=True)
def _add(signal, frames, first, stop, offset, gain, band, scaled_total, count, total):  # type: ignore[no-untyped-def]
    """Add every ROI's mean over the frames of each column."""
    for roi in range(signal.shape[0]):
        row = band[roi]
        for column in range(first.shape[0]):
            summed, n = 0.0, 0
            for i in range(first[column], stop[column]):
                value = signal[roi, frames[i]]
                if value == value:
                    summed += value
                    n += 1
            if n:
                mean = summed / n
                scaled_total[row, column] += (mean - offset[roi]) * gain[roi]
                count[row, column] += 1
                total[row] += mean
