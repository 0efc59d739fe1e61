"""Whole runs on a real SLURM of two processors: jobs are cancelled, preempted and run out of time, and the scores stay.

Every test ends with an empty queue.
"""

import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import xarray as xr
import yaml
from distributed import Client
from runs import SMALL

from mesodask import neuron_dropping_curves, start_cluster
from mesodask.compute import dashboard
from mesodask.compute import slurm as slurm_workers
from mesodask.compute.cluster import how_to_watch, scheduler_file
from mesodask.errors import ClusterError
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject

BOX = {"interface": "lo", "memory": "1 GiB", "walltime": "10", "n-workers": 2, "check-every": "1s"}


def queue() -> dict[str, str]:
    """State of every job that is not over; of one that is, SLURM may still clean its node."""
    done = subprocess.run(["squeue", "-h", "-o", "%A %T"], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines() if not line.endswith("COMPLETING"))


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {queue()}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def environment(slurm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A block of Dask's configuration for this SLURM, for this process and those it starts; gives the shared folder."""
    folder = tmp_path_factory.mktemp("shared")
    settings = {"jobqueue": {"box": BOX}, "mesodask": {"cluster": {"shared-folder": str(folder), "dashboard-port": 0}}}
    (folder / "dask").mkdir()
    (folder / "dask" / "box.yaml").write_text(yaml.safe_dump(settings))
    tests = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])  # jobs call functions of this file
    with pytest.MonkeyPatch.context() as patch, dask.config.set(settings):
        patch.setenv("DASK_CONFIG", str(folder / "dask"))
        patch.setenv("PYTHONPATH", tests)
        yield folder


@pytest.fixture(autouse=True)
def empty_queue(environment: Path) -> Iterator[None]:
    yield
    assert queue() == {}
    assert sorted(path.name for path in environment.iterdir() if path.name not in ("dask", "logs")) == []


@pytest.fixture(scope="module")
def expected(
    subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, xr.Dataset]:
    """Scores of the run on local workers."""
    store = compute(subject, embedded(sessions, tmp_path_factory.mktemp("local")), client)
    return {target: store.scores(target) for target in store.targets()}


def embedded(sessions: list[xr.Dataset], folder: Path) -> Path:
    """A cache whose sessions are embedded already."""
    (folder / "data").mkdir()
    for session in sessions:
        source = Path(session.encoding["source"])
        (folder / "data" / source.name).symlink_to(source)
    return folder


def compute(subject: SimulatedSubject, cache: Path, client: Client, **options: object) -> RunStore:
    return neuron_dropping_curves(
        subject.eids, one=subject.one_dir, cache_dir=cache, roicat_root=subject.roicat_root, client=client,
        **SMALL | options,
    )  # fmt: skip


def same_scores(store: RunStore, expected: dict[str, xr.Dataset]) -> None:
    assert set(store.targets()) == set(expected)
    for target, wanted in expected.items():
        scores = store.scores(target)
        assert set(scores["status"].values) == {"done"}
        for name in ("score", "null_score"):
            np.testing.assert_array_equal(scores[name].values, wanted[name].values)


Disturbed = Callable[..., RunStore]


@pytest.fixture
def disturbed(subject: SimulatedSubject, sessions: list[xr.Dataset], tmp_path: Path) -> Disturbed:
    """Runs the curves, and at the third result does something before it goes on."""

    def compute_disturbed(client: Client, disturb: Callable[[], None]) -> RunStore:
        seen = 0

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal seen
            seen += stage.startswith("curves") and done > 0
            if seen == 3:
                seen += 1
                disturb()

        store = compute(subject, embedded(sessions, tmp_path), client, progress=progress)
        assert seen > 3
        return store

    return compute_disturbed


# whole runs -------------------------------------------------------------------------------------------------------


def told_runs(dask_scheduler: Any) -> dict[str, str]:
    """Give the runs that the live page knows, and how they stand."""
    return {path: run.state for path, run in dask_scheduler.plugins[dashboard.PLUGIN].board.runs.items()}


