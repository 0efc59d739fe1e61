"""The runner on real workers: what a task does to its worker must not touch the others' results."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, Future, LocalCluster, get_worker

from mesodask.compute import runner
from mesodask.compute.cluster import SCHEDULER_SETTINGS, local_client
from mesodask.compute.runner import TASKS_PER_WORKER, Failure, Task, run_tasks
from mesodask.errors import ClusterError


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


# bounded ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def in_this_process(n_workers: int = 2) -> Iterator[Client]:
    """Scheduler and workers as threads of this process: fast, and their memory is seen."""
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("n_tasks", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_tasks(n_tasks: int) -> None:
    figures: list[tuple[int, float, int, int]] = []
    done = 0
    with in_this_process() as client:
        scheduler = client.cluster.scheduler

        def on_result(task: Task, result: object) -> None:
            nonlocal done
            done += 1
            if done % (n_tasks // 5) == 0:
                rss = psutil.Process().memory_info().rss / 2**20
                figures.append((done, rss, len(scheduler.tasks), len(client.futures)))

        started = time.perf_counter()
        run_tasks(client, (Task(f"score-choice-{i}-{i:08x}", double, (i,)) for i in range(n_tasks)), on_result)
        each = (time.perf_counter() - started) / n_tasks
    for n, rss, on_scheduler, futures in figures:
        print(f"{n:6d} tasks: driver with scheduler and workers {rss:.0f} MiB, {on_scheduler} tasks on the scheduler, "
              f"{futures} futures")  # fmt: skip
    print(f"{1e3 * each:.1f} ms a task")
    assert done == n_tasks
    assert max(on_scheduler for _, _, on_scheduler, _ in figures) <= 3 * TASKS_PER_WORKER
    assert max(futures for *_, futures in figures) <= 3 * TASKS_PER_WORKER
    # the scheduler keeps a history of bounded length; after it is full nothing grows
    assert figures[-1][1] - figures[1][1] < 40


def test_a_million_tasks_are_not_made_in_advance() -> None:
    taken = done = 0

    def plan() -> Iterator[Task]:
        nonlocal taken
        for i in range(1_000_000):
            taken += 1
            yield Task(f"million-{i}", double, (i,))

    def on_result(task: Task, result: object) -> None:
        nonlocal done
        done += 1
        if done == 100:
            raise KeyboardInterrupt

    with in_this_process() as client, pytest.raises(KeyboardInterrupt):
        run_tasks(client, plan(), on_result)
    assert taken <= 100 + 2 * TASKS_PER_WORKER


def test_however_many_workers_there_is_a_limit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_UNDER_WAY", 3)
    taken = done = 0

    def plan() -> Iterator[Task]:
        nonlocal taken
        for i in range(20):
            taken += 1
            assert taken - done <= 3
            yield Task(f"limit-{i}", double, (i,))

    def on_result(task: Task, result: object) -> None:
        nonlocal done
        done += 1

    run_tasks(client, plan(), on_result)
    assert done == 20


# what may happen to a cluster -------------------------------------------------------------------------------------


def test_our_schedulers_are_patient() -> None:
    with local_client(1) as client:
        scheduler = client.cluster.scheduler
        assert scheduler.allowed_failures == SCHEDULER_SETTINGS["distributed.scheduler.allowed-failures"] > 3
        assert scheduler.worker_ttl == 30 * 60


def test_workers_that_dask_has_given_up_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow machines start a worker again so late that its nanny is closed; a run must not wait for it for ever."""
    results: dict[str, object] = {}
    monkeypatch.setitem(SCHEDULER_SETTINGS, "distributed.deploy.lost-worker-timeout", "10ms")
    with local_client(1) as client:
        os.kill(next(iter(client.cluster.workers.values())).pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while client.cluster.workers:  # until it is given up
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert run_tasks(client, [Task(f"replaced-{i}", double, (i,)) for i in range(4)], collect(results)) == []
    assert len(results) == 4


def interrupt_handling() -> tuple[bool, int]:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN, len(logging.getLogger("distributed.worker").filters)


def test_a_worker_that_replaces_another_leaves_the_interrupt_to_the_driver() -> None:
    with local_client(1) as client:
        (first,) = client.run(os.getpid).values()
        os.kill(first, signal.SIGKILL)
        future = client.submit(os.getpid, pure=False)
        assert future.result(timeout=60) != first
        assert list(client.run(interrupt_handling).values()) == [(True, 1)]


def eat(x: int) -> int:
    """Take more memory than a worker may; 3 does, the others do not."""
    if x == 3:
        eaten = [np.ones(2**22) for _ in range(40)]  # 32 MiB each
        time.sleep(20)
        return len(eaten)
    return x


def test_a_task_out_of_memory_fails_alone_and_says_why() -> None:
    results: dict[str, object] = {}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="500MiB", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        failures = run_tasks(client, [Task(f"eat-{i}", eat, (i,)) for i in range(20)], collect(results))
    assert [failure.task.key for failure in failures] == ["eat-3"]
    assert "out of memory" in failures[0].error
    assert "a worker may use 500 MiB (memory_limit)" in failures[0].error
    assert results == {f"eat-{i}": i for i in range(20) if i != 3}


def die_twice(x: int) -> tuple[float, float]:
    """Kill the worker in the first two tries; in the third tell when it began and ended."""
    if not get_worker().get_current_task().endswith("-try3"):
        os.kill(os.getpid(), signal.SIGKILL)
    begun = time.monotonic()
    time.sleep(0.3)
    return begun, time.monotonic()


def test_last_tries_are_one_at_a_time() -> None:
    """Else a task that shares its worker with a killer, each time, is given up though it does no harm."""
    results: dict[str, object] = {}
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), local_client(2) as client:
        assert run_tasks(client, [Task(f"dies-{i}", die_twice, (i,)) for i in range(3)], collect(results)) == []
    (_, first), (second, end), (third, _) = sorted(results.values())
    assert first <= second
    assert end <= third


