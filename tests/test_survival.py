"""Whole runs on real processes that are killed, starved and damaged: always the same scores, and little done twice.

By default each runs once or twice; with --slow as often as it takes to trust it.
"""

import dataclasses
import functools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import survival_driver
import xarray as xr
from distributed import Client, LocalCluster

from mesodask import neuron_dropping_curves
from mesodask.cli.main import main
from mesodask.compute import runner
from mesodask.compute.cluster import local_client
from mesodask.compute.runner import TASKS_PER_WORKER
from mesodask.curves import engine
from mesodask.errors import LockedError, StoreError
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject

TARGETS = ("choice", "block")
SETTINGS = {"targets": TARGETS, "ks": (8, 16), "R": 20, "n_label_shuffles": 20}
LARGE = SETTINGS | {"R": 220}
N_WORKERS = 2
Run = Callable[..., RunStore]


@contextmanager
def threads(n_workers: int = 1) -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def cache(sessions: list[xr.Dataset], tmp_path: Path) -> Path:
    """A cache of this test, whose sessions are embedded already."""
    data = tmp_path / "cache" / "data"
    data.mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        (data / source.name).symlink_to(source)
    return data.parent


@pytest.fixture
def run(subject: SimulatedSubject, cache: Path) -> Run:
    def compute(client: Client | None, **options: object) -> RunStore:
        return neuron_dropping_curves(
            subject.eids, one=subject.one_dir, cache_dir=cache, roicat_root=subject.roicat_root, client=client,
            **SETTINGS | options,
        )  # fmt: skip

    return compute


@functools.cache
def _undisturbed(one: Path, roicat: Path, eids: tuple[str, ...], data: Path, folder: Path, R: int) -> dict:
    (folder / "data").mkdir(parents=True)
    for path in data.glob("*.zarr"):
        (folder / "data" / path.name).symlink_to(path)
    with threads() as client:
        store = neuron_dropping_curves(
            eids, one=one, cache_dir=folder, roicat_root=roicat, client=client, **SETTINGS | {"R": R}
        )
    return {target: store.scores(target) for target in TARGETS}


@pytest.fixture
def undisturbed(
    subject: SimulatedSubject, sessions: list[xr.Dataset], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, xr.Dataset]]:
    """Scores of a run in one thread of one process, with so many resamples, to which nothing happens."""
    data = Path(sessions[0].encoding["source"]).parent
    base = tmp_path_factory.getbasetemp() / "undisturbed"
    return lambda R: _undisturbed(subject.one_dir, subject.roicat_root, tuple(subject.eids), data, base / str(R), R)


def same_scores(store: RunStore, expected: dict[str, xr.Dataset]) -> None:
    for target in TARGETS:
        scores = store.scores(target)
        assert set(scores["status"].values) == {"done"}
        for name in ("score", "null_score"):
            np.testing.assert_array_equal(scores[name].values, expected[target][name].values)


def nothing_is_left_behind(store: RunStore) -> None:
    assert sorted(p.name for p in store.path.parent.iterdir()) == [store.path.name]
    assert not list(store.path.rglob("*.partial"))


def only_store(cache: Path) -> RunStore:
    (path,) = (cache / "decoding").glob("*.zarr")
    return RunStore(path)


@dataclasses.dataclass
class Work:
    """What tasks have noted: how many were begun, and the scores of each that was done."""

    begun: int
    scores: list[int]

    @classmethod
    def of(cls, log: Path) -> "Work":
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return cls(sum(word == "begun" for word, _ in lines), [int(number) for word, number in lines if word == "done"])

    def check(self, R: int, n_under_way: int) -> str:
        """Hold what was done twice against what may have been under way when something was killed."""
        needed = len(TARGETS) * 3 * 3 * R * (1 + SETTINGS["n_label_shuffles"])  # 3 sessions, 3 ks
        twice = sum(self.scores) - needed
        assert 0 <= twice <= n_under_way * max(self.scores)
        return f"{self.begun} tasks begun, {len(self.scores)} done; {twice / needed:.1%} of the scores done twice"


# killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_kills", "R"), [(3, 20), pytest.param(33, LARGE["R"], marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_workers_killed_at_random(
    run: Run, undisturbed: Callable[[int], dict], tmp_path: Path, n_kills: int, R: int
) -> None:
    """Each kill meets a random worker, a random moment after a result."""
    expected = undisturbed(R)
    log = tmp_path / "log"
    rng = random.Random(n_kills)
    killed: list[int] = []
    with local_client(N_WORKERS) as client:

        def kill() -> None:
            nannies = list(client.cluster.workers.values())
            pid = rng.choice([nanny.pid for nanny in nannies if nanny.pid is not None] or [0])
            if pid:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        timers: list[threading.Timer] = []
        results = 0

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal results
            results += stage.startswith("curves") and done > 0
            if results > 3 * len(timers) and len(timers) < n_kills:
                timers.append(threading.Timer(rng.random() * 0.3, kill))
                timers[-1].start()

        with survival_driver.noting(log):
            store = run(client, R=R, progress=progress)
        for timer in timers:
            timer.join()
    same_scores(store, expected)
    nothing_is_left_behind(store)
    print(f"{len(killed)} workers killed: {Work.of(log).check(R, len(killed) * TASKS_PER_WORKER)}")
    assert len(killed) >= 0.75 * n_kills


