"""``mesodask report``: a run as one HTML page."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.status import find_run
from mesodask.io import cache

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)


@click.command()
@click.argument("run")
@options.where
@options.roicat_root
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Else it is <RUN>.html.")
@click.option("--delta", type=float, help="k* is the smallest k this close to the ceiling; as in the run if not given.")
@click.option("--tracking", is_flag=True, help="Show what each two sessions share; reads --one, --roicat-root.")
@click.option("--rasters", is_flag=True, help="Show a minute of each session whose store lies in the cache folder.")
@click.option("--cross-session", type=options.FOLDER, help="Show this run of mesodask cross-session, too.")
@answers
def report(
    run: str,
    one: Path | None,
    cache_dir: Path | None,
    roicat_root: Path | None,
    output: Path | None,
    delta: float | None,
    tracking: bool,
    rasters: bool,
    cross_session: Path | None,
    answer: Answer,
) -> None:
    """Write RUN as one HTML page that needs no network.

    RUN is a run store, or the beginning of the name of one in the cache folder. It may be under way; the page says so.

    Example: mesodask report SP072 --one ~/one --tracking --rasters -o report.html
    """
    from mesodask.figures.report import write_report
    from mesodask.io.crossstore import checked_run
    from mesodask.io.runstore import RunStore

    store = checked_run(find_run(run, one, cache_dir), RunStore)
    given: dict[str, Any] = {"delta": delta, "one": one, "roicat_root": roicat_root, "cross_session": cross_session}
    if rasters:
        folder = cache_dir or cache.folder_of_run(store.path) or store.path.parent
        paths = [cache.session_store(folder, eid) for eid in store.tracked()["session"].values.tolist()]
        given["sessions"] = [path for path in paths if path.exists()]
        for path in paths:
            if not path.exists():
                logger.warning("no raster of a session whose store is not there: %s", path)
    if tracking:
        given["tracking"] = _tracking_of(store.tracked(), one, roicat_root)
    answer.tell("report", write_report(store, output, **given))


def _tracking_of(tracked: "xr.Dataset", one: Path | None, roicat_root: Path | None) -> "xr.Dataset":
    """Make the tracking table of a run's sessions, of neurons that are chosen as those of the run were."""
    from mesodask import selection
    from mesodask.tracking import tracking_table

    neurons = tracked.attrs.get("neurons", "")
    if neurons == selection.GIVEN_BY_ARRAYS:
        logger.warning(
            "the run does not hold the masks or rows that narrowed its neurons: the tracking table is of all"
        )
    return tracking_table(
        tracked["session"].values.tolist(),
        one=one,
        roicat_root=roicat_root,
        neurons_only=tracked.attrs.get("neurons_only", True),
        neurons=neurons.split(",") if neurons not in ("", selection.GIVEN_BY_ARRAYS) else None,
    )
