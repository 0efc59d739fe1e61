"""How a readout of one session decodes the others: accuracy by date, and the matrix of all pairs of sessions."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mesodask.errors import DataError, SettingsError
from mesodask.figures.panels import grid, set_title, target_panels
from mesodask.figures.saving import DPI, checked_file, save_figure
from mesodask.io.crossstore import CrossSessionStore, checked_run
from mesodask.numerics.inference import MAX_P
from mesodask.summary import null_claim
from mesodask.tracking import session_labels

XAxis = Literal["date", "days"]

PANEL_SIZE = (4.6, 3.6)  # inches
SMALL = 7.0  # points
BAND, ABROAD, HOME = "0.6", "#21668d", "#c4541c"  # distinct in grey, and to colour-blind eyes
DODGE = 0.3  # days between the sessions of one day
NULL_PERCENTILES = (2.5, 97.5)
LEGEND = 0.6  # inches below the panels
CELL, MAP_SIZE, MARGIN = 0.36, (2.6, 8.0), 1.7  # inches of a session, of a map (least and most), beside it
SMALLEST_TEXT = 4.5  # points, in a cell
POINT = 1 / 72  # inches


def plot_cross_session(
    run: CrossSessionStore | str | Path | Mapping[str, xr.Dataset] | xr.Dataset,
    *,
    x: XAxis = "date",
    axes: Sequence[Axes] | None = None,
    save: str | Path | None = None,
    figsize: tuple[float, float] | None = None,
    dpi: float = DPI,
) -> Figure:
    """Plot how well the readout of the first session decodes each session, a panel a target.

    The diamond is the cross-validated accuracy of the home session, the short strokes are its folds. Circles are the
    later sessions, with a star above where p <= 0.05. The grey band holds the middle 95 % of the null accuracies. The
    dotted line is chance; the numbers at the bottom are the trials decoded. Sessions without a score are named.

    Parameters
    ----------
    run : run, path-like, mapping of str to xarray.Dataset, or xarray.Dataset
        A cross-session run, its path, its datasets by target, or the dataset of one target. Of each dataset are read
        ``accuracy, p_value, n_trials (session)``, ``null_accuracy (session, shuffle)``, ``fold_accuracy (fold)`` and
        ``date (session)``, with the home session first.
    x : {"date", "days"}
        Sessions side by side, named by their date; or at the days since the home session.
    axes : sequence of matplotlib.axes.Axes, optional
        Where to draw, one a target; by default in a new figure, two panels a row.
    save : path-like, optional
        Write the figure here too; the ending decides the format.
    figsize : (float, float), optional
        Of a new figure, inches; by the number of targets by default.
    dpi : float
        Dots an inch of the file.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingsError
        `x` is neither of the two, there are fewer axes than targets, or the figure cannot be saved under this name.
    StoreError
        There is no such run, or it is one of curves.
    DataError
        There is no target, or the run has a matrix of sessions: see :func:`plot_generalization_matrix`.

    Examples
    --------
    >>> session, null = ["a", "b"], np.linspace(0.4, 0.6, 50)
    >>> run = xr.Dataset(
    ...     {"accuracy": ("session", [0.9, 0.8]), "p_value": ("session", [np.nan, 0.02]),
    ...      "null_accuracy": (("session", "shuffle"), [null, null]), "n_trials": ("session", [200, 180]),
    ...      "fold_accuracy": ("fold", [0.88, 0.9, 0.92])},
    ...     {"session": session, "date": ("session", ["2025-01-01", "2025-01-04"])}, {"subject": "S1"})
    >>> plot_cross_session({"choice": run}, x="days").axes[0].get_title()
    'choice'
    """
    if x not in get_args(XAxis):
        raise SettingsError(f"x is {x!r}, expected 'date' or 'days'")
    if save is not None:
        checked_file(save)
    datasets = _datasets(run, matrix=False)
    figure, panels = target_panels(len(datasets), axes, figsize, PANEL_SIZE, LEGEND)
    width = PANEL_SIZE[0] if axes is not None else figure.get_figwidth() / grid(len(datasets))[0]
    for panel, (target, dataset) in zip(panels, datasets.items(), strict=False):
        title, shown = _tested(target, dataset)
        _draw_target(panel, shown, x, width)
        panel.set_title(title)
    handles = _legend_handles(x)
    if axes is None:
        set_title(figure, _title(datasets))
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, fontsize="x-small", frameon=False, handlelength=1.4
        )
    else:
        panels[0].legend(handles=handles, loc="best", fontsize="x-small", frameon=False)
    if save is not None:
        save_figure(figure, save, _about(run, datasets, "cross_session"), dpi)
    return figure


def plot_across(
    run: CrossSessionStore | str | Path,
    *,
    x: XAxis = "date",
    save: str | Path | None = None,
    figsize: tuple[float, float] | None = None,
    dpi: float = DPI,
) -> Figure:
    """Plot a run across sessions by what it is: the matrix if every session was trained on, else accuracy by date."""
    store = checked_run(run, CrossSessionStore)
    if any(store.target(target).by_session for target in store.targets()):
        return plot_generalization_matrix(store, save=save, figsize=figsize, dpi=dpi)
    return plot_cross_session(store, x=x, save=save, figsize=figsize, dpi=dpi)


def plot_generalization_matrix(
    run: CrossSessionStore | str | Path | Mapping[str, xr.Dataset] | xr.Dataset,
    *,
    save: str | Path | None = None,
    cmap: str = "viridis",
    figsize: tuple[float, float] | None = None,
    dpi: float = DPI,
) -> Figure:
    """Plot how well the readout of every session decodes every other, a heat map a target, sessions by date.

    A row is the session trained on, a column the session decoded; the diagonal, framed, is cross-validated. Dots mark
    p <= 0.05; where cells are large enough they hold the accuracy in percent, with a star in place of the dot.
    All maps have the same colours, from chance on; pairs without a score are grey.

    Parameters
    ----------
    run : run, path-like, mapping of str to xarray.Dataset, or xarray.Dataset
        As of :func:`plot_cross_session`, with ``accuracy, p_value (train_session, test_session)``.
    save : path-like, optional
        Write the figure here too; the ending decides the format.
    cmap : str
        Sequential colour map, dark to light.
    figsize : (float, float), optional
        Of a new figure, inches; by the number of targets and sessions by default.
    dpi : float
        Dots an inch of the file.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingsError
        The figure cannot be saved under this name.
    StoreError
        There is no such run, or it is one of curves.
    DataError
        There is no target, or the run trained on the first session alone: see :func:`plot_cross_session`.

    Examples
    --------
    >>> pairs = ("train_session", "test_session")
    >>> run = xr.Dataset(
    ...     {"accuracy": (pairs, [[0.9, 0.7], [0.6, 0.8]]), "p_value": (pairs, [[np.nan, 0.02], [0.3, np.nan]])},
    ...     {"date": ("session", ["2025-01-01", "2025-01-04"])}, {"subject": "S1"})
    >>> [text.get_text() for text in plot_generalization_matrix({"choice": run}).axes[0].texts]
    ['90', '70*', '60', '80']
    """
    if save is not None:
        checked_file(save)
    datasets = _datasets(run, matrix=True)
    side = _map_size(datasets, figsize)
    figure, panels = target_panels(len(datasets), None, figsize, (side + MARGIN, side + MARGIN), LEGEND)
    best = max((float(np.nanmax(d["accuracy"].values, initial=0.5)) for d in datasets.values()), default=1.0)
    norm = mpl.colors.Normalize(0.5, max(best, 0.55))
    colors = mpl.colormaps[cmap].with_extremes(bad="0.9", under=mpl.colormaps[cmap](0.0))
    for panel, (target, dataset) in zip(panels, datasets.items(), strict=False):
        title, shown = _tested(target, dataset)
        _draw_matrix(panel, shown, colors, norm, side / dataset.sizes["train_session"])
        panel.set_title(title)
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, colors), ax=list(panels[: len(datasets)]), shrink=0.6, pad=0.02, extend="min"
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label("accuracy", fontsize="small")
    set_title(figure, _title(datasets))
    if save is not None:
        save_figure(figure, save, _about(run, datasets, "generalization_matrix"), dpi)
    return figure


def _datasets(
    run: CrossSessionStore | str | Path | Mapping[str, xr.Dataset] | xr.Dataset, *, matrix: bool
) -> dict[str, xr.Dataset]:
    datasets: dict[str, xr.Dataset]
    if isinstance(run, xr.Dataset):
        datasets = {str(run.attrs.get("target", "")): run}
    else:
        by_target: Any = run if isinstance(run, Mapping) else checked_run(run, CrossSessionStore).datasets()
        datasets = dict(by_target)
    if not datasets:
        raise DataError("the run has no target to plot; let it compute one first")
    for target, dataset in datasets.items():
        if ("train_session" in dataset.dims) != matrix:
            other = "plot_cross_session" if matrix else "plot_generalization_matrix"
            found = "the first session alone" if matrix else "each session"
            raise DataError(f"target {target!r} was trained on {found}; plot it with {other}")
    return datasets


def _tested(target: str, dataset: xr.Dataset) -> tuple[str, xr.Dataset]:
    """Give a panel's title, and what it shows: no p-values where the null tests nothing."""
    kind = dataset.attrs.get("null_kind", "")
    if null_claim(target, kind)[0]:
        return target, dataset
    return f"{target} (null invalid: {kind})", dataset.assign(p_value=dataset["p_value"] * np.nan)


