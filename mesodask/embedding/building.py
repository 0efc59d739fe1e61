"""Session stores under construction: each appears whole or not at all, whoever builds it and whatever is killed.

The signal is stored one ROI a chunk (:mod:`mesodask.io.shards`), whole in time: tracked neurons are scattered rows, and
the windows of the trials are spread over the whole recording, so that of a chunk of many rows a tenth would be used,
and of a chunk in time there is none that is not touched. LZ4 in Blosc, with its bytes shuffled unless most values are
zero, was chosen by ``benchmarks/bench_session.py --layouts`` and its like. For 25 608 ROIs x 19 569 frames (2.0 GB), in
seconds of one processor for compressing and for reading 3 000 scattered rows:

==============================  ==========  =====  ===========  =============  =====
activity, codec                 rows a      size   compressing  reading rows   files
                                chunk
==============================  ==========  =====  ===========  =============  =====
deconvolved, zstd 3             64 (x 8192  0.21   7            3.9            1203
                                frames)
deconvolved, zstd 1             1           0.21   6.5          0.34           101
deconvolved, LZ4                1           0.30   2.8          0.21           101
deconvolved, LZ4 shuffled       1           0.48   7.4          0.24           101
fluorescence, zstd 1            1           0.81   8.3          0.26           101
fluorescence, LZ4               1           0.97   4.2          0.18           101
fluorescence, LZ4 shuffled      1           0.73   4.7          0.13           101
==============================  ==========  =====  ===========  =============  =====

Larger chunks make it no smaller: a trace is long enough to be compressed alone. The same rows through zarr-python, in
the same files, take 2.7 s.
"""

import contextlib
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.compute.progress import note_progress
from mesodask.errors import LockedError, MesodaskError, TasksFailedError
from mesodask.io import cache, partials, stores
from mesodask.io.folders import naming_file
from mesodask.io.lock import Lock
from mesodask.io.session_content import Content, Rows, rows_across, write_rows
from mesodask.io.shards import RowShards

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient, Failure, Task

WHEEL_CHUNK = 1 << 16
TASK_BYTES = 1 << 29  # of activity: one to some seconds of reading and compressing
NOT_BUILT = "the store is not built"
ROWS_LOOKED_AT = 64  # to tell whether activity is mostly zero


@dataclass(frozen=True)
class Request:
    """One store that is to be built.

    Attributes
    ----------
    name : str
        The session's eid.
    path : pathlib.Path
        Where the store shall be.
    read : callable() -> Content
        Reads all that is small of the session, and checks it.
    rerun : bool
        Whether a store that is there is replaced, or taken as it is.
    """

    name: str
    path: Path
    read: Callable[[], Content]
    rerun: bool


def build_store(path: Path, content: Content, *, rerun: bool = False) -> None:
    """Build one session store in this process.

    Raises
    ------
    MesodaskError
        It cannot be built; nothing is left of it.
    """
    errors = build_stores([Request(path.stem, path, lambda: content, rerun)])
    if errors:
        raise errors[path.stem]


def build_stores(
    requests: Sequence[Request],
    *,
    client: "AnyClient | None" = None,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, MesodaskError]:
    """Build session stores, each of which appears whole or not at all.

    A session is read when its turn comes, and its store gets its name when the last of its rows has landed. While
    another process builds one, the others are built; then its store is waited for and taken as it is, or built here if
    that process has died. What else is found of a killed build is removed.

    Parameters
    ----------
    requests : sequence of Request
        Of different stores.
    client : distributed.Client or callable() -> distributed.Client, optional
        Workers write the activity, each whole files of its own; this process by default. They need the same paths.
    report : callable(done, total), optional
        Called as the work goes on, with the number of sessions.

    Returns
    -------
    dict of str to MesodaskError
        Why sessions could not be built, by name; all others are there.
    """
    plan = _Plan(requests, report)
    try:
        while plan.waiting:
            _run_here(plan) if client is None else _run_on(client, plan)
    finally:
        plan.give_up()
    return plan.errors


# the plan -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """Rows of one session that one task writes."""

    name: str
    start: int
    arguments: tuple[RowShards, Sequence[Rows], int, int]


@dataclass(frozen=True)
class _Site:
    """A store under construction."""

    scope: contextlib.ExitStack
    lock: Lock
    temporary: Path
    array: RowShards
    blocks: list[_Block]
    left: set[int]  # first rows of the blocks that have not landed

    def give_up(self, error: MesodaskError) -> None:
        """Remove it and free its lock."""
        self.scope.__exit__(type(error), error, None)


