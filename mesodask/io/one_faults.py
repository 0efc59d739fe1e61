"""What becomes of ONE's own errors and log lines: ours say the same, and which files are meant."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from mesodask.errors import DataError, MesodaskError

TABLES = ("sessions.pqt", "datasets.pqt")


@contextlib.contextmanager
def naming_tables(one: Any) -> Iterator[None]:
    """Say of what ONE cannot make sense of, which raises many kinds, that its tables are damaged.

    Raises
    ------
    DataError
        In place of them.
    """
    try:
        yield
    except (OSError, MesodaskError, MemoryError):  # OSError: a server that does not answer
        raise
    except Exception as error:
        raise DataError(
            f"the ONE tables ({' and '.join(TABLES)}) are damaged ({type(error).__name__}: {error}); copy them again, "
            "or index the folder anew with mesodask.io.alf.write_one_tables(folder)",
            one.cache_dir,
        ) from error


@contextlib.contextmanager
def quiet_one(one: Any) -> Iterator[None]:
    """Silence what ONE logs and prints of a download: the error we raise, and the progress we tell, say the same."""
    logger = logging.getLogger("one.api")
    client = None if one.offline else one.alyx
    before = logger.level, client is not None and client.silent
    logger.setLevel(logging.CRITICAL)
    if client is not None:
        client.silent = True
    try:
        yield
    finally:
        logger.setLevel(before[0])
        if client is not None:
            client.silent = before[1]
