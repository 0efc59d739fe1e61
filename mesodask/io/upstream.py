"""Session caches of the original scripts, ``<eid>.npy``, read safely and checked.

Each is a pickled dictionary of roi_signal, roi_times, isort, region_labels, region_colors and xyz. Pickles can run
anything: :mod:`mesodask.io.safe_pickle` reads them without. None is ever written.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mesodask.errors import DataError, SettingsError
from mesodask.io.pickled_names import describe
from mesodask.io.regions import ids_of_acronyms
from mesodask.io.safe_pickle import load_pickled_npy
from mesodask.io.untrusted import Entries

logger = logging.getLogger(__name__)

XyzUnit = Literal["um", "mm", "m"]

KEYS = ("roi_signal", "roi_times", "isort", "region_labels", "region_colors", "xyz")
UM_PER_UNIT = {"um": 1.0, "mm": 1e3, "m": 1e6}
# how far from bregma the furthest ROI of a session may lie: no window is that close to it, no mouse brain that large
FURTHEST_UM = (100.0, 20_000.0)
DELAY_TOLERANCE = 1e-6  # s
LATEST = 1e10  # s; more than any clock shows, be it that of the computer
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_filter_(True|False))?\.npy", re.IGNORECASE)
_HEX_COLOR = re.compile(r"#?([0-9a-f]{6})(?:[0-9a-f]{2})?", re.IGNORECASE)
_ROW_BLOCK, _LONGEST_LABEL = 256, 100


@dataclass(frozen=True, eq=False)
class UpstreamSession:
    """A session as the original scripts cached it, checked and in mesodask's units.

    Attributes
    ----------
    path : pathlib.Path
        The cache.
    eid : str
        From the file name.
    filtered : bool or None
        Whether non-cells had been left out: ``_filter_True`` or ``_filter_False`` in the file name; None without.
    signal : numpy.ndarray, (n_rois, n_frames) float
        Activity as it was cached; :meth:`rows` gives it as float32.
    frame_times : numpy.ndarray, (n_clocks, n_frames) float64
        Session clock, s. One row, unless the cache has one for each FOV.
    clock_index : numpy.ndarray, (n_rois,) int32
        Row of ``frame_times`` that each ROI goes by.
    roi_delay : numpy.ndarray, (n_rois,) float64, or None
        What to add to these times, s; None if the cache knows no times of single ROIs.
    isort : numpy.ndarray, (n_rois,) int64, or None
        Rastermap order; None if the cache has none.
    region : numpy.ndarray, (n_rois,) object
        Acronyms as they were cached.
    region_color : numpy.ndarray, (n_rois,) object
        "#rrggbb".
    xyz : numpy.ndarray, (n_rois, 3) float64
        ML, AP, DV from bregma, um; NaN where the position is not known.
    other_keys : tuple of str
        What the cache holds besides, and mesodask leaves alone.
    """

    path: Path
    eid: str
    filtered: bool | None
    signal: np.ndarray
    frame_times: np.ndarray
    clock_index: np.ndarray
    roi_delay: np.ndarray | None
    isort: np.ndarray | None
    region: np.ndarray
    region_color: np.ndarray
    xyz: np.ndarray
    other_keys: tuple[str, ...]

    @property
    def n_rois(self) -> int:
        """Number of rows of the cache."""
        return self.signal.shape[0]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.signal.shape[1]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Activity of a block of ROIs, (stop - start, n_frames) float32."""
        with np.errstate(invalid="ignore"):  # signalling NaN
            return self.signal[start:stop].astype(np.float32)

    def variables(self) -> dict[str, Any]:
        """Give the variables of :data:`mesodask.schema.SESSION`, but for the signal, which :meth:`rows` gives.

        The cache does not say which FOV a row comes from: each clock stands for one, named "unknown", and rows are
        counted through. ROIs in regions that the atlas does not know become "void"; without ``_filter_True`` in the
        file name it is not known which ROIs are cells, so that all count as such. Log lines count both.
        """
        region_id = ids_of_acronyms(self.region)
        if not self.filtered:
            logger.warning("%s: the cache does not say which ROIs are cells; all %d count as such",
                           self.path, self.n_rois)  # fmt: skip
        n_clocks = len(self.frame_times)
        found = {
            "frame_times": self.frame_times,
            "fov": ["unknown"] if n_clocks == 1 else [f"unknown_{i}" for i in range(n_clocks)],
            "fov_index": self.clock_index,
            "roi_in_fov": np.arange(self.n_rois, dtype=np.int32),
            "xyz": self.xyz,
            "axis": ["ML", "AP", "DV"],
            "region_id": region_id,
            "region": np.where(region_id == 0, "void", self.region).astype(object),
            "region_color": self.region_color,
            "is_neuron": np.ones(self.n_rois, dtype=bool),
        }
        return found if self.roi_delay is None else {**found, "roi_delay": self.roi_delay}


