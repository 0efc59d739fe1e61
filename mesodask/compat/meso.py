"""The names of the original ``meso.py``: a session as a dictionary, its event windows, its pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mesodask import sessions
from mesodask.compat import rows
from mesodask.compat.keywords import original
from mesodask.errors import SettingsError
from mesodask.io import alf, cache
from mesodask.originals import sessions as originals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"isort": "order", "regions": "region"}
INK = "activity is drawn in black that is the more opaque the stronger it is, binned to the picture's pixels"
SCALED = "traces are always drawn scaled, or one ROI would hide all others"


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
        Cells alone, as indices of :func:`mesodask.compat.chronic.match_tracked_indices_across_sessions` count them.
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
    session, chosen = _chosen(eid, restrict, one, cache_dir, filter_neurons=filter_neurons, rerun=rerun)
    cached = originals.original_cache(session.isel(roi=chosen))
    del cached["isort"]
    if restrict is None:
        cached["isort"] = _order_of(chosen, sessions.order(session))
    return cached


def _chosen(
    eid: str,
    restrict: ArrayLike | None,
    one: Any,
    cache_dir: str | Path | None,
    *,
    filter_neurons: bool = True,
    rerun: bool = False,
    sort: bool = True,
) -> tuple[xr.Dataset, np.ndarray]:
    """Open a session, and find the rows that are meant; where all are, they have an order."""
    rastermap: Any = ("neurons" if filter_neurons else True) if sort and restrict is None else False
    session = sessions.load_or_embed(eid, one=alf.connect(one), cache_dir=cache_dir, rastermap=rastermap, rerun=rerun)
    return session, rows.session_rows(session, restrict, filter_neurons=filter_neurons)


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


@original(alpha_bg=INK, alpha_data=INK, interp=INK, scaling=SCALED)
def plot_raster(
    eid: str,
    bg: str | None = "regions",
    alpha_bg: float = 0.3,
    alpha_data: float = 0.5,
    interp: str = "none",
    restr: bool = True,
    rsort: bool = True,
    scaling: bool = True,
    restrict: ArrayLike | None = None,
    *,
    show: bool = True,
    one: Any = None,
    cache_dir: str | Path | None = None,
) -> "Figure":
    """Plot the activity of a session's cells in Rastermap order, with the wheel above; save it in ``rasters/``.

    Different from the originals: activity is binned to the picture's pixels, so that a session of any size is drawn; a
    trace without activity is not divided by 0; regions that are not drawn have no colour in the legend.

    Parameters
    ----------
    eid : str
        The session.
    bg : {"regions", "firing_rate"} or None
        What the colour behind the activity tells.
    restr : bool
        One minute from a third of the recording on; else all of it.
    rsort : bool
        Rastermap order; rows come as they are if they are restricted.
    restrict : array_like of int or bool, optional
        Rows of ``load_or_embed(eid)["roi_signal"]``; all of them by default.
    alpha_bg, alpha_data, interp, scaling
        No longer have a meaning.
    show : bool
        Show the figure, where there is a display.
    one, cache_dir
        As for :func:`mesodask.compat.meso.load_or_embed`.

    Returns
    -------
    matplotlib.figure.Figure
        The originals gave nothing back.

    Raises
    ------
    SettingsError
        `bg` or `restrict` is not allowed.

    Examples
    --------
    >>> plot_raster(eid, bg="regions")  # doctest: +SKIP
    """
    from mesodask import figures
    from mesodask.compat.show import save_figure, show_figure

    del alpha_bg, alpha_data, interp, scaling
    one = alf.connect(one)
    session, chosen = _chosen(eid, restrict, one, cache_dir, sort=rsort)
    background: Any = bg
    figure = figures.plot_raster(
        session, rows=chosen, interval=None if restr else "session", bg=background, sort=rsort and restrict is None
    )
    regions = "_".join(sorted(set(session["region"].values[chosen].tolist())))
    name = f"{session.attrs['eid']}_{regions[:100]}_{len(chosen)}_{session.sizes['time']}.png"
    save_figure(figure, cache.cache_folder(cache_dir, one) / "rasters" / name)
    if show:
        show_figure(figure)
    return figure


@original()
def plot_xyz(
    eid: str,
    mapping: str = "isort",
    axoff: bool = False,
    ax: "Axes | None" = None,
    restrict: ArrayLike | None = None,
    *,
    show: bool = True,
    one: Any = None,
    cache_dir: str | Path | None = None,
) -> "Figure":
    """Plot where a session's cells lie, in mm, coloured by their rank in the Rastermap order or by region.

    Different from the originals: the colour is the rank that a cell has (that of the cell which comes at the place of
    its row was shown).

    Parameters
    ----------
    eid : str
        The session.
    mapping : {"isort", "regions"}
        Colour; that of regions if rows are restricted.
    axoff : bool
        Draw no axes.
    ax : Axes of the projection "3d", optional
        Draw there, in place of a new figure.
    restrict : array_like of int or bool, optional
        Rows of ``load_or_embed(eid)["roi_signal"]``; all of them by default.
    show : bool
        Show a new figure, where there is a display.
    one, cache_dir
        As for :func:`mesodask.compat.meso.load_or_embed`.

    Returns
    -------
    matplotlib.figure.Figure
        The originals gave nothing back.

    Raises
    ------
    SettingsError
        `mapping` or `restrict` is not allowed.

    Examples
    --------
    >>> plot_xyz(eid, mapping="regions")  # doctest: +SKIP
    """
    from mesodask import figures
    from mesodask.compat.show import show_figure

    if mapping not in COLORS:
        raise SettingsError(f"mapping is {mapping!r}; expected {' or '.join(COLORS)}")
    color: Any = COLORS["regions" if restrict is not None else mapping]
    session, chosen = _chosen(eid, restrict, one, cache_dir, sort=color == "order")
    figure = figures.plot_xyz(session, color=color, rows=chosen, axes=ax)
    if axoff:
        (figure.axes[0] if ax is None else ax).set_axis_off()
    if show and ax is None:
        show_figure(figure)
    return figure
