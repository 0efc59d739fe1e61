"""The arrays of a run's scores, read and written one chunk at a time, without Zarr.

A run writes hundreds of thousands of small chunks, and asks for all of them when it goes on. Zarr takes about 1 ms for
each, and tells of a damaged one without its name; this takes a tenth of that. What is written is what Zarr would write,
and Zarr and xarray read it: little-endian floats in C order, edge chunks filled up with NaN, Zstandard with a checksum.

A chunk that is whole may still be that of another k, session or run, if files were exchanged or copied. So each ends in
a mark that says whose it is, in a frame that every reader of Zstandard skips (RFC 8878, section 3.1.2).
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numcodecs.zstd import Zstd

from mesodask.errors import StoreError
from mesodask.io import partials, stores

logger = logging.getLogger(__name__)

BUILD = "build_id"  # attribute of a target's group, random: whose its chunks of scores are
MARK_BYTES = 8
FRAME = struct.pack("<II", 0x184D2A50, MARK_BYTES)  # begins a frame that is skipped, and says how long that is


class ScoreArray:
    """One array of a run store: a chunk holds one index of its first dims, as a session and a k, and some of the rest.

    Parameters
    ----------
    folder : pathlib.Path
        The array, as :func:`mesodask.io.stores.create_array` made it.
    mend : bool
        What happens with a damaged chunk that is met: it is removed and said, so that its scores count as not computed,
        or it raises. Only who holds the run's lock may mend.
    n_index : int
        How many dims come first, of which a chunk holds one index.
    build : str
        Which target of which run it belongs to; empty in runs of before there were marks.

    Attributes
    ----------
    shape, chunks : tuple of int
        As in Zarr; ``shape`` is as it was when this was made.

    Raises
    ------
    StoreError
        The array's metadata cannot be read, or is not ours.
    """

    def __init__(self, folder: Path, mend: bool = False, n_index: int = 2, build: str = "") -> None:
        self.folder = folder
        self.n_index = n_index
        self._mend = mend
        self._build = build
        file = folder / "zarr.json"
        try:
            node = json.loads(file.read_text(encoding="utf-8"))
            self.shape = tuple(int(n) for n in node["shape"])
            self.chunks = tuple(int(n) for n in node["chunk_grid"]["configuration"]["chunk_shape"])
            self._dtype = np.dtype(node["data_type"]).newbyteorder("<")
            codecs = [codec["name"] for codec in node["codecs"]]
            if codecs != ["bytes", "zstd"] or self._dtype.kind != "f" or set(self.chunks[:n_index]) - {1}:
                raise ValueError(f"chunks {self.chunks} of {self._dtype}, codecs {codecs}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{file}: not the metadata of a run's scores ({error!r}); compute the target anew with rerun=True"
            ) from error
        self._zstd = Zstd(level=stores.ZSTD_LEVEL, checksum=True)

    def read(self, index: tuple[int, ...], *lengths: int, firsts: tuple[int, ...] = (0, 0)) -> np.ndarray:
        """Read some of what stands at an index, as on disk.

        Parameters
        ----------
        index : tuple of int
            Of the first dims; of curves the session, and the k in the order in which ks were added.
        *lengths : int
            How much along each other dim, at most the array's; of curves how many resamples, and for null scores how
            many shuffles.
        firsts : tuple of int
            Where to begin along each.

        Returns
        -------
        numpy.ndarray, lengths
            NaN where nothing was written yet.
        """
        values = np.full(lengths, np.nan, dtype=self._dtype)
        for chunk, inside, outside in self._parts(lengths, firsts[: len(lengths)]):
            stored = self._load((*index, *chunk))
            if stored is not None:
                values[outside] = stored[inside]
        return values

    def write(self, index: tuple[int, ...], values: np.ndarray, *firsts: int) -> None:
        """Write some of what stands at an index; what else is in its chunks stays.

        Parameters
        ----------
        index : tuple of int
            As in :meth:`read`.
        values : numpy.ndarray
            Scores as on disk; of curves (n_resamples,) or (n_resamples, n_shuffles).
        *firsts : int
            Where to begin along each of its dims.
        """
        for chunk, inside, outside in self._parts(values.shape, firsts):
            valid = [min(length, n - i * length) for i, length, n in self._grid(chunk)]
            covered = all(s.start == 0 and s.stop >= n for s, n in zip(inside, valid, strict=True))
            stored = None if covered else self._load((*index, *chunk))
            whole = np.full(self.chunks[self.n_index :], np.nan, dtype=self._dtype) if stored is None else stored
            whole[inside] = values[outside]
            place = (*index, *chunk)
            _write_atomically(self.file(place), self._zstd.encode(whole) + FRAME + self._mark(place))

    def has_scores_beyond(self, n_positions: int) -> bool:
        """Tell whether anything was ever written at or after a position of the second dim, the ks of curves."""
        return any(
            int(position.name) >= n_positions for position in self.folder.glob("c/*/*") if position.name.isdigit()
        )

    def _grid(self, chunk: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
        return zip(chunk, self.chunks[self.n_index :], self.shape[self.n_index :], strict=True)

    def _parts(
        self, lengths: tuple[int, ...], firsts: tuple[int, ...]
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
        """Chunks that a region lies in: their indices, the region's part within each, and the part of the region."""
        axes = []
        for length, first, size in zip(lengths, firsts, self.chunks[self.n_index :], strict=True):
            axis = []
            for i in range(first // size, -(-(first + length) // size)):
                start, stop = max(first, i * size), min(first + length, (i + 1) * size)
                axis.append((i, slice(start - i * size, stop - i * size), slice(start - first, stop - first)))
            axes.append(axis)
        for parts in itertools.product(*axes):
            chunk, inside, outside = zip(*parts, strict=True) if parts else ((), (), ())
            yield chunk, inside, outside

    def file(self, index: tuple[int, ...]) -> Path:
        """Path of a chunk by its indices over all dims; of curves over session, k, resample (and shuffle)."""
        return self.folder.joinpath("c", *map(str, index))

    def _mark(self, index: tuple[int, ...]) -> bytes:
        """Hash whose a chunk is: the run and target, the array, and where in it."""
        whose = f"{self._build}/{self.folder.name}/{'/'.join(map(str, index))}"
        return hashlib.blake2b(whose.encode(), digest_size=MARK_BYTES).digest()

    def _load(self, index: tuple[int, ...]) -> np.ndarray | None:
        """Read a chunk; None if there is none, or if it was damaged and is mended."""
        file = self.file(index)
        try:
            encoded = file.read_bytes()
            # chunks of before there were marks have none
            if encoded[:-MARK_BYTES].endswith(FRAME) and not encoded.endswith(self._mark(index)):
                raise ValueError("it is whole, but was written for another place")
            return np.frombuffer(bytearray(self._zstd.decode(encoded)), self._dtype).reshape(
                self.chunks[self.n_index :]
            )
        except FileNotFoundError:
            return None
        except (RuntimeError, ValueError, OSError) as error:  # the codec's, too many or few bytes, or no file at all
            if not self._mend or isinstance(error, PermissionError):
                raise StoreError(
                    f"{file}: this chunk of scores is damaged ({error}); call the same analysis again, which computes "
                    "it anew"
                ) from error
            logger.warning("%s: this chunk of scores is damaged (%s); its scores are computed again", file, error)
            self._clear(file)
            return None

    def _clear(self, file: Path) -> None:
        """Take away what stands where a chunk should, be it a folder, or a file in place of one of its folders."""
        for path in (file, *file.parents):
            if path == self.folder:
                return
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path == file and path.is_dir():
                shutil.rmtree(path)


def _write_atomically(file: Path, content: bytes) -> None:
    """Write a file under another name and rename it, so that a kill leaves the old or the new one."""
    temporary = file.parent / f"{file.name}.{secrets.token_hex(4)}{partials.PARTIAL}"
    try:
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.replace(file)
    except BaseException as error:  # Ctrl-C too: a driver that ends in good order is not swept up after
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        # the full disk is told by an open file, which has no name
        raise OSError(error.errno, error.strerror, str(file)) from error
