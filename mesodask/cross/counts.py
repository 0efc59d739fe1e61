"""Which scores of a cross-session run are stored, given up, damaged or still to come, and when; it only reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from mesodask.errors import StoreError
from mesodask.io.cross_target import CrossTarget
from mesodask.io.crossstore import CrossSessionStore
from mesodask.runs.counts import Record, TargetStatus, Written, skipped_sessions


def count_cross_target(
    store: CrossSessionStore, target: str, failures: Sequence[Record]
) -> tuple[TargetStatus, list[Written]]:
    """Count the scores of a target: every model of a training session, and score and null scores of every pair.

    Parameters
    ----------
    store : CrossSessionStore
        The run.
    target : str
        Name of the target.
    failures : sequence of dict
        Failed tasks (:func:`mesodask.runs.counts.read_failures`).

    Returns
    -------
    status : TargetStatus
        Without rate and time left.
    written : list of Written
        When its scores were written.
    """
    try:
        found = store.target(target)
        values = found.columns.values()
        dates = store.tracked()["date"].values
        counts = _Counts(found)
        for train in found.training:
            if values["status"][train] != "skipped":
                _count_training(store, counts, train)
    except StoreError as error:  # being made at this moment, or damaged
        return TargetStatus(target, problem=str(error)), []
    status = values["status"].tolist()
    given_up = sum(int(record.get("n_scores", 0)) for record in failures if record.get("target") == target)
    failed = min(given_up, counts.total - counts.done)
    skipped = skipped_sessions(values, found.sessions, dates)
    return (
        TargetStatus(
            target, len(status), status.count("done"), skipped, counts.total, counts.done, failed,
            counts.total - counts.done - failed, counts.damaged,
        ),
        counts.written,
    )  # fmt: skip


@dataclass
class _Counts:
    found: CrossTarget
    total: int = 0
    done: int = 0
    damaged: int = 0
    written: list[Written] = field(default_factory=list)

    def add(self, n: int, done: Callable[[], int], name: str, *place: int) -> None:
        """Count n scores, some of which are done, by the array that is written last of them."""
        self.total += n
        try:
            n_done = done()
        except StoreError:
            self.damaged += n
            return
        self.done += n_done
        when = self.found.scored_at(name, *place)
        if n_done and when is not None:
            self.written.append(Written(when, n_done))


def _count_training(store: CrossSessionStore, counts: _Counts, train: int) -> None:
    found = counts.found
    for model in range(found.n_models):
        counts.add(1, partial(found.is_computed, train, model), "unconverged", train, model)
    for session, n_null in _tested(store, found, train):
        counts.add(1, partial(found.is_scored, train, session), "accuracy", train, session)
        if n_null:
            counts.add(n_null, partial(_n_null, found, train, session, n_null), "null_accuracy", train, session)


def _n_null(found: CrossTarget, train: int, session: int, n_null: int) -> int:
    return n_null - int(np.sum(found.missing_null(train, session, n_null)))


def _tested(store: CrossSessionStore, found: CrossTarget, train: int) -> Iterator[tuple[int, int]]:
    """Give the sessions that a training session's models are tested on, and how many null labels each pair has."""
    for session in found.tested(train):
        replaced = train if found.attrs.get("null_labels") == "train" else session
        attrs = store.feature_attributes(found.path.name, found.sessions[replaced])
        yield session, min(found.n_shuffles, attrs.get("n_null", found.n_shuffles))
