"""The store of a run: tracked neurons, features, and for each target the scores as they come.

On disk NaN means not computed yet, and -1 a score that was computed but is not defined (no fold with both classes).
Only the driver writes, one at a time, and only whole chunks. Whatever a kill, a full disk or a bad disk has left is
found and mended by the next driver, or told by an error that says what to do.
"""

import contextlib
import errno
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from mesodask.errors import StoreError
from mesodask.io import stores
from mesodask.io.lock import Lock
from mesodask.io.target_store import (
    RESAMPLE_CHUNK,
    SHUFFLE_CHUNK,
    UNDEFINED,
    TargetStore,
    building_group,
    create_target,
    naming_damage,
)
from mesodask.schema import FEATURES, SCHEMA_VERSION, TRACKED, validate

__all__ = ["RESAMPLE_CHUNK", "SHUFFLE_CHUNK", "UNDEFINED", "RunStore"]

logger = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RunStore:
    """One run on disk.

    Parameters
    ----------
    path : pathlib.Path
        ``decoding/<prefix>.zarr``.

    Examples
    --------
    See :func:`mesodask.neuron_dropping_curves`, which makes and fills one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Lock | None = None
        self._targets: dict[str, TargetStore] = {}  # as long as the lock is held nobody else changes them

    def exists(self) -> bool:
        """Tell whether there is such a run."""
        return stores.has_group(self.path, "tracked")

    # the one who writes -----------------------------------------------------------------------------------------

    @property
    def lock_file(self) -> Path:
        """The lock of the run's driver."""
        return self.path.with_suffix(".lock")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the run's lock, which its driver does from before :meth:`create` to the end.

        Meanwhile every write is preceded by a look at the lock, and damage that is met is mended: a damaged chunk of
        scores is removed, said in the log, and counts as not computed.

        Raises
        ------
        LockedError
            Another driver holds it, or took it over from this one, which was suspended for long.
        StoreError
            The disk is full. What was written before stays.
        """
        with _explained_full_disk(self.path), Lock(self.lock_file, f"the run {self.path.stem}") as lock:
            self._lock = lock
            try:
                if lock.succeeded:
                    self._sweep()
                yield
            finally:
                self._lock = None
                self._targets.clear()

    def _sweep(self) -> None:
        """Remove what a killed driver has left half written."""
        stores.remove_partial(self.path.parent, self.path.name, locked=True)
        for partial in self.path.rglob(f"*{stores.PARTIAL}"):
            partial.unlink(missing_ok=True)

    def _before_writing(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _target(self, target: str) -> TargetStore:
        if self._lock is None:
            return TargetStore(self.path, target)
        if target not in self._targets:
            self._targets[target] = TargetStore(self.path, target, mend=True)
        return self._targets[target]

    # the run ----------------------------------------------------------------------------------------------------

    def create(self, tracked: xr.Dataset) -> None:
        """Make the store with its tracked neurons; of one that is there, mend what is known from the call.

        Raises
        ------
        StoreError
            The store holds other tracked neurons.
        """
        self._before_writing()
        validate(tracked, TRACKED, "tracked neurons")
        if not self.path.exists():
            with stores.building(self.path, replace=False) as temporary:
                stores.write_group(temporary, "", _root())
                stores.write_group(temporary, "tracked", tracked)
            return
        if _mended_group(self.path):
            stores.write_group(self.path, "", _root())
        damage = _damage(lambda: self._read_whole("tracked"))
        if damage:
            logger.warning("%s/tracked: damaged (%s); it is written again", self.path, damage)
            stores.remove_group(self.path, "tracked")
            with building_group(self.path, "tracked") as temporary:
                stores.write_group(temporary, "", tracked)
        stored = self.tracked()
        names = ("session", "cluster_uid", "roi")
        if any(not np.array_equal(stored[name].values, tracked[name].values) for name in names):
            raise StoreError(f"{self.path}: a run of other neurons, of the same name by chance; move it away")

    def update_attributes(self, attrs: Mapping[str, Any]) -> None:
        """Record what was run last: settings, subject, versions."""
        self._before_writing()
        zarr.open_group(str(self.path), mode="a").attrs.update(attrs)

    def forget(self, targets: Sequence[str]) -> None:
        """Remove the features and scores of some targets."""
        for target in targets:
            self._targets.pop(target, None)
            for group in (target, f"features/{target}"):
                self._before_writing()
                stores.remove_group(self.path, group)

    @property
    def attrs(self) -> dict[str, Any]:
        """What was run: settings, subject, versions."""
        return stores.attributes(self.path)

    def tracked(self) -> xr.Dataset:
        """Read the tracked neurons (:data:`mesodask.schema.TRACKED`)."""
        with naming_damage(self.path / "tracked", "call the same analysis again, which writes it anew"):
            return validate(self._read_whole("tracked"), TRACKED, f"{self.path}/tracked")

    def targets(self) -> list[str]:
        """Names of the targets that have been begun."""
        children = sorted(p.parent.name for p in self.path.glob("*/zarr.json"))
        return [name for name in children if name not in ("tracked", "features")]

    @property
    def failures_file(self) -> Path:
        """Where tasks that failed for good are noted, one JSON object a line."""
        return self.path.with_suffix(".failures.jsonl")

    def note_failure(self, record: Mapping[str, Any]) -> None:
        """Append what is known of a failed task to the failures file."""
        self._before_writing()
        with self.failures_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": time.time(), **record}) + "\n")

    # features ---------------------------------------------------------------------------------------------------

    def write_features(self, target: str, eid: str, features: xr.Dataset) -> None:
        """Store the features of a session and target."""
        self._before_writing()
        for parent in ("features", f"features/{target}"):
            _mended_group(self.path / parent)
        stores.write_group(self.path, f"features/{target}/{eid}", validate(features, FEATURES, f"{target} of {eid}"))

    def update_features(
        self, target: str, eid: str, attrs: Mapping[str, Any], arrays: xr.Dataset | None = None
    ) -> None:
        """Add arrays to stored features, then change some of their attributes."""
        self._before_writing()
        node = zarr.open_group(str(self.path / "features" / target / eid), mode="r+")
        stores.add_variables(node, (xr.Dataset() if arrays is None else arrays).assign_attrs(attrs))

    def features(self, target: str, eid: str) -> xr.Dataset:
        """Open the features of a session and target (:data:`mesodask.schema.FEATURES`)."""
        return stores.open_group(self.path, f"features/{target}/{eid}", FEATURES)

    def feature_attributes(self, target: str, eid: str) -> dict[str, Any]:
        """Read the attributes of stored features; empty if there are none."""
        return stores.attributes(self.path, f"features/{target}/{eid}")

    def check_features(self, target: str, eid: str) -> None:
        """Read stored features from end to end, and unmark them if any part is damaged, so that they are made anew.

        Their attributes stay, and with them the hash of their content, which the new ones must have, too. They count as
        made from no session store (``build_id``) and as having no null labels (``n_null_asked``).
        """
        if "content" not in self.feature_attributes(target, eid):
            return  # never finished
        damage = _damage(lambda: self._read_whole(f"features/{target}/{eid}"))
        if damage:
            logger.warning(
                "%s/features/%s/%s: damaged (%s); these features are made again", self.path, target, eid, damage
            )
            self.update_features(target, eid, {"build_id": "", "n_null_asked": -1})

    def _read_whole(self, group: str) -> xr.Dataset:
        """Read every chunk of a group; one that is damaged raises, and so does one that is not there."""
        stores.check_chunks(self.path / group)
        return stores.open_group(self.path, group).load()

    # scores -----------------------------------------------------------------------------------------------------

    def reserve(
        self,
        target: str,
        sessions: Sequence[str],
        ks: Sequence[int],
        R: int,
        n_shuffles: int,
        definition: str,
        null_resamples: int | None = None,
        resample_chunk: int = RESAMPLE_CHUNK,
    ) -> None:
        """Make room for scores: create the target's arrays, or grow them; nothing that is there changes.

        Parameters
        ----------
        target : str
            Name of the target.
        sessions : sequence of str
            eids in date order; the same at every call.
        ks : sequence of int
            Numbers of neurons wanted; new ones are appended.
        R, n_shuffles : int
            Numbers of resamples and shuffles wanted.
        definition : str
            Hash of the target's event and window.
        null_resamples : int, optional
            On how many resamples the null is wanted; on all of them by default. The largest number of all calls is
            the group's attribute ``null_resamples``.
        resample_chunk : int
            Resamples in a chunk; it counts only when the arrays are created, with a shuffle chunk of all shuffles asked
            for then, in whole batches.

        Raises
        ------
        StoreError
            The store's scores are of another definition of the target, or its metadata is damaged.
        """
        self._before_writing()
        if not stores.has_group(self.path, target):
            attributes = {"definition": definition, "target": target}
            create_target(self.path, target, sessions, attributes, n_shuffles, resample_chunk)
        self._targets.pop(target, None)
        store = TargetStore(self.path, target, mend=self._lock is not None)
        if store.attrs.get("definition") != definition:
            raise StoreError(
                f"{self.path}/{target}: scores of another event or window of target {target!r}; "
                "use rerun=True to compute them anew"
            )
        store.grow(sessions, ks, R, n_shuffles)
        wanted = (R if null_resamples is None else min(R, null_resamples)) if n_shuffles else 0
        if wanted > store.attrs.get("null_resamples", -1):
            zarr.open_group(str(self.path / target), mode="r+").attrs["null_resamples"] = wanted

    def write_session(self, target: str, session: int, **values: Any) -> None:
        """Store what is one value a session: n_trials, performance, status, reason."""
        self._before_writing()
        self._target(target).write_session(session, values)

    def write_scores(
        self,
        target: str,
        session: int,
        first: int,
        ks: Sequence[int],
        score: np.ndarray | None,
        null: np.ndarray,
        first_shuffle: int = 0,
    ) -> None:
        """Store a block of scores.

        Of each k, what `score` and `null` hold together counts as computed together or not at all, whenever this is
        killed.

        Parameters
        ----------
        target : str
            Name of the target.
        session : int
            Index of the session.
        first : int
            First resample of the block.
        ks : sequence of int
            Numbers of neurons of the block.
        score : numpy.ndarray, (len(ks), n_resamples), or None
            NaN where the score is not defined; None where only the null was computed.
        null : numpy.ndarray, (len(ks), n_resamples, n_shuffles)
            The same, for null labels.
        first_shuffle : int
            First shuffle of the block.
        """
        self._before_writing()
        self._target(target).write_scores(session, first, ks, score, null, first_shuffle)

    def extent(self, target: str) -> tuple[list[int], int, int]:
        """Tell what the store has room for: its ks, and the numbers of resamples and of shuffles."""
        store = self._target(target)
        return store.ks, store.n_resamples, store.n_shuffles

    def resample_chunk(self, target: str) -> int:
        """Tell how many resamples a chunk of the target's arrays holds; blocks of them are the cheapest to write."""
        return self._target(target).resample_chunk

    def null_resamples(self, target: str) -> int:
        """Tell on how many resamples the null has been asked for; on all of them, where nothing else is noted."""
        store = self._target(target)
        return store.attrs.get("null_resamples", store.n_resamples)

    def missing(self, target: str, session: int, ks: Sequence[int], R: int, n_shuffles: int) -> np.ndarray:
        """Find what is not computed yet; what there is no room for is not.

        Returns
        -------
        numpy.ndarray, (len(ks), R) bool
            True where the score or any of its ``n_shuffles`` null scores is missing.

        Raises
        ------
        StoreError
            A chunk is damaged, and the lock is not held; within :meth:`writing` it is mended.
        """
        parts = self.missing_by_k(target, session, ks, R, R, n_shuffles)
        return np.array([data | null.any(axis=1) for _, data, null in parts]).reshape(len(ks), R)

    def missing_by_k(
        self, target: str, session: int, ks: Sequence[int], R: int, null_resamples: int, n_shuffles: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Find what is not computed yet of a session, one number of neurons after the other.

        Yields
        ------
        k : int
            Number of neurons.
        data : numpy.ndarray, (R,) bool
            True where the score is missing.
        null : numpy.ndarray, (null_resamples, n_shuffles) bool
            True where the null score is missing.

        Raises
        ------
        StoreError
            As :meth:`missing`.
        """
        return self._target(target).missing_by_k(session, ks, R, null_resamples, n_shuffles)

    def sessions(self, target: str) -> xr.Dataset:
        """Read what is one value a session: n_trials, performance, status, reason."""
        store = self._target(target)
        columns = {name: ("session", values) for name, values in store.session_values().items()}
        return xr.Dataset(columns, coords={"session": store.sessions}, attrs=store.attrs)

    def scores(self, target: str) -> xr.Dataset:
        """Read the scores of a target, ks in ascending order, undefined scores as NaN.

        Returns
        -------
        xarray.Dataset
            :data:`mesodask.schema.RUN_TARGET`, and what is computed, defined or not: ``finished(session, k,
            resample)``, and ``null_finished(session, k, shuffle)``, a shuffle on all finished resamples.

        Raises
        ------
        StoreError
            The run has no such target, or a part of it is damaged; the message names the file.
        """
        if not stores.has_group(self.path, target):
            raise StoreError(f"{self.path}: no target {target!r} in this run; it has {', '.join(self.targets())}")
        dataset = TargetStore(self.path, target).scores()
        finished = dataset["score"].notnull()
        null_finished = (dataset["null_score"].notnull() | ~finished).all("resample")
        opened = dataset.assign(
            {name: dataset[name].where(dataset[name] != UNDEFINED) for name in ("score", "null_score")}
        )
        return opened.assign(finished=finished, null_finished=null_finished)


def _root() -> xr.Dataset:
    return xr.Dataset(attrs={"schema_version": SCHEMA_VERSION})


def _mended_group(folder: Path) -> bool:
    """Make a group that holds nothing but groups, or its damaged metadata, anew; tell whether it was needed."""
    if not _damage(lambda: zarr.open_group(str(folder), mode="r")):
        return False
    file = folder / "zarr.json"
    if file.exists():
        logger.warning("%s: damaged; it is written again", file)
        file.unlink()
    zarr.open_group(str(folder), mode="a")
    return True


def _damage(read: Callable[[], Any]) -> str:
    """Say why something cannot be read; empty if it can."""
    try:
        read()
    except PermissionError:
        raise
    except Exception as error:  # damage raises many kinds
        return str(error) or repr(error)
    return ""


@contextlib.contextmanager
def _explained_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise StoreError(
            f"{error.filename or path}: cannot be written ({error.strerror}). All scores computed before are stored; "
            "make space and call again to go on from there"
        ) from error
