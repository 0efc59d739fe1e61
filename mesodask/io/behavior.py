"""Trials and wheel of a session."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from mesodask.errors import DataError
from mesodask.io.alf import SessionFiles, read_npy

logger = logging.getLogger(__name__)

TABLE = "_ibl_trials.table.pqt"
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
    holding = [c for c in files.collections() if _attributes(files, c) or files.has(c, TABLE)]
    if collection is not None:
        if collection not in holding:
            raise DataError(
                f"no trials in collection {collection!r}; trials are in: {', '.join(holding) or 'none'}",
                files.info.path,
            )
        return collection
    if len(holding) <= 1:
        return holding[0] if holding else None
    biased = [c for c in holding if has_blocks(read_trials_from(files, c))]
    if len(biased) == 1:
        return biased[0]
    raise DataError(
        f"trials in {', '.join(holding)}, of which {len(biased)} have biased blocks; choose one with collection=",
        files.info.path,
    )


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
    columns: dict[str, np.ndarray] = {}
    folder = files.info.path / collection
    if files.has(collection, TABLE):
        columns |= _read_table(files.path(collection, TABLE))
    for name in _attributes(files, collection):
        array = read_npy(files.path(collection, name), ndim=(1, 2), kind="fiub")
        attribute = name.split(".")[1]
        if array.ndim == 2:
            columns |= {f"{attribute}_{i}": np.asarray(array[:, i]) for i in range(array.shape[1])}
        else:
            columns[attribute] = np.asarray(array)
    _check_columns(columns, folder)
    return columns


def _read_table(path: Path) -> dict[str, np.ndarray]:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise DataError(f"cannot be read as a parquet table ({error}); copy the file again", path) from error
    return {str(name): table[name].to_numpy() for name in table.columns if table[name].dtype.kind in "fiub"}


def _check_columns(columns: dict[str, np.ndarray], folder: Path) -> None:
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        raise DataError(f"the trials have no column {', '.join(missing)}; found {', '.join(sorted(columns))}", folder)
    lengths = {name: len(values) for name, values in columns.items()}
    n_trials = lengths["choice"]
    odd = {name: n for name, n in lengths.items() if n != n_trials}
    if odd:
        raise DataError(f"{n_trials} trials by choice, but {odd}; expected one value a trial", folder)


def read_wheel(files: SessionFiles) -> dict[str, np.ndarray]:
    """Read the wheel: sample times and position; empty for a session without a wheel.

    Returns
    -------
    dict
        ``times`` (n_samples,) in s and ``position`` (n_samples,) in rad, counter-clockwise positive.

    Raises
    ------
    DataError
        The two files differ in length, or the times do not increase.
    """
    names = ("_ibl_wheel.timestamps.npy", "_ibl_wheel.position.npy")
    holding = [c for c in files.collections() if all(files.has(c, name) for name in names)]
    if not holding:
        return {}
    if len(holding) > 1:
        trials = trials_collection(files)
        holding = [c for c in holding if c == trials] or holding
    times, position = (np.asarray(files.array(holding[0], name, ndim=1, kind="f"), dtype=float) for name in names)
    path = files.info.path / holding[0] / names[0]
    if times.shape != position.shape:
        raise DataError(f"{len(times)} wheel times for {len(position)} positions in {names[1]}", path)
    if not (np.diff(times) >= 0).all():
        raise DataError("wheel times must not decrease", path)
    return {"times": times, "position": position}
