"""Behaviour of a simulated session: the trials table as ALF holds it, and what is behind it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mesodask.numerics.taskmodel import Observer, draw_choices, draw_trials

TABLE_COLUMNS = (
    "intervals_0",
    "intervals_1",
    "goCue_times",
    "stimOn_times",
    "response_times",
    "choice",
    "contrastLeft",
    "contrastRight",
    "feedback_times",
    "feedbackType",
    "rewardVolume",
    "probabilityLeft",
    "firstMovement_times",
)
ATTRIBUTE_COLUMNS = ("stimOff_times", "goCueTrigger_times", "stimOnTrigger_times", "quiescencePeriod")

RESPONSE_WINDOW = 60.0  # s from stimulus onset, after which the trial is a no-go
FIRST_STIMULUS = 6.0  # s
_AFTER_STIMULUS = ("response_times", "feedback_times", "stimOff_times", "intervals_1")
_TIMES = (
    "intervals_0",
    "goCue_times",
    "stimOn_times",
    "firstMovement_times",
    "goCueTrigger_times",
    "stimOnTrigger_times",
    *_AFTER_STIMULUS,
)


@dataclass(frozen=True)
class Behavior:
    """Trials of a session, and the truth behind them.

    Attributes
    ----------
    trials : pandas.DataFrame
        One row a trial with the columns ``TABLE_COLUMNS`` and ``ATTRIBUTE_COLUMNS``; times in s.
    side : ndarray of int64, shape (n_trials,)
        Where the stimulus was assigned, +1 right, -1 left.
    movement_times : ndarray of float64, shape (n_trials,)
        When the mouse really began to move, s; NaN on no-go trials. The table may lack it.
    """

    trials: pd.DataFrame
    side: NDArray[np.int64]
    movement_times: NDArray[np.float64]

    @property
    def end(self) -> float:
        """End of the last trial, s."""
        return float(self.trials["intervals_1"].iloc[-1])


def draw_behavior(
    rng: np.random.Generator,
    *,
    n_trials: int,
    recorded: pd.DataFrame | None = None,
    no_go_rate: float = 0.0,
    missing_movement_rate: float = 0.0,
) -> Behavior:
    """Draw the behaviour of a session, or complete one that was recorded.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the draws.
    n_trials : int
        Trials to be drawn from the task model; not used with `recorded`.
    recorded : pandas.DataFrame, optional
        Trials to be taken as they are (see :func:`mesodask.simulate.recipe.read_trials`); columns that it
        lacks are drawn.
    no_go_rate : float
        Probability that a trial becomes a no-go: no movement, a timeout of 60 s after the stimulus, choice 0,
        negative feedback; later trials move back.
    missing_movement_rate : float
        Probability that firstMovement_times is NaN though the mouse moved.

    Examples
    --------
    >>> behavior = draw_behavior(np.random.default_rng(0), n_trials=100)
    >>> bool((behavior.trials["feedback_times"] > behavior.trials["response_times"]).all())
    True
    """
    events = _draw_events(n_trials, rng) if recorded is None else recorded
    trials = _complete(events, rng)
    _add_no_gos(trials, no_go_rate, rng)
    movement_times = trials["firstMovement_times"].to_numpy(copy=True)
    hidden = rng.random(len(trials)) < missing_movement_rate
    trials.loc[hidden, "firstMovement_times"] = np.nan
    return Behavior(trials, stimulus_side(trials), movement_times)


def stimulus_side(trials: pd.DataFrame) -> NDArray[np.int64]:
    """Tell where the stimulus was assigned: the side with the higher contrast, else the side with a contrast.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the columns contrastLeft and contrastRight; NaN on the side without the stimulus.

    Returns
    -------
    ndarray of int64, shape (n_trials,)
        +1 right, -1 left.

    Examples
    --------
    >>> contrasts = {"contrastLeft": [0.25, np.nan, 0.0], "contrastRight": [np.nan, 0.0, np.nan]}
    >>> stimulus_side(pd.DataFrame(contrasts)).tolist()
    [-1, 1, -1]
    """
    left, right = (trials[name].to_numpy(dtype=float) for name in ("contrastLeft", "contrastRight"))
    difference = np.nan_to_num(right) - np.nan_to_num(left)
    return np.where(difference != 0, np.sign(difference), np.where(np.isnan(left), 1, -1)).astype(np.int64)


def _draw_events(n_trials: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what the task shows, what the observer answers, and when."""
    task = draw_trials(n_trials, rng)
    chose_right = draw_choices(Observer(), task, rng)
    correct = chose_right == (task.side > 0)
    # weak stimuli take longer; a few movements are anticipations, a few come very late
    median = 0.38 - 0.16 * task.contrast / (task.contrast + 0.1)
    reaction = median * rng.lognormal(0, 0.5, n_trials)
    kind = rng.random(n_trials)
    reaction = np.where(kind < 0.015, rng.uniform(-0.15, 0.05, n_trials), reaction)
    reaction = np.where(kind > 0.95, reaction + rng.exponential(2.0, n_trials), reaction).clip(max=30)
    response = np.maximum(reaction, 0.05) + rng.lognormal(np.log(0.2), 0.6, n_trials).clip(0.04, 5)
    spacing = response + np.where(correct, 1.0, 2.0) + 1.1 + rng.exponential(0.7, n_trials)
    stim_on = FIRST_STIMULUS + np.concatenate([[0.0], np.cumsum(spacing[:-1])])
    return pd.DataFrame(
        {
            "stimOn_times": stim_on,
            "firstMovement_times": stim_on + reaction,
            "response_times": stim_on + response,
            "choice": np.where(chose_right, -1, 1),
            "contrastLeft": np.where(task.side < 0, task.contrast, np.nan),
            "contrastRight": np.where(task.side > 0, task.contrast, np.nan),
            "probabilityLeft": task.probability_left,
        }
    )


