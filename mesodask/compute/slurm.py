"""Workers in SLURM jobs that are replaced whenever they end, as long as the run lasts, and none left after it.

dask-jobqueue submits jobs and forgets them: one that is cancelled while it waits is waited for for ever. Here the queue
is asked every few seconds, and what is there is compared with what should be.
"""

import asyncio
import contextlib
import itertools
import logging
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import dask

from mesodask.compute import security
from mesodask.compute.jobqueue import SLURMCluster
from mesodask.compute.jobs import Job, Ledger, Plan
from mesodask.compute.processes import interrupts_ignored, repeated
from mesodask.errors import ClusterError

logger = logging.getLogger(__name__)

COMMANDS = ("sbatch", "squeue", "scancel")
ANSWER_WITHIN = 10.0  # s that squeue and scancel may take
SUBMIT_WITHIN = 120.0  # s that the first job may take to be submitted
EMPTY_WITHIN = 30.0  # s that the queue may take to be empty at the end
ABSENT = 300.0  # s that a job may run without its worker being there, until it is replaced
PATIENCE = 60.0  # s without any worker until it is said
LONGEST_PAUSE = 600.0  # s between two tries if no job ever brings a worker up
TARGET_DURATION = "1s"  # the runner submits a few tasks a worker: with Dask's own 5 s workers would be dismissed
KEPT_LOGS = 30 * 86400.0  # s
# states of a job that may still bring its worker up, that holds it up, and that is over but for its node's cleaning
WAITING, FROZEN, OVER = {"PENDING", "CONFIGURING", "REQUEUED"}, {"SUSPENDED", "STOPPED"}, {"COMPLETING"}

State = tuple[str, str]
"""A job's state and why it waits, as squeue tells."""


# the queue --------------------------------------------------------------------------------------------------------


