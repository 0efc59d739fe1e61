"""The scores of one target of a run: created whole, grown in steps that may be cut off anywhere, and read as they are.

Scores of all sessions, ks, resamples and shuffles lie in two arrays (:class:`mesodask.io.score_array.ScoreArray`), and
what is one value a session beside them. A driver that is killed while it makes room leaves arrays of unequal extents:
what all have room for is what there is, and the next driver makes room anew.
"""

import contextlib
import logging
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from mesodask.errors import StoreError
from mesodask.io import partials, stores
from mesodask.io.score_array import BUILD, ScoreArray
from mesodask.io.session_columns import COLUMNS_WHOLE, SessionColumns, naming_damage, read_column, session_names
from mesodask.schema import RUN_TARGET, conform

logger = logging.getLogger(__name__)

UNDEFINED = -1.0
RESAMPLE_CHUNK = 10
SHUFFLE_CHUNK = 100  # null label vectors that are scored together
MAX_SHUFFLE_CHUNK = 1000  # more of them in a chunk save files no longer
K_CHUNK = 128  # so that all ks are one file, which is replaced in one step
ON_DISK = "not computed yet: NaN; computed but undefined: -1"


class TargetStore:
    """One target's group of a run store, as it is when this is made.

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
    ks : list of int
        Numbers of neurons, in the order in which they were added.
    n_resamples, n_shuffles : int
        What there is room for.
    score, null : ScoreArray
        The scores; the position of a k is its index in ``ks``.
    columns : SessionColumns
        What is one value a session.

    Raises
    ------
    StoreError
        There is no such target, or its metadata is damaged.
    """

    def __init__(self, run: Path, target: str, mend: bool = False) -> None:
        self.path = run / target
        self.attrs = stores.attributes(run, target)
        build = self.attrs.pop(BUILD, "")
        if not stores.has_group(run, target):
            raise StoreError(f"{self.path}: no Zarr group here; compute the target anew with rerun=True")
        # in this order, the reverse of that in which room is made: each has room for what those before it hold
        ks = read_column(self.path, "k")
        self.score, self.null = (ScoreArray(self.path / name, mend, build=build) for name in ("score", "null_score"))
        self.sessions = session_names(run, target, mend)
        self.ks = self._known_ks(ks)
        self.n_resamples = min(self.score.shape[2], self.null.shape[2])
        self.n_shuffles = self.null.shape[3]
        self._positions = {k: position for position, k in enumerate(self.ks)}
        self.columns = SessionColumns(self.path, self.sessions, mend)

    @property
    def resample_chunk(self) -> int:
        """Number of resamples in a chunk."""
        return self.score.chunks[2]

    @property
    def shuffle_chunk(self) -> int:
        """Number of shuffles in a chunk."""
        return self.null.chunks[3]

    def _known_ks(self, ks: np.ndarray) -> list[int]:
        """Those ks that all arrays have room for. Room without a number is what a kill leaves, before any score."""
        has_number = np.logical_and.accumulate(ks > 0)
        known = min(int(has_number.sum()), self.score.shape[1], self.null.shape[1])
        if known < max(len(ks), self.score.shape[1]) and self.score.has_scores_beyond(known):
            raise StoreError(
                f"{self.path / 'k'}: the numbers of neurons of some scores are lost; compute the target anew with "
                "rerun=True"
            )
        return [int(k) for k in ks[:known]]

    # scores -------------------------------------------------------------------------------------------------------

    def write_scores(
        self,
        session: int,
        first: int,
        ks: Sequence[int],
        score: np.ndarray | None,
        null: np.ndarray,
        first_shuffle: int,
    ) -> None:
        """Write a block of scores; see :meth:`mesodask.io.runstore.RunStore.write_scores`."""
        if null.size:
            for k, values in zip(ks, _to_disk(null), strict=True):
                self.null.write((session, self._positions[k]), values, first, first_shuffle)
        if score is not None:  # last: where a score stands, the null that came with it stands, too
            for k, values in zip(ks, _to_disk(score), strict=True):
                self.score.write((session, self._positions[k]), values, first)

    def missing_by_k(
        self, session: int, ks: Sequence[int], R: int, null_resamples: int, n_shuffles: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Find what is not computed; see :meth:`mesodask.io.runstore.RunStore.missing_by_k`."""
        for k in ks:
            data, null = np.ones(R, dtype=bool), np.ones((null_resamples, n_shuffles), dtype=bool)
            if k in self._positions:
                place = session, self._positions[k]
                n = min(R, self.n_resamples)
                data[:n] = np.isnan(self.score.read(place, n))
                n, s = min(null_resamples, self.n_resamples), min(n_shuffles, self.n_shuffles)
                null[:n, :s] = np.isnan(self.null.read(place, n, s))
            yield k, data, null

    def scores(self) -> xr.Dataset:
        """Read everything that all arrays have room for, ks in ascending order, scores as on disk."""
        order = np.argsort(self.ks)
        sizes = len(self.sessions), len(self.ks), self.n_resamples
        score = np.empty(sizes)
        null = np.empty((*sizes, self.n_shuffles), dtype=np.float32)
        for session in range(len(self.sessions)):
            for row, position in enumerate(order.tolist()):
                score[session, row] = self.score.read((session, position), self.n_resamples)
                null[session, row] = self.null.read((session, position), self.n_resamples, self.n_shuffles)
        coordinates = {"session": self.sessions, "k": np.array(self.ks, dtype=np.int64)[order]}
        return conform(
            coordinates | {"score": score, "null_score": null} | self.columns.values(), RUN_TARGET, self.attrs
        )

    # growth -------------------------------------------------------------------------------------------------------

    def grow(self, sessions: Sequence[str], ks: Sequence[int], R: int, n_shuffles: int) -> None:
        """Make room for more ks, resamples or shuffles; this object keeps what there was.

        In steps, each of which a kill may follow: the null's room, the scores', the ks'; then the new ks themselves.
        """
        if self.sessions != list(sessions):
            raise StoreError(f"{self.path}: scores of the sessions {', '.join(self.sessions)}, not of this run's")
        all_ks = self.ks + [k for k in ks if k not in self._positions]
        shape = (
            len(sessions),
            max(len(all_ks), self.score.shape[1], self.null.shape[1]),
            max(R, self.score.shape[2], self.null.shape[2]),
        )
        with naming_damage(self.path):
            group = zarr.open_group(str(self.path), mode="r+")
            for name, extent in (
                ("null_score", (*shape, max(n_shuffles, self.n_shuffles))),
                ("score", shape),
                ("k", (len(all_ks),)),
            ):
                if group[name].shape != extent:
                    group[name].resize(extent)
            if len(all_ks) > len(self.ks):
                group["k"][:] = np.array(all_ks, dtype=np.int64)


def shuffle_chunk_of(n_shuffles: int) -> int:
    """Choose how many shuffles a chunk of a new store holds: all that are asked for, in whole batches, up to a limit.

    Examples
    --------
    >>> shuffle_chunk_of(0), shuffle_chunk_of(130), shuffle_chunk_of(5000)
    (100, 200, 1000)
    """
    return min(max(1, -(-n_shuffles // SHUFFLE_CHUNK)) * SHUFFLE_CHUNK, MAX_SHUFFLE_CHUNK)


def create_target(
    run: Path, target: str, sessions: Sequence[str], attributes: dict[str, Any], n_shuffles: int, resample_chunk: int
) -> None:
    """Make the group of a target, without room for any score; it appears whole or not at all."""
    if (run / target).exists():
        raise StoreError(f"{run / target}: its metadata is lost; compute the target anew with rerun=True")
    score_chunks = {"session": 1, "k": 1, "resample": resample_chunk, "shuffle": shuffle_chunk_of(n_shuffles)}
    sizes = {"session": len(sessions), "k": 0, "resample": 0, "shuffle": 0}
    with building_group(run, target) as temporary:
        group = zarr.open_group(str(temporary), mode="w", attributes=attributes | new_group())
        for name, variable in RUN_TARGET.items():
            is_score = name in ("score", "null_score")
            chunks = score_chunks if is_score else sizes | {"k": K_CHUNK}
            array = stores.create_array(
                group,
                name,
                dims=variable.dims,
                shape=tuple(sizes[dim] for dim in variable.dims),
                dtype=variable.dtype,
                chunks=tuple(chunks[dim] for dim in variable.dims),
                attributes=variable.attributes() | ({"on_disk": ON_DISK} if is_score else {}),
            )
            if variable.dims == ("session",):
                array[:] = np.array(sessions, dtype=object) if name == "session" else array[:]


def new_group() -> dict[str, Any]:
    """Attributes of the group of a new target: all that is one value a session is there, and its chunks have marks."""
    return {COLUMNS_WHOLE: True, BUILD: secrets.token_hex(8)}


@contextlib.contextmanager
def building_group(run: Path, name: str) -> Iterator[Path]:
    """Give a temporary folder to build a group of a store in; it gets its name in the store when all went well."""
    temporary = partials.partial_of(run)  # outside the store, where it cannot be taken for a group
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(run / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _to_disk(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), UNDEFINED, values)
