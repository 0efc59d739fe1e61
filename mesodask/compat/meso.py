"""The names of the original ``meso.py``: a session as a dictionary, its event windows, its pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mesodask import originals, sessions
from mesodask.compat import rows
from mesodask.compat.keywords import original
from mesodask.io import alf


@original()
def load_or_embed(
    eid: str,
    restrict: ArrayLike | None = None,
    rerun: bool = False,
    filter_neurons: bool = True,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
) -> dict[str, np.ndarray]:
    """Load a session as the dictionary that the original scripts cached, building its store if there is none.

    Different from the originals: histology is preferred to the estimate of regions (a misspelt key never found it);
    delays go by the scan line, the y of an ROI; ``roi_times`` has a row for every row of ``roi_signal``, its own FOV's
    and ROI's; ``region_colors`` and ``roi_times`` are restricted with the rest; nothing is pickled.

    Parameters
    ----------
    eid : str
        The session.
    restrict : array_like of int or bool, optional
        These rows alone; there is no ``isort`` then.
    rerun : bool
        Build the session store again.
    filter_neurons : bool
        Cells alone, which is what indices of :func:`mesodask.compat.match_tracked_indices_across_sessions` count.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default.

    Returns
    -------
    dict of str to numpy.ndarray
        ``roi_signal`` (n_rois, n_frames) float32; ``roi_times`` (n_rois, n_frames) s; ``isort`` (n_rois,) the Rastermap
        order; ``region_labels`` (n_rois,) acronyms; ``region_colors`` (n_rois, 3) from 0 to 1; ``xyz`` (n_rois, 3) um.

    Raises
    ------
    SettingsError
        `restrict` does not fit the session.
    SessionNotFoundError, DataError, StoreError
        As for :func:`mesodask.load_or_embed`.

    Examples
    --------
    >>> rr = load_or_embed(eid)  # doctest: +SKIP
    >>> rr["roi_signal"][rr["isort"]]  # doctest: +SKIP
    """
    sort: Any = False if restrict is not None else "neurons" if filter_neurons else True
    session = _session(eid, one, cache_dir, rastermap=sort, rerun=rerun)
    chosen = rows.session_rows(session, restrict, filter_neurons=filter_neurons)
    cached = originals.original_cache(session.isel(roi=chosen))
    del cached["isort"]
    if restrict is None:
        cached["isort"] = _order_of(chosen, sessions.order(session))
    return cached


def _session(eid: str, one: Any, cache_dir: str | Path | None, **how: Any) -> xr.Dataset:
    return sessions.load_or_embed(eid, one=alf.connect(one), cache_dir=cache_dir, **how)


def _order_of(chosen: np.ndarray, isort: np.ndarray) -> np.ndarray:
    """Order of some rows that an order of all rows implies.

    Examples
    --------
    >>> _order_of(np.array([1, 3, 4]), np.array([4, 0, 1, 2, 3])).tolist()
    [2, 0, 1]
    """
    place = np.full(len(isort), -1)
    place[chosen] = np.arange(len(chosen))
    ordered = place[isort]
    return ordered[ordered >= 0]
