"""Dask clusters: one machine's processes."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator

import dask
from distributed import Client, LocalCluster

DASHBOARD_PORT = 8787
REPLACE_EVERY = 5.0  # s
# one thread a worker: every library that would start threads of its own is held to one
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

# for the process that the scheduler runs in, as long as it does
SCHEDULER_SETTINGS = {
    # a worker that dies blames every task it held, and the scheduler gives up those blamed more often than this
    "distributed.scheduler.allowed-failures": 5,
    # a task that holds the GIL keeps its worker from answering; it is not dead for that
    "distributed.scheduler.worker-ttl": "30 minutes",
    # a busy machine takes long to start a worker again; one that is given up meanwhile is in the way of the next
    "distributed.deploy.lost-worker-timeout": "60 s",
}


@contextlib.contextmanager
def local_client(n_workers: int | None = None) -> Iterator[Client]:
    """Start workers on this machine, each a process of one thread, and stop them at the end.

    Parameters
    ----------
    n_workers : int, optional
        As many as this process may use cores, by default.

    Yields
    ------
    distributed.Client
        Everything listens on loopback only; ``client.dashboard_link`` is the dashboard's address.
    """
    workers = n_workers or available_cores()
    # Dask tells every connection that opens and closes; its warnings are enough
    logging.getLogger("distributed").setLevel(logging.WARNING)
    with dask.config.set(SCHEDULER_SETTINGS):
        with _children_ignore_interrupts():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=f"127.0.0.1:{_free_port(DASHBOARD_PORT)}",
                env=SINGLE_THREAD,
                preload="mesodask.compute.worker_setup",
            )
        try:
            with Client(cluster) as client, _kept_at(cluster, workers):
                yield client
        finally:
            cluster.close()


@contextlib.contextmanager
def _kept_at(cluster: LocalCluster, n_workers: int) -> Iterator[None]:
    """Ask every few seconds for so many workers: Dask gives up one that dies and takes long to start again."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(REPLACE_EVERY):
            cluster.scale(n_workers)

    keeper = threading.Thread(target=keep, name="worker keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Let processes started meanwhile ignore Ctrl-C, which a terminal sends to all of them.

    This process alone answers it, and closes its workers in good order; they would print tracebacks.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def available_cores() -> int:
    """Count the cores this process may use (fewer than the machine has, under a batch system).

    Examples
    --------
    >>> available_cores() >= 1
    True
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _free_port(wanted: int) -> int:
    """Give the wanted port, or 0 (any free one) if something listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted
