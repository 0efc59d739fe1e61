"""The store of a run: tracked neurons, features, and for each target the scores as they come.

On disk NaN means not computed yet, and -1 a score that was computed but is not defined (no fold with both classes).
Only the driver writes, and only whole chunks: one session, one k, RESAMPLE_CHUNK resamples.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from mesodask.errors import StoreError
from mesodask.io import stores
from mesodask.schema import FEATURES, RUN_TARGET, SCHEMA_VERSION, TRACKED, validate

UNDEFINED = -1.0
RESAMPLE_CHUNK = 10
SHUFFLE_CHUNK = 100
READ_AT_ONCE = 1 << 23  # null scores, 32 MB
ON_DISK = "not computed yet: NaN; computed but undefined: -1"


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

    def exists(self) -> bool:
        """Tell whether there is such a run."""
        return stores.has_group(self.path, "tracked")

    def create(self, tracked: xr.Dataset) -> None:
        """Make a new store that holds the tracked neurons; one that another process made meanwhile is kept."""
        with stores.building(self.path, replace=False) as temporary:
            stores.write_group(temporary, "", xr.Dataset(attrs={"schema_version": SCHEMA_VERSION}))
            stores.write_group(temporary, "tracked", validate(tracked, TRACKED, "tracked neurons"))

    def update_attributes(self, attrs: Mapping[str, Any]) -> None:
        """Record what was run last: settings, subject, versions."""
        zarr.open_group(str(self.path), mode="a").attrs.update(attrs)

    def forget(self, targets: Sequence[str]) -> None:
        """Remove the features and scores of some targets."""
        for target in targets:
            for group in (target, f"features/{target}"):
                stores.remove_group(self.path, group)

    @property
    def attrs(self) -> dict[str, Any]:
        """What was run: settings, subject, versions."""
        return stores.attributes(self.path)

    def tracked(self) -> xr.Dataset:
        """Open the tracked neurons (:data:`mesodask.schema.TRACKED`)."""
        return stores.open_group(self.path, "tracked", TRACKED)

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
        with self.failures_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": time.time(), **record}) + "\n")

    # features -------------------------------------------------------------------------------------------------

    def write_features(self, target: str, eid: str, features: xr.Dataset) -> None:
        """Store the features of a session and target."""
        for parent in ("features", f"features/{target}"):
            zarr.open_group(str(self.path), mode="a").require_group(parent)
        stores.write_group(self.path, f"features/{target}/{eid}", validate(features, FEATURES, f"{target} of {eid}"))

    def update_features(
        self, target: str, eid: str, attrs: Mapping[str, Any], arrays: xr.Dataset | None = None
    ) -> None:
        """Add arrays to stored features, then change some of their attributes."""
        node = zarr.open_group(str(self.path), mode="a")[f"features/{target}/{eid}"]
        stores.add_variables(node, (xr.Dataset() if arrays is None else arrays).assign_attrs(attrs))

    def features(self, target: str, eid: str) -> xr.Dataset:
        """Open the features of a session and target (:data:`mesodask.schema.FEATURES`)."""
        return stores.open_group(self.path, f"features/{target}/{eid}", FEATURES)

    def feature_attributes(self, target: str, eid: str) -> dict[str, Any]:
        """Read the attributes of stored features; empty if there are none."""
        return stores.attributes(self.path, f"features/{target}/{eid}")

    # scores ---------------------------------------------------------------------------------------------------

    def reserve(
        self,
        target: str,
        sessions: Sequence[str],
        ks: Sequence[int],
        R: int,
        n_shuffles: int,
        definition: str,
        null_resamples: int | None = None,
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

        Raises
        ------
        StoreError
            The store's scores are of another definition of the target.
        """
        root = zarr.open_group(str(self.path), mode="a")
        if target not in root:
            self._create_target(root, target, sessions, definition)
        group = root[target]
        if group.attrs.get("definition") != definition:
            raise StoreError(
                f"{self.path}/{target}: scores of another event or window of target {target!r}; "
                "use rerun=True to compute them anew"
            )
        old_ks = group["k"][:].tolist()
        new_ks = old_ks + [k for k in ks if k not in old_ks]
        n_resamples = max(R, group["score"].shape[2])
        n_columns = max(n_shuffles, group["null_score"].shape[3])
        wanted = (R if null_resamples is None else min(R, null_resamples)) if n_shuffles else 0
        if wanted > group.attrs.get("null_resamples", -1):
            group.attrs["null_resamples"] = wanted
        shape = (len(sessions), len(new_ks), n_resamples)
        group["null_score"].resize((*shape, n_columns))
        group["score"].resize(shape)
        group["k"].resize((len(new_ks),))  # the coordinate last: a k counts only when its scores have room
        group["k"][len(old_ks) :] = np.array(new_ks[len(old_ks) :], dtype=np.int64)

    def _create_target(self, root: zarr.Group, target: str, sessions: Sequence[str], definition: str) -> None:
        group = root.create_group(target, attributes={"definition": definition, "target": target})
        for name, variable in RUN_TARGET.items():
            sizes = {"session": len(sessions), "k": 0, "resample": 0, "shuffle": 0}
            chunks = {"session": 1, "k": 1, "resample": RESAMPLE_CHUNK, "shuffle": SHUFFLE_CHUNK}
            scores = name in ("score", "null_score")
            array = stores.create_array(
                group,
                name,
                dims=variable.dims,
                shape=tuple(sizes[dim] for dim in variable.dims),
                dtype=variable.dtype,
                chunks=tuple(chunks[d] if scores else max(1, sizes[d]) for d in variable.dims),
                attributes=variable.attributes() | ({"on_disk": ON_DISK} if scores else {}),
            )
            if name == "session":
                array[:] = np.array(sessions, dtype=object)

    def write_session(self, target: str, session: int, **values: Any) -> None:
        """Store what is one value a session: n_trials, performance, status, reason."""
        group = zarr.open_group(str(self.path), mode="a")[target]
        for name, value in values.items():
            group[name][session] = value

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
        group = zarr.open_group(str(self.path), mode="a")[target]
        position = {int(k): i for i, k in enumerate(group["k"][:])}
        resamples = slice(first, first + null.shape[1])
        shuffles = slice(first_shuffle, first_shuffle + null.shape[2])
        for row, k in enumerate(ks):
            # the score last: where it stands, the null that came with it stands too
            if null.shape[2]:
                group["null_score"][session, position[k], resamples, shuffles] = _to_disk(null[row])
            if score is not None:
                group["score"][session, position[k], resamples] = _to_disk(score[row])

    def extent(self, target: str) -> tuple[list[int], int, int]:
        """Tell what the store has room for: its ks, and the numbers of resamples and of shuffles."""
        group = zarr.open_group(str(self.path), mode="r")[target]
        return group["k"][:].tolist(), group["score"].shape[2], group["null_score"].shape[3]

    def missing(self, target: str, session: int, ks: Sequence[int], R: int, n_shuffles: int) -> np.ndarray:
        """Find what is not computed yet.

        Returns
        -------
        numpy.ndarray, (len(ks), R) bool
            True where the score or any of its ``n_shuffles`` null scores is missing.
        """
        group = zarr.open_group(str(self.path), mode="r")[target]
        position = {int(k): i for i, k in enumerate(group["k"][:])}
        rows = [position[k] for k in ks]
        missing = np.isnan(group["score"][session][rows, :R])
        if n_shuffles:
            null = group["null_score"][session, :, :R, :n_shuffles][rows]
            missing |= np.isnan(null).any(axis=2)
        return missing

    def resample_chunk(self, target: str) -> int:
        """Tell how many resamples a chunk of the target's arrays holds; blocks of them are the cheapest to write."""
        return zarr.open_array(str(self.path / target / "score"), mode="r").chunks[2]

    def null_resamples(self, target: str) -> int:
        """Tell on how many resamples the null has been asked for; on all of them, where nothing else is noted."""
        return stores.attributes(self.path, target).get("null_resamples", self.extent(target)[1])

    def missing_by_k(
        self, target: str, session: int, ks: Sequence[int], R: int, null_resamples: int, n_shuffles: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Find what is not computed yet of a session, one number of neurons after the other.

        What the store has no room for yet is not computed either.

        Yields
        ------
        k : int
            Number of neurons.
        data : numpy.ndarray, (R,) bool
            True where the score is missing.
        null : numpy.ndarray, (null_resamples, n_shuffles) bool
            True where the null score is missing.
        """
        group = zarr.open_group(str(self.path), mode="r")[target]
        position = {int(k): i for i, k in enumerate(group["k"][:])}
        # many chunks are read at once, which is quicker, but no more than fit a small memory
        at_once = max(1, READ_AT_ONCE // max(1, null_resamples * n_shuffles))
        for first in range(0, len(ks), at_once):
            some = [k for k in ks[first : first + at_once] if k in position]
            rows = [position[k] for k in some]
            score = group["score"].oindex[session, rows, slice(R)] if rows else np.empty(0)
            null_score = np.empty(0)
            if rows and null_resamples * n_shuffles:
                null_score = group["null_score"].oindex[session, rows, slice(null_resamples), slice(n_shuffles)]
            for k in ks[first : first + at_once]:
                data, null = np.ones(R, dtype=bool), np.ones((null_resamples, n_shuffles), dtype=bool)
                if k in position:
                    there = np.isnan(score[some.index(k)])
                    data[: len(there)] = there
                if k in position and null.size:
                    there = np.isnan(null_score[some.index(k)])
                    null[: there.shape[0], : there.shape[1]] = there
                yield k, data, null

    def sessions(self, target: str) -> xr.Dataset:
        """Read what is one value a session: n_trials, performance, status, reason."""
        group = zarr.open_group(str(self.path), mode="r")[target]
        names = [name for name, variable in RUN_TARGET.items() if variable.dims == ("session",)]
        return xr.Dataset({name: ("session", group[name][:]) for name in names})

    def scores(self, target: str) -> xr.Dataset:
        """Open the scores of a target, ks in ascending order, undefined scores as NaN.

        Returns
        -------
        xarray.Dataset
            :data:`mesodask.schema.RUN_TARGET`, and what is computed, defined or not: ``finished(session, k,
            resample)``, and ``null_finished(session, k, shuffle)``, a shuffle on all finished resamples.

        Raises
        ------
        StoreError
            The run has no such target.
        """
        if not stores.has_group(self.path, target):
            raise StoreError(f"{self.path}: no target {target!r} in this run; it has {', '.join(self.targets())}")
        dataset = stores.open_group(self.path, target, RUN_TARGET).sortby("k").load()
        finished = dataset["score"].notnull()
        null_finished = (dataset["null_score"].notnull() | ~finished).all("resample")
        opened = dataset.assign(
            {name: dataset[name].where(dataset[name] != UNDEFINED) for name in ("score", "null_score")}
        )
        return opened.assign(finished=finished, null_finished=null_finished)


def _to_disk(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), UNDEFINED, values)
