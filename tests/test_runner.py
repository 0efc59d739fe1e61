"""The runner on real workers: what a task does to its worker must not touch the others' results."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client

from mesodask.compute.cluster import local_client
from mesodask.compute.runner import TASKS_PER_WORKER, Failure, Task, run_tasks


def double(x: int) -> int:
    return 2 * x


def fail_on(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


def die_once(x: int, folder: str) -> int:
    """Kill the worker at the first try of each multiple of 5."""
    mark = Path(folder) / str(x)
    if x % 5 == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def collect(into: dict[str, object]) -> Callable[[Task, object], None]:
    return lambda task, result: into.__setitem__(task.key, result)


def test_all_results_arrive(client: Client) -> None:
    results: dict[str, object] = {}
    assert run_tasks(client, (Task(f"double-{i}", double, (i,)) for i in range(50)), collect(results)) == []
    assert results == {f"double-{i}": 2 * i for i in range(50)}


def test_the_plan_is_taken_lazily(client: Client) -> None:
    taken, done = 0, 0

    def plan() -> Iterator[Task]:
        nonlocal taken
        for i in range(40):
            taken += 1
            assert taken - done <= 2 * TASKS_PER_WORKER + 1
            yield Task(f"lazy-{i}", double, (i,))

    def on_result(task: Task, result: object) -> None:
        nonlocal done
        done += 1

    run_tasks(client, plan(), on_result)
    assert taken == done == 40


def test_a_task_that_raises_does_not_stop_the_others(client: Client) -> None:
    results: dict[str, object] = {}
    seen: list[Failure] = []
    tasks = [Task(f"fail-{i}", fail_on, (i, 3), {"number": i}) for i in range(8)]
    failures = run_tasks(client, tasks, collect(results), on_failure=seen.append)
    assert len(results) == 7
    assert failures == seen
    assert [f.task.label["number"] for f in failures] == [3]
    assert failures[0].error == "ValueError: 3 is bad"
    assert "fail_on" in failures[0].traceback


def test_killed_workers_cost_no_result(tmp_path: Path) -> None:
    results: dict[str, object] = {}
    tasks = [Task(f"die-{i}", die_once, (i, str(tmp_path))) for i in range(20)]
    with local_client(2) as client:
        failures = run_tasks(client, tasks, collect(results))
    assert failures == []
    assert results == {f"die-{i}": i for i in range(20)}


def test_an_interrupt_leaves_nothing_running(client: Client) -> None:
    def stop(task: Task, result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(client, (Task(f"stop-{i}", double, (i,)) for i in range(50)), stop)
    deadline = time.time() + 10
    while client.processing() and any(client.processing().values()):
        assert time.time() < deadline
        time.sleep(0.05)
