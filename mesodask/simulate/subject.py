"""A synthetic subject: ALF files of several days that ONE reads, and the truth about them."""

import datetime
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mesodask.errors import DataError, SettingsError
from mesodask.io.alf import write_one_tables
from mesodask.io.folders import resolved
from mesodask.simulate.activity import FovActivity, draw_drive
from mesodask.simulate.alf_writer import (
    FovFrames,
    write_activity,
    write_behavior,
    write_cluster_uids,
    write_fov,
)
from mesodask.simulate.anatomy import line_delays
from mesodask.simulate.behavior import Behavior, draw_behavior
from mesodask.simulate.neurons import FovRows, rows_of_day, site_order
from mesodask.simulate.recipe import SIGNALS, Recipe, complete_fractions, read_trials
from mesodask.simulate.truth import (
    PARTIAL_NAME,
    TRUTH_NAME,
    neurons_truth,
    read_truth,
    session_truth,
    write_truth,
)
from mesodask.simulate.wheel import draw_wheel

RECORDING_START = 1.0  # s on the session clock
MARGIN = 2.0  # s of recording before the first trial and after the last
MODEL_VERSION = 1  # to be raised when the same settings no longer give the same bytes
LATER_SETTINGS = {"code_rotation": 0.0}  # what subjects were made with before there was such a setting


@dataclass(frozen=True)
class SimulatedSubject:
    """A simulated subject on disk.

    Attributes
    ----------
    subject : str
        Name of the subject.
    folder : pathlib.Path
        Holds everything: ``one/``, ``chronic_csv/`` and ``truth.zarr``.
    eids : tuple of str
        The sessions, in date order.
    dates : tuple of datetime.date
        Their dates.
    settings : mapping of str to Any
        What the subject was made from.
    """

    subject: str
    folder: Path
    eids: tuple[str, ...]
    dates: tuple[datetime.date, ...]
    settings: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "SimulatedSubject":
        """Find the subject that :func:`simulate_subject` has left in a folder.

        Raises
        ------
        DataError
            The folder holds no finished simulation.
        """
        folder = resolved(folder)
        attributes = read_truth(folder).attrs
        settings = json.loads(attributes["settings"])
        dates = tuple(datetime.date.fromisoformat(date) for date in attributes["dates"])
        return cls(settings["subject"], folder, tuple(attributes["eids"]), dates, settings)

    @property
    def one_dir(self) -> Path:
        """The ONE folder, to be given as ``one=``."""
        return self.folder / "one"

    @property
    def roicat_root(self) -> Path:
        """The folder that holds the tree ``ROICaT/``, to be given as ``roicat_root=``."""
        return self.folder / "chronic_csv"

    @property
    def truth_path(self) -> Path:
        """The truth store; outside the ONE folder, so that nothing finds it by accident."""
        return self.folder / TRUTH_NAME

    def session_folder(self, eid: str) -> Path:
        """Folder of a session's ALF files."""
        date = self.dates[self.eids.index(eid)].isoformat()
        return self.one_dir / self.settings["lab"] / "Subjects" / self.subject / date / "001"

    def truth(self, eid: str) -> xr.Dataset:
        """Truth of one session (see :func:`mesodask.simulate.truth.session_truth`)."""
        return read_truth(self.folder, eid)

    def neurons(self) -> xr.Dataset:
        """Truth of all neurons (see :func:`mesodask.simulate.truth.neurons_truth`)."""
        return read_truth(self.folder, "neurons")


