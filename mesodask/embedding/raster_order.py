"""The order of a session's rows in a raster: Rastermap's, kept in the ``/order`` group of its store.

The group is written beside the store and renamed into it: it is there as a whole or not at all.
"""

import contextlib
import errno
import itertools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.errors import MesodaskError, SettingsError, StoreError, TasksFailedError
from mesodask.io import partials, stores
from mesodask.numerics.order import Order, rastermap_order

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient, Task

Rows = Literal["all", "neurons"]
Result = TypeVar("Result")

GROUP = "order"
# an order that is replaced is gone for some 0.1 ms: who looks, or puts his own, in that moment tries again
PAUSE, PATIENCE = 0.01, 10.0  # s
TRIES = 20  # of what fails although nobody replaces anything: twice in a row there may be none just then
AGAIN = "load_or_embed(eid), or mesodask embed EID, computes it anew"


def rows_to_sort(rastermap: bool | str) -> Rows | None:
    """Say which rows ``rastermap=`` asks to have sorted; None for no order.

    Raises
    ------
    SettingsError
        It is none of True, False and "neurons".

    Examples
    --------
    >>> rows_to_sort(True), rows_to_sort("neurons"), rows_to_sort(False)
    ('all', 'neurons', None)
    """
    if isinstance(rastermap, bool):
        return "all" if rastermap else None
    if rastermap == "neurons":
        return "neurons"
    raise SettingsError(f"rastermap: {rastermap!r}; expected True (all ROIs), 'neurons' or False (no order)")


def write_order(path: Path, rows: Rows = "all", client: "AnyClient | None" = None) -> None:
    """Compute the Rastermap order of a session store and write it into its ``/order`` group.

    Nothing happens if the order of these rows is there already; an order of other rows is replaced.

    Parameters
    ----------
    path : pathlib.Path
        The session store.
    rows : {"all", "neurons"}
        What to sort: all ROIs, or those flagged as cells, with the others behind them as they come.
    client : distributed.Client or callable() -> distributed.Client, optional
        Workers, one of which computes the order; this process by default.

    Raises
    ------
    StoreError
        There is no such store, it is damaged, or it was built again meanwhile.
    TasksFailedError
        The worker failed.
    """
    for error in write_orders([path], rows, client).values():
        raise error


def write_orders(
    paths: Iterable[Path], rows: Rows = "all", client: "AnyClient | None" = None
) -> dict[Path, MesodaskError]:
    """Compute the Rastermap orders of session stores that have none of these rows yet.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        The session stores.
    rows, client
        As in :func:`write_order`; with a client, each store is a task of its own.

    Returns
    -------
    dict of pathlib.Path to MesodaskError
        What is wrong with the stores whose order is not written, as :func:`write_order` raises it.
    """
    if rows not in get_args(Rows):
        raise SettingsError(f"rows: {rows!r} is none of {', '.join(get_args(Rows))}")
    errors: dict[Path, MesodaskError] = {}
    todo: dict[Path, str] = {}
    for path in paths:
        with _noting(errors, path):
            if not _is_there(path, rows):
                todo[path] = _build(path)
    if client is not None and todo:
        errors |= _write_on(client, todo, rows)
        return errors
    for path, build in todo.items():
        with _noting(errors, path):
            _put(path, compute_order(path, rows), rows, build)
    return errors


@contextlib.contextmanager
def _noting(errors: dict[Path, MesodaskError], path: Path) -> Iterator[None]:
    try:
        yield
    except MesodaskError as error:
        errors[path] = error


def _write_on(client: "AnyClient", todo: Mapping[Path, str], rows: Rows) -> dict[Path, MesodaskError]:
    """Compute orders on workers, and write each as it comes."""
    from mesodask.compute import runner

    errors: dict[Path, MesodaskError] = {}

    def put(task: "Task", order: Order) -> None:
        path = task.label["store"]
        with _noting(errors, path):
            _put(path, order, rows, todo[path])

    tasks = [runner.Task(f"order-{rows}-{b}", compute_order, (p, rows), {"store": p}) for p, b in todo.items()]
    for failure in runner.run_tasks(client, tasks, put):
        path = failure.task.label["store"]
        errors[path] = TasksFailedError(f"{path}: its order could not be computed: {failure.error}")
    return errors


def compute_order(path: Path, rows: Rows) -> Order:
    """Compute the Rastermap order of a session store, reading its signal in blocks; nothing is written.

    Raises
    ------
    StoreError
        There is no such store, or it is damaged.
    """
    session = while_replaced(path, lambda: open_whole(path))

    def read(some: np.ndarray) -> np.ndarray:
        try:
            return session["signal"].isel(roi=some).values
        except Exception as error:  # a damaged chunk raises many kinds
            raise StoreError(f"{path}/signal: cannot be read ({error}); rebuild it with rerun=True") from error

    n_rois = session.sizes["roi"]
    wanted = np.flatnonzero(session["is_neuron"].values) if rows == "neurons" else np.arange(n_rois)
    return rastermap_order(read, wanted, n_rois)


