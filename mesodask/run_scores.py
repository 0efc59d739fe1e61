"""What a worker computes of a run: the scores of one block of resamples of a session and target."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mesodask import run_features
from mesodask.io.runstore import RunStore
from mesodask.numerics import seeds
from mesodask.settings import NdcSettings


@dataclass(frozen=True)
class Block:
    """What one task computes: a block of resamples of one session and target, over several ks.

    Attributes
    ----------
    store : str
        Path of the run store.
    target, eid : str
        What is decoded, and from which session.
    ks : tuple of int
        Numbers of neurons, ascending.
    resamples : range
        Resamples of the block.
    n_shuffles : int
        Null label vectors to score.
    features : str
        Fingerprint of the features, so that a worker's copy in memory is never an old one.
    decoder : object or None
        A user's classifier; None for the default. It reaches the worker pickled, by cloudpickle where it must.
    """

    store: str
    target: str
    eid: str
    ks: tuple[int, ...]
    resamples: range
    n_shuffles: int
    features: str
    decoder: Any = None


def score_block(block: Block, settings: NdcSettings) -> tuple[np.ndarray, np.ndarray, int]:
    """Compute the scores of one block; this is what a worker runs.

    Parameters
    ----------
    block : Block
        What to compute.
    settings : NdcSettings
        Settings of the run.

    Returns
    -------
    score : numpy.ndarray, (len(ks), n_resamples) float64
        NaN where it is not defined.
    null : numpy.ndarray, (len(ks), n_resamples, n_shuffles) float32
        The same for null labels.
    unconverged : int
        Fits that did not converge.
    """
    X, y, null_labels = _load_features(block.store, block.target, block.eid, block.features, block.n_shuffles)
    score = np.empty((len(block.ks), len(block.resamples)))
    null = np.empty((*score.shape, block.n_shuffles), dtype=np.float32)
    unconverged = 0
    for column, resample in enumerate(block.resamples):
        order = seeds.generator(settings.seed, "neurons", resample).permutation(X.shape[1])
        folds = run_features.fold_settings(settings, block.eid, block.target, resample)
        how = {**folds, "metric": settings.metric, "C": settings.C}
        for row, k in enumerate(block.ks):
            subset = X[:, order[:k]]
            if block.decoder is None:
                values, n_bad = _score_subset(subset, y, null_labels, how)
            else:
                values, n_bad = _score_by_decoder(subset, y, null_labels[: block.n_shuffles], how, block.decoder)
            score[row, column], null[row, column] = values[0], values[1 : 1 + block.n_shuffles]
            unconverged += n_bad
    return score, null, unconverged


def _score_subset(X: np.ndarray, y: np.ndarray, null_labels: np.ndarray, how: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Score the data's labels, then the null's in batches of fixed extent.

    A batch is always computed whole, whatever part of it is asked for: the last bits of a score depend on the shape of
    the matrix products it comes from, and growing a run must not change them.
    """
    from mesodask.numerics.crossval import cross_val_details

    data = cross_val_details(X, y[:, None], **how)
    scores, unconverged = [data.scores], int(data.unconverged.sum())
    for first in range(0, len(null_labels), run_features.NULL_BATCH):
        batch = null_labels[first : first + run_features.NULL_BATCH]
        result = cross_val_details(X, np.column_stack([y, batch.T]), **how)
        scores.append(result.scores[1:])
        unconverged += int(result.unconverged[1:].sum())
    return np.concatenate(scores), unconverged


def _score_by_decoder(
    X: np.ndarray, y: np.ndarray, null_labels: np.ndarray, how: dict[str, Any], decoder: Any
) -> tuple[np.ndarray, int]:
    """Score the data's and the null's labels by a user's decoder, which fits each alone: no batch to fill."""
    from mesodask.numerics.crossval import cross_val_details

    result = cross_val_details(X, np.column_stack([y, null_labels.T]), **{**how, "decoder": decoder})
    return result.scores, int(result.unconverged.sum())


@lru_cache(maxsize=4)
def _load_features(
    store: str, target: str, eid: str, fingerprint: str, n_shuffles: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the decoded trials: X (n_trials, n_neurons), y (n_trials,), null labels (n_null, n_trials).

    The fingerprint is part of the key under which a worker remembers them: features that were made anew are read anew.
    """
    del fingerprint
    features = RunStore(Path(store)).features(target, eid)
    decoded = features["decoded"].values
    n_null = min(run_features.whole_batches(n_shuffles), features.sizes.get("shuffle", 0))
    labels = features["null_label"][:n_null].values[:, decoded] if n_null else np.empty((0, decoded.sum()), np.int8)
    return features["X"].values[decoded], features["y"].values[decoded], labels
