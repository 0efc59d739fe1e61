"""Trials and wheel of a session."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mesodask.errors import DataError
from mesodask.io.alf import SessionFiles
from mesodask.io.npy import read_npy

logger = logging.getLogger(__name__)

TASK_COLLECTION = re.compile(r"^alf(/task_\d+)?$")
TABLE = "_ibl_trials.table.pqt"
WHEEL_FILES = ("_ibl_wheel.timestamps.npy", "_ibl_wheel.position.npy")
# what a trials table must have to be of use to any decoding target
NEEDED_COLUMNS = ("choice", "feedbackType", "contrastLeft", "contrastRight", "probabilityLeft")


def trials_collection(files: SessionFiles, collection: str | None = None) -> str | None:
    """Find the collection that holds the trials of the choice world task.

    Parameters
    ----------
    files : SessionFiles
        The session.
    collection : str, optional
        Takes this one; needed where several qualify.

    Returns
    -------
    str or None
        ``alf`` or ``alf/task_NN``; None if the session has no trials.

    Raises
    ------
    DataError
        Two collections hold trials with biased blocks, or the one asked for holds none.
    """
    holding = collections_with_trials(files)
    if collection is not None:
        if collection not in holding:
            raise DataError(
                f"no trials in collection {collection!r}; trials are in: {', '.join(holding) or 'none'}",
                files.info.path,
            )
        return collection
    if len(holding) <= 1:
        return holding[0] if holding else None
    biased = [c for c in holding if has_blocks(_read_columns(files, c)[0])]
    if len(biased) == 1:
        return biased[0]
    first = (biased or holding)[0]
    raise DataError(
        f"trials in {' and '.join(holding)}, of which {len(biased)} have biased blocks; expected 1. Choose with "
        f'collection="{first}"; where many sessions are read, embed this one first: '
        f"mesodask embed {files.info.eid} --collection {first}",
        files.info.path,
    )


def files_of(files: SessionFiles) -> list[tuple[str, str]]:
    """Name the collection and name of all files of trials and wheels that a session has."""
    kinds = (TABLE, *WHEEL_FILES)
    return [(c, n) for c in _task_collections(files) for n in (*kinds, *_attributes(files, c)) if files.has(c, n)]


def collections_with_trials(files: SessionFiles) -> list[str]:
    """List the collections that hold trials of any task, sorted."""
    return [c for c in _task_collections(files) if _attributes(files, c) or files.has(c, TABLE)]


def _task_collections(files: SessionFiles) -> list[str]:
    return [c for c in files.collections() if TASK_COLLECTION.match(c)]


def _attributes(files: SessionFiles, collection: str) -> list[str]:
    prefix, suffix = "_ibl_trials.", ".npy"
    return [n for n in files.names(collection) if n.startswith(prefix) and n.endswith(suffix)]


def has_blocks(trials: dict[str, np.ndarray]) -> bool:
    """Tell whether trials have biased blocks of both sides: probabilityLeft is 0.2 in some and 0.8 in others."""
    probability = trials.get("probabilityLeft", np.zeros(0))
    return bool(np.isclose(probability, 0.2).any() and np.isclose(probability, 0.8).any())


def read_trials(files: SessionFiles, collection: str | None = None) -> dict[str, np.ndarray]:
    """Read the trials: the table, and the attributes that lie beside it as ``.npy`` files.

    Parameters
    ----------
    files : SessionFiles
        The session.
    collection : str, optional
        Where the trials lie, if several collections qualify.

    Returns
    -------
    dict of str to numpy.ndarray, each (n_trials,)
        By column; ``intervals`` becomes ``intervals_0`` and ``intervals_1``. Empty for a session without trials.

    Raises
    ------
    DataError
        A file cannot be read, columns have different lengths, or a needed column is missing.
    """
    found = trials_collection(files, collection)
    return {} if found is None else read_trials_from(files, found)


def read_trials_from(files: SessionFiles, collection: str) -> dict[str, np.ndarray]:
    """Read the trials of one collection (see :func:`read_trials`)."""
    columns, homes = _read_columns(files, collection)
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        name = TABLE if files.has(collection, TABLE) else f"_ibl_trials.{missing[0]}.npy"
        raise DataError(
            f"the trials have no column {', '.join(missing)}; found {', '.join(sorted(columns))}",
            files.info.path / collection / name,
        )
    _check_columns(columns, homes)
    return columns


def _read_columns(files: SessionFiles, collection: str) -> tuple[dict[str, np.ndarray], dict[str, Path]]:
    """Columns of a table and of single files, unchecked, and the file that each came from."""
    columns: dict[str, np.ndarray] = {}
    homes: dict[str, Path] = {}
    if files.has(collection, TABLE):
        path = files.path(collection, TABLE)
        columns = _read_table(path)
        homes = dict.fromkeys(columns, path)
    for name in _attributes(files, collection):
        path = files.path(collection, name)
        array = np.asarray(read_npy(path, ndim=(1, 2), kind="fiub"))
        attribute = name.split(".")[1]
        found = {attribute: array} if array.ndim == 1 else {f"{attribute}_{i}": a for i, a in enumerate(array.T)}
        columns |= found
        homes |= dict.fromkeys(found, path)
    return columns, homes


def _read_table(path: Path) -> dict[str, np.ndarray]:
    try:
        table = pd.read_parquet(path)
        # nullable columns have no NaN of their own
        columns = {str(name): table[name] for name in table.columns}
        numbers = {name: column for name, column in columns.items() if column.dtype.kind in "fiub"}
        arrays = {
            name: column.to_numpy(dtype=float, na_value=np.nan) if column.hasnans else column.to_numpy()
            for name, column in numbers.items()
        }
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise DataError(f"cannot be read as a parquet table ({error}); copy the file again", path) from error
    for name in NEEDED_COLUMNS:
        if name in columns and name not in arrays:
            raise DataError(f"column {name} has dtype {columns[name].dtype}; expected numbers", path)
    return arrays


def _check_columns(columns: dict[str, np.ndarray], homes: dict[str, Path]) -> None:
    n_trials = Counter(len(values) for values in columns.values()).most_common(1)[0][0]
    for name, values in columns.items():
        if len(values) == 0:
            raise DataError("0 trials; expected a row for each trial, or no such file", homes[name])
        if len(values) != n_trials:
            raise DataError(f"{len(values)} values; expected one for each of {n_trials} trials", homes[name])
    starts = np.asarray(columns.get("intervals_0", np.zeros(0)), dtype=float)
    backwards = np.flatnonzero(np.diff(starts) < 0)  # NaN tells nothing
    if len(backwards):
        i = backwards[0]
        raise DataError(
            f"trial {i + 1} starts at {starts[i + 1]} s, before trial {i} at {starts[i]} s; expected trials in the "
            "order of time, on which blocks and nulls rest",
            homes["intervals_0"],
        )


def read_wheel(files: SessionFiles, collection: str | None = None) -> dict[str, np.ndarray]:
    """Read the wheel: sample times and position; empty for a session without a wheel.

    Of several wheels it is the one beside the trials, else that of the whole session, in ``alf``; if neither is there,
    no wheel is taken and a log line says so.

    Parameters
    ----------
    files : SessionFiles
        The session.
    collection : str, optional
        Where the trials lie, if several collections qualify.

    Returns
    -------
    dict
        ``times`` (n_samples,) in s and ``position`` (n_samples,) in rad, counter-clockwise positive.

    Raises
    ------
    DataError
        One of the two files is missing, they differ in length, hold what is not finite, or the times decrease.
    """
    found = _wheel_collection(files, collection)
    if found is None:
        return {}
    times, position = (np.asarray(files.array(found, n, ndim=1, kind="f"), dtype=float) for n in WHEEL_FILES)
    paths = [files.info.path / found / name for name in WHEEL_FILES]
    if times.shape != position.shape:
        raise DataError(f"{len(position)} wheel positions; expected {len(times)}, as many as times in {paths[0]}",
                        paths[1])  # fmt: skip
    for values, path in zip((times, position), paths, strict=True):
        if not np.isfinite(values).all():
            raise DataError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} values are not finite; "
                            "expected none", path)  # fmt: skip
    backwards = np.flatnonzero(np.diff(times) < 0)
    if len(backwards):
        i = backwards[0]
        raise DataError(
            f"sample {i + 1} at {times[i + 1]} s comes before sample {i} at {times[i]} s; expected wheel times that "
            "do not decrease",
            paths[0],
        )
    return {"times": times, "position": position}


def _wheel_collection(files: SessionFiles, collection: str | None) -> str | None:
    holding = [c for c in _task_collections(files) if any(files.has(c, name) for name in WHEEL_FILES)]
    if len(holding) <= 1:
        return holding[0] if holding else None
    trials = trials_collection(files, collection)
    for choice in (trials, "alf"):
        if choice in holding:
            return choice
    logger.warning("%s: wheels in %s, none of them beside the trials (%s): no wheel is taken",
                   files.info.path, " and ".join(holding), trials or "there are none")  # fmt: skip
    return None


def brainbox_wheel() -> Any:
    """Give the module ``brainbox.behavior.wheel`` of ibllib; None where that is not installed."""
    try:
        from brainbox.behavior import wheel
    except ImportError:  # another project has the name, too
        return None
    return wheel
