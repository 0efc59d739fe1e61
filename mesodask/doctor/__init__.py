"""Is this machine ready? Everything that mesodask stands on is looked at or tried, and left as it was."""

import importlib.metadata
import importlib.util
import platform
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mesodask.doctor import account
from mesodask.doctor.check import Check, Checks
from mesodask.doctor.folders import check_cache_folder, check_one_folder, check_roicat_tree
from mesodask.errors import MesodaskError

PATIENCE = 20.0  # s that a check may take: a network drive that is gone answers never
LOGIN_PATIENCE = 5.0  # s for a server
SLURM_COMMANDS = ("sinfo", "sbatch", "squeue", "scancel")


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
