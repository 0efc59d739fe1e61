"""How far the downloads of an online ONE are, told to whoever wants to know."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class _Count:
    """Files that are downloaded, and files that are to be."""

    report: Callable[[int, int], None]
    done: int = 0
    total: int = 0


# not an argument: files are asked for one by one, deep in the reading of a session
_watched: ContextVar[_Count | None] = ContextVar("downloads", default=None)


@contextlib.contextmanager
def told(report: Callable[[int, int], None]) -> Iterator[None]:
    """Tell how many files are downloaded, and of how many, while the block runs.

    Parameters
    ----------
    report : callable(done, total)
        Called at the beginning of downloads and after each file; the total grows as sessions are read. What is on disk
        is never downloaded, and not counted.

    Examples
    --------
    >>> with told(lambda done, total: print(f"{done}/{total}")):
    ...     with counted(2) as one_more:
    ...         one_more()
    0/2
    1/2
    """
    token = _watched.set(_Count(report))
    try:
        yield
    finally:
        _watched.reset(token)


@contextlib.contextmanager
def counted(n_files: int) -> Iterator[Callable[[], None]]:
    """Announce files to download; gives what is to be called after each of them."""
    count = _watched.get()
    if count is None or n_files == 0:
        yield lambda: None
        return

    def one_more() -> None:
        count.done += 1
        count.report(count.done, count.total)

    count.total += n_files
    count.report(count.done, count.total)
    yield one_more
