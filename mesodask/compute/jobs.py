"""SLURM jobs that hold workers: what is asked for, and the batch script that asks for it."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed.core import Status

from mesodask.compute import security
from mesodask.compute.jobqueue import SLURMJob, reconfigure
from mesodask.compute.processes import SINGLE_THREAD, checked_memory
from mesodask.compute.walltime import lifetime
from mesodask.errors import SettingsError
from mesodask.io.folders import expanded

# dask-jobqueue's own settings, by the names its jobs take them
JOB_SETTINGS = {
    "memory": "memory", "python": "python", "interface": "interface", "death-timeout": "death_timeout",
    "local-directory": "local_directory", "worker-command": "worker_command", "shebang": "shebang", "queue": "queue",
    "account": "account", "walltime": "walltime", "job-cpu": "job_cpu", "job-mem": "job_mem",
    "job-directives-skip": "job_directives_skip", "log-directory": "log_directory",
}  # fmt: skip
OTHER_SETTINGS = {
    "name", "cores", "processes", "worker-extra-args", "job-script-prologue", "job-extra-directives",
    "scheduler-options", "shared-temp-directory", "n-workers", "adaptive", "check-every",
}  # fmt: skip
OTHER_SYSTEMS = {"oar", "pbs", "sge", "lsf", "moab", "htcondor", "local", "slurm-runner"}  # of dask-jobqueue


# what is asked for ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What jobs to submit, and how many.

    Attributes
    ----------
    job : dict
        Arguments of every job.
    job_name : str
        What jobs are called, before the run's own name is added.
    scheduler : dict
        Arguments of the scheduler.
    shared_folder : pathlib.Path
        Where the run's folder is made.
    n_workers : int
        How many workers.
    adaptive : tuple of int, optional
        Fewest and most workers, in place of a fixed number.
    check_every : float
        Seconds between two looks at the queue.
    """

    job: dict[str, Any]
    job_name: str
    scheduler: dict[str, Any]
    shared_folder: Path
    n_workers: int
    adaptive: tuple[int, int] | None
    check_every: float


def join_defaults(defaults: Mapping[str, Any]) -> None:
    """Let our defaults be in Dask's configuration over dask-jobqueue's own, and what the user has set over both."""
    reconfigure()  # also in case that a script has replaced all of jobqueue
    dask.config.update_defaults(defaults)


def plan_of(
    block: Mapping[str, Any],
    shared_folder: Path,
    *,
    dashboard_port: int,
    n_workers: int | None = None,
    adaptive: tuple[int, int] | None = None,
    job_extra: Iterable[str] = (),
    **given: str | None,
) -> Plan:
    """Make a plan of a block of Dask's configuration and of what was given besides.

    Parameters
    ----------
    block : mapping
        Complete: every setting of ``jobqueue.slurm`` is there.
    shared_folder : pathlib.Path
        Where run folders are made, unless the block has a ``shared-temp-directory``.
    dashboard_port : int
        Of the dashboard, on loopback.
    n_workers, adaptive, job_extra
        As in :func:`mesodask.start_cluster`.
    **given
        ``memory``, ``walltime``, ``queue`` and ``account``; None leaves the block's.

    Raises
    ------
    SettingsError
        A setting is unknown, or its value is not allowed.
    """
    unknown = {key for key, value in block.items() if value} - set(JOB_SETTINGS) - OTHER_SETTINGS
    if unknown:
        raise SettingsError(
            f"jobqueue: {', '.join(sorted(unknown))} is no setting of SLURM jobs; there are "
            f"{', '.join(sorted(set(JOB_SETTINGS) | OTHER_SETTINGS))}"
        )
    settings = {**block, **{key: value for key, value in given.items() if value is not None}}
    cores = _whole_number(settings, "cores")
    job = {argument: settings.get(key) for key, argument in JOB_SETTINGS.items()}
    job["memory"] = checked_memory(job["memory"])
    if not isinstance(job["walltime"], str | None):
        raise SettingsError(
            f'jobqueue: walltime: found the number {job["walltime"]}; write it in quotes, as "04:00:00": YAML takes '
            "hours and minutes for a number"
        )
    job |= {
        "cores": cores,
        "processes": cores,  # one thread a worker
        "worker_extra_args": _worker_arguments(_texts(settings, "worker-extra-args"), job["walltime"]),
        "job_script_prologue": [f"export {name}={value}" for name, value in SINGLE_THREAD.items()]
        + _texts(settings, "job-script-prologue"),
        "job_extra_directives": [*_texts(settings, "job-extra-directives"), *job_extra],
    }
    folder = _folder(settings["shared-temp-directory"], shared_folder)
    job["log_directory"] = str(expanded(os.path.expandvars(job["log_directory"] or folder / "logs")))
    scheduler = {"dashboard_address": f"127.0.0.1:{dashboard_port}", **(settings["scheduler-options"] or {})}
    return Plan(
        job=job,
        job_name=settings["name"],
        scheduler=scheduler,
        shared_folder=folder,
        n_workers=n_workers or _whole_number(settings, "n-workers"),
        adaptive=_adaptive(adaptive or settings["adaptive"], cores, n_workers),
        check_every=_seconds(settings, "check-every"),
    )