def _map_size(datasets: Mapping[str, xr.Dataset], figsize: tuple[float, float] | None) -> float:
    """Tell how large a map is, inches: by its sessions, or by what a figure has room for."""
    if figsize is None:
        n_sessions = max(dataset.sizes["train_session"] for dataset in datasets.values())
        return float(np.clip(CELL * n_sessions, *MAP_SIZE))
    n_columns, n_rows = grid(len(datasets))
    return max(min(figsize[0] / n_columns, (figsize[1] - LEGEND) / n_rows) - MARGIN, POINT)


def _about(run: Any, datasets: Mapping[str, xr.Dataset], figure: str) -> dict[str, Any]:
    """Say what a figure shows, for the file's metadata."""
    about = {"figure": figure, "targets": {target: dataset.attrs for target, dataset in datasets.items()}}
    if isinstance(run, (CrossSessionStore, str, Path)):
        store = checked_run(run, CrossSessionStore)
        about |= {"run": str(store.path), "settings": store.attrs.get("settings", {})}
    return about


def _title(datasets: Mapping[str, xr.Dataset]) -> str:
    first = next(iter(datasets.values()))
    dates = [str(day) for day in first["date"].values]
    subject = first.attrs.get("subject", "")
    span = f"{len(dates)} sessions, {dates[0]} to {dates[-1]}"
    trained = "trained on each session" if "train_session" in first.dims else f"trained on {dates[0]}"
    return f"{subject}: {span}; {trained}" if subject else f"{span}; {trained}"


