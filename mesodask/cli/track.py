"""``mesodask track``: the same neurons across sessions, as tables for the terminal or as JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import xarray as xr
from rich.console import Console
from rich.table import Table

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.progress import Stages
from mesodask.errors import SettingsError

N_DISTANCES = 14  # rows of a table that would have one for each number of days
SEARCH_OPTIONS = {
    "sizes": ("best",),
    "method": ("best",),
    "time_limit": ("best",),
    "min_trials": ("best", "pairs"),
    "figure": ("table",),
}
WITH_STORES = ("best", "pairs")  # look at session stores; to the others their folder may be given, as to every command


@click.command()
@options.which
@options.one
@options.roicat_root
@options.all_rois
@options.neurons
@click.option("--table", "mode", flag_value="table", help="What each two sessions share.")
@click.option("--best", "mode", flag_value="best", help="Which sessions share the most, for every number of them.")
@click.option("--pairs", "mode", flag_value="pairs", help="What sessions that follow each other share.")
@click.option("--sizes", callback=options.comma_list(int), help="With --best: numbers of sessions, e.g. 5,6,7.")
@click.option("--method", type=click.Choice(["exact", "greedy"]), help="With --best: exact if not given.")
@click.option("--time-limit", type=click.FloatRange(0), help="With --best: seconds of exact search; 60 if not given.")
@click.option("--min-trials", type=click.IntRange(0), help="With --best, --pairs: fewest trials; 400 if not given.")
@click.option(
    "--cache-dir", type=options.FOLDER, help="Folder of all stores, whose trials are taken with --best, --pairs."
)
@options.figure
@answers
def track(
    which: options.Which,
    one: Path | None,
    roicat_root: Path | None,
    all_rois: bool,
    neurons: tuple[str, ...] | None,
    mode: str | None,
    cache_dir: Path | None,
    figure: Path | None,
    answer: Answer,
    **search: Any,
) -> None:
    """Count the neurons that sessions share, and find the sessions that share many.

    Without --table, --best or --pairs: the neurons that all of the sessions share. --figure draws the --table.

    Example: mesodask track --subject SP072 --one ~/one --roicat-root ~/chronic_csv --best
    """
    from mesodask.io import alf

    mode = mode or ("table" if figure else "all")
    search = {name: value for name, value in search.items() if value is not None}
    _check_options(mode, [*search, *(["figure"] if figure else [])])
    options.check_figure(figure)
    connection = alf.connect(one)
    common = {"one": connection, "roicat_root": roicat_root, "neurons_only": not all_rois, "neurons": neurons}
    if mode in WITH_STORES:
        common["cache_dir"] = cache_dir
    with Stages():  # of an online ONE files may have to be downloaded
        found = _find(mode, which.subject_or_eids(connection), {**common, **search})
    answer.say(lambda: PRINTERS[mode](found))
    answer.document = [_plain(part) for part in found] if isinstance(found, list) else _plain(found)
    if figure is not None:
        from mesodask.figures import plot_tracking

        plot_tracking(found, save=figure)
        answer.tell("figure", figure)


def _check_options(mode: str, given: Sequence[str]) -> None:
    for name in given:
        if mode not in SEARCH_OPTIONS[name]:
            wanted = " or ".join(f"--{wanted}" for wanted in SEARCH_OPTIONS[name])
            raise SettingsError(f"--{name.replace('_', '-')} goes with {wanted}")


def _find(mode: str, sessions: str | list[str], arguments: dict[str, Any]) -> Any:
    from mesodask import session_choice, tracking

    if mode == "best":
        return session_choice.best_session_subsets(sessions, **arguments)
    if mode == "pairs":
        return session_choice.consecutive_pairs(sessions, **arguments)
    if mode == "table":
        return tracking.tracking_table(sessions, **arguments)
    if isinstance(sessions, str):
        sessions = [files.info.eid for files in tracking.find_sessions(sessions, arguments["one"])]
    return tracking.track_neurons(sessions, **arguments)


def _plain(dataset: xr.Dataset) -> dict[str, Any]:
    """Give attributes and variables by name; without the presence of each neuron, which no terminal is for."""
    kept = dataset.drop_dims("neuron") if "presence" in dataset else dataset
    return {**kept.attrs, **{str(name): variable.values.tolist() for name, variable in kept.variables.items()}}


def _print_all(tracked: xr.Dataset) -> None:
    _print_eids(tracked)
    click.echo(f"{tracked.sizes['neuron']} neurons in all {tracked.sizes['session']} sessions")


def _print_eids(sessions: xr.Dataset) -> None:
    from mesodask.tracking import session_labels

    for label, eid in zip(session_labels(sessions), sessions["session"].values, strict=True):
        click.echo(f"{label}  {eid}")


def _columns(*names: str) -> Table:
    """Start a table whose columns are numbers, but for the first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for i, name in enumerate(names):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    return table


