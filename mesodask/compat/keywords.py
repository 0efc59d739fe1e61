"""Keywords of the original functions: which are unknown, and which no longer have a meaning."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mesodask.errors import SettingsError, nearest

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Result = TypeVar("Result")

# keywords of several functions, and why they do nothing any more
SERVER_ROOT = "cluster UIDs are looked for in roicat_root and in the session's own FOV folders"
TRIAL_KEY = "every column of a trials table has a row for each trial, so any of them counts the same"
CEILING_MODE = "the ceiling is the mean score of all neurons, which it always was"
SHUFFLE_SEED = "every draw is keyed by the seed and what it is for, so no stream can run into another"


def original(**without_meaning: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Give a function the manners of the original names.

    A keyword that it does not know is an error that names the nearest one. One that no longer has a meaning is taken,
    and a log line tells why it does nothing, unless it has its default.

    Parameters
    ----------
    **without_meaning : str
        Why, by keyword.

    Examples
    --------
    >>> @original()
    ... def curve(X, cv_splits=5): ...
    >>> curve(0, cv_split=3)
    Traceback (most recent call last):
    mesodask.errors.SettingsError: curve: no keyword 'cv_split'; did you mean 'cv_splits'? (X, cv_splits)
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        signature = inspect.signature(function)
        known = list(signature.parameters)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            for name in kwargs:
                if name not in known:
                    raise SettingsError(
                        f"{function.__name__}: no keyword {name!r}{nearest(name, known)} ({', '.join(known)})"
                    )
            given = signature.bind(*args, **kwargs).arguments
            for name, why in without_meaning.items():
                if name in given and given[name] != signature.parameters[name].default:
                    logger.warning("%s: %s=%r does nothing any more: %s", function.__name__, name, given[name], why)
            return function(*args, **kwargs)

        return call

    return decorate
