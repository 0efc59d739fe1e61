"""Runs a plan of independent tasks on Dask: bounded submission, retries, each result handed over as it arrives."""

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future, as_completed
from distributed.scheduler import KilledWorker

logger = logging.getLogger(__name__)

RETRIES = 3  # a worker that dies blames every task it held: a task is given up only after this many more tries
TASKS_PER_WORKER = 4  # enough that no worker waits, few enough that little is lost and the scheduler stays light


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
        Small, picklable values: paths and numbers, not arrays.
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
    client: Client,
    tasks: Iterable[Task],
    on_result: Callable[[Task, Any], None],
    *,
    on_failure: Callable[[Failure], None] | None = None,
) -> list[Failure]:
    """Run all tasks of a plan and hand every result over as it arrives.

    Parameters
    ----------
    client : distributed.Client
        Where to run them.
    tasks : iterable of Task
        Taken lazily: never more than a few a worker are under way.
    on_result : callable(task, result)
        Called in this process, one at a time.
    on_failure : callable(failure), optional
        Called for each task that failed for good.

    Returns
    -------
    list of Failure
        Tasks that raised, or whose worker died again and again; the others are all done.
    """
    source = iter(tasks)
    failures: list[Failure] = []
    running: dict[Future, tuple[Task, int]] = {}  # the task of each future, and how often it has been tried
    futures = as_completed(loop=client.loop, raise_errors=False)
    try:
        _top_up(client, source, running, futures)
        for future in futures:
            task, tries = running.pop(future)
            if future.status == "finished":
                on_result(task, future.result())
            elif tries <= RETRIES and _worth_another_try(future):
                logger.warning("task %s lost its worker; try %d of %d", task.key, tries + 1, RETRIES + 1)
                _submit(client, task, tries + 1, running, futures)
            else:
                failure = _describe(task, future)
                failures.append(failure)
                if on_failure is not None:
                    on_failure(failure)
            future.release()
            _top_up(client, source, running, futures)
    finally:
        # on an interrupt: what is under way is not waited for
        client.cancel(list(running), force=True)
    return failures


def _top_up(client: Client, source: Iterator[Task], running: dict, futures: as_completed) -> None:
    limit = TASKS_PER_WORKER * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    while len(running) < limit:
        task = next(source, None)
        if task is None:
            return
        _submit(client, task, 1, running, futures)


def _submit(client: Client, task: Task, tries: int, running: dict, futures: as_completed) -> None:
    future = client.submit(task.function, *task.arguments, key=f"{task.key}-try{tries}", pure=False)
    running[future] = task, tries
    futures.add(future)


def _worth_another_try(future: Future) -> bool:
    """Tell whether the worker was at fault; a task that raises would raise again."""
    return future.status in ("lost", "cancelled") or isinstance(future.exception(), KilledWorker)


def _describe(task: Task, future: Future) -> Failure:
    if future.status == "error":
        error = future.exception()
        lines = traceback.format_exception(type(error), error, future.traceback())
        return Failure(task, f"{type(error).__name__}: {error}", "".join(lines))
    return Failure(task, f"the task's future was {future.status}", "")
