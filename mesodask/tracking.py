"""The same neurons across sessions, matched by their ROICaT cluster UIDs alone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mesodask import schema, selection
from mesodask.errors import DataError, TrackingError
from mesodask.io import alf, alf_sessions, fov, regions, roicat, stores
from mesodask.io.session_names import SessionInfo, in_date_order

logger = logging.getLogger(__name__)

N_LISTED = 5  # sessions that a log line names


@dataclass(frozen=True)
class SessionNeurons:
    """The tracked neurons of one session.

    Attributes
    ----------
    info : SessionInfo
        The session.
    rows : dict of str to int
        Row in the session store of each cluster UID.
    repeated : int
        ROIs whose UID an earlier ROI of the session has.
    untracked_fovs : tuple of str
        FOVs without a cluster-UID file.
    """

    info: SessionInfo
    rows: Mapping[str, int]
    repeated: int
    untracked_fovs: tuple[str, ...]


def track_neurons(
    eids: Sequence[str],
    *,
    one: Any = None,
    roicat_root: str | Path | None = None,
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
) -> xr.Dataset:
    """Find the neurons that were recorded in every one of several sessions.

    ROIs that are no cells are left out first (`neurons_only`), then a cluster UID means the first ROI of the session
    that carries it, then `neurons` narrows. So narrowing takes neurons away and changes nothing else.

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
    neurons : str, sequence of str, or mapping, optional
        Region acronyms (they narrow every session), or a mapping of eid to a mask over the session's ROIs, rows of
        its store, or acronyms: see :func:`mesodask.selection.masks`. A neuron is kept if its ROI passes in every
        session that is narrowed.

    Returns
    -------
    xarray.Dataset
        :data:`mesodask.schema.TRACKED`: ``roi(session, neuron)``, rows of each session's store (all ROIs counted);
        sessions in the order of (date, number), UIDs in lexicographic order. It has no neuron if the sessions share
        none. ``repeated(session)`` counts ROIs with a UID that an earlier one has, ``untracked_fovs(session)`` names
        FOVs without a cluster-UID file. Attributes say how they were narrowed: ``neurons_only``, and ``neurons`` as
        :func:`mesodask.selection.in_words`.

    Raises
    ------
    TrackingError
        Fewer than two sessions, a session given twice, or sessions of several subjects.
    SettingsError
        `neurons` does not fit the sessions.
    SessionNotFoundError, DataError
        See :func:`mesodask.io.roicat.read_session_uids`.
    """
    one = alf.connect(one)
    infos = in_date_order([alf_sessions.session_info(one, eid) for eid in eids])
    check_sessions(infos)
    found = read_neurons(
        [alf.SessionFiles(one, info.eid) for info in infos],
        roicat_root=roicat_root,
        neurons_only=neurons_only,
        neurons=neurons,
    )
    return match(found, {"neurons_only": neurons_only, "neurons": selection.in_words(neurons)})


def check_sessions(infos: Sequence[SessionInfo]) -> None:
    """Raise :class:`TrackingError` unless these are two or more different sessions of one subject."""
    if len(infos) < 2:
        raise TrackingError(f"{len(infos)} session given; neurons can be tracked across two sessions or more")
    repeated = {i.eid for i in infos if sum(other.eid == i.eid for other in infos) > 1}
    if repeated:
        raise TrackingError(f"sessions given more than once: {', '.join(sorted(repeated))}")
    subjects = sorted({i.subject for i in infos})
    if len(subjects) > 1:
        raise TrackingError(f"sessions of several subjects ({', '.join(subjects)}); neurons are those of one")


def read_neurons(
    sessions: Sequence[alf.SessionFiles],
    *,
    roicat_root: str | Path | None = None,
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
) -> list[SessionNeurons]:
    """Read the tracked neurons of sessions; arguments as for :func:`track_neurons`."""
    by_eid = {files.info.eid: files for files in sessions}
    uids = {eid: roicat.read_session_uids(files, roicat_root) for eid, files in by_eid.items()}

    def acronyms(eid: str) -> np.ndarray:
        return regions.describe_regions(fov.read_region_ids(by_eid[eid]))[0]

    masks = selection.masks(neurons, {eid: len(found.uids) for eid, found in uids.items()}, acronyms)
    found = []
    for eid, files in by_eid.items():
        rows, repeated = tracked_rows(uids[eid].uids, uids[eid].is_neuron, neurons_only)
        if repeated:
            logger.warning("%s: %d ROIs carry a cluster UID that an earlier ROI of the session has; the first one "
                           "is taken", files.info.relative, repeated)  # fmt: skip
        if eid in masks:
            rows = {uid: row for uid, row in rows.items() if masks[eid][row]}
        found.append(SessionNeurons(files.info, rows, repeated, uids[eid].untracked_fovs))
    return found


def tracked_rows(uids: np.ndarray, is_neuron: np.ndarray, neurons_only: bool = True) -> tuple[dict[str, int], int]:
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
    rows : dict of str to int
        A UID that occurs twice keeps its first row.
    repeated : int
        ROIs left out for that.

    Examples
    --------
    >>> tracked_rows(np.array(["b", "", "a", "b"], dtype=object), np.array([True, True, False, True]))
    ({'b': 0}, 1)
    """
    admitted = np.flatnonzero((uids != "") & (is_neuron | (not neurons_only)))
    rows: dict[str, int] = {}
    for uid, row in zip(uids[admitted].tolist(), admitted.tolist(), strict=True):
        rows.setdefault(uid, row)
    return rows, len(admitted) - len(rows)


