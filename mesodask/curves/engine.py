"""The engine of neuron-dropping curves: runs become shares of a plan (:mod:`mesodask.runs.driver`), cut into blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from mesodask.checked import short_hash
from mesodask.curves.plan import (
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
from mesodask.curves.scores import Block, Scores, score_block
from mesodask.io import stores
from mesodask.io.runstore import RunStore
from mesodask.runs import driver
from mesodask.runs.driver import AnyRun, Progress, prepare
from mesodask.settings import NdcSettings

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient, Task

__all__ = ["Run", "Share", "carry_out", "compute", "prepare"]


@dataclass(frozen=True)
class Run(AnyRun):
    """One run of neuron-dropping curves, to be computed."""

    kind: ClassVar[str] = "neuron_dropping_curves"

    store: RunStore
    settings: NdcSettings

    def extent(self, n_null: int) -> Extent:
        """Tell what is asked of a session that has so many null label vectors."""
        ks = actual_ks(self.settings.ks, self.tracked.sizes["neuron"])
        n_shuffles = min(self.settings.n_label_shuffles, n_null)
        return Extent(tuple(ks), self.settings.R, self.settings.null_resamples, n_shuffles)

    def reserve(self, target: str) -> None:
        """Make room in the store for what is asked of a target."""
        self.store.reserve(
            target,
            self.eids,
            actual_ks(self.settings.ks, self.tracked.sizes["neuron"]),
            self.settings.R,
            self.settings.n_label_shuffles,
            self.settings.definition(target),
            self.settings.null_resamples,
            resample_chunk_of(self.decoder),
        )

    def asks_of(self, target: str, session: int) -> bool:
        """Tell whether anything of a session may have to be computed; reading what is there mends what is damaged."""
        if not stores.has_group(self.store.path, target) or self._is_unfinished(target, session):
            return True
        n_null = self.store.feature_attributes(target, self.eids[session]).get("n_null", 0)
        grain = grain_of(self.decoder, self.store.resample_chunk(target))
        return any(True for _ in missing_pieces(self.store, target, session, self.extent(n_null), grain))

    def _is_unfinished(self, target: str, session: int) -> bool:
        """Tell whether more is asked than a store has room for, or a session is not done."""
        ks, R, n_shuffles = self.store.extent(target)
        extent = self.extent(self.settings.n_label_shuffles)
        grows = not set(extent.ks) <= set(ks) or extent.R > R or extent.n_shuffles > n_shuffles
        return grows or self.store.sessions(target)["status"].values[session] != "done"


@dataclass(frozen=True)
class Share(driver.Share):
    """What a run asks of one session and target; the pace is that of the whole plan."""

    stage: ClassVar[str] = "curves"

    run: Run
    target: str
    session: int
    status: str
    n_trials: int
    n_null: int
    fingerprint: str
    grain: Grain
    pace: Pace = field(compare=False)

    def missing(self, extent: Extent | None = None) -> Iterator[Piece]:
        """Read what is missing of what is asked for, or of another extent."""
        extent = extent or self.run.extent(self.n_null)
        return missing_pieces(self.run.store, self.target, self.session, extent, self.grain)

    def count_missing(self) -> int:
        """Count the scores that are asked for and missing."""
        return count_scores(self.missing())

    def blocks(self) -> Iterator[Block]:
        """Enumerate lazily what tasks compute, by what scores have taken so far."""
        cost = partial(cost_of, pace=self.pace, target=self.target, n_trials=self.n_trials)
        store, eid = str(self.run.store.path), self.run.eids[self.session]
        for pieces in cut_blocks(self.missing(), cost, self.grain):
            yield Block(store, self.target, eid, pieces, self.n_null, self.fingerprint, self.run.decoder)

    def tasks(self) -> "Iterator[Task]":
        """Enumerate, lazily, the tasks that compute what is missing."""
        return (_task(block, self.run.settings) for block in self.blocks())

    def accept(self, task: "Task", result: list[Scores]) -> tuple[int, int]:
        """Store the scores of a task, and learn the pace from them."""
        pieces: tuple[Piece, ...] = task.arguments[0].pieces
        for piece, scores in zip(pieces, result, strict=True):
            self._store(piece, scores)
            self._learn(piece, scores)
        return count_scores(pieces), sum(scores.unconverged for scores in result)

    def is_whole(self) -> bool:
        """Look for scores that the store has room for, also those that an earlier, larger run asked for."""
        ks, R, n_shuffles = self.run.store.extent(self.target)
        with_null = self.run.store.null_resamples(self.target)
        whole = Extent(tuple(sorted(ks)), R, with_null, min(n_shuffles, self.n_null))
        return whole == self.run.extent(self.n_null) or not any(True for _ in self.missing(whole))

    def _store(self, piece: Piece, scores: Scores) -> None:
        score = None if scores.score is None else scores.score[None]
        place = self.target, self.session, piece.resamples.start, [piece.k]
        self.run.store.write_scores(*place, score, scores.null[None], piece.shuffles.start)

    def _learn(self, piece: Piece, scores: Scores) -> None:
        n = len(piece.resamples)
        n_batches = n * self.grain.batches(piece.shuffles)
        learn = partial(self.pace.learn, self.target, piece.k, n_trials=self.n_trials)
        learn(null=False, n=n * piece.data, seconds=scores.data_seconds)
        learn(null=True, n=n_batches, seconds=scores.null_seconds)


def carry_out(run: Run, client: "AnyClient | None", *, rerun: bool, report: Progress) -> RunStore:
    """Prepare and compute one run, under its lock."""
    with run.store.writing(), driver.leaving(run.store):
        prepare(run, rerun=rerun, report=report)
        compute([run], client, report)
    return run.store


def compute(runs: Sequence[Run], client: "AnyClient | None", report: Progress) -> None:
    """Compute what is missing of some runs, prepared and with the same decoder, as one plan on one cluster.

    Parameters and errors are those of :func:`mesodask.runs.driver.compute`.
    """
    pace = Pace()
    driver.compute([share for run in runs for share in _shares(run, pace)], client, report)


def _shares(run: Run, pace: Pace) -> Iterator[Share]:
    for target in run.settings.targets:
        statuses = run.store.sessions(target)["status"].values
        grain = grain_of(run.decoder, run.store.resample_chunk(target))
        for session, (eid, status) in enumerate(zip(run.eids, statuses, strict=True)):
            attrs = run.store.feature_attributes(target, eid)
            if attrs["skipped"] == "":
                n_trials, n_null = attrs["n_decoded"], attrs["n_null"]
                yield Share(run, target, session, str(status), n_trials, n_null, attrs["fingerprint"], grain, pace)


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
