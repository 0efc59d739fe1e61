"""How the live page looks: a Bokeh document of one run, drawn anew from the board as events come in."""

import logging
import math
import time
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    FixedTicker,
    HoverTool,
    InlineStyleSheet,
    Range1d,
    Row,
)
from bokeh.models.annotations import Title
from bokeh.models.ui import UIElement
from bokeh.models.widgets import Div, Select
from bokeh.plotting import figure
from distributed.dashboard.components.scheduler import env

from mesodask.compute.live_runs import Board, LiveRun, Panel
from mesodask.compute.live_text import GREY, foot_html, head_html, in_list, line_colors
from mesodask.percent import whole_percent

logger = logging.getLogger(__name__)

EVERY = 1000  # ms between two looks at the board
FOLLOW = ""  # the selection's value that means: whatever is worked on
FOLLOWING: str | tuple[Any, str] = (FOLLOW, "the one at work")
INK = "#222222"
TOOLTIPS = [
    ("", "@line"),
    ("at", "@x{0,0}"),
    ("mean", "@mean{0.000} (@low{0.000} to @high{0.000}, @n scores)"),
    ("null", "@null_low{0.000} to @null_high{0.000}"),
]


def show(board: Board, scheduler: Any, template_variables: dict[str, Any], doc: Document) -> None:
    """Fill a document with the page; Bokeh calls this for every reader.

    Parameters
    ----------
    board : Board
        What is known of the runs.
    scheduler : distributed.Scheduler
        Its workers are counted.
    template_variables : dict
        What Dask's page templates need.
    doc : bokeh.document.Document
        The document.
    """
    view = _View(board, scheduler)
    doc.title = "mesodask"
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(template_variables)
    doc.add_root(view.root)
    view.update()
    doc.add_periodic_callback(view.update, EVERY)


class _View:
    """What one reader sees."""

    def __init__(self, board: Board, scheduler: Any) -> None:
        self._board, self._scheduler = board, scheduler
        self._head, self._foot = _text(), _text()
        self._choice = Select(title="Run", value=FOLLOW, options=[FOLLOWING], visible=False)
        self._choice.on_change("value", self._chosen)
        self._panels = Row(children=[], sizing_mode="stretch_width", styles={"flex-wrap": "wrap", "gap": "12px"})
        self.root = column(
            self._choice, self._head, self._panels, self._foot, sizing_mode="stretch_width",
            styles={"max-width": "1500px"},
        )  # fmt: skip
        self._run: LiveRun | None = None
        self._drawn: list[_Curves] = []
        self._spare: list[_Curves] = []  # all figures there are
        self._broken = False

    def _chosen(self, attr: str, old: str, new: str) -> None:
        del attr, old, new
        self.update(now=True)

    def update(self, now: bool = False) -> None:
        """Draw what has changed, unless pages have cost too much lately; never raises."""
        if self._broken or not (now or self._board.may_draw()):
            return
        start = time.thread_time()
        run = self._run
        try:
            self._update()
        except Exception:
            self._broken = True
            logger.exception("the live page cannot be drawn; it stands still until it is loaded again")
        if run is self._run:  # a run is begun to be shown once
            self._board.has_drawn(2 * (time.thread_time() - start))  # as much again to send it

    def _update(self) -> None:
        chosen = self._board.runs.get(self._choice.value)
        run = chosen or self._board.current(self._run.id if self._run else None)
        self._offer()
        if run is None:
            self._say(self._head, "<p>No run yet. This page fills when one begins.</p>")
            return
        if run is not self._run:  # a run that is begun again is another object
            self._show(run)
        for curves in self._drawn:
            curves.update()
        self._say(self._head, head_html(run, len(self._scheduler.workers), time.time()))
        self._say(self._foot, foot_html(run))

    def _show(self, run: LiveRun) -> None:
        """Begin to show a run, with figures that are there already where they are of the right kind."""
        self._run = run
        spare, self._drawn = self._spare, []
        for panel in run.panels:
            alike = [curves for curves in spare if curves.log_x == panel.log_x]
            curves = alike[0] if alike else _Curves(panel.log_x)
            if alike:
                spare.remove(curves)
            curves.show(panel, run.lines)
            self._drawn.append(curves)
        self._spare = self._drawn + spare
        figures: list[UIElement] = [curves.figure for curves in self._drawn]
        if self._panels.children != figures:
            self._panels.children = figures

    def _offer(self) -> None:
        """List the runs, the latest first."""
        options: list[str | tuple[Any, str]] = [FOLLOWING]
        options += [(run.id, in_list(run)) for run in reversed(self._board.runs.values())]
        if self._choice.options != options:
            self._choice.options = options
            self._choice.visible = len(options) > 2
            if self._choice.value not in self._board.runs:
                self._choice.value = FOLLOW

    @staticmethod
    def _say(where: Div, text: str) -> None:
        if where.text != text:
            where.text = text


