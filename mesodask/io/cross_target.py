"""The scores of one target of a cross-session run: models of training sessions, and what they give on other sessions.

Every value that a task computes is a chunk of its own (:class:`mesodask.io.score_array.ScoreArray`), so that it is
there or not, however a driver ends. With ``train_on="first"`` arrays have no dim for the training session.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from mesodask.errors import StoreError
from mesodask.io import stores
from mesodask.io.score_array import BUILD, ScoreArray
from mesodask.io.session_columns import (
    ONE_VALUE_A_SESSION,
    SessionColumns,
    naming_damage,
    session_names,
)
from mesodask.io.target_store import ON_DISK, UNDEFINED, building_group, new_group, shuffle_chunk_of
from mesodask.schema import CROSS_TARGET, Variable

SCORES = ("accuracy", "balanced_accuracy", "auc")
FOLD_SCORES = tuple(f"fold_{name}" for name in SCORES)
READOUT = ("weights", "intercept", "C", "l1_ratio", "n_components")
USERS_DECODER = ("decision", "called")
UNDEFINED_IN = (*SCORES, *FOLD_SCORES, "null_accuracy")
# dims of which a chunk holds one index; all others are whole but for shuffles
INDEXED = ("train_session", "session", "test_session", "fold", "model")


class CrossTarget:
    """One target's group of a cross-session run, as it is when this is made.

    Parameters
    ----------
    run : pathlib.Path
        The run store.
    target : str
        Name of the target.
    mend : bool
        Whether damage that is met is mended where possible; only for who holds the run's lock. It raises otherwise.

    Attributes
    ----------
    sessions : list of str
        eids in date order.
    by_session : bool
        Whether there are models of each session, and not of the first alone.
    n_folds, n_models, n_shuffles : int
        What there is room for; a model more than folds is that of the whole training session.
    columns : SessionColumns
        What is one value a session.

    Raises
    ------
    StoreError
        There is no such target, or its metadata is damaged.
    """

    def __init__(self, run: Path, target: str, mend: bool = False) -> None:
        self.path = run / target
        if not stores.has_group(run, target):
            raise StoreError(f"{self.path}: no Zarr group here; compute the target anew with rerun=True")
        self.attrs = stores.attributes(run, target)
        build = self.attrs.pop(BUILD, "")
        self.by_session = self.attrs.get("train_on") == "each"
        self._arrays = {
            name: ScoreArray(self.path / name, mend, sum(dim in INDEXED for dim in self._dims(name)), build)
            for name, variable in CROSS_TARGET.items()
            if _is_scored(name) and (not variable.optional or (self.path / name).exists())
        }
        self.sessions = session_names(run, target, mend)
        self.columns = SessionColumns(self.path, self.sessions, mend)
        self.n_folds = self._arrays["fold_accuracy"].shape[-1]
        self.n_models = self._arrays["unconverged"].shape[-1]
        self.n_shuffles = self._arrays["null_accuracy"].shape[-1]

    def _dims(self, name: str) -> tuple[str, ...]:
        return dims_of(CROSS_TARGET[name], by_session=self.by_session)

    @property
    def training(self) -> range:
        """Indices of the sessions that models are trained on."""
        return range(len(self.sessions) if self.by_session else 1)

    @property
    def has_readouts(self) -> bool:
        """Whether models are weights of neurons, and not a user's decoder."""
        return "weights" in self._arrays

    def has_array(self, name: str) -> bool:
        """Tell whether there is an array of this name: readouts have weights, a user's decoder has decisions."""
        return name in self._arrays

    def read(self, name: str, train: int, *index: int) -> np.ndarray:
        """Read what stands at an index of one array; what is not computed is NaN, what is undefined -1.

        Parameters
        ----------
        name : str
            Name of the array.
        train : int
            The training session.
        *index : int
            Session, fold or model, as far as the array has them.
        """
        array = self._arrays[name]
        place = self._place(train, index)
        return array.read(place, *array.shape[array.n_index :], firsts=(0,) * (len(array.shape) - array.n_index))

    def write(self, name: str, values: Any, train: int, *index: int, first: int = 0) -> None:
        """Write what stands at an index of one array; of shuffles or trials some, from `first` on."""
        array = self._arrays[name]
        values = np.asarray(values, dtype=np.float64)
        stored = np.where(np.isnan(values), UNDEFINED, values) if name in UNDEFINED_IN else values
        array.write(self._place(train, index), stored, *(first,) * stored.ndim)

    def _place(self, train: int, index: tuple[int, ...]) -> tuple[int, ...]:
        return (train, *index) if self.by_session else index

    def whole(self, name: str) -> np.ndarray:
        """Read one array as a whole, (train_session, ...) with a single training session where it is the first."""
        array = self._arrays[name]
        inner = array.shape[array.n_index :]
        outer = array.shape[: array.n_index]
        values = np.empty((*outer, *inner))
        for place in np.ndindex(*outer):
            values[place] = array.read(place, *inner, firsts=(0,) * len(inner))
        return values if self.by_session else values[None]

    def is_computed(self, train: int, model: int) -> bool:
        """Tell whether everything of a model is there."""
        names = [name for name in (*READOUT, "unconverged") if name in self._arrays]
        parts = [self.read(name, train, model) for name in names]
        if model < self.n_folds:
            parts += [self.read(name, train, model) for name in FOLD_SCORES]
        if not self.has_readouts:
            parts += [self.read(name, train, model, s)[:1] for name in USERS_DECODER for s in self.tested(train)]
        return not any(np.isnan(part).any() for part in parts)

    def tested(self, train: int) -> list[int]:
        """Indices of the sessions, not skipped, that models of a training session are tested on."""
        status = self.columns.values()["status"]
        return [session for session in range(len(self.sessions)) if session != train and status[session] != "skipped"]

    def missing_null(self, train: int, session: int, n_shuffles: int) -> np.ndarray:
        """Tell which of the first null accuracies of a pair are not computed, (n_shuffles,) bool."""
        missing = np.ones(n_shuffles, dtype=bool)
        there = self.read("null_accuracy", train, session)[:n_shuffles]
        missing[: len(there)] = np.isnan(there)
        return missing

    def is_scored(self, train: int, session: int) -> bool:
        """Tell whether the scores of a pair are computed."""
        return not any(np.isnan(self.read(name, train, session)) for name in SCORES)

    def scored_at(self, name: str, train: int, *index: int) -> float | None:
        """When what stands at an index was written last, s since 1970; None if it is not there."""
        array = self._arrays[name]
        rest = (0,) * (len(array.shape) - array.n_index)
        try:
            return array.file((*self._place(train, index), *rest)).stat().st_mtime
        except FileNotFoundError:
            return None

    def grow(self, n_shuffles: int) -> None:
        """Make room for more shuffles; this object keeps what there was."""
        if n_shuffles > self.n_shuffles:
            with naming_damage(self.path):
                array = zarr.open_group(str(self.path), mode="r+")["null_accuracy"]
                array.resize((*array.shape[:-1], n_shuffles))


