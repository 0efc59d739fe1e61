"""The store of a run of neuron-dropping curves: for each target the scores as they come.

On disk NaN means not computed yet, and -1 a score that was computed but is not defined (no fold with both classes).
Only whole chunks are written; the rest is as for every run (:mod:`mesodask.io.runbase`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from mesodask.io import stores
from mesodask.io.runbase import RunBase
from mesodask.io.target_store import (
    RESAMPLE_CHUNK,
    SHUFFLE_CHUNK,
    UNDEFINED,
    TargetStore,
    create_target,
)

__all__ = ["RESAMPLE_CHUNK", "SHUFFLE_CHUNK", "UNDEFINED", "RunStore"]


class RunStore(RunBase[TargetStore]):
    """One run of neuron-dropping curves on disk.

    Parameters
    ----------
    path : pathlib.Path
        ``decoding/<prefix>.zarr``.

    Examples
    --------
    See :func:`mesodask.neuron_dropping_curves`, which makes and fills one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, TargetStore)

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
        self._forget_opened(target)
        self._check_definition(target, definition)
        store = self.target(target)
        store.grow(sessions, ks, R, n_shuffles)
        self._forget_opened(target)
        wanted = (R if null_resamples is None else min(R, null_resamples)) if n_shuffles else 0
        if wanted > store.attrs.get("null_resamples", -1):
            zarr.open_group(str(self.path / target), mode="r+").attrs["null_resamples"] = wanted

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
        self.target(target).write_scores(session, first, ks, score, null, first_shuffle)

    def extent(self, target: str) -> tuple[list[int], int, int]:
        """Tell what the store has room for: its ks, and the numbers of resamples and of shuffles."""
        store = self.target(target)
        return store.ks, store.n_resamples, store.n_shuffles

    def resample_chunk(self, target: str) -> int:
        """Tell how many resamples a chunk of the target's arrays holds; blocks of them are the cheapest to write."""
        return self.target(target).resample_chunk

    def null_resamples(self, target: str) -> int:
        """Tell on how many resamples the null has been asked for; on all of them, where nothing else is noted."""
        store = self.target(target)
        return store.attrs.get("null_resamples", store.n_resamples)

    def missing_by_k(
        self, target: str, session: int, ks: Sequence[int], R: int, null_resamples: int, n_shuffles: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Find what is not computed yet of a session, one number of neurons after the other.

        What there is no room for is not computed, either.

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
            A chunk is damaged, and the lock is not held; within ``writing()`` it is mended.
        """
        return self.target(target).missing_by_k(session, ks, R, null_resamples, n_shuffles)

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
        self.check_has(target)
        dataset = TargetStore(self.path, target).scores()
        finished = dataset["score"].notnull()
        null_finished = (dataset["null_score"].notnull() | ~finished).all("resample")
        opened = dataset.assign(
            {name: dataset[name].where(dataset[name] != UNDEFINED) for name in ("score", "null_score")}
        )
        return opened.assign(finished=finished, null_finished=null_finished)
