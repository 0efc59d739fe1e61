"""Where stores lie: ``data/`` for session stores, ``decoding/`` for runs, both below the cache folder."""

import uuid
from pathlib import Path
from typing import Any

from mesodask.errors import SettingsError
from mesodask.io.folders import expanded

RECORD = ".analysis.yaml"  # ending of the record of an analysis


def cache_folder(cache_dir: str | Path | None, one: Any = None) -> Path:
    """Give the folder of all stores.

    Parameters
    ----------
    cache_dir : path-like or None
        Taken as it is if given.
    one : One
        Else the folder is ``<ONE.cache_dir>/meso``.

    Raises
    ------
    SettingsError
        Neither is given, or a file stands where the folder should be.
    """
    if cache_dir is None and one is None:
        raise SettingsError("cache_dir: neither a cache folder nor a ONE is given")
    folder = expanded(cache_dir) if cache_dir is not None else Path(one.cache_dir) / "meso"
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"cache_dir: {folder} is a file; expected a folder")
    return folder


def session_store(folder: Path, eid: str, signal: str | None = None) -> Path:
    """Path of a session's store; a signal that was asked for by name has a store of its own name."""
    return session_folder(folder) / (f"{eid}.zarr" if signal is None else f"{eid}_{signal}.zarr")


def is_of_another_session(store: Path, eid: str) -> bool:
    """Tell whether a store's name is that of another session than its own; a name that is no eid tells nothing.

    Examples
    --------
    >>> eid = "2c9ca246-b0ca-3aae-b98c-e90e0cd1ba28"
    >>> is_of_another_session(Path(f"{eid}_corrected.zarr"), eid), is_of_another_session(Path("copy.zarr"), eid)
    (False, False)
    """
    try:
        named = uuid.UUID(store.name[:36])
    except ValueError:
        return False
    return str(named) != eid


def session_folder(folder: Path) -> Path:
    """Folder of the stores of sessions."""
    return folder / "data"


def build_lock(store: Path) -> Path:
    """Lock file of whoever builds a store in one go, as a session's."""
    return store.with_name(f".{store.name}.lock")


def run_lock(store: Path) -> Path:
    """Lock file of a run's driver."""
    return store.with_suffix(".lock")


def run_failures(store: Path) -> Path:
    """File in which a run's driver notes tasks that failed for good, one JSON object a line."""
    return store.with_suffix(".failures.jsonl")


def run_companions(store: Path) -> list[Path]:
    """Files beside a run that belong to it, whether they are there or not: failures, report, figures."""
    return [run_failures(store), store.with_suffix(".html"), store.with_suffix(".png"), pair_figure(store)]


def pair_figure(store: Path) -> Path:
    """Figure of a run in the folder of its figures, which pairs have beside that of their runs."""
    return store.parent.with_name("imgs") / f"{store.stem}.png"


def decoding_folder(folder: Path) -> Path:
    """Folder of the stores of runs."""
    return folder / "decoding"


def pairs_folder(folder: Path, subject: str) -> Path:
    """Folder of the runs of a subject's pairs of sessions: ``res/`` for stores, ``imgs/`` for figures."""
    return decoding_folder(folder) / "pair_summaries" / subject


def cross_session_folder(folder: Path) -> Path:
    """Folder of the stores of cross-session runs."""
    return decoding_folder(folder) / "cross_session"


def imported_folder(folder: Path) -> Path:
    """Folder of the stores of results that were imported."""
    return decoding_folder(folder) / "imported"


def sparseness_folder(folder: Path) -> Path:
    """Folder of the stores of sparseness."""
    return folder / "sparseness"


def folder_of_run(run: Path) -> Path | None:
    """Tell in which cache folder a run lies; None if it was moved out of one.

    Examples
    --------
    >>> folder_of_run(Path("/meso/decoding/cross_session/run.zarr")).as_posix(), folder_of_run(Path("/run.zarr"))
    ('/meso', None)
    """
    return next((folder.parent for folder in run.absolute().parents if folder.name == "decoding"), None)
