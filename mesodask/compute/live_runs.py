"""What the live page knows: the last runs on a scheduler, from the events that their drivers send.

Events are plain dicts (msgpack) of the topic ``TOPIC``; a driver sends them by ``client.log_event``, at most one a
run and second. Every event names its ``run``, an id that is the same when a run goes on later, and its ``kind``:

``begin``
    ``format`` (1), ``client`` (id of the driver's client), ``title``, ``about`` and ``key`` (a line each: what is done,
    and what lines and bands mean), ``path``, ``failures_file``, ``lines`` (names of all curves, in the order of their
    colours), ``total`` (scores asked for), ``before`` (those that were there), and ``panels``: of each ``title``,
    ``note`` (what a reader must know; may be empty), ``x_label``, ``y_label``, ``x`` (where points will be), ``log_x``,
    and ``reference`` (a value to compare with, such as chance, or None).
``update``
    ``rows``: points that are new or have changed, each ``[panel, line, x, n, mean, low, high, null_low, null_high]``
    with panel and line by index, n the scores it is the mean of, and NaN for what is not known; ``done``, ``running``
    and ``failed`` scores of those that were missing, ``tasks`` under way; ``by_panel``, the share that is done of each;
    ``rate`` (scores a second) and ``seconds_left``, NaN if not known; ``n_failures`` and ``failures``, the last ones,
    each ``[where, error]``.
``end``
    ``how``: "finished", "failed" (all but some tasks) or "stopped".

A point replaces the one at the same place: what is kept is one row a panel, line and x, whatever the number of scores.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)

TOPIC = "mesodask"
FORMAT = 1
MAX_RUNS = 50  # kept; of more, those that ended first are forgotten
MAX_POINTS = 20_000  # of a run
SILENT = 20.0  # s after which a run that sends nothing makes place for one that does
MAX_LOAD = 0.005  # share of the scheduler's time that all open pages may take together


@dataclass
class Panel:
    """One panel: what stands at its axes, and its points.

    Attributes
    ----------
    title, note, x_label, y_label, x, log_x, reference
        As in the event ``begin``.
    points : dict of int to dict of float to tuple
        By line and x: n, mean, low, high, null_low, null_high.
    share : float
        How much of it is done, 0 to 1.
    version : int
        Grows whenever a point changes.
    """

    title: str
    note: str = ""
    x_label: str = ""
    y_label: str = ""
    x: tuple[float, ...] = ()
    log_x: bool = False
    reference: float | None = None
    points: dict[int, dict[float, tuple[float, ...]]] = field(default_factory=dict)
    share: float = 0.0
    version: int = 0


@dataclass
class LiveRun:
    """The state of one run; all but the first few attributes are those of its events.

    Attributes
    ----------
    id, client : str
        The run, and the client of its driver.
    begun, heard : float
        When its driver began, and when it was last heard of, s since 1970 on the scheduler's clock.
    state : str
        running, finished, failed or stopped.
    """

    id: str
    client: str
    begun: float
    heard: float
    title: str
    about: str = ""
    key: str = ""
    path: str = ""
    failures_file: str = ""
    lines: tuple[str, ...] = ()
    panels: list[Panel] = field(default_factory=list)
    total: int = 0
    before: int = 0
    done: int = 0
    running: int = 0
    failed: int = 0
    tasks: int = 0
    rate: float = float("nan")
    seconds_left: float = float("nan")
    n_failures: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    state: str = "running"
    ended: float = float("nan")
    n_points: int = 0

    @property
    def left(self) -> int:
        """Scores that are neither there, nor failed, nor under way."""
        return max(0, self.total - self.before - self.done - self.failed - self.running)

    def seconds(self, now: float) -> float:
        """Time since it was begun, or that it took."""
        return (now if self.state == "running" else self.ended) - self.begun


class Board:
    """The last runs on a scheduler, and what it has cost to follow them.

    Attributes
    ----------
    runs : dict of str to LiveRun
        By id, in the order in which they were begun.
    n_events : int
        Events received.
    seconds : float
        Time that receiving them has taken.

    Examples
    --------
    >>> board = Board()
    >>> board.receive({"kind": "begin", "run": "a", "format": 1, "title": "S1", "total": 100, "panels": [
    ...     {"title": "choice", "x": [8, 16]}], "lines": ["day 1"]})
    >>> board.receive({"kind": "update", "run": "a", "done": 40, "rows": [[0, 0, 8, 20, 0.7, 0.6, 0.8, 0.4, 0.6]]})
    >>> run = board.current(None)
    >>> run.left, run.panels[0].points[0][8]
    (60, (20, 0.7, 0.6, 0.8, 0.4, 0.6))
    """

    def __init__(self) -> None:
        self.runs: dict[str, LiveRun] = {}
        self.n_events = 0
        self.seconds = 0.0
        self._free_at = self._cost = 0.0

    # events -------------------------------------------------------------------------------------------------------

    def receive(self, event: Any) -> None:
        """Take in one event; what is not understood is left out, and never raises."""
        start = time.perf_counter()
        try:
            self._receive(event)
        except Exception as error:  # of an event by another version, or by somebody else
            logger.debug("an event for the live page is not understood (%r)", error)
        self.n_events += 1
        self.seconds += time.perf_counter() - start

    def _receive(self, event: Mapping[str, Any]) -> None:
        kind, now = event["kind"], time.time()
        if kind == "begin":
            if event["format"] == FORMAT:
                self.runs.pop(event["run"], None)  # begun again: it moves to the end
                self.runs[event["run"]] = _begun(event, now)
                self._forget()
            return
        run = self.runs.get(event["run"])
        if run is None:
            return
        run.heard = now
        if kind == "update":
            _update(run, event)
        elif kind == "end":
            _end(run, event["how"], now)

    def client_left(self, client: str) -> None:
        """Note that a client is gone, and its runs with it, if they were not at their ends."""
        for run in self.runs.values():
            if run.client == client and run.state == "running":
                _end(run, "stopped", time.time())

    def _forget(self) -> None:
        """Keep the last runs only; one that is still running goes last."""
        while len(self.runs) > MAX_RUNS:
            ended = (run.id for run in self.runs.values() if run.state != "running")
            del self.runs[next(ended, next(iter(self.runs)))]

    # pages --------------------------------------------------------------------------------------------------------

    def current(self, shown: str | None) -> LiveRun | None:
        """Choose the run to show to who follows the work: the one shown before, as long as it is alive.

        Parameters
        ----------
        shown : str or None
            Id of the run that is shown.

        Returns
        -------
        LiveRun or None
            Of several that are running the one last heard of; if none is, the one that ended last.
        """
        now = time.time()
        before = self.runs.get(shown or "")
        if before is not None and before.state == "running" and now - before.heard < SILENT:
            return before
        # of equals, such as the pairs of a subject, the first begun is worked on first
        order = sorted(self.runs.values(), key=lambda run: (run.state == "running", run.done > 0, run.heard))
        best = order[-1] if order else None
        if best is not None and best.state == "running" and not best.done:
            best = next(run for run in self.runs.values() if run.state == "running")
        return best

    def may_draw(self) -> bool:
        """Tell whether a page may be drawn now, after what pages have cost lately."""
        return time.perf_counter() >= self._free_at

    def has_drawn(self, seconds: float) -> None:
        """Note what drawing has cost; the next one waits until it was a small share of the time.

        One that cost more than that before it, such as by a garbage collection, does not hold up the page for minutes.
        """
        usual, self._cost = min(seconds, self._cost), seconds
        self._free_at = time.perf_counter() + usual / MAX_LOAD


def _begun(event: Mapping[str, Any], now: float) -> LiveRun:
    panels = [
        Panel(
            title=str(panel["title"]),
            note=str(panel.get("note", "")),
            x_label=str(panel.get("x_label", "")),
            y_label=str(panel.get("y_label", "")),
            x=tuple(panel["x"]),
            log_x=bool(panel.get("log_x", False)),
            reference=panel.get("reference"),
        )
        for panel in event["panels"]
    ]
    return LiveRun(
        id=event["run"],
        client=event.get("client", ""),
        begun=now,
        heard=now,
        title=str(event["title"]),
        about=str(event.get("about", "")),
        key=str(event.get("key", "")),
        path=str(event.get("path", "")),
        failures_file=str(event.get("failures_file", "")),
        lines=tuple(map(str, event.get("lines", ()))),
        panels=panels,
        total=int(event["total"]),
        before=int(event.get("before", 0)),
    )


def _update(run: LiveRun, event: Mapping[str, Any]) -> None:
    for name in ("done", "running", "failed", "tasks", "rate", "seconds_left", "n_failures"):
        if name in event:
            setattr(run, name, event[name])
    if "failures" in event:
        run.failures = [(str(where), str(error)) for where, error in event["failures"]]
    for panel, share in zip(run.panels, event.get("by_panel", ()), strict=False):
        panel.share = share
    for number, line, x, *values in event.get("rows", ()):
        panel = run.panels[number]
        points = panel.points.setdefault(line, {})
        if x not in points:
            if run.n_points >= MAX_POINTS:
                continue
            run.n_points += 1
        points[x] = tuple(values)
        panel.version += 1


def _end(run: LiveRun, how: str, now: float) -> None:
    run.state, run.ended = str(how), now
    run.running = run.tasks = 0