def simulate_subject(
    folder: str | Path,
    *,
    subject: str = Recipe.subject,
    lab: str = Recipe.lab,
    start_date: str | datetime.date = Recipe.start_date,
    n_days: int = Recipe.n_days,
    rois_per_fov: Sequence[int] = Recipe.rois_per_fov,
    n_trials: int = Recipe.n_trials,
    n_frames: int = Recipe.n_frames,
    frame_period: float = Recipe.frame_period,
    fractions: Mapping[str, float] | None = None,
    persistence: float = Recipe.persistence,
    untracked: float = Recipe.untracked,
    non_cells: float = Recipe.non_cells,
    shuffle_fovs: bool = Recipe.shuffle_fovs,
    drift: float = Recipe.drift,
    code_rotation: float = Recipe.code_rotation,
    trials: pd.DataFrame | str | Path | None = None,
    no_go_rate: float = Recipe.no_go_rate,
    missing_movement_rate: float = Recipe.missing_movement_rate,
    bad_frames: float = Recipe.bad_frames,
    gap: float = Recipe.gap,
    histology: bool = Recipe.histology,
    signals: Sequence[str] = SIGNALS,
    seed: int = Recipe.seed,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedSubject:
    """Write a synthetic subject in the layout of real IBL mesoscope sessions, one session a day.

    A mouse without history performs the IBL task (:mod:`mesodask.numerics.taskmodel`); stated fractions of
    neurons code choice, stimulus, feedback and block (:func:`mesodask.simulate.activity.code_trains`); the
    files are those of a real session, with tables for ONE, a ROICaT tree, and the truth beside them. The same
    settings give the same bytes, and a session does not depend on how many there are. If the folder already
    holds a subject of the same settings it is returned as it is; what an interrupted simulation has left is
    made again.

    Parameters
    ----------
    folder : path-like
        Where to write ``one/``, ``chronic_csv/ROICaT/`` and ``truth.zarr``; new, empty, or see above.
    subject, lab : str
        Names in the path.
    start_date : str or datetime.date
        Date of the first session; the others follow day by day.
    n_days : int
        Number of sessions.
    rois_per_fov : sequence of int
        ROIs of each field of view; ``REAL_FOV_SIZES`` are those of a real session.
    n_trials : int
        Trials a session; not used with `trials`.
    n_frames : int
        Frames a session, at least; always as many as the trials need.
    frame_period : float
        Time between frames, s.
    fractions : mapping of str to float, optional
        Fraction of neurons that code each target; a target that is not named is coded by none. The default is
        a quarter for each of the four.
    persistence : float
        Probability that a neuron is seen on a day; else its place is taken by a neuron of that day only.
    untracked : float
        Probability that an ROI has no cluster UID on a day.
    non_cells : float
        Probability that an ROI is not classified as a cell on a day.
    shuffle_fovs : bool
        Give the fields of view other numbers each day.
    drift : float
        Standard deviation of the log rate that comes from slow fluctuations (300 s) without any code.
    code_rotation : float
        Degrees by which the weights of every code turn from day to day, in a plane of their own, towards a code that
        the same neurons would have as well (see :func:`mesodask.simulate.neurons.weights_of_day`): the populations of
        two days that are d apart have codes whose cosine is about ``cos(d code_rotation)``.
    trials : pandas.DataFrame or path-like, optional
        Recorded trials (or a CSV file of them) in place of simulated ones, on every day; columns that they
        lack are drawn.
    no_go_rate : float
        Probability that a trial is made a no-go, with its timeout of 60 s.
    missing_movement_rate : float
        Probability that firstMovement_times is NaN though the mouse moved.
    bad_frames : float
        Probability that a frame is flagged as bad, in all fields of view at once.
    gap : float
        Pause of the imaging halfway through the session, s.
    histology : bool
        Name coordinates and areas as found by histology, not as estimates.
    signals : sequence of str
        Which of ``deconvolved, fluorescence, neuropil`` to write.
    seed : int
        Seed of all draws.
    progress : callable, optional
        Called as ``progress(session_index, n_sessions)`` before each session, and with both equal at the end.

    Returns
    -------
    SimulatedSubject

    Raises
    ------
    SettingsError
        An argument has a value that is not allowed.
    DataError
        The folder holds something else, or `trials` are not as they should be.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mouse = simulate_subject(folder, n_days=1, rois_per_fov=(3, 2), n_trials=5)
    ...     mouse.truth(mouse.eids[0])["is_cell"].shape
    (5,)
    """
    recipe = Recipe(
        subject=subject,
        lab=lab,
        start_date=_as_date(start_date),
        n_days=n_days,
        rois_per_fov=tuple(rois_per_fov),
        n_trials=n_trials,
        n_frames=n_frames,
        frame_period=frame_period,
        fractions=complete_fractions(fractions),
        persistence=persistence,
        untracked=untracked,
        non_cells=non_cells,
        shuffle_fovs=shuffle_fovs,
        drift=drift,
        code_rotation=code_rotation,
        no_go_rate=no_go_rate,
        missing_movement_rate=missing_movement_rate,
        bad_frames=bad_frames,
        gap=gap,
        histology=histology,
        signals=tuple(signals),
        seed=seed,
    )
    recorded = None if trials is None else read_trials(trials)
    settings = recipe.as_json() | {"trials": _fingerprint(recorded), "model_version": MODEL_VERSION}
    folder = resolved(folder)
    if not _is_made(folder, settings):
        _make(folder, recipe, recorded, settings, progress or _say_nothing)
    return SimulatedSubject.open(folder)


def _as_date(date: str | datetime.date) -> datetime.date:
    try:
        return date if isinstance(date, datetime.date) else datetime.date.fromisoformat(date)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"start_date is {date!r}; expected YYYY-MM-DD") from error


