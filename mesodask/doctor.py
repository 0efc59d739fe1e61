"""Is this machine ready? Everything that mesodask stands on is looked at or tried, and left as it was."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mesodask.errors import MesodaskError
from mesodask.io import account, alf, cache, disk, roicat
from mesodask.io.folders import expanded

Status = Literal["ok", "warning", "error"]

PATIENCE = 20.0  # s that a check may take: a network drive that is gone answers never
LOGIN_PATIENCE = 5.0  # s for a server
SESSION_BYTES = 2 * 2**30  # of the store of a large session
SUBJECT_BYTES = 20 * SESSION_BYTES
FEW_INODES = 20_000  # free ones; a chunk of a store is a file
LOOKED_FOR = 500  # sessions of which the folder is looked for, so that a large table costs no minute
SLURM_COMMANDS = ("sinfo", "sbatch", "squeue", "scancel")


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "warning", "error"}
        An error keeps mesodask from its work; a warning may matter, or does for a part of it.
    found : str
        What is there.
    mend : str
        What to do; empty where all is well.
    """

    name: str
    status: Status
    found: str
    mend: str = ""


Checks = Iterator[Check]


def check_machine(
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    *,
    patience: float = PATIENCE,
) -> list[Check]:
    """Look whether everything is there that mesodask stands on.

    Python and packages, the ONE folder, the ROICaT tree, the cache folder (space; writing, renaming and locking are
    tried), BLAS, SLURM, the dashboard's port, brainbox and ONE's login. Nothing is asked, installed or left behind,
    no network is needed, and ONE does not log in. A check that fails by itself or does not come to an end is an error
    among the others.

    Parameters
    ----------
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for what ``ONE.setup()`` has stored.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE folder>/meso`` by default.
    roicat_root : path-like, optional
        Holds the ROICaT tree; ``~/chronic_csv`` by default.
    patience : float
        Seconds that one check may take.

    Returns
    -------
    list of Check
        In the order above, one or more for each thing.

    Examples
    --------
    >>> checks = check_machine()
    >>> [check.status for check in checks if check.name == "python"]
    ['ok']
    """
    checks: dict[str, Callable[[], Checks]] = {
        "python": check_python,
        "packages": check_packages,
        "ONE folder": partial(check_one_folder, one),
        "ROICaT tree": partial(check_roicat_tree, roicat_root),
        "cache folder": partial(check_cache_folder, cache_dir, one),
        "BLAS": check_blas,
        "SLURM": check_slurm,
        "dashboard": check_dashboard,
        "brainbox": check_brainbox,
        "ONE login": partial(check_login, one),
    }
    return [line for name, check in checks.items() for line in answered(name, check, patience)]


