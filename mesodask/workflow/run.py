"""An analysis carried out: its sessions are looked up, what is run is written down, and one stage follows the other.

A stage that cannot be run is told and costs no other. What is stored is not computed again, so that the same file, or
the record of it, goes on where it stopped.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesodask.checked import short_hash
from mesodask.errors import ClusterError, MesodaskError
from mesodask.io import alf, alf_sessions, cache, fov, roicat
from mesodask.io.folders import expanded, naming_file
from mesodask.io.session_names import SessionInfo, in_date_order
from mesodask.io.whole_files import written_whole
from mesodask.runs.cost import RunCost
from mesodask.runs.driver import Progress, noting, silent
from mesodask.tracking import check_sessions, report_left_out
from mesodask.workflow.analysis import Analysis, ClusterSettings, DataSettings
from mesodask.workflow.file import ATTRIBUTE, HEADER, PLACES, analysis_text, at_places, read_analysis
from mesodask.workflow.stages import STAGES, Doing, Outcome, cost_of_stage

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

NO_WORK = ("features", "pairs")  # what stages report each time, whether there is anything to do or not
NOT_NAMED: dict[str, Any] = {
    "mesodask_version": True,
    "cluster": True,
    **{section: set(names) for section, names in PLACES.items()},
}


@dataclass(frozen=True)
class StageResult:
    """What has become of a stage.

    Attributes
    ----------
    name : str
        The stage.
    value : object
        What its function gave: session datasets, a run store, a list of pairs, the dataset of sparseness, files; None
        if it failed and nothing of it is there.
    stores, files : tuple of pathlib.Path
        Stores that hold it; figures and pages.
    notes : tuple of str
        What of it was left out, and why.
    computed : bool
        Whether anything was computed, and not only opened or drawn.
    seconds : float
        How long it took.
    error : MesodaskError or None
        Why it could not be run, or not to its end.
    """

    name: str
    value: Any = None
    stores: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    computed: bool = False
    seconds: float = 0.0
    error: MesodaskError | None = None

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        return {
            "status": "done" if self.error is None else "failed",
            "computed": self.computed,
            "seconds": round(self.seconds, 1),
            "stores": [str(path) for path in self.stores],
            "files": [str(path) for path in self.files],
            "notes": list(self.notes),
            "reason": "" if self.error is None else str(self.error),
        }


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis gave.

    Attributes
    ----------
    analysis : Analysis
        What was run: every setting, sessions by their eids, folders in full.
    record : pathlib.Path
        The same as a file, from which it can be run again.
    stages : dict of str to StageResult
        By name, in their order.
    """

    analysis: Analysis
    record: Path
    stages: dict[str, StageResult] = field(default_factory=dict)

    @property
    def computed(self) -> bool:
        """Whether anything was computed."""
        return any(stage.computed for stage in self.stages.values())

    @property
    def failed(self) -> list[StageResult]:
        """Stages that could not be run, or not to their end."""
        return [stage for stage in self.stages.values() if stage.error is not None]

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, for JSON."""
        stages = {name: stage.plain() for name, stage in self.stages.items()}
        return {"record": str(self.record), "computed": self.computed, "stages": stages}


def run_analysis(
    analysis: Analysis | str | Path,
    *,
    one: Any = None,
    client: "Client | None" = None,
    rerun: bool = False,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> AnalysisResult:
    """Carry out a whole analysis, from ALF files to a report.

    Stages are run one after the other: ``embed, ndc, pairs, cross_session, sparseness, figures, report``, as far as the
    analysis has them. One that fails costs no other, and what there is of it is drawn. What was run is written, before
    anything is computed, into ``decoding/<name>.analysis.yaml``, and kept in the run stores, too; run from there, it
    finds the same runs.

    Parameters
    ----------
    analysis : Analysis or path-like
        What to do, or the file that says it (see :func:`mesodask.workflow.file.read_analysis`).
    one : One, optional
        Takes the place of the analysis's own ``data.one``.
    client : distributed.Client, optional
        Where to compute; by default as the analysis's ``cluster`` says, else workers on this machine.
    rerun : bool
        Compute again what is stored already.
    progress : callable(stage, done, total), optional
        Called as the work goes on.
    announce : callable(text), optional
        Called with lines a person should see, such as where the workers can be watched.

    Returns
    -------
    AnalysisResult
        What every stage gave, or why it could not.

    Raises
    ------
    SettingsError
        A setting has a value that is not allowed.
    SessionNotFoundError, TrackingError
        There are no such sessions, or they are of several subjects.
    StoreError
        The record cannot be written.
    ClusterError
        The workers cannot be started, or are gone; what was computed is stored.

    Examples
    --------
    >>> result = run_analysis("analysis.yaml")  # doctest: +SKIP
    >>> result.stages["ndc"].value  # doctest: +SKIP
    RunStore(...)
    """
    asked = analysis if isinstance(analysis, Analysis) else read_analysis(analysis)
    work = _resolved(asked, one)
    result = AnalysisResult(work.analysis, work.record)
    _write(work.record, work.text)
    try:
        with _Workers(client, asked.cluster, announce or _nobody) as workers, noting(**{ATTRIBUTE: work.text}):
            elsewhere = client is not None or asked.cluster is not None
            for name in asked.wanted:
                watch = _Watch(name, progress or silent)
                doing = Doing(work.analysis, work.one, work.folder, workers, elsewhere, rerun, watch, result.stages)
                result.stages[name] = _carried_out(name, doing, workers, watch)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"record   {work.record}")
        raise
    return result


def analysis_cost(analysis: Analysis | str | Path, *, one: Any = None) -> dict[str, RunCost | str | MesodaskError]:
    """Tell what the stages of an analysis would cost; nothing is computed or written.

    Returns
    -------
    dict
        By stage: its :class:`mesodask.runs.cost.RunCost`, words where there is no such estimate, or why it could not
        be run.

    Raises
    ------
    SettingsError, SessionNotFoundError, TrackingError
        As for :func:`run_analysis`.
    """
    asked = analysis if isinstance(analysis, Analysis) else read_analysis(analysis)
    work = _resolved(asked, one)
    doing = Doing(work.analysis, work.one, work.folder, _no_workers, False, False, silent, {})
    costs: dict[str, RunCost | str | MesodaskError] = {}
    for name in asked.wanted:
        try:
            costs[name] = cost_of_stage(name, doing)
        except MesodaskError as error:
            costs[name] = error
    return costs


# what is run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """An analysis with its sessions looked up: ONE, the cache folder, and the record with its text."""

    analysis: Analysis
    one: Any
    folder: Path
    record: Path
    text: str


def _resolved(asked: Analysis, one: Any) -> _Work:
    from mesodask import __version__

    if asked.mesodask_version not in (None, __version__):
        logger.warning("this analysis was run by mesodask %s; this is %s", asked.mesodask_version, __version__)
    asked = at_places(asked, lambda _section, _name, place: expanded(place).absolute())
    data, given = asked.data, one
    one = alf.connect(data.one if given is None else given)
    infos = _sessions(data, one)
    folder = cache.cache_folder(data.cache_dir, one).absolute()
    place = Path(one.cache_dir).absolute() if one.mode == "local" else None
    known = DataSettings(
        one=data.one if given is None and data.one else place, cache_dir=folder,
        roicat_root=data.roicat_root or roicat.roicat_folder(),
        sessions=tuple(info.eid for info in infos), neurons_only=data.neurons_only, neurons=data.neurons,
    )  # fmt: skip
    analysis = asked.model_copy(update={"data": known, "mesodask_version": __version__})
    record = cache.decoding_folder(folder) / f"{_name(analysis, infos)}{cache.RECORD}"
    if analysis.figures is not None and analysis.figures.folder is None:
        figures = analysis.figures.model_copy(update={"folder": record.with_name(record.name.removesuffix(".yaml"))})
        analysis = analysis.model_copy(update={"figures": figures})
    text = analysis_text(analysis, {info.eid: info.relative for info in infos}, HEADER.format(name=record.name))
    return _Work(analysis, one, folder, record, text)


def _sessions(data: DataSettings, one: Any) -> list[SessionInfo]:
    """Find the sessions in the order of (date, number); of a subject, those in which ROIs were found."""
    found = alf_sessions.find_sessions(one, data.sessions, subject=data.subject, first=data.first, last=data.last)
    if data.subject is not None:
        imaged = [info for info in found if fov.has_rois(alf.SessionFiles(one, info.eid))]
        report_left_out(data.subject, {info: "no ROIs in alf/FOV_XX" for info in found if info not in imaged})
        found = imaged or found  # if none has any, the stages say so
    if len(found) > 1:
        check_sessions(found)
    return in_date_order(found)


def _name(analysis: Analysis, infos: list[SessionInfo]) -> str:
    """Name a record: subject, first and last date, number of sessions, and a hash of all but places and workers."""
    content = analysis.model_dump(mode="json", by_alias=True, exclude=NOT_NAMED)
    dates = [info.date.isoformat() for info in infos]
    return f"{infos[0].subject}_{dates[0]}_{dates[-1]}_{len(infos)}_{short_hash(content)}"


def _write(record: Path, text: str) -> None:
    """Write the record, whole or not at all; one that is there as it is stays."""
    undone, content = "nothing is computed without a record of it", text.encode()
    with naming_file(record, undone):
        if record.exists() and record.read_bytes() == content:  # a damaged one need not be text
            return
        record.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(record, undone) as file:
        file.write_bytes(content)


# one stage after the other --------------------------------------------------------------------------------------


class _Watch:
    """Passes reports of a stage on, and notes whether there was anything to do."""

    def __init__(self, name: str, report: Progress) -> None:
        self.worked = False
        self._name, self._report = name, report

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.worked |= stage not in NO_WORK and done < total
        self._report(stage if stage == self._name else f"{self._name}: {stage}", done, total)


class _Workers(contextlib.ExitStack):
    """Gives the workers of all stages when they are asked for: once more computes nothing, and needs none.

    Attributes
    ----------
    error : MesodaskError or None
        Why they could not be started.
    """

    def __init__(
        self, client: "Client | None", cluster: ClusterSettings | None, announce: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.error: MesodaskError | None = None
        self._client, self._announce = client, announce
        self._wanted = (cluster or ClusterSettings()).arguments()

    def __call__(self) -> "Client":
        if self._client is None:
            from mesodask.compute.cluster import how_to_watch, start_cluster

            try:
                self._client = self.enter_context(start_cluster(**self._wanted))
            except MesodaskError as error:
                self.error = error
                raise
            for line in how_to_watch(self._client):
                self._announce(line)
        return self._client


def _carried_out(name: str, doing: Doing, workers: _Workers, watch: _Watch) -> StageResult:
    begun = time.monotonic()
    try:
        with naming_file(doing.folder, "the stage is not finished"):
            outcome: Outcome = STAGES[name](doing)
    except MesodaskError as error:
        if isinstance(error, ClusterError) or error is workers.error:  # no further stage has any workers
            raise
        outcome = Outcome(None, error=error)
    if outcome.error is not None:
        logger.info("%s: %s", name, outcome.error)
    given = {each.name: getattr(outcome, each.name) for each in fields(Outcome)}
    given["computed"] |= watch.worked
    return StageResult(name, **given, seconds=time.monotonic() - begun)


def _no_workers() -> "Client":
    raise AssertionError("what something costs is told without any workers")


def _nobody(text: str) -> None:
    """Tell nobody."""
