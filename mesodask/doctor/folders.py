"""The folders that mesodask reads and writes: whether they are there, and allow what stores need."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesodask.doctor import account, disk
from mesodask.doctor.check import Check, Checks
from mesodask.errors import MesodaskError
from mesodask.io import alf, alf_sessions, cache, roicat
from mesodask.io.folders import expanded

SESSION_BYTES = 2 * 2**30  # of the store of a large session
SUBJECT_BYTES = 20 * SESSION_BYTES
FEW_INODES = 20_000  # free ones; a chunk of a store is a file
LOOKED_FOR = 500  # sessions of which the folder is looked for, so that a large table costs no minute


def one_folder(one: Any) -> Path | None:
    """Folder of a ONE, of which only the user's default may be unknown."""
    if one is None:
        stored = account.default_account()
        return None if stored is None else stored.cache_dir
    return expanded(one) if isinstance(one, (str, Path)) else Path(one.cache_dir)


def check_one_folder(one: Any = None) -> Checks:
    """Open the ONE tables of a folder, and look whether their sessions are on disk."""
    name = "ONE folder"
    folder = one_folder(one)
    if folder is None:
        yield Check(name, "error", "no --one is given, and no ONE has been set up on this machine",
                    "give --one FOLDER, or run one.api.ONE.setup()")  # fmt: skip
        return
    if one is None and not all((folder / table).is_file() for table in alf.TABLES):
        yield Check(name, "warning", f"{folder} has no ONE tables yet", "go online once: ONE downloads them")
        return
    try:
        sessions = alf_sessions.all_sessions(alf.connect(folder))
    except MesodaskError as error:
        yield Check(name, "error", str(error), "give --one FOLDER with the folder that holds your ALF data")
        return
    looked = sessions[:LOOKED_FOR]
    gone = [session for session in looked if not session.path.is_dir()]
    told = f"{folder}: sessions {len(sessions)}, subjects {len({session.subject for session in sessions})}"
    if not sessions:
        yield Check(name, "warning", f"{folder}: the ONE tables hold no session",
                    "index the folder with mesodask.io.alf.write_one_tables(folder)")  # fmt: skip
    elif not gone:
        yield Check(name, "ok", told)
    elif one is None:  # what is not here is downloaded
        yield Check(name, "ok", f"{told}; {len(gone)} of {len(looked)} are not on disk and would be downloaded")
    else:
        problem = f"{told}; {len(gone)} of {len(looked)} are not on disk, e.g. {gone[0].relative}"
        mend = "copy them here, or index the folder anew with mesodask.io.alf.write_one_tables(folder)"
        yield Check(name, "warning", problem, mend)


def check_roicat_tree(roicat_root: str | Path | None = None) -> Checks:
    """Look for the ROICaT tree, and for a cluster-UID file of each subject in it."""
    name = "ROICaT tree"
    mend = "mesodask mirror SUBJECT --url ADDRESS copies it from a server; --roicat-root FOLDER names another"
    root = roicat.roicat_folder(roicat_root)
    tree = root / roicat.TREE
    if not tree.is_dir():
        problem = f"no {tree}: neurons are tracked across days only where UID files lie beside the ALF files"
        yield Check(name, "warning", problem, mend)
        return
    subjects = sorted(folder for folder in tree.iterdir() if folder.is_dir())
    empty = [s.name for s in subjects if next(s.glob(f"*/*/alf/FOV_*/{roicat.CLUSTER_FILE}"), None) is None]
    if not subjects:
        yield Check(name, "warning", f"{tree} is empty", mend)
    elif empty:
        problem = f"{tree}: no <date>/<number>/alf/FOV_XX/{roicat.CLUSTER_FILE} of {', '.join(empty[:5])}"
        yield Check(name, "warning", problem, mend)
    else:
        yield Check(name, "ok", f"{tree}: subjects {len(subjects)}")


def check_cache_folder(cache_dir: str | Path | None = None, one: Any = None) -> Checks:
    """Look for space in the folder of all stores; write, rename and lock there, and clean up."""
    name = "cache folder"
    of_one = None if cache_dir is not None else one_folder(one)
    if cache_dir is None and of_one is None:
        yield Check(name, "warning", "not known without a ONE", "give --cache-dir FOLDER, or --one FOLDER")
        return
    folder = cache.cache_folder(cache_dir if cache_dir is not None else of_one / "meso")  # type: ignore[operator]
    # it is made when it is needed: until then, what matters is the folder that it will be made in
    place = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    if not place.is_dir():
        yield Check(name, "error", f"{place} is a file; expected a folder", "give --cache-dir FOLDER")
        return
    yield from _space(f"{name}: space", place)
    try:
        with tempfile.TemporaryDirectory(prefix=".mesodask-doctor-", dir=place) as made:
            yield from _tried(Path(made), place)
    except OSError as error:
        yield Check(f"{name}: write", "error", f"{place}: a folder in it cannot be made or removed ({error.strerror})",
                    "make the folder writable, make space, or give --cache-dir FOLDER")  # fmt: skip


def _space(name: str, place: Path) -> Checks:
    free = shutil.disk_usage(place).free
    told = f"{place}: {free / 2**30:.1f} GiB free"
    mend = "make space, or give --cache-dir with a folder on a larger disk; mesodask ndc --dry-run tells what it takes"
    inodes = os.statvfs(place) if hasattr(os, "statvfs") else None
    if free < SESSION_BYTES // 2:
        yield Check(name, "error", f"{told}; a session takes about {SESSION_BYTES / 2**30:.0f} GiB", mend)
    elif inodes is not None and inodes.f_files > 0 and inodes.f_favail < FEW_INODES:
        yield Check(name, "warning", f"{told}, but for {inodes.f_favail} files only; a run has thousands", mend)
    elif free < SUBJECT_BYTES:
        yield Check(name, "warning", f"{told}; a subject of 20 large sessions takes {SUBJECT_BYTES / 2**30:.0f}", mend)
    else:
        yield Check(name, "ok", told)


def _tried(folder: Path, place: Path) -> Checks:
    """Do what stores do, in a folder of its own."""
    trials: dict[str, Callable[[Path], str]] = {"write": disk.write, "rename": disk.rename, "lock": disk.lock}
    for what, trial in trials.items():
        try:
            yield Check(f"cache folder: {what}", "ok", trial(folder))
        except (OSError, MesodaskError) as error:
            reason = getattr(error, "strerror", None) or error
            yield Check(f"cache folder: {what}", "error", f"{place}: {what} failed ({reason})",
                        "give --cache-dir with a folder on another disk, or ask who runs this one")  # fmt: skip
