"""One writer at a time: a lock file beside what it guards, on local disks and on file systems that hosts share.

The file is made with O_EXCL, which is atomic on NFS too, where flock is not to be relied on. It says who made it, and
its owner touches it as a sign of life. A lock whose owner is gone is taken over: whoever removes a lock file, its owner
or a taker, first claims the right to it by a second O_EXCL file named after the lock's token. Of many takers one wins,
and none can remove the lock of the winner by mistake.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from mesodask.errors import LockedError, StoreError
from mesodask.io.processes import process_is_gone, process_start, this_machine

logger = logging.getLogger(__name__)

HEARTBEAT = 15.0  # s between two signs of life
STALE_AFTER = 300.0  # s without one, until the owner counts as gone; file systems may show a touch a minute late
POLL = 1.0  # s between two looks at a lock that is waited for
SLURM_TIMEOUT = 10.0  # s that squeue may take to answer
# states of a SLURM job that is over
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip


@dataclass(frozen=True)
class Owner:
    """Who holds a lock, as its file says.

    Attributes
    ----------
    host : str
        Name of the machine.
    machine : str
        This boot of it and its space of process ids: two containers may share a host's name and not its processes.
    pid : int
        Process id on it.
    started : str
        When the process started, in the machine's own terms: process ids are used again.
    since : float
        When the lock was taken, s since 1970.
    job, cluster, restart : str, str, int
        SLURM job, cluster and how often the job was requeued; empty and 0 outside SLURM.
    token : str
        Random, another one for every lock taken.
    """

    host: str
    machine: str
    pid: int
    started: str
    since: float
    job: str
    cluster: str
    restart: int
    token: str

    def __str__(self) -> str:
        job = f", SLURM job {self.job}" if self.job else ""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}{job}, since {since}"


class Lock:
    """A lock file, held while a ``with`` block runs.

    Parameters
    ----------
    path : pathlib.Path
        The lock file; its folder is made if needed.
    what : str
        What is guarded, for messages.
    wait : float
        How long to wait for a living owner, s; ``math.inf`` for ever. By default it is refused at once.
    poll, heartbeat, stale_after : float
        Seconds between two looks, between two signs of life, and without one until an owner counts as gone.

    Attributes
    ----------
    succeeded : bool
        Whether the lock was taken over from an owner that is gone, and may have left things half done.

    Raises
    ------
    LockedError
        On entering, another process holds the lock; the message names it.
    StoreError
        On entering, the lock file cannot be written.

    Examples
    --------
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "run.lock"
    >>> with Lock(path, "the run") as lock:
    ...     lock.check()
    ...     path.exists()
    True
    >>> path.exists()
    False
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: Path,
        what: str,
        *,
        wait: float = 0.0,
        poll: float = POLL,
        heartbeat: float = HEARTBEAT,
        stale_after: float = STALE_AFTER,
    ) -> None:
        self.path = path
        self.what = what
        self._wait, self._poll, self._heartbeat, self._stale_after = wait, poll, heartbeat, stale_after
        self._content = b""
        self._token = ""
        self._last_beat = 0.0
        self._released = threading.Event()
        self.succeeded = False

    def __enter__(self) -> "Lock":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        deadline = time.monotonic() + self._wait
        told = False
        while not self._create():
            try:
                holder = self._holder()
            except OSError as error:  # a lock of an owner that is gone, in a folder that is another's
                raise self._unwritable(error) from error
            if holder is None:
                continue
            if time.monotonic() >= deadline:
                raise LockedError(self._refusal(holder))
            if not told:
                logger.info("%s: waiting for %s, which holds %s", self.path, holder, self.what)
                told = True
            time.sleep(self._poll)
        self._released.clear()
        threading.Thread(target=self._keep_alive, name=f"lock {self.path.name}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        with contextlib.suppress(OSError):  # what cannot be removed is taken over once this process is gone
            _remove(self.path, self._token, self._stale_after)

    def check(self) -> None:
        """Raise if this lock was lost: to be called before every write, and cheap enough for it.

        A process that was suspended for long wakes up in the middle of its work, and another may have taken over.

        Raises
        ------
        LockedError
            Another process took the lock over, or somebody removed its file.
        """
        if time.monotonic() - self._last_beat > 2 * self._heartbeat:
            # asleep until now: a sign of life first, so that nobody takes over between this look and the write
            self._beat()
        if not self._is_ours():
            owner = _read(self.path)
            to = f"was taken over by {owner}" if owner else "is gone"
            raise LockedError(
                f"{self.path}: this lock on {self.what} {to}, while this process gave no sign of life (suspended?) or "
                "because somebody removed the file. It writes nothing more; all that it stored stays. "
                "Call again when the other has finished"
            )

    def _create(self) -> bool:
        owner = _this_process()
        content = json.dumps(asdict(owner)).encode()
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as error:  # a read-only file system, a folder that is another's
            raise self._unwritable(error) from error
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
        except OSError as error:  # a full disk
            self.path.unlink(missing_ok=True)
            raise self._unwritable(error) from error
        self._content, self._token, self._last_beat = content, owner.token, time.monotonic()
        return True

    def _holder(self) -> str | None:
        """Name who holds the lock; one whose owner is gone is removed, and nobody holds it."""
        found = _look(self.path)
        if found is None:
            return None
        owner, age = found
        if not _is_gone(owner, age, self._stale_after):
            return _named(owner)
        if not _remove(self.path, owner.token if owner else "", self._stale_after):
            return "another process that is just taking it over"
        self.succeeded = True
        logger.warning("%s: taken over from %s, which is gone", self.path, _named(owner))
        return None

    def _is_ours(self) -> bool:
        try:
            return self.path.read_bytes() == self._content
        except FileNotFoundError:
            return False

    def _beat(self) -> None:
        if self._is_ours():  # never keep another's lock alive
            os.utime(self.path)
        self._last_beat = time.monotonic()

    def _keep_alive(self) -> None:
        while not self._released.wait(self._heartbeat):
            with contextlib.suppress(OSError):  # a file system that is away for a moment; check() tells the rest
                self._beat()

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.path}: the lock on {self.what} cannot be written ({error.strerror}). Make space, or choose a "
            "folder that you may write to"
        )

    def _refusal(self, holder: str) -> str:
        return (
            f"{self.path}: {self.what} is held by {holder}; one process at a time may write. Wait until it has "
            "finished, or end it: a lock whose owner is gone is taken over at once if that can be seen from here, "
            f"else after {self._stale_after / 60:.3g} minutes without a sign of life"
        )


