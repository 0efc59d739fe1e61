"""Options that several commands share, so that they are named and explained the same everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mesodask.errors import SettingsError
from mesodask.io import alf
from mesodask.io.fov import SIGNAL_FILES

FOLDER = click.Path(file_okay=False, path_type=Path)

one = click.option("--one", type=FOLDER, help="Folder with ONE tables; your default ONE if not given.")
cache_dir = click.option("--cache-dir", type=FOLDER, help="Folder of all stores; <ONE folder>/meso if not given.")
roicat_root = click.option("--roicat-root", type=FOLDER, help="Folder that holds the ROICaT tree; ~/chronic_csv.")
eids = click.argument("eids", nargs=-1, metavar="[EID]...")
subject = click.option("--subject", help="All sessions of this subject, in place of eids.")
rerun = click.option("--rerun", is_flag=True, help="Compute again what is stored already.")
all_rois = click.option("--all-rois", is_flag=True, help="Take ROIs that are not flagged as cells, too.")

figure = click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw a figure into this file.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of words and tables.")


def many(*options: Callable) -> Callable:
    """Put several options on a command at once."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


where = many(one, cache_dir)
which = many(eids, subject)


def check_which(eids: tuple[str, ...], subject: str | None) -> None:
    """Raise :class:`SettingsError` unless sessions are named either by eids or by subject."""
    if bool(eids) == bool(subject):
        raise SettingsError("name the sessions either by their eids or by --subject")


def chosen_sessions(connection: Any, eids: tuple[str, ...], subject: str | None) -> list[str]:
    """Give the eids that are meant, by name or by subject.

    Raises
    ------
    SettingsError
        Neither or both are given.
    """
    check_which(eids, subject)
    if subject:
        return [info.eid for info in alf.subject_sessions(connection, subject)]
    return list(eids)


def draw(summary: Any, figure: Path) -> None:
    """Draw a summary's curves into a file, and say so."""
    from mesodask.figures import plot_ndc

    plot_ndc(summary, save=figure)
    click.echo(f"figure   {figure}")


def comma_list(kind: Callable[[str], Any]) -> Callable:
    """Make a click callback that reads a comma-separated list."""

    def read(context: click.Context, option: click.Parameter, value: str | None) -> tuple | None:
        if value is None:
            return None
        try:
            return tuple(kind(part.strip()) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is no comma-separated list ({error})", context, option) from error

    return read


signal = click.option(
    "--signal", help=f"{', '.join(SIGNAL_FILES)}; by default deconvolved if every FOV has it, else fluorescence."
)
collection = click.option("--collection", help="Where the trials lie, e.g. alf/task_00, if several folders have some.")
neurons = click.option(
    "--neurons", callback=comma_list(str), help="Only ROIs in these regions, e.g. VISp,MOs, named as in the stores."
)
