"""A raster: the activity of a session's ROIs in Rastermap order, with the wheel above."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mesodask import raster
from mesodask.errors import SettingsError
from mesodask.figures.palette import RegionColors, region_colors, region_handles
from mesodask.figures.saving import DPI, checked_file, figure_of, save_figure
from mesodask.numerics.scaling import HIGH, LOW
from mesodask.selection import Narrowing

Background = Literal["regions", "firing_rate"] | None

FIGSIZE = (8.0, 7.5)  # inches
PANEL_SHARE = (0.8, 0.72)  # of the figure, that the raster itself takes about
PIXEL_RANGE = (20.0, 99.5)  # percentiles of the pixels that are drawn without ink, and black
BAND_ALPHA = 0.55  # of what lies behind: activity is read on top of it
MOST_REGIONS = 30  # that a legend has room for
EVENT_LINES = {"stimulus": ("#0072b2", "-"), "movement": ("#009e73", "--"), "feedback": ("#d55e00", ":")}
# both transparent and black at the same time: what lies behind shows where there is no activity
INK = LinearSegmentedColormap.from_list("ink", [(0, 0, 0, 0), (0, 0, 0, 1)]).with_extremes(bad="white")


def plot_raster(
    session: xr.Dataset | str | Path,
    *,
    rows: Narrowing = None,
    interval: raster.Interval = None,
    bg: Background = "regions",
    events: Sequence[str] = (),
    colors: RegionColors = "distinct",
    cmap: str | Colormap = "YlOrBr",
    vmin: float | None = None,
    vmax: float | None = None,
    sort: bool = True,
    axes: tuple[Axes, Axes] | None = None,
    figsize: tuple[float, float] = FIGSIZE,
    dpi: float = DPI,
    save: str | Path | None = None,
) -> Figure:
    """Plot the activity of a session, ROIs in Rastermap order, with the wheel's velocity above.

    Each trace is scaled between its 20th and 99th percentile over the recording, and binned to the pixels that the
    figure has; times without a recording are white. The signal is read in blocks, so that a session of any size can be
    drawn.

    Parameters
    ----------
    session : xarray.Dataset or path-like
        Session store, opened (:func:`mesodask.load_or_embed`) or its path.
    rows : optional
        A mask over the ROIs (n_rois,), rows of the store, or Allen acronyms: these ROIs alone.
    interval : (float, float), "session" or None
        Start and end in s on the session's clock; the whole session; by default one minute from a third of it on.
    bg : {"regions", "firing_rate"} or None
        What the colour behind the activity tells: the region of each ROI, or its mean activity in the interval.
    events : sequence of {"stimulus", "movement", "feedback"}
        Mark the onset of stimuli, first movements, feedbacks.
    colors : {"distinct", "allen"}
        Colours of regions: well-separated ones, or the Allen atlas's, in which neighbours are nearly the same.
    cmap : str or matplotlib.colors.Colormap
        Of mean activity.
    vmin, vmax : float, optional
        Scaled activity below which nothing is drawn, and from which on it is black; by default the 20th percentile of
        the pixels (0 or more) and the 99.5th: the more a pixel averages, the less it differs from the others.
    sort : bool
        Whether ROIs come in Rastermap order; else as `rows` has them, or the store.
    axes : (Axes, Axes), optional
        Draw the wheel and the raster there, in place of a new figure.
    figsize : (float, float)
        Of a new figure, inches.
    dpi : float
        Dots an inch: what the raster is binned to and saved with.
    save : path-like, optional
        Write the figure here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingsError
        An argument has a value that is not allowed.
    DataError
        Events of a session without trials.
    StoreError
        The store is damaged, or has no Rastermap order (``sort=False`` does without).
    """
    if bg not in ("regions", "firing_rate", None):
        raise SettingsError(f"bg: {bg!r}; expected 'regions', 'firing_rate' or None")
    if save is not None:
        checked_file(save)  # before the work, not after
    session = raster.opened(session)
    marks = raster.event_times(session, events, interval)
    figure, wheel_panel, panel = _panels(axes, figsize)
    n_columns, n_bands = _pixels(panel, dpi, is_new=axes is None)
    image = raster.raster_image(
        session, rows=rows, interval=interval, n_bands=n_bands, n_columns=n_columns, sort=sort
    )  # fmt: skip
    draw_background(panel, image, bg, colors, cmap)
    draw_activity(panel, image, vmin, vmax)
    draw_wheel(wheel_panel, raster.wheel_velocity(session, interval))
    draw_events((wheel_panel, panel), marks)
    wheel_panel.set_title(_title(session, image), fontsize="small", loc="left", y=1.28 if marks else 1.0)
    _label_time(wheel_panel, panel, image)
    if save is not None:
        save_figure(figure, save, _settings(image, bg, events, rows), dpi)
    return figure


def _panels(axes: tuple[Axes, Axes] | None, figsize: tuple[float, float]) -> tuple[Figure, Axes, Axes]:
    if axes is not None:
        wheel_panel, panel = axes
        return figure_of(panel), wheel_panel, panel
    figure = Figure(figsize=figsize, layout="constrained")
    wheel_panel, panel = figure.subplots(2, 1, height_ratios=[1, 8])
    return figure, wheel_panel, panel


def _pixels(panel: Axes, dpi: float, *, is_new: bool) -> tuple[int, int]:
    """Dots across and down that the raster will have."""
    size = figure_of(panel).get_size_inches() * dpi
    # a new figure is laid out when it is drawn
    share = np.array(PANEL_SHARE) if is_new else np.abs(panel.get_position().size)
    across, down = np.maximum(np.round(size * share), 1).astype(int)
    return int(across), int(down)


def draw_background(
    panel: Axes, image: xr.Dataset, bg: Background, colors: RegionColors = "distinct", cmap: str | Colormap = "YlOrBr"
) -> None:
    """Draw what lies behind the activity, as one image of a pixel a band, with its legend or colour bar.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where to draw.
    image : xarray.Dataset
        From :func:`mesodask.raster.raster_image`.
    bg, colors, cmap
        As in :func:`plot_raster`.
    """
    if bg == "regions":
        regions = image["region"].values.tolist()
        chosen = region_colors(regions, image["region_color"].values.tolist(), colors)
        panel.imshow(band_colors(image, chosen), extent=_extent(image), aspect="auto", alpha=BAND_ALPHA, zorder=0)
        panel.legend(
            handles=region_handles(regions, chosen, most=MOST_REGIONS, alpha=BAND_ALPHA), title="region (ROIs)",
            loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="x-small", title_fontsize="x-small", frameon=False,
        )  # fmt: skip
    elif bg == "firing_rate":
        rate = image["rate"].values[:, None]
        top = float(np.nanpercentile(rate, 98)) if np.isfinite(rate).any() else 1.0
        drawn = panel.imshow(
            rate, extent=_extent(image), aspect="auto", cmap=mpl.colormaps[cmap] if isinstance(cmap, str) else cmap,
            vmin=0.0, vmax=top or 1.0, interpolation="nearest", alpha=BAND_ALPHA, zorder=0,
        )  # fmt: skip
        bar = panel.figure.colorbar(drawn, ax=panel, location="right", shrink=0.6, pad=0.02, extend="max", aspect=30)
        bar.set_label(f"mean {image.attrs['signal_kind']} activity in the interval (a.u.)", fontsize="small")
        bar.ax.tick_params(labelsize="small")
        bar.outline.set_visible(False)


def band_colors(image: xr.Dataset, colors: dict[str, tuple[float, float, float]]) -> np.ndarray:
    """Mix the colours of the ROIs of each band: (n_bands, 1, 3) RGB."""
    of_roi = np.array([colors[region] for region in image["region"].values])
    band = image["band"].values
    mixed = np.zeros((image.sizes["band"], 3))
    np.add.at(mixed, band, of_roi)
    return (mixed / np.bincount(band)[:, None])[:, None, :]


def draw_activity(panel: Axes, image: xr.Dataset, vmin: float | None = None, vmax: float | None = None) -> None:
    """Draw binned activity in black, as much of it as there is, with a colour bar below.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where to draw.
    image : xarray.Dataset
        From :func:`mesodask.raster.raster_image`.
    vmin, vmax : float, optional
        As in :func:`plot_raster`.
    """
    activity = image["activity"].values
    there = activity[np.isfinite(activity)]
    low, high = np.percentile(there, PIXEL_RANGE) if there.size else (0.0, 1.0)
    low, high = max(float(low), 0.0) if vmin is None else vmin, float(high) if vmax is None else vmax
    drawn = panel.imshow(
        activity, extent=_extent(image), aspect="auto", cmap=INK, vmin=low, vmax=high if high > low else low + 1.0,
        interpolation="nearest", zorder=1,
    )  # fmt: skip
    bar = panel.figure.colorbar(drawn, ax=panel, location="bottom", shrink=0.5, pad=0.01, aspect=40, extend="both")
    bar.set_label(f"activity, scaled: a trace's {LOW:.0f}th percentile is 0, its {HIGH:.0f}th is 1", fontsize="small")
    bar.ax.tick_params(labelsize="small")
    order = "Rastermap order" if image.attrs["sorted"] else "as they are given"
    panel.set_ylabel(f"ROIs, {order}")
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))


def _extent(image: xr.Dataset) -> tuple[float, float, float, float]:
    # the first ROI is at the top
    return image.attrs["start"], image.attrs["stop"], image.sizes["rank"], 0


def draw_wheel(panel: Axes, velocity: xr.DataArray | None) -> None:
    """Draw the wheel's velocity on given axes, or say that there is none."""
    panel.spines[["top", "right"]].set_visible(False)
    if velocity is None or velocity.size == 0:
        panel.text(0.5, 0.5, "no wheel recorded", transform=panel.transAxes, ha="center", va="center", color="0.4")
        panel.set_yticks([])
        return
    panel.plot(velocity["time"].values, velocity.values, color="black", lw=0.7)
    panel.set_ylabel("wheel\n(rad/s)")
    panel.yaxis.set_major_locator(MaxNLocator(3))


