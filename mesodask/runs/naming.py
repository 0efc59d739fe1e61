"""What names a run: its sessions' features, and a hash of all that changes a score. Nothing is computed or written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from mesodask import sessions, trial_masks
from mesodask.checked import short_hash
from mesodask.errors import DataError
from mesodask.io import stores
from mesodask.runs.decoding import Decoding
from mesodask.runs.features import SessionSource
from mesodask.settings import RunSettings


def sources_and_prefix(
    tracked: xr.Dataset, paths: Mapping[str, Path], decoding: Decoding[Any]
) -> tuple[tuple[SessionSource, ...], str]:
    """Tell where the features of a run come from, and what names it.

    Parameters
    ----------
    tracked : xarray.Dataset
        Its neurons.
    paths : mapping of str to pathlib.Path
        Session stores by eid.
    decoding : Decoding
        What is done with them; its trial masks name none but these sessions.
    """
    eids = tracked["session"].values.tolist()
    masks = trial_masks.masks(decoding.trial_mask, eids, lambda eid: _count_trials(paths[eid]))
    sources = tuple(
        SessionSource(eid, paths[eid], rows, masks.get(eid))
        for eid, rows in zip(eids, tracked["roi"].values, strict=True)
    )
    settings, decoded_by = decoding.settings, decoding.decoded_by
    prefix = run_prefix(tracked, [paths[eid] for eid in eids], settings, decoded_by, trial_masks.identity(masks))
    return sources, prefix


def _count_trials(path: Path) -> int | None:
    try:
        return sessions.trials(sessions.open_session(path)).sizes["trial"]
    except DataError:  # it is skipped, whatever its mask
        return None


def run_prefix(
    tracked: xr.Dataset,
    session_paths: Sequence[Path],
    settings: RunSettings,
    decoder: str | None = None,
    trial_mask: Mapping[str, str] | None = None,
) -> str:
    """Name a run: subject, first and last date, number of sessions, and a hash of all that changes a score.

    `decoder` is the identity of a user's decoder, and `trial_mask` holds fingerprints of masks; where there is none,
    it leaves no mark in the hash.
    """
    content = {
        "eids": tracked["session"].values.tolist(),
        "uids": tracked["cluster_uid"].values.tolist(),
        "rows": tracked["roi"].values.tolist(),
        "signals": [stores.attributes(path)["signal_kind"] for path in session_paths],
        "settings": settings.score_identity(),
    }
    if decoder is not None:
        content["decoder"] = decoder
    if trial_mask:
        content["trial_mask"] = dict(trial_mask)
    dates = tracked["date"].values
    return f"{tracked.attrs['subject']}_{dates[0]}_{dates[-1]}_{len(dates)}_{short_hash(content)}"
