"""Names of folders and files as users give them, and what the file system says of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mesodask.errors import SettingsError, StoreError


def expanded(path: str | Path) -> Path:
    """Give a path with ``~`` replaced by a home folder.

    Raises
    ------
    SettingsError
        It begins with the home of somebody who has none here, or holds a NUL character, as no name does.

    Examples
    --------
    >>> expanded("/data/one").as_posix()
    '/data/one'
    >>> expanded("~nobody-of-this-name/one")
    Traceback (most recent call last):
    mesodask.errors.SettingsError: ~nobody-of-this-name/one: nobody of this name has a home folder here
    """
    if "\0" in str(path):
        raise SettingsError(f"{str(path)!r}: holds a NUL character, which no name of a file or folder has")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"{path}: nobody of this name has a home folder here") from error


def resolved(path: str | Path) -> Path:
    """Give a path as :func:`expanded`, absolute and without links.

    Raises
    ------
    SettingsError
        As :func:`expanded`, or its links lead in a circle.
    """
    path = expanded(path)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()  # tells links in a circle, which Python 3.13 resolves to themselves
        return path.resolve()
    except (RuntimeError, OSError) as error:
        raise SettingsError(f"{path}: cannot be followed ({error})") from error


@contextlib.contextmanager
def naming_file(path: Path, undone: str) -> Iterator[None]:
    """Turn what the file system raises into an error that names the file, so that it costs nothing else.

    Parameters
    ----------
    path : pathlib.Path
        What is written, where the file system does not say it: a full disk names nothing.
    undone : str
        What is not done now.

    Raises
    ------
    StoreError
        The disk is full, the folder is not to be written to, or the like.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename or path}: {error.strerror or error}; {undone}. Make space, or see to the permissions, "
            "and call again"
        ) from error
