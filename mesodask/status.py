"""How far a run is, and how fast it goes, from its store alone; nothing is written and no driver is asked."""

import contextlib
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mesodask.cross.counts import count_cross_target
from mesodask.errors import StoreError
from mesodask.io import cache, cache_contents, stores
from mesodask.io.crossstore import CrossSessionStore, open_run
from mesodask.io.lock import living_owner
from mesodask.io.runstore import RunStore
from mesodask.runs.counts import TargetStatus, Written, count_target, read_failures
from mesodask.summary import settings_order

# s that the rate looks back; the longer one where tasks take so long that the shorter holds no two of them
WINDOWS = 600.0, 7200.0
BURST = 1.0  # s within which the scores of one task are written


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes
    ----------
    path : pathlib.Path
        The run store.
    subject : str
        The subject.
    targets : tuple of TargetStatus
        In the usual order; empty until the first target is begun.
    driver : str or None
        The process that is at work on the run, if any: its number, host, SLURM job, and since when.
    failed_tasks : int
        Tasks of the last call that failed for good.
    last_error : str
        The exception of the last of them, in one line.
    failures_file : pathlib.Path
        Where their tracebacks are, if there are any.
    last_write : float
        When the last score was stored, s since 1970; NaN if none is.
    rate : float
        Scores a minute, over the last ten minutes of work; NaN if that cannot be told.
    seconds_left : float
        Estimate of the time to the end if the driver goes on as lately; NaN if none is at work.
    kind : str
        What kind of run it is: neuron_dropping_curves or cross_session.

    Examples
    --------
    >>> status = RunStatus(Path("run.zarr"), "S1", (TargetStatus("choice", total=200, done=150, left=50),), None)
    >>> status.state, status.total, status.done
    ('stopped', 200, 150)
    """

    path: Path
    subject: str
    targets: tuple[TargetStatus, ...]
    driver: str | None
    failed_tasks: int = 0
    last_error: str = ""
    failures_file: Path = Path()
    last_write: float = math.nan
    rate: float = math.nan
    seconds_left: float = math.nan
    kind: str = ""

    @property
    def total(self) -> int:
        """Scores asked for."""
        return sum(target.total for target in self.targets)

    @property
    def done(self) -> int:
        """Scores stored."""
        return sum(target.done for target in self.targets)

    @property
    def failed(self) -> int:
        """Scores given up."""
        return sum(target.failed for target in self.targets)

    @property
    def left(self) -> int:
        """Scores to come."""
        return sum(target.left for target in self.targets)

    @property
    def damaged(self) -> int:
        """Scores that were stored and cannot be read any more."""
        return sum(target.damaged for target in self.targets)

    @property
    def state(self) -> str:
        """In a word: running, finished, failed (nothing left but what failed), stopped or not begun."""
        if self.driver:
            return "running"
        if not self.targets:
            return "not begun"
        if self.left or any(target.problem for target in self.targets):
            return "stopped"
        return "failed" if self.failed else "finished"

    def plain(self) -> dict[str, Any]:
        """Give everything as JSON can hold it; what is not known is None."""
        totals = {name: getattr(self, name) for name in ("state", "total", "done", "failed", "left", "damaged")}
        return _plain(asdict(self) | totals)


def run_status(run: RunStore | CrossSessionStore | str | Path, *, quick: bool = False) -> RunStatus:
    """Look how far a run is, whether or not a driver is at work on it.

    Asked for is what the store has room for: all ks, resamples and shuffles of the largest calls so far, the null on
    as many resamples as the largest of them wanted it (``shuffle_resamples``), with no more shuffles than a session's
    null can give. Of a cross-session run models, and scores and null scores of every pair of sessions, are counted.
    The rate is that of the last ten minutes of work, by the times at which chunks of scores were written; the time left
    is what is left at this rate.

    Parameters
    ----------
    run : RunStore, CrossSessionStore or path-like
        A run, or its path.
    quick : bool
        Take every chunk of null scores that is there for finished, without reading it. That is many times faster where
        there are thousands of shuffles and resamples, and counts too much where a run has grown by a part of a chunk.

    Returns
    -------
    RunStatus

    Raises
    ------
    StoreError
        There is no such run, or its metadata cannot be read.
    """
    store = open_run(Path(run)) if isinstance(run, (str, Path)) else run
    store.check_exists()
    failures = read_failures(store.failures_file)
    driver = living_owner(store.lock_file)
    names = settings_order(store.targets())
    if isinstance(store, CrossSessionStore):
        counted = [count_cross_target(store, name, failures) for name in names]
    else:
        counted = [count_target(store, name, failures, quick=quick) for name in names]
    written = [chunk for _, chunks in counted for chunk in chunks]
    stretch = _stretch([chunk.time for chunk in written], time.time() if driver else None)
    per_second = _per_second(written, stretch)
    status = RunStatus(
        path=store.path,
        subject=store.attrs.get("subject", ""),
        targets=tuple(
            replace(target, rate=60 * _per_second(chunks, stretch), seconds_left=_seconds(target, per_second, driver))
            for target, chunks in counted
        ),
        driver=driver,
        failed_tasks=len(failures),
        last_error=str(failures[-1].get("error", "")).split("\n")[0] if failures else "",
        failures_file=store.failures_file,
        last_write=max((chunk.time for chunk in written), default=math.nan),
        rate=60 * per_second,
        kind=store.attrs.get("kind", ""),
    )
    return replace(status, seconds_left=_seconds(status, per_second, driver))


def find_runs(folder: Path) -> list[Path]:
    """List the run stores of a cache folder: curves, those of pairs, and cross-session runs.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of all stores (see :func:`mesodask.io.cache.cache_folder`).

    Returns
    -------
    list of pathlib.Path
        Empty if there are none, or no such folder.
    """
    runs = cache.decoding_folder(folder)
    paths = [*sorted(runs.glob("*.zarr")), *sorted(runs.glob("pair_summaries/*/res/*.zarr"))]
    paths += sorted(cache.cross_session_folder(folder).glob("*.zarr"))
    return [path for path in paths if open_run(path).exists()]


@dataclass(frozen=True)
class SubjectEntry:
    """What a cache folder holds of a subject.

    Attributes
    ----------
    subject : str
        The subject.
    n_sessions, n_runs : int
        Sessions that are stored, each counted once; runs of whatever kind.
    first, last : str
        First and last day of the sessions; empty where only runs are left.
    n_bytes : int
        Size of the session stores on disk.
    """

    subject: str
    n_sessions: int
    first: str
    last: str
    n_runs: int
    n_bytes: int


def list_subjects(folder: Path) -> list[SubjectEntry]:
    """List the subjects of which a cache folder holds sessions or runs, by name; what cannot be read has none.

    Examples
    --------
    >>> list_subjects(Path("no-such-folder"))
    []
    """
    stored = [entry for entry in cache_contents.list_sessions(folder) if entry.subject]
    of_runs = []
    for run in find_runs(folder):
        with contextlib.suppress(StoreError):
            of_runs.append(str(stores.attributes(run).get("subject") or ""))
    found = []
    for subject in sorted({*(entry.subject for entry in stored), *of_runs} - {""}):
        own = [entry for entry in stored if entry.subject == subject]
        days = sorted(entry.date for entry in own) or [""]
        n_sessions, n_bytes = len({entry.eid for entry in own}), sum(entry.n_bytes for entry in own)
        found.append(SubjectEntry(subject, n_sessions, days[0], days[-1], of_runs.count(subject), n_bytes))
    return found


def _plain(value: Any) -> Any:
    """Turn a value into what JSON can hold."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value) if isinstance(value, Path) else value


