"""A run's scores as they are at this moment, in parts that fit the memory; nothing is ever written."""

from pathlib import Path

import numpy as np

from mesodask.io.target_store import UNDEFINED, TargetStore


class ScoreReader:
    """Reads the scores of one target of a run, a session and a number of neurons at a time.

    A driver may be writing meanwhile: what all arrays have room for is what there is.

    Parameters
    ----------
    path : pathlib.Path
        The run store.
    target : str
        Name of the target.

    Attributes
    ----------
    target : str
        Name of the target.
    sessions : list of str
        eids in date order.
    ks : numpy.ndarray of int64
        Numbers of neurons, ascending.
    n_resamples, n_shuffles : int
        What there is room for.
    resample_chunk, shuffle_chunk : int
        Resamples and shuffles in a chunk, the least that is written at a time.

    Raises
    ------
    StoreError
        There is no such target, or its metadata cannot be read.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.target = target
        self._store = TargetStore(path, target)
        self._position = np.argsort(self._store.ks)
        self.ks = np.array(self._store.ks, dtype=np.int64)[self._position]
        self.sessions = self._store.sessions
        self.n_resamples, self.n_shuffles = self._store.n_resamples, self._store.n_shuffles
        self.resample_chunk, self.shuffle_chunk = self._store.resample_chunk, self._store.shuffle_chunk

    def session_values(self) -> dict[str, np.ndarray]:
        """Read what is one value a session, by name: n_trials, performance, status, reason."""
        return self._store.columns.values()

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
            A chunk is damaged; the message names its file.
        """
        rows = range(self.n_resamples)[resamples]
        if k is None:
            parts = [self.score(session, index, resamples) for index in range(len(self.ks))]
            return np.array(parts).reshape(len(parts), len(rows))
        return self._store.score.read((session, int(self._position[k])), len(rows), firsts=(rows.start,))

    def null_score(
        self, session: int, k: int, resamples: slice = slice(None), shuffles: slice = slice(None)
    ) -> np.ndarray:
        """Read null scores of a session and k, float32 as on disk, (n_resamples, n_shuffles)."""
        rows, columns = range(self.n_resamples)[resamples], range(self.n_shuffles)[shuffles]
        place = session, int(self._position[k])
        return self._store.null.read(place, len(rows), len(columns), firsts=(rows.start, columns.start))

    def chunk_file(self, session: int, k: int, chunk: int) -> Path:
        """Path of a chunk of scores: resamples from ``chunk * resample_chunk`` on."""
        return self._store.score.file((session, int(self._position[k]), chunk))

    def null_chunk_file(self, session: int, k: int, chunk: int, shuffle_chunk: int) -> Path:
        """Path of a chunk of null scores of the same resamples, for shuffles from ``shuffle_chunk`` chunks on."""
        return self._store.null.file((session, int(self._position[k]), chunk, shuffle_chunk))


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
