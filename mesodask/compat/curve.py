"""The original ``neuron_dropping_curve``: the curve of one population, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from mesodask.compat.decode import KS
from mesodask.compat.keywords import CEILING_MODE, original
from mesodask.errors import DataError, SettingsError
from mesodask.numerics import nulls, seeds

Values = np.ndarray | dict[str, float]

PROGRESS = "nothing is printed; neuron_dropping_curves_cached takes progress=callable"


@dataclass
class NDCResult:
    """A neuron-dropping curve.

    Attributes
    ----------
    ks : numpy.ndarray, (n_ks,) int
        Numbers of neurons.
    scores : dict of int to numpy.ndarray, (R,), or dict
        Score of every random subset of k neurons; of ``stats_only`` their ``mean``, ``sd`` and ``n``.
    metric : str
        What a score is.
    ceiling : float
        Mean score at the largest k.
    shuffled : dict of int to numpy.ndarray, (n_label_shuffles,), or dict, or None
        The same for null labels, each on one of the subsets.
    """

    ks: np.ndarray
    scores: dict[int, Values]
    metric: str
    ceiling: float
    shuffled: dict[int, Values] | None = None


@original(ceiling_mode=CEILING_MODE, progress=PROGRESS)
def neuron_dropping_curve(
    X: ArrayLike,
    y: ArrayLike,
    ks: Sequence[int] = KS,
    R: int = 50,
    metric: str = "auc",
    cv_splits: int = 5,
    seed: int = 0,
    ceiling_mode: str = "maxk",
    n_label_shuffles: int = 0,
    shuffle_seed: int | None = None,
    shuffle_mode: str = "circular",
    block_ids: ArrayLike | None = None,
    scores_dtype: DTypeLike = np.float64,
    stats_only: bool = False,
    progress: bool = True,
) -> NDCResult:
    """Score random subsets of growing size of one population, in this process.

    Different from the originals: subsets are nested in k, and a null score has the neurons and folds of a data score;
    draws are keyed, so that more resamples, ks or shuffles change none there are; scores are doubles by default;
    "accuracy" is the balanced one; the fits converge. :func:`mesodask.neuron_dropping_curves` with ``features=`` does
    the same on workers, stores what it computes, and gives p-values.

    Parameters
    ----------
    X : array_like, (n_trials, n_neurons)
        Activity.
    y : array_like, (n_trials,) of 0 and 1
        Labels, in the order of time.
    ks : sequence of int
        Numbers of neurons; those that X does not have are left out.
    R : int
        Number of subsets.
    metric : {"auc", "accuracy"}
        What a score is.
    cv_splits : int
        Folds.
    seed : int
        Key of all draws.
    ceiling_mode
        No longer has a meaning.
    n_label_shuffles : int
        Null label vectors; a circular null has at most one less than trials.
    shuffle_seed : int, optional
        Key of the null's draws, in place of `seed`.
    shuffle_mode : {"circular", "permute", "blockwise"}
        The null.
    block_ids : array_like, (n_trials,), optional
        Block of every trial, for "blockwise".
    scores_dtype : dtype
        Of the arrays of scores.
    stats_only : bool
        Give mean, standard deviation and number in place of the scores.
    progress
        No longer has a meaning.

    Returns
    -------
    NDCResult
        The curve. A score is NaN if no fold had both classes.

    Raises
    ------
    SettingsError
        No k fits the population, or a setting has a value that is not allowed.
    DataError
        X is not finite, or y is not of 0 and 1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 2
    >>> result = neuron_dropping_curve(rng.normal(size=(60, 20)) + y[:, None], y, ks=(2, 8, 32), R=4)
    >>> result.ks.tolist(), result.scores[8].shape, result.ceiling > 0.9
    ([2, 8], (4,), True)
    """
    del ceiling_mode, progress
    activity, labels = np.asarray(X), np.asarray(y)
    if activity.ndim != 2:
        raise DataError(f"X has shape {activity.shape}; expected (n_trials, n_neurons)")
    n_neurons = activity.shape[1]
    usable = np.array(sorted({int(k) for k in ks if 1 <= k <= n_neurons}), dtype=int)
    if not len(usable) or R < 1:
        raise SettingsError(f"ks is {tuple(ks)} and R is {R}; expected 1 or more, and a k up to {n_neurons} neurons")
    null = _null_labels(
        labels, n_label_shuffles, shuffle_mode, block_ids, seed if shuffle_seed is None else shuffle_seed
    )
    scores = np.empty((len(usable), R))
    null_scores = np.empty((len(usable), null.shape[1]))
    for r in range(R):
        mine = np.arange(r, null.shape[1], R)  # each null label vector is scored on one subset
        columns = np.column_stack([labels, null[:, mine]])
        how = {"n_splits": cv_splits, "seed": seeds.integer_seed(seed, "folds", r), "metric": metric}
        order = seeds.generator(seed, "neurons", r).permutation(n_neurons)
        for i, k in enumerate(usable):
            found = _score(activity[:, order[:k]], columns, how)
            scores[i, r], null_scores[i, mine] = found[0], found[1:]
    give = _statistics if stats_only else lambda values: values.astype(scores_dtype)
    return NDCResult(
        ks=usable,
        scores=_by_k(usable, scores, give),
        metric=metric,
        ceiling=float(np.nanmean(scores[-1])) if np.isfinite(scores[-1]).any() else np.nan,
        shuffled=_by_k(usable, null_scores, give) if null.shape[1] else None,
    )


def _null_labels(y: np.ndarray, n: int, kind: str, blocks: ArrayLike | None, seed: int) -> np.ndarray:
    """Draw null labels, (n_trials, n_shuffles)."""
    if kind not in ("circular", "permute", "blockwise"):
        raise SettingsError(f"shuffle_mode is {kind!r}; expected circular, permute or blockwise")
    if n == 0:
        return np.empty((len(y), 0), dtype=np.int8)
    possible = min(n, nulls.max_shuffles(kind, len(y)))  # type: ignore[arg-type]
    return nulls.null_labels(kind, y, range(possible), key=(seed, "null"), blocks=blocks)  # type: ignore[arg-type]


def _score(X: np.ndarray, columns: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    from mesodask.numerics.crossval import cross_val_scores

    return cross_val_scores(X, columns, **how)


def _by_k(ks: np.ndarray, values: np.ndarray, give: Any) -> dict[int, Values]:
    return {int(k): give(of_k) for k, of_k in zip(ks, values, strict=True)}


def _statistics(values: np.ndarray) -> dict[str, float]:
    defined = values[np.isfinite(values)]
    sd = float(np.std(defined, ddof=1)) if len(defined) > 1 else 0.0
    return {"mean": float(np.mean(defined)) if len(defined) else np.nan, "sd": sd, "n": len(defined)}
