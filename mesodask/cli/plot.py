"""``mesodask plot``: figures of runs and sessions, each into a file."""

from pathlib import Path
from typing import Any

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.progress import Stages
from mesodask.cli.status import find_run
from mesodask.errors import SettingsError

LARGEST = 1000  # inches of a figure's side
MOST_DOTS = 10_000  # an inch
save = click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Draw into this file; the ending "
    "decides the format."
)  # fmt: skip
run_argument = options.many(click.argument("run"), options.where)
session_argument = click.argument("session", metavar="SESSION|STORE")
colors = click.option(
    "--colors", type=click.Choice(["distinct", "allen"]), default="distinct", show_default=True,
    help="Colours of regions: well-separated ones, or the Allen atlas's.",
)  # fmt: skip
figsize = click.option(
    "--size", "figsize", callback=options.comma_list(float), help="Width and height in inches, e.g. 8,6."
)
dpi = click.option("--dpi", type=float, help="Dots an inch; 200 if not given.")


class _RunIfNothingElse(click.Group):
    """A group that draws a run if no figure is named: ``mesodask plot RUN FIGURE``."""

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        named = [word for word in arguments[:2] if not word.startswith("-")]
        if len(named) == 2 and named[0] not in self.commands:
            arguments = ["ndc", named[0], "--save", named[1], *arguments[2:]]
        return super().resolve_command(context, arguments)


@click.group(cls=_RunIfNothingElse)
def plot() -> None:
    """Draw a figure into a file.

    mesodask plot RUN FIGURE draws a run of either kind: curves, or accuracies by date.

    Example: mesodask plot raster SP072/2025-01-13/001 --one ~/one --save raster.png
    """


def _given(**values: Any) -> dict[str, Any]:
    """Leave out what was not given; the functions have the defaults."""
    size = values.get("figsize")
    if size is not None and len(size) != 2:
        raise SettingsError(f"--size: {len(size)} numbers; expected width and height in inches, e.g. 8,6")
    if size is not None and not all(0 < side < LARGEST for side in size):
        raise SettingsError(f"--size: {size[0]:g} by {size[1]:g} inches; expected above 0 and below {LARGEST}")
    dots = values.get("dpi")
    if dots is not None and not 1 <= dots <= MOST_DOTS:  # NaN passes a range of click's
        raise SettingsError(f"--dpi: {dots:g}; expected 1 to {MOST_DOTS} dots an inch")
    return options.given(values)


@plot.command()
@run_argument
@save
@figsize
@dpi
@answers
def ndc(run: str, one: Path | None, cache_dir: Path | None, save: Path, answer: Answer, **how: Any) -> None:
    """Draw the neuron-dropping curves of RUN, or a run across sessions by date.

    RUN is a run store, or the beginning of the name of one in the cache folder.

    Example: mesodask plot ndc SP072 --one ~/one --save ndc.png
    """
    from mesodask.figures import plot_ndc
    from mesodask.figures.cross_session import plot_across
    from mesodask.io.crossstore import CrossSessionStore, open_run

    store = open_run(find_run(run, one, cache_dir))
    if isinstance(store, CrossSessionStore):
        plot_across(store, save=save, **_given(**how))
    else:
        plot_ndc(store, save=save, **_given(**how))
    answer.tell("figure", save)


@plot.command("k-star")
@run_argument
@save
@figsize
@dpi
@answers
def k_star(run: str, one: Path | None, cache_dir: Path | None, save: Path, answer: Answer, **how: Any) -> None:
    """Draw over days how many neurons of RUN are enough.

    RUN is a run store, or the beginning of the name of one in the cache folder.

    Example: mesodask plot k-star SP072 --one ~/one --save k_star.png
    """
    from mesodask.figures import plot_k_star

    plot_k_star(find_run(run, one, cache_dir), save=save, **_given(**how))
    answer.tell("figure", save)


