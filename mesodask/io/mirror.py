"""Copying a server's tree of cluster-UID files, so that :mod:`mesodask.io.roicat` finds them on disk.

The server shows ``ROICaT/<subject>/<date>/<NNN>/alf/FOV_XX/`` as index pages of plain links. Only folders whose names
fit their level are entered, and every address is made of such names, never of a link. A file is checked in memory and
gets its name when it is known to be whole.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mesodask.errors import SessionNotFoundError, SettingsError, StoreError
from mesodask.io import partials, web
from mesodask.io.folders import expanded, resolved
from mesodask.io.mirror_threads import work_off
from mesodask.io.roicat import CLUSTER_FILE, TREE
from mesodask.io.web_addresses import Place

logger = logging.getLogger(__name__)

SUBJECT = re.compile(r"\w[\w.-]*")
# what a folder at each level below the subject is called: date, number, alf, field of view
LEVELS = tuple(
    map(re.compile, (r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", r"[0-9]{3}", r"alf", r"FOV_[0-9]+"))
)
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAX_FILE = 50 * 2**20  # bytes; a field of view of 25 000 ROIs has 1 MB
MAX_PAGE = 2**20  # bytes
MOST_WORKERS, MOST_RETRIES = 64, 100  # of more a server would take an attack, and a user would see no end
ABSENT = "the server answers 404"

Progress = Callable[[str, int, int], None]
Names = tuple[str, ...]  # of folders, from the subject's own downwards


class Failure(NamedTuple):
    """An address that could not be copied, and why."""

    url: str
    reason: str


@dataclass(frozen=True)
class MirrorSummary:
    """What a mirror has found and done.

    ``found == copied + kept + len(missing)`` and as many of ``failed`` as are files and no folders.

    Attributes
    ----------
    subject : str
        The subject.
    folder : pathlib.Path
        Its folder in the local tree.
    found : int
        Fields of view on the server.
    copied, kept : int
        Files that were downloaded; files that were here already, whole and not older than the server's.
    n_bytes : int
        Size of what was downloaded.
    missing : tuple of str
        Fields of view without a file on the server, as paths from the subject's folder.
    empty : tuple of str
        Folders above them in which there is none.
    failed : tuple of Failure
        What could not be read or was refused. Nothing of it is kept.
    """

    subject: str
    folder: Path
    found: int
    copied: int
    kept: int
    n_bytes: int
    missing: tuple[str, ...]
    empty: tuple[str, ...]
    failed: tuple[Failure, ...]


@dataclass(frozen=True)
class _Outcome:
    """What came of one folder: its subfolders, or of a field of view its file."""

    names: Names
    kind: str  # entered, empty, copied, kept, missing or failed
    children: tuple[Names, ...] = ()
    n_bytes: int = 0
    reason: str = ""


def mirror_cluster_uids(
    subject: str,
    url: str,
    to: str | Path,
    *,
    auth: tuple[str, str] | None = None,
    refresh: bool = False,
    n_workers: int = 8,
    retries: int = 4,
    timeout: tuple[float, float] = (10.0, 60.0),
    backoff: float = 0.5,
    progress: Progress | None = None,
) -> MirrorSummary:
    """Copy the cluster-UID files of a subject from a web server.

    A file that is here already is kept if it is in order and the server's has the same size and is not newer (as far
    as the server tells). A body is taken only if it is whole, text, and every row of it a UID or blank.

    Parameters
    ----------
    subject : str
        Name of the subject.
    url : str
        Address of the folder that holds the ``ROICaT`` folder, or of that folder.
    to : path-like
        Local folder, to be given as ``roicat_root``: files go to
        ``<to>/ROICaT/<subject>/<date>/<number>/alf/FOV_XX/mpciROIs.clusterUIDs.csv``.
    auth : (user, password), optional
        By default those of ``MESODASK_MIRROR_USER`` and ``MESODASK_MIRROR_PASSWORD`` in the environment, else netrc's.
    refresh : bool
        Download what is here already, too.
    n_workers : int
        Most requests at a time.
    retries : int
        How often a failure that may pass is tried again.
    timeout : (float, float)
        Longest wait for a connection and for the next bytes, in s.
    backoff : float
        Wait before the first retry, in s; doubled for each further one.
    progress : callable(stage, done, total), optional
        Called as the work goes on; the totals grow as folders are found.

    Returns
    -------
    MirrorSummary
        Failures of single files are in it and raise nothing.

    Raises
    ------
    SettingsError
        A subject that is no plain name, an address that cannot be used (also one with a user name or password in it),
        a file in place of the local folder.
    AccessError
        The server answers 401 or 403.
    SessionNotFoundError
        The server has no such subject, or no ``ROICaT`` folder.
    StoreError
        A file cannot be written: a full disk, or a folder that is another's.

    Examples
    --------
    >>> mirror_cluster_uids("SP072", "https://lab.example/data", "~/chronic_csv")  # doctest: +SKIP
    MirrorSummary(subject='SP072', ..., found=160, copied=160, kept=0, ...)
    >>> mirror_cluster_uids("../SP072", "https://lab.example/data", "~/chronic_csv")
    Traceback (most recent call last):
    mesodask.errors.SettingsError: subject: '../SP072' is no plain name of letters, digits, '_', '-' and '.'
    """
    if not SUBJECT.fullmatch(subject):
        raise SettingsError(f"subject: {subject!r} is no plain name of letters, digits, '_', '-' and '.'")
    if not (1 <= n_workers <= MOST_WORKERS and 0 <= retries <= MOST_RETRIES):
        raise SettingsError(
            f"n_workers {n_workers} and retries {retries}; expected at least 1 and at least 0, at most "
            f"{MOST_WORKERS} and {MOST_RETRIES}"
        )
    root = expanded(to)
    if root.exists() and not root.is_dir():
        raise SettingsError(f"to: {root} is a file; expected a folder")
    tree = _tree(url)
    credentials = web.find_credentials(tree, auth)
    _warn_if_clear(tree, credentials)
    stop = threading.Event()
    connect = partial(web.Reader, credentials=credentials, retries=retries, timeout=timeout, backoff=backoff, stop=stop)
    base = resolved(root)
    copier = _Copier(tree / subject, base, base / TREE / subject, refresh)
    with connect(tree / subject) as reader:
        first = copier.work(reader, ())
    if first.reason == ABSENT:
        with connect(tree) as reader:
            raise _unknown_subject(reader, subject)
    if first.kind == "empty":
        raise SessionNotFoundError(f"{copier.url(())}: no session in this folder; expected folders such as 2025-01-13/")
    outcomes = [first]
    if first.children:
        outcomes += work_off(
            first.children,
            copier.work,
            connect=partial(connect, tree / subject),
            n_threads=n_workers,
            stop=stop,
            report=partial(_report, progress or (lambda *_: None)),
        )
    return _summary(subject, copier, outcomes)


def _tree(url: str) -> Place:
    try:
        place = Place.of(url)
    except ValueError as error:
        hint = "; credentials are taken from the environment, netrc or a prompt" if "password" in str(error) else ""
        # not even the address: a password may be in it
        raise SettingsError(f"url: the address {error}{hint}") from None
    return place if place.names[-1:] == (TREE,) else place / TREE


def _warn_if_clear(tree: Place, credentials: web.Credentials) -> None:
    if credentials.auth is not None and tree.scheme == "http" and tree.host not in ("localhost", "127.0.0.1", "::1"):
        logger.warning("%s: user name and password go to the server in the clear; use https if it can", tree.server)


def _unknown_subject(reader: web.Reader, subject: str) -> SessionNotFoundError:
    """Say that the server has no such subject, and which it has."""
    url = reader.tree.url(folder=True)
    try:
        page = reader.read(reader.tree, limit=MAX_PAGE, folder=True)
        known = sorted(filter(SUBJECT.fullmatch, page.child_names())) if page.status == 200 else None
    except web.FetchError:
        known = None
    if known is None:
        return SessionNotFoundError(f"{url}: no such folder on the server; the url is of the folder that holds {TREE}")
    shown = ", ".join(known[:8]) + (f", ... ({len(known)} in all)" if len(known) > 8 else "")
    return SessionNotFoundError(f"{url}: no subject {subject!r} on the server; subjects there: {shown or 'none'}")


class _Copier:
    """Does the work on one folder: gives its subfolders or, for a field of view, copies its file.

    Parameters
    ----------
    tree : Place
        The subject's folder on the server.
    base : pathlib.Path
        Local folder, without links in it, that nothing is written outside of.
    folder : pathlib.Path
        The subject's folder below it.
    refresh : bool
        Download what is here already, too.
    """

    def __init__(self, tree: Place, base: Path, folder: Path, refresh: bool) -> None:
        self.tree = tree
        self.folder = folder
        self._base = base
        self._refresh = refresh

    def url(self, names: Names) -> str:
        """Address of a folder or, for a field of view, of its file."""
        is_folder = len(names) < len(LEVELS)
        return self._place(names).url(folder=is_folder)

    def _place(self, names: Names) -> Place:
        place = self.tree
        for name in names if len(names) < len(LEVELS) else (*names, CLUSTER_FILE):
            place /= name
        return place

    def work(self, reader: web.Reader, names: Names) -> _Outcome:
        """Do one folder; what goes wrong with it alone is its outcome."""
        try:
            return self._enter(reader, names) if len(names) < len(LEVELS) else self._copy(reader, names)
        except web.FetchError as error:
            return _Outcome(names, "failed", reason=str(error))
        except OSError as error:  # the disk's; a full one is told by an open file, which has no name
            file = error.filename or self.folder.joinpath(*names, CLUSTER_FILE)
            raise StoreError(
                f"{file}: cannot be written ({error.strerror}); make space, or choose another `to`"
            ) from error

    def _enter(self, reader: web.Reader, names: Names) -> _Outcome:
        page = reader.read(self._place(names), limit=MAX_PAGE, folder=True)
        if page.status != 200:
            raise web.FetchError(f"the server answers {page.status}")
        fitting = sorted(filter(LEVELS[len(names)].fullmatch, page.child_names()))
        return _Outcome(names, "entered" if fitting else "empty", tuple((*names, name) for name in fitting))

    def _copy(self, reader: web.Reader, names: Names) -> _Outcome:
        target = self.folder.joinpath(*names, CLUSTER_FILE)
        self._check_inside(target.parent)
        partials.remove_partial(target.parent, CLUSTER_FILE)
        place = self._place(names)
        if not self._refresh and _is_current(target, reader, place):
            return _Outcome(names, "kept")
        reply = reader.read(place, limit=MAX_FILE)
        if reply.status == 404:
            if target.exists():
                logger.warning("%s: no longer on the server; the copy here is left as it is", target)
            return _Outcome(names, "missing")
        if reply.status != 200:
            raise web.FetchError(f"the server answers {reply.status}")
        if reply.is_html:
            raise web.FetchError("a web page in place of cluster UIDs (Content-Type is HTML)")
        if flaw := find_flaw(reply.body):
            raise web.FetchError(flaw)
        _write(target, reply)
        return _Outcome(names, "copied", n_bytes=len(reply.body))

    def _check_inside(self, folder: Path) -> None:
        try:
            real = resolved(folder)
        except SettingsError as error:  # links in a circle
            raise web.FetchError(f"{folder} cannot be resolved; nothing is written there") from error
        if not real.is_relative_to(self._base):
            raise web.FetchError(f"{folder} is or lies behind a link out of {self._base}; nothing is written there")


def _is_current(target: Path, reader: web.Reader, place: Place) -> bool:
    """Tell whether a local file is in order and no older and no other size than the server's, where it says."""
    if not target.is_file() or find_flaw(target.read_bytes()):
        return False
    told = reader.ask(place)
    if told.status in (405, 501):  # the server answers no such question
        return True
    here = target.stat()
    return (
        told.status == 200
        and not told.is_html
        and told.length in (None, here.st_size)
        and (told.modified is None or told.modified <= here.st_mtime)
    )


