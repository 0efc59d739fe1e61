"""What is to be said of one run: its points, read from its store, and its counts, as the events of the live page."""

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mesodask.errors import StoreError
from mesodask.io.runreader import ScoreReader
from mesodask.summary import METRIC_NAMES, curve_point, decoder_name
from mesodask.tracking import session_labels

if TYPE_CHECKING:
    from mesodask.compute.runner import Failure, Task

logger = logging.getLogger(__name__)

ALIVE = 15.0  # s after which a run says that it is alive, if nothing else is to be said
ROWS = 500  # points in an event
LOOKS_BACK = 60.0  # s that the speed is taken over
KEPT_FAILURES = 5
LETTERS = 1000  # of an error
KEY = "Lines: mean scores; their bands: 95 % of the resamples; grey: 95 % of the null's means; dotted: chance."


class Asked(Protocol):
    """What a run asks of one session and target: a share of a plan."""

    @property
    def run(self) -> Any:
        """The run: its store, settings, eids and tracked neurons."""

    @property
    def target(self) -> str:
        """Name of the target."""

    @property
    def session(self) -> int:
        """Index of the session."""


Point = tuple[int, int, int]
"""A panel, a session, and a number of neurons."""


class Feed:
    """What is to be said of one run; only :meth:`read` may be called while another thread calls the others.

    Parameters
    ----------
    parts : sequence of (share, int)
        What is asked of each session and target, and how many scores of it are missing.

    Attributes
    ----------
    has_ended : bool
        Whether its end has been said.
    """

    def __init__(self, parts: Sequence[tuple[Asked, int]]) -> None:
        self._run = parts[0][0].run
        self._store = self._run.store
        self._labels = session_labels(self._run.tracked)
        self._targets = list(dict.fromkeys(share.target for share, _ in parts))
        self._shares = [share for share, _ in parts]
        self._missing = sum(n for _, n in parts)
        self._asked: Counter[str] = Counter()  # scores, by target
        self._there: Counter[str] = Counter()
        for share, n_missing in parts:
            n_asked = max(_n_asked(share), n_missing)
            self._asked[share.target] += n_asked
            self._there[share.target] += n_asked - n_missing
        self._before = self._there.total()
        self._under_way: dict[str, int] = {}  # scores of tasks, by key
        self._done = self._n_failed = self._n_failures = 0
        self._failures: deque[tuple[str, str]] = deque(maxlen=KEPT_FAILURES)
        self._readers: dict[int, ScoreReader | None] = {}
        self._changed: dict[Point, None] = {}  # in the order in which they are to be read
        self._speed = _Speed()
        self._said = ""
        self._said_at = 0.0
        self.has_ended = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the run is to come."""
        return self._done + self._n_failed >= self._missing

    @property
    def is_behind(self) -> bool:
        """Whether points are to be read."""
        return bool(self._changed)

    # what happens -----------------------------------------------------------------------------------------------

    def submitted(self, task: "Task") -> None:
        """Count the scores of a task that is under way."""
        self._under_way[task.key] = _n_scores(task)

    def stored(self, share: Asked, task: "Task") -> None:
        """Count the scores of a task that is done, and note which points have changed."""
        self._under_way.pop(task.key, None)
        n_scores = _n_scores(task)
        self._done += n_scores
        self._there[share.target] += n_scores
        self._speed.learn(self._done)
        panel = self._targets.index(share.target)
        for piece in task.label.get("pieces", ()):
            self._changed[panel, share.session, piece["k"]] = None

    def failed(self, share: Asked, failure: "Failure") -> None:
        """Count the scores of a task that failed for good, and keep the error if it is of the last."""
        self._n_failed += self._under_way.pop(failure.task.key, _n_scores(failure.task))
        self._n_failures += 1
        ks = list(dict.fromkeys(str(piece["k"]) for piece in failure.task.label.get("pieces", ())))
        neurons = f", {', '.join(ks)} neurons" if ks else ""
        where = f"{share.target} of {self._labels[share.session]}{neurons}"
        self._failures.append((where, failure.error.strip().split("\n")[0][:LETTERS]))

    # what is said -----------------------------------------------------------------------------------------------

    def begin(self, client: str) -> dict[str, Any]:
        """Tell which run it is; every point that the store may hold is to be read."""
        from mesodask.compute.live_runs import FORMAT

        panels = []
        for number, target in enumerate(self._targets):
            reader = self._reader(number, target)
            ks = [] if reader is None else reader.ks.tolist()
            for share in self._shares:
                if share.target == target:
                    self._changed |= dict.fromkeys((number, share.session, k) for k in ks)
            panels.append(self._panel(target, ks))
        return {
            "kind": "begin", "format": FORMAT, "run": str(self._store.path), "client": client,
            "title": _title(self._run), "about": _about(self._run), "key": KEY, "path": str(self._store.path),
            "failures_file": str(self._store.failures_file), "lines": self._labels, "panels": panels,
            "total": self._asked.total(), "before": self._before,
        }  # fmt: skip

    def _panel(self, target: str, ks: list[int]) -> dict[str, Any]:
        asked = {share.session for share in self._shares if share.target == target}
        skipped = [name for session, name in enumerate(self._labels) if session not in asked]
        metric = getattr(self._run.settings, "metric", "")
        return {
            "title": target, "note": _note(skipped), "x": ks, "log_x": True,
            "x_label": "number of neurons", "y_label": METRIC_NAMES.get(metric, metric), "reference": 0.5,
        }  # fmt: skip

    def _reader(self, number: int, target: str) -> ScoreReader | None:
        """Open the scores of a target; None where a run has no curves, but counts alone."""
        if number not in self._readers:
            self._readers[number] = None
            if hasattr(self._run, "extent"):
                with contextlib.suppress(StoreError):
                    self._readers[number] = ScoreReader(self._store.path, target)
        return self._readers[number]

    def take(self) -> list[Point]:
        """Give the points that are to be read, and forget them."""
        changed, self._changed = list(self._changed), {}
        return changed

    def put_back(self, points: Sequence[Point]) -> None:
        """Remember points that were not read; they are the next."""
        self._changed = dict.fromkeys(points) | self._changed

    def read(self, points: Sequence[Point], until: float) -> tuple[list[list[float]], list[Point]]:
        """Read points until a time; give the rows of an event, and the points that are left."""
        rows: list[list[float]] = []
        for number, (panel, session, k) in enumerate(points):
            if number and (time.perf_counter() > until or len(rows) >= ROWS):
                return rows, list(points[number:])
            reader = self._readers.get(panel)
            if reader is None:
                continue
            try:
                point = curve_point(reader, session, int(reader.ks.searchsorted(k)))
            except StoreError as error:
                logger.debug("a point is not told to the live page: %s", error)
                continue
            if point.n:
                rows.append([panel, session, k, *point])
        return rows, []

    def update(self, rows: list[list[float]]) -> dict[str, Any] | None:
        """Tell what is new; None if nothing is, and nobody could think that the driver is gone."""
        now = time.monotonic()
        rate, left = self._speed.rate(), self._missing - self._done - self._n_failed
        counts = {
            "done": self._done, "failed": self._n_failed, "running": sum(self._under_way.values()),
            "tasks": len(self._under_way), "n_failures": self._n_failures, "failures": list(map(list, self._failures)),
        }  # fmt: skip
        said = repr(counts)
        if not rows and said == self._said and now - self._said_at < ALIVE:
            return None
        self._said, self._said_at = said, now
        by_panel = [self._there[target] / max(self._asked[target], 1) for target in self._targets]
        seconds_left = left / rate if rate > 0 else float("nan")
        return counts | {
            "kind": "update", "run": str(self._store.path), "rows": rows, "by_panel": by_panel, "rate": rate,
            "seconds_left": seconds_left,
        }  # fmt: skip

    def end(self, how: str) -> dict[str, Any]:
        """Tell how it ended; what had nothing left was not stopped."""
        self.has_ended = True
        if self.is_complete:
            how = "failed" if self._n_failures else "finished"
        return {"kind": "end", "run": str(self._store.path), "how": how}


class _Speed:
    """Scores a second, over the last minute of results.

    Examples
    --------
    >>> speed = _Speed(now=0.0)
    >>> speed.learn(100, now=2.0)
    >>> speed.learn(300, now=4.0)
    >>> speed.rate(now=5.0)
    60.0
    """

    def __init__(self, now: float | None = None) -> None:
        self._known: deque[tuple[float, int]] = deque([(time.monotonic() if now is None else now, 0)])

    def learn(self, done: int, now: float | None = None) -> None:
        """Note how many scores are done; of each second the last number is kept."""
        now = time.monotonic() if now is None else now
        if len(self._known) > 1 and now - self._known[-2][0] < 1.0:
            self._known.pop()
        self._known.append((now, done))

    def rate(self, now: float | None = None) -> float:
        """Give the speed; NaN before the first result."""
        now = time.monotonic() if now is None else now
        while len(self._known) > 2 and self._known[1][0] < now - LOOKS_BACK:
            self._known.popleft()
        (begun, before), (_, done) = self._known[0], self._known[-1]
        return (done - before) / (now - begun) if done > before and now > begun else float("nan")


def _n_scores(task: "Task") -> int:
    """Count the scores of a task by its label: its pieces, or their number itself.

    Examples
    --------
    >>> from mesodask.compute.runner import Task
    >>> _n_scores(Task("a", print, (), {"pieces": [{"resamples": [0, 10], "shuffles": [0, 100], "data": True}]}))
    1010
    """
    if "pieces" not in task.label:
        return task.label.get("n_scores", 0)
    return sum(
        (piece["resamples"][1] - piece["resamples"][0]) * (piece["data"] + piece["shuffles"][1] - piece["shuffles"][0])
        for piece in task.label["pieces"]
    )


def _n_asked(share: Any) -> int:
    """Count the scores that are asked of a session and target, whether or not they are there."""
    if not hasattr(share.run, "extent"):
        return 0
    extent = share.run.extent(share.n_null)
    return len(extent.ks) * (extent.R + extent.null_resamples * extent.n_shuffles)


def _note(skipped: list[str]) -> str:
    """Name sessions that are skipped.

    Examples
    --------
    >>> _note([]), _note(["2025-01-01", "2025-01-02", "2025-01-03"])
    ('', 'skipped: 2025-01-01, 2025-01-02 and 1 more')
    """
    more = f" and {len(skipped) - 2} more" if len(skipped) > 2 else ""
    return f"skipped: {', '.join(skipped[:2])}{more}" if skipped else ""


def _title(run: Any) -> str:
    dates = [str(date) for date in run.tracked["date"].values]
    span = dates[0] if len(set(dates)) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{run.tracked.attrs['subject']}, {span}"


def _about(run: Any) -> str:
    settings, n_sessions = run.settings, len(run.eids)
    parts = [f"{n_sessions} session" + "s" * (n_sessions > 1), f"{run.tracked.sizes['neuron']} neurons"]
    for name, word in (("R", "resamples"), ("n_label_shuffles", "shuffles")):
        if hasattr(settings, name):
            parts.append(f"{getattr(settings, name)} {word}")
    if run.decoded_by:
        parts.append(f"decoder {decoder_name(run.decoded_by)}")
    return ", ".join(parts)
