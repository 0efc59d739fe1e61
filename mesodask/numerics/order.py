"""An order of ROIs in which those that are active together lie together; the only module that imports ``rastermap``."""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from mesodask.numerics.threads import ONE_BLAS_THREAD
from mesodask.numerics.truncated_svd import truncated_svd

ReadRows = Callable[[NDArray[np.int64]], NDArray[np.float32]]

# those of the original scripts; bin_size concerns rastermap's own picture alone, which is never made here
PARAMETERS: dict[str, float] = {"n_PCs": 100, "n_clusters": 30, "locality": 0.75, "time_lag_window": 5, "bin_size": 1}
FEWEST = 10  # ROIs or frames, below which nothing is sorted
FEWEST_PCS = 2  # Rastermap z-scores each ROI over its components
# rows in memory at once, 20 MB of a long session; a constant, since the bits of the sums depend on it
BLOCK_ROWS = 256

# rastermap sets the root logger and NumPy's global generator, and its parallel loops do not bear a second caller
_RASTERMAP = threading.Lock()


@dataclass(frozen=True)
class Order:
    """An order of a session's rows.

    Attributes
    ----------
    isort : numpy.ndarray, (n_rois,) int64
        A permutation of the rows: those that were sorted; those that should have been but cannot be (NaN, infinite or
        constant traces), as they come; the others, as they come.
    reason : str
        Why the parameters are not the usual ones or nothing was sorted; empty if all went as usual.
    parameters : dict
        What Rastermap was given; empty if nothing was sorted.
    """

    isort: NDArray[np.int64]
    reason: str = ""
    parameters: dict[str, float] = field(default_factory=dict)


def rastermap_order(read: ReadRows, rows: NDArray[np.int64], n_rois: int) -> Order:
    """Sort ROIs so that those that are active together lie together (Rastermap, Stringer et al. 2025).

    Rastermap is given singular vectors, times singular values, of what it would make of the traces itself: z-scored,
    and without their projection on the mean trace. They are computed in blocks of rows
    (:func:`mesodask.numerics.truncated_svd.truncated_svd`): the signal never lies in memory as a whole, and the order
    is the one that Rastermap gives when it is handed all of it. ROIs that it puts in the same place are left in the
    order of their rows. The same traces give the same order on one kind of machine: every draw is seeded, and blocks
    and BLAS threads are fixed.

    Parameters
    ----------
    read : callable
        Gives the activity of some rows, (n, n_frames) float32; called again and again with ascending rows.
    rows : int array
        Which rows to sort, ascending.
    n_rois : int
        How many rows there are.

    Returns
    -------
    Order
        Of all rows.

    Examples
    --------
    >>> signal = np.ones((3, 50), dtype=np.float32)
    >>> order = rastermap_order(signal.__getitem__, np.array([2]), len(signal))
    >>> order.isort.tolist(), order.reason
    ([2, 0, 1], '0 active ROIs and 50 frames are too few to sort')
    """
    rows = np.asarray(rows, dtype=np.int64)
    others = np.setdiff1d(np.arange(n_rois, dtype=np.int64), rows)
    with ONE_BLAS_THREAD:
        traces = _standardise(read, rows)
        inner, reason, parameters = _sort(traces)
    isort = np.concatenate([traces.rows[inner], np.setdiff1d(rows, traces.rows), others])
    return Order(isort, reason, parameters)


