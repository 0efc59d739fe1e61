"""Session stores: one Zarr store a session, built once from its ALF files.

Rows are all ROIs of the session, FOVs in name order; a row index means this row everywhere in mesodask.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.embedding import raster_order
from mesodask.embedding.building import Request, build_stores
from mesodask.embedding.from_alf import Signal, read_session
from mesodask.errors import DataError, MesodaskError, SessionsFailedError, StoreError
from mesodask.io import alf, behavior, cache, partials, sources, stores
from mesodask.numerics.windows import FrameClock

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient

R = TypeVar("R")

REBUILD = "build it again with load_or_embed(eid, rerun=True), or mesodask embed EID --rerun"


@overload
def load_or_embed(
    eid: str,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool | Literal["neurons"] = True,
    rerun: bool = False,
    client: "AnyClient | None" = None,
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
    rastermap: bool | Literal["neurons"] = True,
    rerun: bool = False,
    client: "AnyClient | None" = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[xr.Dataset]: ...


def load_or_embed(
    eid: str | list[str] | tuple[str, ...],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    signal: Signal | None = None,
    collection: str | None = None,
    rastermap: bool | Literal["neurons"] = True,
    rerun: bool = False,
    client: "AnyClient | None" = None,
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
        Where the trials and the wheel lie, e.g. ``alf/task_00``, if several collections hold biased blocks.
    rastermap : bool or "neurons"
        Compute the Rastermap order (see :func:`mesodask.sessions.order`) if the store has none of these rows: of all
        ROIs, of those flagged as cells with the others behind them as they come, or, with False, none.
    rerun : bool
        Build the store again even if there is one.
    client : distributed.Client or callable() -> distributed.Client, optional
        Its workers, which must see the same files, read and write the activity; by default this process does. A
        callable is asked for its client only if something is to be built or sorted.
    progress : callable(done, total), optional
        Called as the work goes on, with the number of sessions.

    Returns
    -------
    xarray.Dataset, or list of them
        The variables of :data:`mesodask.schema.SESSION`, opened lazily, for each session in the order given; see
        :func:`mesodask.sessions.trials`, ``wheel`` and ``order`` for the groups. The attribute ``gaps_s``
        lists, for each FOV, the times in s between which no usable frame was taken.

    Raises
    ------
    SettingsError
        An argument has a value that is not allowed.
    SessionNotFoundError
        ONE knows no such session.
    DataError
        A file of the session is missing or damaged; nothing is written.
    StoreError
        The store is damaged, was built from files that have changed since, or has the trials of another collection.
    SessionsFailedError
        Of several sessions some failed, in one of these ways; the others are built, and sorted.
    TasksFailedError
        A worker could not compute an order; the store is there.
    """
    to_sort = raster_order.rows_to_sort(rastermap)
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

    def check(given: str) -> None:
        partials.remove_partial(paths[given].parent, paths[given].name)
        _check_sources(files[given], paths[given], collection)

    _of_each(files, check, errors)
    if to_sort:  # before they are opened: half an order would make a store a damaged one
        whole = {path: given for given, path in paths.items() if given not in errors}
        unsorted = raster_order.write_orders(whole, to_sort, client)
        errors |= {whole[path]: error for path, error in unsorted.items()}
    opened = _of_each(files, lambda given: open_session(paths[given]), errors)
    if errors and len(eids) == 1:
        raise errors[eids[0]]
    if errors:
        raise SessionsFailedError(errors, len(files))
    return opened[eid] if isinstance(eid, str) else [opened[given] for given in eids]


def _of_each(names: Iterable[str], work: Callable[[str], R], errors: dict[str, MesodaskError]) -> dict[str, R]:
    """Do some work for every session that has no error yet; those that it raises are added to the others."""
    done = {}
    for name in names:
        if name not in errors:
            try:
                done[name] = work(name)
            except MesodaskError as error:
                errors[name] = error
    return done


