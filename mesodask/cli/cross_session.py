"""``mesodask cross-session``: train on one session, test on the others."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mesodask.cli import ndc, options
from mesodask.cli.answer import Answer, answers, rows_of
from mesodask.cli.progress import Stages

if TYPE_CHECKING:
    from mesodask.io.crossstore import CrossSessionStore

NUMBERS = options.comma_list(float)

# one for each of CrossSessionSettings; what is not given is left to it
settings = options.many(
    ndc.targets,
    ndc.definitions,
    click.option("--min-sessions", type=int, help="Fewest sessions."),
    click.option("--min-k-shared", type=int, help="Fewest neurons that all sessions share."),
    click.option("--train-on", help="first, or each: the whole matrix of sessions."),
    click.option("--transfer", help="What is carried abroad: median_fold or refit."),
    click.option("--reduction", help="none, pca or selectk."),
    click.option("--dim-k", type=int, help="Components or neurons that are kept, at most."),
    click.option("--C", "C", callback=NUMBERS, help="Inverse strengths of the penalty to search, e.g. 0.03,0.3,1."),
    click.option("--use-elasticnet/--no-elasticnet", default=None, help="Search the share of L1 in it, too."),
    click.option("--l1-ratio", callback=NUMBERS, help="Shares of L1 to search, e.g. 0,0.5."),
    click.option("--outer-cv", type=int, help="Folds of the training session."),
    click.option("--inner-cv", type=int, help="Folds that the search is done in, within each of them."),
    click.option("--max-iter", type=int, help="Iterations of a fit, at most."),
    click.option("--shuffles", "n_shuffle", type=int, help="Null label vectors; 0 for no null."),
    ndc.null,
    click.option("--null-labels", help="Whose labels the null replaces: test, or train (much slower)."),
    ndc.sampling,
    ndc.trials,
    ndc.seed,
)


@click.command("cross-session")
@options.which
@options.where
@options.roicat_root
@options.all_rois
@options.neurons
@click.option("--min-trials", type=click.IntRange(0), help="Fewest trials of a subject's session; 400 if not given.")
@settings
@options.rerun
@ndc.dry_run
@options.figure
@click.option("--x", type=click.Choice(["date", "days"]), default="date", help="What the figure's sessions stand at.")
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the table into this file.")
@options.cluster_options
@answers
def cross_session(
    which: options.Which,
    one: Path | None,
    cache_dir: Path | None,
    roicat_root: Path | None,
    all_rois: bool,
    neurons: tuple[str, ...] | None,
    rerun: bool,
    dry_run: bool,
    figure: Path | None,
    x: Literal["date", "days"],
    csv: Path | None,
    cluster: options.Cluster,
    answer: Answer,
    **settings: Any,
) -> None:
    """Train on the first session, and test on all later ones.

    Of a subject as many sessions are taken as share enough neurons (--min-k-shared); sessions
    that are named are taken as they are.

    Example: mesodask cross-session --subject SP072 --one ~/one --targets choice,block --figure generalization.png
    """
    from mesodask.generalization import cross_session as compute
    from mesodask.io import alf

    options.check_figure(figure)
    connection = alf.connect(one)
    arguments = {"one": connection, "cache_dir": cache_dir, "roicat_root": roicat_root,
                 "neurons_only": not all_rois, "neurons": neurons, "rerun": rerun,
                 **options.given(settings)}  # fmt: skip
    sessions = which.subject_or_eids(connection)
    if dry_run:
        ndc.tell_cost(answer, lambda: compute(sessions, dry_run=True, **arguments))
        return
    with Stages() as stages, cluster.workers(stages.say) as client:
        run = compute(sessions, progress=stages.report, client=client, **arguments)
    summarize_cross_session(run, csv, answer)
    if figure is not None:
        from mesodask.figures.cross_session import plot_across

        plot_across(run, x=x, save=figure)
        answer.tell("figure", figure)


def summarize_cross_session(run: "CrossSessionStore", csv: Path | None, answer: Answer) -> None:
    """Tell the table of a run, and write it as CSV."""
    from mesodask.cli.tables import print_cross_session
    from mesodask.cross.summary import cross_session_table
    from mesodask.summary_tables import write_table

    table = cross_session_table(run)
    answer.say(lambda: print_cross_session(table, run.tracked().sizes["neuron"]))
    answer.tell("run", run.path)
    answer.put(rows=rows_of(table))
    if csv is not None:
        answer.tell("table", write_table(table, csv))