def _say_nothing(_session_index: int, _n_sessions: int) -> None:
    pass


def _fingerprint(recorded: pd.DataFrame | None) -> str | None:
    if recorded is None:
        return None
    return hashlib.blake2b(recorded.to_csv().encode(), digest_size=8).hexdigest()


def _is_made(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Tell whether the folder holds this very subject; refuse one that holds anything else."""
    if (folder / TRUTH_NAME).is_dir():
        found = SimulatedSubject.open(folder).settings
        found = LATER_SETTINGS | dict(found)
        wanted = json.loads(json.dumps(settings))
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if differing:
            raise DataError(
                f"holds a simulated subject with other settings ({', '.join(differing)}); "
                "choose another folder, or remove this one",
                folder,
            )
        return True
    foreign = [name for name in ("one", "chronic_csv") if (folder / name).exists()]
    if foreign and not (folder / PARTIAL_NAME).is_dir():
        raise DataError(f"already holds {' and '.join(foreign)}; choose a new or empty folder", folder)
    return False


def _make(
    folder: Path,
    recipe: Recipe,
    recorded: pd.DataFrame | None,
    settings: Mapping[str, Any],
    report: Callable[[int, int], None],
) -> None:
    one_dir, roicat_root = folder / "one", folder / "chronic_csv"
    for leftover in (one_dir, roicat_root):
        if leftover.exists():
            shutil.rmtree(leftover)
    # this marks the folder as ours until the truth is whole
    (folder / PARTIAL_NAME).mkdir(parents=True, exist_ok=True)
    truths, rows = [], []
    for day in range(recipe.n_days):
        report(day, recipe.n_days)
        relative = recipe.session_path(day)
        session = one_dir / recipe.lab / "Subjects" / relative
        truth, rows_today = _write_session(session, roicat_root / "ROICaT" / relative, recipe, day, recorded)
        truths.append(truth)
        rows += rows_today
    eids = write_one_tables(one_dir)
    dates = [recipe.date(day).isoformat() for day in range(recipe.n_days)]
    attributes = {"settings": json.dumps(settings), "eids": eids, "dates": dates}
    groups = dict(zip(eids, truths, strict=True)) | {"neurons": neurons_truth(rows)}
    write_truth(folder, groups, attributes)
    report(recipe.n_days, recipe.n_days)


def _write_session(
    session: Path, roicat: Path, recipe: Recipe, day: int, recorded: pd.DataFrame | None
) -> tuple[xr.Dataset, list[FovRows]]:
    behavior = draw_behavior(
        recipe.rng("behavior", day),
        n_trials=recipe.n_trials,
        recorded=recorded,
        no_go_rate=recipe.no_go_rate,
        missing_movement_rate=recipe.missing_movement_rate,
    )
    write_behavior(session / "alf" / "task_00", behavior, draw_wheel(behavior, recipe.rng("wheel", day)))
    frames = _draw_frames(recipe, day, behavior)
    drive = draw_drive(recipe, day, behavior, len(frames[0].times))
    all_rows = []
    for number, (fov_frames, site) in enumerate(zip(frames, site_order(recipe, day).tolist(), strict=True)):
        name = f"FOV_{number:02d}"
        rows = rows_of_day(recipe, site, day)
        write_fov(session / "alf" / name, fov_frames, rows, site, histology=recipe.histology)
        write_cluster_uids(roicat / "alf" / name, rows)
        delay = line_delays()[rows.stack_pos[:, 0]]
        activity = FovActivity(recipe, site, day, rows, fov_frames.times, delay, drive)
        write_activity(session / "alf" / name, activity.blocks(), len(fov_frames.times), len(rows))
        all_rows.append(rows)
    return session_truth(behavior, frames, all_rows), all_rows


def _draw_frames(recipe: Recipe, day: int, behavior: Behavior) -> list[FovFrames]:
    """Draw the frames of all fields of view: scanned one after another, so each has its own offset."""
    first_trial = float(behavior.trials["intervals_0"].iloc[0])
    start = min(RECORDING_START, first_trial - MARGIN)
    needed = int(np.ceil((behavior.end + MARGIN - start - recipe.gap) / recipe.frame_period))
    n_frames = max(recipe.n_frames, needed)
    times = start + recipe.frame_period * np.arange(n_frames, dtype=np.float64)
    times[n_frames // 2 :] += recipe.gap
    bad = recipe.rng("bad frames", day).random(n_frames) < recipe.bad_frames
    n_fovs = len(recipe.rois_per_fov)
    return [FovFrames(times + recipe.frame_period * number / n_fovs, bad) for number in range(n_fovs)]
