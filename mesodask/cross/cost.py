"""What a cross-session run would cost, from trials tables and one timed fit; nothing is written."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mesodask.cross.counts import count_cross_target
from mesodask.cross.scores import grid_of, null_batch
from mesodask.errors import NothingToDecodeError
from mesodask.io import stores
from mesodask.io.crossstore import CrossSessionStore
from mesodask.io.session_names import SessionInfo
from mesodask.numerics import nulls, seeds
from mesodask.runs.cost import (
    COPIES,
    FEATURES_COMPRESSED,
    FILES_PER_FEATURES,
    FILES_PER_TARGET,
    HOURS_TO_WAIT,
    WORKER_BYTES,
    RunCost,
)
from mesodask.runs.decoding import Decoding
from mesodask.runs.features import whole_batches
from mesodask.runs.trial_counts import Counts, count_trials, trials_of
from mesodask.settings import CrossSessionSettings


def cost_of_cross_session(
    infos: Sequence[SessionInfo],
    one: Any,
    folder: Path,
    n_neurons: int,
    decoding: Decoding[CrossSessionSettings],
    store: CrossSessionStore | None,
    n_missing: int,
) -> RunCost:
    """Estimate what a run would cost.

    Parameters
    ----------
    infos : sequence of SessionInfo
        Its sessions, in date order.
    one : One
        Where their trials tables are read from, as long as they are not embedded.
    folder : pathlib.Path
        The cache folder.
    n_neurons : int
        Neurons that they share.
    decoding : Decoding
        What is done with them.
    store : CrossSessionStore or None
        Where the run is or would be; None if what is stored would be forgotten, or cannot be told yet.
    n_missing : int
        How many sessions are not embedded yet.

    Raises
    ------
    NothingToDecodeError
        No target has both a training session and another one with enough trials.
    """
    settings = decoding.settings
    counts = count_trials(trials_of(infos, one, folder), settings, decoding.trial_mask)
    plans = [_Plan.of(target, [info.eid for info in infos], counts, settings) for target in settings.targets]
    if not any(plan.n_pairs for plan in plans):
        listing = "\n".join(f"  {target}, session {eid}: {n} trials" for (target, eid), n in counts.items())
        raise NothingToDecodeError(
            f"no target has a training and a test session with at least {settings.min_per_class} trials of each class; "
            f"the smaller class has\n{listing}"
        )
    n_trials = max(plan.n_trials for plan in plans)
    n_scores, done = sum(plan.n_scores for plan in plans), _stored(store, settings.targets)
    left = max(0, n_scores - done) / n_scores
    n_tasks = math.ceil(left * sum(plan.n_tasks(settings, decoding.decoder) for plan in plans))
    n_fits = left * sum(plan.n_fits(settings) for plan in plans)
    seconds = n_fits * _seconds_of_a_fit(n_trials, n_neurons, decoding) if n_fits else 0.0
    return RunCost(
        n_scores=max(0, n_scores - done),
        n_tasks=n_tasks,
        core_seconds=seconds,
        worker_bytes=WORKER_BYTES + COPIES * n_trials * n_neurons * 8,
        store_bytes=sum(plan.n_bytes(n_neurons, settings) for plan in plans),
        store_files=sum(plan.n_files(settings) for plan in plans),
        n_workers=max(1, min(n_tasks, math.ceil(seconds / 3600 / HOURS_TO_WAIT))),
        notes=tuple(_notes(infos, n_neurons, n_missing, done)),
    )


def _notes(infos: Sequence[SessionInfo], n_neurons: int, n_missing: int, done: int) -> list[str]:
    dates = ", ".join(info.date.isoformat() for info in infos)
    notes = [f"{len(infos)} sessions ({dates}) that share {n_neurons} neurons", "fits timed on this machine"]
    if n_missing:
        notes.append(f"{n_missing} of {len(infos)} sessions are not embedded yet, which is not counted here")
    elif done:
        notes.append("what is stored already is not counted")
    return notes


def _stored(store: CrossSessionStore | None, targets: Sequence[str]) -> int:
    if store is None or not store.exists():
        return 0
    begun = [target for target in targets if stores.has_group(store.path, target)]
    return sum(count_cross_target(store, target, [])[0].done for target in begun)


@dataclass(frozen=True)
class _Plan:
    """How much there is to do of one target; all is 0 where nothing can be."""

    n_trials: int = 0
    n_sessions: int = 0
    n_training: int = 0
    n_pairs: int = 0
    n_null: int = 0
    n_models: int = 0

    @classmethod
    def of(cls, target: str, eids: Sequence[str], counts: Counts, settings: CrossSessionSettings) -> "_Plan":
        """Skip and equalise as the run would."""
        decoded = {eid: counts[target, eid] for eid in eids if counts[target, eid] >= settings.min_per_class}
        training = [eid for eid in (eids if settings.train_on == "each" else eids[:1]) if eid in decoded]
        n_pairs = len(training) * (len(decoded) - 1)
        if not n_pairs:
            return cls()
        n_trials = 2 * (min if settings.equalize_trials else max)(decoded.values())
        n_null = min(settings.n_shuffle, nulls.max_shuffles(settings.null_of(target), n_trials))
        n_models = settings.outer_cv + (settings.transfer == "refit")
        return cls(n_trials, len(decoded), len(training), n_pairs, n_null, n_models)

    @property
    def n_scores(self) -> int:
        """Models, and score and null scores of every pair."""
        return self.n_training * self.n_models + self.n_pairs * (1 + self.n_null)

    def n_fits(self, settings: CrossSessionSettings) -> int:
        """Fits of a model, each with its search; those of permuted training labels, too."""
        carried = 1 if settings.transfer == "refit" else settings.outer_cv
        null = self.n_null * carried if settings.null_labels == "train" else 0
        return self.n_training * (self.n_models + null)

    def n_tasks(self, settings: CrossSessionSettings, decoder: Any) -> int:
        """Tasks of models, of test sessions, and of batches of permuted labels."""
        n_tested = self.n_sessions - (settings.train_on == "first") if self.n_pairs else 0
        batches = math.ceil(self.n_null / null_batch(decoder)) if settings.null_labels == "train" else 0
        return self.n_training * (self.n_models + batches) + n_tested

    def n_bytes(self, n_neurons: int, settings: CrossSessionSettings) -> float:
        """Size of features, null labels, models and scores."""
        features = self.n_trials * n_neurons * 4 * FEATURES_COMPRESSED
        null_labels = whole_batches(settings.n_shuffle) * self.n_trials / 4
        models = self.n_training * self.n_models * n_neurons * 8
        return self.n_sessions * (features + null_labels) + models + self.n_scores * 8

    def n_files(self, settings: CrossSessionSettings) -> int:
        """Files of the features, of the models and of the pairs."""
        of_model, of_fold, of_pair = 6, 3, 5
        models = self.n_training * (self.n_models * of_model + settings.outer_cv * of_fold)
        return FILES_PER_TARGET + self.n_sessions * FILES_PER_FEATURES + models + self.n_pairs * of_pair


def _seconds_of_a_fit(n_trials: int, n_neurons: int, decoding: Decoding[CrossSessionSettings]) -> float:
    """Time a fit of a simulated population of this size, once it is compiled."""
    from mesodask.numerics import transfer

    rng = seeds.generator(0, "cross-session cost")
    y = np.arange(n_trials) % 2
    X = (rng.normal(size=(n_trials, n_neurons)) + 0.3 * y[:, None] * rng.normal(size=n_neurons)).astype(np.float32)
    train, test = transfer.outer_folds(y, n_splits=decoding.settings.outer_cv)[0]

    def fit() -> float:
        started = time.perf_counter()
        if decoding.decoder is not None:
            transfer.fit_decoder_fold(X, y, train, test, decoding.decoder, 0)
        else:
            transfer.fit_fold(X, y[:, None], train, test, grid_of(decoding.settings), 0)
        return time.perf_counter() - started

    fit()  # compiles what is not compiled yet
    return fit()
