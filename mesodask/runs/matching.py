"""The neurons of a run: matched across its sessions, or all of a single one; counted before anything is embedded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mesodask import selection, sessions, tracking
from mesodask.errors import SettingsError, TrackingError, short
from mesodask.io import alf, cache, fov, regions
from mesodask.io.roicat import CLUSTER_FILE
from mesodask.io.session_names import SessionInfo
from mesodask.selection import Narrowing


@dataclass(frozen=True)
class Matching:
    """How the neurons of a run are found: arguments as for :func:`mesodask.neuron_dropping_curves`."""

    infos: list[SessionInfo]
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

    def path(self, info: SessionInfo) -> Path:
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
        narrowed = "" if self.neurons is None else f", narrowed to neurons={short(self.neurons)}"
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
