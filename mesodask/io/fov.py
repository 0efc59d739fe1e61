"""One field of view: its ALF files as checked arrays, one row an ROI."""

import csv
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mesodask.errors import DataError
from mesodask.io.alf import FOV_COLLECTION, SessionFiles

logger = logging.getLogger(__name__)

SIGNAL_FILES = {
    "deconvolved": ("mpci.ROIActivityDeconvolved.npy",),
    "fluorescence": ("mpci.ROIActivityF.npy",),
    "corrected": ("mpci.ROIActivityF.npy", "mpci.ROINeuropilActivityF.npy"),
}
POSITION_FILES = {"histology": "mpciROIs.mlapdv.npy", "estimate": "mpciROIs.mlapdv_estimate.npy"}
REGION_FILES = {
    "histology": "mpciROIs.brainLocationIds_ccf_2017.npy",
    "estimate": "mpciROIs.brainLocationIds_ccf_2017_estimate.npy",
}
CELL_FILE = "mpciROIs.mpciROITypes.npy"
TIMES_FILE, BAD_FILE = "mpci.times.npy", "mpci.badFrames.npy"
STACK_FILE, SHIFT_FILE = "mpciROIs.stackPos.npy", "mpciStack.timeshift.npy"
PROBABILITY_FILE, UUID_FILE = "mpciROIs.cellClassifier.npy", "mpciROIs.uuids.csv"
NEUROPIL_FACTOR = 0.7  # suite2p's default: F - 0.7 Fneu


@dataclass(frozen=True)
class Fov:
    """A field of view's ROIs.

    Attributes
    ----------
    name : str
        ``FOV_XX``.
    signal : tuple of numpy.ndarray, each (n_rois, n_frames)
        Memory maps of ``SIGNAL_FILES``; of two, the second is subtracted ``NEUROPIL_FACTOR`` times.
    times : numpy.ndarray, (n_frames,) float64
        Frame times on the session clock, s.
    bad_frame : numpy.ndarray, (n_frames,) bool
        Frames that suite2p marked as bad.
    delay : numpy.ndarray, (n_rois,) float64
        Scan-line delay of each ROI, s.
    xyz : numpy.ndarray, (n_rois, 3) float64
        ML, AP, DV from bregma, um.
    region_id : numpy.ndarray, (n_rois,) int64
        Allen CCF 2017 ids.
    is_neuron : numpy.ndarray, (n_rois,) bool
    cell_probability : numpy.ndarray, (n_rois,) float64
        NaN where there is no classifier file.
    uuid : list of str
        Ids of the ROIs; empty strings where there is no file.
    """

    name: str
    signal: tuple[np.ndarray, ...]
    times: np.ndarray
    bad_frame: np.ndarray
    delay: np.ndarray
    xyz: np.ndarray
    region_id: np.ndarray
    is_neuron: np.ndarray
    cell_probability: np.ndarray
    uuid: list[str]

    @property
    def n_rois(self) -> int:
        """Number of ROIs, cells or not."""
        return self.signal[0].shape[0]


def files_of(signal: str, region_source: str) -> tuple[str, ...]:
    """Name the files that :func:`read_fov` reads of a FOV.

    Examples
    --------
    >>> files_of("deconvolved", "estimate")[:2]
    ('mpci.ROIActivityDeconvolved.npy', 'mpci.times.npy')
    """
    described = (POSITION_FILES[region_source], REGION_FILES[region_source], CELL_FILE)
    return (
        *SIGNAL_FILES[signal],
        TIMES_FILE,
        BAD_FILE,
        STACK_FILE,
        SHIFT_FILE,
        *described,
        PROBABILITY_FILE,
        UUID_FILE,
    )


def choose_signal(files: SessionFiles, fovs: list[str]) -> str:
    """Choose one kind of signal for the whole session: deconvolved if every FOV has it, else fluorescence.

    Raises
    ------
    DataError
        Neither is there for all FOVs; the message names the FOVs that lack them.
    """
    lacking: list[str] = []
    for kind in ("deconvolved", "fluorescence"):
        name = SIGNAL_FILES[kind][0]
        missing = [f"alf/{fov}/{name}" for fov in fovs if not files.has(f"alf/{fov}", name)]
        if not missing:
            return kind
        lacking += missing
    raise DataError(
        f"no kind of activity is there for every FOV: {', '.join(lacking)} are missing; expected one kind for all",
        files.info.path,
    )


def choose_region_source(files: SessionFiles, fovs: list[str]) -> str:
    """Choose where positions and regions come from: histology if every FOV has both files, else the estimates."""

    def complete(source: str) -> bool:
        wanted = (POSITION_FILES[source], REGION_FILES[source])
        return all(files.has(f"alf/{fov}", name) for fov in fovs for name in wanted)

    return "histology" if complete("histology") else "estimate"