def living_owner(path: Path) -> str | None:
    """Tell who holds a lock: process, host, job and since when; None if nobody does.

    Examples
    --------
    >>> living_owner(Path("no/such.lock")) is None
    True
    """
    found = _look(path)
    return None if found is None or _is_gone(*found, STALE_AFTER) else _named(found[0])


def _look(path: Path) -> tuple[Owner | None, float] | None:
    """Owner of a lock, if its file says so, and seconds since its last sign of life; None if there is no lock."""
    owner = _read(path)  # before the beat: a new owner must never be seen with the silence of the one before
    try:
        beat = path.stat().st_mtime
    except FileNotFoundError:
        return None
    return owner, _file_system_now(path.parent) - beat


def _named(owner: Owner | None) -> str:
    return str(owner) if owner else "a process that has not written its name yet"


def _read(path: Path) -> Owner | None:
    """Owner of a lock; None if there is none, or it has not been written yet."""
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _remove(path: Path, token: str, stale_after: float) -> bool:
    """Remove a lock file if it still bears this token; False if another process is about to.

    Between the look and the removal the file cannot become another's: only the one who holds the claim may remove it,
    and only then can a new one be made.
    """
    claim = path.with_name(f".{path.name}.{token or 'empty'}.claim")
    try:
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):  # killed within the three lines below
            if _file_system_now(path.parent) - claim.stat().st_mtime > stale_after:
                claim.unlink()
        return False
    try:
        owner = _read(path)
        if (owner.token if owner else "") == token:
            path.unlink(missing_ok=True)
    finally:
        claim.unlink(missing_ok=True)
    return True


def _file_system_now(folder: Path) -> float:
    """Time of the file system's own clock, in which files are dated; hosts' clocks differ."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:  # full, or not to be written to
        return time.time()


# is the owner gone? -------------------------------------------------------------------------------------------


def _this_process() -> Owner:
    return Owner(
        host=socket.gethostname(),
        machine=this_machine(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or "",
        since=time.time(),
        job=os.environ.get("SLURM_JOB_ID", ""),
        cluster=os.environ.get("SLURM_CLUSTER_NAME", ""),
        restart=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        token=secrets.token_hex(8),
    )


def _is_gone(owner: Owner | None, age: float, stale_after: float) -> bool:
    """Tell whether an owner is known to be gone, or gave no sign of life for too long."""
    if age > stale_after:
        return True
    if owner is None:
        return False
    if (owner.host, owner.machine) == (socket.gethostname(), this_machine()):
        return process_is_gone(owner.pid, owner.started)
    return bool(owner.job) and _job_is_gone(owner)


def _job_is_gone(owner: Owner) -> bool:
    """Tell whether SLURM knows that a job has ended; what cannot be told is no."""
    here = os.environ.get("SLURM_CLUSTER_NAME", "")
    if here and owner.cluster and here != owner.cluster:  # a number of another cluster says nothing here
        return False
    if os.environ.get("SLURM_JOB_ID") == owner.job and here == owner.cluster:
        # this very job: gone if it was requeued since
        return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > owner.restart
    squeue = shutil.which("squeue")
    if squeue is None:
        return False
    try:
        answer = subprocess.run(
            [squeue, "--noheader", "--jobs", owner.job, "--format", "%T"],
            capture_output=True, text=True, timeout=SLURM_TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    if answer.returncode:
        return "Invalid job id" in answer.stderr
    return set(answer.stdout.split()) <= ENDED
