"""Where cells lie: in the three axes of the brain, or from above with the outlines of regions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mesodask import raster, selection, sessions
from mesodask.errors import SettingsError
from mesodask.figures.palette import NOWHERE, RegionColors, area, region_colors, region_handles
from mesodask.figures.saving import DPI, checked_file, figure_of, save_figure
from mesodask.numerics.outline import outline

View = Literal["3d", "top"]

FIGSIZE = (7.0, 6.0)  # inches
MM = 1e-3  # of a um
FEWEST = 20  # cells of an area that is outlined
NAME_SIZE = 8.5  # points
MOST_REGIONS = 30  # that a legend has room for
AXIS_NAMES = ("ML (mm, right +)", "AP (mm, anterior +)", "DV (mm, dorsal +)")
ELEVATION, AZIMUTH = 35.0, -60.0  # degrees
VALUE_RANGE = (1.0, 99.0)  # percentiles of values between which colours go: a few extremes do not bleach the others


def plot_xyz(
    session: xr.Dataset | str | Path,
    *,
    color: Literal["region", "order"] | ArrayLike = "region",
    label: str = "",
    view: View = "3d",
    rows: selection.Narrowing = None,
    colors: RegionColors = "distinct",
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    size: float | None = None,
    axes: Axes | None = None,
    figsize: tuple[float, float] = FIGSIZE,
    dpi: float = DPI,
    save: str | Path | None = None,
) -> Figure:
    """Plot where the ROIs of a session lie, in mm from bregma.

    Parameters
    ----------
    session : xarray.Dataset or path-like
        Session store, opened (:func:`mesodask.load_or_embed`) or its path.
    color : {"region", "order"} or array_like
        Colour by region; by rank in the Rastermap order; or by any value of each ROI that is drawn, such as a
        decoder's weight: (n_drawn,), or (n_rois,) for all ROIs of the session. NaN is drawn in light grey, below all.
    label : str
        What the values are, with their unit, for the colour bar.
    view : {"3d", "top"}
        In three dimensions; or from above, with an outline around the ROIs of each area (a layer counts to its area)
        that has 20 or more.
    rows : optional
        A mask over the ROIs (n_rois,), rows of the store, or Allen acronyms: these ROIs alone.
    colors : {"distinct", "allen"}
        Colours of regions: well-separated ones, or the Allen atlas's, in which neighbours are nearly the same.
    cmap : str or matplotlib.colors.Colormap, optional
        Of ranks and values; viridis by default, or for values of both signs PuOr, with 0 in its middle.
    vmin, vmax : float, optional
        Ends of the colour bar; by default the 1st and 99th percentile of values, and all ranks.
    size : float, optional
        Area of a dot, points squared; by default smaller the more there are.
    axes : Axes, optional
        Draw there, in place of a new figure; for ``view="3d"`` of the projection "3d".
    figsize : (float, float)
        Of a new figure, inches.
    dpi : float
        Dots an inch of the file.
    save : path-like, optional
        Write the figure here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingsError
        An argument has a value that is not allowed.
    StoreError
        The store is damaged, or has no Rastermap order where one is asked for.
    """
    _check(view, axes)
    if save is not None:
        checked_file(save)
    session = raster.opened(session)
    eid, n_rois = session.attrs["eid"], session.sizes["roi"]
    chosen = np.arange(n_rois)
    if rows is not None:
        chosen = selection.rows(rows, eid, n_rois, lambda: sessions.values(session, "region"))
    xyz = sessions.values(session, "xyz")[chosen] * MM
    regions = sessions.values(session, "region")[chosen].astype(object).tolist()
    figure, panel = _panel(axes, figsize, view)
    dots: dict[str, Any] = {"s": _dot_size(len(chosen)) if size is None else size, "linewidths": 0}
    if view == "3d":
        dots["depthshade"] = False  # a colour that fades with depth would be another value
    shown = xyz if view == "3d" else xyz[:, :2]
    if isinstance(color, str) and color == "region":
        _scatter_regions(panel, shown, regions, session, chosen, colors, dots)
    else:
        values, label = _values_of_rois(session, color, chosen, label)
        limits = _limits(values, vmin, vmax, (0.0, 100.0) if isinstance(color, str) else VALUE_RANGE)
        _scatter_values(panel, shown, values, label, limits, cmap, dots)
    if view == "top":
        draw_outlines(panel, xyz, regions)
    _label_axes(panel, view)
    panel.set_title(_title(session, len(chosen)), fontsize="small")
    if save is not None:
        about = raster.describe(session) | {"figure": "xyz", "view": view, "n_drawn": len(chosen), "label": label,
                                            "color": color if isinstance(color, str) else "values"}  # fmt: skip
        save_figure(figure, save, about, dpi)
    return figure


def _check(view: str, axes: Axes | None) -> None:
    if view not in ("3d", "top"):
        raise SettingsError(f"view: {view!r}; expected '3d' or 'top'")
    if axes is not None and (axes.name == "3d") != (view == "3d"):
        other = "top" if view == "3d" else "3d"
        raise SettingsError(f"axes: of the projection {axes.name!r}, on which view={other!r} is drawn, not {view!r}")


def _panel(axes: Axes | None, figsize: tuple[float, float], view: View) -> tuple[Figure, Any]:
    if axes is not None:
        return figure_of(axes), axes
    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.add_subplot(projection="3d" if view == "3d" else None)


def _dot_size(n: int) -> float:
    return float(np.clip(6000 / max(n, 1), 1.0, 14.0))


def _values_of_rois(session: xr.Dataset, color: Any, rows: np.ndarray, label: str) -> tuple[np.ndarray, str]:
    """Value of each drawn ROI, and what it is."""
    if isinstance(color, str):
        if color != "order":
            raise SettingsError(f"color: {color!r}; expected 'region', 'order' or a value for each ROI")
        return np.argsort(sessions.order(session))[rows].astype(float), label or "rank in the Rastermap order"
    values = np.asarray(color, dtype=float)
    n_rois = session.sizes["roi"]
    if values.shape == (n_rois,):
        return values[rows], label
    if values.shape != (len(rows),):
        raise SettingsError(f"color: values of shape {values.shape}; expected one for each of {len(rows)} drawn ROIs"
                            + (f", or of all {n_rois}" if n_rois != len(rows) else ""))  # fmt: skip
    return values, label


def _limits(
    values: np.ndarray, vmin: float | None, vmax: float | None, percentiles: tuple[float, float]
) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, percentiles) if finite.size else (0.0, 1.0)
    if low < 0 < high:  # both signs: equally far on both sides
        low, high = -max(-low, high), max(-low, high)
    low, high = float(low if vmin is None else vmin), float(high if vmax is None else vmax)
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _scatter_regions(
    panel: Any,
    shown: np.ndarray,
    regions: list[str],
    session: xr.Dataset,
    rows: np.ndarray,
    colors: RegionColors,
    dots: dict[str, Any],
) -> None:
    of_region = region_colors(regions, sessions.values(session, "region_color")[rows].astype(object).tolist(), colors)
    panel.scatter(*shown.T, c=[of_region[region] for region in regions], **dots)
    panel.legend(
        handles=region_handles(regions, of_region, most=MOST_REGIONS), title="region (ROIs)", loc="upper left",
        bbox_to_anchor=(1.2 if panel.name == "3d" else 1.02, 1.0), fontsize="small", title_fontsize="small",
        frameon=False,
    )  # fmt: skip


def _scatter_values(
    panel: Any,
    shown: np.ndarray,
    values: np.ndarray,
    label: str,
    limits: tuple[float, float],
    cmap: str | Colormap | None,
    dots: dict[str, Any],
) -> None:
    if cmap is None:
        cmap = "PuOr" if limits[0] < 0 < limits[1] else "viridis"
    there = np.isfinite(values)
    if not there.all():
        panel.scatter(*shown[~there].T, c="0.85", **dots)
    drawn = panel.scatter(
        *shown[there].T, c=values[there], cmap=mpl.colormaps[cmap] if isinstance(cmap, str) else cmap,
        vmin=limits[0], vmax=limits[1], **dots,
    )  # fmt: skip
    ends = (values[there].min(initial=limits[0]) < limits[0], values[there].max(initial=limits[1]) > limits[1])
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[ends]
    bar = panel.figure.colorbar(drawn, ax=panel, shrink=0.6, pad=0.12 if panel.name == "3d" else 0.03, extend=extend)
    bar.set_label(label, fontsize="small")
    bar.ax.tick_params(labelsize="small")
    bar.outline.set_visible(False)


def draw_outlines(panel: Axes, xyz: np.ndarray, regions: Sequence[str]) -> None:
    """Draw an outline around the cells of each area seen from above, with its name beside it.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where to draw.
    xyz : numpy.ndarray, (n_rois, 3)
        mm.
    regions : sequence of str, (n_rois,)
        Acronyms; ROIs in no region have no outline.
    """
    areas = np.array([area(region) for region in regions], dtype=object)
    outlines = []
    for name in sorted(set(areas.tolist()) - set(NOWHERE)):
        points = xyz[areas == name, :2]
        if len(points) >= FEWEST:
            outlines += [(name, part) for part in outline(points)]
    for name, part in outlines:
        panel.add_collection(LineCollection([part], colors="black", linewidths=1.0, zorder=3, label=name))
    _name_outlines(panel, outlines)


def _name_outlines(panel: Axes, outlines: list[tuple[str, np.ndarray]]) -> None:
    """Write each name where it covers no outline and no other name: above, below, right or left of its own."""
    panel.autoscale_view()
    spans = np.array([panel.get_xlim(), panel.get_ylim()])
    size = figure_of(panel).get_size_inches() * 72 * panel.get_position().size  # points
    unit = float(np.max(np.ptp(spans, axis=1) / size))  # mm a point, both axes alike
    taken = [np.concatenate([part.min(axis=0), part.max(axis=0)]) for _, part in outlines]
    for name, part in outlines:
        width, height = 0.66 * NAME_SIZE * (len(name) + 1) * unit, 1.3 * NAME_SIZE * unit
        (left, bottom), (right, top) = part.min(axis=0), part.max(axis=0)
        x, y = (left + right) / 2, (bottom + top) / 2
        gap_x, gap_y = width / 2 + 2 * unit, height / 2 + 2 * unit
        places = [(x, top + gap_y), (x, bottom - gap_y), (right + gap_x, y), (left - gap_x, y)]
        boxes = [np.array([a - width / 2, b - height / 2, a + width / 2, b + height / 2]) for a, b in places]
        # where nothing is free, what covers least
        best = min(range(len(boxes)), key=lambda i: sum(_overlap(boxes[i], other) for other in taken))
        taken.append(boxes[best])
        panel.text(*places[best], name, ha="center", va="center", fontsize=NAME_SIZE, zorder=4)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Area that two boxes (left, bottom, right, top) share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0.0)))


def _label_axes(panel: Any, view: View) -> None:
    panel.set_xlabel(AXIS_NAMES[0])
    panel.set_ylabel(AXIS_NAMES[1])
    if view == "top":
        panel.set_aspect("equal", adjustable="datalim")
        panel.spines[["top", "right"]].set_visible(False)
        return
    panel.set_zlabel(AXIS_NAMES[2])
    panel.set_aspect("equal")
    panel.view_init(elev=ELEVATION, azim=AZIMUTH)
    for axis, n_ticks in ((panel.xaxis, 4), (panel.yaxis, 4), (panel.zaxis, 2)):
        axis.set_major_locator(MaxNLocator(n_ticks))
        axis.pane.fill = False
        axis.labelpad = 8
        axis.label.set_fontsize("small")
    panel.tick_params(labelsize="small")
    panel.grid(False)


def _title(session: xr.Dataset, n: int) -> str:
    n_rois = session.sizes["roi"]
    rois = f"{n} ROIs" if n == n_rois else f"{n} of {n_rois} ROIs"
    source = {"estimate": ", regions estimated", "histology": ", regions from histology"}
    return (
        f"{session.attrs['subject']}, {session.attrs['date']}: {rois}{source.get(session.attrs['region_source'], '')}"
    )
