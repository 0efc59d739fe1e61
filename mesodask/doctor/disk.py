"""Tries in a folder what stores need of its file system: to write, to rename, and one lock at a time."""

import os
import secrets
from pathlib import Path

from mesodask.errors import LockedError
from mesodask.io.lock import Lock


def write(folder: Path) -> str:
    """Write 1 MiB, to the disk itself, and read it back.

    Parameters
    ----------
    folder : pathlib.Path
        What is made here is the caller's to remove; so with the other trials.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    OSError
        It is not to be written to, full, or gives back something else.
    """
    content = secrets.token_bytes(2**20)
    path = folder / "chunk"
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())  # a quota or a full disk may refuse as late as that
    if path.read_bytes() != content:
        raise OSError(f"{path}: what was written reads back as something else")
    return "1 MiB was written and read back"


def rename(folder: Path) -> str:
    """Rename a file over another one, as chunks are, and a folder, as session stores are (see :func:`write`)."""
    old, new = folder / "old", folder / "new"
    old.write_text("old")
    new.write_text("new")
    new.replace(old)
    building, store = folder / "building", folder / "store"
    building.mkdir()
    (building / "part").touch()
    building.replace(store)
    if old.read_text() != "new" or not (store / "part").exists() or new.exists() or building.exists():
        raise OSError(f"{folder}: a renamed file or folder is not what it was")
    return "a file over another one, and a folder"


def lock(folder: Path) -> str:
    """Take a lock as runs do, and look that a second one is refused (see :func:`write`)."""
    path = folder / "run.lock"
    with Lock(path, "a trial"):
        try:
            with Lock(path, "a trial"):
                raise OSError(f"{path}: two locks on one file were granted, so that two runs could write one store")
        except LockedError:
            pass
    if path.exists():
        raise OSError(f"{path}: the lock file could not be removed")
    return "one is granted, a second one refused"
