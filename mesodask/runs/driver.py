"""What drives every kind of run: stores and features are prepared, and what is missing becomes one plan on one cluster.

A run is described by :class:`AnyRun`, and what it asks of one session and target by a :class:`Share`, which knows its
own tasks and what becomes of their results. Results are written as they arrive, by this process alone, and at the end
each store says how far every session is.
"""

import json
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr

from mesodask.errors import TasksFailedError
from mesodask.io.runbase import RunBase
from mesodask.numerics.decoder_identity import decoder_identity
from mesodask.runs import events
from mesodask.runs import features as run_features
from mesodask.runs.features import Source
from mesodask.settings import RunSettings

if TYPE_CHECKING:
    from distributed import Client

    from mesodask.compute.runner import AnyClient, Failure, GiveClient, Task

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and its total; of a plan, scores are counted."""


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class AnyRun(ABC):
    """One run, to be computed.

    Attributes
    ----------
    store : RunBase
        Where it goes.
    tracked : xarray.Dataset
        Its neurons (:data:`mesodask.schema.TRACKED`).
    sources : tuple of Source
        Where the features of each session come from, in the order of ``tracked.session``.
    settings : RunSettings
        Its settings.
    decoder : object or None
        A user's classifier.
    decoded_by : str or None
        Text that identifies it.
    """

    kind: ClassVar[str]  # what the store says of itself

    store: RunBase[Any]
    tracked: xr.Dataset
    sources: tuple[Source, ...]
    settings: RunSettings
    decoder: Any = None
    decoded_by: str | None = None

    @property
    def eids(self) -> list[str]:
        """Sessions of the run."""
        return self.tracked["session"].values.tolist()

    @abstractmethod
    def reserve(self, target: str) -> None:
        """Make room in the store for what is asked of a target."""

    def skips(self, target: str) -> dict[str, str]:
        """Tell why each session is skipped in a target, by eid; empty where it is not."""
        return run_features.skips(self.store, target, self.eids)

    @abstractmethod
    def asks_of(self, target: str, session: int) -> bool:
        """Tell whether anything of a session may have to be computed, so that its features are needed whole."""


class Share(ABC):
    """What a run asks of one session and target.

    Attributes
    ----------
    run : AnyRun
        The run.
    target : str
        Name of the target.
    session : int
        Index of the session.
    status : str
        That in the store when the run begins.
    stage : str
        What the work is called in reports.
    """

    stage: ClassVar[str]

    run: AnyRun
    target: str
    session: int
    status: str

    @abstractmethod
    def count_missing(self) -> int:
        """Count the scores that are asked for and missing."""

    @abstractmethod
    def tasks(self) -> "Iterator[Task]":
        """Enumerate, lazily, the tasks that compute what is missing."""

    @abstractmethod
    def accept(self, task: "Task", result: Any) -> tuple[int, int]:
        """Store the result of a task; give the number of its scores, and of fits that did not converge."""

    @abstractmethod
    def is_whole(self) -> bool:
        """Tell whether the store has every score of the session that it has room for, once nothing asked is missing."""


def checked_identity(decoder: Any, metric: str, C: float = 1.0) -> str | None:
    """Text that identifies a user's decoder; None for the default. What cannot be used raises before any work."""
    if decoder is None:
        return None
    from mesodask.numerics.decoders import check_decoder

    check_decoder(decoder, metric, C)
    return decoder_identity(decoder)


_NOTES: ContextVar[Mapping[str, Any]] = ContextVar("notes of runs", default=MappingProxyType({}))


@contextmanager
def noting(**attributes: Any) -> Iterator[None]:
    """Keep further attributes in the store of every run that is prepared meanwhile, before anything is computed.

    Whatever becomes of the run then, its store has them.
    """
    token = _NOTES.set(attributes)
    try:
        yield
    finally:
        _NOTES.reset(token)


# before anything is computed ------------------------------------------------------------------------------------


def prepare(run: AnyRun, *, rerun: bool, report: Progress) -> None:
    """Make the store of a run, or grow it, with the features and null labels of all its sessions.

    Raises
    ------
    StoreError
        The store holds scores of other features.
    NothingToDecodeError
        Every session of every target is skipped.
    """
    store, settings = run.store, run.settings
    store.create(run.tracked)
    if rerun:
        store.forget(settings.targets)
    attributes = _attributes(run)
    if {name: store.attrs.get(name) for name in attributes} != attributes:
        store.update_attributes(attributes)
    store.failures_file.unlink(missing_ok=True)
    for target in settings.targets:
        for session, eid in enumerate(run.eids):
            if run.asks_of(target, session):
                store.check_features(target, eid)  # reads them from end to end
    run_features.prepare(store, run.sources, settings, report)
    reasons = {target: run.skips(target) for target in settings.targets}
    for target in settings.targets:
        run.reserve(target)
        run_features.record_sessions(store, target, reasons[target])
    run_features.check_anything_to_decode(reasons)


def _attributes(run: AnyRun) -> dict[str, Any]:
    from mesodask import __version__

    return {
        "kind": run.kind,
        "subject": run.tracked.attrs["subject"],
        "settings": json.loads(run.settings.model_dump_json()),
        "decoder": run.decoded_by,
        "mesodask_version": __version__,
        **_NOTES.get(),
    }


# the plan -------------------------------------------------------------------------------------------------------


