"""The lock on real processes: one writer at a time, whoever is killed or suspended."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mesodask.errors import LockedError, StoreError
from mesodask.io import lock as lock_module
from mesodask.io.lock import Lock, living_owner

HOLD = """
import sys, time
from pathlib import Path
from mesodask.io.lock import Lock
with Lock(Path(sys.argv[1]), "the run", stale_after=float(sys.argv[2]), heartbeat=0.1) as lock:
    print("held", flush=True)
    while (line := sys.stdin.readline()):
        lock.check()
        print("written", flush=True)
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def hold(path: Path, stale_after: float = 300.0) -> subprocess.Popen:
    """Start a process that holds the lock, and checks it at every line it is sent."""
    process = start(HOLD, path, stale_after)
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen) -> str:
    process.kill()
    return process.communicate()[1]


def forged(path: Path, **changes: object) -> Path:
    """Write a lock file as an owner left it that differs from this process."""
    owner = dataclasses.replace(lock_module._this_process(), **changes)
    path.write_text(json.dumps(dataclasses.asdict(owner)))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.lock"


def test_the_second_is_refused_and_told_who_is_first(path: Path) -> None:
    first = hold(path)
    with pytest.raises(LockedError, match=rf"the run is held by process {first.pid} on .*, since 2.*or end it"):
        Lock(path, "the run").__enter__()
    assert f"process {first.pid} " in str(living_owner(path))
    first.communicate("")
    assert not path.exists()
    assert living_owner(path) is None
    with Lock(path, "the run"), pytest.raises(LockedError, match=f"process {os.getpid()} "):
        Lock(path, "the run").__enter__()
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/run\.lock: the lock on the run cannot be written .*choose a folder"):
        Lock(tmp_path / "file" / "run.lock", "the run").__enter__()
    with pytest.raises(StoreError, match="cannot be written"):  # a name that no file system takes
        Lock(tmp_path / ("x" * 300), "the run").__enter__()


def test_a_lock_that_cannot_be_taken_over_is_told(tmp_path: Path) -> None:
    """Its claim has a name that no file system takes; so is one in a folder that is another's, but not for root."""
    path = forged(tmp_path / ("x" * 240), started="1")
    with pytest.raises(StoreError, match=r"x: the lock on the run cannot be written .*choose a folder"):
        Lock(path, "the run").__enter__()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_owner_is_succeeded_at_once(path: Path, reaped: bool, caplog: pytest.LogCaptureFixture) -> None:
    first = hold(path)
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))  # else it stays a zombie
    assert living_owner(path) is None
    with Lock(path, "the run") as second:
        second.check()
    assert f"taken over from process {first.pid}" in caplog.text
    assert list(path.parent.iterdir()) == []
    first.communicate()


def test_a_process_id_used_again_is_not_the_owner(path: Path) -> None:
    with Lock(forged(path, started="1"), "the run") as lock:
        lock.check()


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"machine": "another boot or container"}])
def test_elsewhere_only_silence_tells(path: Path, changes: dict[str, str]) -> None:
    forged(path, pid=2**22 + 1, **changes)
    with pytest.raises(LockedError):
        Lock(path, "the run").__enter__()
    os.utime(path, (time.time() - 299,) * 2)
    with pytest.raises(LockedError):
        Lock(path, "the run").__enter__()
    os.utime(path, (time.time() - 301,) * 2)
    with Lock(path, "the run") as lock:
        lock.check()


def test_a_file_without_a_name_waits_for_one(path: Path) -> None:
    """Between the making of the file and its writing a process may be killed, or just be slow."""
    path.touch()
    with pytest.raises(LockedError, match="not written its name"):
        Lock(path, "the run").__enter__()
    os.utime(path, (time.time() - 301,) * 2)
    with Lock(path, "the run") as lock:
        lock.check()


def test_the_heart_beats(path: Path) -> None:
    with Lock(path, "the run", heartbeat=0.05):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_suspended_owner_learns_of_its_loss_before_it_writes(path: Path) -> None:
    first = hold(path, stale_after=1.0)
    os.kill(first.pid, signal.SIGSTOP)
    with Lock(path, "the run", stale_after=1.0, heartbeat=0.1, wait=30.0, poll=0.1) as second:
        os.kill(first.pid, signal.SIGCONT)
        out, error = first.communicate("write\n", timeout=30)
        assert "written" not in out
        assert f"LockedError: {path}: this lock on the run was taken over by process {os.getpid()} " in error
        second.check()  # and the first has not removed it on its way out
    assert list(path.parent.iterdir()) == []


