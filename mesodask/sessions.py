"""Session stores: one Zarr store a session, built once from its ALF files.

Rows are all ROIs of the session, FOVs in name order; a row index means this row everywhere in mesodask.
"""

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import xarray as xr
import zarr

from mesodask import schema
from mesodask.errors import DataError, SettingsError, StoreError
from mesodask.io import alf, behavior, cache, fov, regions, stores
from mesodask.numerics import windows
from mesodask.numerics.order import rastermap_order

logger = logging.getLogger(__name__)

Signal = Literal["deconvolved", "fluorescence", "corrected"]
# a block of rows is read from one memory map and becomes whole chunks; see benchmarks for the choice
ROI_CHUNK, TIME_CHUNK = 64, 8192
WHEEL_CHUNK = 1 << 16
REBUILD = "build it again with load_or_embed(eid, rerun=True), or mesodask embed EID --rerun"


def load_or_embed(
    eid: str,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool = True,
    rerun: bool = False,
) -> xr.Dataset:
    """Open the session store, building it from the ALF files if there is none.

    Parameters
    ----------
    eid : str
        Experiment id.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default.
    signal : {"deconvolved", "fluorescence", "corrected"}, optional
        Kind of activity; by default deconvolved if every FOV has it, else fluorescence. A signal asked for by name
        has a store of its own.
    collection : str, optional
        Where the trials lie, e.g. ``alf/task_00``, if several collections hold biased blocks.
    rastermap : bool
        Compute the Rastermap order if the store has none (see :func:`order`).
    rerun : bool
        Build the store again even if there is one.

    Returns
    -------
    xarray.Dataset
        The variables of :data:`mesodask.schema.SESSION`, opened lazily; see :func:`trials`, :func:`wheel` and
        :func:`order` for the groups. The attribute ``gaps_s`` lists, for each FOV, the times in s between which no
        usable frame was taken.

    Raises
    ------
    SessionNotFoundError
        ONE knows no such session.
    DataError
        A file of the session is missing or damaged; nothing is written.
    StoreError
        The store is damaged, or was built from files that have changed since.
    """
    one = alf.connect(one)
    files = alf.SessionFiles(one, eid)
    path = cache.session_store(cache.cache_folder(cache_dir, one), files.info.eid, signal)
    if rerun or not path.exists():
        embed(files, path, signal=signal, collection=collection, replace=rerun)
    else:
        _check_sources(files, path)
    if rastermap and not stores.has_group(path, "order"):
        write_order(path)
    return open_session(path)


def _check_sources(files: alf.SessionFiles, path: Path) -> None:
    """Raise :class:`StoreError` if the session's files are no longer those that the store was built from.

    Rows of tracked neurons are counted in the files: a store of other files would give other neurons without a word.
    """
    sources: dict[str, int] = stores.attributes(path).get("sources", {})
    folder = files.info.path
    changed = [n for n, size in sources.items() if (folder / n).exists() and (folder / n).stat().st_size != size]
    then = sorted({name.split("/")[1] for name in sources})
    if changed or then != files.fov_names():
        what = f"{changed[0]} has changed" if changed else f"the FOVs were {', '.join(then)}"
        raise StoreError(f"{path}: built from other files than {folder} holds now ({what}); {REBUILD}")


def open_session(path: Path) -> xr.Dataset:
    """Open a session store lazily.

    Raises
    ------
    StoreError
        There is no store, it is damaged, or it was written by another version of the schema.
    """
    found = stores.attributes(path).get("schema_version")
    if path.exists() and found != schema.SCHEMA_VERSION:
        raise StoreError(f"{path}: schema version {found}, this mesodask reads {schema.SCHEMA_VERSION}; {REBUILD}")
    session = stores.open_group(path, schema=schema.SESSION)
    stores.check_chunks(path)
    session.encoding["source"] = str(path)
    return session


def _group(session: xr.Dataset, name: str) -> xr.Dataset:
    return stores.open_group(Path(session.encoding["source"]), name)


def trials(session: xr.Dataset) -> xr.Dataset:
    """Open the trials of a session: dim trial, one variable a column.

    Raises
    ------
    DataError
        The session has no trials.
    """
    path = Path(session.encoding["source"])
    if not stores.has_group(path, "trials"):
        raise DataError(f"session {session.attrs['eid']} has no trials; nothing can be decoded from it")
    return _group(session, "trials")


def wheel(session: xr.Dataset) -> xr.Dataset | None:
    """Open the wheel of a session (:data:`mesodask.schema.WHEEL`); None if it has none."""
    has_wheel = stores.has_group(Path(session.encoding["source"]), "wheel")
    return _group(session, "wheel") if has_wheel else None


def order(session: xr.Dataset) -> np.ndarray:
    """Read the Rastermap order, (n_rois,) int64: ``session.signal[order(session)]`` is sorted.

    Raises
    ------
    StoreError
        The order has not been computed; :func:`load_or_embed` with ``rastermap=True`` does it.
    """
    return _group(session, "order")["isort"].values


def neurons(session: xr.Dataset) -> np.ndarray:
    """Rows of the ROIs that are cells, (n_neurons,) int64."""
    return np.flatnonzero(session["is_neuron"].values)


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
    _check_frames(fovs, files)
    described = _describe(fovs, _attributes(files, fovs, kind, source))
    write_store(path, described, fovs, behavior.read_trials(files, collection), behavior.read_wheel(files), replace)


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


def _check_frames(fovs: list[fov.Fov], files: alf.SessionFiles) -> None:
    first = fovs[0]
    for other in fovs[1:]:
        if len(other.times) != len(first.times):
            names = [next(n for n in f.sources if "Activity" in n) for f in (first, other)]
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
        "sources": {name: size for f in fovs for name, size in f.sources.items()},
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


def write_order(path: Path) -> None:
    """Compute the Rastermap order of a session store and write it into its ``/order`` group.

    Raises
    ------
    StoreError
        There is no such store.
    """
    session = open_session(path)
    store_order(path, *rastermap_order(session["signal"].values))


def store_order(path: Path, isort: np.ndarray, reason: str = "") -> None:
    """Write an order, and why it is not the usual one, into the ``/order`` group of a session store."""
    stores.write_group(path, "order", schema.conform({"isort": isort}, schema.ORDER, {"reason": reason}))
