"""The exceptions of mesodask: one family, so that ``except MesodaskError`` catches them all; and words of messages.

Every message says which file, session or setting is meant, what was found, what was expected and what to do.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST_VALUE = 60  # letters of a value that a message shows


class MesodaskError(Exception):
    """Base of all errors that mesodask raises on purpose.

    Attributes
    ----------
    exit_status : int
        What the command line ends with: 2 for wrong usage or input, 1 for work that failed.
    result : object
        What there is all the same, as the function would have given it; None if that is nothing.
    """

    exit_status = 2
    result: Any = None


class SettingsError(MesodaskError, ValueError):
    """A setting or argument has a value that is not allowed.

    Parameters
    ----------
    message : str
        What was found, what is allowed.
    faults : sequence of (tuple, str)
        The same setting by setting, where it is known: its key, and what is wrong with it.
    """

    def __init__(self, message: str, faults: Sequence[tuple[tuple[str | int, ...], str]] = ()) -> None:
        super().__init__(message)
        self.faults = list(faults)


class DataError(MesodaskError, ValueError):
    """A file or an array is not what the ALF convention or the definition of the analysis asks for.

    Parameters
    ----------
    message : str
        What was found, what was expected, what to do.
    path : path-like, optional
        The file that is meant; it is put in front of the message.
    """

    def __init__(self, message: str, path: str | Path | None = None) -> None:
        super().__init__(f"{path}: {message}" if path is not None else message)
        self.path = None if path is None else Path(path)

    def __reduce__(self) -> tuple:
        # the default would call DataError(full message) and then lose the path
        return _rebuild_data_error, (type(self), self.args[0], self.path)


def _rebuild_data_error(kind: type["DataError"], message: str, path: Path | None) -> "DataError":
    error = kind(message)
    error.path = path
    return error


class SessionNotFoundError(MesodaskError, LookupError):
    """A session, or the ONE folder it should be in, cannot be found."""


class AccessError(MesodaskError):
    """A server refuses the credentials, or wants some and got none.

    Parameters
    ----------
    message : str
        Which address, what was sent, where credentials are taken from; never the credentials.
    status : int
        What the server answered, 401 or 403.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple:
        # the default would call AccessError(message)
        return type(self), (self.args[0], self.status)


class TrackingError(MesodaskError, ValueError):
    """Sessions cannot be compared: too few of them, or no neuron in common."""


class StoreError(MesodaskError, RuntimeError):
    """A Zarr store on disk is damaged, incomplete or made from something else, or a file cannot be written."""


class LockedError(StoreError):
    """Another process writes to a store, or took it over from this one; the message names it."""


class NothingToDecodeError(MesodaskError, ValueError):
    """Every session of a run was skipped; the message lists the reasons."""


class SessionsFailedError(MesodaskError, RuntimeError):
    """Some sessions of several could not be opened or built; all others are.

    Parameters
    ----------
    errors : mapping of str to MesodaskError
        Why, by eid.
    n_sessions : int
        How many were asked for.
    """

    def __init__(self, errors: Mapping[str, MesodaskError], n_sessions: int) -> None:
        reasons = "\n".join(f"  {eid}: {error}" for eid, error in errors.items())
        super().__init__(f"{len(errors)} of {n_sessions} sessions failed, the others are stored:\n{reasons}")
        self.errors = dict(errors)
        self.n_sessions = n_sessions

    def __reduce__(self) -> tuple:
        # the default would call SessionsFailedError(message)
        return type(self), (self.errors, self.n_sessions)


class ClusterError(MesodaskError, RuntimeError):
    """The cluster that computes is gone; everything that was computed is stored."""

    exit_status = 1


class TasksFailedError(MesodaskError, RuntimeError):
    """Some tasks failed for good; everything else is finished and stored."""

    exit_status = 1


# words of messages -----------------------------------------------------------------------------------------------


def nearest(name: str, known: Iterable[str]) -> str:
    """Ask whether the name that is the most alike was meant; empty if none is alike.

    Examples
    --------
    >>> nearest("choise", ["choice", "block"]), nearest("odour", ["choice", "block"])
    ("; did you mean 'choice'?", '')
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def short(value: Any) -> str:
    """Show a value that was found, in one line, and not all of it if it is long."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    text = re.sub(r"\s*\n\s*", " ", repr(value))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