def _whole_number(settings: Mapping[str, Any], name: str) -> int:
    value = settings[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SettingsError(f"jobqueue: {name}: expected a whole number, found {value!r}")
    return value


def _texts(settings: Mapping[str, Any], name: str) -> list[str]:
    """Give a list of lines or arguments; one alone may stand without its list."""
    value = settings[name] or []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence):
        raise SettingsError(f"jobqueue: {name}: expected a list of texts, found {value!r}")
    return list(map(str, value))


def _seconds(settings: Mapping[str, Any], name: str) -> float:
    try:
        return float(parse_timedelta(settings[name]))
    except (KeyError, ValueError, TypeError):
        raise SettingsError(f"jobqueue: {name}: expected a time such as 15s, found {settings[name]!r}") from None


def _adaptive(bounds: Sequence[int] | None, cores: int, n_workers: int | None) -> tuple[int, int] | None:
    """Check the fewest and the most workers; a number of workers that is given replaces them."""
    if not bounds:
        return None
    if not isinstance(bounds, Sequence) or not all(isinstance(bound, int) for bound in bounds):
        raise SettingsError(f"adaptive={bounds!r}; expected the fewest and the most workers, such as [0, 40]")
    if cores > 1 or len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1] or bounds[1] < 1:
        raise SettingsError(
            f"adaptive={bounds!r} with cores: {cores}; expected the fewest and the most workers, each a job of one core"
        )
    return None if n_workers else (int(bounds[0]), int(bounds[1]))


def _folder(given: str | None, otherwise: Path) -> Path:
    """Where run folders are made."""
    folder = expanded(os.path.expandvars(given)) / "mesodask" if given else otherwise
    if re.search(r"\s", str(folder)):
        raise SettingsError(f"shared folder {str(folder)!r}: batch scripts allow no spaces in it; choose another")
    return folder


def _worker_arguments(extra: list[str], walltime: str | None) -> list[str]:
    """Give the arguments of every worker: those of the block, and what it needs to last and to be safe."""
    # a worker's own dashboard would be open to the node's users
    ours = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--preload", "mesodask.compute.worker_setup"]
    ends = lifetime(walltime)
    if ends is not None and "--lifetime" not in extra:
        ours += ["--lifetime", f"{ends[0]}s", "--lifetime-stagger", f"{ends[1]}s"]
    return [*ours, *extra]


# jobs -------------------------------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What became of submissions."""

    submitted: int = 0
    refusal: str = ""


class Job(SLURMJob):
    """A batch job that notes whether it was submitted, in place of raising where nobody hears it."""

    def __init__(self, *arguments: Any, ledger: Ledger, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ledger = ledger

    async def start(self) -> None:
        """Submit the job; one that is refused has no ``job_id``."""
        try:
            await super().start()
            self._ledger.submitted += 1
        except (RuntimeError, ValueError, OSError) as error:
            self._ledger.refusal = _last_lines(str(error))
            self.status = Status.running

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()
        self.status = Status.closed

    @staticmethod
    async def _call(cmd: list[str], **options: Any) -> str:
        # Ctrl-C of the terminal must not reach sbatch and scancel
        return await SLURMJob._call(cmd, start_new_session=True, **options)


def _last_lines(text: str, n: int = 3) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines()[-n:] if line.strip())


def job_script(plan: Plan) -> str:
    """Write the batch script of a job as it would be submitted; ``RUN`` stands for the run's own name.

    Only the folder of the jobs' logs is made, as SLURM wants it.
    """
    job = Job(
        "tls://SCHEDULER:PORT",
        name=f"{plan.job_name}-RUN-0",
        job_name=f"{plan.job_name}-RUN",
        protocol="tls://",
        security=security.security_of(plan.shared_folder / "RUN"),
        ledger=Ledger(),
        **plan.job,
    )
    return job.job_script()