def _legend_handles(x: XAxis) -> list[Any]:
    numbers = "in brackets: trials" if x == "date" else "numbers at the bottom: trials"
    return [
        Line2D([], [], color=HOME, marker="D", ms=5, lw=0, label="home, cross-validated (strokes: folds)"),
        Line2D([], [], color=ABROAD, marker="o", ms=5, lw=1.4, label="other sessions"),
        Line2D([], [], color=ABROAD, marker="*", ms=6, lw=0, label=f"p \u2264 {MAX_P:g}"),
        Patch(facecolor=BAND, alpha=0.3, lw=0, label="95 % of the null"),
        Line2D([], [], color="0.4", ls=":", lw=0.8, label="chance"),
        Line2D([], [], lw=0, label=numbers),
    ]


def _draw_target(panel: Axes, dataset: xr.Dataset, x: XAxis, width: float) -> None:
    """Draw one target into a panel that is so wide, inches."""
    accuracy, p = dataset["accuracy"].values, dataset["p_value"].values
    places = _places(dataset, x)
    _draw_band(panel, places, dataset["null_accuracy"].values)
    panel.axhline(0.5, color="0.4", lw=0.8, ls=":", zorder=0)
    folds = dataset["fold_accuracy"].values
    panel.plot(np.full(len(folds), places[0]), folds, "_", color=HOME, ms=9, mew=1, alpha=0.7, zorder=3)
    panel.plot(places[1:], accuracy[1:], "-o", color=ABROAD, lw=1.4, ms=5, mec="white", mew=0.6, zorder=4)
    panel.plot(places[:1], accuracy[:1], "D", color=HOME, ms=6, mec="white", mew=0.6, zorder=5)
    for place, height, tells in zip(places, accuracy, p <= MAX_P, strict=True):
        if tells:
            panel.annotate(
                "*", (place, height), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom",
                color=ABROAD, fontsize="large", fontweight="bold",
            )  # fmt: skip
    panel.set_ylabel("accuracy", fontsize="small")
    panel.tick_params(labelsize=SMALL)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(y=0.14)
    (_dates_below if x == "date" else _days_below)(panel, places, dataset, width)
    _note_skipped(panel, dataset)


def _places(dataset: xr.Dataset, x: XAxis) -> np.ndarray:
    if x == "date":
        return np.arange(dataset.sizes["session"], dtype=float)
    days = [date.fromisoformat(str(day)) for day in dataset["date"].values]
    # sessions of one day stand side by side, within it
    offsets = [min(DODGE * days[:i].count(day), 0.9) for i, day in enumerate(days)]
    return np.array([(day - days[0]).days + offset for day, offset in zip(days, offsets, strict=True)])


def _draw_band(panel: Axes, places: np.ndarray, null: np.ndarray) -> None:
    """Draw the middle 95 % of the null accuracies, where there are any."""
    there = np.isfinite(null).any(axis=1)
    if not there.any():
        return
    low, high = np.nanpercentile(null[there], NULL_PERCENTILES, axis=1)
    middle = places[there]
    if np.ptp(middle) == 0:
        # a single session, or several of one day: a band has some width all the same
        middle, low, high = middle[0] + np.array([-0.3, 0.3]), np.full(2, low.min()), np.full(2, high.max())
    panel.fill_between(middle, low, high, color=BAND, alpha=0.3, lw=0, zorder=1)