def _is_scored(name: str) -> bool:
    return name not in ("session", *ONE_VALUE_A_SESSION)


def dims_of(variable: Variable, *, by_session: bool) -> tuple[str, ...]:
    """Dims of a variable on disk: the training session is one only where there are several, beside the test session.

    Examples
    --------
    >>> dims_of(CROSS_TARGET["accuracy"], by_session=False), dims_of(CROSS_TARGET["accuracy"], by_session=True)
    (('session',), ('train_session', 'test_session'))
    """
    if not by_session:
        return tuple(dim for dim in variable.dims if dim != "train_session")
    paired = "train_session" in variable.dims
    return tuple("test_session" if paired and dim == "session" else dim for dim in variable.dims)


def create_cross_target(
    run: Path, target: str, sizes: dict[str, int], sessions: Sequence[str], attributes: dict[str, Any]
) -> None:
    """Make the group of a target, with nothing in it; it appears whole or not at all.

    Parameters
    ----------
    run : pathlib.Path
        The run store.
    target : str
        Name of the target.
    sizes : dict of str to int
        Lengths of the dims neuron, fold, model, shuffle; and trial, which a user's decoder has in place of neuron.
    sessions : sequence of str
        eids in date order.
    attributes : dict
        Of the group; ``train_on`` is "first" or "each".
    """
    if (run / target).exists():
        raise StoreError(f"{run / target}: its metadata is lost; compute the target anew with rerun=True")
    by_session = attributes["train_on"] == "each"
    sizes = sizes | dict.fromkeys(("session", "train_session", "test_session"), len(sessions))
    with building_group(run, target) as temporary:
        group = zarr.open_group(str(temporary), mode="w", attributes=attributes | new_group())
        for name, variable in CROSS_TARGET.items():
            if variable.optional and name not in (USERS_DECODER if "trial" in sizes else READOUT):
                continue
            dims = dims_of(variable, by_session=by_session)
            shape = tuple(sizes[dim] for dim in dims)
            scored = _is_scored(name)
            chunks = tuple(_chunk(dim, length) for dim, length in zip(dims, shape, strict=True)) if scored else shape
            array = stores.create_array(
                group,
                name,
                dims=dims,
                shape=shape,
                dtype=variable.dtype,
                chunks=chunks,
                attributes=variable.attributes() | ({"on_disk": ON_DISK} if name in UNDEFINED_IN else {}),
            )
            if not scored:
                array[:] = np.array(sessions, dtype=object) if name == "session" else array[:]


def _chunk(dim: str, length: int) -> int:
    if dim == "shuffle":
        return shuffle_chunk_of(length)
    return 1 if dim in INDEXED else length
