"""The windows of the IBL task that population activity is compared in: what happens, when, and on which trials.

They are those of the original scripts, with two mends: the first trials of a session are not deep in a block because
the last ones are, and a sample on the other side of an event is never read. In a name, b and c stand for the block and
the choice: ``stimLbRcL`` is a stimulus on the left in a block that favours the right, answered by the left choice.

=========================  ===================  ==============  =====================================================
name                       event                window (s)      trials
=========================  ===================  ==============  =====================================================
inter_trial                stimOn_times         -1.15, -1.00    those more than 1.15 s after the end of the one before
blockL, blockR, block50    stimOn_times         -0.40, -0.10    probabilityLeft 0.8, 0.2, 0.5
quiescence                 stimOn_times         -0.40, -0.10    all
stim<L,R>b<L,R>c<L,R>      stimOn_times         0.00, 0.20      stimulus side x block x choice, the ten trials before
                                                                in the same block
motor_init                 firstMovement_times  -0.15, 0.00     all
s<L,R>b<L,R>choice<L,R>    firstMovement_times  -0.15, 0.00     stimulus side x block x choice
choiceL, choiceR           firstMovement_times  0.00, 0.15      choice +1, -1
fback1, fback0             feedback_times       0.00, 0.30      feedbackType +1, -1
=========================  ===================  ==============  =====================================================
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesodask.errors import DataError

PAUSE = 1.15  # s
DEPTH = 10  # trials
BLOCKS = {"L": 0.8, "R": 0.2, "50": 0.5}  # probabilityLeft
CHOICES = {"L": 1, "R": -1}
SIDES = {"L": "contrastLeft", "R": "contrastRight"}


@dataclass(frozen=True)
class EventWindow:
    """A window around an event, on some of the trials.

    Attributes
    ----------
    name : str
        As the original scripts have it.
    label : str
        The same in words.
    event : str
        Column of the trials table.
    window : (float, float)
        Start and end relative to the event, s.
    side, block, choice : str
        L or R (block also 50): only trials with this stimulus side, block, choice; all if empty.
    feedback : int
        +1 or -1: only trials with this feedback; all if 0.
    deep, rested : bool
        Only trials with the ten before in the same block; only those more than 1.15 s after the end of the one before.
    """

    name: str
    label: str
    event: str
    window: tuple[float, float]
    side: str = ""
    block: str = ""
    choice: str = ""
    feedback: int = 0
    deep: bool = False
    rested: bool = False

    def definition(self) -> dict[str, Any]:
        """Everything that decides which samples are read."""
        return {name: value for name, value in asdict(self).items() if name != "label"}

    def trials(self, table: Mapping[str, NDArray]) -> NDArray[np.bool_]:
        """Tell which trials the window is for.

        Parameters
        ----------
        table : mapping of str to numpy.ndarray, each (n_trials,)
            Columns of the trials table.

        Returns
        -------
        numpy.ndarray, (n_trials,) bool
            Whether the event took place is not asked.

        Raises
        ------
        DataError
            A column is missing.

        Examples
        --------
        >>> left = EventWindow("choiceL", "left choice", "firstMovement_times", (0.0, 0.15), choice="L")
        >>> left.trials({"firstMovement_times": np.zeros(3), "choice": np.array([1, -1, 0])}).tolist()
        [True, False, False]
        """
        chosen = np.ones(len(_column(table, self.event)), dtype=bool)
        if self.side:
            chosen &= np.isfinite(_column(table, SIDES[self.side]))
        if self.block:
            chosen &= np.isclose(_column(table, "probabilityLeft"), BLOCKS[self.block])
        if self.choice:
            chosen &= _column(table, "choice") == CHOICES[self.choice]
        if self.feedback:
            chosen &= _column(table, "feedbackType") == self.feedback
        if self.deep:
            chosen &= _since_change(_column(table, "probabilityLeft")) >= DEPTH
        if self.rested:
            pause = _column(table, "stimOn_times")[1:] - _column(table, "intervals_1")[:-1]
            chosen[1:] &= pause > PAUSE
        return chosen


def _column(table: Mapping[str, NDArray], name: str) -> NDArray[np.float64]:
    if name not in table:
        raise DataError(f"the trials have no column {name}, which event windows need; found {', '.join(sorted(table))}")
    return np.asarray(table[name], dtype=np.float64)


def _since_change(values: NDArray) -> NDArray[np.intp]:
    """Count, for each trial, the trials before it in a row that have its value.

    Examples
    --------
    >>> _since_change(np.array([0.5, 0.5, 0.2, 0.2, 0.2, 0.5])).tolist()
    [0, 1, 0, 1, 2, 0]
    """
    places = np.arange(len(values))
    changes = np.append(True, np.diff(values) != 0)[: len(values)]
    return places - np.maximum.accumulate(np.where(changes, places, 0))


def _windows() -> tuple[EventWindow, ...]:
    before, early, late = (-0.40, -0.10), (-0.15, 0.0), (0.0, 0.15)
    onset, movement, feedback = "stimOn_times", "firstMovement_times", "feedback_times"
    crossed = list(itertools.product("LR", "LR", "LR"))
    return (
        EventWindow("inter_trial", "inter-trial", onset, (-1.15, -1.0), rested=True),
        EventWindow("blockL", "block L", onset, before, block="L"),
        EventWindow("blockR", "block R", onset, before, block="R"),
        EventWindow("block50", "block 50", onset, before, block="50"),
        EventWindow("quiescence", "quiescence", onset, before),
        *(
            EventWindow(
                f"stim{s}b{b}c{c}", f"stimulus: {s}, block {b}, choice {c}", onset, (0.0, 0.2), s, b, c, deep=True
            )
            for s, b, c in crossed
        ),
        EventWindow("motor_init", "before movement", movement, early),
        *(
            EventWindow(f"s{s}b{b}choice{c}", f"moving: {s}, block {b}, choice {c}", movement, early, s, b, c)
            for s, b, c in crossed
        ),
        EventWindow("choiceL", "choice L", movement, late, choice="L"),
        EventWindow("choiceR", "choice R", movement, late, choice="R"),
        EventWindow("fback1", "reward", feedback, (0.0, 0.3), feedback=1),
        EventWindow("fback0", "error", feedback, (0.0, 0.3), feedback=-1),
    )


WINDOWS = _windows()
