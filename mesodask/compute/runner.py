"""Runs a plan of independent tasks on Dask: bounded submission, retries, each result handed over as it arrives.

Whatever happens to workers, every task is either done or told as failed, once. A worker that dies blames every task it
held: those that the scheduler gives up for it are suspects, and are tried again at the end, one a worker; and at last
one at a time, since Dask may give two to the worker that is left while others start again. So a task that kills its
workers is found out and takes no other one with it.
"""

import contextlib
import logging
import queue
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from mesodask.compute.progress import note_progress
from mesodask.errors import ClusterError

logger = logging.getLogger(__name__)

RETRIES = 2  # more tries of a task that lost its workers, or its result
TASKS_PER_WORKER = 4  # enough that no worker waits, few enough that little is lost and the scheduler stays light
ALONE = 0  # tasks a worker: one at a time in all
MAX_UNDER_WAY = 400  # however many workers there are: the driver's and the scheduler's memory stay as they are
CHECK_EVERY = 2.0  # s between two looks at the cluster: how many workers there are, and whether it is there at all
PATIENCE = 60.0  # s without any worker until it is said
KEPT_TRACEBACKS = 100  # of failures; all are handed to on_failure

GiveClient: TypeAlias = Callable[[], Client]
"""Gives the client to compute with; one that is not there yet is started then."""

AnyClient: TypeAlias = Client | GiveClient
"""Where to compute; where a callable stands, workers are started only if there is anything to do."""


@dataclass(frozen=True)
class Task:
    """One independent piece of work.

    Attributes
    ----------
    key : str
        Unique within the plan; the same work has the same key.
    function : callable
        Called on a worker; it must be importable there.
    arguments : tuple
        Small, picklable values, which the scheduler keeps while the task is under way: what is large is read where the
        function runs. Paths and numbers mostly; of arrays, which rows a task
        takes and what is one value a trial.
    label : dict
        What the task is, for logs and progress.
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple
    label: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A task that failed for good.

    Attributes
    ----------
    task : Task
    error : str
        The exception in one line.
    traceback : str
        As on the worker.
    """

    task: Task
    error: str
    traceback: str


def run_tasks(
    client: AnyClient,
    tasks: Iterable[Task],
    on_result: Callable[[Task, Any], None],
    *,
    on_failure: Callable[[Failure], None] | None = None,
) -> list[Failure]:
    """Run all tasks of a plan and hand every result over as it arrives.

    Parameters
    ----------
    client : distributed.Client or callable() -> distributed.Client
        Where to run them. A callable is asked now: so whoever may have no tasks at all starts no workers in vain.
    tasks : iterable of Task
        Taken lazily: never more than a few a worker, and a few hundred in all, are under way.
    on_result : callable(task, result)
        Called in this process, one at a time.
    on_failure : callable(failure), optional
        Called for each task that failed for good.

    Returns
    -------
    list of Failure
        Tasks that raised, or whose worker died again and again; the others are all done. Tracebacks are left out but
        for the first hundred.

    Raises
    ------
    ClusterError
        The scheduler is gone. Results that were handed over are not lost by it.
    """
    under_way = _UnderWay(client() if callable(client) else client)
    failures: list[Failure] = []

    def give_up(failure: Failure) -> None:
        failures.append(failure if len(failures) < KEPT_TRACEBACKS else Failure(failure.task, failure.error, ""))
        if on_failure is not None:
            on_failure(failure)

    try:
        tries: Iterator[Try] = ((task, 1) for task in tasks)
        for per_worker in (TASKS_PER_WORKER, *[1] * (RETRIES - 1), ALONE):
            tries = iter(_run(under_way, tries, per_worker, on_result, give_up))
    finally:
        # on an interrupt: what is under way is not waited for
        under_way.cancel()
    return failures


Try = tuple[Task, int]
"""A task, and how often it has been tried with this time."""


def _run(
    under_way: "_UnderWay",
    source: Iterator[Try],
    per_worker: int,
    on_result: Callable[[Task, Any], None],
    give_up: Callable[[Failure], None],
) -> list[Try]:
    """Run tasks, so many a worker at a time; give those back that the scheduler has given up for their workers."""
    suspects: list[Try] = []
    while True:
        under_way.top_up(source, per_worker)
        finished = under_way.next()
        if finished is None:
            return suspects
        task, tries, future = finished
        outcome = under_way.outcome(future)
        future.release()
        if isinstance(outcome, _Result):
            on_result(task, outcome.value)
            note_progress()
        elif outcome.task_is_at_fault or tries > RETRIES:
            give_up(Failure(task, outcome.error, outcome.traceback))
        else:
            logger.warning("task %s: %s; try %d of %d follows", task.key, outcome.error, tries + 1, RETRIES + 1)
            suspects.append((task, tries + 1))


