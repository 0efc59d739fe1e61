"""From scores and null scores to p-values, intervals and k*.

References
----------
Phipson, B. and Smyth, G. K. (2010), "Permutation p-values should never be zero", Statistical Applications in Genetics
and Molecular Biology 9(1):39.

Westfall, P. H. and Young, S. S. (1993), "Resampling-based multiple testing", Wiley: the maximum statistic.

Benjamini, Y. and Hochberg, Y. (1995), "Controlling the false discovery rate", Journal of the Royal Statistical
Society B 57:289-300.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mesodask.errors import DataError, SettingsError
from mesodask.numerics.seeds import Key, generator

Floats = NDArray[np.float64]

TIE = 1e-6  # scores that differ by less are tied: null scores are stored in single precision
MAX_P = 0.05  # the largest p-value that tells something from chance
N_BOOTSTRAPS = 1000


def p_value(observed: ArrayLike, null: ArrayLike) -> Floats:
    """Permutation p-value of scores against their null.

    ``p = (1 + #{null >= observed}) / (1 + n)``, one-sided. Ties count against the observed score. Null scores
    that are NaN are left out, of the count and of n.

    Parameters
    ----------
    observed : array_like, shape (...)
        Observed scores.
    null : array_like, shape (..., n_shuffles)
        The null scores of each.

    Returns
    -------
    ndarray of float64, shape (...)
        In (0, 1]; NaN where the observed score is NaN or has no null score.

    Raises
    ------
    DataError
        If the shapes do not fit.

    References
    ----------
    Phipson and Smyth (2010).

    Examples
    --------
    >>> p_value(0.7, [0.5, 0.7, 0.8, np.nan]).item()
    0.75
    """
    observed, null = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if null.ndim == 0 or null.shape[:-1] != observed.shape:
        raise DataError(
            f"null scores have shape {null.shape}; "
            f"expected that of the observed scores, {observed.shape}, and a last axis of shuffles"
        )
    n = (~np.isnan(null)).sum(axis=-1)
    n_reached = (null + TIE >= observed[..., None]).sum(axis=-1)
    return np.where(np.isnan(observed) | (n == 0), np.nan, (1 + n_reached) / (1 + n))


def p_curve(mean_scores: ArrayLike, null_means: ArrayLike) -> float:
    """Permutation p-value of a whole neuron-dropping curve.

    The statistic of a curve is its largest standardised score over k ::

        T = max over k of (score[k] - m[k]) / s[k]

    with m and s the mean and the standard deviation of the scores at k of all curves, the shuffles' and the
    observed one, which is one of them if nothing is coded; p is that of the observed T among the T of the
    shuffles (see :func:`p_value`). With m and s from the shuffles alone the test is too liberal: of
    independent ks without a code 6 % would pass 5 % with 100 shuffles, and 12 % with 20.

    Parameters
    ----------
    mean_scores : array_like, shape (n_k,)
        Mean observed score at each k.
    null_means : array_like, shape (n_k, n_shuffles)
        Mean score of each shuffle at each k.

    Returns
    -------
    float
        In (0, 1]. A k whose observed score, or whose every null score, is NaN is left out, then each shuffle
        that is NaN at a k that remains; NaN if nothing is left. A k at which all curves agree says nothing, and
        p is 1 if there is no other.

    Raises
    ------
    DataError
        If the shapes do not fit.

    References
    ----------
    Westfall and Young (1993).

    Examples
    --------
    >>> p_curve([0.5, 0.9], [[0.5, 0.6, 0.4], [0.5, 0.4, 0.6]])
    0.25
    """
    score, null = np.asarray(mean_scores, dtype=np.float64), np.asarray(null_means, dtype=np.float64)
    if score.ndim != 1 or null.ndim != 2 or len(null) != len(score):
        raise DataError(
            f"mean scores have shape {score.shape} and null means {null.shape}; expected (n_k,) and (n_k, n_shuffles)"
        )
    finished = ~np.isnan(score) & ~np.isnan(null).all(axis=1)
    score, null = score[finished], null[finished]
    null = null[:, ~np.isnan(null).any(axis=0)]
    if not null.size:
        return float("nan")
    curves = np.column_stack([score, null])  # (n_k, 1 + n_shuffles)
    mean, spread = curves.mean(axis=1, keepdims=True), curves.std(axis=1, keepdims=True)
    tie = np.concatenate([[0.0], np.full(null.shape[1], TIE)])
    standardised = np.where(spread > TIE, (curves + tie - mean) / np.maximum(spread, TIE), -np.inf)
    largest = standardised.max(axis=0)
    return (1 + int((largest[1:] >= largest[0]).sum())) / (1 + null.shape[1])


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjust p-values to the false discovery rate.

    With the m p-values in ascending order ::

        q[i] = min over j >= i of p[j] * m / j

    Parameters
    ----------
    p : array_like, any shape
        P-values of all tests of a family; NaN is no test.

    Returns
    -------
    ndarray of float64, shape of `p`
        The smallest rate at which each test is a discovery; NaN where `p` is.

    Raises
    ------
    DataError
        If a value lies outside [0, 1].

    References
    ----------
    Benjamini and Hochberg (1995).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.5, np.nan, 0.02])
    array([0.03, 0.5 ,  nan, 0.03])
    """
    p = np.asarray(p, dtype=np.float64)
    tested = ~np.isnan(p)
    values = p[tested]
    if ((values < 0) | (values > 1)).any():
        raise DataError(f"p-values from {values.min():.3g} to {values.max():.3g}; expected [0, 1]")
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    q = np.full(p.shape, np.nan)
    q[tested] = adjusted
    return q


def interval(scores: ArrayLike, level: float = 0.95, axis: int = -1) -> tuple[Floats, Floats]:
    """Percentile interval of scores over their resamples.

    From the ``(1 - level) / 2`` to the ``(1 + level) / 2`` quantile. It shows the spread of neurons and
    folds, not of trials.

    Parameters
    ----------
    scores : array_like
        Scores; NaN are left out.
    level : float
        Share of the scores inside, between 0 and 1.
    axis : int
        That of the resamples.

    Returns
    -------
    low, high : ndarray of float64, shape of `scores` without `axis`
        NaN where no score is left.

    Raises
    ------
    SettingsError
        If the level is not between 0 and 1.

    Examples
    --------
    >>> low, high = interval(np.arange(101) / 100, level=0.9)
    >>> low.round(9).item(), high.round(9).item()
    (0.05, 0.95)
    """
    if not 0 < level < 1:
        raise SettingsError(f"level is {level}; expected a share between 0 and 1")
    scores = np.moveaxis(np.asarray(scores, dtype=np.float64), axis, -1)
    empty = np.isnan(scores).all(axis=-1)
    # a column of zeros stands in where there is nothing, for nanquantile warns of it
    padded = np.concatenate([scores, np.where(empty, 0.0, np.nan)[..., None]], axis=-1)
    low, high = np.nanquantile(padded, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


class KStar(NamedTuple):
    """How many neurons are enough.

    Attributes
    ----------
    k_star : float
        Smallest k whose mean score is within delta of the ceiling; NaN where it is not defined.
    low, high : float
        Ends of its bootstrap interval, two of the ks; NaN with it.
    ceiling : float
        Mean score at the largest k; NaN while that is unfinished.
    """

    k_star: float
    low: float
    high: float
    ceiling: float


def k_star(
    ks: ArrayLike,
    scores: ArrayLike,
    delta: float,
    *,
    key: tuple[Key, ...],
    p: float | None = None,
    level: float = 0.95,
) -> KStar:
    """Smallest population that decodes as well as the largest, within delta.

    ``k* = min {k : mean score at k >= ceiling - delta}``, with the mean score at the largest k as the
    ceiling. Its interval bootstraps whole curves: resamples are drawn with replacement, the same at all k,
    and each draw has a ceiling of its own. It shows the spread of neurons and folds, not of trials. A k that
    lacks a resample (NaN) is unfinished and left out.

    Parameters
    ----------
    ks : array_like of int, shape (n_k,)
        Sizes of the populations, in any order.
    scores : array_like, shape (n_k, n_resamples)
        Scores of every resample.
    delta : float
        How far below the ceiling is close enough, in units of the score.
    key : tuple of int and str
        Names the random stream (see :mod:`mesodask.numerics.seeds`), e.g. ``(seed, "k_star", eid)``.
    p : float, optional
        P-value at the largest k. Above .05 there is nothing to come close to: k* is NaN. Not given, or NaN
        because the run has no null, it decides nothing.
    level : float
        Of the interval, between 0 and 1.

    Returns
    -------
    KStar
        k_star, low, high, ceiling; all NaN while the largest k is unfinished.

    Raises
    ------
    DataError
        If the shapes do not fit.
    SettingsError
        If delta is negative or the level not between 0 and 1.

    Examples
    --------
    >>> scores = [[0.6, 0.62], [0.79, 0.81], [0.8, 0.82]]
    >>> k_star([8, 64, 512], scores, 0.02, key=(0, "k_star"))
    KStar(k_star=64.0, low=64.0, high=64.0, ceiling=0.81)
    """
    if not delta >= 0 or not 0 < level < 1:
        raise SettingsError(f"delta is {delta} and level {level}; expected delta >= 0 and 0 < level < 1")
    sizes, curves = _finished_curves(ks, scores)
    if not curves.size:
        return KStar(*[float("nan")] * 4)
    ceiling = float(curves[-1].mean())
    if p is not None and p > MAX_P:
        return KStar(float("nan"), float("nan"), float("nan"), ceiling)
    found = _first_within(sizes, curves.mean(axis=1, keepdims=True), delta)[0]
    n_resamples = curves.shape[1]
    drawn = generator(*key).integers(n_resamples, size=(N_BOOTSTRAPS, n_resamples))
    # how often each draw holds each resample: a product instead of the drawn curves, which would fill the memory
    held = np.array([np.bincount(draw, minlength=n_resamples) for draw in drawn], dtype=np.float64)
    bootstrapped = _first_within(sizes, curves @ held.T / n_resamples, delta)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(bootstrapped, tails, method="inverted_cdf")
    return KStar(float(found), float(low), float(high), ceiling)


def _finished_curves(ks: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Finished ks, ascending, and their scores (n_finished, n_resamples); none if the largest k is unfinished."""
    sizes, curves = np.asarray(ks, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if sizes.ndim != 1 or curves.ndim != 2 or len(curves) != len(sizes):
        raise DataError(
            f"ks have shape {sizes.shape} and scores {curves.shape}; expected (n_k,) and (n_k, n_resamples)"
        )
    order = np.argsort(sizes)
    sizes, curves = sizes[order], curves[order]
    finished = np.flatnonzero(~np.isnan(curves).any(axis=1))
    if len(sizes) - 1 not in finished:
        finished = finished[:0]
    return sizes[finished], curves[finished]


def _first_within(sizes: Floats, means: Floats, delta: float) -> Floats:
    """Smallest size, shape (n_curves,), whose mean, shape (n_k, n_curves), is within delta of the largest's."""
    return sizes[(means + TIE >= means[-1] - delta).argmax(axis=0)]
