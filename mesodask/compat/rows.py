"""Rows of the original scripts <-> rows of session stores.

The originals' table of a session held its cells alone (``filter_neurons=True``), FOVs in order, and so do their saved
caches and index arrays; a session store has a row for every ROI. Here ``filter_neurons`` means the same in every
function, and is True in all of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mesodask import sessions
from mesodask.compat.keywords import original
from mesodask.errors import SettingsError
from mesodask.io import alf


@original()
def store_rows(
    eid: str,
    restrict: ArrayLike | None = None,
    filter_neurons: bool = True,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
) -> np.ndarray:
    """Turn indices of the original functions into rows of the session store, as the new functions count them.

    Parameters
    ----------
    eid : str
        The session.
    restrict : array_like of int or bool, optional
        Indices into ``load_or_embed(eid)["roi_signal"]``, or a mask over its rows; all of them by default.
    filter_neurons : bool
        As it was where the indices come from.
    one, cache_dir
        As for :func:`mesodask.compat.meso.load_or_embed`.

    Returns
    -------
    numpy.ndarray, (n_rows,) int64
        Rows for ``rows=`` of :func:`mesodask.trial_features` and the like.

    Raises
    ------
    SettingsError
        `restrict` does not fit the session.

    Examples
    --------
    >>> store_rows(eid, idx_map[eid])  # doctest: +SKIP
    array([  0,   3,   4, ...])
    """
    session = sessions.load_or_embed(eid, one=alf.connect(one), cache_dir=cache_dir, rastermap=False)
    return session_rows(session, restrict, filter_neurons=filter_neurons)


def original_rows(session: xr.Dataset, *, filter_neurons: bool) -> np.ndarray:
    """Rows of a session store that the originals' table of the session has, in its order."""
    return sessions.neurons(session) if filter_neurons else np.arange(session.sizes["roi"])


def session_rows(session: xr.Dataset, restrict: ArrayLike | None, *, filter_neurons: bool) -> np.ndarray:
    """Rows of a session store that are meant by rows of the originals' table (see ``store_rows``)."""
    table = original_rows(session, filter_neurons=filter_neurons)
    if restrict is None:
        return table
    chosen = np.asarray(restrict)
    if chosen.ndim == 1 and chosen.dtype == bool and len(chosen) == len(table):
        return table[chosen]
    if chosen.ndim != 1 or len(chosen) == 0 or chosen.dtype.kind not in "iu":
        raise SettingsError(
            f"restrict: {chosen.dtype} of shape {chosen.shape}; expected row numbers, or a mask over {len(table)} rows"
        )
    if chosen.min() < 0 or chosen.max() >= len(table):
        what = "cells" if filter_neurons else "ROIs"
        raise SettingsError(
            f"restrict: rows {chosen.min()} to {chosen.max()}; session {session.attrs['eid']} has {len(table)} {what} "
            f"(filter_neurons={filter_neurons}), rows 0 to {len(table) - 1}"
        )
    return table[chosen]
