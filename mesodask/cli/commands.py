"""The commands, in the order of the data's way."""

from pathlib import Path
from typing import Any

import click
import platformdirs

from mesodask.cli import options
from mesodask.cli.mirror import mirror
from mesodask.cli.progress import Stages
from mesodask.cli.status import status, summary
from mesodask.cli.track import track


@click.command()
@click.option("--dir", "folder", type=options.FOLDER, help="Where everything goes; your cache folder if not given.")
def demo(folder: Path | None) -> None:
    """Run the main job on a simulated subject of four days.

    Example: mesodask demo --dir /tmp/mesodask-demo
    """
    from mesodask.cli.tables import print_summary
    from mesodask.demo import run_demo

    place = folder or Path(platformdirs.user_cache_dir("mesodask")) / "demo"
    with Stages() as stages:
        made = run_demo(place.resolve(), progress=stages.report, announce=stages.say)
    print_summary(made.summary)
    if made.reused:
        click.echo("Everything was there already: nothing was computed again.")
    click.echo(f"subject  {made.subject.one_dir}\nrun      {made.run.path}\nfigure   {made.figure}")


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.option("--subject", default="SP072", show_default=True, help="Name of the subject.")
@click.option("--days", default=4, show_default=True, help="Number of sessions, one a day.")
@click.option("--rois", default="60,60", show_default=True, callback=options.comma_list(int), help="ROIs of each FOV.")
@click.option("--trials", default=200, show_default=True, help="Trials of a session.")
@click.option("--seed", default=0, show_default=True, help="Key of all random draws.")
def simulate(folder: Path, subject: str, days: int, rois: tuple[int, ...], trials: int, seed: int) -> None:
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
    for eid, date in zip(made.eids, made.dates, strict=True):
        click.echo(f"{eid}  {subject}/{date.isoformat()}/001")
    click.echo(f"ONE folder   {made.one_dir}\nROICaT tree  {made.roicat_root}\ntruth        {made.truth_path}")


@click.command()
@options.which
@options.where
@click.option("--rastermap/--no-rastermap", default=True, help="Compute the Rastermap order, too.")
@options.rerun
def embed(
    eids: tuple[str, ...], subject: str | None, one: Path | None, cache_dir: Path | None, rastermap: bool, rerun: bool
) -> None:
    """Build session stores from ALF files.

    Example: mesodask embed --subject SP072 --one ~/one
    """
    from mesodask import sessions
    from mesodask.io import alf

    connection = alf.connect(one)
    chosen = options.chosen_sessions(connection, eids, subject)
    with Stages() as stages:
        for done, eid in enumerate(chosen):
            stages.report("embed", done, len(chosen))
            session = sessions.load_or_embed(eid, one=connection, cache_dir=cache_dir, rastermap=rastermap, rerun=rerun)
            click.echo(session.encoding["source"])
        stages.report("embed", len(chosen), len(chosen))


@click.command()
@options.which
@options.where
@options.roicat_root
@options.all_rois
@click.option("--targets", callback=options.comma_list(str), help="E.g. choice,block; all four if not given.")
@click.option("--ks", callback=options.comma_list(int), help="Numbers of neurons, e.g. 8,16,32.")
@click.option("--resamples", "R", type=int, help="Random subsets of neurons.")
@click.option("--shuffles", "n_label_shuffles", type=int, help="Null label vectors.")
@click.option("--metric", help="auc or accuracy.")
@click.option("--folds", help="shuffled or contiguous.")
@click.option("--sampling", help="hold or frames.")
@click.option("--seed", type=int, help="Key of all random draws.")
@options.rerun
@options.figure
def ndc(
    eids: tuple[str, ...],
    subject: str | None,
    one: Path | None,
    cache_dir: Path | None,
    roicat_root: Path | None,
    all_rois: bool,
    rerun: bool,
    figure: Path | None,
    **settings: Any,
) -> None:
    """Compute neuron-dropping curves.

    Example: mesodask ndc --subject SP072 --one ~/one --targets choice --ks 8,16,32 --figure ndc.png
    """
    from mesodask.cli.tables import print_summary
    from mesodask.io import alf
    from mesodask.ndc import neuron_dropping_curves
    from mesodask.summary import summarize

    if figure is not None:
        from mesodask.figures.ndc import checked_file

        checked_file(figure)  # before hours of work, not after
    connection = alf.connect(one)
    chosen = options.chosen_sessions(connection, eids, subject)
    given = {name: value for name, value in settings.items() if value is not None}
    with Stages() as stages:
        run = neuron_dropping_curves(
            chosen,
            one=connection,
            cache_dir=cache_dir,
            roicat_root=roicat_root,
            neurons_only=not all_rois,
            rerun=rerun,
            progress=stages.report,
            **given,
        )
    summary = summarize(run)
    print_summary(summary)
    click.echo(f"run      {run.path}")
    if figure is not None:
        _draw(summary, figure)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("figure", type=click.Path(dir_okay=False, path_type=Path))
def plot(run: Path, figure: Path) -> None:
    """Draw the curves of RUN (a run store) into FIGURE.

    Example: mesodask plot ~/one/meso/decoding/SP072_2025-01-13_2025-01-16_4_0123abcd.zarr ndc.png
    """
    from mesodask.summary import summarize

    _draw(summarize(run), figure)


def _draw(summary: Any, figure: Path) -> None:
    from mesodask.figures import plot_ndc

    plot_ndc(summary, save=figure)
    click.echo(f"figure   {figure}")


ALL = (demo, simulate, mirror, embed, track, ndc, status, summary, plot)
