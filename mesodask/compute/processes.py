"""What processes of a cluster have in common: one thread each, deaf to Ctrl-C, and looked after as long as it lasts."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from dask.utils import parse_bytes

from mesodask.errors import SettingsError

logger = logging.getLogger(__name__)

# one thread a worker: every library that would start threads of its own is held to one
SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

LEAST_MEMORY = 1 << 20  # bytes


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


def checked_memory(memory: Any) -> str:
    """Give a size back, if it is one that Dask can read.

    Raises
    ------
    SettingsError
        It is none.

    Examples
    --------
    >>> checked_memory("8 GiB")
    '8 GiB'
    """
    try:
        if not str(memory).strip() or parse_bytes(memory) < LEAST_MEMORY:
            raise ValueError("in which nothing would run")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise SettingsError(f"memory: {memory!r}; expected a size such as '8 GiB'") from error
    return str(memory)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C meanwhile, in this process and for good in those that it starts.

    A terminal sends Ctrl-C to all of them. The driver alone answers it and closes its workers in good order; they would
    print tracebacks.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can signals be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def repeated(act: Callable[[], object], every: float) -> Iterator[None]:
    """Call a function every so many seconds, in a thread, until the block ends.

    What it raises is logged, and it is called again.
    """
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(every):
            try:
                act()
            except Exception:
                logger.warning("keeping the cluster up failed; it is tried again in %.0f s", every, exc_info=True)

    keeper = threading.Thread(target=keep, name="cluster keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()
