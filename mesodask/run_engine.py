"""The engine of runs: it computes what is missing of several runs as one plan on one cluster.

Stores and features are prepared first; results are written as they arrive, by this process alone, and at the end each
store says how far every session is.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr

from mesodask import run_events, run_features
from mesodask.errors import TasksFailedError
from mesodask.io import stores
from mesodask.io.runstore import RunStore
from mesodask.numerics.decoder_identity import decoder_identity
from mesodask.run_features import Source
from mesodask.run_plan import (
    Extent,
    Grain,
    Pace,
    Piece,
    actual_ks,
    cost_of,
    count_scores,
    cut_blocks,
    grain_of,
    missing_pieces,
    resample_chunk_of,
)
from mesodask.run_scores import Block, Scores, score_block
from mesodask.settings import NdcSettings, short_hash

if TYPE_CHECKING:
    from distributed import Client

    from mesodask.compute.runner import Failure, Task

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and its total; of the curves, scores are counted."""


@dataclass(frozen=True)
class Run:
    """One run, to be computed.

    Attributes
    ----------
    store : RunStore
        Where it goes.
    tracked : xarray.Dataset
        Its neurons (:data:`mesodask.schema.TRACKED`).
    sources : tuple of Source
        Where the features of each session come from, in the order of ``tracked.session``.
    settings : NdcSettings
        Its settings.
    decoder : object or None
        A user's classifier.
    decoded_by : str or None
        Text that identifies it.
    """

    store: RunStore
    tracked: xr.Dataset
    sources: tuple[Source, ...]
    settings: NdcSettings
    decoder: Any = None
    decoded_by: str | None = None

    @property
    def eids(self) -> list[str]:
        """Sessions of the run."""
        return self.tracked["session"].values.tolist()

    def extent(self, n_null: int) -> Extent:
        """Tell what is asked of a session that has so many null label vectors."""
        ks = actual_ks(self.settings.ks, self.tracked.sizes["neuron"])
        n_shuffles = min(self.settings.n_label_shuffles, n_null)
        return Extent(tuple(ks), self.settings.R, self.settings.null_resamples, n_shuffles)


@dataclass(frozen=True)
class Share:
    """What a run asks of one session and target; the status is that in the store when the run begins."""

    run: Run
    target: str
    session: int
    status: str
    n_trials: int
    n_null: int
    fingerprint: str
    grain: Grain

    @property
    def eid(self) -> str:
        """The session."""
        return self.run.eids[self.session]

    @property
    def place(self) -> tuple[str, str, str]:
        """Where its scores go; no two shares of a plan have the same place."""
        return str(self.run.store.path), self.target, self.eid

    def missing(self, extent: Extent | None = None) -> Iterator[Piece]:
        """Read what is missing of what is asked for, or of another extent."""
        extent = extent or self.run.extent(self.n_null)
        return missing_pieces(self.run.store, self.target, self.session, extent, self.grain)


def checked_identity(decoder: Any, settings: NdcSettings) -> str | None:
    """Text that identifies a user's decoder; None for the default. What cannot be used raises before any work."""
    if decoder is None:
        return None
    from mesodask.numerics.decoders import check_decoder

    check_decoder(decoder, settings.metric, settings.C)
    return decoder_identity(decoder)


def prepare(run: Run, *, rerun: bool, report: Progress) -> None:
    """Make the store of a run, or grow it, with the features and null labels of all its sessions.

    Raises
    ------
    StoreError
        The store holds scores of other features.
    NothingToDecodeError
        Every session of every target is skipped.
    """
    store, settings = run.store, run.settings
    store.create(run.tracked)
    if rerun:
        store.forget(settings.targets)
    attributes = _attributes(run)
    if {name: store.attrs.get(name) for name in attributes} != attributes:
        store.update_attributes(attributes)
    store.failures_file.unlink(missing_ok=True)
    _check_features(run)
    run_features.prepare(store, run.sources, settings, report)
    ks = actual_ks(settings.ks, run.tracked.sizes["neuron"])
    for target in settings.targets:
        store.reserve(
            target,
            run.eids,
            ks,
            settings.R,
            settings.n_label_shuffles,
            settings.definition(target),
            settings.null_resamples,
            resample_chunk_of(run.decoder),
        )
        run_features.record_sessions(store, target, run.eids)
    run_features.check_anything_to_decode(store, settings.targets)


def _check_features(run: Run) -> None:
    """Read the stored features of all sessions of which anything may be computed, from end to end."""
    for target in run.settings.targets:
        has_scores = stores.has_group(run.store.path, target)
        for session, eid in enumerate(run.eids):
            if not has_scores or _is_unfinished(run, target, session) or _has_lost_scores(run, target, session):
                run.store.check_features(target, eid)


