"""The IBL task: blocks, sides and contrasts, and a psychometric observer that performs it.

The task is the biased visual decision task of the International Brain Laboratory: 90 trials in which the
stimulus is as likely on the left as on the right, then blocks in which it is on the left with probability .2
or .8. The observer knows the block and the contrast of a trial and nothing of earlier trials: it has no
history.

References
----------
International Brain Laboratory et al. (2021), "Standardized and reproducible measurement of decision-making in
mice", eLife 10:e63711.
"""

from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from mesodask.errors import DataError

CONTRASTS = (0.0, 0.0625, 0.125, 0.25, 1.0)
N_UNBIASED_TRIALS = 90
BLOCK_SCALE = 60.0
BLOCK_LENGTHS = (20, 100)
BLOCK_PROBABILITIES = (0.2, 0.8)


class TaskTrials(NamedTuple):
    """What the task shows on each trial.

    Attributes
    ----------
    probability_left : ndarray of float64, shape (n_trials,)
        Probability of the stimulus on the left: .5, .2 or .8.
    side : ndarray of int64, shape (n_trials,)
        Where the stimulus is assigned: +1 right, -1 left; defined at zero contrast as well.
    contrast : ndarray of float64, shape (n_trials,)
        One of 0, .0625, .125, .25, 1.
    """

    probability_left: NDArray[np.float64]
    side: NDArray[np.int64]
    contrast: NDArray[np.float64]

    @property
    def signed_contrast(self) -> NDArray[np.float64]:
        """Contrast with the sign of the side, positive on the right, shape (n_trials,)."""
        return self.side * self.contrast


