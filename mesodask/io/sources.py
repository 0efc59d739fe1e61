"""The files that a store was made from, described so that it can be told later whether they are still the same."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BLOCK = 1 << 16
N_BLOCKS = 16  # 1 MiB: a quick look, since a session's activity is 2 GB


def describe(path: Path) -> dict[str, Any]:
    """Describe a file: ``size`` in bytes, ``mtime_ns`` when it was written, and its ``fingerprint``."""
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "fingerprint": fingerprint(path)}


def has_changed(path: Path, known: Mapping[str, Any]) -> bool:
    """Tell whether a file is no longer the one that was described.

    Its size decides, then its time; a copy, which has a time of its own, is told from another file by its fingerprint.
    So a file passes that was changed within blocks that are not looked at, or whose old time was put back.

    Parameters
    ----------
    path : pathlib.Path
        The file, which exists.
    known : mapping
        What :func:`describe` gave.
    """
    stat = path.stat()
    if stat.st_size != known["size"]:
        return True
    return stat.st_mtime_ns != known["mtime_ns"] and fingerprint(path) != known["fingerprint"]


def fingerprint(path: Path) -> str:
    """Give a hash of 16 blocks of 64 KiB, evenly spaced from the first to the last; of all of a file up to 1 MiB."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        size = path.stat().st_size
        if size <= N_BLOCKS * BLOCK:
            digest.update(file.read())
            return digest.hexdigest()
        for block in range(N_BLOCKS):
            file.seek(block * (size - BLOCK) // (N_BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()