def match(sessions: Sequence[SessionNeurons], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Give the neurons that all sessions have, as :func:`track_neurons` does."""
    shared = sorted(set.intersection(*(set(session.rows) for session in sessions)))
    roi = np.array([[session.rows[uid] for uid in shared] for session in sessions], dtype=np.int64)
    return schema.conform(
        {"roi": roi.reshape(len(sessions), len(shared)), "cluster_uid": shared, **_about(sessions)},
        schema.TRACKED,
        {"subject": sessions[0].info.subject, **attrs},
    )


def _about(sessions: Sequence[SessionNeurons]) -> dict[str, list]:
    return session_names([session.info for session in sessions]) | {
        "repeated": [session.repeated for session in sessions],
        "untracked_fovs": [",".join(session.untracked_fovs) for session in sessions],
    }


def session_names(infos: Sequence[SessionInfo]) -> dict[str, list]:
    """Give the coordinates that name sessions: ``session``, ``date`` and ``number``."""
    return {
        "session": [info.eid for info in infos],
        "date": [info.date.isoformat() for info in infos],
        "number": [info.number for info in infos],
    }


def session_labels(sessions: xr.Dataset) -> list[str]:
    """Name sessions by their ``date``, and with their ``number`` where a day has several.

    Where no numbers are known, their place among the sessions stands for them. Without a date there is no name.

    Examples
    --------
    >>> sessions = xr.Dataset({"date": ("session", ["d1", "d2", "d2"]), "number": ("session", [1, 1, 2])})
    >>> session_labels(sessions), session_labels(sessions.drop_vars("number"))
    (['d1', 'd2/001', 'd2/002'], ['d1', 'd2 (2)', 'd2 (3)'])
    """
    dates = sessions["date"].values.tolist()
    if "number" in sessions:
        marks = [f"/{number:03d}" for number in sessions["number"].values.tolist()]
    else:
        marks = [f" ({place})" for place in range(1, len(dates) + 1)]
    several = {date for date in dates if date and dates.count(date) > 1}
    return [f"{date}{mark}" if date in several else str(date) for date, mark in zip(dates, marks, strict=True)]


def all_neurons(session: xr.Dataset, *, neurons_only: bool = True, neurons: selection.Narrowing = None) -> xr.Dataset:
    """Give a single session's neurons the form of tracked neurons, so that it can be decoded alone.

    Parameters
    ----------
    session : xarray.Dataset
        Session store.
    neurons_only : bool
        Leave out, before anything else, the ROIs that are not flagged as cells.
    neurons : array, str, sequence of str, or mapping, optional
        Narrows to a mask over all ROIs, rows of the store, or region acronyms: see
        :func:`mesodask.selection.masks`.

    Returns
    -------
    xarray.Dataset
        As :func:`track_neurons`, with one session. ``cluster_uid`` is ``FOV/row``, zero-padded, which no other session
        shares.

    Raises
    ------
    SettingsError
        `neurons` does not fit the session.
    """
    eid = session.attrs["eid"]
    wanted = ("is_neuron", "region", "fov_index", "roi_in_fov")
    with stores.reading(Path(session.encoding["source"]), *wanted):
        of_rois = {name: session[name].values for name in wanted}
    admitted = of_rois["is_neuron"] | (not neurons_only)
    masks = selection.masks(neurons, {eid: len(admitted)}, lambda _: of_rois["region"])
    rows = np.flatnonzero(admitted & masks.get(eid, True))
    names = session["fov"].values[of_rois["fov_index"][rows]]
    labels = [f"{name}/{row:06d}" for name, row in zip(names, of_rois["roi_in_fov"][rows], strict=True)]
    order = np.argsort(np.array(labels, dtype=object))
    return schema.conform(
        {
            "roi": rows[order][None],
            "session": [eid],
            "date": [session.attrs["date"]],
            "cluster_uid": [labels[i] for i in order],
        },
        schema.TRACKED,
        {
            "subject": session.attrs["subject"],
            "neurons_only": neurons_only,
            "neurons": selection.in_words(neurons),
        },
    )


def find_sessions(subject: str | Sequence[str], one: Any) -> list[alf.SessionFiles]:
    """Find the sessions that a person means by a subject or by eids, in the order of (date, number).

    Parameters
    ----------
    subject : str or sequence of str
        A subject, for all its sessions in which ROIs were found (a log line names the others); some of its days, by
        :class:`mesodask.io.session_names.SubjectDays`; or eids.
    one : One
        See :func:`mesodask.io.alf.connect`.

    Raises
    ------
    TrackingError
        As :func:`check_sessions`.
    DataError
        The subject has no session with ROIs.
    """
    if not isinstance(subject, str):
        infos = in_date_order([alf_sessions.session_info(one, eid) for eid in subject])
        check_sessions(infos)
        return [alf.SessionFiles(one, info.eid) for info in infos]
    sessions = [alf.SessionFiles(one, info.eid) for info in alf_sessions.find_sessions(one, subject=subject)]
    imaged = [files for files in sessions if fov.has_rois(files)]
    left_out = [files.info for files in sessions if files not in imaged]
    if not imaged:
        raise DataError(f"none of the {len(sessions)} sessions of {subject} has ROIs in alf/FOV_XX")
    report_left_out(subject, dict.fromkeys(left_out, "no ROIs in alf/FOV_XX"))
    check_sessions([files.info for files in imaged])
    return imaged


def report_left_out(subject: str, reasons: Mapping[SessionInfo, str]) -> None:
    """Write a log line for every reason for which sessions are left out."""
    for reason in dict.fromkeys(reasons.values()):
        names = [f"{info.date.isoformat()}/{info.number:03d}" for info, why in reasons.items() if why == reason]
        more = f" and {len(names) - N_LISTED} more" if len(names) > N_LISTED else ""
        logger.warning("%s: left out %s%s: %s", subject, ", ".join(names[:N_LISTED]), more, reason)


def tracking_table(
    subject: str | Sequence[str],
    *,
    one: Any = None,
    roicat_root: str | Path | None = None,
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
) -> xr.Dataset:
    """Tell which days hold together: who was found when, and how many neurons each two sessions share.

    Parameters
    ----------
    subject : str or sequence of str
        A subject, for all its sessions in which ROIs were found, or eids.
    one, roicat_root, neurons_only, neurons
        As for :func:`track_neurons`. Narrowing here is a matter of each session for itself: a neuron that lies at
        the border of a region is present on the days on which it was found inside.

    Returns
    -------
    xarray.Dataset
        :data:`mesodask.schema.TRACKING_TABLE`: ``presence(session, neuron)``, ``shared(session, other)``,
        ``gap_days(session, other)``, and over all pairs of sessions that lie ``gap`` days apart ``gap_pairs``,
        ``gap_mean``, ``gap_min`` and ``gap_max`` of the neurons they share. :func:`mesodask.plot_tracking` draws it.

    Raises
    ------
    TrackingError
        Fewer than two sessions, a session given twice, or sessions of several subjects.
    SettingsError, SessionNotFoundError, DataError
        As for :func:`track_neurons`.
    """
    found = read_neurons(
        find_sessions(subject, alf.connect(one)),
        roicat_root=roicat_root,
        neurons_only=neurons_only,
        neurons=neurons,
    )
    uids, present = presence_matrix(found)
    shared = shared_by_pair(present)
    days = np.array([session.info.date.toordinal() for session in found])
    gap_days = np.abs(days[:, None] - days[None, :])
    return schema.conform(
        {
            "cluster_uid": uids,
            "presence": present,
            "n_neurons": np.diag(shared),
            "shared": shared,
            "other": [session.info.eid for session in found],
            "gap_days": gap_days,
            **_by_gap(shared, gap_days),
            **_about(found),
        },
        schema.TRACKING_TABLE,
        {"subject": found[0].info.subject, "neurons_only": neurons_only},
    )


def presence_matrix(sessions: Sequence[SessionNeurons]) -> tuple[list[str], np.ndarray]:
    """Put sessions side by side: UIDs in lexicographic order, and presence (n_sessions, n_uids) bool."""
    uids = sorted(set().union(*(session.rows for session in sessions)))
    column = {uid: j for j, uid in enumerate(uids)}
    present = np.zeros((len(sessions), len(uids)), dtype=bool)
    for row, session in zip(present, sessions, strict=True):
        row[[column[uid] for uid in session.rows]] = True
    return uids, present


def shared_by_pair(present: np.ndarray) -> np.ndarray:
    """Count the neurons that each two sessions share, (n_sessions, n_sessions) int64, from their presence.

    Examples
    --------
    >>> shared_by_pair(np.array([[True, True, False], [True, False, False]])).tolist()
    [[2, 1], [1, 1]]
    """
    counts = present.astype(np.float64)
    return np.rint(counts @ counts.T).astype(np.int64)


def _by_gap(shared: np.ndarray, gap_days: np.ndarray) -> dict[str, Any]:
    pairs = np.triu_indices(len(shared), k=1)
    counts, gaps = shared[pairs], gap_days[pairs]
    gap = np.unique(gaps)
    groups = [counts[gaps == days] for days in gap]
    return {
        "gap": gap,
        "gap_pairs": [len(group) for group in groups],
        "gap_mean": [group.mean() for group in groups],
        "gap_min": [group.min() for group in groups],
        "gap_max": [group.max() for group in groups],
    }
