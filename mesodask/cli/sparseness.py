"""``mesodask sparseness``: how sparse populations are, by event window."""

from pathlib import Path
from typing import Any

import click
import xarray as xr
from rich.console import Console
from rich.table import Table

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.progress import Stages

# of the table for the terminal; the store and the figures have all of them
SHOWN = {"inter_trial": "pause", "quiescence": "quiet", "motor_init": "before move", "choiceL": "choice L",
         "choiceR": "choice R", "fback1": "reward", "fback0": "error", "full_session": "whole"}  # fmt: skip


@click.command()
@options.which
@options.where
@options.all_rois
@options.neurons
@click.option("--unscaled", is_flag=True, help="Take traces as they are, not between their 20th and 99th percentile.")
@click.option(
    "--sampling", type=click.Choice(["hold", "frames"]), default="hold", show_default=True, help="How windows are read."
)
@options.rerun
@options.figure
@click.option(
    "--kind", "shown", type=click.Choice(["windows", "trials", "distributions"]), default="windows", show_default=True,
    help="Which figure.",
)  # fmt: skip
@options.cluster_options
@answers
def sparseness(
    which: options.Which,
    one: Path | None,
    cache_dir: Path | None,
    all_rois: bool,
    neurons: tuple[str, ...] | None,
    unscaled: bool,
    figure: Path | None,
    shown: Any,
    cluster: options.Cluster,
    answer: Answer,
    **how: Any,
) -> None:
    """Compute the population sparseness (Treves-Rolls) of sessions by event window and by trial.

    Example: mesodask sparseness --subject SP072 --one ~/one --figure sparseness.png
    """
    from mesodask.io import alf
    from mesodask.population_sparseness import sparseness as compute

    options.check_figure(figure)
    connection = alf.connect(one)
    chosen = which.eids(connection)
    with Stages() as stages, cluster.workers(stages.say) as client:
        result = compute(
            chosen, one=connection, cache_dir=cache_dir, neurons_only=not all_rois, neurons=neurons,
            scale=not unscaled, progress=stages.report, client=client, **how,
        )  # fmt: skip
    answer.say(lambda: _print(result))
    for path in result.attrs["stores"]:
        answer.say(f"store    {path}")
    answer.put(stores=result.attrs["stores"], rows=_rows(result))
    if figure is not None:
        from mesodask.figures import plot_sparseness

        plot_sparseness(result, kind=shown, save=figure)
        answer.tell("figure", figure)


def _rows(result: xr.Dataset) -> list[dict[str, Any]]:
    """Give the sparseness of every session and window, for JSON."""
    names = {str(name): values.values for name, values in result.coords.items() if values.dims == ("session",)}
    per_session = [dict(zip(names, each, strict=True)) for each in zip(*names.values(), strict=True)]
    windows = [str(window) for window in result["window"].values]
    return [
        {**about, "n_neurons": n_neurons, "sparseness": dict(zip(windows, values, strict=True))}
        for about, n_neurons, values in zip(
            per_session, result["n_neurons"].values, result["sparseness"].transpose("session", "window").values,
            strict=True,
        )
    ]  # fmt: skip


def _print(result: xr.Dataset) -> None:
    from mesodask.cli.tables import number
    from mesodask.tracking import session_labels

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("session", no_wrap=True)
    table.add_column("cells", justify="right", no_wrap=True)
    for label in SHOWN.values():
        table.add_column(label, justify="right")
    for i, day in enumerate(session_labels(result)):
        values = [number(float(result["sparseness"].sel(window=name)[i]), ".3f") for name in SHOWN]
        table.add_row(day, str(int(result["n_neurons"][i])), *values)
    console = Console()
    console.print(f"{result.attrs['subject']}: Treves-Rolls sparseness of the cells' rates, by event window", table,
                  sep="\n", highlight=False)  # fmt: skip
