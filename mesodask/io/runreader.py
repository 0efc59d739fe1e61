"""A run's scores as they are at this moment, in parts that fit the memory; nothing is ever written.

A driver may be writing meanwhile: it makes room for more scores in one array after the other, so that for a moment, or
for good if it was killed then, their extents differ. What all arrays have room for is what there is.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from mesodask.errors import StoreError
from mesodask.io import stores
from mesodask.io.runstore import UNDEFINED

SESSION_VALUES = ("n_trials", "performance", "status", "reason")


class ScoreReader:
    """Reads the scores of one target of a run, a session and a number of neurons at a time.

    Parameters
    ----------
    path : pathlib.Path
        The run store.
    target : str
        Name of the target.

    Attributes
    ----------
    sessions : list of str
        eids in date order.
    ks : numpy.ndarray of int64
        Numbers of neurons, ascending.
    n_resamples, n_shuffles : int
        What there is room for.

    Raises
    ------
    StoreError
        There is no such target, or its metadata cannot be read.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.path = path / target
        if not stores.has_group(path, target):
            raise StoreError(f"{self.path}: no such target in this run")
        # in this order, the reverse of that in which room is made: each has room for what those before it hold
        ks = self._read("k")
        self._score, self._null = self._array("score"), self._array("null_score")
        self.sessions: list[str] = self._read("session").tolist()
        # a k whose place is there and whose number is not written yet reads 0
        n_k = min(int(np.logical_and.accumulate(ks > 0).sum()), self._score.shape[1], self._null.shape[1])
        self._position = np.argsort(ks[:n_k])
        self.ks = ks[:n_k][self._position]
        self.n_resamples = min(self._score.shape[2], self._null.shape[2])
        self.n_shuffles = int(self._null.shape[3])

    @property
    def resample_chunk(self) -> int:
        """Number of resamples in a chunk, the least that is written at a time."""
        return int(self._score.chunks[2])

    def session_values(self) -> dict[str, np.ndarray]:
        """Read what is one value a session, by name: n_trials, performance, status, reason."""
        return {name: self._read(name) for name in SESSION_VALUES}

    def score(self, session: int, k: int | None = None, resamples: slice = slice(None)) -> np.ndarray:
        """Read scores of a session, float64 as on disk.

        Parameters
        ----------
        session : int
            Index of the session.
        k : int, optional
            Index into ``ks``; all of them by default.
        resamples : slice, optional
            Which resamples; all that there is room for by default.

        Returns
        -------
        numpy.ndarray, (n_resamples,), or (n_k, n_resamples) for all ks

        Raises
        ------
        StoreError
            A chunk is damaged; the message names its folder.
        """
        return self._part("score", session, k, self._resamples(resamples))

    def null_score(
        self, session: int, k: int | None = None, resamples: slice = slice(None), shuffles: slice = slice(None)
    ) -> np.ndarray:
        """Read null scores of a session, float32 as on disk: as :meth:`score`, with a last axis of shuffles."""
        return self._part("null_score", session, k, self._resamples(resamples), shuffles)

    def chunk_file(self, session: int, k: int, chunk: int) -> Path:
        """Path of a chunk of scores: resamples from ``chunk * resample_chunk`` on."""
        return self.path / "score" / "c" / str(session) / str(int(self._position[k])) / str(chunk)

    def null_chunk_file(self, session: int, k: int, chunk: int, shuffle_chunk: int) -> Path:
        """Path of a chunk of null scores of the same resamples, for shuffles from ``shuffle_chunk`` chunks on."""
        place = map(str, (session, int(self._position[k]), chunk, shuffle_chunk))
        return self.path.joinpath("null_score", "c", *place)

    @property
    def shuffle_chunk(self) -> int:
        """Number of shuffles in a chunk."""
        return int(self._null.chunks[3])

    def _resamples(self, resamples: slice) -> slice:
        """Keep a range within what all arrays have room for."""
        return slice(*resamples.indices(self.n_resamples))

    def _part(self, name: str, session: int, k: int | None, *ranges: slice) -> np.ndarray:
        place = (session,) if k is None else (session, int(self._position[k]))
        array = self._score if name == "score" else self._null
        try:
            if k is None:
                return array[(session, slice(len(self.ks)), *ranges)][self._position]
            return array[(*place, *ranges)]
        except Exception as error:  # a damaged chunk raises many kinds
            where = self.path.joinpath(name, "c", *map(str, place))
            raise StoreError(
                f"{where}: a chunk of scores in this folder is damaged ({error}); run the same analysis again, which "
                "computes it anew"
            ) from error

    def _array(self, name: str) -> Any:
        try:
            return zarr.open_array(str(self.path / name), mode="r")
        except Exception as error:  # damaged metadata raises many kinds
            raise StoreError(f"{self.path / name}: cannot be opened ({error})") from error

    def _read(self, name: str) -> np.ndarray:
        array = self._array(name)
        try:
            return np.asarray(array[:])
        except Exception as error:  # a damaged chunk raises many kinds
            raise StoreError(f"{self.path / name}: cannot be read ({error})") from error


def is_computed(values: np.ndarray) -> np.ndarray:
    """Tell which values as on disk are computed, defined or not.

    Examples
    --------
    >>> is_computed(np.array([0.5, -1.0, np.nan]))
    array([ True,  True, False])
    """
    return ~np.isnan(values)


def is_defined(values: np.ndarray) -> np.ndarray:
    """Tell which values as on disk are scores: computed, and of folds with both classes.

    Examples
    --------
    >>> is_defined(np.array([0.5, -1.0, np.nan]))
    array([ True, False, False])
    """
    return ~np.isnan(values) & (values != UNDEFINED)
