"""The user's script, and the processes that are started from it."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def unseen_by_workers() -> Iterator[None]:
    """Keep processes that are started meanwhile from running the user's script.

    A process that is spawned runs the script that it comes from once more, for the functions it defines. A script that
    computes on its top level, without ``if __name__ == "__main__":``, would so start itself without end. Tasks are
    functions of mesodask, and what a script defines is pickled by value: no worker needs it. Meanwhile
    ``__main__.__file__`` and ``__main__.__spec__`` are not there.

    Examples
    --------
    >>> with unseen_by_workers():
    ...     hasattr(sys.modules["__main__"], "__file__")
    False
    """
    script = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(script)[name] for name in ("__file__", "__spec__") if name in vars(script)}
    vars(script).pop("__file__", None)
    script.__spec__ = None  # multiprocessing reads it, and it must be there
    try:
        yield
    finally:
        vars(script).update(hidden)