def _text() -> Div:
    whole = InlineStyleSheet(css=".bk-clearfix { width: 100%; }")
    return Div(sizing_mode="stretch_width", styles={"color": INK, "font-size": "14px"}, stylesheets=[whole])


# curves -----------------------------------------------------------------------------------------------------------


class _Curves:
    """One figure, for panels of one kind; to make one takes long, so it shows one panel after the other."""

    def __init__(self, log_x: bool) -> None:
        self.log_x = log_x
        self._bands, self._points = ColumnDataSource(_no_bands()), ColumnDataSource(_no_points(), name="points")
        self._reference = ColumnDataSource({"x": [], "y": []})
        self._title = Title(text="")
        self._range, self._ticker = Range1d(), FixedTicker()
        self.figure = _empty_figure(log_x, self._title, self._range)
        self.figure.xaxis.ticker = self._ticker
        self._null, self._interval = self._draw_glyphs()

    def _draw_glyphs(self) -> tuple[Any, Any]:
        plot = self.figure
        null = plot.patches("null_x", "null_y", source=self._bands, color="#777777", line_alpha=0)
        bands = plot.patches("band_x", "band_y", source=self._bands, color="color", line_alpha=0)
        plot.line("x", "y", source=self._reference, color=GREY, line_width=1, line_dash="dotted")
        plot.multi_line("x", "y", source=self._bands, color="color", line_width=1.8)
        plot.segment("x", "bar_low", "x", "bar_high", source=self._points, color="color", alpha=0.6, line_width=1)
        dots = plot.scatter("x", "mean", source=self._points, color="color", size=5)
        plot.add_tools(HoverTool(renderers=[dots], tooltips=TOOLTIPS))
        return null.glyph, bands.glyph

    def show(self, panel: Panel, lines: tuple[str, ...]) -> None:
        """Begin to show a panel."""
        self._panel, self._lines, self._colors = panel, lines, line_colors(len(lines))
        self._version, self._share = -1, -1.0
        # the more there are, the paler each: nulls lie upon each other, and intervals here and there
        n_lines = max(len(lines), 1)
        self._null.fill_alpha, self._interval.fill_alpha = 1 - 0.6 ** (1 / n_lines), 0.22 / math.sqrt(n_lines)
        plot, (start, end) = self.figure, x_limits(panel)
        self._range.start, self._range.end = start, end
        self._ticker.ticks = shown_ticks(panel)
        plot.xaxis.major_label_overrides = {x: f"{x:g}" for x in panel.x}
        plot.xaxis.axis_label, plot.yaxis.axis_label = panel.x_label, panel.y_label
        reference = [] if panel.reference is None else [panel.reference] * 2
        self._reference.data = {"x": [start, end][: len(reference)], "y": reference}
        self.update()

    def update(self) -> None:
        """Draw what has changed of the panel."""
        if self._share != self._panel.share:
            self._share = self._panel.share
            note = f" ({self._panel.note})" if self._panel.note else ""
            self._title.text = f"{self._panel.title}, {whole_percent(self._share, 1)} % done{note}"
        if self._version != self._panel.version:
            self._version = self._panel.version
            self._bands.data, self._points.data = curve_columns(self._panel, self._lines, self._colors)


Columns = dict[str, Any]
"""Lists by name: what Bokeh draws."""


