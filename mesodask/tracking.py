"""The same neurons across sessions, matched by their ROICaT cluster UIDs alone."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.errors import TrackingError
from mesodask.io import alf, roicat

logger = logging.getLogger(__name__)


def track_neurons(
    eids: Sequence[str],
    *,
    one: Any = None,
    roicat_root: str | Path | None = None,
    neurons_only: bool = True,
) -> xr.Dataset:
    """Find the neurons that were recorded in every one of several sessions.

    Parameters
    ----------
    eids : sequence of str
        Two sessions or more, of one subject.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    neurons_only : bool
        Leave out, before anything else, the ROIs that are not flagged as cells.

    Returns
    -------
    xarray.Dataset
        :data:`mesodask.schema.TRACKED`: ``roi(session, neuron)``, rows of each session's store (all ROIs counted);
        sessions in the order of (date, number), UIDs in lexicographic order. It has no neuron if the sessions share
        none.

    Raises
    ------
    TrackingError
        Fewer than two sessions, a session given twice, or sessions of several subjects.
    SessionNotFoundError, DataError
        See :func:`mesodask.io.roicat.read_session_uids`.
    """
    one = alf.connect(one)
    infos = alf.in_date_order([alf.session_info(one, eid) for eid in eids])
    check_sessions(infos)
    rows = {
        info.eid: tracked_rows(*roicat.read_session_uids(alf.SessionFiles(one, info.eid), roicat_root), neurons_only)
        for info in infos
    }
    shared = sorted(set.intersection(*(set(found) for found in rows.values())))
    return schema.conform(
        {
            "roi": np.array([[rows[i.eid][uid] for uid in shared] for i in infos], dtype=np.int64).reshape(
                len(infos), len(shared)
            ),
            "session": [i.eid for i in infos],
            "date": [i.date.isoformat() for i in infos],
            "cluster_uid": shared,
        },
        schema.TRACKED,
        {"subject": infos[0].subject, "neurons_only": neurons_only},
    )


def check_sessions(infos: Sequence[alf.SessionInfo]) -> None:
    """Raise :class:`TrackingError` unless these are two or more different sessions of one subject."""
    if len(infos) < 2:
        raise TrackingError(f"{len(infos)} session given; neurons can be tracked across two sessions or more")
    repeated = {i.eid for i in infos if sum(other.eid == i.eid for other in infos) > 1}
    if repeated:
        raise TrackingError(f"sessions given more than once: {', '.join(sorted(repeated))}")
    subjects = sorted({i.subject for i in infos})
    if len(subjects) > 1:
        raise TrackingError(f"sessions of several subjects ({', '.join(subjects)}); neurons are those of one")


def tracked_rows(uids: np.ndarray, is_neuron: np.ndarray, neurons_only: bool = True) -> dict[str, int]:
    """Map each cluster UID of a session to its row in the session store.

    Parameters
    ----------
    uids : numpy.ndarray, (n_rois,) object
        "" for ROIs that are not tracked.
    is_neuron : numpy.ndarray, (n_rois,) bool
        Which ROIs are cells.
    neurons_only : bool
        Leave the others out before anything else.

    Returns
    -------
    dict of str to int
        A UID that occurs twice keeps its first row; a log line counts them.

    Examples
    --------
    >>> tracked_rows(np.array(["b", "", "a"], dtype=object), np.array([True, True, False]))
    {'b': 0}
    """
    admitted = (uids != "") & (is_neuron | (not neurons_only))
    rows: dict[str, int] = {}
    for row in np.flatnonzero(admitted):
        rows.setdefault(str(uids[row]), int(row))
    repeated = int(admitted.sum()) - len(rows)
    if repeated:
        logger.warning("%d ROIs carry a cluster UID that an earlier ROI of the session has; the first one is taken",
                       repeated)  # fmt: skip
    return rows


def all_neurons(session: xr.Dataset, *, neurons_only: bool = True) -> xr.Dataset:
    """Give a single session's neurons the form of tracked neurons, so that it can be decoded alone.

    Parameters
    ----------
    session : xarray.Dataset
        Session store.
    neurons_only : bool
        Leave out the ROIs that are not flagged as cells.

    Returns
    -------
    xarray.Dataset
        As :func:`track_neurons`, with one session. ``cluster_uid`` is ``FOV/row``, zero-padded, which no other session
        shares.
    """
    rows = np.flatnonzero(session["is_neuron"].values | (not neurons_only))
    names = session["fov"].values[session["fov_index"].values[rows]]
    labels = [f"{name}/{row:06d}" for name, row in zip(names, session["roi_in_fov"].values[rows], strict=True)]
    order = np.argsort(np.array(labels, dtype=object))
    return schema.conform(
        {
            "roi": rows[order][None],
            "session": [session.attrs["eid"]],
            "date": [session.attrs["date"]],
            "cluster_uid": [labels[i] for i in order],
        },
        schema.TRACKED,
        {"subject": session.attrs["subject"], "neurons_only": neurons_only},
    )