def check_commands() -> None:
    """Raise :class:`ClusterError` unless SLURM's commands are there."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        raise ClusterError(
            f"there is no {', '.join(missing)} on this machine; start this on a node of the cluster that can submit "
            "jobs, or compute here, with local"
        )


def queue_of(job_name: str) -> dict[str, State] | None:
    """Give every job of that name that is not over, by its id; None if SLURM does not answer."""
    done = _call("squeue", "--noheader", f"--name={job_name}", "--format=%A|%T|%r")
    if done is None:
        return None
    rows = (line.strip().split("|", 2) for line in done.splitlines() if line.count("|") >= 2)
    return {job: (state, reason) for job, state, reason in rows if state not in OVER}


def cancel_all(job_name: str) -> None:
    """Cancel every job of that name."""
    _call("scancel", f"--name={job_name}")


def _call(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=ANSWER_WITHIN, start_new_session=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("%s: %s", command[0], error)
        return None
    return done.stdout


# workers that last ------------------------------------------------------------------------------------------------


class Workers(SLURMCluster):
    """SLURM jobs, each of a name that no other has had."""

    job_cls = Job

    def __init__(self, job_name: str, **options: Any) -> None:
        self._numbers = itertools.count()
        super().__init__(name=job_name, job_name=job_name, **options)

    def _new_worker_name(self, worker_number: int) -> str:
        # a name is taken as long as the scheduler has not noticed that its last worker is gone
        del worker_number
        return f"{self._name}-{next(self._numbers)}"


class Keeper:
    """Compares the queue with what should be there, and replaces jobs that are gone.

    Parameters
    ----------
    cluster : Workers
    plan : Plan
    job_name : str
    ledger : Ledger
    """

    def __init__(self, cluster: Workers, plan: Plan, job_name: str, ledger: Ledger) -> None:
        self._cluster, self._plan, self._job_name, self._ledger = cluster, plan, job_name, ledger
        self._here: set[str] = set()  # jobs whose worker was seen
        self._absent_since: dict[str, float] = {}
        self._worker_seen = time.monotonic()
        self._told = ""
        self._in_vain = 0  # jobs, one after the other, that ended without their worker having been seen
        self._pause_until = 0.0

    def look(self) -> None:
        """Look once; called every few seconds."""
        self._cluster.sync(self._look)

    async def _look(self) -> None:
        cluster = self._cluster
        jobs = {name: job.job_id for name, job in cluster.workers.items()}
        queue = await asyncio.to_thread(queue_of, self._job_name)
        if queue is None:  # SLURM's controller restarts now and then
            return
        present = self._present()
        if present:
            self._worker_seen, self._told, self._in_vain, self._pause_until = time.monotonic(), "", 0, 0.0
        self._here |= present
        if time.monotonic() >= self._pause_until:
            for name, job in jobs.items():
                if name in cluster.workers and self._is_lost(name, job, queue, present):
                    await self._drop(name)
            if self._plan.adaptive is None:
                cluster.scale(self._plan.n_workers)
        self._say(queue)

    def _present(self) -> set[str]:
        """Give the jobs of which the scheduler has a worker."""
        names = {str(worker.name) for worker in self._cluster.scheduler.workers.values()}
        # of a job with several, each has the job's name and a number
        return {job for job in self._cluster.workers if job in names or any(n.startswith(f"{job}-") for n in names)}

    def _is_lost(self, name: str, job: str | None, queue: dict[str, State], present: set[str]) -> bool:
        state = queue.get(job or "", ("", ""))[0]
        if not state:
            return True
        if (name in present and state not in FROZEN) or state in WAITING:
            self._absent_since.pop(name, None)
            return False
        since = self._absent_since.setdefault(name, time.monotonic())
        return time.monotonic() - since > ABSENT

    async def _drop(self, name: str) -> None:
        """Forget a job, so that another takes its place; cancel it in case it is there."""
        cluster = self._cluster
        job = cluster.workers.pop(name)
        cluster.worker_spec.pop(name, None)
        self._absent_since.pop(name, None)
        logger.info("job %s is over or out of order; another takes its place", job.job_id)
        await job.close()
        for worker in list(cluster.scheduler.workers.values()):
            if str(worker.name) == name or str(worker.name).startswith(f"{name}-"):
                await cluster.scheduler.remove_worker(worker.address, stimulus_id=f"job-lost-{name}")
        if name not in self._here:
            self._in_vain += 1
            # all at a time may be one mishap; after that each round waits twice as long as the one before
            rounds = self._in_vain // max(1, len(cluster.worker_spec) + 1)
            if rounds > 1:
                self._pause_until = time.monotonic() + min(
                    LONGEST_PAUSE, self._plan.check_every * 2.0 ** min(rounds, 10)
                )

    def _say(self, queue: dict[str, State]) -> None:
        """Say why nothing is computed, once for every new reason."""
        if time.monotonic() - self._worker_seen < PATIENCE:
            return
        waiting = [reason for state, reason in queue.values() if state in WAITING]
        if waiting:
            text = f"jobs wait in SLURM's queue: {len(waiting)} ({', '.join(sorted(set(waiting)))})"
        elif self._in_vain:
            text = f"jobs end before their worker comes up; their logs are in {self._plan.job['log_directory']}"
        elif self._ledger.refusal:
            text = f"SLURM takes no job ({self._ledger.refusal})"
        else:
            return
        if text != self._told:
            logger.warning("no worker is up: %s", text)
            self._told = text


# start and end ----------------------------------------------------------------------------------------------------


def start(plan: Plan, stack: contextlib.ExitStack) -> tuple[Workers, Path]:
    """Start a scheduler here and submit jobs with its workers.

    Parameters
    ----------
    plan : Plan
    stack : contextlib.ExitStack
        Told what to undo at the end: then no job is left in the queue.

    Returns
    -------
    cluster : Workers
    folder : pathlib.Path
        The run's folder.

    Raises
    ------
    ClusterError
        There is no SLURM, or it refuses the jobs.
    """
    check_commands()
    security.sweep(plan.shared_folder, cancel_all)
    _sweep_logs(plan.shared_folder / "logs")
    folder = security.make_run_folder(plan.shared_folder, plan.job_name)
    stack.callback(security.remove, folder)
    job_name, ledger = security.job_name_of(folder), Ledger()
    # the queue tells which job is over; Dask would cancel those that SLURM starts again
    stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "365 days"}))
    stack.callback(_empty, job_name)
    cluster = Workers(
        job_name,
        security=security.security_of(folder),
        scheduler_options=plan.scheduler,
        ledger=ledger,
        silence_logs=False,
        **plan.job,
    )
    stack.callback(_close, cluster)
    if plan.adaptive is None:
        cluster.scale(plan.n_workers)
    else:
        cluster.adapt(minimum=plan.adaptive[0], maximum=plan.adaptive[1], target_duration=TARGET_DURATION)
    if plan.adaptive is None or plan.adaptive[0]:
        _wait_for_first(ledger)
    keeper = Keeper(cluster, plan, job_name, ledger)
    stack.enter_context(repeated(keeper.look, plan.check_every))
    return cluster, folder


def _wait_for_first(ledger: Ledger) -> None:
    until = time.monotonic() + SUBMIT_WITHIN
    while not ledger.submitted:
        if ledger.refusal or time.monotonic() > until:
            raise ClusterError(f"SLURM takes no job: {ledger.refusal or f'sbatch gave no answer in {SUBMIT_WITHIN} s'}")
        time.sleep(0.05)


def _close(cluster: Workers) -> None:
    noisy = logging.getLogger("distributed.core")
    level = noisy.level
    noisy.setLevel(logging.CRITICAL)  # the scheduler and its workers end at the same time, and complain of each other
    try:
        with interrupts_ignored():
            cluster.close()
    finally:
        noisy.setLevel(level)


def _empty(job_name: str) -> None:
    """See to it that no job is left, whatever came before."""
    until = time.monotonic() + EMPTY_WITHIN
    with interrupts_ignored():
        while (queue := queue_of(job_name)) != {}:
            if time.monotonic() > until:
                logger.warning(
                    "%s; end what is left with scancel --name=%s",
                    "SLURM does not answer" if queue is None else f"jobs {', '.join(queue)} are still in the queue",
                    job_name,
                )
                return
            cancel_all(job_name)
            time.sleep(0.5)


def _sweep_logs(folder: Path) -> None:
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT_LOGS:
                path.unlink()
