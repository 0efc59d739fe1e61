"""What a simulated subject is made of: its settings, checked once, and their random streams."""

import datetime
import numbers
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.seeds import Key, generator

TARGETS = ("choice", "stimulus", "feedback", "block")
SIGNALS = ("deconvolved", "fluorescence", "neuropil")

# ROIs of FOV_00 to FOV_07, frames and trials of a real session (SP061, 2025-01-28)
REAL_FOV_SIZES = (2228, 916, 3999, 4019, 4413, 2894, 4104, 3035)
REAL_N_FRAMES = 19_569
REAL_N_TRIALS = 522


# far more than any recording has: beyond it a number is mistyped, and would fill the disk
MOST_ROIS = 1_000_000
INTEGERS = {"n_days": (1, 10_000), "n_trials": (1, 1_000_000), "n_frames": (0, 10_000_000), "seed": (0, None)}


@dataclass(frozen=True)
class Recipe:
    """Settings of a simulated subject; :func:`mesodask.simulate_subject` says what each one is.

    Raises
    ------
    SettingsError
        A value is not allowed; the message says which.

    Examples
    --------
    >>> Recipe(n_days=0)
    Traceback (most recent call last):
    mesodask.errors.SettingsError: n_days is 0; expected an integer of at least 1
    """

    subject: str = "SP072"
    lab: str = "simlab"
    start_date: datetime.date = datetime.date(2025, 1, 13)
    n_days: int = 4
    rois_per_fov: tuple[int, ...] = (60, 60)
    n_trials: int = 200
    n_frames: int = 0
    frame_period: float = 1 / 5.046
    fractions: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    persistence: float = 0.95
    untracked: float = 0.05
    non_cells: float = 0.05
    shuffle_fovs: bool = False
    drift: float = 0.0
    code_rotation: float = 0.0
    no_go_rate: float = 0.0
    missing_movement_rate: float = 0.0
    bad_frames: float = 0.001
    gap: float = 0.0
    histology: bool = False
    signals: tuple[str, ...] = SIGNALS
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("subject", "lab"):
            value = getattr(self, name)
            # ONE reads names out of the path, and allows no others there
            if not isinstance(value, str) or not re.fullmatch(r"[\w-]+", value, re.ASCII):
                raise SettingsError(f"{name} is {value!r}; expected letters, digits, _ and - only")
        for name, (least, most) in INTEGERS.items():
            _check_integer(name, getattr(self, name), least, most)
        if not self.rois_per_fov:
            raise SettingsError("rois_per_fov is empty; expected the number of ROIs of each field of view")
        for size in self.rois_per_fov:
            _check_integer("rois_per_fov", size, 1, MOST_ROIS)
        rates = ("persistence", "untracked", "non_cells", "no_go_rate", "missing_movement_rate", "bad_frames")
        for name in rates:
            _check_range(name, getattr(self, name), 0, 1)
        complete_fractions(dict(zip(TARGETS, self.fractions, strict=True)))
        _check_range("frame_period", self.frame_period, 0.02, 1)
        _check_range("drift", self.drift, 0, 10)
        _check_range("code_rotation", self.code_rotation, 0, 180)
        _check_range("gap", self.gap, 0, 3600)
        if not self.signals or not set(self.signals) <= set(SIGNALS):
            raise SettingsError(f"signals is {self.signals}; expected one or more of {', '.join(SIGNALS)}")

    @property
    def n_rois(self) -> int:
        """ROIs of one session, over all its fields of view."""
        return sum(self.rois_per_fov)

    def date(self, day: int) -> datetime.date:
        """Date of a session, from its index; one session a day."""
        return self.start_date + datetime.timedelta(days=day)

    def session_path(self, day: int) -> Path:
        """``subject/date/001``, as IBL lays sessions out."""
        return Path(self.subject) / self.date(day).isoformat() / "001"

    def rng(self, *key: Key) -> np.random.Generator:
        """Random stream of this subject for one purpose (see :mod:`mesodask.numerics.seeds`)."""
        return generator(self.seed, "simulate", self.subject, *key)

    def as_json(self) -> dict[str, Any]:
        """Give the settings as plain values, to be stored with the truth."""
        return asdict(self) | {"start_date": self.start_date.isoformat()}


def _check_integer(name: str, value: object, least: int, most: int | None) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise SettingsError(f"{name} is {value!r}; expected an integer of at least {least}")
    if most is not None and int(value) > most:
        raise SettingsError(f"{name} is {value!r}; expected an integer of at most {most}")


def _check_range(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, numbers.Real) or not low <= float(value) <= high:
        raise SettingsError(f"{name} is {value!r}; expected a number from {low} to {high}")


def complete_fractions(fractions: Mapping[str, float] | None) -> tuple[float, ...]:
    """Put fractions of coding neurons in the order of ``TARGETS``.

    Parameters
    ----------
    fractions : mapping of str to float or None
        Fraction of neurons that code each target; a target that is not named is coded by none. None means the
        default of :class:`Recipe`.

    Raises
    ------
    SettingsError
        A target has an unknown name, or a fraction is no number from 0 to 1.

    Examples
    --------
    >>> complete_fractions({"stimulus": 0.5})
    (0.0, 0.5, 0.0, 0.0)
    """
    if fractions is None:
        return Recipe.fractions
    unknown = sorted(set(fractions) - set(TARGETS))
    if unknown:
        raise SettingsError(f"fractions names {', '.join(unknown)}; expected some of {', '.join(TARGETS)}")
    for target, fraction in fractions.items():
        _check_range(f"fractions[{target!r}]", fraction, 0, 1)
    return tuple(float(fractions.get(target, 0.0)) for target in TARGETS)


def read_trials(trials: pd.DataFrame | str | Path) -> pd.DataFrame:
    """Take trials that were recorded elsewhere, from a table or a CSV file.

    Parameters
    ----------
    trials : pandas.DataFrame or path-like
        One row a trial, IBL's column names; stimOn_times, choice, contrastLeft, contrastRight and
        probabilityLeft must be there.

    Returns
    -------
    pandas.DataFrame
        A copy with an index from 0.

    Raises
    ------
    DataError
        The file cannot be read, a column is missing, or the times do not increase.

    Examples
    --------
    >>> shown = {"contrastLeft": [0.5], "contrastRight": [None], "probabilityLeft": [0.5]}
    >>> read_trials(pd.DataFrame({"stimOn_times": [1.0], "choice": [2], **shown}))
    Traceback (most recent call last):
    mesodask.errors.DataError: choice holds other values than -1, 0 and 1; leave trials without a choice out
    """
    path = None if isinstance(trials, pd.DataFrame) else Path(trials)
    try:
        table = trials if isinstance(trials, pd.DataFrame) else pd.read_csv(trials)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as a CSV table of trials ({error})", path) from error
    required = {"stimOn_times", "choice", "contrastLeft", "contrastRight", "probabilityLeft"}
    missing = sorted(required - set(table.columns))
    if missing:
        raise DataError(f"trials lack {', '.join(missing)}; found {', '.join(map(str, table.columns))}", path)
    for name in ("stimOn_times", "response_times", "feedback_times"):
        if name in table and not np.isfinite(table[name].to_numpy(dtype=float)).all():
            raise DataError(f"{name} has trials without a time; leave those trials out", path)
    if len(table) == 0 or not (np.diff(table["stimOn_times"]) > 0).all():
        raise DataError("stimOn_times must increase from trial to trial, and there must be a trial", path)
    if not table["choice"].isin((-1, 0, 1)).all():
        raise DataError("choice holds other values than -1, 0 and 1; leave trials without a choice out", path)
    return table.reset_index(drop=True)
