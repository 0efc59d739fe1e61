"""Cluster UIDs of ROICaT: which neuron of the subject every ROI of a session is."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mesodask.errors import DataError
from mesodask.io.alf import SessionFiles
from mesodask.io.folders import expanded
from mesodask.io.fov import CELL_FILE, read_cells

logger = logging.getLogger(__name__)

CLUSTER_FILE = "mpciROIs.clusterUIDs.csv"
DEFAULT_ROOT = Path("~/chronic_csv")
TREE = "ROICaT"


@dataclass(frozen=True)
class SessionUids:
    """The cluster UIDs of a session, in the order of the rows of its session store.

    Attributes
    ----------
    uids : numpy.ndarray, (n_rois,) object
        "" for ROIs that are not tracked, and for all ROIs of a FOV without a file.
    is_neuron : numpy.ndarray, (n_rois,) bool
        Which ROIs are cells.
    untracked_fovs : tuple of str
        FOVs without a file.
    """

    uids: np.ndarray
    is_neuron: np.ndarray
    untracked_fovs: tuple[str, ...]


def roicat_folder(roicat_root: str | Path | None = None) -> Path:
    """Find the folder that holds the ROICaT tree; the default one need not exist.

    Parameters
    ----------
    roicat_root : path-like, optional
        ``~/chronic_csv`` by default.

    Raises
    ------
    DataError
        The folder is given and does not exist, or holds no folder ``ROICaT``.
    """
    if roicat_root is None:
        return expanded(DEFAULT_ROOT)
    root = expanded(roicat_root)
    if not root.is_dir():
        raise DataError("no such folder; roicat_root is the folder that holds the ROICaT tree", root)
    if not (root / TREE).is_dir():
        hint = f"; give {root.parent}" if root.name == TREE else ""
        raise DataError(f"no folder {TREE} in it; roicat_root holds {TREE}/<subject>/<date>/<number>/alf{hint}", root)
    return root


def read_session_uids(files: SessionFiles, roicat_root: str | Path | None = None) -> SessionUids:
    """Read the cluster UID of every ROI of a session.

    Each FOV's file is looked for first in the ROICaT tree,
    ``<roicat_root>/ROICaT/<subject>/<date>/<number>/alf/FOV_XX``, then in the session's own FOV folder. It has no
    header and one row for every ROI; a blank row is an ROI that is not tracked. A log line names FOVs without a file.

    Parameters
    ----------
    files : SessionFiles
        The session.
    roicat_root : path-like, optional
        ``~/chronic_csv`` by default.

    Raises
    ------
    DataError
        A file has another number of rows than the FOV has ROIs, or see :func:`roicat_folder`.
    """
    root = roicat_folder(roicat_root)
    uids: list[str] = []
    cells: list[np.ndarray] = []
    untracked: dict[str, int] = {}
    files.fetch((f"alf/{fov}", CELL_FILE) for fov in files.fov_names())
    for fov in files.fov_names():
        is_neuron = read_cells(files, fov)
        path = _find(files, fov, root)
        if path is None:
            untracked[fov] = len(is_neuron)
            uids += [""] * len(is_neuron)
        else:
            uids += read_uids(path, len(is_neuron))
        cells.append(is_neuron)
    if untracked:
        logger.warning("%s: no %s for %s, so %d of %d ROIs count as untracked",
                       files.info.relative, CLUSTER_FILE, ", ".join(untracked), sum(untracked.values()),
                       len(uids))  # fmt: skip
    return SessionUids(np.array(uids, dtype=object), np.concatenate(cells), tuple(untracked))


def _find(files: SessionFiles, fov: str, root: Path) -> Path | None:
    in_tree = root / TREE / files.info.relative / "alf" / fov / CLUSTER_FILE
    if in_tree.is_file():
        return in_tree
    if files.has(f"alf/{fov}", CLUSTER_FILE):
        return files.path(f"alf/{fov}", CLUSTER_FILE)
    # ROICaT runs long after the ONE tables were made: they need not know its files
    beside = files.info.path / "alf" / fov / CLUSTER_FILE
    return beside if beside.is_file() else None


def read_uids(path: Path, n_rois: int) -> list[str]:
    """Read one cluster-UID file: one UID a row, no header, a blank row for an ROI that is not tracked.

    Raises
    ------
    DataError
        The file is no text, or has another number of rows than ``n_rois``.
    """
    try:
        # a byte-order mark, as spreadsheets write it, is no part of the first UID
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as text ({error})", path) from error
    if lines[-1] == "":  # the last line's own line break
        lines.pop()
    uids = [line.strip().strip('"').lower() for line in lines]
    if len(uids) != n_rois:
        raise DataError(f"{len(uids)} rows for {n_rois} ROIs; expected one row for each ROI, cells or not", path)
    return uids
