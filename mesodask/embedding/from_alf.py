"""The ALF files of a session -> what its store is made of, everything checked; activity is only looked up."""

import secrets
from typing import Any, Literal

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.errors import DataError, SettingsError
from mesodask.io import alf, behavior, fov, regions
from mesodask.io.session_content import Content, FileRows
from mesodask.io.session_names import SessionInfo
from mesodask.numerics import windows

Signal = Literal["deconvolved", "fluorescence", "corrected"]


def read_session(files: alf.SessionFiles, signal: Signal | None = None, collection: str | None = None) -> Content:
    """Read all of a session but its activity, which is only looked up.

    Parameters
    ----------
    files : SessionFiles
        The session.
    signal, collection
        As in :func:`mesodask.load_or_embed`.

    Raises
    ------
    DataError
        A file is missing or damaged.
    SettingsError
        There is no such signal.
    """
    if signal is not None and signal not in fov.SIGNAL_FILES:
        raise SettingsError(f"signal: {signal!r} is none of {', '.join(fov.SIGNAL_FILES)}")
    names = files.fov_names()
    kind = signal or fov.choose_signal(files, names)
    source = fov.choose_region_source(files, names)
    wanted = [(f"alf/{name}", file) for name in names for file in fov.files_of(kind, source)]
    files.fetch([*wanted, *behavior.files_of(files)])
    fovs = [fov.read_fov(files, name, signal=kind, region_source=source) for name in names]
    _check_frames(fovs, files, kind)
    trials, wheel = behavior.read_trials(files, collection), behavior.read_wheel(files, collection)
    attrs = _attributes(files, fovs, kind, source) | {
        "trials_collection": behavior.trials_collection(files, collection) or "",
        "sources": files.sources(),
    }
    activity = [FileRows.of(f.signal, (1.0, -fov.NEUROPIL_FACTOR)[: len(f.signal)]) for f in fovs]
    return Content(_describe(fovs, attrs), activity, trials, wheel)


def _check_frames(fovs: list[fov.Fov], files: alf.SessionFiles, kind: str) -> None:
    first = fovs[0]
    for other in fovs[1:]:
        if len(other.times) != len(first.times):
            names = [f"alf/{f.name}/{fov.SIGNAL_FILES[kind][0]}" for f in (first, other)]
            raise DataError(
                f"{len(first.times)} frames in {names[0]}, {len(other.times)} in {names[1]}; "
                "all FOVs of a session must have the same number of frames",
                files.info.path,
            )


def _attributes(files: alf.SessionFiles, fovs: list[fov.Fov], kind: str, source: str) -> dict[str, Any]:
    return identity(files.info) | {
        "signal_kind": kind,
        "region_source": source,
        # in a window that touches one, nothing is decoded
        "gaps_s": {f.name: windows.find_gaps(f.times, ~f.bad_frame).tolist() for f in fovs},
    }


def identity(info: SessionInfo) -> dict[str, Any]:
    """Attributes that every session store has: whose it is, and which build of which version."""
    from mesodask import __version__

    return {
        "eid": info.eid,
        "subject": info.subject,
        "lab": info.lab,
        "date": info.date.isoformat(),
        "number": info.number,
        "mesodask_version": __version__,
        "schema_version": schema.SCHEMA_VERSION,
        # changes with every build: what was derived from this store can tell whether it still holds
        "build_id": secrets.token_hex(8),
    }


def _describe(fovs: list[fov.Fov], attrs: dict[str, Any]) -> xr.Dataset:
    """Everything but the signal."""
    region_id = np.concatenate([f.region_id for f in fovs])
    acronym, color = regions.describe_regions(region_id)
    without_signal = {name: v for name, v in schema.SESSION.items() if name != "signal"}
    return schema.conform(
        {
            "frame_times": np.stack([f.times for f in fovs]),
            "bad_frame": np.stack([f.bad_frame for f in fovs]),
            "roi_delay": np.concatenate([f.delay for f in fovs]),
            "fov": [f.name for f in fovs],
            "fov_index": np.repeat(np.arange(len(fovs)), [f.n_rois for f in fovs]),
            "roi_in_fov": np.concatenate([np.arange(f.n_rois) for f in fovs]),
            "xyz": np.concatenate([f.xyz for f in fovs]),
            "axis": ["ML", "AP", "DV"],
            "region_id": region_id,
            "region": acronym,
            "region_color": color,
            "is_neuron": np.concatenate([f.is_neuron for f in fovs]),
            "cell_probability": np.concatenate([f.cell_probability for f in fovs]),
            "uuid": [value for f in fovs for value in f.uuid],
        },
        without_signal,
        attrs,
    )
