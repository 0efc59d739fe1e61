"""Sessions as the original scripts cached them <-> session stores.

The originals kept a session as one pickled dictionary, ``<eid>.npy``. :func:`original_cache` gives that dictionary of a
session store, for code that was written for it; :func:`import_session_cache` makes a store of such a file.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mesodask import schema, sessions
from mesodask.checked import short_hash
from mesodask.embedding import building, from_alf, raster_order
from mesodask.errors import StoreError
from mesodask.io import alf, behavior, cache, sources, stores, upstream
from mesodask.io.folders import expanded
from mesodask.io.session_content import Content
from mesodask.numerics import windows

IMPORTED = "imported"  # in the name of a store: its rows need not be those of the session's files


def original_cache(session: xr.Dataset) -> dict[str, np.ndarray]:
    """Give a session the form in which the original scripts cached it.

    Parameters
    ----------
    session : xarray.Dataset
        Session store (:func:`mesodask.load_or_embed`).

    Returns
    -------
    dict of str to numpy.ndarray
        In memory, which for ``roi_times`` takes twice the size of the signal:

        ``roi_signal`` (n_rois, n_frames) float32; ``roi_times`` (n_rois, n_frames) float64, s, each ROI's own, its
        FOV's frame times plus its delay; ``isort`` (n_rois,) the Rastermap order, rows as they come where there is
        none; ``region_labels`` (n_rois,) acronyms; ``region_colors`` (n_rois, 3) red, green and blue from 0 to 1;
        ``xyz`` (n_rois, 3) um from bregma.

    Raises
    ------
    StoreError
        A part of the store cannot be read.
    """
    path = Path(session.encoding["source"])
    wanted = ("signal", "frame_times", "fov_index", "roi_delay", "region", "region_color", "xyz")
    names = [name for name in wanted if name in session]
    with stores.reading(path, *names):
        found = {name: session[name].values for name in names}
    delay = found.get("roi_delay", np.zeros(session.sizes["roi"]))
    has_order = stores.has_group(path, "order")
    return {
        "roi_signal": found["signal"],
        "roi_times": found["frame_times"][found["fov_index"]] + delay[:, None],
        "isort": sessions.order(session) if has_order else np.arange(session.sizes["roi"]),
        "region_labels": found["region"].astype(object),
        "region_colors": _rgb(found["region_color"]),
        "xyz": found["xyz"],
    }


def _rgb(colors: np.ndarray) -> np.ndarray:
    """Turn "#rrggbb" into red, green and blue from 0 to 1.

    Examples
    --------
    >>> _rgb(np.array(["#ff0033"])).tolist()
    [[1.0, 0.0, 0.2]]
    """
    return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors.tolist()]) / 255.0


def import_session_cache(
    path: str | Path,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    xyz_unit: upstream.XyzUnit = "um",
    clock_index: ArrayLike | None = None,
    rerun: bool = False,
) -> xr.Dataset:
    """Make a session store of a file that the original scripts cached.

    Such a file says nothing of trials, wheel, subject and date: these come from the session's files, through ONE. Its
    rows may be cells alone, and so are not those that tracking counts: the store is named ``<eid>_imported.zarr`` and
    is never taken for the session's own.

    Parameters
    ----------
    path : path-like
        ``<eid>.npy`` or ``<eid>_filter_True|False.npy``.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default; it must know the session.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default.
    xyz_unit, clock_index
        As in :func:`mesodask.io.upstream.read_session_cache`.
    rerun : bool
        Make the store again even if there is one.

    Returns
    -------
    xarray.Dataset
        The session store, opened lazily.

    Raises
    ------
    DataError
        The file asks for more than arrays and plain containers, is damaged, or is no session cache.
    SessionNotFoundError
        ONE does not know the session.
    StoreError
        There is a store already that was made from another file, or in another way.
    """
    path = expanded(path)
    one = alf.connect(one)
    eid, _ = upstream.cache_name(path)
    files = alf.SessionFiles(one, eid)
    store = cache.session_store(cache.cache_folder(cache_dir, one), files.info.eid, IMPORTED)
    clocks = None if clock_index is None else short_hash(np.asarray(clock_index).tolist())
    how = {"xyz_unit": xyz_unit, "clock_index": clocks}
    is_new = rerun or not store.exists()
    if not is_new:
        _check_same(store, path, how)
    if is_new or not _has_its_order(store):
        found = upstream.read_session_cache(path, xyz_unit=xyz_unit, clock_index=clock_index)
        if is_new:
            described = schema.conform(
                found.variables(),
                {name: variable for name, variable in schema.SESSION.items() if name != "signal"},
                from_alf.identity(files.info) | _attributes(found) | {"imported_with": how},
            )
            content = Content(described, [found], behavior.read_trials(files), behavior.read_wheel(files))
            building.build_store(store, content, rerun=rerun)
        if found.isort is not None:
            raster_order.store_order(store, found.isort)
    return sessions.open_session(store)


def _check_same(store: Path, path: Path, how: dict[str, Any]) -> None:
    """Raise :class:`StoreError` if a store was made from another file, or in another way, than is asked for."""
    attrs = stores.attributes(store)
    known = attrs.get("sources", {})
    same = path.name in known and not (path.exists() and sources.has_changed(path, known[path.name]))
    if not same or attrs.get("imported_with") != how:
        raise StoreError(
            f"{store}: was made from {', '.join(known)} with {attrs.get('imported_with')}, not from {path} as it is "
            f"now with {how}; use rerun=True to make it anew"
        )


def _has_its_order(store: Path) -> bool:
    """Tell whether a store has the order that came with it; a kill may have come before it was written."""
    return not stores.attributes(store).get("came_with_order") or raster_order.has_order(store, "all")


def _attributes(found: upstream.UpstreamSession) -> dict[str, Any]:
    return {
        "signal_kind": "as the original scripts cached it",
        "region_source": "as the original scripts cached it",
        "gaps_s": {f"clock {i}": windows.find_gaps(times).tolist() for i, times in enumerate(found.frame_times)},
        "sources": {found.path.name: sources.describe(found.path)},
        "came_with_order": found.isort is not None,
        "non_cells_left_out": found.filtered,
    }