def has_rois(files: SessionFiles) -> bool:
    """Tell whether ROIs were found in any FOV of a session; one of behaviour alone has none."""
    return any(FOV_COLLECTION.match(name) and files.has(name, CELL_FILE) for name in files.collections())


def read_cells(files: SessionFiles, fov: str) -> np.ndarray:
    """Read which ROIs of a FOV are cells: (n_rois,) bool from ``mpciROIs.mpciROITypes.npy``.

    Raises
    ------
    DataError
        The file is missing, cannot be read or is no vector of integers.
    """
    return np.asarray(files.array(f"alf/{fov}", CELL_FILE, ndim=1, kind="iu")) == 1


def read_region_ids(files: SessionFiles) -> np.ndarray:
    """Read the Allen CCF 2017 id of every ROI of a session, in the order of the rows of its store.

    Returns
    -------
    numpy.ndarray, (n_rois,) int64
        From the source that the store would take (see :func:`choose_region_source`).

    Raises
    ------
    DataError
        A file is missing, cannot be read, or has another number of rows than its FOV has ROIs.
    """
    names = files.fov_names()
    source = choose_region_source(files, names)
    readers = [(_FovReader(files, name, CELL_FILE), len(read_cells(files, name))) for name in names]
    ids = [reader.per_roi(REGION_FILES[source], n_rois, "iu") for reader, n_rois in readers]
    return np.concatenate(ids).astype(np.int64)


def read_fov(files: SessionFiles, fov: str, *, signal: str, region_source: str) -> Fov:
    """Read one field of view; activity stays on disk as memory maps.

    Parameters
    ----------
    files : SessionFiles
        The session.
    fov : str
        ``FOV_XX``.
    signal : {"deconvolved", "fluorescence", "corrected"}
        Kind of activity; "corrected" is F - 0.7 x neuropil.
    region_source : {"histology", "estimate"}
        Which position and region files to read.

    Raises
    ------
    DataError
        A file is missing, damaged, or of another length than the activity.
    """
    reader = _FovReader(files, fov, SIGNAL_FILES[signal][0])
    activity = reader.activity(SIGNAL_FILES[signal])
    n_rois, n_frames = activity[0].shape
    return Fov(
        name=fov,
        signal=activity,
        times=reader.frame_times(n_frames),
        bad_frame=reader.bad_frames(n_frames),
        delay=reader.delays(n_rois),
        xyz=reader.positions(POSITION_FILES[region_source], n_rois),
        region_id=reader.per_roi(REGION_FILES[region_source], n_rois, "iu").astype(np.int64),
        is_neuron=reader.per_roi(CELL_FILE, n_rois, "iu") == 1,
        cell_probability=reader.cell_probability(n_rois),
        uuid=reader.uuids(n_rois),
    )