class Unreadable:
    """Arrives nowhere: it cannot be unpickled."""

    def __reduce__(self) -> tuple:
        return divmod, (1, 0)


def unreadable_on(x: int, bad: int) -> object:
    return Unreadable() if x == bad else x


def test_a_result_that_cannot_be_fetched_fails_alone(client: Client) -> None:
    results: dict[str, object] = {}
    failures = run_tasks(client, [Task(f"unread-{i}", unreadable_on, (i, 2)) for i in range(6)], collect(results))
    assert [failure.task.key for failure in failures] == ["unread-2"]
    assert "result cannot be fetched (ZeroDivisionError" in failures[0].error
    assert len(results) == 5


def nap(x: int) -> int:
    time.sleep(0.1)
    return x


def test_a_future_cancelled_by_others_is_tried_again(client: Client) -> None:
    results: dict[str, object] = {}
    cancelled: list[str] = []
    with Client(client.scheduler.address, security=client.security) as other:

        def cancel(task: Task, result: object) -> None:
            collect(results)(task, result)
            if not cancelled:
                cancelled.extend(key for key in client.futures if key.startswith("nap"))
                other.cancel([Future(key, other) for key in cancelled], force=True)

        assert run_tasks(client, [Task(f"nap-{i}", nap, (i,)) for i in range(20)], cancel) == []
    assert len(cancelled) >= 3
    assert results == {f"nap-{i}": i for i in range(20)}


def test_a_cluster_that_is_closed_is_told(tmp_path: Path) -> None:
    results: dict[str, object] = {}
    with in_this_process() as client:
        closer = threading.Timer(1.0, client.cluster.close)
        closer.start()
        with pytest.raises(ClusterError, match=r"scheduler is gone.*computed so far is stored; call again"):
            run_tasks(client, (Task(f"nap-{i}", nap, (i,)) for i in range(10_000)), collect(results))
        closer.join()
    assert results


def test_a_scheduler_that_is_killed_is_told(tmp_path: Path) -> None:
    """No hang: the client gives up after its own timeout."""
    file = tmp_path / "scheduler.json"
    dask_command = [sys.executable, "-m", "dask"]
    where = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])  # tasks are functions of this file
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | {"PYTHONPATH": where}}
    arguments = ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*dask_command, "scheduler", "--host", "127.0.0.1", "--port", "0", *arguments],
        **quiet,  # type: ignore[call-overload]
    )
    worker = subprocess.Popen(
        [*dask_command, "worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "5", *arguments],
        **quiet,  # type: ignore[call-overload]
    )
    results: dict[str, object] = {}

    def on_result(task: Task, result: object) -> None:
        collect(results)(task, result)
        if len(results) == 5:
            scheduler.kill()

    try:
        with Client(scheduler_file=str(file), timeout=8) as client:
            started = time.monotonic()
            with pytest.raises(ClusterError, match="scheduler is gone"):
                run_tasks(client, (Task(f"nap-{i}", nap, (i,)) for i in range(1000)), on_result)
            print(f"told after {time.monotonic() - started:.1f} s")
        assert 5 <= len(results) < 20
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
