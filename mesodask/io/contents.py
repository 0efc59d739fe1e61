"""What a cache folder holds, and the removal of it."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesodask.errors import SettingsError, StoreError
from mesodask.io import cache, stores
from mesodask.io.lock import Lock


@dataclass(frozen=True)
class SessionEntry:
    """A session store of a cache folder.

    Attributes
    ----------
    path : pathlib.Path
        The store.
    eid, subject, date : str
        The session; empty where the store cannot be read.
    number : int
        Running number of the session within its day.
    n_bytes : int
        Size on disk.
    problem : str
        Why the store cannot be read; empty if it can.
    """

    path: Path
    eid: str
    subject: str
    date: str
    number: int
    n_bytes: int
    problem: str = ""

    def plain(self) -> dict[str, Any]:
        """Give the entry for JSON."""
        return {**self.__dict__, "path": str(self.path)}


def list_sessions(folder: Path, subject: str | None = None) -> list[SessionEntry]:
    """List the session stores of a cache folder, in the order of (subject, date, number).

    Parameters
    ----------
    folder : pathlib.Path
        The cache folder; it need not exist.
    subject : str, optional
        Only sessions of this subject, and stores that cannot be read.

    Examples
    --------
    >>> list_sessions(Path("no-such-folder"))
    []
    """
    found = [_entry(path) for path in sorted(cache.session_folder(folder).glob("*.zarr"))]
    wanted = [one for one in found if subject is None or one.problem or one.subject == subject]
    return sorted(wanted, key=lambda one: (one.subject, one.date, one.number, one.path.name))


def _entry(path: Path) -> SessionEntry:
    size = size_on_disk(path)
    try:
        attrs = stores.attributes(path)
        eid, subject, date = (str(attrs[name]) for name in ("eid", "subject", "date"))
        return SessionEntry(path, eid, subject, date, int(attrs["number"]), size)
    except (StoreError, KeyError, ValueError, TypeError) as error:
        problem = str(error) if isinstance(error, StoreError) else f"{path}: no session store, or a damaged one"
        return SessionEntry(path, "", "", "", 0, size, problem)


def size_on_disk(path: Path) -> int:
    """Add up the sizes of the files of a store, in bytes; links are not followed."""
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a run under way replaces files
            if file.is_file() and not file.is_symlink():
                total += file.stat().st_size
    return total


def remove_store(folder: Path, path: Path) -> None:
    """Remove a store of a cache folder; no half of it is ever seen.

    Parameters
    ----------
    folder : pathlib.Path
        The cache folder.
    path : pathlib.Path
        The store; of a run, its failures file goes, too.

    Raises
    ------
    SettingsError
        The store does not lie in the folder, or is reached through a link: what a link leads to is never removed.
    LockedError
        A process is writing it.
    StoreError
        There is no such store, or it cannot be removed.
    """
    _check_inside(folder, path)
    if not stores.has_group(path, ""):
        raise StoreError(f"{path}: no store here; mesodask list shows what there is")
    is_session = path.parent == cache.session_folder(folder)
    lock = cache.build_lock(path) if is_session else cache.run_lock(path)
    try:
        with Lock(lock, f"the store {path.name}"):
            doomed = stores.partial_of(path)
            path.rename(doomed)
            shutil.rmtree(doomed)
            if not is_session:
                cache.run_failures(path).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{error.filename or path}: cannot be removed ({error.strerror})") from error


def _check_inside(folder: Path, path: Path) -> None:
    inside = folder.absolute()
    place = path.absolute()
    if ".." in place.parts or inside not in place.parents:
        raise SettingsError(f"{path}: does not lie in the cache folder {folder}; nothing outside it is removed")
    between = [part for part in (place, *place.parents) if inside in part.parents]
    if links := [part for part in between if part.is_symlink()]:
        raise SettingsError(f"{path}: {links[-1]} is a link to {links[-1].resolve()}; remove the link yourself")
