"""Progress on stderr: a bar a stage on a terminal, and a line now and then where nobody sees bars move."""

import math
import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mesodask.cli.loudness import is_quiet
from mesodask.io import downloads

LINE_EVERY = 30.0  # s between two lines of a stage in the log of a batch job
TOLD_FROM = 0.01  # of a stage: the first results come late, when workers have loaded and compiled what they need


class Stages:
    """Shows how far every stage is that reports progress; give :meth:`report` as ``progress=``.

    Downloads of an online ONE are a stage that appears when there are some.

    On a terminal each stage has a bar with its time left. In a log, such as that of a batch job, it has a line at its
    end and at most every 30 s on the way, with what is done, the total and the time left.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to; by default stderr, or with ``--quiet`` nowhere.
    line_every : float
        Seconds between two lines of a stage where there is no terminal.

    Examples
    --------
    >>> with Stages() as stages:  # doctest: +SKIP
    ...     neuron_dropping_curves(eids, progress=stages.report)
    """

    def __init__(self, console: Console | None = None, line_every: float = LINE_EVERY) -> None:
        # with --quiet bars and lines are drawn as ever, on nothing
        self._console = console or Console(stderr=True, quiet=is_quiet())
        self._shown: _Bars | _Lines = (
            _Bars(self._console) if self._console.is_terminal else _Lines(self._console, line_every)
        )

    def __enter__(self) -> "Stages":
        self._shown.start()
        self._downloads = downloads.told(lambda done, total: self.report("download", done, total))
        self._downloads.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._downloads.__exit__(kind, error, traceback)
        self._shown.stop()

    def report(self, stage: str, done: int, total: int) -> None:
        """Say how far a stage is; one that is new is begun."""
        self._shown.report(stage, done, total)

    def say(self, text: str) -> None:
        """Print a line, above the bars if there are any."""
        self._console.print(text, highlight=False, soft_wrap=True)


class _Bars:
    """A bar a stage."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}
        self._last_report = self._progress.get_time()

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def report(self, stage: str, done: int, total: int) -> None:
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=total)
        bar = self._bars[stage]
        task = next(task for task in self._progress.tasks if task.id == bar)
        if task.completed == 0 and done:
            # stages are announced together and worked on one after the other: its time began when the last one moved
            task.start_time = self._last_report
        self._progress.update(bar, completed=done, total=total)
        self._last_report = self._progress.get_time()


@dataclass
class _Stage:
    """What is known of a stage in a log."""

    first_done: int  # when it was reported first
    begun: float  # s
    line: float  # s, when its last line was written
    moved: bool = False
    text: str = ""
    written: bool = True  # whether the last report is in the log


class _Lines:
    """A line now and then."""

    def __init__(self, console: Console, line_every: float) -> None:
        self._console, self._line_every = console, line_every
        self._stages: dict[str, _Stage] = {}
        self._last_report = time.monotonic()

    def start(self) -> None:
        self._last_report = time.monotonic()

    def stop(self) -> None:
        for stage in self._stages.values():
            if not stage.written:
                self._write(stage, time.monotonic())

    def report(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        known = self._stages.setdefault(stage, _Stage(done, now, now))
        if done > known.first_done:
            if not known.moved:
                known.moved, known.begun = True, self._last_report
            known.text, known.written = _line(stage, done, total, done - known.first_done, now - known.begun), False
            if done >= total or now - known.line >= self._line_every:
                self._write(known, now)
        self._last_report = now

    def _write(self, stage: _Stage, now: float) -> None:
        self._console.print(stage.text, highlight=False, markup=False, soft_wrap=True)
        stage.line, stage.written = now, True


def _line(stage: str, done: int, total: int, n_new: int, seconds: float) -> str:
    """Write what a log says of a stage.

    Examples
    --------
    >>> _line("curves: choice", 60, 240, 50, 100.0), _line("embed", 4, 4, 4, 8.2), _line("curves: choice", 1, 240, 1, 9)
    ('curves: choice 60/240, 0:06:00 left', 'embed 4/4 in 0:00:08', 'curves: choice 1/240')
    """
    if done >= total:
        return f"{stage} {done}/{total} in {clock(seconds)}"
    if n_new < TOLD_FROM * total:
        return f"{stage} {done}/{total}"
    return f"{stage} {done}/{total}, {clock(seconds * (total - done) / n_new)} left"


def clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds; a dash if it is not known.

    Examples
    --------
    >>> clock(3725.2), clock(200000), clock(float("nan"))
    ('1:02:05', '55:33:20', '-')
    """
    if math.isnan(seconds):
        return "-"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
