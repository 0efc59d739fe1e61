"""Files that users name: whole, or as they were before."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mesodask.io.folders import naming_file
from mesodask.io.partials import partial_of


@contextlib.contextmanager
def written_whole(path: Path, undone: str = "it is not written") -> Iterator[Path]:
    """Give the name that a file is to be written under; it gets its own when the block is done, and is whole.

    A link is followed. What is no regular file, such as ``/dev/stdout`` or a pipe, is written to and never replaced.

    Parameters
    ----------
    path : pathlib.Path
        The file, as a user has named it.
    undone : str
        As for :func:`mesodask.io.folders.naming_file`.

    Raises
    ------
    StoreError
        As for :func:`mesodask.io.folders.naming_file`.
    """
    real = Path(os.path.realpath(path))
    with naming_file(path, undone):
        if real.exists() and not real.is_file():
            yield real
            return
        temporary = partial_of(real)
        try:
            yield temporary
            temporary.replace(real)
        finally:
            temporary.unlink(missing_ok=True)