class _Plan:
    """All blocks of all stores, in turn, and what has become of them."""

    def __init__(self, requests: Sequence[Request], report: Callable[[int, int], None] | None) -> None:
        self.waiting = list(requests)
        self.errors: dict[str, MesodaskError] = {}
        self._sites: dict[str, _Site] = {}
        self._total, self._done = len(requests), 0
        self._may_wait = len(requests) == 1
        self._report = report
        self._tell()

    def blocks(self) -> Iterator[_Block]:
        """Begin one store after the other; those that another process builds are left waiting."""
        requests, self.waiting = self.waiting, []
        for number, request in enumerate(requests):
            # who waits for a lock while it holds another may wait for ever: only the first, before any is held
            wait = math.inf if number == 0 and self._may_wait else 0.0
            for block in self._begun(request, wait):
                if request.name not in self._sites:  # one of its blocks has failed
                    break
                yield block
        self._may_wait = True

    def _begun(self, request: Request, wait: float) -> list[_Block]:
        lock = Lock(cache.build_lock(request.path), f"the store of session {request.name}", wait=wait)
        try:
            with naming_file(request.path, NOT_BUILT), contextlib.ExitStack() as scope:
                try:
                    scope.enter_context(lock)
                except LockedError:
                    self.waiting.append(request)
                    return []
                site = None
                if request.rerun or not request.path.exists():
                    site = _begin(request, lock, scope)
        except MesodaskError as error:
            self._note(request.name, error)
            return []
        if site is None:  # another process has built it meanwhile
            self._note(request.name)
            return []
        self._sites[request.name] = site
        if not site.left:
            self._finish(request.name)
        return site.blocks

    def place(self, name: str) -> Path:
        """Tell where a store that has been begun is being built."""
        return self._sites[name].temporary

    def landed(self, name: str, start: int) -> None:
        """Note that a block is written; the last one of a store completes it."""
        site = self._sites.get(name)
        if site is None:  # another block of it has failed
            return
        site.left.discard(start)
        if not site.left:
            self._finish(name)

    def _finish(self, name: str) -> None:
        site = self._sites.pop(name)
        try:
            with naming_file(site.temporary, NOT_BUILT), site.scope:
                site.array.sweep()
                stores.check_chunks(site.temporary)
                stores.seal(site.temporary)
                site.lock.check()
        except MesodaskError as error:
            self._note(name, error)
        else:
            self._note(name)

    def failed(self, name: str, error: MesodaskError) -> None:
        """Give a store up of which a block has failed."""
        site = self._sites.pop(name, None)
        if site is not None:
            site.give_up(error)
            self._note(name, error)

    def _note(self, name: str, error: MesodaskError | None = None) -> None:
        if error is not None:
            self.errors[name] = error
        else:
            note_progress()
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            self._report(self._done, self._total)

    def give_up(self) -> None:
        """Remove what is not whole."""
        while self._sites:
            self._sites.popitem()[1].give_up(TasksFailedError("interrupted"))


def _begin(request: Request, lock: Lock, scope: contextlib.ExitStack) -> _Site:
    """Write everything but the activity; `scope` is handed on to the site."""
    partials.remove_partial(request.path.parent, request.path.name, locked=True)
    content = request.read()
    temporary = scope.enter_context(partials.building(request.path))
    n_frames = content.described.sizes["time"]
    array = _write_frame(temporary.absolute(), content, n_frames)  # workers may stand in another folder
    n_rois = array.shape[0]
    step = max(1, TASK_BYTES // (4 * max(1, n_frames) * array.rows_a_file)) * array.rows_a_file
    activity = tuple(content.activity)
    blocks = [
        _Block(request.name, start, (array, activity, start, min(start + step, n_rois)))
        for start in range(0, n_rois, step)
    ]
    return _Site(scope.pop_all(), lock, temporary, array, blocks, {block.start for block in blocks})


def _write_frame(path: Path, content: Content, n_frames: int) -> RowShards:
    """Write all groups and variables, and the signal's array without its rows."""
    stores.write_group(path, "", content.described)
    if content.trials:
        stores.write_group(path, "trials", xr.Dataset({n: ("trial", v) for n, v in content.trials.items()}))
    if content.wheel:
        dataset = schema.conform(content.wheel, schema.WHEEL)
        stores.write_group(path, "wheel", dataset, chunks={"sample": WHEEL_CHUNK})
    declared = schema.SESSION["signal"]
    n_rois = sum(part.n_rois for part in content.activity)
    looked_at = rows_across(content.activity, 0, min(ROWS_LOOKED_AT, n_rois))
    return RowShards.create(
        path,
        "signal",
        dims=("roi", "time"),
        shape=(n_rois, n_frames),
        dtype=declared.dtype,
        shuffle=bool(np.mean(looked_at == 0) < 0.5),
        attributes=declared.attributes(),
    )


def _run_here(plan: _Plan) -> None:
    for block in plan.blocks():
        try:
            with naming_file(plan.place(block.name), NOT_BUILT):
                write_rows(*block.arguments)
        except MesodaskError as error:
            plan.failed(block.name, error)
        else:
            plan.landed(block.name, block.start)


def _run_on(client: "AnyClient", plan: _Plan) -> None:
    from mesodask.compute import runner

    def task(block: _Block) -> "Task":
        # a store that is built again is other work
        key = f"embed-{block.name}-{block.start}-{secrets.token_hex(4)}"
        return runner.Task(key, write_rows, block.arguments, {"eid": block.name, "first_row": block.start})

    def on_result(task: "Task", _: None) -> None:
        plan.landed(task.label["eid"], task.label["first_row"])

    def on_failure(failure: "Failure") -> None:
        plan.failed(failure.task.label["eid"], TasksFailedError(failure.error))

    runner.run_tasks(client, map(task, plan.blocks()), on_result, on_failure=on_failure)
