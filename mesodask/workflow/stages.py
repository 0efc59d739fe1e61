"""The stages of an analysis: each hands its settings to a public function, and says what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mesodask import session_choice, sessions
from mesodask.embedding import raster_order
from mesodask.errors import MesodaskError, NothingToDecodeError, SessionsFailedError, TasksFailedError
from mesodask.generalization import cross_session
from mesodask.io import cache
from mesodask.io.folders import naming_file
from mesodask.ndc import neuron_dropping_curves
from mesodask.pairs import pairwise_curves
from mesodask.population_sparseness import sparseness
from mesodask.runs.cost import RunCost
from mesodask.runs.driver import Progress
from mesodask.settings import CrossSessionSettings, NdcSettings
from mesodask.tracking import tracking_table
from mesodask.workflow.analysis import Analysis, settings_of_run

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What came of a stage.

    Attributes
    ----------
    value : object
        What its function gave.
    stores, files : tuple of pathlib.Path
        Where it is.
    computed : bool
        Whether it was computed, where that is not reported as it goes on.
    notes : tuple of str
        What of it was left out, and why.
    error : MesodaskError or None
        Why there is no more of it.
    """

    value: Any
    stores: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    computed: bool = False
    notes: tuple[str, ...] = ()
    error: MesodaskError | None = None


@dataclass(frozen=True)
class Doing:
    """All that a stage needs.

    Attributes
    ----------
    analysis : Analysis
        What is asked, with sessions by their eids and folders in full.
    one : One
        Where the sessions are.
    folder : pathlib.Path
        The cache folder.
    workers : callable() -> distributed.Client
        Gives the workers of all stages; they are started when it is called first.
    elsewhere : bool
        Whether these were asked for, and are not just what is on this machine.
    rerun : bool
        Whether what is stored is computed again.
    report : callable(stage, done, total)
        Called as the work goes on.
    results : mapping of str to StageResult
        The stages before.
    """

    analysis: Analysis
    one: Any
    folder: Path
    workers: "Callable[[], Client]"
    elsewhere: bool
    rerun: bool
    report: Progress
    results: Mapping[str, Any]

    @property
    def eids(self) -> list[str]:
        """The sessions in date order."""
        return list(self.analysis.data.sessions)

    @property
    def narrowing(self) -> dict[str, Any]:
        """Which neurons, as functions take it."""
        data = self.analysis.data
        neurons = None if data.neurons is None else list(data.neurons)
        return {"neurons_only": data.neurons_only, "neurons": neurons}

    @property
    def matched(self) -> dict[str, Any]:
        """How neurons are matched, and where stores are, as functions take it."""
        places = {"one": self.one, "cache_dir": self.folder, "roicat_root": self.analysis.data.roicat_root}
        return places | self.narrowing

    @property
    def work(self) -> dict[str, Any]:
        """How it is computed, as functions take it."""
        return {"client": self.workers, "rerun": self.rerun, "progress": self.report}

    def session_stores(self) -> list[Path]:
        """Where the stores of the sessions are."""
        return [cache.session_store(self.folder, eid) for eid in self.eids]

    def value_of(self, stage: str) -> Any:
        """Give what a stage before has given; None if that is nothing, or it was not asked for."""
        result = self.results.get(stage)
        return None if result is None else result.value


def _in_spite_of_failures(compute: Callable[[], T]) -> tuple[T, MesodaskError | None]:
    """Give what a function gives; where a part of it has failed for good, all else, and why there is no more."""
    try:
        return compute(), None
    except (TasksFailedError, SessionsFailedError) as error:
        if error.result is None:
            raise
        return error.result, error


def _embed(doing: Doing) -> Outcome:
    asked = doing.analysis.embed
    assert asked is not None
    sort: Any = {"all": True, "neurons": "neurons", "none": False}[asked.rastermap]
    rows, paths = raster_order.rows_to_sort(sort), doing.session_stores()
    missing = doing.rerun or not all(path.exists() for path in paths)
    unsorted = rows is not None and (missing or not all(raster_order.has_order(path, rows) for path in paths))
    client = doing.workers if doing.elsewhere else None
    opened = sessions.load_or_embed(
        doing.eids, one=doing.one, cache_dir=doing.folder, collection=asked.collection, rastermap=sort,
        rerun=doing.rerun, client=client, progress=lambda done, total: doing.report("embed", done, total),
    )  # fmt: skip
    return Outcome(opened, tuple(paths), computed=missing or unsorted)


def _ndc(doing: Doing) -> Outcome:
    assert doing.analysis.ndc is not None
    settings = doing.analysis.ndc
    run, error = _in_spite_of_failures(
        lambda: neuron_dropping_curves(doing.eids, settings=settings, **doing.matched, **doing.work)
    )
    return Outcome(run, (run.path,), error=error)


def _pairs_arguments(doing: Doing) -> dict[str, Any]:
    asked = doing.analysis.pairs
    assert asked is not None
    settings = settings_of_run(asked, NdcSettings)
    return {"min_trials": asked.min_trials, "min_shared": asked.min_shared, "settings": settings} | doing.matched