def cache_name(path: str | Path) -> tuple[str, bool | None]:
    """Take the eid, and whether non-cells had been left out, from the name of a session cache.

    Raises
    ------
    DataError
        The name is another.

    Examples
    --------
    >>> cache_name("0f1e2d3c-4b5a-4678-9abc-def012345678_filter_True.npy")
    ('0f1e2d3c-4b5a-4678-9abc-def012345678', True)
    """
    match = _NAME.fullmatch(Path(path).name)
    if match is None:
        raise DataError("no name of a session cache: expected <eid>.npy or <eid>_filter_True|False.npy", path)
    return match[1].lower(), None if match[2] is None else match[2].lower() == "true"


def read_session_cache(
    path: str | Path, *, xyz_unit: XyzUnit = "um", clock_index: ArrayLike | None = None
) -> UpstreamSession:
    """Read a session that the original scripts cached.

    Parameters
    ----------
    path : path-like
        ``<eid>.npy`` or ``<eid>_filter_True|False.npy``.
    xyz_unit : {"um", "mm", "m"}
        Unit of the cached positions. ALF files have micrometres, and so have caches that were made from them as they
        are; another is never guessed, and positions that cannot be of this unit are refused.
    clock_index : (n_rois,) int, optional
        For caches whose roi_times have one row for each FOV: the row that each ROI goes by, which such a cache does
        not say. Needed where these rows differ.

    Returns
    -------
    UpstreamSession
        roi_times may be one vector; or one row a ROI, each the first row plus a constant, which becomes the ROI's
        delay; or one row a FOV. region_colors may be "#rrggbb" (with or without # and alpha), integers 0 to 255, or
        floats 0 to 1, or, where one is above 1, 0 to 255. Lists do in place of arrays; isort may be missing or None.

    Raises
    ------
    DataError
        The file asks for more than arrays and plain containers (nothing in it is run), is damaged, or its arrays are
        not as described here, or do not fit each other.
    SettingsError
        ``clock_index`` does not fit the cache, or ``xyz_unit`` is none of the three.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "0f1e2d3c-4b5a-4678-9abc-def012345678_filter_True.npy"
    >>> cache = {"roi_signal": np.zeros((2, 3)), "roi_times": np.arange(3) * 0.2, "isort": np.array([1, 0])}
    >>> cache |= {"region_labels": ["VISp", "MOs"], "region_colors": ["#08858c", "#1f9d5a"]}
    >>> np.save(path, cache | {"xyz": np.array([[-2500.0, -3000, -200], [900, 1500, -300]])}, allow_pickle=True)
    >>> session = read_session_cache(path)
    >>> session.eid, session.filtered, session.n_rois, session.variables()["region_id"].tolist()
    ('0f1e2d3c-4b5a-4678-9abc-def012345678', True, 2, [385, 993])
    """
    path = Path(path)
    eid, filtered = cache_name(path)
    if xyz_unit not in UM_PER_UNIT:
        raise SettingsError(f"xyz_unit: {xyz_unit!r} is none of {', '.join(UM_PER_UNIT)}")
    cache = _Cache(path)
    signal = cache.signal()
    frame_times, index, delay = cache.clocks(signal.shape, clock_index)
    return UpstreamSession(
        path=path,
        eid=eid,
        filtered=filtered,
        signal=signal,
        frame_times=frame_times,
        clock_index=index,
        roi_delay=delay,
        isort=cache.isort(len(signal)),
        region=cache.labels("region_labels", len(signal)),
        region_color=cache.colors(len(signal)),
        xyz=cache.xyz(len(signal), xyz_unit),
        other_keys=cache.other_keys(),
    )