def draw_block_lengths(n_blocks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the numbers of trials of biased blocks.

    The length is the integer part of an exponential variable of scale 60 that is truncated to [20, 100], by
    inversion of its distribution: ``-60 log(u)`` with u uniform between exp(-100 / 60) and exp(-20 / 60).

    Parameters
    ----------
    n_blocks : int
        How many blocks.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of int64, shape (n_blocks,)
        Trials in each block, 20 to 99.

    Examples
    --------
    >>> lengths = draw_block_lengths(1000, np.random.default_rng(0))
    >>> bool(lengths.min() >= 20 and lengths.max() <= 100)
    True
    """
    shortest, longest = BLOCK_LENGTHS
    survival = rng.uniform(np.exp(-longest / BLOCK_SCALE), np.exp(-shortest / BLOCK_SCALE), n_blocks)
    lengths = np.floor(-BLOCK_SCALE * np.log(survival)).astype(np.int64)
    return np.clip(lengths, shortest, longest)


def draw_trials(n_trials: int, rng: np.random.Generator, n_unbiased: int = N_UNBIASED_TRIALS) -> TaskTrials:
    """Draw the trials of one session of the task.

    90 trials at probability .5, then blocks that alternate between .2 and .8, the first at random; the side
    is left with the block's probability, the contrast uniform over its five values.

    Parameters
    ----------
    n_trials : int
        Number of trials, 0 or more.
    rng : numpy.random.Generator
        Source of the draws.
    n_unbiased : int
        Trials at probability .5 before the first block.

    Returns
    -------
    TaskTrials
        Arrays of shape (n_trials,).

    Raises
    ------
    DataError
        If `n_trials` or `n_unbiased` is negative.

    Examples
    --------
    >>> trials = draw_trials(400, np.random.default_rng(0))
    >>> bool((trials.probability_left[:90] == 0.5).all())
    True
    >>> sorted(set(trials.probability_left[90:].tolist()))
    [0.2, 0.8]
    """
    if n_trials < 0 or n_unbiased < 0:
        raise DataError(f"a session cannot have {n_trials} trials, {n_unbiased} of them unbiased; ask for 0 or more")
    n_blocks = 1 + max(0, n_trials - n_unbiased) // BLOCK_LENGTHS[0]
    lengths = draw_block_lengths(n_blocks, rng)
    turn = (np.arange(n_blocks) + rng.integers(2)) % 2
    biased = np.repeat(np.asarray(BLOCK_PROBABILITIES)[turn], lengths)
    probability_left = np.concatenate([np.full(n_unbiased, 0.5), biased])[:n_trials]
    side = np.where(rng.random(n_trials) < probability_left, -1, 1)
    contrast = rng.choice(np.asarray(CONTRASTS), n_trials)
    return TaskTrials(probability_left, side, contrast)


@dataclass(frozen=True)
class Observer:
    """A psychometric observer without history.

    With signed contrast c and block prior q = probability_left ::

        P(report right) = lapse_right + (1 - lapse_left - lapse_right) * sigmoid(z)
        z = bias + gain * c + prior_weight * log((1 - q) / q)

    The default performs as a trained mouse: about 59 % correct at zero contrast, which it owes to the blocks
    alone, and above 90 % at full contrast.

    Attributes
    ----------
    gain : float
        Log odds per unit of contrast.
    bias : float
        Log odds towards right.
    prior_weight : float
        Weight of the log odds of the block; 1 would be the ideal observer's.
    lapse_left, lapse_right : float
        Probability to report left (right) whatever is shown.

    Examples
    --------
    >>> Observer(lapse_left=0.0, lapse_right=0.0).probability_right(0.0, 0.5).item()
    0.5
    """

    gain: float = 8.0
    bias: float = 0.0
    prior_weight: float = 0.6
    lapse_left: float = 0.04
    lapse_right: float = 0.04

    def probability_right(self, signed_contrast: ArrayLike, probability_left: ArrayLike) -> NDArray[np.float64]:
        """Probability that the observer reports right.

        Parameters
        ----------
        signed_contrast : array_like, shape (n_trials,)
            Contrast in [-1, 1], positive on the right.
        probability_left : array_like, shape (n_trials,)
            Block prior in (0, 1).

        Returns
        -------
        ndarray of float64, shape (n_trials,)
        """
        c, q = np.asarray(signed_contrast, dtype=np.float64), np.asarray(probability_left, dtype=np.float64)
        log_odds = self.bias + self.gain * c + self.prior_weight * np.log((1 - q) / q)
        return self.lapse_right + (1 - self.lapse_left - self.lapse_right) * expit(log_odds)


def draw_choices(observer: Observer, trials: TaskTrials, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Let an observer answer every trial of a session.

    Parameters
    ----------
    observer : Observer
        Who answers.
    trials : TaskTrials
        What is shown, arrays of shape (n_trials,).
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    ndarray of bool, shape (n_trials,)
        True where the observer reports right.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trials = draw_trials(2000, rng)
    >>> correct = draw_choices(Observer(), trials, rng) == (trials.side > 0)
    >>> bool(correct[trials.contrast == 1].mean() > 0.9)
    True
    """
    p_right = observer.probability_right(trials.signed_contrast, trials.probability_left)
    return rng.random(len(p_right)) < p_right


# Of (gain, bias, prior_weight, lapse_left, lapse_right): the box, and the standard deviation of a Gaussian
# prior around the default observer. The prior is weak beside a session of hundreds of trials; it decides what
# a session leaves open (one block only, one choice only, no trials).
_BOUNDS = ((0.0, 60.0), (-6.0, 6.0), (-4.0, 4.0), (0.0, 0.45), (0.0, 0.45))
_PRIOR_MEAN = np.asarray(astuple(Observer()))
_PRIOR_SD = np.array([10.0, 2.0, 1.0, 0.1, 0.1])


def fit_observer(signed_contrast: ArrayLike, probability_left: ArrayLike, chose_right: ArrayLike) -> Observer:
    """Fit the observer to a session by penalised maximum likelihood.

    Maximises the Bernoulli log likelihood of the choices minus half the squared distance to the default
    observer in units of a broad prior's standard deviations, in a box (L-BFGS-B with the exact gradient,
    begun at the default). Deterministic.

    Parameters
    ----------
    signed_contrast : array_like, shape (n_trials,)
        Contrast in [-1, 1], positive on the right.
    probability_left : array_like, shape (n_trials,)
        Block prior in (0, 1).
    chose_right : array_like of bool, shape (n_trials,)
        The choices; leave no-go trials out.

    Returns
    -------
    Observer
        Finite on any session; without trials it is the default observer.

    Raises
    ------
    DataError
        If the arrays differ in shape or hold values outside their ranges.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> trials, mouse = draw_trials(20_000, rng), Observer(gain=5.0, bias=0.5)
    >>> fit = fit_observer(trials.signed_contrast, trials.probability_left, draw_choices(mouse, trials, rng))
    >>> bool(abs(fit.gain - 5) < 0.5 and abs(fit.bias - 0.5) < 0.1)
    True
    """
    c = np.asarray(signed_contrast, dtype=np.float64)
    q = np.asarray(probability_left, dtype=np.float64)
    right = np.asarray(chose_right)
    _check_session(c, q, right)
    prior_log_odds = np.log((1 - q) / q)
    regressors = np.stack([c, np.ones_like(c), prior_log_odds])  # (3, n_trials)

    def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        s = expit(x[:3] @ regressors)
        span = 1 - x[3] - x[4]
        # the two lapses stay below .45 each, but either may be 0 where s rounds to 0 or 1
        p = np.clip(x[4] + span * s, 1e-12, 1 - 1e-12)
        deviation = (x - _PRIOR_MEAN) / _PRIOR_SD
        value = -np.log(np.where(right, p, 1 - p)).sum() + 0.5 * (deviation**2).sum()
        slope = np.where(right, -1 / p, 1 / (1 - p))  # d value / d p
        gradient = np.concatenate([regressors @ (slope * span * s * (1 - s)), [-(slope @ s), slope @ (1 - s)]])
        return float(value), gradient + deviation / _PRIOR_SD

    result = minimize(loss, _PRIOR_MEAN, jac=True, method="L-BFGS-B", bounds=_BOUNDS)
    return Observer(*(float(value) for value in result.x))


def _check_session(
    signed_contrast: NDArray[np.float64], probability_left: NDArray[np.float64], chose_right: NDArray
) -> None:
    shapes = [a.shape for a in (signed_contrast, probability_left, chose_right)]
    if len(set(shapes)) != 1 or signed_contrast.ndim != 1:
        raise DataError(
            f"signed_contrast, probability_left and chose_right have shapes {shapes}; give one value a trial"
        )
    if not np.isin(chose_right, (0, 1)).all():
        raise DataError(
            "chose_right holds other values than True and False; pass `choice == -1` of trials with a choice"
        )
    if not (np.abs(signed_contrast) <= 1).all():
        raise DataError("signed_contrast holds values outside [-1, 1] or NaN; leave trials without a contrast out")
    if not ((probability_left > 0) & (probability_left < 1)).all():
        raise DataError("probability_left holds values outside (0, 1) or NaN; expected .2, .5 or .8")