def _check_sources(files: alf.SessionFiles, path: Path, collection: str | None) -> None:
    """Raise :class:`StoreError` if the session's files are no longer those that the store was built from.

    Rows of tracked neurons are counted in the files: a store of other files would give other neurons without a word.
    """
    attrs = stores.attributes(path)
    _check_schema(path, attrs)
    stores.check_seal(path)
    folder = files.info.path
    known: dict[str, dict] = attrs.get("sources", {})
    changed = [n for n, source in known.items() if (folder / n).exists() and sources.has_changed(folder / n, source)]
    revised = [(n, now) for n in known if (now := files.default(n)) not in (n, None)]
    then = alf.fovs_of(known)
    if changed or revised or then != files.fov_names():
        what = f"the FOVs were {', '.join(then)}"
        if revised:
            what = f"{revised[0][0]} was read, and {revised[0][1]} is its default revision now"
        if changed:
            what = f"{changed[0]} has changed"
        raise StoreError(f"{path}: built from other files than {folder} holds now ({what}); {REBUILD}")
    if not attrs["trials_collection"] and (there := behavior.collections_with_trials(files)):
        raise StoreError(
            f"{path}: built when the session had no trials, and now it has some in {' and '.join(there)}; {REBUILD}"
        )
    if collection is not None and collection != attrs["trials_collection"]:
        found = attrs["trials_collection"] or "no collection"
        raise StoreError(f"{path}: has its trials from {found}, not from {collection}; {REBUILD}")


def _check_schema(path: Path, attrs: dict[str, Any]) -> None:
    found = attrs.get("schema_version")
    if found != schema.SCHEMA_VERSION:
        raise StoreError(f"{path}: schema version {found}, this mesodask reads {schema.SCHEMA_VERSION}; {REBUILD}")


def open_session(path: Path) -> xr.Dataset:
    """Open a session store lazily.

    Raises
    ------
    StoreError
        There is no store, it is damaged, it is another session's, or it was written by another version of the schema.
    """
    if path.exists():
        _check_schema(path, stores.attributes(path))
        stores.check_seal(path)
    session = raster_order.while_replaced(path, lambda: raster_order.open_whole(path))
    if cache.is_of_another_session(path, session.attrs["eid"]):
        raise StoreError(f"{path}: holds session {session.attrs['eid']} under the name of another; {REBUILD}")
    session.encoding["source"] = str(path)
    return session


def _load(session: xr.Dataset, group: str, declared: schema.Schema | None = None) -> xr.Dataset | None:
    """Read a group of a session store into memory; None if the session never had it."""
    path = Path(session.encoding["source"])
    stores.check_seal(path)  # a session that has lost its trials is not one without
    if not stores.has_group(path, group):
        return None
    with stores.reading(path, group):
        return stores.open_group(path, group, declared).load()


def trials(session: xr.Dataset) -> xr.Dataset:
    """Read the trials of a session: dim trial, one variable a column.

    Raises
    ------
    DataError
        The session has no trials.
    StoreError
        The store is damaged.
    """
    found = _load(session, "trials")
    if found is None:
        raise DataError(f"session {session.attrs['eid']} has no trials; nothing can be decoded from it")
    return found


def trials_of(files: alf.SessionFiles, store: Path) -> dict[str, np.ndarray]:
    """Read the trials of a session as they would be decoded: from its store, or from its files until there is one.

    A store has the trials of the collection that was chosen when it was built. What is wrong with one is told when it
    is opened; until then the files are asked.

    Parameters
    ----------
    files : SessionFiles
        The session.
    store : pathlib.Path
        Its store, whether there is one or not.

    Returns
    -------
    dict of str to numpy.ndarray, each (n_trials,)
        By column; empty for a session without trials.

    Raises
    ------
    DataError
        As for :func:`mesodask.io.behavior.read_trials`.
    """
    if store.exists():
        with contextlib.suppress(DataError, StoreError):
            return {str(name): column.values for name, column in trials(open_session(store)).items()}
    return behavior.read_trials(files)


