"""What is half built or half removed stands beside its place, under a name that tells whose it is."""

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from mesodask.io.processes import process_is_gone, this_machine

PARTIAL = ".partial"
ABANDONED_AFTER = 2 * 86400.0  # s, where the process that builds something cannot be seen


@contextlib.contextmanager
def building(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Give a temporary folder to build a store in; it gets the store's name when all went well.

    Parameters
    ----------
    path : pathlib.Path
        Where the store shall be.
    replace : bool
        Whether a store that is there at the end is replaced, by two renames between which there is none, or kept and
        the new one thrown away.

    Yields
    ------
    pathlib.Path
        A new folder beside it, ``.<name>.<host>-<machine>-<pid>-<token>.partial``; it is removed if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_of(path)
    temporary.mkdir()
    try:
        yield temporary
        old = None
        if path.exists() and not replace:
            return
        if path.exists():
            old = temporary.with_suffix(".old" + PARTIAL)
            path.rename(old)
        temporary.rename(path)
        if old is not None:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def partial_of(path: Path) -> Path:
    """Name something beside a store or file for what is half built or half removed; it tells whose it is."""
    return path.parent / f".{path.name}.{_here()}-{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"


def _here() -> str:
    """Name the machine, as the part of a partial's name that tells whether its process can be seen from here."""
    machine = hashlib.blake2b(this_machine().encode(), digest_size=4).hexdigest()
    return f"{socket.gethostname()}-{machine}"


def remove_partial(folder: Path, name: str, *, locked: bool = False) -> None:
    """Remove what killed builds of a store or file have left behind; builds of living processes are left alone.

    Parameters
    ----------
    folder : pathlib.Path
        Where it lies.
    name : str
        Name of the store or file.
    locked : bool
        This process holds the lock on it: whoever builds it has lost the right to, and everything goes.
    """
    for partial in folder.glob(f".{name}.*{PARTIAL}"):
        if locked or _is_abandoned(partial, name):
            for _ in range(5):  # workers of a killed driver may still write into it for a moment
                if partial.is_dir():
                    shutil.rmtree(partial, ignore_errors=True)
                else:
                    partial.unlink(missing_ok=True)
                if not partial.exists():
                    break
                time.sleep(0.05)


def _is_abandoned(partial: Path, name: str) -> bool:
    """Tell whether the process that was building this is gone; of another machine's, or boot's, by its age."""
    where, pid, _ = partial.name.removeprefix(f".{name}.").rsplit("-", 2)
    if where == _here():
        return process_is_gone(int(pid))
    with contextlib.suppress(FileNotFoundError):
        return time.time() - partial.stat().st_mtime > ABANDONED_AFTER
    return False