def test_a_run_and_a_job_cancelled_in_the_middle(disturbed: Disturbed, expected: dict[str, xr.Dataset]) -> None:
    """The job is replaced, and what its worker had is computed again."""
    with start_cluster("box") as client:
        client.wait_for_workers(2, timeout=120)
        first = set(queue())
        assert len(first) == 2

        def cancel() -> None:
            subprocess.run(["scancel", min(first)], check=True)
            until(lambda: len(set(queue()) - first) == 1)

        store = disturbed(client, cancel)
        page = dashboard.install(client)
        assert page is not None
        with urllib.request.urlopen(page, timeout=20) as answer:
            assert b"mesodask" in answer.read().lower()
        assert client.run_on_scheduler(told_runs) == {str(store.path): "finished"}
    same_scores(store, expected)


def test_walltime_ends_all_jobs_in_the_middle(disturbed: Disturbed, expected: dict[str, xr.Dataset]) -> None:
    """SLURM itself ends them, as workers were told to live longer than their jobs."""
    with (
        dask.config.set({"jobqueue.box.worker-extra-args": ["--lifetime", "1h"]}),
        start_cluster("box", walltime="1") as client,
    ):
        first: set[str] = set()

        def wait() -> None:
            first.update(queue())
            until(lambda: not first & set(queue()) and "RUNNING" in queue().values(), 240)

        store = disturbed(client, wait)
    assert len(first) == 2
    same_scores(store, expected)
    assert {state_of(job) for job in first} <= {"TIMEOUT", ""}


