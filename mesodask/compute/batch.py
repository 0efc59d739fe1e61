"""The driver as a SLURM batch job that submits its successor when its own walltime nears.

A driver lives as long as its run, longer than login nodes let processes live and often longer than a queue lets jobs
run. As a batch job it is told by SLURM some time before its end (``--signal``). It then ends its command as Ctrl-C
does, with everything stored that is computed and every worker's job cancelled, and submits the same script again. What
is stored is all that the successor needs: it computes what is missing.
"""

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from dask.utils import parse_bytes
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mesodask.checked import short_hash
from mesodask.compute import progress
from mesodask.compute.walltime import seconds_of
from mesodask.errors import ClusterError

logger = logging.getLogger(__name__)

MARGIN = 300  # s before the end of a job at which its driver is told
EARLY = 60  # s by which SLURM may tell it earlier
POLL = 0.2  # s between two looks at the command
ANSWER_WITHIN = 30.0  # s that SLURM may take
TRIES, PAUSE = 4, 5.0  # to submit a successor: a busy SLURM refuses for a moment; s between them
LIVING = "--states=PENDING,CONFIGURING,RUNNING,SUSPENDED"  # not COMPLETING: nothing comes of such a job any more
INTERRUPTED = {130, 143}  # statuses of a command that was ended in good order, by SIGINT or SIGTERM
FINAL = {0: "is finished", 2: "is refused, and would be again"}  # statuses that no successor would change


class DriverSettings(BaseModel):
    """What a driver's job asks SLURM for, and how often it may be succeeded.

    Attributes
    ----------
    walltime : str
        Of each job, as SLURM writes it: ``1-12:00:00``, ``04:00:00``, or minutes.
    memory : str
        Of the job: the driver's and the scheduler's, and that of workers which are in the same job.
    cores : int
        One for the driver and its scheduler; as many as workers where they are in the same job.
    queue, account : str, optional
        The partition, and who is charged; SLURM's defaults if not given.
    job_extra : tuple of str
        Further options of sbatch, e.g. ``--constraint=avx2``.
    margin : int, optional
        Seconds before the end of a job at which its driver is told to end in good order; by default five minutes,
        and a quarter of the walltime at most.
    most_jobs : int
        How many jobs a run may take.

    Examples
    --------
    >>> DriverSettings(walltime="04:00:00").notice, DriverSettings(walltime="8").notice
    (300, 120)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    walltime: str = "1-00:00:00"
    memory: str = "4 GiB"
    cores: Annotated[int, Field(ge=1)] = 1
    queue: str | None = None
    account: str | None = None
    job_extra: tuple[str, ...] = ()
    margin: Annotated[int, Field(ge=10)] | None = None
    most_jobs: Annotated[int, Field(ge=1)] = 50

    @field_validator("walltime", mode="before")
    @classmethod
    def _is_a_time(cls, walltime: Any) -> str:
        seconds_of(str(walltime))
        return str(walltime)

    @field_validator("memory")
    @classmethod
    def _is_an_amount(cls, memory: str) -> str:
        try:
            enough = parse_bytes(memory) >= 2**20
        except (ValueError, OverflowError):
            enough = False
        if not enough:
            raise ValueError(f"expected an amount such as '4 GiB', found {memory!r}")
        return memory

    @field_validator("job_extra", mode="before")
    @classmethod
    def _options(cls, options: Any) -> Any:
        options = (options,) if isinstance(options, str) else options
        for option in options if isinstance(options, (list, tuple)) else ():
            if not str(option).startswith("-") or "\n" in str(option):
                raise ValueError(f"{option!r} is no option of sbatch; expected e.g. '--constraint=avx2'")
        return options

    @model_validator(mode="after")
    def _ends_before_its_end(self) -> "DriverSettings":
        limit = seconds_of(self.walltime)
        if limit is not None and self.notice + EARLY >= limit:
            raise ValueError(
                f"a margin of {self.notice} s, and {EARLY} s by which SLURM may be early, leave nothing of a walltime "
                f"of {limit} s"
            )
        return self

    @property
    def notice(self) -> int:
        """Seconds before the end of a job at which its driver is told."""
        limit = seconds_of(self.walltime)
        return self.margin or (MARGIN if limit is None else max(10, min(MARGIN, limit // 4)))


# the job ----------------------------------------------------------------------------------------------------------


def job_name(command: Sequence[str]) -> str:
    """Name all jobs of a chain, so that they can be listed and cancelled together.

    Examples
    --------
    >>> job_name(["ndc", "--subject", "SP072"])[:13]
    'mesodask-ndc-'
    """
    return f"mesodask-{command[0]}-{short_hash([*command, str(Path.cwd())])}"


def log_file(folder: Path, command: Sequence[str], job: str) -> Path:
    """Path of the log of one job of a chain."""
    return folder / f"{job_name(command)}-{job}.log"


def job_script(settings: DriverSettings, command: Sequence[str], folder: Path) -> str:
    """Write the batch script of every job of a chain.

    Parameters
    ----------
    settings : DriverSettings
        What it asks for.
    command : sequence of str
        Arguments of ``mesodask``.
    folder : pathlib.Path
        For scripts and logs; all nodes must see it.

    Returns
    -------
    str
        Its one argument is the job's number in the chain.

    Examples
    --------
    >>> script = job_script(DriverSettings(walltime="04:00:00"), ["ndc", "--subject", "SP072"], Path("/lab/jobs"))
    >>> [line for line in script.splitlines() if "signal" in line or "time" in line]
    ['#SBATCH --time=04:00:00', '#SBATCH --signal=B:USR1@300']
    """
    name = job_name(command)
    script = script_file(folder, settings, command)
    asked = {
        "job-name": name,
        "output": log_file(folder, command, "%j"),
        "open-mode": "append",  # a job that SLURM requeues goes on in its log
        "chdir": Path.cwd(),
        "ntasks": 1,
        "cpus-per-task": settings.cores,
        "mem": f"{-(-parse_bytes(settings.memory) // 2**20)}M",
        "time": settings.walltime,
        "signal": f"B:USR1@{settings.notice}",
        "partition": settings.queue,
        "account": settings.account,
    }
    options = [f"--{option}={_quoted(value)}" for option, value in asked.items() if value is not None]
    drive = [
        sys.executable, "-m", "mesodask", "drive", f"--script={script}", f"--most={settings.most_jobs}",
        f"--margin={settings.notice}",
    ]  # fmt: skip
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in [*options, "--requeue", *settings.job_extra]),
            "# SLURM tells the process itself that its end nears: hence exec",
            f'exec {shlex.join(drive)} --number="${{1:-1}}" -- {shlex.join(command)}',
            "",
        ]
    )


def _quoted(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def script_file(folder: Path, settings: DriverSettings, command: Sequence[str]) -> Path:
    """Path of a chain's script; a chain that asks for anything else has another one."""
    return folder / f"{job_name(command)}-{short_hash(settings.model_dump(mode='json'))}.sh"


