"""What a target of a run holds of its sessions: their eids, and what is one value a session."""

import contextlib
import errno
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from mesodask.errors import MesodaskError, StoreError
from mesodask.io import stores
from mesodask.schema import RUN_TARGET

logger = logging.getLogger(__name__)

NO_DAMAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
CALL_AGAIN = "call the same analysis again, which writes it anew"  # what is known from the call
COMPUTE_ANEW = "compute the target anew with rerun=True"
COLUMNS_WHOLE = "session_values_whole"  # attribute of groups in which every chunk of these is there from the beginning
ONE_VALUE_A_SESSION = ("n_trials", "performance", "status", "reason")


class SessionColumns:
    """n_trials, performance, status and reason of the sessions of a target, each an array of one chunk.

    Parameters
    ----------
    group : pathlib.Path
        The target's group.
    sessions : list of str
        Its eids.
    mend : bool
        Whether a damaged array is written again, with nothing in it; only for who holds the run's lock. It raises
        otherwise.
    """

    def __init__(self, group: Path, sessions: list[str], mend: bool) -> None:
        self._group = group
        self._n_sessions = len(sessions)
        self._mend = mend
        self._whole = bool(stores.attributes(group).get(COLUMNS_WHOLE))
        self._values: dict[str, np.ndarray] = {}  # for who holds the lock: nobody else changes them

    def values(self) -> dict[str, np.ndarray]:
        """Read all of them by name, each (n_sessions,)."""
        return {name: self._value(name) for name in ONE_VALUE_A_SESSION}

    def write(self, session: int, values: dict[str, Any]) -> None:
        """Write some of the values of a session; those that stand there already are not written again."""
        for name, value in values.items():
            before = self._value(name)
            after = before.copy()
            after[session] = value
            if not np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
                write_column(self._group, name, after)
                self._values[name] = after

    def _value(self, name: str) -> np.ndarray:
        if not self._mend:
            return self._read(name)
        if name not in self._values:
            try:
                self._values[name] = self._read(name)
            except StoreError as error:
                logger.warning("%s; it is written again", error)
                dtype = RUN_TARGET[name].dtype
                fill, dtype = ("", "object") if dtype == "str" else (0, dtype)
                self._values[name] = np.full(self._n_sessions, fill, dtype=dtype)
                write_column(self._group, name, self._values[name])
        return self._values[name]

    def _read(self, name: str) -> np.ndarray:
        if self._whole:
            stores.check_chunks(self._group / name, CALL_AGAIN)  # a lost one would read 0
        return read_column(self._group, name, CALL_AGAIN)


def session_names(run: Path, target: str, mend: bool) -> list[str]:
    """Read the eids of a target; lost ones are taken from the run's neurons, and written again, if `mend` is set."""
    try:
        stores.check_chunks(run / target / "session", CALL_AGAIN)  # a lost one would read as empty names
        return read_column(run / target, "session", CALL_AGAIN).tolist()
    except StoreError as error:
        if not mend:
            raise
        logger.warning("%s; it is written again", error)
        eids = stores.open_group(run, "tracked")["session"].values
        write_column(run / target, "session", eids)
        return eids.tolist()


def read_column(group: Path, name: str, remedy: str = COMPUTE_ANEW) -> np.ndarray:
    """Read one of a target's small arrays; texts as objects, since xarray 2025.6 cannot compare NumPy's StringDType."""
    with naming_damage(group / name, remedy):
        values = np.asarray(zarr.open_array(str(group / name), mode="r")[:])
    return values.astype(object) if values.dtype.kind == "T" else values


def write_column(group: Path, name: str, values: np.ndarray) -> None:
    """Write what is one value a session, in one step; an array whose metadata is damaged is made anew."""
    variable = RUN_TARGET[name]
    with zarr.config.set({"array.write_empty_chunks": True}):  # Zarr does not note it in the array
        try:
            zarr.open_array(str(group / name), mode="r+")[:] = values
        except Exception as error:  # damage raises many kinds, of metadata and of what stands where a chunk should
            if _is_no_damage(error):
                raise
            _remove(group / name)
            array = stores.create_array(
                zarr.open_group(str(group), mode="r+"), name, dims=variable.dims, shape=values.shape,
                dtype=variable.dtype, attributes=variable.attributes(),
            )  # fmt: skip
            array[:] = values


def _remove(array: Path) -> None:
    if array.is_symlink() or array.is_file():
        array.unlink()
    elif array.is_dir():
        shutil.rmtree(array)


@contextlib.contextmanager
def naming_damage(where: Path, remedy: str = COMPUTE_ANEW) -> Iterator[None]:
    """Say of what cannot be read, which raises many kinds, where it is and what to do."""
    try:
        yield
    except (MesodaskError, MemoryError):
        raise
    except Exception as error:
        if _is_no_damage(error):
            raise
        raise StoreError(f"{where}: cannot be read ({error!r}); {remedy}") from error


def _is_no_damage(error: Exception) -> bool:
    """Tell whether it is the disk or a permission that fails, and what stands there may be whole."""
    return isinstance(error, OSError) and error.errno in NO_DAMAGE