def _dates_below(panel: Axes, places: np.ndarray, dataset: xr.Dataset, width: float) -> None:
    """Name the sessions by date and trials; of many, as many as are legible."""
    labels = [f"{day} ({n})" for day, n in zip(session_labels(dataset), dataset["n_trials"].values, strict=True)]
    every = max(1, int(np.ceil(len(places) * SMALL * 1.25 * POINT / (0.8 * width))))
    panel.set_xticks(places[::every], labels[::every], rotation=90, fontsize=SMALL)
    panel.set_xlim(-0.5, len(places) - 0.5)


def _days_below(panel: Axes, places: np.ndarray, dataset: xr.Dataset, width: float) -> None:
    """Scale the axis by days, and write the trials above it, moved apart where sessions lie close together."""
    span = max(float(places[-1] - places[0]), 1.0)
    panel.set_xlim(places[0] - 0.05 * span, places[-1] + 0.05 * span)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("days since the home session", fontsize="small")
    low, high = panel.get_ylim()
    bottom = low - 0.16 * (high - low)  # room of their own for the numbers
    panel.set_ylim(bottom, high)
    step = 1.1 * span * SMALL * 1.25 * POINT / (0.8 * width)
    every = max(1, int(np.ceil(len(places) * step / span)))
    apart = _apart(places[::every], step, (float(places[0]), float(places[0]) + span))
    for place, n in zip(apart, dataset["n_trials"].values[::every], strict=True):
        panel.text(place, bottom + 0.02 * (high - bottom), str(n), rotation=90, ha="center", va="bottom",
                   fontsize=SMALL, color="0.35")  # fmt: skip


def _apart(places: np.ndarray, step: float, limits: tuple[float, float]) -> np.ndarray:
    """Move increasing places apart by at least `step`, each group that is too close about its mean, within limits.

    Examples
    --------
    >>> _apart(np.array([0.0, 4.0, 4.5]), 1.0, (0.0, 9.0)).tolist()
    [0.0, 3.75, 4.75]
    >>> _apart(np.array([0.0, 0.0, 9.0, 9.0]), 1.0, (0.0, 9.0)).tolist()
    [0.0, 1.0, 8.0, 9.0]
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([float(place)])
        while len(groups) > 1 and _row(groups[-1], step, limits)[0] < _row(groups[-2], step, limits)[-1] + step:
            last = groups.pop()
            groups[-1] += last
    return np.concatenate([_row(group, step, limits) for group in groups])


def _row(group: list[float], step: float, limits: tuple[float, float]) -> np.ndarray:
    half = step * (len(group) - 1) / 2
    return np.clip(np.mean(group), limits[0] + half, limits[1] - half) + np.linspace(-half, half, len(group))


def _note_skipped(panel: Axes, dataset: xr.Dataset) -> None:
    missing = np.array(session_labels(dataset))[np.isnan(dataset["accuracy"].values)]
    if len(missing):
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        panel.text(0.99, 1.0, f"no score: {', '.join(missing[:4])}{more}", transform=panel.transAxes, ha="right",
                   va="top", fontsize=SMALL, color="0.3")  # fmt: skip


def _draw_matrix(panel: Axes, dataset: xr.Dataset, colors: Any, norm: Any, cell: float) -> None:
    accuracy = dataset["accuracy"].transpose("train_session", "test_session").values
    tells = dataset["p_value"].transpose("train_session", "test_session").values <= MAX_P
    n_sessions = len(accuracy)
    panel.imshow(accuracy, cmap=colors, norm=norm)
    for session in range(n_sessions):
        frame = mpl.patches.Rectangle((session - 0.5, session - 0.5), 1, 1, fill=False, ec="white", lw=1.2)
        panel.add_patch(frame)
    every = max(1, int(np.ceil(SMALL * 1.2 * POINT / cell)))
    days = session_labels(dataset)
    panel.set_xticks(range(0, n_sessions, every), days[::every], rotation=90, fontsize=SMALL)
    panel.set_yticks(range(0, n_sessions, every), days[::every], fontsize=SMALL)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_xlabel("decoded session", fontsize="small")
    panel.set_ylabel("session trained on", fontsize="small")
    # three letters, each about 0.62 of the font's size wide
    size = min(0.85 * cell / POINT / (0.62 * 3), SMALL)
    for (train, test), value in np.ndenumerate(accuracy):
        mark = "*" if size >= SMALLEST_TEXT else "."
        text = (f"{100 * value:.0f}" if size >= SMALLEST_TEXT else "") + mark * bool(tells[train, test])
        if np.isfinite(value) and text:
            color = "black" if norm(value) > 0.6 else "white"
            panel.text(test, train, text, ha="center", va="center", fontsize=max(size, SMALLEST_TEXT), color=color)
