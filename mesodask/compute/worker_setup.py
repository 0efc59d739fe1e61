"""What a worker process does first, here or in a job; Dask calls it in each, also in those that replace others."""

import logging
import signal
import threading
from typing import Any

# workers that are told to end while they report to the scheduler log a traceback of that; nothing is wrong then
HARMLESS = ("Failed to communicate with scheduler during heartbeat",)


def dask_setup(worker: Any) -> None:
    """Ignore Ctrl-C, which a terminal sends to all processes and the driver alone answers, and log calmly."""
    del worker
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(is_worth_telling)


def is_worth_telling(record: logging.LogRecord) -> bool:
    """Tell whether a line of a worker's log is to be seen.

    Examples
    --------
    >>> is_worth_telling(logging.makeLogRecord({"msg": "Failed to communicate with scheduler during heartbeat."}))
    False
    """
    return not record.getMessage().startswith(HARMLESS)