@dataclass(frozen=True)
class _Result:
    value: Any


@dataclass(frozen=True)
class _Loss:
    error: str
    traceback: str = ""
    task_is_at_fault: bool = False  # it would raise again


class _UnderWay:
    """The tasks that are submitted and not told yet."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tries: dict[Future, Try] = {}
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._n_workers = 0
        self._looked = -CHECK_EVERY
        self._last_worker_seen = time.monotonic()

    def top_up(self, source: Iterator[Try], per_worker: int) -> None:
        """Submit as many more as the workers need."""
        self._look()
        while len(self._tries) < min(MAX_UNDER_WAY, max(1, per_worker * self._n_workers)):
            one = next(source, None)
            if one is None:
                return
            task, tries = one
            try:
                key = f"{task.key}-try{tries}"
                future = self._client.submit(task.function, *task.arguments, key=key, pure=False)
            except Exception:  # a client that was closed meanwhile raises many kinds
                self._look(now=True)
                raise
            self._tries[future] = one
            future.add_done_callback(self._done.put)

    def next(self) -> tuple[Task, int, Future] | None:
        """Wait for one that is finished, failed or lost; None if none is under way."""
        while self._tries:
            try:
                future = self._done.get(timeout=CHECK_EVERY)
            except queue.Empty:
                self._look(now=True)
                continue
            return *self._tries.pop(future), future
        return None

    def outcome(self, future: Future) -> _Result | _Loss:
        """Fetch a result, or tell why there is none."""
        if future.status == "finished":
            try:
                return _Result(future.result())
            except Exception as error:  # of the network, or of unpickling
                self._look(now=True)
                return _Loss(f"its result cannot be fetched ({type(error).__name__}: {error})", _told(error))
        if future.status != "error":
            self._look(now=True)
            return _Loss(f"it was {future.status} on the cluster")
        raised = future.exception()
        if isinstance(raised, KilledWorker):
            return _Loss(_why_killed(self._client, raised))
        return _Loss(f"{type(raised).__name__}: {raised}", _told(raised, future.traceback()), task_is_at_fault=True)

    def cancel(self) -> None:
        """Forget everything under way; what runs on a worker ends unheard."""
        if self._tries and self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):
                self._client.cancel(list(self._tries), force=True)
        self._tries.clear()

    def _look(self, now: bool = False) -> None:
        """Count the workers, if that was not done just before; raise if the scheduler does not answer."""
        if not now and time.monotonic() - self._looked < CHECK_EVERY:
            return
        try:
            if self._client.status not in ("running", "connecting"):
                raise RuntimeError(f"the client is {self._client.status}")
            self._n_workers = len(self._client.nthreads())  # scheduler_info would give what it knew before
        except Exception as error:  # a client whose scheduler is gone raises many kinds
            raise ClusterError(
                f"the Dask scheduler is gone ({type(error).__name__}: {error}). Everything that was computed so far is "
                "stored; call again, with a cluster that runs, to go on from there"
            ) from error
        self._looked = time.monotonic()
        if self._n_workers:
            self._last_worker_seen = self._looked
        elif self._looked - self._last_worker_seen > PATIENCE:
            logger.warning("the cluster has no worker for %.0f s; waiting for one", PATIENCE)
            self._last_worker_seen = self._looked


def _told(error: BaseException, trace: Any = None) -> str:
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def _why_killed(client: Client, error: KilledWorker) -> str:
    """Say why a task's workers died: Dask tells nothing of it but to the scheduler's log."""
    worker = error.last_worker
    limit = f"{worker.memory_limit / 2**20:.0f} MiB" if worker.memory_limit else "any amount of"
    text = f"KilledWorker: {error.allowed_failures + 1} workers died one after the other while they had this task"
    with contextlib.suppress(Exception):  # events are a help, no need
        for _, event in client.get_events("worker-restart-memory"):
            if event["worker"] == worker.address:
                return (
                    f"{text}; the last one was out of memory: it used {event['rss'] / 2**20:.0f} MiB, and a worker may "
                    f"use {limit} (memory_limit). Give workers more memory, or a task less to do"
                )
    return (
        f"{text}; the last one, {worker.address}, was killed from outside, as systems do where memory runs out (a "
        f"worker may use {limit}); see the worker's log"
    )
