"""Which scores of a run are stored, given up, damaged or still to come, and when they were written; it only reads."""

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mesodask.errors import StoreError
from mesodask.io import stores
from mesodask.io.runreader import ScoreReader, is_computed
from mesodask.io.runstore import RunStore

Record = dict[str, Any]


@dataclass(frozen=True)
class TargetStatus:
    """How far a run is with a target.

    A score belongs to a session, a k, a resample, and either the data's labels or one null label vector: the null's are
    counted, too. Those of skipped sessions are not asked for. ``total = done + failed + left``.

    Attributes
    ----------
    target : str
        Name of the target.
    n_sessions, n_sessions_done : int
        Sessions of the run, and those of which every score is done.
    skipped : dict of str to str
        Why a session is skipped, by ``date (eid)``.
    total, done, failed, left : int
        Scores: asked for; stored; given up by tasks that failed for good; still to come.
    damaged : int
        Those among the failed and left ones whose chunk is there and cannot be read.
    rate : float
        Scores a minute, lately; NaN if that cannot be told.
    seconds_left : float
        Time that the left ones take at the pace of the whole run; NaN if that cannot be told.
    problem : str
        Why the target cannot be looked at; empty if it can.
    """

    target: str
    n_sessions: int = 0
    n_sessions_done: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    total: int = 0
    done: int = 0
    failed: int = 0
    left: int = 0
    damaged: int = 0
    rate: float = math.nan
    seconds_left: float = math.nan
    problem: str = ""


class Written(NamedTuple):
    """Scores of one chunk, and when it was written last, s since 1970."""

    time: float
    n_scores: int


