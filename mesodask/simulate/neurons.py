"""The neurons of a simulated subject: what they code, and which of them is in which row on which day."""

import uuid
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from mesodask.simulate.anatomy import N_LINES, draw_pixels
from mesodask.simulate.recipe import TARGETS, Recipe

N_FAST_LATENTS = 4
N_SLOW_LATENTS = 3
# Median change of the log rate when a code is at full strength, in the order of TARGETS: some dozens of
# coding neurons decode each target about equally well in its window, and none of them perfectly.
CODE_GAIN = np.array([1.1, 1.6, 0.8, 0.55])
FAST_LOADING = 0.2  # standard deviation of the loading on each fast latent
MEDIAN_RATE = 0.8  # events a second


@dataclass(frozen=True)
class Neurons:
    """Traits of n neurons that stay the same on all days.

    Attributes
    ----------
    neuron_id : ndarray of int64, shape (n,)
        Number of the neuron within the subject.
    cluster_uid : ndarray of str objects, shape (n,)
        Its ROICaT cluster.
    weight : ndarray of float64, shape (n, 4)
        Change of the log rate per unit of each code in TARGETS; 0 where the neuron does not code it.
    rate : ndarray of float64, shape (n,)
        Events a second without any drive.
    fast_loading, slow_loading : ndarray of float64, shape (n, 4) and (n, 3)
        Loadings on the shared fluctuations and on the drift.
    baseline, neuropil_gain : ndarray of float64, shape (n,)
        Fluorescence without events, and coupling to the FOV's neuropil.
    pixels : ndarray of int64, shape (n, 2)
        y (line) and x in the field of view.
    """

    neuron_id: NDArray[np.int64]
    cluster_uid: NDArray[np.object_]
    weight: NDArray[np.float64]
    rate: NDArray[np.float64]
    fast_loading: NDArray[np.float64]
    slow_loading: NDArray[np.float64]
    baseline: NDArray[np.float64]
    neuropil_gain: NDArray[np.float64]
    pixels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.neuron_id)

    def take(self, rows: NDArray[np.int64]) -> "Neurons":
        """Select neurons, in the order of the rows."""
        return Neurons(*(getattr(self, field.name)[rows] for field in fields(self)))


def join(parts: list[Neurons]) -> Neurons:
    """Put groups of neurons one after another."""
    return Neurons(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Neurons)))


def draw_neurons(
    neuron_id: NDArray[np.int64], fractions: tuple[float, ...], drift: float, rng: np.random.Generator
) -> Neurons:
    """Draw the traits of neurons.

    Whether a neuron codes a target, with which sign and how strongly are drawn independently for each target;
    the number of draws does not depend on the fractions.

    Parameters
    ----------
    neuron_id : ndarray of int64, shape (n,)
        Numbers of the neurons.
    fractions : tuple of float
        Fraction that codes each of TARGETS.
    drift : float
        Standard deviation of the log rate that comes from slow latents.
    rng : numpy.random.Generator
        Source of the draws.

    Examples
    --------
    >>> neurons = draw_neurons(np.arange(500), (0.5, 0.0, 0.0, 0.0), 0.0, np.random.default_rng(0))
    >>> int((neurons.weight[:, 1:] != 0).sum())
    0
    """
    n, n_targets = len(neuron_id), len(TARGETS)
    coded = rng.random((n, n_targets)) < np.asarray(fractions)
    gain = CODE_GAIN * rng.choice([-1.0, 1.0], (n, n_targets)) * rng.lognormal(0.0, 0.3, (n, n_targets))
    return Neurons(
        neuron_id=neuron_id,
        cluster_uid=draw_uuids(n, rng),
        weight=np.where(coded, gain, 0.0),
        rate=rng.lognormal(np.log(MEDIAN_RATE), 0.5, n),
        fast_loading=rng.normal(0, FAST_LOADING, (n, N_FAST_LATENTS)),
        slow_loading=rng.normal(0, drift / np.sqrt(N_SLOW_LATENTS), (n, N_SLOW_LATENTS)),
        baseline=rng.lognormal(np.log(200.0), 0.4, n),
        neuropil_gain=rng.uniform(0.7, 1.3, n),
        pixels=draw_pixels(n, rng),
    )


