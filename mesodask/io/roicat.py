"""Cluster UIDs of ROICaT: which neuron of the subject every ROI of a session is."""

import logging
from pathlib import Path

import numpy as np

from mesodask.errors import DataError
from mesodask.io.alf import SessionFiles
from mesodask.io.fov import read_cells

logger = logging.getLogger(__name__)

CLUSTER_FILE = "mpciROIs.clusterUIDs.csv"
DEFAULT_ROOT = Path("~/chronic_csv")


def read_session_uids(files: SessionFiles, roicat_root: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read the cluster UID of every ROI of a session.

    Each FOV's file is looked for first in the ROICaT tree,
    ``<roicat_root>/ROICaT/<subject>/<date>/<number>/alf/FOV_XX``, then in the session's own FOV folder. It has no
    header and one row for every ROI; a blank row is an ROI that is not tracked.

    Parameters
    ----------
    files : SessionFiles
        The session.
    roicat_root : path-like, optional
        ``~/chronic_csv`` by default.

    Returns
    -------
    uids : numpy.ndarray, (n_rois,) object
        UIDs in the order of the rows of the session store; "" for ROIs that are not tracked, and for all ROIs of a
        FOV without a file (a log line names it).
    is_neuron : numpy.ndarray, (n_rois,) bool
        Which ROIs are cells.

    Raises
    ------
    DataError
        A file has another number of rows than the FOV has ROIs, or ``roicat_root`` is given and is no folder.
    """
    root = Path(roicat_root if roicat_root is not None else DEFAULT_ROOT).expanduser()
    if roicat_root is not None and not root.is_dir():
        raise DataError("no such folder; roicat_root is the folder that holds the ROICaT tree", root)
    uids: list[str] = []
    cells: list[np.ndarray] = []
    for fov in files.fov_names():
        is_neuron = read_cells(files, fov)
        path = _find(files, fov, root)
        if path is None:
            logger.warning("%s %s: no %s, so its %d ROIs count as untracked",
                           files.info.relative, fov, CLUSTER_FILE, len(is_neuron))  # fmt: skip
            uids += [""] * len(is_neuron)
        else:
            uids += read_uids(path, len(is_neuron))
        cells.append(is_neuron)
    return np.array(uids, dtype=object), np.concatenate(cells)


def _find(files: SessionFiles, fov: str, root: Path) -> Path | None:
    info = files.info
    in_tree = root / "ROICaT" / info.relative / "alf" / fov / CLUSTER_FILE
    if in_tree.is_file():
        return in_tree
    return files.path(f"alf/{fov}", CLUSTER_FILE) if files.has(f"alf/{fov}", CLUSTER_FILE) else None


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
