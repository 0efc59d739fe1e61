"""The engine of cross-session runs: first the models of training sessions, then their scores on every other session.

Both are plans of :mod:`mesodask.runs.driver`. What follows from stored scores alone - which fold is picked, the scores
at home, p-values - is written by the driver, anew whenever anything was missing, so that no kill leaves it behind.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mesodask.checked import short_hash
from mesodask.cross import scores as cross_scores
from mesodask.cross.scores import FitBlock, Fitted, NullBlock, NullScores, Pair, PairBlock, PairScores, Trials
from mesodask.io import stores
from mesodask.io.cross_target import FOLD_SCORES, SCORES, CrossTarget
from mesodask.io.crossstore import KIND, PICKED, CrossSessionStore
from mesodask.io.target_store import UNDEFINED
from mesodask.numerics import inference
from mesodask.runs import driver
from mesodask.runs import features as run_features
from mesodask.runs.driver import AnyRun, Plan, Progress
from mesodask.settings import CrossSessionSettings

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient, Task

NONE_PICKED = -1


@dataclass(frozen=True)
class CrossSessionRun(AnyRun):
    """One cross-session run, to be computed."""

    kind: ClassVar[str] = KIND

    store: CrossSessionStore
    settings: CrossSessionSettings

    @property
    def training(self) -> range:
        """Indices of the sessions that are trained on."""
        return range(len(self.eids) if self.settings.train_on == "each" else 1)

    def skips(self, target: str) -> dict[str, str]:
        """Tell why each session is skipped: also where it could not be compared with any other."""
        dates = dict(zip(self.eids, self.tracked["date"].values.tolist(), strict=True))
        reasons = run_features.skips(self.store, target, self.eids)
        first = self.eids[0]
        if self.settings.train_on == "first" and reasons[first]:
            why = f"the first session, {dates[first]}, which is trained on, is skipped: {reasons[first]}"
            return {eid: reason or why for eid, reason in reasons.items()}
        left = [eid for eid, reason in reasons.items() if not reason]
        if len(left) == 1:
            others = [f"{dates[eid]}: {reason}" for eid, reason in reasons.items() if reason]
            why = f"all {len(others)} sessions that it would be tested on are skipped, e.g. {others[0]}"
            reasons[left[0]] = why
        return reasons

    def reserve(self, target: str) -> None:
        """Make room in the store for what is asked of a target."""
        settings = self.settings
        n_folds = settings.outer_cv
        sizes = {"fold": n_folds, "model": n_folds + (settings.transfer == "refit"), "shuffle": settings.n_shuffle}
        if self.decoder is None:
            sizes["neuron"] = self.tracked.sizes["neuron"]
        else:
            counts = [self.store.feature_attributes(target, eid)["n_decoded"] for eid in self.eids]
            sizes["trial"] = max(1, *counts)
        names = ("train_on", "transfer", "null_labels")
        attributes = {name: getattr(settings, name) for name in names} | {
            "definition": settings.definition(target),
            "target": target,
            "null_kind": settings.null_of(target),
        }
        self.store.reserve(target, sizes, self.eids, attributes)

    def asks_of(self, target: str, session: int) -> bool:
        """Tell whether anything of a session may have to be computed; reading what is there mends what is damaged."""
        if not stores.has_group(self.store.path, target):
            return True
        found = self.store.target(target)
        if found.n_shuffles < self.settings.n_shuffle or found.columns.values()["status"][session] != "done":
            return True
        return not _is_whole(self, found, session, self.settings.n_shuffle)

    def trials(self, target: str, session: int) -> Trials:
        """Tell a worker where it finds the trials of a session."""
        eid = self.eids[session]
        attrs = self.store.feature_attributes(target, eid)
        return Trials(str(self.store.path), target, eid, session, attrs["fingerprint"], attrs["n_null"])

    def n_null(self, target: str, train: int, session: int, n_shuffles: int) -> int:
        """Count the null labels of a pair: there may be fewer than are asked for."""
        replaced = train if self.settings.null_labels == "train" else session
        possible = self.store.feature_attributes(target, self.eids[replaced]).get("n_null", 0)
        return min(n_shuffles, possible)

    def is_decoded(self, target: str, session: int) -> bool:
        """Tell whether a session takes part in a target, that is, is not skipped."""
        return self.store.target(target).columns.values()["status"][session] != "skipped"


def carry_out(run: CrossSessionRun, client: "AnyClient | None", *, rerun: bool, report: Progress) -> CrossSessionStore:
    """Prepare and compute one run, under its lock.

    Raises
    ------
    NothingToDecodeError
        No target has both a training session and another one that is not skipped; the message lists the reasons.
    TasksFailedError
        Some tasks failed for good; all other scores are stored.
    """
    with run.store.writing(), driver.leaving(run.store):
        driver.prepare(run, rerun=rerun, report=report)
        with driver.workers(client) as give_client:
            fits = Plan(list(_model_shares(run)), report)
            fits.carry_out(give_client)
            _record_home(run, anew=not fits.is_empty)
            tests = Plan(list(_pair_shares(run)), report)
            tests.carry_out(give_client)
        _record_p_values(run, anew=not (fits.is_empty and tests.is_empty))
        tests.mark_done()
        driver.check_failures(fits.failures + tests.failures)
    return run.store


def _model_shares(run: CrossSessionRun) -> "Iterator[ModelShare]":
    for target in run.settings.targets:
        for session, status in enumerate(run.store.sessions(target)["status"].values.tolist()):
            if status != "skipped" and session in run.training:
                yield ModelShare(run, target, session, status)


def _pair_shares(run: CrossSessionRun) -> "Iterator[PairShare]":
    for target in run.settings.targets:
        models = {train: _model(run, run.store.target(target), train) for train in run.training}
        carried = {train: model for train, model in models.items() if model is not None}
        for session, status in enumerate(run.store.sessions(target)["status"].values.tolist()):
            if status != "skipped":
                yield PairShare(run, target, session, status, carried)


# what follows from stored scores alone ----------------------------------------------------------------------------


def _unfinished(run: CrossSessionRun, anew: bool) -> Iterator[str]:
    """Give the targets of which anything was missing, or may have been when a driver was killed."""
    for target in run.settings.targets:
        if anew or (run.store.sessions(target)["status"] == "partial").any():
            yield target


def _record_home(run: CrossSessionRun, *, anew: bool) -> None:
    """Store which fold is picked, and the scores at home, the means over the folds."""
    from mesodask.numerics import transfer

    for target in _unfinished(run, anew):
        found = run.store.target(target)
        picked = [NONE_PICKED] * len(run.training)
        for train in run.training:
            folds = np.array([[float(found.read(n, train, f)) for f in range(found.n_folds)] for n in FOLD_SCORES])
            if not run.is_decoded(target, train) or np.isnan(folds).any():
                continue
            if run.settings.transfer == "median_fold":
                picked[train] = transfer.median_fold(folds[0])
            for name, of_fold in zip(SCORES, folds, strict=True):
                defined = of_fold[of_fold != UNDEFINED]
                _write_changed(run, target, name, defined.mean() if len(defined) else np.nan, train, train)
        run.store.write_picked(target, picked)


def _record_p_values(run: CrossSessionRun, *, anew: bool) -> None:
    for target in _unfinished(run, anew):
        found = run.store.target(target)
        for train in run.training:
            for session in found.tested(train) if run.is_decoded(target, train) else ():
                null = found.read("null_accuracy", train, session)
                accuracy = float(found.read("accuracy", train, session))
                p = float(inference.p_value(accuracy, null))
                _write_changed(run, target, "p_value", p, train, session)


def _write_changed(run: CrossSessionRun, target: str, name: str, value: float, train: int, session: int) -> None:
    before = float(run.store.target(target).read(name, train, session))
    if before != value and not (np.isnan(before) and np.isnan(value)):
        run.store.write(target, name, value, train, session)


def _model(run: CrossSessionRun, found: CrossTarget, train: int) -> int | None:
    """Give the model of a training session that is carried abroad; None while it is not computed, or skipped."""
    if not run.is_decoded(found.path.name, train):
        return None
    if run.settings.transfer == "refit":
        return found.n_folds if found.is_computed(train, found.n_folds) else None
    picked = found.attrs.get(PICKED, NONE_PICKED)
    model = picked[train] if found.by_session and picked != NONE_PICKED else picked
    return None if model == NONE_PICKED or not found.is_computed(train, model) else model


def _is_whole(run: CrossSessionRun, found: CrossTarget, session: int, n_shuffles: int) -> bool:
    """Tell whether everything of a session is there: its models, and its scores by those of all training sessions."""
    target = found.path.name
    if not run.is_decoded(target, session):
        return True
    if session in run.training and not all(found.is_computed(session, model) for model in range(found.n_models)):
        return False
    for train in run.training:
        if train != session and run.is_decoded(target, train):
            n_null = run.n_null(target, train, session, n_shuffles)
            if not found.is_scored(train, session) or found.missing_null(train, session, n_null).any():
                return False
    return True


# shares -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelShare(driver.Share):
    """The models of one training session and target, and the null of its labels where that is the one asked for."""

    stage: ClassVar[str] = "models"

    run: CrossSessionRun
    target: str
    session: int
    status: str

    @property
    def _found(self) -> CrossTarget:
        return self.run.store.target(self.target)

    def _missing_models(self) -> list[int]:
        return [model for model in range(self._found.n_models) if not self._found.is_computed(self.session, model)]

    def _missing_null(self) -> Iterator[range]:
        """Give what is asked of each batch of permuted labels of which anything is missing."""
        if self.run.settings.null_labels != "train":
            return
        n_null = self.run.n_null(self.target, self.session, self.session, self.run.settings.n_shuffle)
        missing = [self._found.missing_null(self.session, test, n_null) for test in self._found.tested(self.session)]
        lacking = np.any(missing, axis=0)
        n_batch = cross_scores.null_batch(self.run.decoder)
        for first in range(0, n_null, n_batch):
            batch = range(first, min(first + n_batch, n_null))
            if lacking[batch.start : batch.stop].any():
                yield batch

    def count_missing(self) -> int:
        """Count models, and null accuracies of all test sessions."""
        n_tested = len(self._found.tested(self.session))
        return len(self._missing_models()) + n_tested * sum(len(batch) for batch in self._missing_null())

    def tasks(self) -> "Iterator[Task]":
        """Enumerate, lazily, the tasks that compute what is missing."""
        run, target = self.run, self.target
        training = run.trials(target, self.session)
        others = tuple(run.trials(target, session) for session in self._found.tested(self.session))
        for model in self._missing_models():
            fit = FitBlock(training, model, () if run.decoder is None else others, run.decoder)
            yield _task("fit", f"{self.session}-{model}", cross_scores.fit_block, fit, run, target, 1)
        for batch in self._missing_null():
            null = NullBlock(training, others, batch, run.decoder)
            n_scores = len(others) * len(batch)
            place = f"{self.session}-{batch.start}"
            yield _task("null", place, cross_scores.null_block, null, run, target, n_scores)

    def accept(self, task: "Task", result: Fitted | NullScores) -> tuple[int, int]:
        """Store a model, or a batch of the null."""
        if isinstance(result, NullScores):
            null: NullBlock = task.arguments[0]
            for other, accuracy in zip(null.others, result.accuracy, strict=True):
                self._write("null_accuracy", accuracy, other.session, first=null.shuffles.start)
        else:
            model: int = task.arguments[0].model
            for session, decisions in result.abroad.items():
                for name, values in decisions.items():
                    self._write(name, values, model, session)
            for name, value in result.values.items():
                self._write(name, value, model)
        return task.label["n_scores"], result.unconverged

    def _write(self, name: str, values: Any, *index: int, first: int = 0) -> None:
        self.run.store.write(self.target, name, values, self.session, *index, first=first)

    def is_whole(self) -> bool:
        """Leave it to the session's other share, which looks for all of it."""
        return False


