"""Dask clusters: this machine's processes, SLURM's jobs, or one that somebody else has started."""

import atexit
import contextlib
import functools
import getpass
import importlib.resources
import json
import logging
import os
import socket
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
import platformdirs
import psutil  # type: ignore[import-untyped]
import yaml
from dask.utils import parse_bytes
from distributed import Client, LocalCluster, Security, SpecCluster
from distributed.system import MEMORY_LIMIT

from mesodask.compute import security
from mesodask.compute.processes import SINGLE_THREAD, available_cores, checked_memory, interrupts_ignored, repeated
from mesodask.errors import ClusterError, SettingsError
from mesodask.io.folders import expanded

REPLACE_EVERY = 5.0  # s
ANSWER_WITHIN = "20s"  # that a scheduler may take
ADDRESSES = ("tcp://", "tls://")
LOOPBACK = ("127.0.0.1", "::1", "localhost")

# for the process that the scheduler runs in, as long as it does
SCHEDULER_SETTINGS = {
    # a worker that dies blames every task it held, and the scheduler gives up those blamed more often than this
    "distributed.scheduler.allowed-failures": 5,
    # a task that holds the GIL keeps its worker from answering; it is not dead for that
    "distributed.scheduler.worker-ttl": "30 minutes",
    # a busy machine takes long to start a worker again; one that is given up meanwhile is in the way of the next
    "distributed.deploy.lost-worker-timeout": "60 s",
}
DEFAULTS = yaml.safe_load(importlib.resources.files("mesodask").joinpath("mesodask.yaml").read_text())
dask.config.update_defaults(DEFAULTS)


class ClusterClient(Client):
    """A client that, when it closes, stops what was started for it."""

    def __init__(self, *arguments: Any, ending: contextlib.ExitStack, **options: Any) -> None:
        self._ending = ending
        super().__init__(*arguments, **options)
        # one that is never closed ends before Python takes itself to pieces
        self._at_exit = functools.partial(_close_if_there, weakref.ref(self))
        atexit.register(self._at_exit)

    def close(self, *arguments: Any, **options: Any) -> Any:
        """Close the client and, if it was started for it, the cluster."""
        closed = super().close(*arguments, **options)
        self._ending.close()
        if hasattr(self, "_at_exit"):
            atexit.unregister(self._at_exit)
        return closed


def _close_if_there(client: "weakref.ref[ClusterClient]") -> None:
    if (found := client()) is not None:
        found.close()


def start_cluster(
    kind: str | Path = "local",
    *,
    n_workers: int | None = None,
    memory: str | None = None,
    walltime: str | None = None,
    queue: str | None = None,
    account: str | None = None,
    job_extra: Iterable[str] = (),
    adaptive: tuple[int, int] | None = None,
) -> Client:
    """Start workers, or connect to some.

    Every scheduler and worker that is started speaks TLS with a certificate made for this run, which only this user can
    read; it is deleted when the client closes.

    Parameters
    ----------
    kind : str or path-like
        ``"local"``: processes on this machine, which listen on loopback alone. ``"slurm"``: jobs as
        ``jobqueue.slurm`` in Dask's configuration says. Any other name: a block ``jobqueue.<name>`` there, over
        ``jobqueue.slurm``. Or the address of a scheduler that runs (``tcp://`` or ``tls://``), or its scheduler file.
    n_workers : int, optional
        How many workers, each of one thread. By default, local: as many as this process may use cores, and fewer if
        little memory is free; SLURM: the block's ``n-workers``.
    memory : str, optional
        Of a worker, e.g. ``"8 GiB"``; on SLURM, of a job.
    walltime, queue, account : str, optional
        Of a SLURM job, in place of the block's.
    job_extra : iterable of str
        More directives of a SLURM job, e.g. ``"--constraint=avx2"``.
    adaptive : tuple of int, optional
        Fewest and most workers, by what there is to do. SLURM only.

    Returns
    -------
    distributed.Client
        A context manager; closing it ends the workers, and leaves a cluster that it only connected to as it is.

    Raises
    ------
    SettingsError
        The kind is none of these, or an argument does not go with it.
    ClusterError
        No cluster answers, or SLURM refuses the jobs.

    Examples
    --------
    >>> with start_cluster("local", n_workers=1) as client:
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """
    of_jobs = {"walltime": walltime, "queue": queue, "account": account}
    wanted = {"n_workers": n_workers, "memory": memory, **of_jobs, "job_extra": tuple(job_extra), "adaptive": adaptive}
    if n_workers is not None and n_workers < 1:
        raise SettingsError(f"n_workers={n_workers}; expected at least 1")
    if kind == "local":
        _refuse({**of_jobs, "job_extra": wanted["job_extra"], "adaptive": adaptive}, "local workers")
        return _start(_local, n_workers, None if memory is None else checked_memory(memory))
    if str(kind).startswith(ADDRESSES):
        _refuse(wanted, f"the cluster at {kind}, which runs already")
        return _connect(str(kind), None)
    if Path(kind).suffix == ".json":
        _refuse(wanted, f"the cluster of {kind}, which runs already")
        return _connect(*_read_scheduler_file(expanded(kind)))
    plan = slurm_plan(str(kind), **wanted)
    from mesodask.compute import slurm

    return _start(slurm.start, plan)


