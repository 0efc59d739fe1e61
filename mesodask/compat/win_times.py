"""The event windows of the original scripts, ``get_win_times``."""

from typing import Any

import numpy as np
from iblutil.util import Bunch

from mesodask.compat.keywords import original
from mesodask.errors import DataError
from mesodask.event_windows import WINDOWS, EventWindow
from mesodask.io import alf, behavior

Window = list[Any]  # [event, mask (n_trials,) bool, [seconds before the event, seconds after it]]


@original()
def get_win_times(eid: str, *, one: Any = None, collection: str | None = None) -> tuple[Bunch, dict[str, Window]]:
    """Give the trials of a session, and the event windows that the original scripts cut it into.

    Different from the originals: a trial is 10 deep in a block if all ten before it are in it (they looked at the
    tenth alone, and for the first trials at the session's end); :mod:`mesodask.event_windows` has the definitions.

    Parameters
    ----------
    eid : str
        The session.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    collection : str, optional
        Where the trials lie, e.g. ``alf/task_00``, if several collections hold biased blocks.

    Returns
    -------
    trials : dict of str to numpy.ndarray
        Columns of the trials table, each (n_trials,), and ``intervals`` (n_trials, 2).
    tts : dict of str to list
        By the window's name: ``[event, mask, [before, after]]``, the column that it lies around, which trials are
        meant, (n_trials,) bool, and the window from ``event - before`` to ``event + after``, in s.

    Raises
    ------
    DataError
        The session has no trials, or they lack a column.

    Examples
    --------
    >>> trials, tts = get_win_times(eid)  # doctest: +SKIP
    >>> event, mask, (before, after) = tts["choiceL"]  # doctest: +SKIP
    >>> trials[event][mask]  # doctest: +SKIP
    """
    files = alf.SessionFiles(alf.connect(one), eid)
    trials = behavior.read_trials(files, collection)
    if not trials:
        raise DataError("the session has no trials, which the event windows need", files.info.path)
    found = {window.name: _as_it_was(window, trials) for window in WINDOWS}
    return Bunch(trials, intervals=np.column_stack([trials["intervals_0"], trials["intervals_1"]])), found


def _as_it_was(window: EventWindow, trials: dict[str, np.ndarray]) -> Window:
    start, stop = window.window
    return [window.event, window.trials(trials), [0.0 - start, stop]]  # without a -0.0