def _print_table(table: xr.Dataset) -> None:
    from mesodask.tracking import session_labels

    shared, n_neurons = table["shared"].values, table["n_neurons"].values
    rows = _columns("session", "neurons", "shared with the one before", "of the smaller", "days since")
    for i, label in enumerate(session_labels(table)):
        smaller = min(n_neurons[i], n_neurons[i - 1])
        part = f"{shared[i, i - 1] / smaller:.0%}" if smaller else "-"
        before = [str(shared[i, i - 1]), part, str(int(table["gap_days"][i, i - 1]))] if i else []
        rows.add_row(label, str(n_neurons[i]), *before)
    distances = _columns("days apart", "pairs", "mean shared", "fewest", "most")
    by_gap = zip(*(table[name].values for name in ("gap", "gap_pairs", "gap_mean", "gap_min", "gap_max")), strict=True)
    for gap, pairs, mean, fewest, most in list(by_gap)[:N_DISTANCES]:
        distances.add_row(str(gap), str(pairs), f"{mean:.0f}", str(fewest), str(most))
    console = Console()
    title = (
        f"{table.attrs['subject']}: {table.sizes['session']} sessions, {table.sizes['neuron']} tracked neurons in all"
    )
    console.print(title, rows, "", distances, sep="\n", highlight=False)
    if table.sizes["gap"] > N_DISTANCES:
        click.echo(f"and {table.sizes['gap'] - N_DISTANCES} more distances, which --figure and --json show")


def _print_best(best: xr.Dataset) -> None:
    from mesodask.tracking import session_labels

    labels = session_labels(best)
    table = _columns("size", "neurons", "gap")
    table.add_column("sessions")
    for size in range(best.sizes["size"]):
        one = best.isel(size=size)
        chosen = [label for label, member in zip(labels, one["member"].values, strict=True) if member]
        table.add_row(str(int(one["size"])), str(int(one["n_shared"])), str(int(one["gap"])), " ".join(chosen))
    usable = int((best["reason"] == "").sum())
    console = Console()
    title = f"{best.attrs['subject']}: the sessions that share the most neurons, of {usable} to choose from"
    console.print(title, table, sep="\n", highlight=False)
    if (best["gap"] > 0).any():
        more = "a longer --time-limit" if best.attrs["method"] == "exact" else "--method exact"
        click.echo(f"gap: other sessions could share up to so many more; {more} narrows it.")
    else:
        click.echo("gap 0: no other sessions share more.")
    click.echo()
    _print_eids(best.isel(session=best["member"].any("size").values))


def _print_pairs(pairs: list[xr.Dataset]) -> None:
    from mesodask.tracking import session_labels

    if not pairs:
        click.echo("no pair of consecutive sessions shares a neuron")
        return
    table = _columns("session", "the next", "neurons")
    for pair in pairs:
        table.add_row(*session_labels(pair), str(pair.sizes["neuron"]))
    console = Console()
    console.print(
        f"{pairs[0].attrs['subject']}: neurons that consecutive sessions share", table, sep="\n", highlight=False
    )
    click.echo()
    _print_eids(_sessions_of(pairs))


def _sessions_of(pairs: list[xr.Dataset]) -> xr.Dataset:
    """Give the sessions of all pairs once each, in date order."""
    both = xr.concat([pair[["date", "number"]] for pair in pairs], "session", coords="different", compat="equals")
    return both.drop_duplicates("session").sortby(["date", "number"])


PRINTERS: dict[str, Callable[[Any], None]] = {
    "all": _print_all,
    "table": _print_table,
    "best": _print_best,
    "pairs": _print_pairs,
}