def is_slurm(kind: str) -> bool:
    """Tell whether a kind of cluster is one of SLURM jobs, as far as its name says."""
    return kind != "local" and not kind.startswith(ADDRESSES) and Path(kind).suffix != ".json"


def local_client(n_workers: int | None = None) -> Client:
    """Start workers on this machine: :func:`start_cluster` with its defaults."""
    return start_cluster("local", n_workers=n_workers)


def _refuse(values: Mapping[str, Any], what: str) -> None:
    given = [name for name, value in values.items() if value]
    if given:
        wrong = f"has no meaning for {what}; leave it out"
        raise SettingsError(f"{', '.join(given)}: {wrong}", [((name,), wrong) for name in given])


def _start(how: Callable[..., tuple[SpecCluster, Path]], *arguments: Any) -> Client:
    """Start a cluster and connect to it; whatever goes wrong, nothing is left."""
    # Dask tells every connection that opens and closes; its warnings are enough
    logging.getLogger("distributed").setLevel(logging.WARNING)
    stack = contextlib.ExitStack()
    try:
        stack.enter_context(dask.config.set(SCHEDULER_SETTINGS))
        with warnings.catch_warnings():
            # another port is taken then, and how_to_watch tells it
            warnings.filterwarnings("ignore", r"Port \d+ is already in use")
            cluster, folder = how(*arguments, stack)
        security.write_scheduler_file(folder, cluster.scheduler_address)
        stack.enter_context(repeated(lambda: security.sign_of_life(folder), security.QUIET / 8))
        return ClusterClient(cluster, ending=stack)
    except BaseException:
        stack.close()
        raise


# kinds ------------------------------------------------------------------------------------------------------------


def _local(n_workers: int | None, memory: str | None, stack: contextlib.ExitStack) -> tuple[LocalCluster, Path]:
    parent = _shared_folder()
    security.sweep(parent)
    folder = security.make_run_folder(parent)
    stack.callback(security.remove, folder)
    workers = n_workers or _fitting_workers(memory)
    with interrupts_ignored():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls://",
            security=security.security_of(folder),
            dashboard_address=f"127.0.0.1:{_setting('dashboard-port')}",
            env=SINGLE_THREAD,
            preload="mesodask.compute.worker_setup",
            **({} if memory is None else {"memory_limit": memory}),
        )
    stack.callback(cluster.close)
    # Dask gives up a worker that dies and takes long to start again
    stack.enter_context(repeated(lambda: cluster.scale(workers), REPLACE_EVERY))
    return cluster, folder


