"""How sparse a population's activity is: by event window, trial by trial, and as distributions across sessions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from mesodask.errors import SettingsError
from mesodask.figures.palette import DISTINCT, Color, session_colors
from mesodask.figures.saving import DPI, checked_file, figure_of, save_figure
from mesodask.tracking import session_labels

Kind = Literal["windows", "trials", "distributions"]

FIGSIZES: dict[str, tuple[float, float]] = {
    "windows": (9.0, 9.0), "trials": (8.0, 9.5), "distributions": (9.0, 3.8),
}  # fmt: skip  # inches
N_PANELS = {"windows": 4, "trials": 1, "distributions": 2}
DODGE = 0.7  # of the distance between two windows, over which the sessions of one stand side by side
N_BINS = 40
LOWEST_PERCENTILE = 0.5  # of the cells that are active at all: where the histogram of rates begins
ROW = 0.85  # of the distance between two rows, that the most variable one takes
SPAN = (2.0, 98.0)  # percentiles of trials that count as its spread


def plot_sparseness(
    result: xr.Dataset,
    *,
    kind: Kind = "windows",
    session: str | None = None,
    window: str = "full_session",
    cmap: str = "viridis",
    axes: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    dpi: float = DPI,
    save: str | Path | None = None,
) -> Figure:
    """Plot the sparseness of sessions.

    - ``windows``: trials, time, mean rate and sparseness of each event window, a colour a session in date order; bars
      if there is one session.
    - ``trials``: sparseness trial by trial, a row a window, of one session.
    - ``distributions``: histograms of the trials' sparseness and of the cells' rates, a line a session.

    Parameters
    ----------
    result : xarray.Dataset
        From :func:`mesodask.sparseness`.
    kind : {"windows", "trials", "distributions"}
        Which figure.
    session : str, optional
        Only this session, by its eid; ``trials`` needs it where there are several.
    window : str
        The window whose distributions are shown.
    cmap : str
        Sequential colour map for the sessions, in date order.
    axes : sequence of Axes, optional
        Draw there, in place of a new figure: on 4 axes, 1 or 2, in the order of the kinds above.
    figsize : (float, float), optional
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
        There is no such kind, session or window, or the number of axes is another.
    """
    if kind not in N_PANELS:
        raise SettingsError(f"kind: {kind!r} is none of {', '.join(N_PANELS)}")
    if save is not None:
        checked_file(save)
    chosen = _chosen(result, session, window)
    if kind == "trials" and chosen.sizes["session"] > 1:
        eids = ", ".join(chosen["session"].values)
        raise SettingsError(f"session: trials are drawn of one session; name one of {eids}")
    figure, panels = _panels(kind, axes, figsize or FIGSIZES[kind])
    if kind == "windows":
        draw_windows(panels, chosen, session_colors(chosen.sizes["session"], cmap))
    elif kind == "trials":
        draw_trials(panels[0], chosen.isel(session=0))
    else:
        draw_distributions(panels, chosen.sel(window=window), session_colors(chosen.sizes["session"], cmap))
    if axes is None:
        figure.suptitle(_title(chosen), fontsize="small")
    if save is not None:
        about = {**result.attrs, "figure": f"sparseness {kind}", "sessions": chosen["session"].values.tolist()}
        save_figure(figure, save, about, dpi)
    return figure


def _chosen(result: xr.Dataset, session: str | None, window: str) -> xr.Dataset:
    if window not in result["window"].values:
        raise SettingsError(f"window: {window!r} is none of {', '.join(map(str, result['window'].values))}")
    if session is None:
        return result
    if session not in result["session"].values:
        raise SettingsError(f"session: {session!r} is none of {', '.join(result['session'].values)}")
    return result.sel(session=[session])


def _panels(kind: str, axes: Sequence[Axes] | None, figsize: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    n = N_PANELS[kind]
    if axes is not None:
        if len(axes) != n:
            raise SettingsError(f"axes: {len(axes)} given; kind={kind!r} takes {n}")
        return figure_of(axes[0]), list(axes)
    figure = Figure(figsize=figsize, layout="constrained")
    shape = (1, 2) if kind == "distributions" else (n, 1)
    return figure, figure.subplots(*shape, squeeze=False).ravel().tolist()


def _title(result: xr.Dataset) -> str:
    labels = session_labels(result)
    span = labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}, {len(labels)} sessions"
    n_neurons = result["n_neurons"].values
    cells = f"{n_neurons.min()}" if n_neurons.min() == n_neurons.max() else f"{n_neurons.min()} to {n_neurons.max()}"
    return f"{result.attrs['subject']}, {span}: {cells} cells, {result.attrs['signal_kind']} activity"


def _rate_unit(result: xr.Dataset) -> str:
    return "scaled" if result.attrs["settings"]["scale"] else "a.u."


def draw_windows(panels: Sequence[Axes], result: xr.Dataset, colors: Sequence[Color]) -> None:
    """Draw trials, time, mean rate and sparseness of each window on four axes, one below the other."""
    n_sessions, places = result.sizes["session"], np.arange(result.sizes["window"])
    shifts = DODGE * (np.arange(n_sessions) - (n_sessions - 1) / 2) / n_sessions
    quantities = {
        "n_trials": "trials",
        "duration": "time in the\nwindow (s)",
        "mean_rate": f"mean rate\n({_rate_unit(result)})",
        "sparseness": "sparseness\n(Treves-Rolls)",
    }
    for panel, (name, label) in zip(panels, quantities.items(), strict=True):
        for i, day in enumerate(session_labels(result)):
            values = result[name].values[i].astype(float)
            if n_sessions == 1:
                panel.bar(places, values, color="0.35", width=0.75, label=day)
            else:
                panel.plot(places + shifts[i], values, "o", ms=3.5, mew=0, color=colors[i], label=day)
        panel.set_ylabel(label)
        panel.set_xlim(-0.6, len(places) - 0.4)
        panel.set_xticks(places, [])
        panel.grid(axis="y", lw=0.5, color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[1].set_yscale("log")
    panels[3].set_ylim(0, 1)
    panels[3].set_xticks(places, result["label"].values.tolist(), rotation=55, ha="right", fontsize="small")
    panels[3].set_xlabel("event window (L, R: left, right; block: favoured side)")
    if n_sessions > 1:
        panels[0].legend(
            fontsize="x-small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.1), title="session",
            title_fontsize="x-small", ncols=-(-n_sessions // 24),
        )  # fmt: skip


def draw_trials(panel: Axes, one: xr.Dataset) -> None:
    """Draw one session's sparseness trial by trial, a row a window around its mean, all rows to the same scale."""
    values = one["trial_sparseness"].values
    n_windows = len(values)
    there = np.isfinite(values)
    span = max((float(np.ptp(np.percentile(row[ok], SPAN))) for row, ok in zip(values, there, strict=True) if ok.any()),
               default=0.0) or 1.0  # fmt: skip
    names = []
    for i, (label, row, ok) in enumerate(zip(one["label"].values, values, there, strict=True)):
        base = n_windows - 1 - i  # the first window at the top
        panel.axhline(base, color="0.85", lw=0.6, zorder=0)
        if not ok.any():
            names.append(f"{label}: no trial")
            continue
        trials, mean = np.flatnonzero(ok), float(row[ok].mean())
        color = DISTINCT[(0, 5)[i % 2]]
        panel.plot(trials, base + ROW * (row[ok] - mean) / span, "-o", ms=1.4, lw=0.5, color=color)
        names.append(f"{label}: {mean:.2f} ({ok.sum()})")
    panel.set_yticks(np.arange(n_windows)[::-1], names, fontsize="small")
    panel.set_ylim(-0.8, n_windows - 0.2)
    panel.set_xlim(-1, values.shape[1])
    panel.set_xlabel("trial (of the whole recording: part)")
    panel.set_ylabel(f"event window: mean sparseness (trials); rows lie {span / ROW:.2g} of sparseness apart")
    panel.spines[["top", "right"]].set_visible(False)