@dataclass(frozen=True)
class _Traces:
    """Traces that can be sorted, as Rastermap would standardise them."""

    read: ReadRows
    rows: NDArray[np.int64]  # (n,)
    mean: NDArray[np.float32]  # (n,)
    std: NDArray[np.float32]  # (n,)
    shared: NDArray[np.float32]  # (n_frames,) mean z-scored trace, of unit length; 0 if there is none

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.shared)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Give Z - (Z s) s^T in blocks of rows, Z the z-scores and s the shared trace."""
        for start in range(0, len(self.rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            z = self.read(self.rows[block])
            _standardise_rows(z, self.mean[block], self.std[block], self.shared)
            yield z


def _standardise(read: ReadRows, rows: NDArray[np.int64]) -> _Traces:
    """Find, in one pass, which traces can be sorted, their moments, and the trace that they share."""
    found: list[tuple[NDArray, ...]] = []
    total: Any = 0.0
    for start in range(0, max(1, len(rows)), BLOCK_ROWS):
        here = rows[start : start + BLOCK_ROWS]
        x = read(here)
        mean, std = np.empty((2, len(x)), dtype=np.float32)
        usable = np.zeros(len(x), dtype=bool)
        sums = np.zeros(x.shape[1])
        _find_moments(x, mean, std, usable, sums)
        total = total + sums
        found.append((here[usable], mean[usable], std[usable]))
    kept, mean, std = (np.concatenate(part) for part in zip(*found, strict=True))
    length = np.linalg.norm(total)
    # traces that cancel leave rounding, which is no direction
    has_shared = length > len(kept) * np.sqrt(len(total)) * np.finfo(np.float32).eps
    shared = total / length if has_shared else np.zeros_like(total)
    return _Traces(read, kept, mean, std, shared.astype(np.float32))


# a trace stays in the processor's cache from its first sum to its last; NumPy would carry whole blocks to and fro
@numba.njit(cache=True, nogil=True, error_model="numpy")
def _find_moments(x, mean, std, usable, total):  # type: ignore[no-untyped-def]
    """Find mean and standard deviation of each row, which rows have finite z-scores, and add those up over rows."""
    n = x.shape[1]
    for i in range(len(x)):
        trace = x[i]
        sum_, squares = 0.0, 0.0
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for value in trace:
            sum_ += value
            low, high = min(low, value), max(high, value)
        centre = sum_ / n
        for value in trace:
            squares += (value - centre) ** 2
        mean[i], std[i] = centre, np.sqrt(squares / n)
        # a trace that holds what is no number has no finite mean
        usable[i] = low < high and np.isfinite((low - mean[i]) / std[i]) and np.isfinite((high - mean[i]) / std[i])
        if usable[i]:
            for j in range(n):
                total[j] += (trace[j] - mean[i]) / std[i]


# a dot product may be summed in any order
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _standardise_rows(x, mean, std, shared):  # type: ignore[no-untyped-def]
    """Z-score rows and take their projection on a unit vector away, in place."""
    for i in range(len(x)):
        along = np.float32(0)
        for j in range(x.shape[1]):
            x[i, j] = (x[i, j] - mean[i]) / std[i]
            along += x[i, j] * shared[j]
        for j in range(x.shape[1]):
            x[i, j] -= along * shared[j]


def _sort(traces: _Traces) -> tuple[NDArray[np.int64], str, dict[str, float]]:
    """Give an order of the traces, why it is not the usual one, and the parameters that gave it."""
    n_rois, n_frames = traces.shape
    as_they_come = np.arange(n_rois)
    size = f"{n_rois} active ROIs and {n_frames} frames"
    if min(n_rois, n_frames) < FEWEST:
        return as_they_come, f"{size} are too few to sort", {}
    # z-scores and the shared trace each take one dimension
    largest = min(int(PARAMETERS["n_PCs"]), n_rois - 1, n_frames - 2)
    Usv, Vsv = truncated_svd(traces.blocks, traces.shape, largest)
    # where all traces are alike, what is left of the z-scores is rounding
    rounding = 10 * np.finfo(np.float32).eps * np.sqrt(n_rois * n_frames)
    if np.count_nonzero(np.linalg.norm(Usv, axis=0) > rounding) < FEWEST_PCS:
        return as_they_come, f"the traces of {size} are too much alike to sort", {}
    parameters = PARAMETERS | {"n_PCs": Usv.shape[1], "n_clusters": min(int(PARAMETERS["n_clusters"]), n_rois // 2)}
    try:
        inner = _fit_rastermap(Usv, Vsv, parameters)
    except Exception as error:  # rastermap raises many kinds on recordings it cannot sort
        return as_they_come, f"rastermap failed on {size}: {error}", {}
    used = f"n_PCs={parameters['n_PCs']}, n_clusters={parameters['n_clusters']}"
    return inner, "" if parameters == PARAMETERS else f"{size} allow {used}", parameters


def _fit_rastermap(Usv: NDArray, Vsv: NDArray, parameters: dict[str, float]) -> NDArray[np.int64]:
    with _RASTERMAP, _held():
        from rastermap import Rastermap

        model = Rastermap(**parameters, verbose=False).fit(Usv=Usv, Vsv=Vsv, compute_X_embedding=False)
    place = np.asarray(model.embedding)[:, 0]
    if not np.isfinite(place).all() or np.ptp(place) == 0:
        raise ValueError("it gave some ROIs no place, or all the same")
    # where Rastermap itself says nothing, an unstable sort would give another order on another machine
    return np.argsort(place, kind="stable")


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Run rastermap on one thread, and leave the root logger and NumPy's generator, which it sets, as they were.

    Its parallel loops are short: threads that wait for each other on a busy machine take longer than one.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    state, n_threads = np.random.get_state(), numba.get_num_threads()  # noqa: NPY002
    numba.set_num_threads(1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:], root.level = handlers, level
        np.random.set_state(state)  # noqa: NPY002
        numba.set_num_threads(n_threads)
