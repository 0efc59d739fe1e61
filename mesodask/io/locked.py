"""Small stores that one process writes in one go, as those of sparseness and of imported results."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from mesodask.io import cache, partials
from mesodask.io.folders import naming_file
from mesodask.io.lock import Lock


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process at a time make a store; what killed ones have left of it is swept.

    Another process that makes it is waited for: whoever comes next looks again at what is there.

    Parameters
    ----------
    path : pathlib.Path
        Where the store is, or shall be.

    Raises
    ------
    StoreError
        On a full disk, or where nothing may be written; the message names the file.
    """
    with (
        naming_file(path, "it is not stored"),
        Lock(cache.build_lock(path), f"the store {path.name}", wait=math.inf) as lock,
    ):
        partials.remove_partial(path.parent, path.name, locked=True)
        yield
        lock.check()