def _is_unfinished(run: Run, target: str, session: int) -> bool:
    """Tell whether more is asked than a store has room for, or a session is not done."""
    ks, R, n_shuffles = run.store.extent(target)
    extent = run.extent(run.settings.n_label_shuffles)
    grows = not set(extent.ks) <= set(ks) or extent.R > R or extent.n_shuffles > n_shuffles
    return grows or run.store.sessions(target)["status"].values[session] != "done"


def _has_lost_scores(run: Run, target: str, session: int) -> bool:
    """Tell whether a session that is done lacks scores all the same; reading mends what is damaged."""
    n_null = run.store.feature_attributes(target, run.eids[session]).get("n_null", 0)
    grain = grain_of(run.decoder, run.store.resample_chunk(target))
    return any(True for _ in missing_pieces(run.store, target, session, run.extent(n_null), grain))


def _attributes(run: Run) -> dict[str, Any]:
    from mesodask import __version__

    return {
        "kind": "neuron_dropping_curves",
        "subject": run.tracked.attrs["subject"],
        "settings": json.loads(run.settings.model_dump_json()),
        "decoder": run.decoded_by,
        "mesodask_version": __version__,
    }


def carry_out(run: Run, client: "Client | None", *, rerun: bool, report: Progress) -> RunStore:
    """Prepare and compute one run, under its lock."""
    with run.store.writing():
        prepare(run, rerun=rerun, report=report)
        compute([run], client, report)
    return run.store


def compute(runs: Sequence[Run], client: "Client | None", report: Progress) -> None:
    """Compute what is missing of some runs, as one plan on one cluster, and write it as it arrives.

    Parameters
    ----------
    runs : sequence of Run
        Prepared by :func:`prepare`, and with the same decoder.
    client : distributed.Client, optional
        Where to compute; by default workers are started on this machine, if anything is missing.
    report : callable(stage, done, total)
        Called as the work goes on, with the numbers of scores.

    Raises
    ------
    TasksFailedError
        Some tasks failed for good; all other scores are stored.
    """
    shares = [share for run in runs for share in _shares(run)]
    left = {share.place: count_scores(share.missing()) for share in shares}
    for share in shares:
        if left[share.place] and share.status != "partial":
            share.run.store.write_session(share.target, share.session, status="partial")
    asked = dict(left)
    try:
        failures = _run_plan(shares, left, client, report) if any(left.values()) else []
    except KeyboardInterrupt as interrupt:
        for run in runs:
            interrupt.add_note(f"run      {run.store.path}")
        raise
    for share in shares:
        # a session that was finished, and of which nothing was asked, is finished: it need not be read again
        was = "partial" if asked[share.place] else share.status
        if was != "done" and not left[share.place] and not _more_is_missing(share):
            share.run.store.write_session(share.target, share.session, status="done")
    if failures:
        files = sorted({str(share.run.store.failures_file) for share in shares if left[share.place]})
        raise TasksFailedError(
            f"{len(failures)} tasks failed, e.g. {failures[0].error}; all other scores are stored. Tracebacks are in "
            f"{', '.join(files)}; call again to try only what is missing"
        )


def _shares(run: Run) -> Iterator[Share]:
    for target in run.settings.targets:
        statuses = run.store.sessions(target)["status"].values
        grain = grain_of(run.decoder, run.store.resample_chunk(target))
        for session, (eid, status) in enumerate(zip(run.eids, statuses, strict=True)):
            attrs = run.store.feature_attributes(target, eid)
            if attrs["skipped"] == "":
                n_trials, n_null = attrs["n_decoded"], attrs["n_null"]
                yield Share(run, target, session, str(status), n_trials, n_null, attrs["fingerprint"], grain)


def _more_is_missing(share: Share) -> bool:
    """Tell whether any score that the store has room for is missing, also one that an earlier, larger run asked for."""
    store = share.run.store
    ks, R, n_shuffles = store.extent(share.target)
    whole = Extent(tuple(sorted(ks)), R, store.null_resamples(share.target), min(n_shuffles, share.n_null))
    return whole != share.run.extent(share.n_null) and any(True for _ in share.missing(whole))


# the plan -----------------------------------------------------------------------------------------------------


def plan(shares: Sequence[Share], pace: Pace) -> Iterator[tuple[Share, Block]]:
    """Enumerate blocks lazily: session by session of each target, by what scores have taken so far."""
    for share in shares:
        cost = partial(cost_of, pace=pace, target=share.target, n_trials=share.n_trials)
        for pieces in cut_blocks(share.missing(), cost, share.grain):
            store, target, eid = share.place
            yield share, Block(store, target, eid, pieces, share.n_null, share.fingerprint, share.run.decoder)


