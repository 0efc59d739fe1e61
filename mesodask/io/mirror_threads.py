"""Threads that work off tasks which lead to further tasks, and that nobody has to wait for."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Protocol, TypeVar

GRACE = 2.0  # s that an interrupted crew gets to end in good order

Task = TypeVar("Task")
Tool = TypeVar("Tool")
Child = TypeVar("Child", covariant=True)


class Outcome(Protocol[Child]):
    """What came of a task."""

    @property
    def children(self) -> Sequence[Child]:
        """Further tasks that it led to."""
        ...


Result = TypeVar("Result", bound=Outcome)


def work_off(
    first: Sequence[Task],
    work: Callable[[Tool, Task], Result],
    *,
    connect: Callable[[], AbstractContextManager[Tool]],
    n_threads: int,
    stop: threading.Event,
    report: Callable[[Sequence[Task], Sequence[Result]], None],
) -> list[Result]:
    """Work off tasks, and those that they lead to, until none is left.

    The threads are daemons, unlike those of an executor: a person who presses Ctrl-C need not wait for a server that
    is silent.

    Parameters
    ----------
    first : sequence
        The tasks to begin with.
    work : callable(tool, task)
        Does one task.
    connect : callable
        Gives every thread a tool of its own, as a context manager.
    n_threads : int
        Most tasks at a time.
    stop : threading.Event
        Set at the end, whichever it is; ``work`` should heed it.
    report : callable(tasks, outcomes)
        Called, in the caller's thread, with all that is known so far.

    Returns
    -------
    list
        Outcomes in the order in which they came.

    Raises
    ------
    BaseException
        The first that ``work`` raised; tasks that have not begun by then are left.
    """
    todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            with connect() as tool:
                while not stop.is_set() and (task := todo.get()) is not None:
                    done.put(work(tool, task))
        except BaseException as error:  # raised again where the outcomes are gathered
            done.put(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(n_threads)]
    try:
        for thread in threads:
            thread.start()
        return _gathered(list(first), todo, done, report)
    finally:
        stop.set()
        for _ in threads:
            todo.put(None)
        until = time.monotonic() + GRACE
        for thread in threads:
            with suppress(RuntimeError):  # an interrupt came before it was started
                thread.join(max(0.0, until - time.monotonic()))


def _gathered(
    known: list[Task],
    todo: "queue.SimpleQueue[Task | None]",
    done: "queue.SimpleQueue[Result | BaseException]",
    report: Callable[[Sequence[Task], Sequence[Result]], None],
) -> list[Result]:
    outcomes: list[Result] = []
    for task in known:
        todo.put(task)
    report(known, outcomes)
    while len(outcomes) < len(known):
        outcome = done.get()
        if isinstance(outcome, BaseException):
            raise outcome
        outcomes.append(outcome)
        known += outcome.children
        for task in outcome.children:
            todo.put(task)
        report(known, outcomes)
    return outcomes