def _pairs(doing: Doing) -> Outcome:
    found, error = _in_spite_of_failures(lambda: pairwise_curves(doing.eids, **_pairs_arguments(doing), **doing.work))
    skipped = tuple(f"{' and '.join(pair.dates)}: {pair.reason}" for pair in found if pair.reason)
    runs = tuple(pair.run.path for pair in found if pair.run is not None)
    figures = tuple(pair.figure for pair in found if pair.figure is not None)
    return Outcome(found, runs, figures, notes=skipped, error=error)


def _series(doing: Doing) -> list[str]:
    """Choose the sessions of the stage cross_session."""
    asked = doing.analysis.cross_session
    assert asked is not None
    if not asked.choose:
        return doing.eids
    return session_choice.longest_series(
        doing.eids, min_sessions=asked.min_sessions, min_shared=asked.min_k_shared, min_trials=asked.min_trials,
        **doing.matched,
    )  # fmt: skip


def _cross_arguments(doing: Doing) -> dict[str, Any]:
    assert doing.analysis.cross_session is not None
    return {"settings": settings_of_run(doing.analysis.cross_session, CrossSessionSettings)} | doing.matched


def _cross_session(doing: Doing) -> Outcome:
    run, error = _in_spite_of_failures(lambda: cross_session(_series(doing), **_cross_arguments(doing), **doing.work))
    return Outcome(run, (run.path,), error=error)


def _sparseness(doing: Doing) -> Outcome:
    asked = doing.analysis.sparseness
    assert asked is not None
    how: dict[str, Any] = {"scale": asked.scale, "sampling": asked.sampling} | doing.narrowing | doing.work
    found, error = _in_spite_of_failures(lambda: sparseness(doing.eids, one=doing.one, cache_dir=doing.folder, **how))
    return Outcome(found, tuple(map(Path, found.attrs["stores"])), error=error)


def _figures(doing: Doing) -> Outcome:
    from mesodask.figures import plot_k_star, plot_ndc, plot_raster, plot_sparseness
    from mesodask.figures.cross_session import plot_across
    from mesodask.io import stores

    asked = doing.analysis.figures
    assert asked is not None
    folder = asked.folder or Path()
    with naming_file(folder, "no figure is drawn"):
        folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    errors: list[MesodaskError] = []

    def draw(name: str, plot: Callable[..., Any], what: Any, **how: Any) -> None:
        if what is None:
            return
        file = folder / f"{name}.{asked.format}"
        try:
            with naming_file(file, "the figure is not drawn"):
                plot(what, save=file, **how)
        except MesodaskError as error:  # one figure costs no other
            errors.append(error)
        else:
            drawn.append(file)

    draw("ndc", plot_ndc, doing.value_of("ndc"))
    draw("k_star", plot_k_star, doing.value_of("ndc"))
    draw("cross_session", plot_across, doing.value_of("cross_session"))
    draw("sparseness", plot_sparseness, doing.value_of("sparseness"))
    for path in doing.session_stores() if asked.rasters else []:
        if path.exists():
            draw(f"raster_{path.stem}", plot_raster, path, sort=stores.has_group(path, "order"))
    return Outcome(drawn, files=tuple(drawn), notes=tuple(map(str, errors[1:])), error=next(iter(errors), None))


def _report(doing: Doing) -> Outcome:
    from mesodask.figures.report import write_report

    asked, data = doing.analysis.report, doing.analysis.data
    assert asked is not None
    run = doing.value_of("ndc")
    if run is None:
        raise NothingToDecodeError("there are no curves to report, since the stage ndc has failed")
    given: dict[str, Any] = {"one": data.one, "roicat_root": data.roicat_root}
    if asked.tracking and len(doing.eids) > 1:
        given["tracking"] = tracking_table(
            doing.eids, one=doing.one, roicat_root=data.roicat_root, **doing.narrowing
        )  # fmt: skip
    if asked.rasters:
        given["sessions"] = [path for path in doing.session_stores() if path.exists()]
    with naming_file(asked.path or run.path.with_suffix(".html"), "the report is not written"):
        if asked.path is not None:
            asked.path.parent.mkdir(parents=True, exist_ok=True)
        page = write_report(run, asked.path, cross_session=doing.value_of("cross_session"), **given)
    return Outcome(page, files=(page,))


STAGES: Mapping[str, Callable[[Doing], Outcome]] = {
    "embed": _embed,
    "ndc": _ndc,
    "pairs": _pairs,
    "cross_session": _cross_session,
    "sparseness": _sparseness,
    "figures": _figures,
    "report": _report,
}


def cost_of_stage(name: str, doing: Doing) -> RunCost | str:
    """Tell what a stage would cost, in words where there is no estimate.

    Raises
    ------
    MesodaskError
        It could not be run.
    """
    if name == "ndc":
        assert doing.analysis.ndc is not None
        return neuron_dropping_curves(doing.eids, settings=doing.analysis.ndc, dry_run=True, **doing.matched)
    if name == "pairs":
        return pairwise_curves(doing.eids, dry_run=True, **_pairs_arguments(doing))
    if name == "cross_session":
        return cross_session(_series(doing), dry_run=True, **_cross_arguments(doing))
    if name == "embed":
        n_missing = sum(not path.exists() for path in doing.session_stores())
        return f"{n_missing} of {len(doing.eids)} session stores to be built"
    if name == "sparseness":
        return f"{len(doing.eids)} sessions, seconds to minutes each"
    return "seconds"