class _FovReader:
    """Reads the files of one FOV; `model` is the file whose shape the others must fit."""

    def __init__(self, files: SessionFiles, fov: str, model: str) -> None:
        self._files = files
        self._model = model
        self._collection = f"alf/{fov}"
        self._folder = files.info.path / self._collection

    def array(self, name: str, *, ndim: int | tuple[int, ...], kind: str) -> np.ndarray:
        return self._files.array(self._collection, name, ndim=ndim, kind=kind)

    def has(self, name: str) -> bool:
        return self._files.has(self._collection, name)

    def wrong(self, name: str, message: str) -> DataError:
        return DataError(message, self._folder / name)

    def activity(self, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """Memory maps, each (n_rois, n_frames)."""
        arrays = tuple(self.array(name, ndim=2, kind="f") for name in names)
        for name, array in zip(names, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise self.wrong(name, f"shape {array.shape}; expected {arrays[0].shape}, as in {names[0]}")
            if len(array) < 2:
                raise self.wrong(name, f"{len(array)} frames; expected a recording, (n_frames, n_rois)")
        return tuple(array.T for array in arrays)

    def per_roi(self, name: str, n_rois: int, kind: str, columns: int | None = None) -> np.ndarray:
        array = self.array(name, ndim=1 if columns is None else 2, kind=kind)
        expected = (n_rois,) if columns is None else (n_rois, columns)
        if array.shape != expected:
            raise self.wrong(
                name,
                f"shape {array.shape}; expected {expected}, one row for each of the {n_rois} ROIs in {self._model}",
            )
        return np.asarray(array)

    def frame_times(self, n_frames: int) -> np.ndarray:
        name = TIMES_FILE
        times = np.asarray(self.array(name, ndim=1, kind="f"), dtype=np.float64)
        if len(times) < n_frames:
            raise self.wrong(
                name,
                f"{len(times)} frame times for {n_frames} frames in {self._folder / self._model}; "
                "expected at least as many times as frames",
            )
        if len(times) > n_frames:
            logger.warning("%s: %d times for %d frames; the last %d are left out, as in sessions recorded before times "
                           "were cut to the frames", self._folder / name, len(times), n_frames,
                           len(times) - n_frames)  # fmt: skip
            times = times[:n_frames]
        finite = np.isfinite(times)
        if not finite.all():
            n_odd = np.count_nonzero(~finite)
            raise self.wrong(name, f"{n_odd} of {n_frames} frame times are not finite; expected s")
        if not (np.diff(times) > 0).all():
            where = int(np.flatnonzero(np.diff(times) <= 0)[0])
            raise self.wrong(
                name,
                f"frame {where + 1} at {times[where + 1]} s comes not after frame {where} at {times[where]} s; "
                "frame times must increase",
            )
        return times

    def bad_frames(self, n_frames: int) -> np.ndarray:
        name = BAD_FILE
        if not self.has(name):
            return np.zeros(n_frames, dtype=bool)
        bad = np.asarray(self.array(name, ndim=1, kind="biu"))[:n_frames].astype(bool)
        if len(bad) < n_frames:
            raise self.wrong(name, f"{len(bad)} entries; expected one for each of {n_frames} frames")
        if n_frames - np.count_nonzero(bad) < 2:
            raise self.wrong(name, f"{np.count_nonzero(bad)} of {n_frames} frames are bad; expected some that are not")
        return bad

    def delays(self, n_rois: int) -> np.ndarray:
        """Delay of each ROI: timeshift at its row (1-D) or its pixel (2-D)."""
        name, shift_name = STACK_FILE, SHIFT_FILE
        found = self.per_roi(name, n_rois, "iuf", columns=3)
        if not (np.isfinite(found) & (found == np.floor(found))).all():
            raise self.wrong(name, "positions that are no whole numbers; expected y, x and z in pixels")
        shift = np.asarray(self.array(shift_name, ndim=(1, 2), kind="f"), dtype=np.float64)
        pixel = found[:, : shift.ndim].astype(np.int64).T
        if ((pixel < 0) | (pixel >= np.array(shift.shape)[:, None])).any():
            raise self.wrong(
                name,
                f"y and x from {pixel.min(axis=1).tolist()} to {pixel.max(axis=1).tolist()}; expected pixels of the "
                f"image, whose time shifts in {shift_name} have shape {shift.shape}",
            )
        delay = shift[tuple(pixel)]
        if not np.isfinite(delay).all():
            n_odd = np.count_nonzero(~np.isfinite(delay))
            raise self.wrong(shift_name, f"the delays of {n_odd} of {n_rois} ROIs are not finite; expected s")
        return delay

    def positions(self, name: str, n_rois: int) -> np.ndarray:
        """ML, AP and DV, (n_rois, 3); NaN where it is not known."""
        position = self.per_roi(name, n_rois, "f", columns=3).astype(np.float64)
        if np.isinf(position).any():
            raise self.wrong(
                name, f"{np.count_nonzero(np.isinf(position))} coordinates are infinite; expected um from bregma"
            )
        return position

    def cell_probability(self, n_rois: int) -> np.ndarray:
        name = PROBABILITY_FILE
        if not self.has(name):
            return np.full(n_rois, np.nan)
        return self.per_roi(name, n_rois, "f").astype(np.float64)

    def uuids(self, n_rois: int) -> list[str]:
        name = UUID_FILE
        if not self.has(name):
            return [""] * n_rois
        path = self._files.path(self._collection, name)
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                lines = [row[0].strip() if row else "" for row in csv.reader(stream)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"cannot be read as CSV ({error}); copy the file again", path) from error
        if not lines or lines[0] != "uuids":
            raise DataError(f"header {lines[0] if lines else ''!r}; expected 'uuids'", path)
        ids = lines[1:]
        if len(ids) != n_rois:
            raise DataError(f"{len(ids)} uuids; expected one for each of {n_rois} ROIs", path)
        _check_uuids(ids, path)
        return ids


def _check_uuids(ids: list[str], path: Path) -> None:
    rows: dict[str, int] = {}
    for row, value in enumerate(ids):
        try:
            uuid.UUID(value)
        except ValueError as error:
            raise DataError(f"{value!r} of ROI {row} is no uuid; expected 8-4-4-4-12 hex digits", path) from error
        if rows.setdefault(value, row) != row:
            raise DataError(f"{value} twice, for ROIs {rows[value]} and {row}; expected another for each ROI", path)