def weights_of_day(weight: NDArray[np.float64], degrees: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Turn the weights of every code by an angle, towards weights of other signs and sizes on the same neurons.

    ``weight(angle) = cos(angle) weight + sin(angle) other``

    Parameters
    ----------
    weight : ndarray of float64, shape (n, 4)
        Weights of the first day; 0 where a neuron does not code a target, which stays so.
    degrees : float
        The angle since then.
    rng : numpy.random.Generator
        Source of the other weights; the same for all days.

    Examples
    --------
    >>> weight = np.repeat([[1.0, -1.0, 0.0, 2.0]], 1000, axis=0)
    >>> turned = weights_of_day(weight, 90, np.random.default_rng(0))
    >>> bool(abs(np.sign(turned[:, 0]).mean()) < 0.1), turned[:, 2].any()
    (True, np.False_)
    """
    if not degrees:
        return weight
    angle = np.radians(degrees)
    other = CODE_GAIN * rng.choice([-1.0, 1.0], weight.shape) * rng.lognormal(0.0, 0.3, weight.shape)
    return np.where(weight != 0, np.cos(angle) * weight + np.sin(angle) * other, 0.0)


def draw_uuids(n: int, rng: np.random.Generator) -> NDArray[np.object_]:
    """Draw n random UUIDs (version 4) as strings.

    Examples
    --------
    >>> uuid.UUID(draw_uuids(1, np.random.default_rng(0))[0]).version
    4
    """
    draws = rng.bytes(16 * n)
    ids = (str(uuid.UUID(bytes=draws[start : start + 16], version=4)) for start in range(0, 16 * n, 16))
    return np.fromiter(ids, dtype=object, count=n)


@dataclass(frozen=True)
class FovRows:
    """The ROIs of one field of view on one day, in the order of its files.

    Attributes
    ----------
    neurons : Neurons
        Who is in each row.
    tracked, is_cell : ndarray of bool, shape (n_rois,)
        Whether ROICaT found the ROI's cluster; whether it was classified as a cell.
    cell_probability : ndarray of float64, shape (n_rois,)
        The classifier's output, above .5 for cells.
    roi_uuid : ndarray of str objects, shape (n_rois,)
        Ids of the ROIs of this session.
    stack_pos : ndarray of int64, shape (n_rois, 3)
        y, x, z in pixels; a pixel or two off the neuron's own place.
    """

    neurons: Neurons
    tracked: NDArray[np.bool_]
    is_cell: NDArray[np.bool_]
    cell_probability: NDArray[np.float64]
    roi_uuid: NDArray[np.object_]
    stack_pos: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.neurons)


def rows_of_day(recipe: Recipe, site: int, day: int) -> FovRows:
    """Draw who is in a field of view on a day.

    A slot holds its own neuron with probability `persistence`, independently on each day, else a neuron that
    is seen on this day only. The rows are permuted anew each day.

    Parameters
    ----------
    recipe : Recipe
        Settings and seed of the subject.
    site : int
        Index of the place in the brain (not of the FOV's name, which may change).
    day : int
        Index of the session.

    Examples
    --------
    >>> recipe = Recipe(persistence=1.0)
    >>> ids = [set(rows_of_day(recipe, 0, day).neurons.neuron_id.tolist()) for day in (0, 1)]
    >>> ids[0] == ids[1] == set(range(60))
    True
    """
    n = recipe.rois_per_fov[site]
    own_id = sum(recipe.rois_per_fov[:site]) + np.arange(n)
    passing_id = own_id + recipe.n_rois * (day + 1)
    own = draw_neurons(own_id, recipe.fractions, recipe.drift, recipe.rng("neurons", site))
    own = replace(own, weight=weights_of_day(own.weight, day * recipe.code_rotation, recipe.rng("rotated code", site)))
    passing = draw_neurons(passing_id, recipe.fractions, recipe.drift, recipe.rng("neurons", site, "day", day))

    rng = recipe.rng("rows", site, day)
    absent = rng.random(n) >= recipe.persistence
    neurons = join([own, passing]).take(rng.permutation(n) + n * absent)
    is_cell = rng.random(n) >= recipe.non_cells
    half = np.where(is_cell, 1 - rng.beta(1.5, 5, n), rng.beta(1.5, 3, n)) / 2
    pixels = np.clip(neurons.pixels + rng.integers(-2, 3, (n, 2)), 0, N_LINES - 1)
    return FovRows(
        neurons=neurons,
        tracked=rng.random(n) >= recipe.untracked,
        is_cell=is_cell,
        cell_probability=np.where(is_cell, 0.5 + half, half),
        roi_uuid=draw_uuids(n, rng),
        stack_pos=np.column_stack([pixels, np.zeros(n, dtype=np.int64)]),
    )


def site_order(recipe: Recipe, day: int) -> NDArray[np.int64]:
    """Which place in the brain FOV_00, FOV_01, ... look at on a day, shape (n_fovs,).

    Examples
    --------
    >>> site_order(Recipe(), day=3).tolist()
    [0, 1]
    """
    n_fovs = len(recipe.rois_per_fov)
    return recipe.rng("fov names", day).permutation(n_fovs) if recipe.shuffle_fovs else np.arange(n_fovs)
