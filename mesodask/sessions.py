"""Session stores: one Zarr store a session, built once from its ALF files.

Rows are all ROIs of the session, FOVs in name order; a row index means this row everywhere in mesodask.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.building import Request, build_stores
from mesodask.embedding import Signal, read_session
from mesodask.errors import DataError, MesodaskError, SessionsFailedError, StoreError
from mesodask.io import alf, cache, stores
from mesodask.raster_order import write_order

if TYPE_CHECKING:
    from distributed import Client

REBUILD = "build it again with load_or_embed(eid, rerun=True), or mesodask embed EID --rerun"


@overload
def load_or_embed(
    eid: str,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool = True,
    rerun: bool = False,
    client: "Client | None" = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset: ...


@overload
def load_or_embed(
    eid: list[str] | tuple[str, ...],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool = True,
    rerun: bool = False,
    client: "Client | None" = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[xr.Dataset]: ...


def load_or_embed(
    eid: str | list[str] | tuple[str, ...],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool = True,
    rerun: bool = False,
    client: "Client | None" = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset | list[xr.Dataset]:
    """Open session stores, building from the ALF files those that are not there.

    A store that another process builds at the time is waited for.

    Parameters
    ----------
    eid : str, or list of str
        Experiment id, or several.
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
    client : distributed.Client, optional
        Its workers, which must see the same files, read and write the activity; by default this process does.
    progress : callable(done, total), optional
        Called as the work goes on, with the number of sessions.

    Returns
    -------
    xarray.Dataset, or list of them
        The variables of :data:`mesodask.schema.SESSION`, opened lazily, for each session in the order given; see
        :func:`trials`, :func:`wheel` and :func:`order` for the groups. The attribute ``gaps_s`` lists, for each FOV,
        the times in s between which no usable frame was taken.

    Raises
    ------
    SessionNotFoundError
        ONE knows no such session.
    DataError
        A file of the session is missing or damaged; nothing is written.
    StoreError
        The store is damaged, or was built from files that have changed since.
    SessionsFailedError
        Of several sessions some failed, in one of these ways; the others are built.
    """
    eids = [eid] if isinstance(eid, str) else list(eid)
    one = alf.connect(one)
    folder = cache.cache_folder(cache_dir, one)
    files = {given: alf.SessionFiles(one, given) for given in eids}
    paths = {given: cache.session_store(folder, found.info.eid, signal) for given, found in files.items()}
    requests = [
        Request(given, paths[given], partial(read_session, found, signal, collection), rerun)
        for given, found in files.items()
        if rerun or not paths[given].exists()
    ]
    n_there = len(files) - len(requests)

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(n_there + done, len(files))

    errors = build_stores(requests, client=client, report=report)
    opened = {}
    for given, found in files.items():
        try:
            if given not in errors:
                opened[given] = _open_checked(found, paths[given], rastermap)
        except MesodaskError as error:
            errors[given] = error
    if errors and len(eids) == 1:
        raise errors[eids[0]]
    if errors:
        raise SessionsFailedError(errors, len(files))
    return opened[eid] if isinstance(eid, str) else [opened[given] for given in eids]


def _open_checked(files: alf.SessionFiles, path: Path, rastermap: bool) -> xr.Dataset:
    stores.remove_partial(path.parent, path.name)
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