def wheel(session: xr.Dataset) -> xr.Dataset | None:
    """Read the wheel of a session (:data:`mesodask.schema.WHEEL`); None if it has none.

    Raises
    ------
    StoreError
        The store is damaged.
    """
    return _load(session, "wheel", schema.WHEEL)


def order(session: xr.Dataset) -> np.ndarray:
    """Read the Rastermap order, (n_rois,) int64: ``session.signal[order(session)]`` is sorted.

    Raises
    ------
    StoreError
        The order is damaged or has not been computed; :func:`load_or_embed` with ``rastermap=True`` does it.
    """
    return raster_order.read_order(Path(session.encoding["source"]))


def neurons(session: xr.Dataset) -> np.ndarray:
    """Rows of the ROIs that are cells, (n_neurons,) int64: ``session.signal[neurons(session)]`` reads nothing yet.

    Raises
    ------
    StoreError
        The store is damaged.
    """
    with stores.reading(Path(session.encoding["source"]), "is_neuron"):
        return np.flatnonzero(session["is_neuron"].values)


@dataclass(frozen=True)
class RoiBlock:
    """The activity of some ROIs of one FOV, and when it was taken.

    Attributes
    ----------
    places : numpy.ndarray, (n,) int
        Which of the rows that were asked for these are.
    clock : FrameClock
        When the frames were taken.
    delay : numpy.ndarray, (n,)
        Scan-line delay of each ROI, s.
    signal : numpy.ndarray, (n, n_frames)
    """

    places: np.ndarray
    clock: FrameClock
    delay: np.ndarray
    signal: np.ndarray


def roi_blocks(session: xr.Dataset, rows: np.ndarray, *, at_once: int, first_clock: bool = False) -> Iterator[RoiBlock]:
    """Read the activity of some rows block by block, FOV by FOV, in the order in which the store has them.

    Parameters
    ----------
    session : xarray.Dataset
        Session store.
    rows : numpy.ndarray, (n_rows,) int
        In any order.
    at_once : int
        ROIs of a block, at the most.
    first_clock : bool
        Whether the first FOV's clock is taken for all.

    Raises
    ------
    StoreError
        The store is damaged.
    """
    fov_of_row = values(session, "fov_index")[rows]
    clocks = frame_clocks(session, first_clock=first_clock)
    delay = values(session, "roi_delay")[rows] if "roi_delay" in session else np.zeros(len(rows))
    activity = session["signal"].variable  # coordinates would be selected along with it
    with stores.reading(Path(session.encoding["source"]), "signal"):
        for fov in np.unique(fov_of_row):
            members = np.flatnonzero(fov_of_row == fov)
            members = members[np.argsort(rows[members])]  # files are read in the order of the rows
            for start in range(0, len(members), at_once):
                places = members[start : start + at_once]
                yield RoiBlock(places, clocks[fov], delay[places], activity.isel(roi=rows[places]).values)


def frame_clocks(session: xr.Dataset, *, first_clock: bool = False) -> list[FrameClock]:
    """Read when the frames of each FOV were taken, and which of them are good.

    Parameters
    ----------
    session : xarray.Dataset
        Session store.
    first_clock : bool
        Whether the first FOV's times are taken for all.

    Raises
    ------
    StoreError
        The store is damaged.
    """
    times = values(session, "frame_times")
    good = ~values(session, "bad_frame") if "bad_frame" in session else np.ones_like(times, dtype=bool)
    return [FrameClock.of(times[0 if first_clock else fov], good[fov]) for fov in range(len(times))]


def values(session: xr.Dataset, name: str) -> np.ndarray:
    """Read a variable of a session.

    Raises
    ------
    StoreError
        The store is damaged.
    """
    with stores.reading(Path(session.encoding["source"]), name):
        return session[name].values
