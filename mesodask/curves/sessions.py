"""Sessions of a subject as a run: which neurons, which trials, and what names it. Nothing is computed or written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

import numpy as np
import xarray as xr

from mesodask import selection, sessions, tracking, trial_masks
from mesodask.curves.engine import Run
from mesodask.errors import DataError, SettingsError, TrackingError
from mesodask.io import alf, cache, fov, regions, stores
from mesodask.io.roicat import CLUSTER_FILE
from mesodask.io.runstore import RunStore
from mesodask.runs.driver import checked_identity
from mesodask.runs.features import SessionSource
from mesodask.selection import Narrowing
from mesodask.settings import NdcSettings, RunSettings, S, short_hash
from mesodask.trial_masks import TrialMask


def chosen_sessions(eids: Sequence[str], one: Any) -> list[alf.SessionInfo]:
    """Look sessions up, in the order of (date, number).

    Raises
    ------
    TrackingError
        There is none, one is given twice, or they are of several subjects.
    """
    if not eids:
        raise TrackingError("no session given; give one eid or more")
    infos = alf.in_date_order([alf.session_info(one, eid) for eid in eids])
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
        alf.session_info(one, eid)


@dataclass(frozen=True)
class Analysis(Generic[S]):
    """What is done with the neurons of a run.

    Attributes
    ----------
    settings : RunSettings
        All that is hashed by its own name.
    trial_mask : array, mapping or None
        See :func:`mesodask.trial_masks.masks`.
    decoder : object or None
        A user's classifier.
    decoded_by : str or None
        Text that identifies it.
    """

    settings: S
    trial_mask: TrialMask = None
    decoder: Any = None
    decoded_by: str | None = None

    @classmethod
    def of(cls, settings: NdcSettings, trial_mask: TrialMask = None, decoder: Any = None) -> "Analysis[NdcSettings]":
        """Check the decoder of neuron-dropping curves, and find what identifies it."""
        return Analysis(settings, trial_mask, decoder, checked_identity(decoder, settings.metric, settings.C))

    def of_sessions(self, eids: Sequence[str]) -> "Analysis[S]":
        """Take the trial masks of some sessions alone."""
        masks = self.trial_mask
        if not isinstance(masks, Mapping):
            return self
        return replace(self, trial_mask={eid: masks[eid] for eid in eids if eid in masks})


@dataclass(frozen=True)
class Matching:
    """How the neurons of a run are found: arguments as for :func:`mesodask.neuron_dropping_curves`."""

    infos: list[alf.SessionInfo]
    one: Any
    folder: Path
    roicat_root: str | Path | None
    tracked: xr.Dataset | None
    neurons_only: bool
    neurons: Narrowing

    def __post_init__(self) -> None:
        if self.tracked is None:
            return
        if self.neurons is not None:
            raise SettingsError("both tracked= and neurons= are given; narrow by track_neurons(..., neurons=...)")
        strangers = set(self.tracked["session"].values.tolist()) ^ {info.eid for info in self.infos}
        if strangers:
            raise TrackingError(f"the tracked neurons and the eids differ in sessions {', '.join(sorted(strangers))}")

    def path(self, info: alf.SessionInfo) -> Path:
        """Where a session's store is, or shall be."""
        return cache.session_store(self.folder, info.eid)

    def tracked_neurons(self) -> xr.Dataset:
        """Find the neurons; the store of a single session must be there.

        Raises
        ------
        TrackingError
            There is none.
        """
        found = self.tracked
        how = {"neurons_only": self.neurons_only, "neurons": self.neurons}
        if found is None and len(self.infos) == 1:
            found = tracking.all_neurons(sessions.open_session(self.path(self.infos[0])), **how)
        elif found is None:
            eids = [info.eid for info in self.infos]
            found = tracking.track_neurons(eids, one=self.one, roicat_root=self.roicat_root, **how)
        self._check(found.sizes["neuron"], _without_uids(found))
        return found

    def count(self) -> int:
        """Count the neurons, of a single session from its files, whether it is embedded or not."""
        if self.tracked is not None or len(self.infos) > 1:
            return self.tracked_neurons().sizes["neuron"]
        info = self.infos[0]
        files = alf.SessionFiles(self.one, info.eid)
        admitted = np.concatenate([fov.read_cells(files, name) for name in files.fov_names()]) | (not self.neurons_only)
        n_rois = {info.eid: len(admitted)}
        masks = selection.masks(self.neurons, n_rois, lambda _: regions.describe_regions(fov.read_region_ids(files))[0])
        count = int((admitted & masks.get(info.eid, True)).sum())
        self._check(count)
        return count

    def _check(self, n_neurons: int, lacking: str = "") -> None:
        narrowed = "" if self.neurons is None else f", narrowed to neurons={_short(self.neurons)}"
        if n_neurons == 0 and len(self.infos) == 1:
            cells = " that is flagged as a cell" if self.neurons_only else ""
            raise TrackingError(f"session {self.infos[0].eid} has no ROI{cells}{narrowed}")
        if n_neurons == 0:
            dates = ", ".join(info.date.isoformat() for info in self.infos)
            raise TrackingError(
                f"the {len(self.infos)} sessions ({dates}){narrowed} share no neuron{lacking}; check roicat_root, or "
                "choose sessions that lie closer together"
            )


def _without_uids(tracked: xr.Dataset) -> str:
    """Say which FOVs have no file of cluster UIDs; empty if all have, or if it is not known."""
    if "untracked_fovs" not in tracked:
        return ""
    fovs = zip(tracked["untracked_fovs"].values, tracked["date"].values, strict=True)
    missing = [f"{names.replace(',', ', ')} of {date}" for names, date in fovs if names]
    return f" (no {CLUSTER_FILE} for {'; '.join(missing)})" if missing else ""


def _short(neurons: Narrowing) -> str:
    text = " ".join(repr(neurons).split())
    return text if len(text) <= 60 else text[:57] + "..."


def session_run(tracked: xr.Dataset, paths: Mapping[str, Path], analysis: Analysis[NdcSettings], folder: Path) -> Run:
    """Describe the run of curves of some embedded sessions: nothing is computed or written.

    Parameters
    ----------
    tracked : xarray.Dataset
        Its neurons.
    paths : mapping of str to pathlib.Path
        Session stores by eid.
    analysis : Analysis
        What is done with them; its trial masks name none but these sessions.
    folder : pathlib.Path
        Where its store goes.
    """
    sources, prefix = sources_and_prefix(tracked, paths, analysis)
    store = RunStore(folder / f"{prefix}.zarr")
    return Run(store, tracked, sources, analysis.settings, analysis.decoder, analysis.decoded_by)


def sources_and_prefix(
    tracked: xr.Dataset, paths: Mapping[str, Path], analysis: Analysis[Any]
) -> tuple[tuple[SessionSource, ...], str]:
    """Tell where the features of a run come from, and what names it; arguments as for :func:`session_run`."""
    eids = tracked["session"].values.tolist()
    masks = trial_masks.masks(analysis.trial_mask, eids, lambda eid: _count_trials(paths[eid]))
    sources = tuple(
        SessionSource(eid, paths[eid], rows, masks.get(eid))
        for eid, rows in zip(eids, tracked["roi"].values, strict=True)
    )
    settings, decoded_by = analysis.settings, analysis.decoded_by
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
