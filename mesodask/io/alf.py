"""A session's files through ONE: finding sessions, listing their fields of view, reading arrays.

This is the only module that imports ``one``. It asks ONE which files a session has and where they lie (an online ONE
downloads what is missing), and reads the files itself, so that a file that is not as it should be is named.
"""

import contextlib
import re
import sys
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mesodask.errors import DataError, SessionNotFoundError
from mesodask.io import alf_sessions, downloads, sources
from mesodask.io.folders import expanded, resolved
from mesodask.io.npy import read_npy
from mesodask.io.one_faults import TABLES, naming_tables, quiet_one
from mesodask.io.whole_files import written_whole

FOV_COLLECTION = re.compile(r"^alf/(FOV_\d+)$")
REVISION = re.compile(r"#([^#/]+)#/")  # a folder within a collection
EID_NAMESPACE = uuid.UUID("6f0b7b0e-6d1c-3c39-9a53-0b2f0f3d5b6c")
DEFAULTS = "default_revision"  # column of the datasets


def connect(one: Any = None) -> Any:
    """Find the ONE that is meant.

    Parameters
    ----------
    one : One, path-like or None
        An instance is given back as it is; a folder with ONE tables is opened without a network; None is the user's
        default ONE, as set up with ``ONE.setup()``.

    Returns
    -------
    one.api.One

    Raises
    ------
    SessionNotFoundError
        The folder does not exist, holds no ONE tables, or no default has been set up.
    """
    if one is None:
        return _with_tables(_default_one())
    if not isinstance(one, (str, Path)):
        return _with_tables(one)
    from one.api import One

    folder = expanded(one)
    if not folder.is_dir():
        raise SessionNotFoundError(f"{folder}: no such folder; give the folder that holds your ALF data")
    missing = [name for name in TABLES if not (folder / name).is_file()]
    if missing:
        raise SessionNotFoundError(
            f"{folder}: no ONE tables here ({' and '.join(missing)} missing). If the folder holds "
            "<lab>/Subjects/<subject>/<date>/<number>/alf, index it once with "
            "mesodask.io.alf.write_one_tables(folder)"
        )
    try:
        return One(cache_dir=folder.resolve(), mode="local")
    except Exception as error:  # whatever ONE and pyarrow raise on a damaged table
        raise SessionNotFoundError(f"{folder}: the ONE tables cannot be read ({error})") from error


def _with_tables(one: Any) -> Any:
    """Let an online ONE, which asks its server for everything, know what its tables on disk say."""
    if one.mode != "local" and len(one._cache["datasets"]) == 0:
        from one.api import One

        tables = Path(one._tables_dir or one.cache_dir)
        if all((tables / name).is_file() for name in TABLES):
            One.load_cache(one)  # its own would ask the server for newer ones
    datasets = one._cache["datasets"]
    if len(datasets) == 0 and DEFAULTS not in datasets.columns:
        datasets[DEFAULTS] = np.zeros(0, dtype=bool)  # else ONE forgets which of the revisions a server calls default
    return one


def _default_one() -> Any:
    import one.params
    from one.api import ONE

    if one.params.get_default_client() is None:
        raise SessionNotFoundError(
            "no ONE has been set up on this machine: pass one=FOLDER (--one FOLDER), or run one.api.ONE.setup()"
        )
    with contextlib.redirect_stdout(sys.stderr):  # it greets; stdout is for results
        return ONE()


