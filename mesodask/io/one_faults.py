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
def quiet_one() -> Iterator[None]:
    """Silence ONE's own log lines where the error we raise says the same."""
    logger = logging.getLogger("one.api")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
