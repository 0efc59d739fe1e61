"""What a session store is made of; rows of activity small enough for a task to take along, and their copying."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import xarray as xr

from mesodask.errors import DataError
from mesodask.io.shards import RowShards


class Rows(Protocol):
    """Some rows of a session's activity, in the order of the store."""

    @property
    def n_rois(self) -> int:
        """How many rows there are."""
        ...

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Read a block of them, (stop - start, n_frames) float32."""
        ...


@dataclass(frozen=True)
class Content:
    """What a session store is made of.

    Attributes
    ----------
    described : xarray.Dataset
        Everything of :data:`mesodask.schema.SESSION` but the signal, and the attributes.
    activity : sequence of Rows
        The signal, one part after the other.
    trials, wheel : mapping of str to numpy.ndarray
        Columns of the groups; none if there are no trials, or no wheel.
    """

    described: xr.Dataset
    activity: Sequence[Rows]
    trials: Mapping[str, np.ndarray]
    wheel: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FileRows:
    """The weighted sum of matrices of the same shape, one row an ROI, each in a file of its own.

    Attributes
    ----------
    files : tuple of str
        Paths.
    weights : tuple of float
        One a file.
    offsets : tuple of int
        Where in the file the numbers begin, bytes.
    dtypes : tuple of str
        Their dtypes.
    by_row : tuple of bool
        Whether a row's numbers are beside each other in the file; else a column's are.
    shape : tuple of int
        ROIs and frames.
    """

    files: tuple[str, ...]
    weights: tuple[float, ...]
    offsets: tuple[int, ...]
    dtypes: tuple[str, ...]
    by_row: tuple[bool, ...]
    shape: tuple[int, int]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], weights: Sequence[float]) -> "FileRows":
        """Describe memory maps, or their transposes."""
        n_rois, n_frames = arrays[0].shape
        maps = [cast(np.memmap, array) for array in arrays]
        return cls(
            tuple(str(found.filename) for found in maps),
            tuple(weights),
            tuple(int(found.offset) for found in maps),
            tuple(found.dtype.str for found in maps),
            tuple(bool(found.flags.c_contiguous) for found in maps),
            (n_rois, n_frames),
        )

    @property
    def n_rois(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Read a block of rows, (stop - start, n_frames) float32.

        Raises
        ------
        DataError
            A file is not there any more, or was cut.
        """
        total = self._one(0, start, stop)
        if self.weights[0] != 1:
            total = np.float32(self.weights[0]) * total
        for i in range(1, len(self.files)):
            total = total + np.float32(self.weights[i]) * self._one(i, start, stop)
        return total

    def _one(self, i: int, start: int, stop: int) -> np.ndarray:
        # nothing stays mapped: pages of a map count as the process's memory for as long as it lasts
        path, dtype = Path(self.files[i]), np.dtype(self.dtypes[i])
        n_frames, n_rows = self.shape[1], stop - start
        try:
            if not self.by_row[i]:
                columns = np.memmap(path, dtype, "r", self.offsets[i], self.shape, "F")
                return np.array(columns[start:stop], dtype=np.float32, order="C")
            offset = self.offsets[i] + start * n_frames * dtype.itemsize
            values = np.fromfile(path, dtype, count=n_rows * n_frames, offset=offset)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read any more ({error}); copy the file again", path) from error
        if values.size < n_rows * n_frames:
            raise DataError(
                f"ends within ROI {start + values.size // n_frames} of {self.n_rois}; copy the file again", path
            )
        return values.reshape(n_rows, n_frames).astype(np.float32, copy=False)


def rows_across(activity: Sequence[Rows], start: int, stop: int) -> np.ndarray:
    """Read rows start to stop of a session, which may lie in several of its parts: (stop - start, n_frames) float32."""
    parts = []
    first = 0
    for part in activity:
        if first < stop and first + part.n_rois > start:
            parts.append(part.rows(max(start - first, 0), min(stop - first, part.n_rois)))
        first += part.n_rois
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def write_rows(array: RowShards, activity: Sequence[Rows], start: int, stop: int) -> None:
    """Copy rows start to stop of a session into its store, a file at a time; start is a file's first row.

    This is what a worker does of an embedding: no two of them ever write the same file.
    """
    for first in range(start, stop, array.rows_a_file):
        array.write(first, rows_across(activity, first, min(first + array.rows_a_file, stop)))
