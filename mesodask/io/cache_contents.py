"""What a cache folder holds, and the removal of it."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesodask.errors import SettingsError, StoreError
from mesodask.io import cache, partials, stores
from mesodask.io.folders import expanded
from mesodask.io.lock import Lock


@dataclass(frozen=True)
class SessionEntry:
    """A session store of a cache folder, or another store of one session.

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
    return _of_sessions(cache.session_folder(folder), subject)


def list_sparseness(folder: Path, subject: str | None = None) -> list[SessionEntry]:
    """List the stores of sessions' sparseness, as :func:`list_sessions`."""
    return _of_sessions(cache.sparseness_folder(folder), subject)


def _of_sessions(folder: Path, subject: str | None) -> list[SessionEntry]:
    found = [_entry(path) for path in sorted(folder.glob("*.zarr"))]
    wanted = [one for one in found if subject is None or one.problem or one.subject == subject]
    return sorted(wanted, key=lambda one: (one.subject, one.date, one.number, one.path.name))


def _entry(path: Path) -> SessionEntry:
    size = size_on_disk(path)
    try:
        attrs = stores.attributes(path)
        eid, subject, date = (str(attrs[name]) for name in ("eid", "subject", "date"))
        return SessionEntry(path, eid, subject, date, int(attrs["number"]), size)
    except (StoreError, KeyError, ValueError, TypeError) as error:
        problem = str(error) if isinstance(error, StoreError) else f"{path}: no store of a session, or a damaged one"
        return SessionEntry(path, "", "", "", 0, size, problem)


@dataclass(frozen=True)
class ResultEntry:
    """An imported store, or the record of an analysis.

    Attributes
    ----------
    path : pathlib.Path
        The store or file.
    about : dict
        What it says of itself; of an imported store ``kind``, ``subject`` and ``sources``, the original files.
    n_bytes : int
        Size on disk.
    files : list of pathlib.Path
        What belongs to it; of a record the folder of its figures, if that is there.
    problem : str
        Why it cannot be read; empty if it can.
    """

    path: Path
    about: dict[str, Any]
    n_bytes: int
    files: list[Path]
    problem: str = ""

    def plain(self) -> dict[str, Any]:
        """Give the entry for JSON."""
        files = [str(file) for file in self.files]
        return {"path": str(self.path), **self.about, "n_bytes": self.n_bytes, "files": files, "problem": self.problem}


def list_imports(folder: Path) -> list[ResultEntry]:
    """List the stores of imported curves and cross-session analyses, by name."""
    found = []
    for path in sorted(cache.imported_folder(folder).glob("*.zarr")):
        about, problem = {"kind": "", "subject": "", "sources": []}, ""
        try:
            attrs = stores.attributes(path)
            about = {"kind": str(attrs["kind"]), "subject": str(attrs["subject"]), "sources": list(attrs["sources"])}
        except (StoreError, KeyError, TypeError) as error:
            problem = str(error) if isinstance(error, StoreError) else f"{path}: no imported store, or a damaged one"
        found.append(ResultEntry(path, about, size_on_disk(path), [], problem))
    return found


def list_analyses(folder: Path) -> list[ResultEntry]:
    """List the records of analyses, by name, with the folders of their figures."""
    records = sorted(cache.decoding_folder(folder).glob(f"*{cache.RECORD}"))
    return [ResultEntry(path, {}, size_on_disk(path), companions(path)) for path in records]


def companions(path: Path) -> list[Path]:
    """List what is there beside a store or record and goes with it: of a run failures, report and figures."""
    if path.name.endswith(cache.RECORD):
        beside = [path.with_suffix("")]
    else:
        beside = [] if _is_built_at_once(path) else cache.run_companions(path)
    return [one for one in beside if os.path.lexists(one)]


def _is_built_at_once(path: Path) -> bool:
    """Tell whether a store is that of a session, its sparseness, or imported; all others are runs."""
    places = (cache.session_folder, cache.sparseness_folder, cache.imported_folder)
    return path.parent.name in {place(Path()).name for place in places}


def named(folder: Path, name: str) -> list[Path]:
    """Find the stores and records that a name or path means, but for runs: names are compared as a whole.

    Parameters
    ----------
    folder : pathlib.Path
        The cache folder.
    name : str
        An eid, for all stores of the session; the name of one of them, of a store of sparseness or imported results, or
        of an analysis's record; or its path.
    """
    of_sessions = sorted(cache.session_folder(folder).glob("*.zarr"))
    # compared, and not searched for: what a name has of * ? [ is no pattern
    if of_eid := [path for path in of_sessions if path.stem.partition("_")[0] == name]:
        return of_eid
    others = [*cache.sparseness_folder(folder).glob("*.zarr"), *cache.imported_folder(folder).glob("*.zarr"),
              *cache.decoding_folder(folder).glob(f"*{cache.RECORD}")]  # fmt: skip
    place = expanded(name).absolute()
    return [path for path in (*of_sessions, *others) if name in (path.name, path.stem) or path.absolute() == place]


def size_on_disk(path: Path) -> int:
    """Add up the sizes of the files of a store, in bytes, or give that of a file; links are not followed."""
    total = 0
    # a folder that goes away meanwhile is passed over by os.walk, while Path.rglob raises
    files = (Path(parent) / name for parent, _, names in os.walk(path) for name in names) if path.is_dir() else [path]
    for file in files:
        with contextlib.suppress(FileNotFoundError):  # a run under way replaces files
            if file.is_file() and not file.is_symlink():
                total += file.stat().st_size
    return total


def remove(folder: Path, path: Path) -> list[Path]:
    """Remove a store or record of a cache folder, and what belongs to it; no half of a store is ever seen.

    Parameters
    ----------
    folder : pathlib.Path
        The cache folder.
    path : pathlib.Path
        The store or record.

    Returns
    -------
    list of pathlib.Path
        What was removed: it, and its :func:`companions`.

    Raises
    ------
    SettingsError
        It does not lie in the folder, or is reached through a link: what a link leads to is never removed.
    LockedError
        A process is writing it.
    StoreError
        There is no such store, or it cannot be removed.
    """
    is_record = path.name.endswith(cache.RECORD)
    _check_inside(folder, path)
    if not (path.is_file() if is_record else stores.has_group(path, "")):
        raise StoreError(f"{path}: no store here; mesodask list shows what there is")
    doomed = [path, *companions(path)]
    for one in doomed:
        _check_inside(folder, one)
    lock = cache.build_lock(path) if _is_built_at_once(path) else cache.run_lock(path)
    try:
        with contextlib.nullcontext() if is_record else Lock(lock, f"the store {path.name}"):
            for one in doomed:
                _remove_whole(one)
    except OSError as error:
        raise StoreError(f"{error.filename or path}: cannot be removed ({error.strerror})") from error
    return doomed


def _remove_whole(path: Path) -> None:
    if path.is_dir():
        aside = partials.partial_of(path)
        path.rename(aside)
        shutil.rmtree(aside)
    else:
        path.unlink()


def _check_inside(folder: Path, path: Path) -> None:
    inside = folder.absolute()
    place = path.absolute()
    if ".." in place.parts or inside not in place.parents:
        raise SettingsError(f"{path}: does not lie in the cache folder {folder}; nothing outside it is removed")
    between = [part for part in (place, *place.parents) if inside in part.parents]
    if links := [part for part in between if part.is_symlink()]:
        raise SettingsError(f"{path}: {links[-1]} is a link to {links[-1].readlink()}; remove the link yourself")
