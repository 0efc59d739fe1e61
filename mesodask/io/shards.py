"""Rows of a matrix in Zarr shards: one row a chunk, some hundred rows a file, read and written a row at a time.

Tracked neurons are scattered rows: a chunk of many rows would be decoded for the sake of one of them, and a file a row
would be 25 000 files. Zarr's shards are chunks within files, but zarr-python spends most of a millisecond on each, ten
times what decoding takes. These files are plain Zarr all the same, and anything else reads them through Zarr.

A shard is its chunks, each a Blosc frame and the CRC-32C of it, and last an index: where each chunk starts and how long
it is, as 64-bit integers, and the CRC-32C of that.
"""

import contextlib
import functools
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.blosc import Blosc, decompress
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.codecs import BloscCodec, Crc32cCodec

from mesodask.errors import StoreError

ROWS_A_FILE = 256
LEVEL = 5
CHECKSUM_BYTES = 4
CHUNK_NAMES = {"name": "default", "configuration": {"separator": "/"}}
ABSENT = np.iinfo("<u8").max  # start and length, in the index, of a row beyond the matrix


@dataclass(frozen=True)
class RowShards:
    """A matrix on disk, one row a chunk; small, so that a task can take it along.

    Attributes
    ----------
    path : pathlib.Path
        The Zarr array.
    shape : tuple of int
        Rows and columns.
    rows_a_file : int
        Rows of a shard.
    dtype : str
        Little-endian, as NumPy writes it.
    shuffle : bool
        Whether the bytes of a row are sorted by their place in the number before they are compressed.
    """

    path: Path
    shape: tuple[int, int]
    rows_a_file: int
    dtype: str
    shuffle: bool

    @classmethod
    def create(
        cls,
        group: Path,
        name: str,
        *,
        dims: tuple[str, str],
        shape: tuple[int, int],
        dtype: str,
        shuffle: bool,
        attributes: dict[str, Any],
    ) -> "RowShards":
        """Create an array without rows in a Zarr group, to be filled by :meth:`write`.

        Parameters
        ----------
        group : pathlib.Path
            The group; it is made if it is not there.
        name, dims, shape, dtype, attributes
            As of any Zarr array; dtype a float's.
        shuffle : bool
            Helps where most values differ, and harms where most are zero.
        """
        rows_a_file, n_columns = max(1, min(ROWS_A_FILE, shape[0])), max(1, shape[1])
        zarr.open_group(str(group), mode="a").create_array(
            name,
            shape=shape,
            dtype=dtype,
            shards=(rows_a_file, n_columns),
            chunks=(1, n_columns),
            compressors=[_blosc_codec(dtype, shuffle), Crc32cCodec()],
            fill_value=np.nan,
            dimension_names=dims,
            attributes=attributes,
        )
        (group / name / "c").mkdir()
        return cls(group / name, shape, rows_a_file, np.dtype(dtype).newbyteorder("<").str, shuffle)

    @classmethod
    def open(cls, path: Path) -> "RowShards | None":
        """Find out whether an array is laid out like this; None if only Zarr can read it."""
        try:
            about = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
            rows_a_file, n_columns = about["chunk_grid"]["configuration"]["chunk_shape"]
            shards = about["codecs"][0]["configuration"]
            blosc = shards["codecs"][1]["configuration"]
            found = cls(
                path,
                tuple(about["shape"]),
                rows_a_file,
                np.dtype(about["data_type"]).newbyteorder("<").str,
                blosc["shuffle"] == "shuffle",
            )
            as_expected = found._shards() == shards and about["chunk_key_encoding"] == CHUNK_NAMES
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return None
        return found if as_expected and n_columns == max(1, found.shape[1]) else None

    def _shards(self) -> dict[str, Any]:
        """How the array's metadata describe its shards."""
        little, checksum = {"name": "bytes", "configuration": {"endian": "little"}}, Crc32cCodec().to_dict()
        return {
            "chunk_shape": [1, max(1, self.shape[1])],
            "codecs": [little, _blosc_codec(self.dtype, self.shuffle).to_dict(), checksum],
            "index_codecs": [little, checksum],
            "index_location": "end",
        }

    def write(self, first: int, block: np.ndarray) -> None:
        """Write whole files: rows from a file's first on, to a file's last or the matrix's.

        A file appears at once, and twice the same is no harm: a task whose worker was lost may be done again while the
        lost one still writes.
        """
        for start in range(0, len(block), self.rows_a_file):
            content = self._encode(block[start : start + self.rows_a_file])
            folder = self.path / "c" / str((first + start) // self.rows_a_file)
            # of a store that was given up, not even the folder comes back
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
            partial = folder / f".0.{secrets.token_hex(4)}.partial"
            partial.write_bytes(content)
            partial.replace(folder / "0")

    def _encode(self, block: np.ndarray) -> bytes:
        codec = _blosc(self.dtype, self.shuffle)
        index = np.full((self.rows_a_file, 2), ABSENT, dtype="<u8")
        parts = []
        end = 0
        for row, values in enumerate(np.ascontiguousarray(block, dtype=self.dtype)):
            frame = bytes(codec.encode(values))
            parts += [frame, _checksum(frame)]
            index[row] = end, len(frame) + CHECKSUM_BYTES
            end += len(frame) + CHECKSUM_BYTES
        written = index.tobytes()
        return b"".join([*parts, written, _checksum(written)])

    def sweep(self) -> None:
        """Remove what writers have left that were killed."""
        for partial in (self.path / "c").glob("*/*.partial"):
            partial.unlink(missing_ok=True)

    def read(self, rows: np.ndarray, columns: Any = slice(None)) -> np.ndarray:
        """Read rows, in any order, also several times the same.

        Parameters
        ----------
        rows : numpy.ndarray, (n,) int
            Which rows.
        columns : slice or numpy.ndarray
            Which of their columns; whole rows are decoded all the same.

        Returns
        -------
        numpy.ndarray, (n, number of columns)

        Raises
        ------
        StoreError
            A file is lost or damaged; the message names it.
        """
        n_columns = self.shape[1]
        n_wanted = len(np.arange(n_columns)[columns])
        values = np.empty((len(rows), n_wanted), dtype=self.dtype)
        is_whole = isinstance(columns, slice) and columns.indices(n_columns) == (0, n_columns, 1)
        buffer = np.empty(n_columns, dtype=self.dtype)
        in_order = np.argsort(rows, kind="stable")
        borders = np.flatnonzero(np.diff(rows[in_order] // self.rows_a_file)) + 1
        for places in np.split(in_order, borders) if len(rows) else []:
            number = int(rows[places[0]]) // self.rows_a_file
            with self._opened(number) as (descriptor, index):
                for place in places.tolist():
                    start, length = index[int(rows[place]) - number * self.rows_a_file]
                    frame = _checked(os.pread(descriptor, length, start))
                    decompress(frame, values[place] if is_whole else buffer)
                    if not is_whole:
                        values[place] = buffer[columns]
        return values

    @contextlib.contextmanager
    def _opened(self, number: int) -> Iterator[tuple[int, list[list[int]]]]:
        """Open a file: its descriptor, and start and length of each of its rows."""
        path = self.path / "c" / str(number) / "0"
        try:
            with path.open("rb", buffering=0) as stream:
                n_entries = 2 * self.rows_a_file
                stream.seek(-8 * n_entries - CHECKSUM_BYTES, os.SEEK_END)
                index = np.frombuffer(_checked(stream.read()), dtype="<u8").reshape(-1, 2)
                yield stream.fileno(), index.tolist()
        except FileNotFoundError as error:
            raise StoreError(f"{path}: this part of the store is lost; rebuild it with rerun=True") from error
        except (OSError, ValueError, OverflowError, RuntimeError) as error:
            raise StoreError(
                f"{path}: this part of the store is damaged ({error}); rebuild it with rerun=True"
            ) from error


class LazyRows(BackendArray):
    """Lets xarray read :class:`RowShards` lazily: what is selected is what is read."""

    def __init__(self, rows: RowShards) -> None:
        self.rows = rows
        self.shape = rows.shape
        self.dtype = np.dtype(rows.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, Any]) -> np.ndarray:
        rows, columns = key
        # an index that is a number takes its dim away
        is_one = tuple(isinstance(k, (int, np.integer)) for k in key)
        values = self.rows.read(
            np.atleast_1d(np.arange(self.shape[0])[rows]), slice(columns, columns + 1) if is_one[1] else columns
        )
        return values[tuple(0 if one else slice(None) for one in is_one)]


@functools.cache
def _blosc(dtype: str, shuffle: bool) -> Blosc:
    return Blosc(
        "lz4", clevel=LEVEL, shuffle=Blosc.SHUFFLE if shuffle else Blosc.NOSHUFFLE, typesize=np.dtype(dtype).itemsize
    )


def _blosc_codec(dtype: str, shuffle: bool) -> BloscCodec:
    """Describe the same to Zarr."""
    return BloscCodec(
        cname="lz4",
        clevel=LEVEL,
        shuffle="shuffle" if shuffle else "noshuffle",
        typesize=np.dtype(dtype).itemsize,
        blocksize=0,
    )


def _checksum(content: bytes) -> bytes:
    return google_crc32c.value(content).to_bytes(CHECKSUM_BYTES, "little")


def _checked(content: bytes) -> bytes:
    """Give content without its checksum, which must be right."""
    body = content[:-CHECKSUM_BYTES]
    if _checksum(body) != content[-CHECKSUM_BYTES:]:
        raise ValueError("its checksum does not fit what it holds")
    return body