def read_failures(file: Path) -> list[Record]:
    """Read what is known of failed tasks; a line that is just being written is left for the next time."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return [record for record in records if isinstance(record, dict)]


def skipped_sessions(values: Mapping[str, np.ndarray], sessions: Sequence[str], dates: np.ndarray) -> dict[str, str]:
    """Tell why sessions are skipped, by ``date (eid)``, from what is one value a session."""
    rows = zip(sessions, dates, values["status"], values["reason"], strict=True)
    return {f"{date} ({eid})": str(reason) for eid, date, status, reason in rows if status == "skipped"}


def count_target(
    store: RunStore, target: str, failures: Sequence[Record], *, quick: bool = False
) -> tuple[TargetStatus, list[Written]]:
    """Count the scores of a target.

    Parameters
    ----------
    store : RunStore
        The run.
    target : str
        Name of the target.
    failures : sequence of dict
        Failed tasks (:func:`read_failures`).
    quick : bool
        Take every chunk of null scores that is there for finished, without reading it.

    Returns
    -------
    status : TargetStatus
        Without rate and time left.
    written : list of Written
        When its scores were written.
    """
    try:
        reader = ScoreReader(store.path, target)
        values = reader.session_values()
        dates = store.tracked()["date"].values
        with_null = int(stores.attributes(store.path, target).get("null_resamples", reader.n_resamples))
        features = [store.feature_attributes(target, eid) for eid in reader.sessions]
        n_null = [int(attrs.get("n_null", reader.n_shuffles)) for attrs in features]
    except StoreError as error:  # being made at this moment, or damaged
        return TargetStatus(target, problem=str(error)), []
    written: list[Written] = []
    sums = np.zeros(4, dtype=int)
    sessions_done = 0
    for session, eid in enumerate(reader.sessions):
        if values["status"][session] == "skipped":
            continue
        n_shuffles = min(n_null[session], reader.n_shuffles)
        asked = _Session(reader, session, min(with_null, reader.n_resamples), n_shuffles, quick)
        of_session = [record for record in failures if (record.get("target"), record.get("eid")) == (target, eid)]
        one = np.array(_count_session(asked, of_session, written))
        sessions_done += bool(one[0] == one[1])
        sums += one
    total, done, failed, damaged = map(int, sums)
    skipped = skipped_sessions(values, reader.sessions, dates)
    status = TargetStatus(
        target, len(reader.sessions), sessions_done, skipped, total, done, failed, total - done - failed, damaged
    )
    return status, written


class _Session(NamedTuple):
    """What is asked of a session, and how it is looked at."""

    reader: ScoreReader
    place: int  # index of the session
    with_null: int  # resamples on which the null is asked for
    n_shuffles: int
    quick: bool


def _count_session(session: _Session, failures: Sequence[Record], written: list[Written]) -> tuple[int, int, int, int]:
    """Count the scores of a session: total, done, failed, damaged; when they were written is appended to a list."""
    reader = session.reader
    done = failed = damaged = 0
    for k in range(len(reader.ks)):
        parts = [_data(session, k), _null(session, k)]
        given_up = _given_up(failures, int(reader.ks[k]), [part.computed.shape for part in parts])
        for part, given in zip(parts, given_up, strict=True):
            done += int(part.computed.sum())
            damaged += int(part.damaged.sum())
            failed += int((given & ~part.computed).sum())
            written += _times(part, reader)
    total = len(reader.ks) * (reader.n_resamples + session.with_null * session.n_shuffles)
    return total, done, failed, damaged


class _Part(NamedTuple):
    """Scores of one k, the data's (resample, 1) or the null's (resample, shuffle)."""

    computed: np.ndarray  # bool
    damaged: np.ndarray  # bool
    file: Callable[[int, int], Path]  # of a chunk, by its indices over resamples and shuffles


def _data(session: _Session, k: int) -> _Part:
    reader = session.reader

    def read(rows: slice, _: slice) -> np.ndarray:
        return reader.score(session.place, k, rows)[:, None]

    def file(row: int, _: int) -> Path:
        return reader.chunk_file(session.place, k, row)

    return _Part(*_computed(read, (reader.n_resamples, 1), reader), file)


def _null(session: _Session, k: int) -> _Part:
    reader, shape = session.reader, (session.with_null, session.n_shuffles)
    file = partial(reader.null_chunk_file, session.place, k)
    if not session.quick:
        return _Part(*_computed(partial(reader.null_score, session.place, k), shape, reader), file)
    there = np.zeros(shape, dtype=bool)
    for row, rows, column, columns in _grid(shape, reader):
        there[rows, columns] = file(row, column).exists()
    return _Part(there, np.zeros(shape, dtype=bool), file)


def _computed(
    read: Callable[[slice, slice], np.ndarray], shape: tuple[int, int], reader: ScoreReader
) -> tuple[np.ndarray, np.ndarray]:
    """Tell which scores are computed, and which damaged; where that cannot be read at once, chunk by chunk."""
    computed, damaged = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    if not computed.size:
        return computed, damaged
    try:
        return is_computed(read(slice(shape[0]), slice(shape[1]))), damaged
    except StoreError:
        pass
    for _, rows, _, columns in _grid(shape, reader):
        try:
            computed[rows, columns] = is_computed(read(rows, columns))
        except StoreError:
            damaged[rows, columns] = True
    return computed, damaged


def _grid(shape: tuple[int, int], reader: ScoreReader) -> Iterator[tuple[int, slice, int, slice]]:
    """Cut resamples and shuffles at the ends of chunks: index of the chunk and range, of both."""
    for row, column in itertools.product(
        range(-(-shape[0] // reader.resample_chunk)), range(-(-shape[1] // reader.shuffle_chunk))
    ):
        yield row, _range(row, reader.resample_chunk, shape[0]), column, _range(column, reader.shuffle_chunk, shape[1])


def _range(index: int, chunk: int, n: int) -> slice:
    return slice(index * chunk, min((index + 1) * chunk, n))


def _given_up(failures: Sequence[Record], k: int, shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Tell which scores of one k failed tasks would have given: the data's (resample, 1), the null's (resample, s)."""
    data, null = (np.zeros(shape, dtype=bool) for shape in shapes)
    for record in failures:
        for piece in record.get("pieces", ()):
            if piece["k"] == k:
                rows = slice(*piece["resamples"])
                data[rows] |= piece["data"]
                null[rows, slice(*piece["shuffles"])] = True
    return [data, null]


def _times(part: _Part, reader: ScoreReader) -> Iterator[Written]:
    """Tell when the chunks that hold computed scores were written."""
    for row, rows, column, columns in _grid(part.computed.shape, reader):
        n_scores = int(part.computed[rows, columns].sum())
        if n_scores:
            with contextlib.suppress(FileNotFoundError):  # being replaced
                yield Written(part.file(row, column).stat().st_mtime, n_scores)
