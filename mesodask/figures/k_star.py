"""How many neurons are enough, over days."""

from datetime import date
from pathlib import Path

import matplotlib.dates as mdates
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from mesodask.figures.palette import DISTINCT
from mesodask.figures.saving import DPI, checked_file, figure_of, save_figure
from mesodask.io.runstore import RunStore
from mesodask.summary import summarize
from mesodask.tracking import session_labels

FIGSIZE = (6.4, 4.0)  # inches
MARKERS = "os^Dvp*h"
SPREAD = 0.36  # of the shortest time between two sessions, over which the targets of one stand side by side
MOST_DATES = 12  # that an axis has room for
EID_LETTERS = 8  # that name a session whose date is not known


def plot_k_star(
    run: "RunStore | str | Path | xr.Dataset",
    *,
    axes: Axes | None = None,
    figsize: tuple[float, float] = FIGSIZE,
    dpi: float = DPI,
    save: str | Path | None = None,
) -> Figure:
    """Plot k*, the smallest number of neurons whose score is within delta of the ceiling, over days.

    Sessions stand at their dates, or side by side where any has none. A line a target; bars are the 95 % bootstrap
    interval. Sessions without k* (not significant at the largest k, or not finished) have a cross at the top in place
    of a dot, and those that were skipped have none.

    Parameters
    ----------
    run : RunStore, path-like or xarray.Dataset
        A run, its path, or its summary (:func:`mesodask.summarize`).
    axes : Axes, optional
        Draw there, in place of a new figure.
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
    StoreError
        There is no such run.
    SettingsError
        The figure cannot be saved under this name.
    """
    if save is not None:
        checked_file(save)
    summary = run if isinstance(run, xr.Dataset) else summarize(run)
    figure = Figure(figsize=figsize, layout="constrained") if axes is None else figure_of(axes)
    panel = figure.subplots() if axes is None else axes
    days = _days(summary["date"].values.tolist())
    dated = days is not None
    if days is None:
        days = np.arange(summary.sizes["session"], dtype=float)
    step = float(np.diff(days).min(initial=1.0))
    targets = summary["target"].values.tolist()
    shifts = SPREAD * step * (np.arange(len(targets)) - (len(targets) - 1) / 2) / max(len(targets), 1)
    lost = 0
    for i, target in enumerate(targets):
        lost += _draw_target(
            panel, summary.sel(target=target), days + shifts[i], DISTINCT[i % len(DISTINCT)], MARKERS[i % len(MARKERS)]
        )
    handles, labels = panel.get_legend_handles_labels()
    if lost:
        handles.append(Line2D([], [], marker="x", color="0.3", ls=""))
        labels.append("no k*")
    panel.legend(handles, labels, fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _label(panel, summary)
    _name_sessions(panel, summary, days, dated=dated)
    if save is not None:
        save_figure(figure, save, {"figure": "k_star", **summary.attrs}, dpi)
    return figure


def _days(dates: list[str]) -> np.ndarray | None:
    """Days as matplotlib counts them, sessions of the same day a little apart; None if there is none of a session.

    Examples
    --------
    >>> days = _days(["2025-01-01", "2025-01-01", "2025-01-03"])
    >>> (days - days[0]).round(3).tolist(), _days(["2025-01-01", ""]), _days(["odour", "tone"])
    ([0.0, 0.3, 2.0], None, None)
    """
    try:
        days = np.asarray(mdates.date2num([date.fromisoformat(day) for day in dates]), dtype=float)
    except ValueError:  # not stored, or the name of a user's population
        return None
    earlier = np.array([np.count_nonzero(days[:i] == day) for i, day in enumerate(days)])
    return days + 0.3 * earlier


def _draw_target(panel: Axes, one: xr.Dataset, days: np.ndarray, color: str, marker: str) -> int:
    """Draw one target's line, and tell how many of its sessions have no k*."""
    star, low, high = (one[name].values for name in ("k_star", "k_star_low", "k_star_high"))
    there = np.isfinite(star)
    below, above = np.maximum(star - low, 0)[there], np.maximum(high - star, 0)[there]
    panel.errorbar(
        days[there], star[there], yerr=np.nan_to_num([below, above]), fmt=f"-{marker}", color=color, ms=5, lw=1.3,
        elinewidth=1.0, capsize=2.5, label=str(one["target"].values) + ("" if one["null_valid"] else " (null invalid)"),
    )  # fmt: skip
    lost = ~there & (one["status"].values != "skipped")
    transform = panel.get_xaxis_transform()
    panel.plot(days[lost], np.full(lost.sum(), 0.98), "x", color=color, transform=transform, ls="", label="_no k*")
    return int(lost.sum())


def _name_sessions(panel: Axes, summary: xr.Dataset, days: np.ndarray, *, dated: bool) -> None:
    """Name the sessions below the axis; of many dates a calendar's, of many names as many as there is room for."""
    if dated and len(days) > MOST_DATES:
        locator = mdates.AutoDateLocator()
        panel.xaxis.set_major_locator(locator)
        panel.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    else:
        every = -(-len(days) // MOST_DATES)
        eids = summary["session"].values.tolist()
        names = [day or eid[:EID_LETTERS] for day, eid in zip(session_labels(summary), eids, strict=True)]
        panel.set_xticks(days[::every], names[::every], rotation=45, ha="right")
    panel.set_xlabel("day of the session" if dated else "session")


def _label(panel: Axes, summary: xr.Dataset) -> None:
    panel.set_yscale("log", base=2)
    panel.yaxis.set_major_formatter(ScalarFormatter())
    panel.set_ylabel("k* (neurons)")
    panel.margins(x=0.05, y=0.12)
    panel.spines[["top", "right"]].set_visible(False)
    attrs = summary.attrs
    panel.set_title(
        f"{attrs['subject']}: {attrs['n_shared']} shared neurons, delta {attrs['delta']:g}; bars: 95 % bootstrap",
        fontsize="small",
    )