def store_order(path: Path, isort: np.ndarray, reason: str = "") -> None:
    """Write an order of all rows, and why it is not the usual one, into the ``/order`` group of a session store.

    Raises
    ------
    StoreError
        There is no such store.
    """
    _put(path, Order(isort, reason), "all", _build(path))


def has_order(path: Path, rows: Rows) -> bool:
    """Tell whether a session store has a sound order of these rows."""
    if not stores.has_group(path, GROUP):
        return False
    try:
        return while_replaced(path, lambda: _read(path))[1]["rows"] == rows
    except StoreError:
        return False


def _is_there(path: Path, rows: Rows) -> bool:
    """Tell whether there is an order of these rows; one that is damaged, or of another build, is removed.

    With half a group within it the store itself could not be opened.
    """
    if has_order(path, rows):
        return True
    if not any(has_order(path, kind) for kind in get_args(Rows)):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            stores.remove_group(path, GROUP)
    return False


def read_order(path: Path) -> np.ndarray:
    """Read the order of a session store, (n_rois,) int64.

    Raises
    ------
    StoreError
        There is none, or it is damaged.
    """
    return while_replaced(path, lambda: _read(path))[0]


def while_replaced(path: Path, look: Callable[[], Result]) -> Result:
    """Call what looks at the order of a store, and again if it fails because another process was replacing it.

    What fails again and again while the order stays the same folder is no matter of chance, and is raised.

    Parameters
    ----------
    path : pathlib.Path
        The session store.
    look : callable
        Raises :class:`StoreError` for what is missing or damaged.
    """
    deadline, failed = time.monotonic() + PATIENCE, 0
    while True:
        before = _identity(path)
        try:
            return look()
        except StoreError:
            time.sleep(PAUSE)  # whoever has taken the old order away has put the new one there by now
            failed += _identity(path) == before
            if failed == TRIES or time.monotonic() > deadline:
                raise


def open_whole(path: Path) -> xr.Dataset:
    """Open a session store lazily, all chunks of which are there; within :func:`while_replaced`, as it sees the order.

    Raises
    ------
    StoreError
        There is no such store, or it is damaged.
    """
    stores.check_chunks(path)  # first: coordinates are read as the store is opened
    return stores.open_group(path, schema=schema.SESSION)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell which folder an order lies in; None if there is none."""
    try:
        found = (path / GROUP).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    where = f"{path}/{GROUP}"
    if not stores.has_group(path, GROUP):
        raise StoreError(f"{where}: there is no order; {AGAIN}")
    stores.check_seal(path, GROUP)
    group = stores.open_group(path, GROUP, schema.ORDER)
    if group.attrs.get("build_id") != stores.attributes(path).get("build_id"):
        raise StoreError(f"{where}: is the order of another build of the store; {AGAIN}")
    try:
        isort = group["isort"].values
    except Exception as error:  # a damaged chunk raises many kinds
        raise StoreError(f"{where}: cannot be read ({error}); {AGAIN}") from error
    if not np.array_equal(np.sort(isort), np.arange(len(isort))):  # so reads a chunk that is lost
        raise StoreError(f"{where}: is no permutation of the rows; {AGAIN}")
    return isort, group.attrs


def _build(path: Path) -> str:
    """Tell which build of the store this is."""
    build = stores.attributes(path).get("build_id")
    if build is None:
        raise StoreError(f"{path}: no session store here; build it with load_or_embed(eid), or mesodask embed EID")
    return str(build)


def _put(path: Path, order: Order, rows: Rows, build: str) -> None:
    """Write an order beside the store, and give it its place."""
    partials.remove_partial(path.parent, path.name)
    attributes = {"rows": rows, "reason": order.reason, "parameters": order.parameters, "build_id": build}
    temporary = partials.partial_of(path)
    try:
        stores.write_group(temporary, GROUP, schema.conform({"isort": order.isort}, schema.ORDER, attributes))
        stores.seal(temporary, GROUP)
        deadline = time.monotonic() + PATIENCE
        for number in itertools.count():
            if _swapped(temporary, path / GROUP, f"old-{number}", build):
                return
            if time.monotonic() > deadline:
                break
            time.sleep(PAUSE)
        raise StoreError(f"{path}/{GROUP}: other processes keep writing it; call again")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swapped(temporary: Path, place: Path, old: str, build: str) -> bool:
    """Put the new group in place of the old; False if another process was doing the same."""
    if stores.attributes(place.parent).get("build_id") != build:
        raise StoreError(f"{place.parent}: was removed or built again while its order was computed; call again")
    try:
        with contextlib.suppress(FileNotFoundError):
            place.rename(temporary / old)
        (temporary / GROUP).rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
            raise
        return False
    return True
