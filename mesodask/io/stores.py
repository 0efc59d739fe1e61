"""Labelled arrays <-> Zarr: how every store of mesodask is written and read.

Zarr format 3, no consolidated metadata (it would hide growth), no pickle. Every array goes through zstd with a
checksum, so that a flipped bit is an error on reading and not another number (but for signals, see
:mod:`mesodask.io.shards`); empty chunks are written too, so that a chunk that is not there is a loss and never a value.
A store is built under a temporary name in its own folder and renamed when it is whole.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.core import indexing
from zarr.codecs import ZstdCodec

from mesodask.errors import MesodaskError, StoreError
from mesodask.io.chunks import ENDINGS, are_as_noted, missing_chunks, note_endings
from mesodask.io.partials import partial_of
from mesodask.io.shards import LazyRows, RowShards
from mesodask.schema import Schema, validate

ZSTD_LEVEL = 3
SEAL = "seal"  # attribute of a sealed group
REBUILD = "rebuild it with rerun=True"  # what to do with a damaged store, unless who reads it knows better
Chunks = Mapping[str, int]


def create_array(
    group: zarr.Group,
    name: str,
    *,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: str,
    chunks: tuple[int, ...] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Array:
    """Create an array with the codec, fill value and dimension names that all stores share.

    Parameters
    ----------
    group : zarr.Group
        Where it goes.
    name, dims, shape, dtype
        As in :class:`mesodask.schema.Variable`; dtype ``"str"`` for variable-length strings.
    chunks : tuple of int, optional
        Shape of a chunk, which an array that will grow may not fill yet; one chunk if not given.
    attributes : mapping, optional
        Attributes of the array.

    Returns
    -------
    zarr.Array
        Filled with NaN (floats), 0, False or "".
    """
    is_float = dtype.startswith("float")
    return group.create_array(
        name,
        shape=shape,
        dtype=str if dtype == "str" else dtype,
        chunks=tuple(max(1, n) for n in (shape if chunks is None else chunks)),
        compressors=[ZstdCodec(level=ZSTD_LEVEL, checksum=True)],
        fill_value=np.nan if is_float else ("" if dtype == "str" else 0),
        dimension_names=dims,
        attributes=dict(attributes or {}),
        config={"write_empty_chunks": True},
        overwrite=True,
    )


def write_group(path: Path, group: str, dataset: xr.Dataset, chunks: Chunks | None = None) -> None:
    """Write a dataset as one group of a store; a group of that name is replaced.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    group : str
        Name of the group within it; "" for the root.
    dataset : xarray.Dataset
        Variables of the dtypes of :mod:`mesodask.schema`.
    chunks : mapping of str to int, optional
        Chunk length by dim; whole dims if not given.
    """
    root = zarr.open_group(str(path), mode="a")
    node = root.create_group(group, overwrite=True) if group else root
    add_variables(node, dataset, chunks)
    extra = [str(name) for name in dataset.coords if dataset[name].dims != (name,)]
    if extra:  # this is how xarray knows coordinates that are not named like a dim
        node.attrs["coordinates"] = " ".join(extra)


def add_variables(node: zarr.Group, dataset: xr.Dataset, chunks: Chunks | None = None) -> None:
    """Write the variables of a dataset into a group, then its attributes; variables of the same names are replaced."""
    for name, variable in dataset.variables.items():
        dtype = "str" if variable.dtype.kind in "OTU" else variable.dtype.name
        array = create_array(
            node,
            str(name),
            dims=tuple(map(str, variable.dims)),
            shape=variable.shape,
            dtype=dtype,
            chunks=tuple(
                min(n, (chunks or {}).get(str(dim), n)) for dim, n in zip(variable.dims, variable.shape, strict=True)
            ),
            attributes=_plain(variable.attrs),
        )
        if variable.size:
            array[...] = variable.values.astype(object) if dtype == "str" else variable.values
    node.attrs.update(_plain(dataset.attrs))


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({str(k): v for k, v in attrs.items()}, default=_json_default))


def _json_default(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def has_group(path: Path, group: str) -> bool:
    """Tell whether a store has a group of this name."""
    return (path / group / "zarr.json").is_file()


def open_group(path: Path, group: str = "", schema: Schema | None = None, *, remedy: str = REBUILD) -> xr.Dataset:
    """Open a group lazily; nothing but metadata and coordinates is read.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    group : str
        Name of the group; "" for the root.
    schema : mapping of str to Variable, optional
        What it must hold.
    remedy : str
        What to do if it is damaged, as the error says it.

    Raises
    ------
    StoreError
        There is no such store or group, it cannot be read, or it does not fit the schema.
    """
    where = f"{path}/{group}".rstrip("/")
    if not has_group(path, group):
        raise StoreError(f"{where}: no Zarr group here")
    try:
        # without cache: looking at a recording's values must not keep gigabytes of them in the dataset
        dataset = xr.open_dataset(
            path, engine="zarr", group=group or None, consolidated=False, chunks=None, decode_times=False, cache=False
        )
    except Exception as error:  # damaged metadata raises many kinds
        raise StoreError(f"{where}: cannot be opened ({error}); {remedy}") from error
    dataset.attrs.pop(SEAL, None)
    for variable in dataset.variables.values():
        variable.attrs.pop(ENDINGS, None)
    dataset = _read_by_rows(dataset, path / group)
    return dataset if schema is None else validate(dataset, schema, where)


def _read_by_rows(dataset: xr.Dataset, group: Path) -> xr.Dataset:
    """Let matrices of many small chunks be read without Zarr, which is slow at that."""
    for name, variable in dataset.variables.items():
        if variable.encoding.get("shards") and (rows := RowShards.open(group / str(name))) is not None:
            lazily = indexing.LazilyIndexedArray(LazyRows(rows))
            dataset[name] = xr.Variable(variable.dims, lazily, variable.attrs, variable.encoding)
    return dataset


@contextlib.contextmanager
def reading(path: Path, *names: str, remedy: str = REBUILD) -> Iterator[None]:
    """Turn whatever reading the values of a damaged store raises into a :class:`StoreError`.

    Zarr reads a chunk that was lost after the store was opened as the fill value: so these are looked for, too.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    *names : str
        Arrays and groups of it that are read within the block.
    remedy : str
        What to do if it is damaged, as the error says it.

    Raises
    ------
    StoreError
        A chunk of them is damaged or missing.
    """
    try:
        yield
    except (MesodaskError, MemoryError):
        raise
    except Exception as error:  # codecs, files and JSON raise many kinds
        what = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path}: {' or '.join(names)} cannot be read ({what}); {remedy}") from error
    for name in names:
        check_chunks(path / name)


def seal(path: Path, group: str = "") -> None:
    """Note in a group what its metadata is, so that a change of it is told; to be called when the group is finished.

    Chunks have checksums of their own. Shapes, fill values and attributes have none: with one bit flipped they would be
    other numbers like any. The seal is an attribute of the group: a hash of every metadata file of it, its arrays, and
    the groups right below it that have no seal of their own. Groups that are added later leave it as it is. The
    metadata of each array says from now on what its chunks are (:mod:`mesodask.io.chunks`).

    Parameters
    ----------
    path : pathlib.Path
        The store.
    group : str
        Name of the group; "" for the root.
    """
    folder = path / group
    sealed = {file.parent for file in folder.glob("*/zarr.json") if SEAL in attributes(file.parent)}
    files = [file for depth in range(3) for file in sorted(folder.glob("*/" * depth + "zarr.json"))]
    files = [file for file in files if sealed.isdisjoint(file.parents)]
    for file in files:
        note_endings(file)
    digests = {file.relative_to(folder).as_posix(): _metadata_digest(file) for file in files}
    zarr.open_group(str(path), path=group, mode="r+").attrs[SEAL] = digests


def check_seal(path: Path, group: str = "") -> None:
    """Raise :class:`StoreError` if the metadata of a group is not that which was sealed (see :func:`seal`)."""
    sealed = attributes(path, group).get(SEAL)
    if not isinstance(sealed, dict):
        raise StoreError(f"{path / group}: was never finished, or its metadata is damaged; {REBUILD}")
    for name, digest in sealed.items():
        file = path / group / name
        try:
            found = _metadata_digest(file)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{file}: cannot be read ({error!r}); {REBUILD}") from error
        if found != digest:
            raise StoreError(f"{file}: is not as it was written; {REBUILD}")


def _metadata_digest(file: Path) -> str:
    node = json.loads(file.read_text(encoding="utf-8"))
    node.get("attributes", {}).pop(SEAL, None)
    return hashlib.blake2b(json.dumps(node, sort_keys=True).encode(), digest_size=8).hexdigest()


def check_chunks(path: Path, remedy: str = REBUILD) -> None:
    """Raise :class:`StoreError` if a chunk of a finished store is not there, or in a sealed one is another.

    Zarr reads a lost chunk as the fill value, which for whole numbers and booleans is a number like any other. Every
    chunk is written, so one that is missing was lost. Only names of files are read, and the ends of sealed chunks.

    Parameters
    ----------
    path : pathlib.Path
        The store, or a group or array of it.
    remedy : str
        What to do if it is damaged, as the error says it.

    Raises
    ------
    StoreError
        A chunk is missing or another, or the metadata of an array cannot be read; the message names the file.
    """
    try:
        files = sorted(path.rglob("zarr.json"))
    except OSError as error:  # a folder that another process was just taking away
        raise StoreError(f"{error.filename}: cannot be read ({error}); {remedy}") from error
    for file in files:
        try:
            missing = next(iter(missing_chunks(file)), None)
            as_written = missing is not None or are_as_noted(file)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise StoreError(f"{file}: cannot be read ({error!r}); {remedy}") from error
        if missing is not None:
            raise StoreError(f"{missing}: this part of the store is lost; {remedy}")
        if not as_written:
            raise StoreError(f"{file.parent}: its chunks are not those that were written; {remedy}")


def attributes(path: Path, group: str = "", *, remedy: str = REBUILD) -> dict[str, Any]:
    """Read the attributes of a group, without opening its arrays; empty if there is no such group.

    Parameters
    ----------
    path : pathlib.Path
        The store.
    group : str
        Name of the group; "" for the root.
    remedy : str
        What to do if it is damaged, as the error says it.

    Raises
    ------
    StoreError
        The group's metadata cannot be read.
    """
    file = path / group / "zarr.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("attributes", {})
    except (OSError, ValueError, AttributeError) as error:
        raise StoreError(f"{file}: cannot be read ({error}); {remedy}") from error
    if not isinstance(found, dict):
        raise StoreError(f"{file}: its attributes are no dictionary; {remedy}")
    return found


def remove_group(path: Path, group: str) -> None:
    """Remove a group of a store, so that no half of it is ever seen; nothing happens if there is none."""
    folder = path / group
    if os.path.lexists(folder):
        doomed = partial_of(path)  # outside the store, where it cannot be taken for a group
        folder.rename(doomed)
        if doomed.is_dir() and not doomed.is_symlink():
            shutil.rmtree(doomed)
        else:  # a file, or a link to nowhere, in the place of a group
            doomed.unlink()