def _fitting_workers(memory: str | None) -> int:
    """Count the workers that cores and free memory allow."""
    each = parse_bytes(memory or _setting("local-memory"))
    free = min(psutil.virtual_memory().available, MEMORY_LIMIT)
    return max(1, min(available_cores(), free // each))


def slurm_plan(kind: str, **wanted: Any) -> Any:
    """Make the plan of SLURM jobs for ``"slurm"`` or the name of a block of Dask's configuration.

    Parameters
    ----------
    kind : str
    **wanted
        As in :func:`start_cluster`.

    Returns
    -------
    mesodask.compute.jobs.Plan

    Raises
    ------
    SettingsError
        There is no such block, or one of its settings is not allowed.
    """
    from mesodask.compute import jobs

    jobs.join_defaults(DEFAULTS)
    blocks = dask.config.get("jobqueue")
    if kind not in blocks or (kind != "slurm" and kind in jobs.OTHER_SYSTEMS):
        named = sorted(set(blocks) - set(jobs.OTHER_SYSTEMS) - {"slurm"})
        raise SettingsError(
            f"cluster {kind!r}; expected local, slurm, tcp://HOST:PORT, tls://HOST:PORT, a scheduler file (.json), or "
            f"a block of jobqueue in Dask's configuration ({', '.join(named) or 'there is none'})"
        )
    block = dask.config.merge(blocks["slurm"], blocks[kind] or {})
    return jobs.plan_of(block, _shared_folder(), dashboard_port=_setting("dashboard-port"), **wanted)


def _connect(address: str, folder: Path | None) -> Client:
    keys = Security() if folder is None else security.security_of(folder)
    try:
        return ClusterClient(address, security=keys, timeout=ANSWER_WITHIN, ending=contextlib.ExitStack())
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        told = "with the certificate of " + str(folder) if folder else "with the certificates of Dask's configuration"
        raise ClusterError(
            f"no Dask scheduler lets us in at {address} {told} ({type(error).__name__}: {error}). If it runs, it may "
            "ask for other certificates: give its scheduler file, or set distributed.comm.tls in Dask's configuration"
        ) from error


def _read_scheduler_file(path: Path) -> tuple[str, Path | None]:
    """Give the address in a scheduler file, and the folder of the certificate if it lies beside it."""
    try:
        address = json.loads(path.read_text())["address"]
    except FileNotFoundError:
        raise ClusterError(f"{path}: there is no such scheduler file; is its cluster closed?") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(f"{path}: is no scheduler file, as it names no address ({error!r})") from error
    return address, path.parent if security.has_certificate(path.parent) else None


# settings and places ----------------------------------------------------------------------------------------------


def _setting(name: str) -> Any:
    return dask.config.get(f"mesodask.cluster.{name}")


def _shared_folder() -> Path:
    given = _setting("shared-folder")
    if given:
        return expanded(os.path.expandvars(given))
    return Path(platformdirs.user_cache_dir("mesodask")) / "clusters"


def scheduler_file(client: Client) -> Path | None:
    """Give the file by which other processes of this user find a cluster that we started."""
    keys = getattr(client, "security", None)
    found = None if keys is None or not keys.tls_ca_file else Path(keys.tls_ca_file).with_name(security.SCHEDULER)
    return found if found is not None and found.exists() else None


def how_to_watch(client: Client, page: str = "status") -> list[str]:
    """Tell how to see the dashboard, from this machine and from one that reaches it by ssh.

    Parameters
    ----------
    client : distributed.Client
    page : str
        Of the dashboard.

    Returns
    -------
    list of str
        Lines to print; none if there is no dashboard.
    """
    port = client.scheduler_info(n_workers=0)["services"].get("dashboard")
    if port is None:
        return []
    lines = [f"watch the workers at http://127.0.0.1:{port}/{page}"]
    there = urlsplit(client.scheduler.address).hostname if client.cluster is None else None
    is_here = isinstance(client.cluster, LocalCluster) or there in LOOPBACK
    if not is_here or "SSH_CONNECTION" in os.environ:
        host = socket.gethostname() if is_here else there or socket.gethostname()
        lines.append(f"from your own machine first: ssh -N -L {port}:127.0.0.1:{port} {_ssh_target(host)}")
    return lines


def _ssh_target(host: str) -> str:
    user = getpass.getuser()
    login = os.environ.get("SLURM_SUBMIT_HOST")
    if login and login != host:  # this is a batch job, and its node is reached through the login node
        return f"-J {user}@{login} {user}@{host}"
    return f"{user}@{host}"
