"""``mesodask ndc`` and ``mesodask pairs``: neuron-dropping curves of some sessions, and of consecutive pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers, plain
from mesodask.cli.progress import Stages

if TYPE_CHECKING:
    from mesodask.runs.cost import RunCost

# what every kind of run has
targets = click.option("--targets", callback=options.comma_list(str), help="E.g. choice,block; all four if not given.")


def _by_target(context: click.Context, option: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Read ``choice=-0.2:0,block=-0.4:-0.1``, or names in place of the windows."""
    if value is None:
        return None
    parts = [part.partition("=") for part in value.split(",")]
    if any(not (name and one) for name, _, one in parts):
        raise click.BadParameter(f"{value!r}: expected TARGET=... with commas between targets", context, option)
    return {name.strip(): tuple(one.split(":")) if option.name == "windows" else one for name, _, one in parts}


definitions = options.many(
    click.option(
        "--windows", callback=_by_target, metavar="TARGET=START:END,...",
        help="Other windows, in s from the target's event, e.g. choice=-0.2:0.",
    ),
    click.option(
        "--events", callback=_by_target, metavar="TARGET=COLUMN,...",
        help="Other events, columns of the trials, e.g. choice=stimOn_times.",
    ),
)  # fmt: skip
null = click.option("--null", help="permute, circular, blockwise or pseudosession; by target if not given.")
sampling = click.option("--sampling", help="hold or frames.")
trials = options.many(
    click.option("--equalize-trials/--no-equalize-trials", default=None, help="Same number of trials in all sessions."),
    click.option("--min-per-class", type=int, help="Skip sessions with fewer trials of a class."),
)
seed = click.option("--seed", type=int, help="Key of all random draws.")

# one for each of NdcSettings; what is not given is left to it
settings = options.many(
    targets,
    definitions,
    click.option("--ks", callback=options.comma_list(int), help="Numbers of neurons, e.g. 8,16,32."),
    click.option("--resamples", "R", type=int, help="Random subsets of neurons."),
    click.option("--shuffles", "n_label_shuffles", type=int, help="Null label vectors; 0 for no null."),
    click.option("--shuffle-resamples", type=int, help="Evaluate the null on the first so many resamples alone."),
    null,
    click.option("--metric", help="auc or accuracy."),
    click.option("--cv-splits", type=int, help="Number of folds."),
    click.option("--folds", help="shuffled or contiguous."),
    click.option("--gap", type=int, help="Trials left out around a contiguous test block."),
    click.option("--C", "C", type=float, help="Inverse strength of the L2 penalty."),
    sampling,
    trials,
    click.option("--delta", type=float, help="k* is the smallest k whose mean score is within delta of the ceiling."),
    seed,
)
dry_run = click.option("--dry-run", is_flag=True, help="Compute and write nothing; tell what it would cost.")


@click.command()
@options.which
@options.where
@options.roicat_root
@options.all_rois
@options.neurons
@settings
@options.cluster_options
@options.rerun
@dry_run
@options.figure
@answers
def ndc(
    which: options.Which,
    one: Path | None,
    cache_dir: Path | None,
    roicat_root: Path | None,
    all_rois: bool,
    neurons: tuple[str, ...] | None,
    cluster: options.Cluster,
    rerun: bool,
    dry_run: bool,
    figure: Path | None,
    answer: Answer,
    **settings: Any,
) -> None:
    """Compute neuron-dropping curves.

    Example: mesodask ndc --subject SP072 --one ~/one --targets choice --ks 8,16,32 --figure ndc.png
    """
    from mesodask.cli.tables import print_summary, summary_rows
    from mesodask.io import alf
    from mesodask.ndc import neuron_dropping_curves
    from mesodask.summary import summarize

    options.check_figure(figure)
    connection = alf.connect(one)
    chosen = which.eids(connection)
    arguments = {"one": connection, "cache_dir": cache_dir, "roicat_root": roicat_root, "neurons_only": not all_rois,
                 "neurons": neurons, "rerun": rerun,
                 **options.given(settings)}  # fmt: skip
    if dry_run:
        tell_cost(answer, lambda: neuron_dropping_curves(chosen, dry_run=True, **arguments))
        return
    with Stages() as stages, cluster.workers(stages.say) as client:
        run = neuron_dropping_curves(chosen, client=client, progress=stages.report, **arguments)
    summary = summarize(run)
    answer.say(lambda: print_summary(summary))
    answer.tell("run", run.path)
    answer.put(rows=summary_rows(summary))
    if figure is not None:
        from mesodask.figures import plot_ndc

        plot_ndc(summary, save=figure)
        answer.tell("figure", figure)


@click.command()
@options.which
@options.where
@options.roicat_root
@options.all_rois
@options.neurons
@click.option("--min-trials", type=click.IntRange(0), help="Fewest trials of a session; 400 if not given.")
@click.option("--min-shared", type=click.IntRange(1), help="Fewest neurons of a pair; the smallest k if not given.")
@settings
@options.cluster_options
@options.rerun
@dry_run
@answers
def pairs(
    which: options.Which,
    one: Path | None,
    cache_dir: Path | None,
    roicat_root: Path | None,
    all_rois: bool,
    neurons: tuple[str, ...] | None,
    cluster: options.Cluster,
    rerun: bool,
    dry_run: bool,
    answer: Answer,
    **settings: Any,
) -> None:
    """Compute the curves of each two sessions that follow each other, and draw them.

    Example: mesodask pairs --subject SP072 --one ~/one --roicat-root ~/chronic_csv
    """
    from mesodask.io import alf
    from mesodask.pairs import pairwise_curves

    connection = alf.connect(one)
    sessions = which.subject_or_eids(connection)
    arguments = {"one": connection, "cache_dir": cache_dir, "roicat_root": roicat_root,
                 "neurons_only": not all_rois, "neurons": neurons, "rerun": rerun,
                 **options.given(settings)}  # fmt: skip
    if dry_run:
        tell_cost(answer, lambda: pairwise_curves(sessions, dry_run=True, **arguments))
        return
    with Stages() as stages, cluster.workers(stages.say) as client:
        found = pairwise_curves(sessions, client=client, progress=stages.report, **arguments)
    for pair in found:
        result = f"skipped: {pair.reason}" if pair.reason else pair.figure
        answer.say(f"{'  '.join(pair.dates)}  {pair.n_shared} neurons  {result}")
    answer.document = [{**plain(pair), "run": pair.run and str(pair.run.path)} for pair in found]


def tell_cost(answer: Answer, reckon: "Callable[[], RunCost]") -> None:
    """Tell what a run would cost."""
    with Stages():  # of an online ONE files may have to be downloaded, for counting trials and cells
        cost = reckon()
    answer.say(str(cost))
    answer.put(dry_run=cost)
