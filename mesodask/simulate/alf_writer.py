"""Writes a simulated session as the ALF files of a real one: the same names, dtypes, orders and headers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mesodask.simulate.anatomy import bregma_coordinates, line_delays, region_ids, site
from mesodask.simulate.behavior import ATTRIBUTE_COLUMNS, TABLE_COLUMNS, Behavior
from mesodask.simulate.neurons import FovRows

SIGNAL_FILES = {
    "deconvolved": "mpci.ROIActivityDeconvolved.npy",
    "fluorescence": "mpci.ROIActivityF.npy",
    "neuropil": "mpci.ROINeuropilActivityF.npy",
}
CLUSTER_FILE = "mpciROIs.clusterUIDs.csv"
_FRAME_QC_NAMES = "qc_values\tqc_labels\n0\tok\n1\tPMT off\n2\tgalvos fault\n3\thigh signal\n"
_ROI_TYPE_NAMES = "roi_values\troi_labels\n0\tno cell\n1\tcell\n"


@dataclass(frozen=True)
class FovFrames:
    """The frames of one field of view.

    Attributes
    ----------
    times : ndarray of float64, shape (n_frames,)
        The FOV's own clock, s.
    bad : ndarray of bool, shape (n_frames,)
        Frames that suite2p would leave out.
    """

    times: NDArray[np.float64]
    bad: NDArray[np.bool_]


def write_behavior(folder: Path, behavior: Behavior, wheel: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    """Write trials and wheel: a parquet table, npy files for further attributes, the wheel's two arrays.

    Parameters
    ----------
    folder : pathlib.Path
        The session's ``alf/task_00``; made here.
    behavior : Behavior
        The trials.
    wheel : tuple of ndarray
        Timestamps, s, and position, rad, each of shape (n_samples,).
    """
    folder.mkdir(parents=True, exist_ok=True)
    trials = behavior.trials
    trials[list(TABLE_COLUMNS)].to_parquet(folder / "_ibl_trials.table.pqt")
    for name in ATTRIBUTE_COLUMNS:
        np.save(folder / f"_ibl_trials.{name}.npy", trials[name].to_numpy())
    timestamps, position = wheel
    np.save(folder / "_ibl_wheel.timestamps.npy", timestamps)
    np.save(folder / "_ibl_wheel.position.npy", position)


def write_fov(folder: Path, frames: FovFrames, rows: FovRows, site_index: int, *, histology: bool) -> None:
    """Write everything of a field of view but its activity (see :func:`write_activity`).

    Parameters
    ----------
    folder : pathlib.Path
        The session's ``alf/FOV_XX``; made here.
    frames : FovFrames
        The clock and the bad frames.
    rows : FovRows
        The ROIs, in the order of the files.
    site_index : int
        Where the field of view lies (see :func:`mesodask.simulate.anatomy.site`).
    histology : bool
        Write coordinates and areas as found by histology (no suffix), not as an estimate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mlapdv = bregma_coordinates(rows.stack_pos[:, :2], site(site_index))
    suffix = "" if histology else "_estimate"
    arrays = {
        "mpci.times": frames.times,
        "mpci.badFrames": frames.bad,
        "mpci.mpciFrameQC": np.where(frames.bad, 3, 0).astype(np.uint8),
        "mpciStack.timeshift": line_delays(),
        "mpciROIs.stackPos": rows.stack_pos,
        "mpciROIs.mpciROITypes": rows.is_cell.astype(np.int16),
        "mpciROIs.cellClassifier": rows.cell_probability,
        f"mpciROIs.mlapdv{suffix}": mlapdv,
        f"mpciROIs.brainLocationIds_ccf_2017{suffix}": region_ids(mlapdv, site(site_index)),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "mpciFrameQC.names.tsv").write_text(_FRAME_QC_NAMES)
    (folder / "mpciROITypes.names.tsv").write_text(_ROI_TYPE_NAMES)
    (folder / "mpciROIs.uuids.csv").write_text("".join(f"{line}\n" for line in ("uuids", *rows.roi_uuid)))


def write_cluster_uids(folder: Path, rows: FovRows) -> None:
    """Write ROICaT's table: no header, one line for every ROI, a blank one where it is not tracked.

    Parameters
    ----------
    folder : pathlib.Path
        The FOV's folder in the ROICaT tree; made here.
    rows : FovRows
        The ROIs, in the order of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = np.where(rows.tracked, rows.neurons.cluster_uid, "")
    (folder / CLUSTER_FILE).write_text("".join(f"{line}\n" for line in lines))


def write_activity(
    folder: Path, blocks: Iterator[Mapping[str, NDArray[np.float32]]], n_frames: int, n_rois: int
) -> None:
    """Write activity block by block, as Fortran-ordered ``(n_frames, n_rois)`` arrays of float32.

    In that order the trace of one ROI is contiguous, so a block of ROIs is simply appended and no more than
    one block is ever in memory.

    Parameters
    ----------
    folder : pathlib.Path
        The session's ``alf/FOV_XX``; exists.
    blocks : iterator of dict of str to ndarray
        By name of signal, the traces of the next ROIs, each of shape (rois of the block, n_frames).
    n_frames, n_rois : int
        Shape of the whole.
    """
    header = {"descr": "<f4", "fortran_order": True, "shape": (n_frames, n_rois)}
    started: set[str] = set()
    for block in blocks:
        for signal, traces in block.items():
            path = folder / SIGNAL_FILES[signal]
            with path.open("ab" if signal in started else "wb") as file:
                if signal not in started:
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(traces, dtype="<f4").data)
            started.add(signal)