# the pace -----------------------------------------------------------------------------------------------------


def _stretch(times: Sequence[float], now: float | None) -> tuple[float, float] | None:
    """Choose the time that a rate is taken over: from a first writing to now, or to the last one if nobody works.

    Parameters
    ----------
    times : sequence of float
        When chunks were written, s.
    now : float or None
        The time; None if no driver is at work.

    Examples
    --------
    >>> _stretch([0.0, 5000.0, 5100.0, 5200.0], 5230.0), _stretch([0.0, 5000.0, 5200.0], None)
    ((5000.0, 5230.0), (5000.0, 5200.0))
    """
    end = max([*times, *([] if now is None else [now])], default=0.0)
    for window in WINDOWS:
        recent = [written for written in times if written >= end - window]
        if recent and max(recent) > min(recent) + BURST:
            return min(recent), end
    return None


def _per_second(written: Iterable[Written], stretch: tuple[float, float] | None) -> float:
    """Rate over a stretch of what was written at times; what was written at its start took its time before.

    Examples
    --------
    >>> _per_second([Written(0.0, 50), Written(0.1, 50), Written(5.0, 100), Written(10.0, 100)], (0.0, 10.0))
    20.0
    """
    if stretch is None:
        return math.nan
    start, end = stretch
    return sum(chunk.n_scores for chunk in written if chunk.time > start + BURST) / (end - start)


def _seconds(status: TargetStatus | RunStatus, per_second: float, driver: str | None) -> float:
    """Time that what is left will take; NaN where nobody works on it."""
    if not status.left:
        return 0.0
    return status.left / per_second if driver and per_second > 0 else math.nan
