"""ALF files -> session store: everything of a session, written under a temporary name and renamed when it is whole."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import xarray as xr
import zarr

from mesodask import schema
from mesodask.errors import DataError, SettingsError
from mesodask.io import alf, behavior, fov, regions, stores
from mesodask.numerics import windows

Signal = Literal["deconvolved", "fluorescence", "corrected"]
# a block of rows is read from one memory map and becomes whole chunks; see benchmarks for the choice
ROI_CHUNK, TIME_CHUNK = 64, 8192
WHEEL_CHUNK = 1 << 16


def embed(
    files: alf.SessionFiles,
    path: Path,
    *,
    signal: Signal | None = None,
    collection: str | None = None,
    replace: bool = True,
) -> None:
    """Build a session store from ALF files; it appears whole or not at all.

    Parameters
    ----------
    files : SessionFiles
        The session.
    path : pathlib.Path
        Where the store shall be.
    signal, collection
        As in :func:`load_or_embed`.
    replace : bool
        Whether a store that another process has finished meanwhile is replaced.

    Raises
    ------
    DataError
        A file is missing or damaged; nothing is written.
    """
    if signal is not None and signal not in fov.SIGNAL_FILES:
        raise SettingsError(f"signal: {signal!r} is none of {', '.join(fov.SIGNAL_FILES)}")
    names = files.fov_names()
    kind = signal or fov.choose_signal(files, names)
    source = fov.choose_region_source(files, names)
    fovs = [fov.read_fov(files, name, signal=kind, region_source=source) for name in names]
    _check_frames(fovs, files, kind)
    trials, wheel = behavior.read_trials(files, collection), behavior.read_wheel(files, collection)
    attrs = _attributes(files, fovs, kind, source) | {
        "trials_collection": behavior.trials_collection(files, collection) or "",
        "sources": files.sources(),
    }
    write_store(path, _describe(fovs, attrs), fovs, trials, wheel, replace)


class Rows(Protocol):
    """Some rows of a session's activity, in the order of the store."""

    @property
    def n_rois(self) -> int:
        """How many rows there are."""
        ...

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Read a block of them, (stop - start, n_frames) float32."""
        ...


def write_store(
    path: Path,
    described: xr.Dataset,
    activity: Sequence[Rows],
    trials: Mapping[str, np.ndarray],
    wheel: Mapping[str, np.ndarray],
    replace: bool,
) -> None:
    """Write a session store under a temporary name, and give it its own when it is whole.

    Parameters
    ----------
    path : pathlib.Path
        Where the store shall be.
    described : xarray.Dataset
        Everything of :data:`mesodask.schema.SESSION` but the signal, and the attributes.
    activity : sequence of Rows
        The signal, one after the other.
    trials, wheel : mapping of str to numpy.ndarray
        Columns of the groups; none if there are no trials, or no wheel.
    replace : bool
        Whether a store that another process has finished meanwhile is replaced.
    """
    stores.remove_partial(path.parent, path.name)
    with stores.building(path, replace=replace) as temporary:
        stores.write_group(temporary, "", described)
        _write_signal(temporary, activity, described.sizes["time"])
        if trials:
            stores.write_group(temporary, "trials", xr.Dataset({n: ("trial", v) for n, v in trials.items()}))
        if wheel:
            dataset = schema.conform(wheel, schema.WHEEL)
            stores.write_group(temporary, "wheel", dataset, chunks={"sample": WHEEL_CHUNK})
        stores.seal(temporary)


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


def identity(info: alf.SessionInfo) -> dict[str, Any]:
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


def _write_signal(path: Path, activity: Sequence[Rows], n_frames: int) -> None:
    declared = schema.SESSION["signal"]
    n_rois = sum(part.n_rois for part in activity)
    array = stores.create_array(
        zarr.open_group(str(path), mode="a"),
        "signal",
        dims=declared.dims,
        shape=(n_rois, n_frames),
        dtype=declared.dtype,
        chunks=(min(ROI_CHUNK, n_rois), min(TIME_CHUNK, n_frames)),
        attributes=declared.attributes(),
    )
    for start, block in _row_blocks(activity, ROI_CHUNK):
        array[start : start + len(block)] = block


def _row_blocks(activity: Sequence[Rows], n_rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of n_rows consecutive rows of the session, so that each is whole chunks; one may span two FOVs."""
    starts = np.concatenate([[0], np.cumsum([part.n_rois for part in activity])])
    for start in range(0, starts[-1], n_rows):
        stop = min(start + n_rows, starts[-1])
        parts = [
            part.rows(max(start, first) - first, min(stop, first + part.n_rois) - first)
            for part, first in zip(activity, starts[:-1], strict=True)
            if first < stop and first + part.n_rois > start
        ]
        yield start, np.concatenate(parts)