def draw_events(panels: tuple[Axes, Axes], marks: Mapping[str, np.ndarray]) -> None:
    """Mark events, times in s by name, on the wheel's and the raster's axes, with a legend above the wheel."""
    for name, times in marks.items():
        color, style = EVENT_LINES[name]
        for panel, zorder in zip(panels, (0, 2), strict=True):  # behind the wheel, in front of the raster
            transform = panel.get_xaxis_transform()
            panel.vlines(
                times, 0, 1, transform=transform, color=color, ls=style, lw=1.0, zorder=zorder, label=name
            )  # fmt: skip
    if marks:
        panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize="small", frameon=False)


def _label_time(wheel_panel: Axes, panel: Axes, image: xr.Dataset) -> None:
    for one in (wheel_panel, panel):
        one.set_xlim(image.attrs["start"], image.attrs["stop"])
    wheel_panel.tick_params(labelbottom=False)
    panel.set_xlabel("time (s)")


def _title(session: xr.Dataset, image: xr.Dataset) -> str:
    n, n_rois = image.sizes["rank"], session.sizes["roi"]
    rois = f"{n} ROIs" if n == n_rois else f"{n} of {n_rois} ROIs"
    return f"{session.attrs['subject']}, {session.attrs['date']}: {rois}, {session.attrs['signal_kind']} activity"


def _settings(image: xr.Dataset, bg: Background, events: Sequence[str], rows: Any) -> dict[str, Any]:
    return {
        "figure": "raster", **image.attrs, "bg": bg, "events": list(events), "n_drawn": image.sizes["rank"],
        "all_rois": rows is None, "percentiles": [LOW, HIGH],
    }  # fmt: skip
