"""Processes of this machine: which one is meant, and whether it is still there."""

import os
from pathlib import Path


def this_machine() -> str:
    """Name this boot of the machine and its space of process ids; empty where that cannot be seen.

    Two containers may share a host's name and not its processes.

    Examples
    --------
    >>> this_machine() == this_machine()
    True
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # macOS
        return ""


def process_is_gone(pid: int, started: str | None = None) -> bool:
    """Tell whether a process of this machine has ended; what cannot be told is no.

    Parameters
    ----------
    pid : int
        Its process id.
    started : str, optional
        When it started, by :func:`process_start`; without it, another that has its id now counts as the same.

    Examples
    --------
    >>> process_is_gone(os.getpid(), process_start(os.getpid()))
    False
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, and is another user's
    now = process_start(pid)
    return now == "ended" or (None not in (now, started) and now != started)


def process_start(pid: int) -> str | None:
    """Tell when a process started, in the machine's own terms, "ended" for a zombie; None where that cannot be seen.

    Process ids are used again: with it they are unique.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        return "ended" if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self").exists():  # another user's, on a machine that hides those
            return None
        return _by_psutil(pid)


def _by_psutil(pid: int) -> str | None:
    """Do the same on macOS."""
    import psutil  # type: ignore[import-untyped]

    try:
        process = psutil.Process(pid)
        return "ended" if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None