def start_chain(settings: DriverSettings, command: Sequence[str], folder: Path) -> str:
    """Write the script and submit the first job.

    Returns
    -------
    str
        The job's id.

    Raises
    ------
    ClusterError
        There is no SLURM here, it refuses the job, or a chain of this command is under way.
    """
    from mesodask.compute.slurm import check_commands  # imports dask_jobqueue, which a running driver need not

    check_commands()
    queued = _ask("squeue", "--noheader", f"--name={job_name(command)}", "--format=%A %T", LIVING).split("\n")[0]
    if queued:
        raise ClusterError(
            f"a driver of this very command is in the queue already (job {queued.lower()}); wait for it, or stop it "
            f"with scancel --name={job_name(command)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    script = script_file(folder, settings, command)
    script.write_text(job_script(settings, command, folder), encoding="utf-8")
    return submit(script, 1)


def submit(script: Path, number: int, after: str | None = None) -> str:
    """Submit a job of a chain; it waits until the job ``after`` has ended, however that ends.

    Raises
    ------
    ClusterError
        SLURM refuses it; the message says why.
    """
    wait = [f"--dependency=afterany:{after}"] if after else []
    answer = _ask("sbatch", "--parsable", *wait, str(script), str(number))
    return answer.split(";")[0]


def _ask(*command: str) -> str:
    # what a job's environment says of itself would be taken for wishes of the next one
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    environment |= {key: os.environ[key] for key in ("SLURM_CONF", "SLURM_CLUSTERS") if key in os.environ}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_WITHIN, check=False,
            env=environment, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ClusterError(f"SLURM does not answer ({command[0]} took more than {ANSWER_WITHIN:g} s)") from None
    if done.returncode:
        raise ClusterError(f"SLURM refuses ({shlex.join(command)}): {' '.join(done.stderr.split())}")
    return done.stdout.strip()


# inside a job -----------------------------------------------------------------------------------------------------


class _Notices:
    """What SLURM has told this process by signals."""

    def __init__(self) -> None:
        self.end_nears = False
        self.cancelled = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Take signals for notices meanwhile."""

        def note_end(*_: Any) -> None:
            self.end_nears = True

        def note_cancel(*_: Any) -> None:
            self.cancelled = True

        handlers = {signal.SIGUSR1: note_end, signal.SIGTERM: note_cancel, signal.SIGINT: note_cancel}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def drive(command: Sequence[str], *, script: Path, number: int, most: int, margin: float) -> int:
    """Run a command within a job of a chain, and submit the next job if the walltime ends before the command does.

    The command is told by SIGTERM, which it answers as it does Ctrl-C. There is no next job if the command is finished
    or refused, failed by itself, was cancelled (``scancel``), or has stored nothing in this job.

    Parameters
    ----------
    command : sequence of str
        The whole command.
    script : pathlib.Path
        Of the chain.
    number, most : int
        Of this job in the chain, and of the last one allowed.
    margin : float
        Seconds from SLURM's notice to the end.

    Returns
    -------
    int
        Exit status: the command's own; 0 if another job goes on, and 1 if none does though one should.
    """
    notices = _Notices()
    job = os.environ.get("SLURM_JOB_ID", "")
    logger.info("job %s, number %d of at most %d: %s", job, number, most, shlex.join(command))
    with notices.heard(), tempfile.TemporaryDirectory(prefix="mesodask-drive-") as folder:
        sign = Path(folder) / "progress"
        environment = os.environ | {progress.VARIABLE: str(sign)}
        # a session of its own: a signal to this process' group does not reach it twice
        with subprocess.Popen(command, env=environment, start_new_session=True) as child:
            status = _watch(child, notices, margin)
        why_not = _why_no_successor(status, notices, stored=sign.exists(), last=number >= most)
        if why_not:
            logger.info("no job follows: %s", why_not)
            handed_over = False
        else:
            handed_over = _hand_over(script, number + 1, job, notices)
    if handed_over:
        return 0
    # a command that was ended for the walltime is not done
    return 1 if notices.end_nears and status in INTERRUPTED else status


def _watch(child: subprocess.Popen, notices: _Notices, margin: float) -> int:
    """Wait for a command's end, which the first notice brings about; give its exit status as a shell does."""
    kill_at = None
    while child.poll() is None:
        if kill_at is None and (notices.end_nears or notices.cancelled):
            logger.info(
                "%s; the command ends in good order", "cancelled" if notices.cancelled else "the walltime nears"
            )
            child.send_signal(signal.SIGTERM)
            kill_at = time.monotonic() + 0.6 * margin  # the rest is for the next job's submission
        elif kill_at is not None and time.monotonic() > kill_at:
            logger.warning("the command does not end; it is killed, and what it has stored stays")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        time.sleep(POLL)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _why_no_successor(status: int, notices: _Notices, *, stored: bool, last: bool) -> str:
    """Say why no job follows; nothing if one does."""
    reasons = {
        f"the command {FINAL.get(status)}": status in FINAL,
        "the job was cancelled; if it was preempted, SLURM starts it again": notices.cancelled,
        f"the command failed (status {status}); its last lines say why": not notices.end_nears,
        "nothing was stored in this job, so that nothing would be in another; give more walltime, or look "
        "whether the workers' jobs begin at all": not stored,
        "it was the last job allowed (most_jobs); submit again to go on": last,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _hand_over(script: Path, number: int, job: str, notices: _Notices) -> bool:
    """Submit the next job; one that was cancelled meanwhile leaves none."""
    for left in reversed(range(TRIES)):
        try:
            successor = submit(script, number, after=job or None)
            break
        except ClusterError as error:
            logger.warning("the next job is not submitted: %s", error)
            if not left or notices.cancelled:
                return False
            time.sleep(PAUSE)
    if notices.cancelled:
        logger.info("the job was cancelled: no job follows")
        with contextlib.suppress(ClusterError):
            _ask("scancel", successor)
        return False
    logger.info("job %s goes on from here", successor)
    return True