def test_a_short_suspension_costs_nothing(path: Path) -> None:
    first = hold(path)
    os.kill(first.pid, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(first.pid, signal.SIGCONT)
    out, _ = first.communicate("write\n", timeout=30)
    assert out == "written\n"


def test_a_removed_file_is_a_lost_lock(path: Path) -> None:
    with Lock(path, "the run") as lock:
        path.unlink()
        with pytest.raises(LockedError, match="is gone"):
            lock.check()


def test_who_waits_gets_it_when_it_is_free(path: Path) -> None:
    first = hold(path)
    with pytest.raises(LockedError):
        Lock(path, "the run", wait=0.2, poll=0.05).__enter__()
    threading.Timer(0.3, first.stdin.close).start()
    started = time.monotonic()
    with Lock(path, "the run", wait=30.0, poll=0.05) as lock:
        assert time.monotonic() - started > 0.25
        lock.check()
    first.wait()
    first.stdout.close()
    first.stderr.close()


CONTEND = """
import os, random, signal, sys, time
from pathlib import Path
from mesodask.io.lock import Lock
from mesodask.io import lock as lock_module
folder, seed, stale_after = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
random.seed(seed)
if stale_after < 300:  # each on a machine of its own, as it were: only silence tells
    lock_module._machine = lambda: str(seed)
mark = folder / "inside"
for round in range(15):
    with Lock(folder / "run.lock", "the run", wait=60.0, poll=0.001, stale_after=stale_after, heartbeat=0.1) as lock:
        # whoever is inside alone finds no mark, or that of a process that was killed there
        if mark.exists():
            pid = int(mark.read_text())
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except FileNotFoundError:
                state = "Z"
            assert state == "Z", f"{pid} is inside, too"
            mark.unlink()
        mark.write_text(str(os.getpid()))
        time.sleep(random.random() * 0.002)
        lock.check()
        with (folder / "entered").open("a") as stream:
            stream.write("x")
        if random.random() < 0.1:
            os.kill(os.getpid(), signal.SIGKILL)
        mark.unlink()
"""


@pytest.mark.parametrize("stale_after", [300.0, 1.0])
def test_of_many_takers_one_wins(tmp_path: Path, stale_after: float) -> None:
    """Processes that are killed at random while they hold it: never are two inside."""
    processes = [start(CONTEND, tmp_path, seed, stale_after) for seed in range(8)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) <= {0, -signal.SIGKILL}, "\n".join(errors)
    assert -signal.SIGKILL in codes
    # the last one may have been killed
    with Lock(tmp_path / "run.lock", "the run", stale_after=stale_after, wait=30.0, poll=0.1) as lock:
        lock.check()
    entered = len((tmp_path / "entered").read_text())
    print(f"{entered} times inside, {codes.count(-signal.SIGKILL)} of 8 processes killed there")
    assert entered >= 15 * codes.count(0)


def test_a_claim_left_by_a_kill_expires(path: Path) -> None:
    """Killed between claiming a dead owner's lock and removing it."""
    forged(path, started="1", token="t")
    claim = path.with_name(f".{path.name}.t.claim")
    claim.touch()
    with pytest.raises(LockedError, match="just taking it over"):
        Lock(path, "the run").__enter__()
    os.utime(claim, (time.time() - 301,) * 2)
    with Lock(path, "the run", wait=5.0, poll=0.01) as lock:
        lock.check()
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_leaves_no_lock(path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            Lock(path, "the run").__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not path.exists()


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        ("echo RUNNING", False),
        ("echo COMPLETING", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
        ("exit 0", True),
        ("echo CANCELLED", True),
        ("sleep 20", False),
    ],
)
def test_slurm_is_asked_for_jobs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, gone: bool
) -> None:
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f'#!/bin/sh\n[ "$*" = "--noheader --jobs 17 --format %T" ] || exit 9\n{answer}\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=":")
    monkeypatch.setattr(lock_module, "SLURM_TIMEOUT", 1.0)
    path = forged(tmp_path / "run.lock", host="node", job="17", cluster="big")
    assert (living_owner(path) is None) == gone
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "small")
    assert living_owner(path) is not None


def test_a_requeued_job_succeeds_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    forged(path, host="node")
    assert "SLURM job 17" in str(living_owner(path))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert living_owner(path) is None


def test_a_check_is_cheap(path: Path) -> None:
    with Lock(path, "the run") as lock:
        started = time.perf_counter()
        for _ in range(1000):
            lock.check()
        each = (time.perf_counter() - started) / 1000
    print(f"{1e6 * each:.0f} us a check")
    assert each < 0.002
