"""Whether the files of a finished store are all there."""

import itertools
import json
from pathlib import Path

from mesodask.errors import StoreError


def check_chunks(path: Path) -> None:
    """Raise :class:`StoreError` if a chunk of a finished store is not there.

    Zarr reads a lost chunk as the fill value, which for whole numbers and booleans is a number like any other. Every
    chunk is written, so one that is missing was lost. Only names of files are read.

    Raises
    ------
    StoreError
        A chunk is missing, or the metadata of an array cannot be read; the message names the file.
    """
    for file in sorted(path.rglob("zarr.json")):
        missing = next(iter(_missing_chunks(file)), None)
        if missing is not None:
            raise StoreError(f"{missing}: this part of the store is lost; rebuild it with rerun=True")


def _missing_chunks(file: Path) -> list[Path]:
    """Paths of the chunks that an array, given by its metadata file, should have and has not."""
    try:
        node = json.loads(file.read_text(encoding="utf-8"))
        if node["node_type"] != "array":
            return []
        shape, chunk = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
        counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise StoreError(f"{file}: cannot be read ({error!r}); rebuild it with rerun=True") from error
    there: set[tuple[str, ...]] = {()}
    for _ in counts:  # a level of folders for each dim
        there = {(*parent, name) for parent in there for name in _names(file.parent.joinpath("c", *parent))}
    expected = itertools.product(*(map(str, range(n)) for n in counts))
    return [file.parent.joinpath("c", *index) for index in expected if index not in there]


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
