"""What a worker computes of a cross-session run: models of training sessions, their scores on others, and the null."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mesodask.io.cross_target import FOLD_SCORES, SCORES, CrossTarget
from mesodask.numerics import seeds, transfer
from mesodask.numerics.folds import Fold
from mesodask.runs.features import load_decoded
from mesodask.settings import CrossSessionSettings

NULL_BATCH = 10  # permuted training labels that are carried through the pipeline together


def null_batch(decoder: Any) -> int:
    """Tell how many permuted training labels are carried together: a user's decoder, which may be slow, takes one."""
    return NULL_BATCH if decoder is None else 1


@dataclass(frozen=True)
class Trials:
    """The decoded trials of a session, as a worker finds them in the run store.

    Attributes
    ----------
    store : str
        Path of the run store.
    target, eid : str
        What is decoded, and from which session.
    session : int
        Index of the session.
    fingerprint : str
        Of the features, so that a worker's copy in memory is never an old one.
    n_null : int
        Null label vectors that the stored features hold.
    """

    store: str
    target: str
    eid: str
    session: int
    fingerprint: str
    n_null: int

    def load(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read X (n_trials, n_neurons), y (n_trials,) and null labels (n_null, n_trials)."""
        return load_decoded(self.store, self.target, self.eid, self.fingerprint, self.n_null)


@dataclass(frozen=True)
class FitBlock:
    """A model of a training session.

    Attributes
    ----------
    training : Trials
        The training session.
    model : int
        Number of the outer fold, or one more: the whole session.
    others : tuple of Trials
        The sessions that a user's decoder, which cannot be stored, decides on at once; none for the default.
    decoder : object or None
        A user's classifier.
    """

    training: Trials
    model: int
    others: tuple[Trials, ...] = ()
    decoder: Any = None


class Fitted(NamedTuple):
    """What there is to be stored of a model, by the name of the array; decisions by test session."""

    values: dict[str, Any]
    abroad: dict[int, dict[str, np.ndarray]]
    unconverged: int


@dataclass(frozen=True)
class NullBlock:
    """A batch of permuted training labels, from the first fold to the last test session.

    Attributes
    ----------
    training : Trials
        The training session.
    others : tuple of Trials
        The test sessions.
    shuffles : range
        Those that are wanted, of one batch.
    decoder : object or None
        A user's classifier.
    """

    training: Trials
    others: tuple[Trials, ...]
    shuffles: range
    decoder: Any = None


class NullScores(NamedTuple):
    """Null accuracies, (n_others, n_shuffles)."""

    accuracy: np.ndarray
    unconverged: int


class Pair(NamedTuple):
    """What is wanted of a training session's model on a test session.

    Attributes
    ----------
    train : int
        Index of the training session.
    model : int
        The model that is carried.
    data : bool
        Whether the scores of the data's labels are wanted.
    shuffles : range
        Which null labels of the test session.
    """

    train: int
    model: int
    data: bool
    shuffles: range


@dataclass(frozen=True)
class PairBlock:
    """A test session, scored by the models of training sessions.

    Attributes
    ----------
    test : Trials
        The test session.
    pairs : tuple of Pair
        The models, which are in the store.
    """

    test: Trials
    pairs: tuple[Pair, ...]


class PairScores(NamedTuple):
    """What a pair gives: scores by name, none where only the null was wanted; null accuracies, (n_shuffles,)."""

    scores: dict[str, float]
    null: np.ndarray


def folds_of(y: np.ndarray, training: Trials, settings: CrossSessionSettings) -> list[Fold]:
    """Make the outer folds of a training session, by the labels of the data."""
    seed = seeds.integer_seed(settings.seed, "folds", training.eid, training.target, 0)
    return transfer.outer_folds(y, n_splits=settings.outer_cv, seed=seed)


def grid_of(settings: CrossSessionSettings) -> transfer.TransferGrid:
    """Take the settings of the pipeline."""
    names = ("reduction", "dim_k", "use_elasticnet", "C", "l1_ratio", "inner_cv", "max_iter")
    return transfer.TransferGrid(**{name: getattr(settings, name) for name in names})


def _seed(settings: CrossSessionSettings, training: Trials, model: int) -> int:
    return seeds.integer_seed(settings.seed, "fit", training.eid, training.target, model)


def fit_block(block: FitBlock, settings: CrossSessionSettings) -> Fitted:
    """Fit one model of a training session; this is what a worker runs."""
    X, y, _ = block.training.load()
    folds = folds_of(y, block.training, settings)
    seed = _seed(settings, block.training, block.model)
    if block.decoder is not None:
        return _fit_decoder(block, X, y, folds, seed)
    grid = grid_of(settings)
    if block.model == len(folds):
        fit = transfer.fit_whole(X, y[:, None], grid, seed)
        scores: dict[str, float] = {}
    else:
        train, test = folds[block.model]
        fit = transfer.fit_fold(X, y[:, None], train, test, grid, seed)
        scores = _by_name(transfer.score_decisions(fit.decisions, y[test]), FOLD_SCORES)
    values = {
        "weights": fit.readout.weights[0],
        "intercept": fit.readout.intercept[0],
        "C": fit.C[0],
        "l1_ratio": np.nan_to_num(fit.l1_ratio[0]),  # without elastic net there is no L1 in the penalty
        "n_components": fit.n_components[0],
    }
    unconverged = int(np.sum(fit.unconverged))
    return Fitted(values | scores | {"unconverged": unconverged}, {}, unconverged)


def _by_name(scores: transfer.TransferScores, names: tuple[str, ...]) -> dict[str, float]:
    return {name: float(getattr(scores, score)[0]) for name, score in zip(names, SCORES, strict=True)}


def _fit_decoder(block: FitBlock, X: np.ndarray, y: np.ndarray, folds: list[Fold], seed: int) -> Fitted:
    """Fit a user's decoder, and let it decide on all other sessions at once: it cannot be stored."""
    is_whole = block.model == len(folds)
    train, test = (np.arange(len(y)), np.arange(0)) if is_whole else folds[block.model]
    abroad = [other.load()[0] for other in block.others]
    fit = transfer.fit_decoder_fold(X, y, train, test, block.decoder, seed, abroad)
    scores: dict[str, float] = {}
    if not is_whole:
        scores = _by_name(transfer.score_decisions(fit.home.decisions, y[test], fit.home.called), FOLD_SCORES)
    decided = {
        other.session: {"decision": found.decisions, "called": found.called.astype(float)}
        for other, found in zip(block.others, fit.abroad, strict=True)
    }
    unconverged = int(not fit.converged)
    return Fitted(scores | {"unconverged": unconverged}, decided, unconverged)


def null_block(block: NullBlock, settings: CrossSessionSettings) -> NullScores:
    """Carry permuted training labels through the whole pipeline; this is what a worker runs.

    A batch is always computed whole, whatever part of it is wanted: the last bits of a fit depend on the shape of the
    matrix products it comes from, and growing a run must not change them.
    """
    X, y, null_labels = block.training.load()
    wanted = block.shuffles
    n_batch = null_batch(block.decoder)
    first = wanted.start // n_batch * n_batch
    labels = null_labels[first : first + n_batch]
    folds = folds_of(y, block.training, settings)
    if block.decoder is not None:
        return _null_of_decoder(block, X, labels[0], folds, settings)
    fits = _Fits.of(X, labels.T, folds, block.training, settings)
    null = np.empty((len(block.others), len(labels)))
    for row, other in enumerate(block.others):
        X_test, y_test, _ = other.load()
        null[row] = transfer.score_decisions(fits.carried.decisions(X_test), y_test).accuracy
    return NullScores(null[:, wanted.start - first : wanted.stop - first], fits.unconverged)


class _Fits(NamedTuple):
    """What is carried abroad of many label vectors, each by a readout of its own."""

    carried: transfer.Readout
    unconverged: int

    @classmethod
    def of(
        cls, X: np.ndarray, Y: np.ndarray, folds: list[Fold], training: Trials, settings: CrossSessionSettings
    ) -> "_Fits":
        grid = grid_of(settings)
        if settings.transfer == "refit":
            whole = transfer.fit_whole(X, Y, grid, _seed(settings, training, len(folds)))
            return cls(whole.readout, int(np.sum(whole.unconverged)))
        fits = [
            transfer.fit_fold(X, Y, train, test, grid, _seed(settings, training, fold))
            for fold, (train, test) in enumerate(folds)
        ]
        accuracy = np.array(
            [
                transfer.score_decisions(fit.decisions, Y[test]).accuracy
                for fit, (_, test) in zip(fits, folds, strict=True)
            ]
        )  # (n_folds, n_labels)
        picked = list(enumerate(map(transfer.median_fold, accuracy.T)))
        weights = np.array([fits[fold].readout.weights[label] for label, fold in picked])
        intercept = np.array([fits[fold].readout.intercept[label] for label, fold in picked])
        return cls(transfer.Readout(weights, intercept), sum(int(np.sum(fit.unconverged)) for fit in fits))


def _null_of_decoder(
    block: NullBlock, X: np.ndarray, labels: np.ndarray, folds: list[Fold], settings: CrossSessionSettings
) -> NullScores:
    others = [other.load() for other in block.others]
    abroad = [activity for activity, _, _ in others]
    seed = seeds.integer_seed(
        settings.seed, "null fit", block.training.eid, block.training.target, block.shuffles.start
    )
    everything = np.arange(len(X)), np.arange(0)
    fits = [
        transfer.fit_decoder_fold(X, labels, train, test, block.decoder, seed, abroad)
        for train, test in ([everything] if settings.transfer == "refit" else folds)
    ]
    picked = 0
    if settings.transfer == "median_fold":
        picked = transfer.median_fold(
            [_accuracy(fit.home, labels[test]) for fit, (_, test) in zip(fits, folds, strict=True)]
        )
    null = [_accuracy(found, y) for found, (_, y, _) in zip(fits[picked].abroad, others, strict=True)]
    return NullScores(np.array(null)[:, None], sum(not fit.converged for fit in fits))


def _accuracy(found: transfer.Decoded, y: np.ndarray) -> float:
    return float(transfer.score_decisions(found.decisions, y, found.called).accuracy[0])


def pair_block(block: PairBlock) -> list[PairScores]:
    """Score a test session by stored models, one result a pair; this is what a worker runs."""
    X, y, null_labels = block.test.load()
    models = CrossTarget(Path(block.test.store), block.test.target)
    return [_score_pair(pair, models, block.test.session, X, y, null_labels) for pair in block.pairs]


def _score_pair(
    pair: Pair, models: CrossTarget, session: int, X: np.ndarray, y: np.ndarray, null_labels: np.ndarray
) -> PairScores:
    called = None
    if models.has_readouts:
        weights, intercept = (models.read(name, pair.train, pair.model) for name in ("weights", "intercept"))
        decisions = transfer.Readout(weights[None], intercept.reshape(1)).decisions(X)
    else:
        decisions, called = (models.read(n, pair.train, pair.model, session)[: len(y)] for n in ("decision", "called"))
        called = called > 0
    labels = null_labels[pair.shuffles.start : pair.shuffles.stop]
    scores = _by_name(transfer.score_decisions(decisions, y, called), SCORES) if pair.data else {}
    null = transfer.score_decisions(decisions, labels.T, called).accuracy if len(labels) else np.empty(0)
    return PairScores(scores, null)
