"""The commands, in the order of the data's way."""

from pathlib import Path
from typing import Any

import click
import platformdirs

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.cluster import cluster
from mesodask.cli.config import config
from mesodask.cli.contents import list_contents, rm
from mesodask.cli.cross_session import cross_session
from mesodask.cli.doctor import doctor
from mesodask.cli.import_ import import_originals
from mesodask.cli.mirror import mirror
from mesodask.cli.ndc import ndc, pairs
from mesodask.cli.plot import plot
from mesodask.cli.progress import Stages
from mesodask.cli.report import report
from mesodask.cli.run import run
from mesodask.cli.sparseness import sparseness
from mesodask.cli.status import status, summary
from mesodask.cli.submit import drive, submit
from mesodask.cli.track import track
from mesodask.io.folders import resolved


@click.command()
@click.option("--dir", "folder", type=options.FOLDER, help="Where everything goes; your cache folder if not given.")
@options.cluster_options
@answers
def demo(folder: Path | None, cluster: options.Cluster, answer: Answer) -> None:
    """Run the main job on a simulated subject of four days.

    Example: mesodask demo --dir /tmp/mesodask-demo
    """
    from mesodask.cli.tables import print_summary, summary_rows
    from mesodask.demo import run_demo

    place = folder or Path(platformdirs.user_cache_dir("mesodask")) / "demo"
    with Stages() as stages:
        made = run_demo(resolved(place), progress=stages.report, announce=stages.say, start=cluster.start)
    answer.say(lambda: print_summary(made.summary))
    if made.reused:
        answer.say("Everything was there already: nothing was computed again.")
    answer.put(reused=made.reused, rows=summary_rows(made.summary))
    answer.tell("subject", made.subject.one_dir)
    answer.tell("run", made.run.path)
    answer.tell("figure", made.figure)


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.option("--subject", default="SP072", show_default=True, help="Name of the subject.")
@click.option("--days", default=4, show_default=True, help="Number of sessions, one a day.")
@click.option("--rois", default="60,60", show_default=True, callback=options.comma_list(int), help="ROIs of each FOV.")
@click.option("--trials", default=200, show_default=True, help="Trials of a session.")
@click.option("--seed", default=0, show_default=True, help="Key of all random draws.")
@answers
def simulate(
    folder: Path, subject: str, days: int, rois: tuple[int, ...], trials: int, seed: int, answer: Answer
) -> None:
    """Write a synthetic subject, with its ground truth, into FOLDER.

    Example: mesodask simulate ~/sim --days 6 --rois 300,300
    """
    from mesodask.simulate import simulate_subject

    with Stages() as stages:
        made = simulate_subject(
            folder,
            subject=subject,
            n_days=days,
            rois_per_fov=rois,
            n_trials=trials,
            seed=seed,
            progress=lambda done, total: stages.report("simulate", done, total),
        )
    names = {eid: f"{subject}/{date.isoformat()}/001" for eid, date in zip(made.eids, made.dates, strict=True)}
    for eid, name in names.items():
        answer.say(f"{eid}  {name}")
    answer.put(sessions=[{"eid": eid, "session": name} for eid, name in names.items()])
    answer.tell("ONE folder  ", made.one_dir, "one")
    answer.tell("ROICaT tree ", made.roicat_root, "roicat_root")
    answer.tell("truth       ", made.truth_path, "truth")


@click.command()
@options.which
@options.where
@options.signal
@options.collection
@click.option(
    "--rastermap",
    type=click.Choice(["all", "neurons", "none"]),
    default="all",
    show_default=True,
    help="Which ROIs to sort, too: all, or those flagged as cells.",
)
@click.option("--no-rastermap", "rastermap", flag_value="none", help="The same as --rastermap none.")
@options.cluster_options
@options.rerun
@answers
def embed(
    which: options.Which,
    one: Path | None,
    cache_dir: Path | None,
    rastermap: str,
    cluster: options.Cluster,
    answer: Answer,
    **how: Any,
) -> None:
    """Build session stores from ALF files.

    Example: mesodask embed --subject SP072 --one ~/one --rastermap neurons --workers 4
    """
    from mesodask import sessions
    from mesodask.io import alf

    sort: Any = {"all": True, "neurons": "neurons", "none": False}[rastermap]
    connection = alf.connect(one)
    chosen = which.eids(connection)
    with Stages() as stages, cluster.workers(stages.say) as client:
        opened = sessions.load_or_embed(
            chosen,
            one=connection,
            cache_dir=cache_dir,
            rastermap=sort,
            client=client if cluster.is_given else None,  # else this process alone, as in Python
            progress=lambda done, total: stages.report("embed", done, total),
            **how,
        )
    for session in opened:
        answer.say(session.encoding["source"])
    answer.put(stores=[{"eid": session.attrs["eid"], "store": session.encoding["source"]} for session in opened])


ALL = (
    demo,
    doctor,
    config,
    run,
    simulate,
    mirror,
    import_originals,
    embed,
    track,
    ndc,
    pairs,
    cross_session,
    sparseness,
    status,
    summary,
    plot,
    report,
    list_contents,
    rm,
    cluster,
    submit,
    drive,
)
