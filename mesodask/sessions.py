"""Session stores: one Zarr store a session, built once from its ALF files.

Rows are all ROIs of the session, FOVs in name order; a row index means this row everywhere in mesodask.
"""

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr

from mesodask import schema
from mesodask.errors import DataError, SettingsError, StoreError
from mesodask.io import alf, behavior, cache, fov, regions, stores
from mesodask.numerics import windows

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
    columns = behavior.read_trials(files, collection)
    wheel_data = behavior.read_wheel(files)
    described = _describe(fovs, _attributes(files, fovs, kind, source))
    stores.remove_partial(path.parent, path.name)
    with stores.building(path, replace=replace) as temporary:
        stores.write_group(temporary, "", described)
        _write_signal(temporary, fovs)
        if columns:
            stores.write_group(temporary, "trials", xr.Dataset({n: ("trial", v) for n, v in columns.items()}))
        if wheel_data:
            dataset = schema.conform(wheel_data, schema.WHEEL)
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
    from mesodask import __version__

    info = files.info
    return {
        "eid": info.eid,
        "subject": info.subject,
        "lab": info.lab,
        "date": info.date.isoformat(),
        "number": info.number,
        "signal_kind": kind,
        "region_source": source,
        "mesodask_version": __version__,
        "schema_version": schema.SCHEMA_VERSION,
        # in a window that touches one, nothing is decoded
        "gaps_s": {f.name: windows.find_gaps(f.times, ~f.bad_frame).tolist() for f in fovs},
        # changes with every build: what was derived from this store can tell whether it still holds
        "build_id": secrets.token_hex(8),
        "sources": {name: size for f in fovs for name, size in f.sources.items()},
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


def _write_signal(path: Path, fovs: list[fov.Fov]) -> None:
    declared = schema.SESSION["signal"]
    n_rois, n_frames = sum(f.n_rois for f in fovs), len(fovs[0].times)
    array = stores.create_array(
        zarr.open_group(str(path), mode="a"),
        "signal",
        dims=declared.dims,
        shape=(n_rois, n_frames),
        dtype=declared.dtype,
        chunks=(min(ROI_CHUNK, n_rois), min(TIME_CHUNK, n_frames)),
        attributes=declared.attributes(),
    )
    for start, block in _row_blocks(fovs, ROI_CHUNK):
        array[start : start + len(block)] = block


def _row_blocks(fovs: list[fov.Fov], n_rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of n_rows consecutive rows of the session, so that each is whole chunks; one may span two FOVs."""
    starts = np.concatenate([[0], np.cumsum([f.n_rois for f in fovs])])
    for start in range(0, starts[-1], n_rows):
        stop = min(start + n_rows, starts[-1])
        parts = [
            f.rows(max(start, first) - first, min(stop, first + f.n_rois) - first)
            for f, first in zip(fovs, starts[:-1], strict=True)
            if first < stop and first + f.n_rois > start
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
    isort, reason = rastermap_order(session["signal"].values)
    dataset = schema.conform({"isort": isort}, schema.ORDER, {"reason": reason})
    stores.write_group(path, "order", dataset)


def rastermap_order(signal: np.ndarray) -> tuple[np.ndarray, str]:
    """Sort ROIs so that those that are active together lie together (Rastermap, Stringer et al. 2025).

    Parameters
    ----------
    signal : numpy.ndarray, (n_rois, n_frames) float32
        Activity. ROIs without variance, or with NaN, come last.

    Returns
    -------
    isort : numpy.ndarray, (n_rois,) int64
        A permutation of the rows.
    reason : str
        Why the parameters are not the usual ones or there is no order; empty if all went as usual.
    """
    usable = np.isfinite(signal).all(axis=1)
    usable[usable] &= signal[usable].std(axis=1) > 0
    rows = np.flatnonzero(usable)
    identity = np.arange(len(signal), dtype=np.int64)
    smallest = min(len(rows), signal.shape[1])
    if smallest < 10:
        return identity, f"{len(rows)} active ROIs and {signal.shape[1]} frames are too few to sort"
    n_pcs, n_clusters = min(100, smallest - 1), min(30, len(rows) // 2)
    try:
        inner = _fit_rastermap(signal[rows], n_pcs, n_clusters)
    except Exception as error:  # rastermap raises many kinds on recordings it cannot sort
        return identity, f"rastermap failed: {error}"
    if not np.array_equal(np.sort(inner), np.arange(len(rows))):
        return identity, "rastermap gave no permutation"
    usual = (n_pcs, n_clusters) == (100, 30)
    reason = "" if usual else f"small recording: n_PCs={n_pcs}, n_clusters={n_clusters}"
    return np.concatenate([rows[inner], np.flatnonzero(~usable)]).astype(np.int64), reason


def _fit_rastermap(signal: np.ndarray, n_pcs: int, n_clusters: int) -> np.ndarray:
    import warnings

    root = logging.getLogger()
    before = list(root.handlers), root.level
    from rastermap import Rastermap

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = Rastermap(
                n_PCs=n_pcs, n_clusters=n_clusters, locality=0.75, time_lag_window=5, bin_size=1, verbose=False
            )
            # one ROI a bin of 1 sample each: rastermap's own raster is not needed
            return np.asarray(model.fit(signal.astype(np.float32), compute_X_embedding=False).isort)
    finally:
        # rastermap configures the root logger to print on stdout
        root.handlers[:], root.level = before