def start(subject: SimulatedSubject, cache: Path, log: Path, **settings: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, survival_driver.__file__, str(subject.folder), str(cache), str(log),
         json.dumps(SETTINGS | settings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], driver: subprocess.Popen, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(driver: subprocess.Popen, how: signal.Signals) -> None:
    """End a driver, with its scheduler; its workers end themselves."""
    assert driver.poll() is None, driver.communicate()[0]
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(how)
    driver.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=30)
    for process in alive:
        process.kill()
    assert not alive


@pytest.mark.parametrize(
    ("n_kills", "R"), [(1, 20), pytest.param(10, LARGE["R"], marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_a_driver_killed_with_its_scheduler_and_resumed(
    subject: SimulatedSubject, cache: Path, run: Run, undisturbed: Callable[[int], dict], tmp_path: Path,
    n_kills: int, R: int,
) -> None:  # fmt: skip
    """Killed at random: while it starts, while it makes features and room, between results."""
    expected = undisturbed(R)
    log = tmp_path / "log"
    rng = random.Random(n_kills)
    for number in range(n_kills):
        driver = start(subject, cache, log, R=R)
        if number % 3 == 2:
            time.sleep(rng.uniform(0.5, 6))  # anywhere
        else:
            wanted = Work.of(log).begun + rng.randint(2, 8 + R // 20)
            wait_for(lambda wanted=wanted: Work.of(log).begun >= wanted, driver)  # type: ignore[misc]
            time.sleep(rng.random() * 0.3)
        stop(driver, signal.SIGKILL)
    before = Work.of(log).begun
    with threads(N_WORKERS) as client, survival_driver.noting(log):
        store = run(client, R=R)
    same_scores(store, expected)
    nothing_is_left_behind(store)
    work = Work.of(log)
    told = work.check(R, n_kills * N_WORKERS * TASKS_PER_WORKER)
    print(f"driver killed {n_kills} times: {told}; {work.begun - before} tasks in the last run")


def test_two_drivers_on_one_store(
    subject: SimulatedSubject, cache: Path, run: Run, undisturbed: Callable[[int], dict], tmp_path: Path
) -> None:
    """The second is refused as long as the first lives, even if it asks for less; then it goes on."""
    log = tmp_path / "log"
    first = start(subject, cache, log)
    wait_for(lambda: any(cache.glob("decoding/*.zarr/choice/score/c/*/*/*")), first)
    with threads() as client:
        with pytest.raises(LockedError, match=f"held by process {first.pid} on "):
            run(client)
        with pytest.raises(LockedError):
            run(client, R=1)
        assert first.poll() is None
        stop(first, signal.SIGINT)  # Ctrl-C: an end in good order
        store = only_store(cache)
        assert not store.lock_file.exists()
        done = sum(int(store.scores(t)["finished"].sum()) for t in store.targets())
        with survival_driver.noting(log):
            store = run(client)
    print(f"{done} scores stored when the first was interrupted")
    assert done
    same_scores(store, undisturbed(20))
    nothing_is_left_behind(store)


# starved ----------------------------------------------------------------------------------------------------------

FULL = """
import json, os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[5])
import test_survival, survival_driver
from mesodask.errors import StoreError
folder, cache, log, settings = sys.argv[1:5]
decoding = Path(cache) / "decoding"
decoding.mkdir()
size = 32
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(decoding)], check=True)
with test_survival.threads() as client:
    subject = survival_driver.SimulatedSubject.open(Path(folder))
    while True:
        try:
            with survival_driver.noting(Path(log)):
                store = survival_driver.mesodask.neuron_dropping_curves(
                    subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root, cache_dir=cache,
                    client=client, **json.loads(settings))
            break
        except StoreError as error:
            assert "No space left on device" in str(error) and "make space and call again" in str(error), error
            print(f"{size} KiB: {error}", len(test_survival.Work.of(Path(log)).scores), file=sys.stderr)
        size = int(size * 1.5)
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(decoding)], check=True)
for path in decoding.iterdir():
    subprocess.run(["cp", "-r", str(path), cache + "/.."], check=True)
print(path.name)
"""


def test_a_full_disk_at_every_stage(
    subject: SimulatedSubject, cache: Path, undisturbed: Callable[[int], dict], tmp_path: Path
) -> None:
    """A small file system of its own, made larger step by step: each time it goes on where the space ended."""
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"no file system can be mounted here: {probe.stderr.decode().strip()}")
    log = tmp_path / "log"
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", FULL, str(subject.folder), str(cache), str(log),
         json.dumps(SETTINGS), str(Path(__file__).parent)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    failures = [line for line in done.stderr.splitlines() if "KiB:" in line]
    stages = [int(line.rsplit(" ", 1)[1]) for line in failures]
    print("\n".join(failures))
    assert stages.count(0) >= 2  # before any score
    assert any(stages)  # while scores were written
    same_scores(RunStore(tmp_path / done.stdout.strip()), undisturbed(20))
    print(Work.of(log).check(20, sum(n > 0 for n in stages) * TASKS_PER_WORKER))


# damaged ----------------------------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def test_damage_is_found_said_and_computed_again(
    run: Run, undisturbed: Callable[[int], dict], caplog: pytest.LogCaptureFixture, subject: SimulatedSubject
) -> None:  # fmt: skip
    """Two chunks of scores and one of features: what depends on them is computed again, and nothing else."""
    eid = subject.eids[1]
    with threads() as client:
        store = run(client)
        flipped = store.path / "choice" / "score" / "c" / "1" / "0" / "1"
        cut = store.path / "block" / "null_score" / "c" / "2" / "1" / "0" / "0"
        lost = store.path / "features" / "choice" / eid / "y" / "c" / "0"
        flip(flipped)
        cut.write_bytes(cut.read_bytes()[:-7])
        lost.unlink()
        with pytest.raises(StoreError, match=str(flipped)):
            store.scores("choice")
        chunks = [p for p in store.path.rglob("*score/c/*/*/*/*") if p.is_file()]
        chunks += [p for p in store.path.rglob("score/c/*/*/*") if p.is_file()]
        for path in chunks:
            os.utime(path, (0, 0))
        with caplog.at_level(logging.WARNING):
            run(client)
    for file in (flipped, cut, lost):
        assert f"{file}" in caplog.text
    written = {path for path in chunks if path.stat().st_mtime}
    null = store.path / "choice" / "null_score" / "c" / "1" / "0" / "1" / "0"
    score = store.path / "block" / "score" / "c" / "2" / "1" / "0"
    assert {flipped, cut} <= written <= {flipped, null, cut, score}
    assert len(chunks) == 2 * len(TARGETS) * 3 * 3 * 2
    same_scores(store, undisturbed(20))
    counts = np.bincount(store.features("choice", eid)["y"].values)
    assert len(counts) == 2
    assert counts.min() > 10


def test_features_that_cannot_be_made_again_are_told(run: Run, subject: SimulatedSubject, cache: Path) -> None:
    """The session store is not the one that they came from."""
    with threads() as client:
        store = run(client, R=10, n_label_shuffles=0)
        (store.path / "features" / "choice" / subject.eids[0] / "X" / "c" / "0" / "0").unlink()
        attrs = {"content": "another"}
        store.update_features("choice", subject.eids[0], attrs)
        with pytest.raises(StoreError, match="rerun=True"):
            run(client, R=20, n_label_shuffles=0)
        run(client, R=20, n_label_shuffles=0, rerun=True)


# cut otherwise ----------------------------------------------------------------------------------------------------


def test_other_chunks_and_the_reverse_order_give_the_same(
    run: Run, undisturbed: Callable[[int], dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 7, the last first, in two threads; the reference had blocks of 10 in one."""
    run_tasks = runner.run_tasks
    monkeypatch.setattr(engine, "resample_chunk_of", lambda _: 7)
    monkeypatch.setattr(runner, "run_tasks", lambda client, plan, *a, **o: run_tasks(client, list(plan)[::-1], *a, **o))
    with threads(2) as client:
        store = run(client)
    assert store.resample_chunk("choice") == 7
    same_scores(store, undisturbed(20))


# failed -----------------------------------------------------------------------------------------------------------


def no_luck(*arguments: object) -> None:
    raise RuntimeError("no such luck")


def test_the_command_ends_with_1_when_a_task_raises(
    subject: SimulatedSubject, cache: Path, undisturbed: Callable[[int], dict], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture, run: Run,
) -> None:  # fmt: skip
    original = runner.run_tasks
    arguments = ["ndc", *subject.eids, "--one", str(subject.one_dir), "--cache-dir", str(cache), "--roicat-root",
                 str(subject.roicat_root), "--targets", "choice,block", "--ks", "8,16", "--resamples", "20",
                 "--shuffles", "20"]  # fmt: skip

    def with_a_bad_one(client: Client, plan: object, *args: object, **options: object) -> object:
        tasks = list(plan)  # type: ignore[call-overload]
        tasks[2] = dataclasses.replace(tasks[2], function=no_luck)
        return original(client, tasks, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_tasks", with_a_bad_one)
    assert main(arguments) == 1
    assert "RuntimeError: no such luck" in capsys.readouterr().err
    store = only_store(cache)
    (record,) = [json.loads(line) for line in store.failures_file.read_text().splitlines()]
    assert "in no_luck" in record["traceback"]
    unfinished = [int((~store.scores(target)["finished"]).sum()) for target in TARGETS]
    assert min(unfinished) == 0 < max(unfinished) <= 10 * 3
    monkeypatch.undo()
    with threads() as client:
        same_scores(run(client), undisturbed(20))
    nothing_is_left_behind(store)
