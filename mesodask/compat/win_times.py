"""The event windows of the original scripts, ``get_win_times``."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from iblutil.util import Bunch

from mesodask.compat.keywords import original
from mesodask.errors import DataError
from mesodask.io import alf, behavior

Window = list[Any]  # [event, mask (n_trials,) bool, [seconds before the event, seconds after it]]

DEPTH = 10  # trials
LONG_PAUSE = 1.15  # s
BASELINE, AFTER_STIMULUS, BEFORE_MOVEMENT = [0.4, -0.1], [0.0, 0.2], [0.15, 0.0]
P_LEFT = {"L": 0.8, "R": 0.2}
CHOICE = {"L": 1, "R": -1}
# block and choice, in the order in which the originals list them
SITUATIONS = (("L", "L"), ("R", "L"), ("R", "R"), ("L", "R"))
NEEDED = (
    "stimOn_times", "firstMovement_times", "feedback_times", "intervals_1", "choice", "feedbackType", "probabilityLeft",
    "contrastLeft", "contrastRight",
)  # fmt: skip


@original()
def get_win_times(eid: str, *, one: Any = None, collection: str | None = None) -> tuple[Bunch, dict[str, Window]]:
    """Give the trials of a session, and the event windows that the original scripts cut it into.

    Different from the originals: trials that are 10 deep in a block are not looked for beyond the session's first
    trial, at its end.

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
    missing = [name for name in NEEDED if name not in trials]
    if missing:
        what = f"no column {', '.join(missing)}" if trials else "no trials"
        raise DataError(f"session {eid} has {what}, which the event windows need", Path(files.info.path))
    return Bunch(trials, intervals=np.column_stack([trials["intervals_0"], trials["intervals_1"]])), windows(trials)


def windows(trials: dict[str, np.ndarray]) -> dict[str, Window]:
    """Event windows of a trials table (see :func:`get_win_times`).

    Parameters
    ----------
    trials : dict of str to numpy.ndarray, each (n_trials,)
        The columns :data:`NEEDED`.
    """
    n_trials = len(trials["stimOn_times"])
    every = np.ones(n_trials, dtype=bool)
    p_left = trials["probabilityLeft"]
    shown = {"L": ~np.isnan(trials["contrastLeft"]), "R": ~np.isnan(trials["contrastRight"])}
    chose = {side: trials["choice"] == choice for side, choice in CHOICE.items()}
    block = {side: p_left == p for side, p in P_LEFT.items()}
    deep = {side: block[side] & _shifted(block[side], DEPTH) for side in P_LEFT}
    pause = trials["stimOn_times"][1:] - trials["intervals_1"][:-1]
    found: dict[str, Window] = {
        "inter_trial": ["stimOn_times", np.append(True, pause > LONG_PAUSE), [LONG_PAUSE, -1.0]],
        "blockL": ["stimOn_times", block["L"], BASELINE],
        "blockR": ["stimOn_times", block["R"], BASELINE],
        "block50": ["stimOn_times", p_left == 0.5, BASELINE],
        "quiescence": ["stimOn_times", every, BASELINE],
    }
    for side, (b, c) in product("LR", SITUATIONS):
        found[f"stim{side}b{b}c{c}"] = ["stimOn_times", shown[side] & deep[b] & chose[c], AFTER_STIMULUS]
    found["motor_init"] = ["firstMovement_times", every, BEFORE_MOVEMENT]
    for side, (b, c) in product("LR", SITUATIONS):
        found[f"s{side}b{b}choice{c}"] = ["firstMovement_times", shown[side] & block[b] & chose[c], BEFORE_MOVEMENT]
    for c in CHOICE:
        found[f"choice{c}"] = ["firstMovement_times", chose[c], [0.0, 0.15]]
    for name, feedback in (("fback1", 1), ("fback0", -1)):
        found[name] = ["feedback_times", trials["feedbackType"] == feedback, [0.0, 0.3]]
    return {name: [event, mask, list(window)] for name, (event, mask, window) in found.items()}


def _shifted(mask: np.ndarray, n: int) -> np.ndarray:
    """Give each trial what holds n trials before it, and False to the first n.

    Examples
    --------
    >>> _shifted(np.array([True, False, True]), 1).tolist()
    [False, True, False]
    """
    shifted = np.zeros_like(mask)
    shifted[n:] = mask[: max(0, len(mask) - n)]
    return shifted
