"""Which days hold together: neurons shared by each two sessions, and by the days between them."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mesodask.figures.saving import DPI, figure_of, save_figure
from mesodask.tracking import session_labels

CELL = 0.36  # inches of the heat map for a session
MAP_SIZE = (3.2, 8.0)  # inches, smallest and largest
MARGIN = 1.6  # inches beside the map for dates and colour bar
GAP_WIDTH = 4.2  # inches
POINT = 1 / 72  # inches
LABEL_SIZE, SMALLEST_TEXT = 7.0, 4.5  # points
DIAGONAL, LINE = "0.9", "#21668d"


def plot_tracking(
    table: xr.Dataset,
    *,
    save: str | Path | None = None,
    share: bool = False,
    cmap: str = "viridis",
    axes: tuple[Axes, Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    dpi: float = DPI,
) -> Figure:
    """Plot a tracking table: neurons shared by each two sessions as a heat map, and against the days between them.

    The diagonal, in grey, has the neurons of each session. Numbers stand in the cells as long as they are legible.
    In the second panel a dot is a pair, the line their mean at each distance.

    Parameters
    ----------
    table : xarray.Dataset
        From :func:`mesodask.tracking_table`.
    save : path-like, optional
        Write the figure here too; the ending decides the format.
    share : bool
        Show the share of the smaller session's neurons in place of their number.
    cmap : str
        Sequential colour map, dark to light.
    axes : (Axes, Axes), optional
        Draw the two panels there, in place of a new figure.
    figsize : (float, float), optional
        Of a new figure, inches; by the number of sessions by default.
    dpi : float
        Dots an inch of the file.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingsError
        The figure cannot be saved under this name.
    """
    n_sessions = table.sizes["session"]
    side = float(np.clip(CELL * n_sessions, *MAP_SIZE))
    if axes is None:
        size = figsize or (side + MARGIN + GAP_WIDTH, max(side + 1.2, 3.6))
        figure = Figure(figsize=size, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[side + MARGIN, GAP_WIDTH])
    else:
        left, right = axes
        figure = figure_of(left)
    values = shared_values(table, share)
    draw_map(left, table, values, share=share, cell=side / n_sessions, cmap=cmap)
    draw_gaps(right, table, values, share=share)
    if axes is None:
        figure.suptitle(_title(table), fontsize="small")
    if save is not None:
        save_figure(
            figure, save, {"figure": "tracking", **table.attrs, "sessions": table["session"].values.tolist()}, dpi
        )
    return figure


def shared_values(table: xr.Dataset, share: bool) -> np.ndarray:
    """Neurons shared by each two sessions, or their share of the smaller session's in percent (NaN if it has none)."""
    shared = table["shared"].values.astype(float)
    if not share:
        return shared
    n_neurons = table["n_neurons"].values.astype(float)
    smaller = np.minimum(n_neurons[:, None], n_neurons[None, :])
    return 100 * shared / np.where(smaller > 0, smaller, np.nan)


def _title(table: xr.Dataset) -> str:
    dates = table["date"].values
    return (
        f"{table.attrs['subject']}, {dates[0]} to {dates[-1]}: {table.sizes['session']} sessions, "
        f"{table.sizes['neuron']} tracked neurons in all"
    )


def _what(share: bool) -> str:
    return "% of the smaller session's neurons, shared by two sessions" if share else "neurons shared by two sessions"


def draw_map(panel: Axes, table: xr.Dataset, values: np.ndarray, *, share: bool, cell: float, cmap: str) -> None:
    """Draw the heat map of pairs on given axes.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where to draw.
    table : xarray.Dataset
        Names the sessions.
    values : numpy.ndarray, (n_sessions, n_sessions)
        See :func:`shared_values`.
    share : bool
        Whether they are shares.
    cell : float
        Inches that a session takes, for the size of what is written.
    cmap : str
        Sequential colour map, dark to light.
    """
    n = len(values)
    pairs = np.where(np.eye(n, dtype=bool), np.nan, values)
    top = max(float(np.nanmax(pairs, initial=0.0)), 1.0)
    image = panel.imshow(pairs, cmap=mpl.colormaps[cmap].with_extremes(bad=DIAGONAL), vmin=0, vmax=top)
    bar = panel.figure.colorbar(image, ax=panel, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=LABEL_SIZE)
    panel.set_title(_what(share) + ("" if share else " (grey: of one alone)"), fontsize="small")
    every = max(1, int(np.ceil(LABEL_SIZE * 1.2 * POINT / cell)))
    labels = session_labels(table)
    panel.set_xticks(range(0, n, every), labels[::every], rotation=90, fontsize=LABEL_SIZE)
    panel.set_yticks(range(0, n, every), labels[::every], fontsize=LABEL_SIZE)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    _annotate(panel, values if not share else pairs, cell, top)


def _annotate(panel: Axes, values: np.ndarray, cell: float, top: float) -> None:
    """Write the numbers into the cells, if the longest of them is legible there."""
    texts = {place: f"{value:.0f}" for place, value in np.ndenumerate(values) if np.isfinite(value)}
    # a digit is about 0.62 of the font's size wide
    size = min(0.85 * cell / POINT / (0.62 * max(map(len, texts.values()), default=1)), LABEL_SIZE)
    if size < SMALLEST_TEXT:
        return
    for (row, column), text in texts.items():
        light = row != column and values[row, column] < 0.6 * top
        color = "white" if light else "black"
        panel.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def draw_gaps(panel: Axes, table: xr.Dataset, values: np.ndarray, *, share: bool) -> None:
    """Draw what two sessions share against the days between them, on given axes; arguments as for :func:`draw_map`."""
    pairs = np.triu_indices(len(values), k=1)
    days, shared = table["gap_days"].values[pairs], values[pairs]
    there = np.isfinite(shared)
    days, shared = days[there], shared[there]
    gaps = np.unique(days)
    panel.plot(days, shared, "o", ms=3.5, mew=0, color="0.45", alpha=0.5, label="a pair of sessions")
    panel.plot(gaps, [shared[days == gap].mean() for gap in gaps], "-o", ms=3, color=LINE, lw=1.2, label="their mean")
    panel.set_ylim(bottom=0)
    apart = table["gap"].values
    margin = 0.5 + 0.02 * (apart[-1] - apart[0])  # whole days, also where all pairs lie equally far apart
    panel.set_xlim(apart[0] - margin, apart[-1] + margin)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("days between the sessions", fontsize="small")
    panel.set_ylabel(_what(share), fontsize="small")
    panel.tick_params(labelsize="small")
    panel.legend(fontsize="x-small", frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