@plot.command()
@session_argument
@options.where
@save
@options.neurons
@click.option("--start", type=float, help="First second, on the session's clock; a third of the recording on.")
@click.option("--stop", type=float, help="Last second; a minute after the first.")
@click.option("--whole", is_flag=True, help="The whole session.")
@click.option(
    "--bg", type=click.Choice(["regions", "firing_rate", "none"]), default="regions", show_default=True,
    help="What the colour behind the activity tells.",
)  # fmt: skip
@click.option("--events", callback=options.comma_list(str), help="Mark these: stimulus,movement,feedback.")
@click.option("--unsorted", is_flag=True, help="ROIs as the store has them; else in Rastermap order.")
@colors
@figsize
@dpi
@answers
def raster(
    session: str,
    one: Path | None,
    cache_dir: Path | None,
    save: Path,
    neurons: tuple[str, ...] | None,
    start: float | None,
    stop: float | None,
    whole: bool,
    bg: Any,
    events: tuple[str, ...] | None,
    unsorted: bool,
    answer: Answer,
    **how: Any,
) -> None:
    """Draw the activity of a session in Rastermap order, with the wheel above.

    The session is given by its eid or subject/date/number, and embedded if it is not yet, or by the path of its store.

    Example: mesodask plot raster SP072/2025-01-13/001 --one ~/one --events stimulus,feedback --save raster.png
    """
    from mesodask.figures import plot_raster

    opened = _session(session, one, cache_dir, save, sort=not unsorted)
    interval = _interval(opened, start, stop, whole)
    plot_raster(
        opened, rows=neurons, interval=interval, bg=None if bg == "none" else bg, events=events or (),
        sort=not unsorted, save=save, **_given(**how),
    )  # fmt: skip
    answer.tell("figure", save)


def _interval(session: Any, start: float | None, stop: float | None, whole: bool) -> Any:
    from mesodask import raster

    if whole:
        if start is not None or stop is not None:
            raise SettingsError("--whole does not go with --start or --stop")
        return "session"
    if start is None and stop is None:
        return None
    if start is None:
        start = raster.resolve_interval(session)[0]
    return start, start + raster.DEFAULT_LENGTH if stop is None else stop


@plot.command()
@session_argument
@options.where
@save
@options.neurons
@click.option("--color", type=click.Choice(["region", "order"]), default="region", show_default=True, help="By what.")
@click.option("--view", type=click.Choice(["3d", "top"]), default="3d", show_default=True, help="From where.")
@colors
@figsize
@dpi
@answers
def xyz(
    session: str,
    one: Path | None,
    cache_dir: Path | None,
    save: Path,
    neurons: tuple[str, ...] | None,
    color: Any,
    answer: Answer,
    **how: Any,
) -> None:
    """Draw where the cells of a session lie.

    The session is given by its eid or subject/date/number, and embedded if it is not yet, or by the path of its store.

    Example: mesodask plot xyz SP072/2025-01-13/001 --one ~/one --view top --save cells.pdf
    """
    from mesodask.figures import plot_xyz

    opened = _session(session, one, cache_dir, save, sort=color == "order")
    plot_xyz(opened, rows=neurons, color=color, save=save, **_given(**how))
    answer.tell("figure", save)


def _session(session: str, one: Path | None, cache_dir: Path | None, figure: Path, *, sort: bool) -> Any:
    """Open a session by its eid or the path of its store; what cannot be saved is said before the work."""
    from mesodask import sessions
    from mesodask.figures.saving import checked_file
    from mesodask.io import alf, alf_sessions

    checked_file(figure)
    if session.endswith(".zarr"):
        return sessions.open_session(Path(session))
    connection = alf.connect(one)
    (info,) = alf_sessions.find_sessions(connection, session)
    with Stages():  # of an online ONE files may have to be downloaded
        return sessions.load_or_embed(info.eid, one=connection, cache_dir=cache_dir, rastermap=sort)