def draw_distributions(panels: Sequence[Axes], result: xr.Dataset, colors: Sequence[Color]) -> None:
    """Draw histograms of one window's sparseness by trial and rates by cell on two axes, a line a session."""
    by_trial, by_cell = panels
    rates = result["rate"].values
    trial_bins, rate_bins = _bins(result["trial_sparseness"].values, rates)
    for i, day in enumerate(session_labels(result)):
        sparse = result["trial_sparseness"].values[i]
        rate = rates[i][np.isfinite(rates[i])]
        _step(by_trial, sparse[np.isfinite(sparse)], trial_bins, colors[i], day)
        low = np.count_nonzero(rate < rate_bins[0]) / max(len(rate), 1)
        _step(by_cell, rate, rate_bins, colors[i], f"{day} ({low:.1%} lower)" if low else day)
    by_trial.set_xlabel("sparseness of a trial (Treves-Rolls)")
    by_trial.set_ylabel("share of trials")
    by_cell.set_xscale("log")
    by_cell.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    by_cell.xaxis.set_major_formatter("{x:g}")
    by_cell.xaxis.set_minor_formatter("{x:g}")
    by_cell.set_xlabel(f"mean rate of a cell ({_rate_unit(result)})")
    by_cell.set_ylabel("share of cells")
    for panel in panels:
        panel.set_title(str(result["label"].values), fontsize="small")
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
    by_cell.legend(fontsize="x-small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _bins(sparse: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Borders of the bins of sparseness, and of rates, which are logarithmic."""
    sparse, active = sparse[np.isfinite(sparse)], rates[rates > 0]
    trial_bins = np.linspace(sparse.min(), sparse.max(), N_BINS + 1) if sparse.size else np.linspace(0, 1, N_BINS + 1)
    if trial_bins[0] == trial_bins[-1]:
        trial_bins = trial_bins[0] + np.linspace(-0.5, 0.5, N_BINS + 1)
    if not active.size:
        return trial_bins, np.geomspace(1e-3, 1.0, N_BINS + 1)
    low, high = float(np.percentile(active, LOWEST_PERCENTILE)), float(active.max())
    return trial_bins, np.geomspace(low if low < high else high / 2, high, N_BINS + 1)


def _step(panel: Axes, values: np.ndarray, bins: np.ndarray, color: Color, label: str) -> None:
    counts, _ = np.histogram(values, bins)
    panel.stairs(counts / max(len(values), 1), bins, color=color, lw=1.2, label=label)
