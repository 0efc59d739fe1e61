"""Neuron-dropping curves, one panel a target."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mesodask.figures.palette import session_colors
from mesodask.figures.panels import set_title, target_panels
from mesodask.figures.saving import DPI, checked_file, save_figure
from mesodask.io.runstore import RunStore
from mesodask.summary import METRIC_NAMES, summarize
from mesodask.tracking import session_labels

PANEL_SIZE = (4.6, 3.4)  # inches


def plot_ndc(
    run: "RunStore | str | Path | xr.Dataset",
    *,
    save: str | Path | None = None,
    cmap: str = "viridis",
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    dpi: float = DPI,
) -> Figure:
    """Plot the curves of a run: mean score against the number of neurons, a panel a target, a line a session.

    Bands are the 95 % interval over resamples (the spread of neurons and folds, not of trials); the grey band is the
    95 % interval of the null's means. A dot marks k*, the smallest k within delta of the ceiling. Where the null is
    invalid for the target, the panel's title says so; the figure's title names a user's decoder.

    Parameters
    ----------
    run : RunStore, path-like or xarray.Dataset
        A run, its path, or its summary (:func:`mesodask.summarize`).
    save : path-like, optional
        Write the figure here too; the ending decides the format.
    cmap : str
        Sequential colour map for the sessions, in date order.
    axes : sequence of Axes, optional
        Draw the targets there, in place of a new figure.
    figsize : (float, float), optional
        Of a new figure, inches; by the number of targets by default.
    dpi : float
        Dots an inch of the file.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    StoreError
        There is no such run.
    SettingsError
        The figure cannot be saved under this name, or there are fewer axes than targets.
    """
    if save is not None:
        checked_file(save)
    summary = run if isinstance(run, xr.Dataset) else summarize(run)
    targets = summary["target"].values.tolist()
    figure, panels = target_panels(len(targets), axes, figsize, PANEL_SIZE)
    colors = session_colors(summary.sizes["session"], cmap)
    for panel, target in zip(panels, targets, strict=False):
        one = summary.sel(target=target)
        draw_target(panel, one, colors)
        panel.set_title(target if one["null_valid"].item() else f"{target} (null invalid: {one['null_kind'].item()})")
        panel.set_ylabel(METRIC_NAMES[summary.attrs["metric"]])
    if axes is None:
        set_title(figure, *_title(summary))
    if save is not None:
        save_figure(figure, save, {"figure": "ndc", **summary.attrs}, dpi)
    return figure


def _title(summary: xr.Dataset) -> tuple[str, str]:
    attrs = summary.attrs
    dates = summary["date"].values
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    decoder = f", decoder {attrs['decoder']}" if attrs["decoder"] else ""
    with_null = int(summary["n_null_resamples"].max())
    resamples = f"{attrs['n_resamples']} resamples"
    if 0 < with_null < attrs["n_resamples"]:
        resamples += f" (null and p: {with_null})"
    return (
        f"{attrs['subject']}, {span}: {attrs['n_shared']} shared neurons, {resamples}{decoder}",
        f"bands: 95 % over resamples; grey: 95 % of the null's means; dots: k* (delta {attrs['delta']:g}); "
        "percent: rewarded trials",
    )


def draw_target(panel: Axes, summary: xr.Dataset, colors: Sequence[tuple[float, ...]]) -> None:
    """Draw one target's curves on given axes.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where to draw.
    summary : xarray.Dataset
        Summary of one target.
    colors : sequence of colours
        One a session.
    """
    k, names = summary["k"].values, session_labels(summary)
    ends = []
    for session, color in enumerate(colors):
        one = summary.isel(session=session)
        there = np.isfinite(one["mean"].values)
        if not there.any():
            continue
        curve = {name: one[name].values[there] for name in ("mean", "low", "high", "null_low", "null_high")}
        x = k[there]
        panel.fill_between(x, curve["null_low"], curve["null_high"], color="0.6", alpha=0.25, lw=0, zorder=1)
        panel.fill_between(x, curve["low"], curve["high"], color=color, alpha=0.15, lw=0, zorder=2)
        panel.plot(x, curve["mean"], color=color, lw=1.6, zorder=3, label=_label(names[session], one))
        star = float(one["k_star"])
        if np.isfinite(star):
            panel.plot(star, curve["mean"][x == star], "o", color=color, mec="white", ms=6, zorder=4)
        ends.append((float(x[-1]), float(curve["mean"][-1]), float(one["performance"]), color))
    panel.axhline(0.5, color="0.4", lw=0.8, ls=":", zorder=0)
    _label_ends(panel, ends)
    _note_skipped(panel, summary)
    _logarithmic(panel, k)


def _label(name: str, one: xr.Dataset) -> str:
    star, p = float(one["k_star"]), float(one["p_largest"])
    parts = [name, f"k* = {star:.0f}" if np.isfinite(star) else "no k*"]
    if np.isfinite(p):
        parts.append(f"p = {p:.2g}")
    return ", ".join(parts)


def _label_ends(panel: Axes, ends: list[tuple[float, float, float, tuple[float, ...]]]) -> None:
    """Write each session's performance at the end of its line, moved apart where lines end close together."""
    panel.autoscale_view()
    low, high = panel.get_ylim()
    step, lowest = 0.055 * (high - low), -np.inf
    for x, y, performance, color in sorted(ends, key=lambda end: end[1]):
        if not np.isfinite(performance):
            continue
        lowest = max(y, lowest + step)
        panel.annotate(
            f"{performance:.0%}", (x, lowest), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize="x-small", color=color, annotation_clip=False,
        )  # fmt: skip


def _note_skipped(panel: Axes, summary: xr.Dataset) -> None:
    skipped = np.array(session_labels(summary))[summary["status"].values == "skipped"]
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize="x-small", frameon=False, loc="upper left", handlelength=1.2)
        # the legend gets room of its own above the curves, where no score can be
        low, high = panel.get_ylim()
        ticks = [tick for tick in panel.get_yticks() if low <= tick <= 1.001]
        panel.set_ylim(low, high + 0.085 * (high - low) * len(panel.get_legend_handles_labels()[1]))
        panel.set_yticks(ticks)
    if len(skipped):
        text = f"skipped: {', '.join(skipped[:4])}" + (f" and {len(skipped) - 4} more" if len(skipped) > 4 else "")
        panel.text(0.98, 0.02, text, transform=panel.transAxes, ha="right", fontsize="x-small", color="0.3")


def _logarithmic(panel: Axes, k: np.ndarray) -> None:
    panel.set_xscale("log", base=2)
    # the largest k is any number: a power of 2 just below it gives way
    shown = [value for value in k if value == k[-1] or value < 0.75 * k[-1]]
    panel.set_xticks(shown, [str(value) for value in shown])
    panel.minorticks_off()
    panel.set_xlabel("number of neurons")
    panel.spines[["top", "right"]].set_visible(False)