@dataclass(frozen=True)
class PairShare(driver.Share):
    """The scores of one test session and target by the models of all training sessions that have one."""

    stage: ClassVar[str] = "sessions"

    run: CrossSessionRun
    target: str
    session: int
    status: str
    models: dict[int, int]

    def _pairs(self) -> Iterator[Pair]:
        run, found = self.run, self.run.store.target(self.target)
        for train, model in self.models.items():
            if train == self.session:
                continue
            shuffles = range(0)
            if run.settings.null_labels == "test":
                n_null = run.n_null(self.target, train, self.session, run.settings.n_shuffle)
                missing = np.flatnonzero(found.missing_null(train, self.session, n_null))
                shuffles = range(int(missing[0]), int(missing[-1]) + 1) if len(missing) else shuffles
            data = not found.is_scored(train, self.session)
            if data or len(shuffles):
                yield Pair(train, model, data, shuffles)

    def count_missing(self) -> int:
        """Count scores and null accuracies."""
        return _n_scores(self._pairs())

    def tasks(self) -> "Iterator[Task]":
        """Give the one task that computes what is missing."""
        pairs = tuple(self._pairs())
        block = PairBlock(self.run.trials(self.target, self.session), pairs)
        place = str(self.session)
        yield _task("test", place, cross_scores.pair_block, block, self.run, self.target, _n_scores(pairs))

    def accept(self, task: "Task", result: list[PairScores]) -> tuple[int, int]:
        """Store scores, the null first."""
        for pair, found in zip(task.arguments[0].pairs, result, strict=True):
            place = pair.train, self.session
            if len(pair.shuffles):
                self.run.store.write(self.target, "null_accuracy", found.null, *place, first=pair.shuffles.start)
            for name, value in found.scores.items():
                self.run.store.write(self.target, name, value, *place)
        return task.label["n_scores"], 0

    def is_whole(self) -> bool:
        """Look for scores that the store has room for, also those that an earlier, larger run asked for."""
        found = self.run.store.target(self.target)
        return _is_whole(self.run, found, self.session, found.n_shuffles)


def _n_scores(pairs: Sequence[Pair] | Iterator[Pair]) -> int:
    return sum(pair.data + len(pair.shuffles) for pair in pairs)


def _task(
    stage: str,
    place: str,
    function: Callable[..., Any],
    block: FitBlock | NullBlock | PairBlock,
    run: CrossSessionRun,
    target: str,
    n_scores: int,
) -> "Task":
    from mesodask.compute.runner import Task

    arguments: tuple
    if isinstance(block, PairBlock):
        trials, arguments, content = block.test, (block,), repr(block)
    else:
        trials, arguments, content = block.training, (block, run.settings), repr(replace(block, decoder=None))
    label = {"target": target, "eid": trials.eid, "stage": stage, "n_scores": n_scores}
    # the key says all that is asked: a cluster may still hold the result of a call that asked for less
    return Task(f"{stage}-{target}-{place}-{short_hash([content])}", function, arguments, label)
