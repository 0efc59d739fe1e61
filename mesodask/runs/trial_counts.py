"""How many trials each session of a run has, known from the trials tables alone, before anything is embedded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mesodask import sessions, trial_masks
from mesodask.errors import DataError
from mesodask.io import alf, cache
from mesodask.io.session_names import SessionInfo
from mesodask.numerics.labels import binary_labels
from mesodask.settings import RunSettings
from mesodask.trial_masks import TrialMask

Counts = dict[tuple[str, str], int]
"""Trials of the smaller class by (target, eid)."""


def trials_of(infos: Sequence[SessionInfo], one: Any, folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read the trials tables of sessions, embedded or not; one that cannot be read is empty."""
    tables = {}
    for info in infos:
        try:
            tables[info.eid] = sessions.trials_of(
                alf.SessionFiles(one, info.eid), cache.session_store(folder, info.eid)
            )
        except DataError:
            tables[info.eid] = {}
    return tables


def count_trials(
    tables: Mapping[str, Mapping[str, np.ndarray]], settings: RunSettings, trial_mask: TrialMask
) -> Counts:
    """Count the trials of the smaller class: with a label and an event, whatever their windows hold."""
    lengths = {eid: len(next(iter(table.values()))) if table else None for eid, table in tables.items()}
    masks = trial_masks.masks(trial_mask, list(tables), lengths.get)
    counts = {}
    for target in settings.targets:
        for eid, table in tables.items():
            try:
                labels = binary_labels(table, target)
                event = np.asarray(table[settings.target(target).event], dtype=np.float64)
            except (DataError, KeyError):
                counts[target, eid] = 0
                continue
            kept = np.isfinite(labels) & np.isfinite(event) & masks.get(eid, True)
            counts[target, eid] = int(np.bincount(labels[kept].astype(int), minlength=2).min())
    return counts
