"""The chunks of an array on disk, without reading them: which there should be, and whether they are those written.

A chunk ends in a checksum of what is in it, and a shard in one of where its chunks begin and end; so a chunk that is
damaged is told when it is read. One that is whole but belongs elsewhere (files exchanged, renamed, or put back from
another build) is not: its numbers would pass for others. The ends of all chunks, with their names and sizes, tell it.
"""

import hashlib
import itertools
import json
import math
import os
from pathlib import Path

from numcodecs.zstd import Zstd

ENDINGS = "chunk_endings"  # attribute of an array of a sealed group
N_BYTES = 8  # more than the checksum that zstd, and the index of a shard, end in


def missing_chunks(file: Path) -> list[Path]:
    """Paths of the chunks that an array, given by its metadata file, should have and has not.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError, ArithmeticError
        The metadata cannot be read.
    """
    node = json.loads(file.read_text(encoding="utf-8"))
    if node["node_type"] != "array":
        return []
    shape, chunk = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    there: set[tuple[str, ...]] = {()}
    for level in range(len(counts)):  # of folders, one for each dim; a link to nowhere in the last one is no chunk
        of_files = level == len(counts) - 1
        there = {(*parent, name) for parent in there for name in _names(file.parent.joinpath("c", *parent), of_files)}
    expected = itertools.product(*(map(str, range(n)) for n in counts))
    return [file.parent.joinpath("c", *index) for index in expected if index not in there]


def _names(folder: Path, of_files: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not of_files or entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def endings_of(array: Path) -> str:
    """Hash name, size and last bytes of every chunk of an array, which its folder is given for.

    Raises
    ------
    OSError
        A chunk cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for chunk in sorted(path for path in (array / "c").rglob("*") if not path.is_dir()):
        with chunk.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - N_BYTES))
            digest.update(f"{chunk.relative_to(array).as_posix()} {size} {stream.read().hex()}\n".encode())
    return digest.hexdigest()


def note_endings(file: Path) -> None:
    """Note in an array's metadata what its chunks are; nothing happens to the metadata of a group."""
    node = json.loads(file.read_text(encoding="utf-8"))
    if node["node_type"] == "array":
        node.setdefault("attributes", {})[ENDINGS] = endings_of(file.parent)
        file.write_text(json.dumps(node, indent=2), encoding="utf-8")


def are_as_noted(file: Path) -> bool:
    """Tell whether an array has the chunks that were noted in its metadata; where none were, what is cheap to tell.

    Raises
    ------
    OSError, ValueError, AttributeError
        The metadata or a chunk cannot be read.
    """
    node = json.loads(file.read_text(encoding="utf-8"))
    noted = node.get("attributes", {}).get(ENDINGS)
    if noted is not None:
        return bool(noted == endings_of(file.parent))
    return node.get("data_type") != "string" or all(
        _holds_texts(chunk, math.prod(node["chunk_grid"]["configuration"]["chunk_shape"]))
        for chunk in (file.parent / "c").rglob("*")
        if chunk.is_file()
    )


def _holds_texts(chunk: Path, n: int) -> bool:
    """Tell whether a chunk holds so many texts, if it can be read at all, as who reads it will tell.

    Texts begin with their number, for which Zarr makes room unseen: of a chunk of numbers it may read billions.
    """
    try:
        return int.from_bytes(Zstd().decode(chunk.read_bytes())[:4], "little") == n
    except RuntimeError:
        return True
