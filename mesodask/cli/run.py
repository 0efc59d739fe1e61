"""``mesodask run``: a whole analysis from one settings file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mesodask.cli import ndc, options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.progress import Stages
from mesodask.errors import MesodaskError, TasksFailedError
from mesodask.io.folders import expanded

if TYPE_CHECKING:
    from mesodask.runs.cost import RunCost
    from mesodask.workflow import Analysis, AnalysisResult


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.where
@options.roicat_root
@options.cluster_options
@options.rerun
@ndc.dry_run
@answers
def run(
    file: Path,
    one: Path | None,
    cache_dir: Path | None,
    roicat_root: Path | None,
    cluster: options.Cluster,
    rerun: bool,
    dry_run: bool,
    answer: Answer,
) -> None:
    """Carry out the analysis in FILE, from ALF files to a report.

    FILE is a YAML file, as mesodask config init writes one; or the record of an analysis, or a run store, to do it
    again. What is stored is not computed again. Options take the place of what the file says.

    Example: mesodask run analysis.yaml --cluster slurm --workers 0-40
    """
    from mesodask.workflow import analysis_cost, read_analysis, run_analysis

    places = {"one": one, "cache_dir": cache_dir, "roicat_root": roicat_root}
    analysis = with_options(read_analysis(file), places, cluster)
    if dry_run:
        tell_costs(answer, analysis_cost(analysis))
        return
    with Stages() as stages:
        result = run_analysis(analysis, rerun=rerun, progress=stages.report, announce=stages.say)
    answer.say(in_words(result))
    answer.put(**result.plain())
    if result.failed:
        names = ", ".join(stage.name for stage in result.failed)
        raise TasksFailedError(f"{len(result.failed)} of {len(result.stages)} stages failed ({names}); see above why")


def with_options(analysis: "Analysis", places: dict[str, Path | None], cluster: options.Cluster) -> "Analysis":
    """Let what was typed take the place of what a file says; another kind of cluster, of its whole block."""
    from mesodask.workflow.analysis import ClusterSettings

    given: dict[str, Any] = {name: expanded(place).absolute() for name, place in places.items() if place is not None}
    changed: dict[str, Any] = {"data": analysis.data.model_copy(update=given)}
    if cluster.is_given:
        typed = {name: value for name, value in dataclasses.asdict(cluster).items() if value not in (None, ())}
        n_workers, adaptive = typed.pop("n_workers", None), typed.pop("adaptive", None)
        if n_workers or adaptive:
            typed["workers"] = n_workers or "{}-{}".format(*adaptive)
        before = {} if cluster.kind or analysis.cluster is None else analysis.cluster.model_dump()
        changed["cluster"] = ClusterSettings(**before | typed)
    return analysis.model_copy(update=changed)


def in_words(result: "AnalysisResult") -> str:
    """Tell what an analysis gave, stage by stage."""
    lines = []
    for stage in result.stages.values():
        state = "failed" if stage.error else "computed" if stage.computed else "done"
        lines.append(f"{stage.name:<14}{state} in {stage.seconds:.1f} s")
        lines += [f"  {path}" for path in (*stage.stores, *stage.files)]
        lines += [f"  left out: {note}" for note in stage.notes]
        if stage.error is not None:
            lines += [f"  {line}" for line in str(stage.error).splitlines()]
    if not result.computed and not result.failed:
        lines.append("Everything was there already: nothing was computed again.")
    return "\n".join([*lines, f"record        {result.record}"])


def tell_costs(answer: Answer, costs: "Mapping[str, RunCost | str | MesodaskError]") -> None:
    """Tell what every stage would cost."""
    for name, cost in costs.items():
        refused = isinstance(cost, MesodaskError)
        first, *more = (f"cannot be run: {cost}" if refused else str(cost)).splitlines()
        answer.say("\n".join([f"{name:<14}{first}", *(f"{'':<14}{line}" for line in more)]))
        answer.put(**{name: {"error": str(cost)} if refused else cost})