@contextmanager
def workers(client: "AnyClient | None") -> Iterator["GiveClient"]:
    """Give a client when it is asked for: the user's own, or one of workers that are started on this machine then.

    Where several runs follow each other, whoever began them may give a callable in place of a client: it starts the
    workers of all of them once, and only if one has anything to compute.
    """
    if callable(client):
        yield client
        return
    with ExitStack() as stack:
        started = [client] if client is not None else []

        def give() -> "Client":
            if not started:
                from mesodask.compute import cluster

                started.append(stack.enter_context(cluster.local_client()))
            return started[0]

        yield give


def compute(shares: Sequence[Share], client: "AnyClient | None", report: Progress) -> None:
    """Compute what is missing of some shares, as one plan on one cluster, and write it as it arrives.

    Parameters
    ----------
    shares : sequence of Share
        Of runs that were prepared by :func:`prepare`; no two of the same run, target and session.
    client : distributed.Client or callable() -> distributed.Client, optional
        Where to compute; by default workers are started on this machine, if anything is missing.
    report : callable(stage, done, total)
        Called as the work goes on, with the numbers of scores.

    Raises
    ------
    TasksFailedError
        Some tasks failed for good; all other scores are stored.
    """
    with workers(client) as give_client:
        plan = Plan(shares, report)
        plan.carry_out(give_client)
    plan.mark_done()
    check_failures(plan.failures)


@contextmanager
def leaving(store: RunBase[Any]) -> Iterator[None]:
    """Let the error of tasks that failed for good say where all other scores are."""
    try:
        yield
    except TasksFailedError as error:
        error.result = store
        raise


def check_failures(failures: Sequence[tuple[Share, str]]) -> None:
    """Raise :class:`TasksFailedError` if there are any."""
    if failures:
        files = sorted({str(share.run.store.failures_file) for share, _ in failures})
        raise TasksFailedError(
            f"{len(failures)} tasks failed, e.g. {failures[0][1]}; all other scores are stored. Tracebacks are "
            f"in {', '.join(files)}; call again to try only what is missing"
        )


class Plan:
    """The tasks of some shares, and what becomes of their results: they are stored, counted and reported.

    Parameters
    ----------
    shares : sequence of Share
        What may be missing; it is counted when this is made.
    report : callable(stage, done, total)
        Called as the work goes on, with the numbers of scores.

    Attributes
    ----------
    failures : list of (Share, str)
        The errors of tasks that failed for good, and whose they were.
    is_empty : bool
        Whether nothing was missing.
    """

    _page: events.Teller

    def __init__(self, shares: Sequence[Share], report: Progress) -> None:
        self.failures: list[tuple[Share, str]] = []
        self._shares = shares
        self._asked = [share.count_missing() for share in shares]
        self._left = list(self._asked)
        self.is_empty = not any(self._asked)
        self._report = report
        self._of_task: dict[str, int] = {}  # shares of the tasks that are under way
        self._unconverged = 0
        self._total: Counter[str] = Counter()
        for share, left in zip(shares, self._left, strict=True):
            self._total[_stage(share)] += left
        self._done: Counter[str] = Counter()

    def carry_out(self, give_client: "GiveClient") -> None:
        """Run what is missing; tasks are enumerated share by share, as the workers need more."""
        for stage in self._total:
            self._tell(stage)
        for share, asked in zip(self._shares, self._asked, strict=True):
            if asked and share.status != "partial":
                share.run.store.write_session(share.target, share.session, status="partial")
        if self.is_empty:
            return
        from mesodask.compute import runner

        try:
            client = give_client()
            with events.telling(client, self._shares, self._left) as self._page:
                runner.run_tasks(client, self._tasks(), self._on_result, on_failure=self._on_failure)
        except KeyboardInterrupt as interrupt:
            for path in dict.fromkeys(share.run.store.path for share in self._shares):
                interrupt.add_note(f"run      {path}")
            raise
        if self._unconverged:
            logger.warning("%d fits did not converge; their scores are kept", self._unconverged)

    def mark_done(self) -> None:
        """Note in the stores which sessions are done now."""
        for share, asked, left in zip(self._shares, self._asked, self._left, strict=True):
            # a session that was finished, and of which nothing was asked, is finished: it need not be read again
            was = "partial" if asked else share.status
            if was != "done" and not left and share.is_whole():
                share.run.store.write_session(share.target, share.session, status="done")

    def _tasks(self) -> "Iterator[Task]":
        for number, share in enumerate(self._shares):
            if self._left[number]:
                for task in share.tasks():
                    self._of_task[task.key] = number
                    self._page.submitted(share, task)
                    yield task

    def _tell(self, stage: str) -> None:
        if self._total[stage]:
            self._report(stage, self._done[stage], self._total[stage])

    def _on_result(self, task: "Task", result: Any) -> None:
        number = self._of_task.pop(task.key)
        share = self._shares[number]
        n_scores, unconverged = share.accept(task, result)
        self._left[number] -= n_scores
        self._unconverged += unconverged
        self._done[_stage(share)] += n_scores
        self._page.stored(share, task)
        self._tell(_stage(share))

    def _on_failure(self, failure: "Failure") -> None:
        """Note beside the store that a task failed for good."""
        logger.error("task %s failed: %s", failure.task.key, failure.error)
        share = self._shares[self._of_task.pop(failure.task.key)]
        self.failures.append((share, failure.error))
        record = {**failure.task.label, "error": failure.error, "traceback": failure.traceback}
        share.run.store.note_failure(record)
        self._page.failed(share, failure)


def _stage(share: Share) -> str:
    return f"{share.stage}: {share.target}"