class SessionFiles:
    """The files of one session, as ONE knows them.

    Parameters
    ----------
    one : One
        See :func:`connect`.
    eid : str
        Experiment id.

    Attributes
    ----------
    info : SessionInfo
        Who, when and where the session is.
    """

    def __init__(self, one: Any, eid: str) -> None:
        self._one = one
        self.info = alf_sessions.session_info(one, eid)
        key = uuid.UUID(self.info.eid)
        with naming_tables(one):
            datasets = one._cache["datasets"]
            known = datasets.index.get_level_values(0) if len(datasets) and DEFAULTS in datasets.columns else ()
            where = "local" if key in known else None  # what stands in the tables needs no server
            with contextlib.nullcontext() if where or one.offline else alf_sessions.asking(one):
                table = one.list_datasets(key, details=True, default_revisions_only=True, query_type=where)
            if len(table):
                table = table[table[DEFAULTS]]  # of what a server has answered ONE leaves the others in
            self._datasets: dict[str, list[str]] = {}
            for rel_path in table["rel_path"]:
                self._datasets.setdefault(_without_revision(rel_path), []).append(rel_path)
        self._asked_for: dict[str, Path] = {}

    def fov_names(self) -> list[str]:
        """Names of the fields of view, sorted; their order is the order of the rows of the session store.

        Raises
        ------
        DataError
            The session has no ``alf/FOV_XX`` folder with files, or one on disk of which ONE knows no file.
        """
        names = fovs_of(self._datasets)
        for folder in sorted((self.info.path / "alf").glob("FOV_*")):
            # without it the rows of all later FOVs would be others
            if FOV_COLLECTION.match(f"alf/{folder.name}") and folder.name not in names:
                raise DataError(
                    "ONE knows no file in this folder; expected mpci.times.npy and others. Remove the folder if it is "
                    "empty, or index its files with mesodask.io.alf.write_one_tables",
                    folder,
                )
        if not names:
            raise DataError("no field of view: expected files in alf/FOV_00, alf/FOV_01, ...", self.info.path)
        return names

    def names(self, collection: str) -> list[str]:
        """List the file names of a collection, sorted."""
        prefix = f"{collection}/"
        return sorted(n.removeprefix(prefix) for n in self._datasets if n.rsplit("/", 1)[0] == collection)

    def collections(self) -> list[str]:
        """List the collections of the session, sorted."""
        return sorted({name.rsplit("/", 1)[0] for name in self._datasets if "/" in name})

    def has(self, collection: str, name: str) -> bool:
        """Tell whether ONE lists this file.

        Raises
        ------
        DataError
            It does not, since a folder stands in the place of the file.
        """
        is_listed = f"{collection}/{name}" in self._datasets
        if not is_listed and (self.info.path / collection / name).is_dir():
            raise DataError("is a folder; expected a file, or nothing here", self.info.path / collection / name)
        return is_listed

    def default(self, rel_path: str) -> str | None:
        """Give the path, within the session, of a file's default revision; None if the session has no such file.

        Parameters
        ----------
        rel_path : str
            Path of the file within the session, of any revision or none.

        Raises
        ------
        DataError
            ONE calls several of its revisions the default.
        """
        listed = self._datasets.get(_without_revision(rel_path), [None])
        if len(listed) > 1:
            raise DataError(
                f"ONE calls {len(listed)} revisions of this file the default: {', '.join(sorted(map(str, listed)))}; "
                "expected one. Index the folder again with mesodask.io.alf.write_one_tables, which takes the newest",
                self.info.path / _without_revision(rel_path),
            )
        return listed[0]

    def path(self, collection: str, name: str) -> Path:
        """Give the file's path; an online ONE downloads it first if it is not on disk.

        Raises
        ------
        DataError
            The session has no such file, or ONE lists it and it is not to be had.
        """
        relative = self.default(f"{collection}/{name}")
        if relative is None:
            raise DataError("file is missing from the session", self.info.path / collection / name)
        path = self.info.path / relative
        if not path.exists():
            with downloads.counted(0 if self._one.offline else 1) as one_more:
                path = self._download(relative)
                one_more()
        self._asked_for[relative] = path
        return path

    def fetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Download some files at once, so that :func:`mesodask.io.downloads.told` knows how many there are.

        Parameters
        ----------
        wanted : iterable of (collection, name)
            Those that are on disk already, and those that ONE does not list, are passed over.

        Raises
        ------
        DataError
            One of them is not to be had.
        """
        if self._one.offline:  # what is missing is said when it is read
            return
        listed = dict.fromkeys(self.default(f"{collection}/{name}") for collection, name in wanted)
        missing = [relative for relative in listed if relative and not (self.info.path / relative).exists()]
        with downloads.counted(len(missing)) as one_more:
            for relative in missing:
                self._download(relative)
                one_more()

    def _download(self, relative: str) -> Path:
        with quiet_one(self._one):
            try:
                # it is listed: a server need not be asked again for every file
                where = "local" if DEFAULTS in self._one._cache["datasets"].columns else None
                found = self._one.load_dataset(
                    uuid.UUID(self.info.eid), relative, download_only=True, check_hash=False, query_type=where
                )
            except Exception as error:
                path = self.info.path / relative
                raise DataError(
                    f"file is missing: listed in the ONE tables, but not to be had ({error})", path
                ) from error
        return Path(found)

    def sources(self) -> dict[str, dict[str, Any]]:
        """Describe every file whose path was asked for, by its path within the session.

        See :func:`mesodask.io.sources.describe`.
        """
        return {relative: sources.describe(path) for relative, path in sorted(self._asked_for.items())}

    def array(self, collection: str, name: str, *, ndim: int | tuple[int, ...], kind: str) -> np.ndarray:
        """Open an ``.npy`` file as a read-only memory map.

        Parameters
        ----------
        collection, name : str
            Folder within the session and file name.
        ndim : int or tuple of int
            Allowed numbers of dimensions.
        kind : str
            Allowed kinds of dtype, e.g. ``"f"`` or ``"iu"`` (see ``numpy.dtype.kind``).

        Raises
        ------
        DataError
            The file is missing, no ``.npy``, shorter or longer than its header says, or of another dtype or number of
            dimensions.
        """
        return read_npy(self.path(collection, name), ndim=ndim, kind=kind)


def fovs_of(rel_paths: Iterable[str]) -> list[str]:
    """List the fields of view that files belong to, sorted.

    Examples
    --------
    >>> fovs_of(["alf/FOV_01/mpci.times.npy", "alf/FOV_00/#2025-03-01#/mpci.times.npy", "alf/task_00/wheel.npy"])
    ['FOV_00', 'FOV_01']
    """
    folders = {_without_revision(rel_path).rpartition("/")[0] for rel_path in rel_paths}
    return sorted(match[1] for folder in folders if (match := FOV_COLLECTION.match(folder)))


def _without_revision(rel_path: str) -> str:
    return REVISION.sub("", rel_path)


def write_one_tables(folder: str | Path) -> list[str]:
    """Index a folder of ALF sessions, so that ONE finds them without a network.

    Every session gets the eid ``uuid3(namespace, "lab/subject/date/number")``, so that ids are the same each time and
    on each machine. Of a file with revisions (folders ``#2025-03-01#``) the newest is the default, by name.

    Parameters
    ----------
    folder : path-like
        Holds ``<lab>/Subjects/<subject>/<date>/<number>/alf``; ``sessions.pqt`` and ``datasets.pqt`` are written here.

    Returns
    -------
    list of str
        The eids, in the order of (lab, subject, date, number).

    Raises
    ------
    SessionNotFoundError
        There is no session in the folder.
    DataError
        A file in it has a name that ONE does not read, or cannot be looked at; or there are tables already by which
        sessions have other eids, such as those of a server.
    """
    from iblutil.io import parquet

    root = resolved(folder)
    if not root.is_dir() or next(root.glob("*/Subjects/*/*-*-*/*/alf"), None) is None:
        raise SessionNotFoundError(f"{root}: no <lab>/Subjects/<subject>/<date>/<number>/alf in this folder")
    _check_own(root)
    sessions, datasets, about = _indexed(root)
    names = _names(sessions)
    eids = names.map(_own_eid)
    sessions.index = pd.Index(eids.to_numpy(dtype=object), name="id")
    owner = datasets.index.get_level_values("eid").map(eids.to_dict())
    ids = [str(uuid.uuid3(EID_NAMESPACE, f"{e}/{r}")) for e, r in zip(owner, datasets["rel_path"], strict=True)]
    datasets.index = pd.MultiIndex.from_arrays([owner.to_numpy(dtype=object), ids], names=["eid", "id"])
    # without a hash ONE does not read every file to compare it
    datasets["hash"] = None
    plain = datasets["rel_path"].map(_without_revision).to_numpy()
    revision = datasets["rel_path"].str.extract(REVISION, expand=False).fillna("")
    datasets[DEFAULTS] = revision == revision.groupby([owner, plain]).transform("max")
    for name, table in zip(TABLES, (sessions, datasets), strict=True):
        with written_whole(root / name) as file:
            parquet.save(file, table.sort_index(), about)
    return list(eids[names.sort_values().index])


def _indexed(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Let ONE look at the files; give its tables of sessions and datasets, with ids by chance, and what it notes."""
    from iblutil.io import parquet
    from one.alf.cache import make_parquet_db

    try:
        with tempfile.TemporaryDirectory() as aside:
            (sessions, about), (datasets, _) = (parquet.load(path) for path in make_parquet_db(root, out_dir=aside))
    except Exception as error:  # of names that are not ALF's, and of what cannot be looked at
        folders = root.glob("*/Subjects/*/*-*-*/*")
        empty = [str(path) for path in folders if not any(file.is_file() for file in path.glob("alf/**/*"))]
        raise DataError(
            f"the sessions in it cannot be indexed ({type(error).__name__}: {error}); mend or remove what this names"
            + (f", or the sessions without a file in alf: {', '.join(empty)}" if empty else ""),
            root,
        ) from error
    return sessions, datasets, about


def _names(sessions: pd.DataFrame) -> pd.Series:
    """Name sessions lab/subject/date/number."""
    parts = sessions[["lab", "subject", "date", "number"]].astype(str)
    return parts.apply(lambda row: "/".join([*row.iloc[:3], row["number"].zfill(3)]), axis=1)


def _own_eid(name: str) -> str:
    return str(uuid.uuid3(EID_NAMESPACE, name))


def _check_own(root: Path) -> None:
    """Raise :class:`DataError` if tables that are there give sessions other eids: stores and runs are named by them."""
    file = root / "sessions.pqt"
    try:
        known = pd.read_parquet(file)
        foreign = int((_names(known).map(_own_eid) != known.index.astype(str)).sum())
    except Exception:  # there are none, or they are damaged, and new ones are asked for because of that
        return
    if foreign:
        raise DataError(
            f"{foreign} of its {len(known)} sessions have eids of another source, such as a server, by which stores "
            "and runs are named; new tables would give them others. Keep these tables; or, where nothing is named by "
            f"them, move {' and '.join(TABLES)} away and call again",
            file,
        )
