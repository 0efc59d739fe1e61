"""The sessions of a run: looked up, checked, and embedded where they are not yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesodask import sessions, tracking
from mesodask.errors import MesodaskError, SessionsFailedError, SettingsError, TrackingError
from mesodask.io import alf_sessions, cache
from mesodask.io.session_names import SessionInfo, in_date_order
from mesodask.runs.driver import Progress
from mesodask.trial_masks import TrialMask

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient


def chosen_sessions(eids: Sequence[str], one: Any) -> list[SessionInfo]:
    """Look sessions up, in the order of (date, number).

    Raises
    ------
    TrackingError
        There is none, one is given twice, or they are of several subjects.
    """
    if not eids:
        raise TrackingError("no session given; give one eid or more")
    infos = in_date_order([alf_sessions.session_info(one, eid) for eid in eids])
    if len(infos) > 1:
        tracking.check_sessions(infos)
    return infos


def check_masks(trial_mask: TrialMask, one: Any, of_what: str) -> None:
    """Check that masks of sessions that are yet to be chosen are a mapping, and name sessions that there are.

    Raises
    ------
    SettingsError
        There is one mask for all.
    SessionNotFoundError
        A mask is of no session.
    """
    if trial_mask is None:
        return
    if not isinstance(trial_mask, Mapping):
        raise SettingsError(f"trial_mask: one mask for the sessions of {of_what}; give a mapping {{eid: mask}}")
    for eid in trial_mask:  # of sessions that are not chosen, too
        alf_sessions.session_info(one, eid)


def embed_all(
    eids: Sequence[str], one: Any, folder: Path, client: "AnyClient | None", report: Progress
) -> dict[str, Path]:
    """Build the session stores that are not there yet, and give all paths, in the order of (date, number).

    Raises
    ------
    SessionsFailedError
        Some of several cannot be built or opened.
    """
    infos = chosen_sessions(eids, one)
    paths = {info.eid: cache.session_store(folder, info.eid) for info in infos}
    sessions.load_or_embed(
        [info.eid for info in infos],
        one=one,
        cache_dir=folder,
        rastermap=False,  # the raster's order is no part of decoding
        client=client,
        progress=lambda done, total: report("sessions", done, total),
    )
    return paths


def embed_each(
    eids: Sequence[str], one: Any, folder: Path, client: "AnyClient | None", report: Progress
) -> tuple[dict[str, Path], dict[str, MesodaskError]]:
    """Build session stores as :func:`embed_all`: paths of those that are there, and what is wrong with the others."""
    try:
        return embed_all(eids, one, folder, client, report), {}
    except SessionsFailedError as error:
        built = [info.eid for info in chosen_sessions(eids, one) if info.eid not in error.errors]
        return {eid: cache.session_store(folder, eid) for eid in built}, error.errors