def answered(name: str, check: Callable[[], Checks], patience: float) -> list[Check]:
    """Collect what a check yields; one that raises, or takes too long, ends with an error line.

    Examples
    --------
    >>> answered("sums", lambda: iter([Check("sums", "ok", str(1 // 0))]), 5.0)[0].found
    'the check failed (ZeroDivisionError: integer division or modulo by zero)'
    """
    lines: list[Check] = []

    def collect() -> None:
        try:
            lines.extend(check())
        except MesodaskError as error:
            mend = "mend what it names, or name another one with --one, --cache-dir or --roicat-root"
            lines.append(Check(name, "error", str(error), mend))
        except Exception as error:
            problem = f"the check failed ({type(error).__name__}: {error})"
            lines.append(Check(name, "error", problem, "mend what it names; if it is mesodask's fault, report it"))

    # a daemon: one that hangs on a dead drive keeps nobody waiting at the end
    thread = threading.Thread(target=collect, name=f"check of {name}", daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        problem = f"no answer within {patience:g} s"
        return [*lines, Check(name, "error", problem, "look whether a network drive or a server hangs")]
    return lines


# python and packages ------------------------------------------------------------------------------------------


def check_python() -> Checks:
    """Compare the version of Python with what mesodask asks for."""
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    wanted = importlib.metadata.metadata("mesodask")["Requires-Python"]
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield Check("python", "ok", f"{version} ({wanted} needed)")
    else:
        yield Check("python", "error", f"{version}; mesodask needs {wanted}", f"install Python {wanted}")


def check_packages() -> Checks:
    """Compare the version of each package with what mesodask asks for."""
    from packaging.requirements import Requirement

    good = []
    for text in importlib.metadata.requires("mesodask") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        install = f"pip install '{needed.name}{needed.specifier}'"
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check("packages", "error", f"{needed.name} is not installed; {needed.specifier} needed", install)
            continue
        if needed.specifier.contains(version, prereleases=True):
            good.append(f"{needed.name} {version}")
        else:
            problem = f"{needed.name} {version} is installed; {needed.specifier} needed"
            yield Check("packages", "error", problem, install)
    yield Check("packages", "ok", f"{len(good)} as needed: {', '.join(sorted(good, key=str.lower))}")


def check_brainbox() -> Checks:
    """Find out which of two packages called brainbox is installed, without importing it."""
    wrong_one = (
        "pip uninstall brainbox, then pip install --force-reinstall --no-deps ibllib if you need IBL's: "
        "it comes with ibllib, never by the name brainbox"
    )
    spec = importlib.util.find_spec("brainbox")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    if spec is None:
        yield Check("brainbox", "ok", "not installed; mesodask does without (IBL's is in the extra mesodask[brainbox])")
    elif not any((folder / "behavior" / "wheel.py").is_file() for folder in folders):
        where = folders[0] if folders else spec.origin
        yield Check("brainbox", "error", f"{where} is the wrong brainbox: another project of this name, and not IBL's",
                    wrong_one)  # fmt: skip
    elif _version("brainbox"):
        problem = (
            f"the wrong brainbox ({_version('brainbox')}, another project) is installed over IBL's in {folders[0]}"
        )
        yield Check("brainbox", "error", problem, wrong_one)
    else:
        yield Check("brainbox", "ok", f"IBL's, of ibllib {_version('ibllib') or 'of unknown version'}, in {folders[0]}")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


# folders ------------------------------------------------------------------------------------------------------


def _one_folder(one: Any) -> Path | None:
    """Folder of a ONE, of which only the user's default may be unknown."""
    if one is None:
        stored = account.default_account()
        return None if stored is None else stored.cache_dir
    return expanded(one) if isinstance(one, (str, Path)) else Path(one.cache_dir)


def check_one_folder(one: Any = None) -> Checks:
    """Open the ONE tables of a folder, and look whether their sessions are on disk."""
    name = "ONE folder"
    folder = _one_folder(one)
    if folder is None:
        yield Check(name, "error", "no --one is given, and no ONE has been set up on this machine",
                    "give --one FOLDER, or run one.api.ONE.setup()")  # fmt: skip
        return
    if one is None and not all((folder / table).is_file() for table in alf.TABLES):
        yield Check(name, "warning", f"{folder} has no ONE tables yet", "go online once: ONE downloads them")
        return
    try:
        sessions = alf.all_sessions(alf.connect(folder))
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
    one_folder = None if cache_dir is not None else _one_folder(one)
    if cache_dir is None and one_folder is None:
        yield Check(name, "warning", "not known without a ONE", "give --cache-dir FOLDER, or --one FOLDER")
        return
    folder = cache.cache_folder(cache_dir if cache_dir is not None else one_folder / "meso")  # type: ignore[operator]
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


# the machine --------------------------------------------------------------------------------------------------


def check_blas() -> Checks:
    """Name the BLAS and OpenMP libraries that are loaded, and their threads."""
    import numpy  # noqa: F401  loading is what matters
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    from mesodask.compute.processes import available_cores

    cores = available_cores()
    libraries = threadpool_info()
    told = {f"{lib['internal_api']} {lib['version'] or ''}".strip(): lib["num_threads"] for lib in libraries}
    words = ", ".join(f"{name} with {n} threads" for name, n in told.items()) + f"; {cores} cores"
    if not any(lib["user_api"] == "blas" for lib in libraries):
        yield Check("BLAS", "warning", "threadpoolctl knows none of those loaded, and cannot limit its threads",
                    "set OMP_NUM_THREADS=1 and VECLIB_MAXIMUM_THREADS=1, or install NumPy by pip")  # fmt: skip
    elif max(told.values()) > cores:
        yield Check("BLAS", "warning", f"{words}: more threads than cores get into each other's way",
                    f"set OMP_NUM_THREADS and OPENBLAS_NUM_THREADS to {cores} or less; workers take 1")  # fmt: skip
    else:
        yield Check("BLAS", "ok", f"{words} (workers take 1)")


def check_slurm() -> Checks:
    """Look for SLURM's commands, and list its queues."""
    missing = [command for command in SLURM_COMMANDS if shutil.which(command) is None]
    if len(missing) == len(SLURM_COMMANDS):
        yield Check("SLURM", "ok", "no SLURM here; work is done by this machine's own cores")
        return
    if missing:
        yield Check("SLURM", "warning", f"{', '.join(missing)} not found on the PATH, though others of SLURM's are",
                    "load SLURM's module, or put all its commands on the PATH")  # fmt: skip
        return
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%P|%a|%l|%D"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    queues = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3]
    if done.returncode or not queues:
        reason = done.stderr.strip().rsplit("\n", 1)[-1] or "it has no queue"
        yield Check("SLURM", "warning", f"SLURM's commands are here, but it does not answer: {reason}",
                    "look whether this machine belongs to a cluster (sinfo); nothing but --cluster slurm needs it",
                    )  # fmt: skip
        return
    words = ", ".join(f"{name} ({state}, at most {limit}, {nodes} nodes)" for name, state, limit, nodes in queues)
    if any(state == "up" for _, state, _, _ in queues):
        yield Check("SLURM", "ok", f"queues (* is the default): {words}")
    else:
        yield Check("SLURM", "warning", f"no queue is up: {words}", "wait, or ask who runs the cluster")


def check_dashboard() -> Checks:
    """Look whether the dashboard's port is free."""
    import dask

    import mesodask.compute.cluster  # noqa: F401  joins mesodask's defaults to Dask's configuration

    port = int(dask.config.get("mesodask.cluster.dashboard-port"))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, past connections that are over
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            yield Check("dashboard", "warning", f"port {port} is taken ({error.strerror})",
                        "nothing, if a run is under way: the next one takes another port, and prints it")  # fmt: skip
            return
    yield Check("dashboard", "ok", f"port {port} of this machine's loopback is free")


def check_login(one: Any = None) -> Checks:
    """Ask ONE's server whether it takes the stored login; nobody is asked for one."""
    name = "ONE login"
    if one is not None:
        yield Check(name, "ok", "not needed: a ONE was given, and what is on disk needs no server")
        return
    stored = account.default_account()
    if stored is None:
        yield Check(name, "warning", "no ONE has been set up on this machine",
                    "run one.api.ONE.setup(), or give --one FOLDER for files on disk")  # fmt: skip
        return
    state, answer = account.login_state(stored, LOGIN_PATIENCE)
    user = stored.user or "nobody"
    log_in = "log in once: one.api.ONE() asks for the password"
    if state == "accepted":
        yield Check(name, "ok", f"{stored.url} takes {user}'s login")
    elif state == "offline":
        yield Check(name, "warning", f"offline: {stored.url} does not answer ({answer})",
                    "sessions on disk need no server; to download others, mend the network or the address")  # fmt: skip
    elif not stored.token:
        yield Check(name, "warning", f"{stored.url} answers, but {user} is not logged in", log_in)
    elif state == "refused":
        yield Check(name, "warning", f"{stored.url} refuses {user}'s stored login ({answer})", log_in)
    else:
        yield Check(name, "warning", f"{stored.url} neither takes nor refuses {user}'s login ({answer})",
                    "look whether the address is that of an Alyx server")  # fmt: skip