class _Cache(Entries):
    """The dictionary of a cache; each method gives one of its entries, checked."""

    def __init__(self, path: Path) -> None:
        loaded = load_pickled_npy(path)
        self._size = path.stat().st_size
        if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
            raise DataError(f"holds {describe(loaded)}; expected a dictionary with the keys {', '.join(KEYS)}", path)
        super().__init__(loaded, path)
        missing = [key for key in KEYS if key not in loaded and key != "isort"]
        if missing:
            raise DataError(f"no key {' or '.join(missing)}; expected {', '.join(KEYS)}", path)

    def other_keys(self) -> tuple[str, ...]:
        return tuple(key for key in self if key not in KEYS)

    def _array(self, key: str, ndims: tuple[int, ...], kinds: str, expected: str) -> np.ndarray:
        value = self.get(key)
        if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
            value = self._stack(key, value, expected)
        if not isinstance(value, np.ndarray) or value.ndim not in ndims or value.dtype.kind not in kinds:
            raise self.wrong(key, describe(value), expected)
        return value

    def _stack(self, key: str, value: Any, expected: str) -> np.ndarray:
        """Make an array of a list of numbers, or of equally long lists or vectors of numbers."""
        rows = _to_list(value)
        # one list or vector may be meant many times over; no honest file has more numbers than bytes
        size = sum(_n_items(row) for row in rows)
        if size > self._size:
            raise self.wrong(key, f"{describe(value)}, {size} numbers in a file of {self._size} bytes", expected)
        if not all(_is_number(row) or _is_vector(row) for row in rows):
            raise self.wrong(key, f"{describe(value)} of other things than numbers", expected)
        try:
            return np.array(rows)
        except (ValueError, OverflowError) as error:
            raise self.wrong(key, f"{describe(value)} that make no array ({error})", expected) from error

    def _finite(self, key: str, values: np.ndarray, what: str) -> None:
        n_bad = values.size - np.count_nonzero(np.isfinite(values))
        if n_bad:
            raise self.wrong(key, f"{n_bad} {what} are not finite", "finite numbers")

    def signal(self) -> np.ndarray:
        expected = "an array of floating numbers, (n_rois, n_frames)"
        signal = self._array("roi_signal", (2,), "f", expected)
        if signal.size == 0:
            raise self.wrong("roi_signal", describe(signal), expected)
        with np.errstate(invalid="ignore"):  # signalling NaN
            largest = max(-np.fmin.reduce(signal, axis=None), np.fmax.reduce(signal, axis=None))
        if largest > np.finfo(np.float32).max:
            raise self.wrong("roi_signal", f"values as large as {largest}", "what float32 can hold")
        return signal

    def clocks(
        self, shape: tuple[int, ...], clock_index: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Frame times (n_clocks, n_frames), the row of each ROI, and its delay to that row if there are times a ROI."""
        n_rois, n_frames = shape
        expected = f"times in s, ({n_frames},), or one such row for each of {n_rois} ROIs or each FOV"
        times = np.atleast_2d(self._array("roi_times", (1, 2), "fiu", expected))
        if len(times) == 0 or times.shape[1] != n_frames:
            raise self.wrong("roi_times", describe(self.get("roi_times")), expected)
        self._finite("roi_times", times, "frame times")
        latest = max(-float(times.min()), float(times.max()))
        if latest > LATEST:
            raise self.wrong("roi_times", f"times as large as {latest:g}", f"s on a session clock, up to {LATEST:g}")
        delay = None
        if clock_index is None and len(times) == n_rois > 1:
            delay, times = self._delays(times), times[:1]
        times = times.astype(np.float64)
        for row in times:
            late = np.flatnonzero(np.diff(row) <= 0)
            if late.size:
                found = f"frame {late[0] + 1} does not come after frame {late[0]}"
                raise self.wrong("roi_times", found, "increasing times")
        if clock_index is None and (times == times[0]).all():
            times = times[:1]
        return times, self._clock_index(clock_index, n_rois, len(times)), delay

    def _delays(self, times: np.ndarray) -> np.ndarray:
        """Constant by which each ROI's times are later than the first's, (n_rois,), s."""
        delay = np.empty(len(times))
        for start in range(0, len(times), _ROW_BLOCK):  # all differences at once would be as large as the signal
            late = times[start : start + _ROW_BLOCK].astype(np.float64) - times[0]
            lowest, highest = late.min(axis=1), late.max(axis=1)
            delay[start : start + _ROW_BLOCK] = (lowest + highest) / 2
            unsteady = np.flatnonzero(highest - lowest > 2 * DELAY_TOLERANCE)
            if unsteady.size:
                row = unsteady[0]
                found = f"ROI {start + row} is {lowest[row]:.6f} to {highest[row]:.6f} s later than ROI 0"
                raise self.wrong("roi_times", found, f"the same delay in all frames, to {DELAY_TOLERANCE} s")
        return delay

    def _clock_index(self, given: ArrayLike | None, n_rois: int, n_clocks: int) -> np.ndarray:
        if given is None:
            if n_clocks > 1:
                raise DataError(
                    f"roi_times: {n_clocks} different rows for {n_rois} ROIs, and the cache does not say which "
                    "ROI goes by which; give clock_index, or embed the session from its ALF files",
                    self._path,
                )
            return np.zeros(n_rois, dtype=np.int32)
        index = np.asarray(given)
        if index.shape != (n_rois,) or index.dtype.kind not in "iu" or not ((index >= 0) & (index < n_clocks)).all():
            raise SettingsError(
                f"clock_index: {describe(index)}; expected a row of roi_times, 0 to {n_clocks - 1}, for each of the "
                f"{n_rois} ROIs of {self._path}"
            )
        return index.astype(np.int32)

    def isort(self, n_rois: int) -> np.ndarray | None:
        if "isort" not in self:
            return None
        expected = f"a permutation of the {n_rois} rows"
        isort = self._array("isort", (1,), "iu", expected)
        if not np.array_equal(np.sort(isort), np.arange(n_rois)):
            raise self.wrong("isort", f"{describe(isort)} that is none", expected)
        return isort.astype(np.int64)

    def labels(self, key: str, n_rois: int) -> np.ndarray:
        expected = f"a short text for each of {n_rois} ROIs"
        values = _to_list(self.get(key))
        if len(values) != n_rois:
            raise self.wrong(key, describe(self.get(key)), expected)
        for row, value in enumerate(values):
            if not isinstance(value, str) or len(value) > _LONGEST_LABEL or not value.isprintable():
                raise self.wrong(key, f"{describe(value)} in row {row}", expected)
        return np.array([str(value) for value in values], dtype=object)

    def colors(self, n_rois: int) -> np.ndarray:
        key = "region_colors"
        if any(isinstance(value, str) for value in _to_list(self.get(key))):
            matches = [_HEX_COLOR.fullmatch(text) for text in self.labels(key, n_rois)]
            if None in matches:
                raise self.wrong(key, f"no colour in row {matches.index(None)}", "#rrggbb")
            return np.array([f"#{match[1].lower()}" for match in matches if match], dtype=object)
        expected = f"#rrggbb, or red, green and blue (and alpha) from 0 to 1 or 0 to 255, for each of {n_rois} ROIs"
        values = self._array(key, (2,), "fiu", expected)
        if values.shape not in ((n_rois, 3), (n_rois, 4)):
            raise self.wrong(key, describe(values), expected)
        rgb = values[:, :3]
        self._finite(key, rgb, "colours")
        if rgb.min() < 0 or rgb.max() > 255:
            raise self.wrong(key, f"values from {rgb.min()} to {rgb.max()}", expected)
        scale = 255 if rgb.dtype.kind == "f" and rgb.max() <= 1 else 1
        rounded = np.rint(rgb.astype(np.float64) * scale).astype(int)
        return np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rounded], dtype=object)

    def xyz(self, n_rois: int, unit: str) -> np.ndarray:
        expected = f"ML, AP and DV for each of {n_rois} ROIs"
        values = self._array("xyz", (2,), "fiu", expected)
        if values.shape != (n_rois, 3):
            raise self.wrong("xyz", describe(values), expected)
        known = values[~np.isnan(values)].astype(np.float64)
        furthest = np.abs(known).max(initial=0)
        low, high = FURTHEST_UM
        fitting = [name for name, um in UM_PER_UNIT.items() if low / um <= furthest <= high / um]
        if known.size and unit not in fitting:
            hint = f'; if they are in {fitting[0]}, pass xyz_unit="{fitting[0]}"' if fitting else ""
            found = f"the furthest coordinate is {furthest:g} {unit} from bregma"
            raise self.wrong("xyz", found, f"{low:g} to {high:g} um for the ROIs of a session{hint}")
        with np.errstate(invalid="ignore"):  # signalling NaN
            return values.astype(np.float64) * UM_PER_UNIT[unit]


def _to_list(value: Any) -> list[Any]:
    """Items of a list, a tuple, or an array of text or objects; of nothing else."""
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "OU":
        return value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else []


def _n_items(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.size
    return len(value) if isinstance(value, (list, tuple)) else 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating))


def _is_vector(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "fiu"
    return isinstance(value, (list, tuple)) and all(map(_is_number, value))