def state_of(job: str) -> str:
    """How a job ended; empty if SLURM has forgotten it."""
    done = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True, check=False)
    fields = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
    return fields.get("JobState", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_ended_leaves_no_job(
    subject: SimulatedSubject, sessions: list[xr.Dataset], tmp_path: Path, number: signal.Signals, status: int
) -> None:  # fmt: skip
    cache = embedded(sessions, tmp_path)
    command = subprocess.Popen(
        [sys.executable, "-m", "mesodask", "ndc", *subject.eids, "--one", str(subject.one_dir), "--cache-dir",
         str(cache), "--roicat-root", str(subject.roicat_root), "--ks", "4,16", "--resamples", "400", "--shuffles",
         "19", "--cluster", "box", "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    until(lambda: command.poll() is not None or any(cache.glob("decoding/*.zarr/choice/score/c/*/*/*")))
    assert command.poll() is None
    assert len(queue()) == 2
    # Ctrl-C reaches the whole group, as from a terminal
    os.killpg(command.pid, number) if number == signal.SIGINT else command.send_signal(number)
    out, _ = command.communicate(timeout=120)
    assert command.returncode == status, out
    assert queue() == {}
    assert "Traceback" not in out
    assert "watch the workers at http://127.0.0.1:" in out
    assert "ssh -N -L " in out
    assert "the same command goes on from there" in out
    (path,) = (cache / "decoding").glob("*.zarr")
    assert not RunStore(path).lock_file.exists()


# workers that last ------------------------------------------------------------------------------------------------


def job_of() -> str:
    return os.environ["SLURM_JOB_ID"]


def test_a_worker_ends_before_its_job_and_is_replaced() -> None:
    with (
        dask.config.set({"jobqueue.box.worker-extra-args": ["--lifetime", "4s", "--lifetime-stagger", "1s"]}),
        start_cluster("box", n_workers=1) as client,
    ):
        first = client.submit(job_of, pure=False).result(timeout=120)
        until(lambda: first not in queue())
        assert state_of(first) == "COMPLETED"
        assert client.submit(job_of, pure=False).result(timeout=120) != first


def test_preempted_jobs_come_back(environment: Path) -> None:
    """Jobs that SLURM may start again keep their place in the queue; others are submitted again."""
    with start_cluster("box", n_workers=1, job_extra=["--no-requeue"]) as client:
        first = client.submit(job_of, pure=False).result(timeout=120)
        urgent = subprocess.run(
            ["sbatch", "--parsable", "-p", "urgent", "-n", "2", "-o", "/dev/null", "--wrap", "sleep 2"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        until(lambda: queue().get(first, "PENDING") == "PENDING")
        second = client.submit(job_of, pure=False).result(timeout=120)
        assert second not in (first, urgent)
        until(lambda: urgent not in queue())


def test_a_job_that_is_frozen_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM suspends jobs in favour of others on some clusters; their workers hold their tasks."""
    if os.geteuid():
        pytest.skip("only SLURM's operator may suspend a job")
    monkeypatch.setattr(slurm_workers, "ABSENT", 1.0)
    with start_cluster("box", n_workers=1) as client:
        first, worker = client.submit(lambda: (job_of(), os.getpid()), pure=False).result(timeout=120)
        subprocess.run(["scontrol", "suspend", first], check=True)
        until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED)  # SLURM takes two seconds for it
        future = client.submit(job_of, pure=False)
        assert future.result(timeout=120) != first


def test_a_job_that_waits_is_waited_for_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is cancelled before it ran is replaced, too."""
    monkeypatch.setattr(slurm_workers, "PATIENCE", 1.0)
    with start_cluster("box", n_workers=1, job_extra=["--begin=now+1hour"]) as client:
        until(lambda: "no worker is up: jobs wait in SLURM's queue: 1 (BeginTime)" in caplog.text)
        (first,) = queue()
        subprocess.run(["scancel", first], check=True)
        until(lambda: len(set(queue()) - {first}) == 1)
        (second,) = set(queue()) - {first}
        subprocess.run(["scontrol", "update", f"JobId={second}", "StartTime=now"], check=True)
        assert client.submit(job_of, pure=False).result(timeout=120) == second


def test_jobs_that_never_bring_a_worker_up_are_not_submitted_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slurm_workers, "PATIENCE", 1.0)
    with (
        dask.config.set({"jobqueue.box.job-script-prologue": ["exit 1"], "jobqueue.box.check-every": "300ms"}),
        start_cluster("box", n_workers=1) as client,
    ):
        until(lambda: "jobs end before their worker comes up; their logs are in" in caplog.text)
        ledger = client.cluster._job_kwargs["ledger"]
        until(lambda: ledger.submitted >= 3)
        third = time.monotonic()
        until(lambda: ledger.submitted >= 5)
        # before them it waits for 4 and for 8 looks; one at every look would take no second, and a job takes none
        assert time.monotonic() - third > 2.5


def test_adaptive_scaling_follows_the_work() -> None:
    with start_cluster("box", adaptive=(0, 2)) as client:
        assert queue() == {}
        assert client.submit(job_of, pure=False).result(timeout=120)
        until(lambda: queue() == {})
        assert client.submit(job_of, pure=False).result(timeout=120)


def test_a_job_of_two_cores_has_two_workers() -> None:
    with dask.config.set({"jobqueue.box.cores": 2}), start_cluster("box") as client:
        client.wait_for_workers(2, timeout=120)
        assert len(queue()) == 1
        assert set(client.nthreads().values()) == {1}


# safe, and told ---------------------------------------------------------------------------------------------------


def environment_of_worker() -> tuple[str | None, str | None]:
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("NUMBA_NUM_THREADS")


def test_workers_of_jobs_are_as_safe_and_single_threaded_as_local_ones(environment: Path) -> None:
    with start_cluster("box", n_workers=1) as client:
        client.wait_for_workers(1, timeout=120)
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        file = scheduler_file(client)
        assert file is not None
        assert file.parent.parent == environment
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        with pytest.raises(OSError, match=r"Timed out|reset|closed"):
            Client(client.scheduler.address.replace("tls", "tcp"), timeout=2)
        assert set(client.run(environment_of_worker).values()) == {("1", "1")}
        with start_cluster(file) as other:
            assert other.submit(sum, [1, 2]).result() == 3
        watch, ssh = how_to_watch(client)
        port = watch.split(":")[2].split("/")[0]
        assert ssh.startswith(f"from your own machine first: ssh -N -L {port}:127.0.0.1:{port} ")


def test_refused_jobs_are_told_in_slurms_words() -> None:
    with pytest.raises(ClusterError, match=r"SLURM takes no job.*invalid partition"):
        start_cluster("box", queue="no-such-partition")


def test_a_driver_that_is_killed_leaves_nothing_for_long(environment: Path) -> None:
    """Running jobs end by themselves; those that wait, and the certificates, go when the next run starts."""
    script = (
        "import os, sys; from mesodask import start_cluster\n"
        "if __name__ == '__main__':\n"
        "    client = start_cluster('box', n_workers=1, job_extra=['--begin=now+1hour'])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert len(queue()) == 1
    (owner,) = environment.glob("*/owner.json")
    os.utime(owner, (time.time() - 600, time.time() - 600))
    with start_cluster("box", n_workers=1, job_extra=["--begin=now+1hour"]):
        assert not owner.exists()
        until(lambda: len(queue()) == 1)