def _write(target: Path, reply: web.Reply) -> None:
    """Write a file in one step: under a temporary name beside it, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = partials.partial_of(target)
    try:
        temporary.write_bytes(reply.body)
        if reply.modified is not None:  # the server's clock may be ahead of ours; compare its times to its own
            os.utime(temporary, (reply.modified, reply.modified))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def find_flaw(body: bytes) -> str:
    r"""Say what keeps a body from being a cluster-UID file: one UID or blank a row, no header.

    Parameters
    ----------
    body : bytes
        The whole file.

    Returns
    -------
    str
        "" if it is one.

    Examples
    --------
    >>> find_flaw(b"2f1c3f6e-5d0e-4f0b-9a53-0b2f0f3d5b6c\n\n")
    ''
    >>> find_flaw(b"\n<!DOCTYPE html>")
    'a web page in place of cluster UIDs'
    >>> find_flaw(b"\nuuids\n")
    "row 2 is 'uuids'; expected a UID or a blank row"
    """
    if not body:
        return "an empty body; expected one row for every ROI"
    try:
        text = body.decode("utf-8-sig")  # as io.roicat reads it
    except UnicodeDecodeError as error:
        return f"no text: byte {error.start} is no UTF-8"
    if text.lstrip().startswith("<"):
        return "a web page in place of cluster UIDs"
    for row, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
        uid = line.strip().strip('"')
        if uid and not UID.fullmatch(uid):
            return f"row {row} is {line[:40]!r}; expected a UID or a blank row"
    return ""


def _report(progress: Progress, known: Sequence[Names], outcomes: Sequence[_Outcome]) -> None:
    files = sum(len(names) == len(LEVELS) for names in known)
    done = sum(len(outcome.names) == len(LEVELS) for outcome in outcomes)
    progress("folders", len(outcomes) - done, len(known) - files)
    if files:
        progress("files", done, files)


def _summary(subject: str, copier: _Copier, outcomes: list[_Outcome]) -> MirrorSummary:
    def of(kind: str) -> list[_Outcome]:
        return sorted((o for o in outcomes if o.kind == kind), key=lambda o: o.names)

    return MirrorSummary(
        subject=subject,
        folder=copier.folder,
        found=sum(len(o.names) == len(LEVELS) for o in outcomes),
        copied=len(of("copied")),
        kept=len(of("kept")),
        n_bytes=sum(o.n_bytes for o in outcomes),
        missing=tuple("/".join(o.names) for o in of("missing")),
        empty=tuple("/".join(o.names) for o in of("empty")),
        failed=tuple(Failure(copier.url(o.names), o.reason) for o in of("failed")),
    )
