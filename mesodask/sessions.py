"""Session stores: one Zarr store a session, built once from its ALF files.

Rows are all ROIs of the session, FOVs in name order; a row index means this row everywhere in mesodask.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from mesodask import raster_order, schema
from mesodask.embedding import Signal, embed
from mesodask.errors import DataError, StoreError
from mesodask.io import alf, cache, stores

REBUILD = "build it again with load_or_embed(eid, rerun=True), or mesodask embed EID --rerun"


def load_or_embed(
    eid: str,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool | Literal["neurons"] = True,
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
    rastermap : bool or "neurons"
        Compute the Rastermap order (see :func:`order`) if the store has none of these rows: of all ROIs, of those
        flagged as cells with the others behind them as they come, or, with False, none.
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
    SettingsError
        An argument has a value that is not allowed.
    SessionNotFoundError
        ONE knows no such session.
    DataError
        A file of the session is missing or damaged; nothing is written.
    StoreError
        The store is damaged, or was built from files that have changed since.
    """
    to_sort = raster_order.rows_to_sort(rastermap)
    one = alf.connect(one)
    files = alf.SessionFiles(one, eid)
    path = cache.session_store(cache.cache_folder(cache_dir, one), files.info.eid, signal)
    if rerun or not path.exists():
        embed(files, path, signal=signal, collection=collection, replace=rerun)
    else:
        _check_sources(files, path)
    if to_sort:
        raster_order.write_order(path, to_sort)
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
    raster_order.while_replaced(lambda: stores.check_chunks(path))
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
        The order is damaged or has not been computed; :func:`load_or_embed` with ``rastermap=True`` does it.
    """
    return raster_order.read_order(Path(session.encoding["source"]))


def neurons(session: xr.Dataset) -> np.ndarray:
    """Rows of the ROIs that are cells, (n_neurons,) int64."""
    return np.flatnonzero(session["is_neuron"].values)
