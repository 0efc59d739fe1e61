"""What the store of every kind of run has: its lock, tracked neurons, features, and what failed.

Only the driver writes, one at a time. Whatever a kill, a full disk or a bad disk has left is found and mended by the
next driver, or told by an error that says what to do.
"""

import contextlib
import errno
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import xarray as xr
import zarr

from mesodask.errors import StoreError
from mesodask.io import cache, partials, run_html, stores
from mesodask.io.lock import Lock
from mesodask.io.session_columns import CALL_AGAIN, SessionColumns, naming_damage
from mesodask.io.target_store import building_group
from mesodask.schema import FEATURES, SCHEMA_VERSION, TRACKED, validate

logger = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OpenedTarget(Protocol):
    """What the opened group of a target has, whatever kind of run it is of."""

    attrs: dict[str, Any]
    sessions: list[str]
    columns: SessionColumns


T = TypeVar("T", bound=OpenedTarget)


class RunBase(Generic[T]):
    """One run on disk, of whatever kind.

    Parameters
    ----------
    path : pathlib.Path
        Its store.
    opens : callable(path, target, mend)
        Opens the group of a target, and mends it meanwhile or not.
    """

    def __init__(self, path: Path, opens: Callable[[Path, str, bool], T]) -> None:
        self.path = path
        self._opens = opens
        self._targets: dict[str, T] = {}  # as long as the lock is held nobody else changes them
        self._lock: Lock | None = None

    def __repr__(self) -> str:
        return run_html.one_line(self)

    def _repr_html_(self) -> str:
        return run_html.table(self)

    def exists(self) -> bool:
        """Tell whether there is such a run."""
        return stores.has_group(self.path, "tracked")

    def check_exists(self) -> None:
        """Raise :class:`StoreError` if there is no such run."""
        if not self.exists():
            raise StoreError(f"{self.path}: no run store here; give the path that the analysis printed")

    def check_has(self, target: str) -> None:
        """Raise :class:`StoreError` if the run has no such target."""
        if not stores.has_group(self.path, target):
            raise StoreError(f"{self.path}: no target {target!r} in this run; it has {', '.join(self.targets())}")

    # the one who writes -----------------------------------------------------------------------------------------

    @property
    def lock_file(self) -> Path:
        """The lock of the run's driver."""
        return cache.run_lock(self.path)

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
                self._forget_opened()

    def _sweep(self) -> None:
        """Remove what a killed driver has left half written."""
        partials.remove_partial(self.path.parent, self.path.name, locked=True)
        for partial in self.path.rglob(f"*{partials.PARTIAL}"):
            partial.unlink(missing_ok=True)

    def _before_writing(self) -> None:
        if self._lock is not None:
            self._lock.check()

    # its targets ------------------------------------------------------------------------------------------------

    def target(self, target: str) -> T:
        """Open the scores of a target; while the lock is held, what is damaged is mended.

        Raises
        ------
        StoreError
            There is no such target, or its metadata is damaged.
        """
        if self._lock is None:
            return self._opens(self.path, target, False)
        if target not in self._targets:
            self._targets[target] = self._opens(self.path, target, True)
        return self._targets[target]

    def _forget_opened(self, target: str | None = None) -> None:
        """Forget what is held in memory of a target, or of all."""
        for one in [*self._targets] if target is None else [target]:
            self._targets.pop(one, None)

    def _check_definition(self, target: str, definition: str) -> None:
        if self.target(target).attrs.get("definition") != definition:
            raise StoreError(
                f"{self.path}/{target}: scores of another event or window of target {target!r}; "
                "use rerun=True to compute them anew"
            )

    def write_session(self, target: str, session: int, **values: Any) -> None:
        """Store what is one value a session: n_trials, performance, status, reason."""
        self._before_writing()
        self.target(target).columns.write(session, values)

    def sessions(self, target: str) -> xr.Dataset:
        """Read what is one value a session: n_trials, performance, status, reason."""
        found = self.target(target)
        columns = {name: ("session", values) for name, values in found.columns.values().items()}
        return xr.Dataset(columns, coords={"session": found.sessions}, attrs=found.attrs)

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
            with partials.building(self.path, replace=False) as temporary:
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
            self._forget_opened(target)
            for group in (target, f"features/{target}"):
                self._before_writing()
                stores.remove_group(self.path, group)

    @property
    def attrs(self) -> dict[str, Any]:
        """What was run: settings, subject, versions."""
        return stores.attributes(self.path, remedy=CALL_AGAIN)

    def tracked(self) -> xr.Dataset:
        """Read the tracked neurons (:data:`mesodask.schema.TRACKED`)."""
        with naming_damage(self.path / "tracked", CALL_AGAIN):
            return validate(self._read_whole("tracked"), TRACKED, f"{self.path}/tracked")

    def targets(self) -> list[str]:
        """Names of the targets that have been begun."""
        children = sorted(p.parent.name for p in self.path.glob("*/zarr.json"))
        return [name for name in children if name not in ("tracked", "features")]

    @property
    def failures_file(self) -> Path:
        """Where tasks that failed for good are noted, one JSON object a line."""
        return cache.run_failures(self.path)

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
        """Read the features of a session and target (:data:`mesodask.schema.FEATURES`).

        Raises
        ------
        StoreError
            There are none, or they are damaged.
        """
        group = f"features/{target}/{eid}"
        with stores.reading(self.path, group, remedy=CALL_AGAIN):
            return open_features(self.path, target, eid).load()

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
        damage = _damage(lambda: self._read_features(target, eid))
        if damage:
            logger.warning(
                "%s/features/%s/%s: damaged (%s); these features are made again", self.path, target, eid, damage
            )
            self.update_features(target, eid, {"build_id": "", "n_null_asked": -1})

    def _read_features(self, target: str, eid: str) -> None:
        found = self.features(target, eid)
        # a chunk that is whole may be that of another session
        if content_hash(found) != self.feature_attributes(target, eid)["content"]:
            raise StoreError("their content is not that which was written")

    def _read_whole(self, group: str) -> xr.Dataset:
        """Read every chunk of a group; one that is damaged raises, and so does one that is not there."""
        stores.check_chunks(self.path / group, CALL_AGAIN)
        return stores.open_group(self.path, group, remedy=CALL_AGAIN).load()


def open_features(path: Path, target: str, eid: str) -> xr.Dataset:
    """Open the features of a session and target of a run, of whatever kind (:data:`mesodask.schema.FEATURES`)."""
    return stores.open_group(path, f"features/{target}/{eid}", FEATURES, remedy=CALL_AGAIN)


def content_hash(features: xr.Dataset) -> str:
    """Hash what the scores of a session and target are computed from."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("X", "y", "trial_index"):
        digest.update(np.ascontiguousarray(features[name].values).tobytes())
    return digest.hexdigest()


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
