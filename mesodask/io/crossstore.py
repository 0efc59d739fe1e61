"""The store of a cross-session run: for each target the models of training sessions, and their scores on others.

On disk NaN means not computed yet, and -1 a score that was computed but is not defined. The rest is as for every run
(:mod:`mesodask.io.runbase`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
import zarr

from mesodask.errors import SettingsError, StoreError
from mesodask.io import stores
from mesodask.io.cross_target import (
    READOUT,
    UNDEFINED_IN,
    CrossTarget,
    create_cross_target,
    dims_of,
)
from mesodask.io.runbase import RunBase
from mesodask.io.runstore import RunStore
from mesodask.io.target_store import UNDEFINED
from mesodask.schema import CROSS_TARGET
from mesodask.targets import TARGETS

KIND = "cross_session"
PICKED = "picked_fold"  # attribute of a target: one number, or one a training session
ON_READING = (*(name for name in CROSS_TARGET if len(CROSS_TARGET[name].dims) > 1 and not CROSS_TARGET[name].optional),
              *READOUT)  # fmt: skip


# what a run of each kind is called, and what takes it
RUNS = {
    True: ("a run across sessions", "cross_session_table, plot_cross_session and plot_generalization_matrix take it, "
           "and write_report as cross_session="),
    False: ("a run of neuron-dropping curves", "summarize, k_star, plot_ndc, plot_k_star and write_report take it"),
}  # fmt: skip


class CrossSessionStore(RunBase[CrossTarget]):
    """One cross-session run on disk.

    Parameters
    ----------
    path : pathlib.Path
        ``decoding/cross_session/<prefix>.zarr``.

    Examples
    --------
    See :func:`mesodask.cross_session`, which makes and fills one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, CrossTarget)

    def reserve(self, target: str, sizes: dict[str, int], sessions: Sequence[str], attributes: dict[str, Any]) -> None:
        """Make room for the scores of a target: create its arrays, or let the null grow; nothing that is there changes.

        Parameters
        ----------
        target : str
            Name of the target.
        sizes, sessions, attributes
            As for :func:`mesodask.io.cross_target.create_cross_target`; the attribute ``definition`` is the hash of the
            target's event and window.

        Raises
        ------
        StoreError
            The store's scores are of another definition of the target, or its metadata is damaged.
        """
        self._before_writing()
        if not stores.has_group(self.path, target):
            create_cross_target(self.path, target, sizes, sessions, attributes)
        self._check_definition(target, attributes["definition"])
        found = self.target(target)
        if found.sessions != list(sessions):
            raise StoreError(f"{self.path}/{target}: scores of other sessions; use rerun=True to compute them anew")
        if sizes["shuffle"] > found.n_shuffles:
            found.grow(sizes["shuffle"])
            self._forget_opened(target)

    def write(self, target: str, name: str, values: Any, train: int, *index: int, first: int = 0) -> None:
        """Store what stands at an index of an array (see :meth:`mesodask.io.cross_target.CrossTarget.write`)."""
        self._before_writing()
        self.target(target).write(name, values, train, *index, first=first)

    def write_picked(self, target: str, picked: Sequence[int]) -> None:
        """Store which fold's model is carried abroad, of each training session; -1 where it is not known yet."""
        found = self.target(target)
        value = list(picked) if found.by_session else picked[0]
        if found.attrs.get(PICKED) != value:
            self._before_writing()
            zarr.open_group(str(self.path / target), mode="r+").attrs[PICKED] = value
            found.attrs[PICKED] = value

    def dataset(self, target: str) -> xr.Dataset:
        """Read everything of a target, undefined scores as NaN.

        Returns
        -------
        xarray.Dataset
            :data:`mesodask.schema.CROSS_TARGET` without a dim for the training session where that is the first, else
            with dims ``train_session`` and ``test_session``; coordinates ``session`` (eids) and ``date``. Attributes:
            ``subject, target, train_on, transfer, null_labels, null_kind``, and ``picked_fold``, the fold whose model
            is carried, one a training session where there are several, -1 where none is.

        Raises
        ------
        StoreError
            The run has no such target, or a part of it is damaged; the message names the file.
        """
        self.check_has(target)
        found = self.target(target)
        variables: dict[str, tuple] = {}
        for name in ON_READING:
            if found.has_array(name):
                values = found.whole(name)
                if name in UNDEFINED_IN:
                    values = np.where(values == UNDEFINED, np.nan, values)
                variable = CROSS_TARGET[name]
                dims = dims_of(variable, by_session=found.by_session)
                variables[name] = (dims, values if found.by_session else values[0], variable.attributes())
        for name, values in found.columns.values().items():
            variables[name] = (("session",), values, CROSS_TARGET[name].attributes())
        tracked = self.tracked()
        coordinates: dict[str, Any] = {"session": found.sessions}
        coordinates |= {name: ("session", tracked[name].values) for name in ("date", "number") if name in tracked}
        if found.by_session:
            coordinates |= {"train_session": found.sessions, "test_session": found.sessions}
        attrs = found.attrs | {"subject": self.attrs.get("subject", "")}
        return xr.Dataset(variables, coords=coordinates, attrs=attrs)

    def datasets(self) -> dict[str, xr.Dataset]:
        """Read all targets that have been begun, by name in the usual order: what figures take."""
        begun = self.targets()
        usual = [target for target in TARGETS if target in begun]
        return {target: self.dataset(target) for target in dict.fromkeys(usual + begun)}


def open_run(path: Path) -> RunStore | CrossSessionStore:
    """Take a path for what its store says it is: a cross-session run, or one of neuron-dropping curves."""
    try:
        kind = stores.attributes(path).get("kind")
    except StoreError:  # damaged; whoever reads it will tell: it is known by its place
        kind = path.parent.name
    return CrossSessionStore(path) if kind == KIND else RunStore(path)


R = TypeVar("R", RunStore, CrossSessionStore)


def checked_run(run: RunBase[Any] | str | Path, expected: type[R]) -> R:
    """Open a run that has to be of one kind.

    Parameters
    ----------
    run : run or path-like
        A run that is open, or its path.
    expected : {RunStore, CrossSessionStore}
        The kind.

    Returns
    -------
    RunStore or CrossSessionStore
        `run` itself where it is such a one.

    Raises
    ------
    StoreError
        There is no such run, it is damaged, or it is of the other kind: the message says what takes it.
    SettingsError
        `run` is neither a run nor a path.
    """
    if not isinstance(run, (RunBase, str, Path)):
        raise SettingsError(f"run is a {type(run).__name__}; expected a run, or the path of its store")
    store = run if isinstance(run, expected) else expected(run.path if isinstance(run, RunBase) else Path(run))
    store.check_exists()
    kind, across = store.attrs.get("kind"), expected is CrossSessionStore
    if kind is not None and (kind == KIND) != across:
        found, what_takes_it = RUNS[not across]
        raise StoreError(f"{store.path}: expected {RUNS[across][0]}, found {found}; {what_takes_it}")
    return store