def _no_bands() -> Columns:
    return {name: [] for name in ("x", "y", "band_x", "band_y", "null_x", "null_y", "color")}


def _no_points() -> Columns:
    names = ("x", "n", "mean", "low", "high", "null_low", "null_high", "bar_low", "bar_high", "color", "line")
    return {name: [] for name in names}


def curve_columns(panel: Panel, lines: tuple[str, ...], colors: list[str]) -> tuple[Columns, Columns]:
    """Turn the points of a panel into columns for Bokeh.

    Returns
    -------
    bands : dict of str to list
        A row a line: the curve x, y, the outlines of its interval and of its null's, and its colour.
    points : dict of str to list
        A row a point.

    Examples
    --------
    >>> panel = Panel("choice", points={0: {8: (5, 0.7, 0.6, 0.8, 0.4, 0.6)}})
    >>> bands, points = curve_columns(panel, ("day 1",), ["black"])
    >>> bands["x"], bands["band_y"], points["mean"], points["line"]
    ([[8]], [[0.6, 0.8]], [0.7], ['day 1'])
    """
    bands, points = _no_bands(), _no_points()
    for line in sorted(panel.points):
        rows = [(x, *values) for x, values in sorted(panel.points[line].items())]
        x, n, mean, low, high, null_low, null_high = map(list, zip(*rows, strict=True))
        bands["x"].append(x)
        bands["y"].append(mean)
        for name, below, above in (("band", low, high), ("null", null_low, null_high)):
            known = [i for i, value in enumerate(below) if not math.isnan(value)]
            there = [x[i] for i in known]
            bands[f"{name}_x"].append(there + there[::-1])
            bands[f"{name}_y"].append([below[i] for i in known] + [above[i] for i in known[::-1]])
        bands["color"].append(colors[line])
        columns = {"x": x, "n": n, "mean": mean, "low": low, "high": high, "null_low": null_low, "null_high": null_high}
        # a point alone has no band
        columns |= {"bar_low": low, "bar_high": high} if len(x) == 1 else {"bar_low": mean, "bar_high": mean}
        for name, values in columns.items():
            points[name] += values
        points["color"] += [colors[line]] * len(x)
        points["line"] += [lines[line]] * len(x)
    return bands, points


def _empty_figure(log_x: bool, title: Title, x_range: Range1d) -> figure:
    plot = figure(
        title=title,
        height=300,
        sizing_mode="stretch_width",
        x_axis_type="log" if log_x else "linear",
        x_range=x_range,
        # without any data a span about the reference is shown, and with it never less than a tenth
        y_range=DataRange1d(default_span=0.6, min_interval=0.1, range_padding=0.06),
        tools="box_zoom,pan,reset,save",
        active_drag=None,
        styles={"flex": "1 1 420px", "min-width": "320px"},
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.grid.grid_line_color = "#eeeeee"
    plot.outline_line_color = None
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_line_color = axis.major_tick_line_color = "#999999"
        axis.minor_tick_line_color = None
    return plot


def x_limits(panel: Panel) -> tuple[float, float]:
    """Choose the ends of the x axis, a little beyond the points.

    Examples
    --------
    >>> x_limits(Panel("", x=(10, 20, 30))), x_limits(Panel("", x=(10, 1000), log_x=True))
    ((9.0, 31.0), (8.0, 1250.0))
    """
    first, last = (panel.x[0], panel.x[-1]) if panel.x else (1.0, 2.0)
    if panel.log_x:
        return first * 0.8, last * 1.25
    margin = (last - first) * 0.05 or 0.5
    return first - margin, last + margin


def shown_ticks(panel: Panel) -> list[float]:
    """Choose those values of x that can be written beside each other; the last one always is.

    Examples
    --------
    >>> shown_ticks(Panel("", x=(8, 16, 32, 64, 70), log_x=True))
    [8, 16, 32, 70]
    """
    ticks: list[float] = []
    for x in reversed(panel.x):
        if not ticks or not panel.log_x or x <= 0.75 * ticks[-1]:
            ticks.append(x)
    return ticks[::-1]