def _run_plan(
    shares: Sequence[Share], left: dict[tuple[str, str, str], int], client: "Client | None", report: Progress
) -> "list[Failure]":
    """Run the blocks of all shares; what is left of each is counted down in `left`."""
    from mesodask.compute import cluster, runner

    arrivals = _Arrivals(shares, left, report)
    unfinished = [share for share in shares if left[share.place]]
    with (
        nullcontext(client) if client is not None else cluster.local_client() as workers,
        run_events.telling(workers, shares, [left[share.place] for share in shares]) as arrivals.page,
    ):
        tasks = arrivals.noted(plan(unfinished, arrivals.pace))
        failures = runner.run_tasks(workers, tasks, arrivals.on_result, on_failure=arrivals.on_failure)
    if arrivals.unconverged:
        logger.warning("%d fits did not converge; their scores are kept", arrivals.unconverged)
    return failures


class _Arrivals:
    """What becomes of results as they arrive: they are stored, counted and reported, and set the pace of the plan."""

    page: run_events.Teller

    def __init__(self, shares: Sequence[Share], left: dict[tuple[str, str, str], int], report: Progress) -> None:
        self.pace = Pace()
        self.unconverged = 0
        self._by_place = {share.place: share for share in shares}
        self._left = left
        self._report = report
        self._total: Counter[str] = Counter()
        for share in shares:
            self._total[share.target] += left[share.place]
        self._done: Counter[str] = Counter()
        for target in self._total:
            self._tell(target)

    def _tell(self, target: str) -> None:
        if self._total[target]:
            self._report(f"curves: {target}", self._done[target], self._total[target])

    def _share(self, task: "Task") -> Share:
        block: Block = task.arguments[0]
        return self._by_place[block.store, block.target, block.eid]

    def noted(self, blocks: Iterable[tuple[Share, Block]]) -> "Iterator[Task]":
        """Turn blocks into tasks, and note each as it is taken."""
        for share, block in blocks:
            task = _task(block, share.run.settings)
            self.page.submitted(share, task)
            yield task

    def on_result(self, task: "Task", result: list[Scores]) -> None:
        """Store the scores of a task."""
        share, pieces = self._share(task), task.arguments[0].pieces
        for piece, scores in zip(pieces, result, strict=True):
            _store_piece(share, piece, scores)
            _learn(self.pace, share, piece, scores)
            self.unconverged += scores.unconverged
        self._left[share.place] -= count_scores(pieces)
        self._done[share.target] += count_scores(pieces)
        self.page.stored(share, task)
        self._tell(share.target)

    def on_failure(self, failure: "Failure") -> None:
        """Note beside the store that a task failed for good."""
        logger.error("task %s failed: %s", failure.task.key, failure.error)
        record = {**failure.task.label, "error": failure.error, "traceback": failure.traceback}
        share = self._share(failure.task)
        share.run.store.note_failure(record)
        self.page.failed(share, failure)


def _store_piece(share: Share, piece: Piece, scores: Scores) -> None:
    score = None if scores.score is None else scores.score[None]
    share.run.store.write_scores(
        share.target, share.session, piece.resamples.start, [piece.k], score, scores.null[None], piece.shuffles.start
    )


def _learn(pace: Pace, share: Share, piece: Piece, scores: Scores) -> None:
    n = len(piece.resamples)
    n_batches = n * share.grain.batches(piece.shuffles)
    learn = partial(pace.learn, share.target, piece.k, n_trials=share.n_trials)
    learn(null=False, n=n * piece.data, seconds=scores.data_seconds)
    learn(null=True, n=n_batches, seconds=scores.null_seconds)


def _task(block: Block, settings: NdcSettings) -> "Task":
    from mesodask.compute.runner import Task

    first = block.pieces[0]
    place = f"{first.k}-{first.resamples.start}-{first.shuffles.start}-{int(first.data)}"
    name = short_hash([repr(replace(block, decoder=None))])
    pieces = [
        {"k": piece.k, "resamples": [piece.resamples.start, piece.resamples.stop],
         "shuffles": [piece.shuffles.start, piece.shuffles.stop], "data": piece.data}
        for piece in block.pieces
    ]  # fmt: skip
    label = {"target": block.target, "eid": block.eid, "pieces": pieces}
    return Task(f"score-{block.target}-{place}-{name}", score_block, (block, settings), label)