def _complete(events: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Fill the columns that the events lack, in the order in which a trial goes."""
    columns = (*TABLE_COLUMNS, *ATTRIBUTE_COLUMNS)
    known = {name: events[name].to_numpy(dtype=float) for name in columns if name in events}
    stim_on, choice = known["stimOn_times"], known["choice"]
    trials = known | _answer_times(known, rng)
    outcome = np.where(choice == -stimulus_side(events), 1, -1)
    trials.setdefault("feedbackType", outcome)
    rewarded = trials["feedbackType"] > 0
    trials.setdefault("rewardVolume", np.where(rewarded, 1.5, 0.0))
    trials.setdefault("goCue_times", stim_on + rng.uniform(8e-4, 1.5e-3, len(events)))
    trials.setdefault("goCueTrigger_times", trials["goCue_times"] - rng.uniform(1e-4, 1e-3, len(events)))
    trials.setdefault("stimOnTrigger_times", stim_on - rng.uniform(0.01, 0.03, len(events)))
    trials.setdefault("quiescencePeriod", rng.uniform(0.4, 0.7, len(events)))
    # a trial begins with its quiescent period, not before the last trial's feedback, and ends before the next
    settled = np.concatenate([[-np.inf], trials["feedback_times"][:-1] + 0.05])
    trials.setdefault("intervals_0", np.maximum(stim_on - trials["quiescencePeriod"] - 0.05, settled))
    next_start = np.concatenate([trials["intervals_0"][1:], [np.inf]])
    stim_off = trials["feedback_times"] + np.where(rewarded, 1.0, 2.0)
    trials.setdefault("stimOff_times", np.minimum(stim_off, next_start - 0.01))
    trials.setdefault("intervals_1", np.minimum(trials["stimOff_times"] + 0.05, next_start))
    return pd.DataFrame({name: trials[name] for name in columns}).astype({"choice": "int64", "feedbackType": "int64"})


def _answer_times(known: Mapping[str, NDArray[np.float64]], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Find first movement, response and feedback from whichever of them are known."""
    stim_on = known["stimOn_times"]
    delay = rng.uniform(5e-4, 1.5e-3, len(stim_on))
    movement = rng.lognormal(np.log(0.15), 0.5, len(stim_on))
    if "response_times" in known:
        response = known["response_times"]
    elif "feedback_times" in known:
        response = known["feedback_times"] - delay
    else:
        response = stim_on + 0.3 * rng.lognormal(0, 0.5, len(stim_on)) + movement
    # a movement that is drawn leaves at least 40 % of the time since the stimulus for the reaction
    drawn = response - np.minimum(movement, 0.6 * np.maximum(response - stim_on, 0.0))
    first_movement = known.get("firstMovement_times", drawn)
    first_movement = np.where(np.isnan(first_movement), drawn, first_movement)
    return {
        "response_times": response,
        "feedback_times": known.get("feedback_times", response + delay),
        "firstMovement_times": np.where(known["choice"] == 0, np.nan, first_movement),
    }


def _add_no_gos(trials: pd.DataFrame, rate: float, rng: np.random.Generator) -> None:
    """Turn trials into no-gos, in place; what follows moves back by the time they wait."""
    no_go = (rng.random(len(trials)) < rate) & (trials["choice"].to_numpy() != 0)
    timeout = trials["stimOn_times"] + RESPONSE_WINDOW - trials["response_times"]
    wait = np.where(no_go, timeout.clip(lower=0), 0.0)
    for name in _TIMES:
        trials[name] += np.cumsum(wait) - (0 if name in _AFTER_STIMULUS else wait)
    trials.loc[no_go, ["choice", "feedbackType", "rewardVolume"]] = [0, -1, 0.0]
    trials.loc[no_go, "firstMovement_times"] = np.nan
