"""Names of folders and files as users give them."""

from pathlib import Path

from mesodask.errors import SettingsError


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
        return path.resolve()
    except (RuntimeError, OSError) as error:  # the former before Python 3.13
        raise SettingsError(f"{path}: cannot be followed ({error})") from error
