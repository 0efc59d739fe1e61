"""``mesodask import``: files of the original scripts -> stores."""

from pathlib import Path
from typing import Any

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.progress import Stages
from mesodask.errors import MesodaskError, TasksFailedError

PATH = click.Path(exists=True, path_type=Path)


@click.command("import")
@click.argument("path", type=PATH)
@options.where
@click.option("--xyz-unit", type=click.Choice(["um", "mm", "m"]), default="um", show_default=True,
              help="Unit of the positions in session caches.")  # fmt: skip
@options.rerun
@options.figure
@answers
def import_originals(
    path: Path, one: Path | None, cache_dir: Path | None, figure: Path | None, answer: Answer, **how: Any
) -> None:
    """Make stores of the files that the original scripts have left.

    PATH is such a file: a session (<eid>.npy, <eid>_filter_True.npy), neuron-dropping curves (<prefix>_<target>.pkl) or
    a cross-session analysis (trainFirst_*.pkl or .json); or a folder, all of whose files of these kinds are imported,
    also those in folders below. Pickles are read without running anything in them; one that asks for more than arrays
    and plain containers is refused. Sessions need a ONE that knows them.

    Example: mesodask import ~/FlatIron/meso --one ~/one
    """
    from mesodask.originals.results import find_originals

    files = find_originals(path) if path.is_dir() else [path]
    options.check_figure(figure)
    outcomes = _import_all(files, one, cache_dir, alone=not path.is_dir(), **how)
    answer.say(_in_words(outcomes, path))
    answer.document = outcomes
    if figure is not None:
        _draw(outcomes, figure)
        answer.say(f"figure   {figure}")
    n_failed = sum(outcome["outcome"] == "failed" for outcome in outcomes)
    if n_failed:
        raise TasksFailedError(f"failed: {n_failed} of {len(outcomes)} files, of which nothing is kept; all others are")


def _import_all(
    files: list[Path], one: Path | None, cache_dir: Path | None, *, alone: bool, **how: Any
) -> list[dict[str, str]]:
    """Import files one after the other, and tell what has become of each; one alone may raise."""
    from mesodask.io import alf
    from mesodask.originals.results import import_original

    # once for all files; results alone need none where the cache folder is named
    connection = alf.connect(one) if one is not None or cache_dir is None else None
    outcomes = []
    with Stages() as stages:
        for done, file in enumerate(files):
            stages.report("import", done, len(files))
            try:
                made = import_original(file, one=connection, cache_dir=cache_dir, **how)
            except MesodaskError as error:
                if alone:
                    raise
                outcomes.append({"file": str(file), "outcome": "failed", "reason": str(error)})
                continue
            outcome = "imported" if made.is_new else "there"
            outcomes.append({"file": str(file), "outcome": outcome, "store": str(made.store)})
        stages.report("import", len(files), len(files))
    return outcomes


def _in_words(outcomes: list[dict[str, str]], path: Path) -> str:
    lines = [
        f"{one['outcome']:<9}{one['file']}: {one['reason'].removeprefix(one['file'] + ': ')}"
        if one["outcome"] == "failed"
        else f"{one['outcome']:<9}{one['file']} -> {one['store']}"
        for one in outcomes
    ]
    return "\n".join(lines) or f"no file of the original scripts in {path}"


def _draw(outcomes: list[dict[str, str]], figure: Path) -> None:
    """Draw all curves that are there as one figure."""
    from mesodask.figures import plot_ndc
    from mesodask.io import stores
    from mesodask.originals.results import KIND_CURVES
    from mesodask.originals.views import imported_summary

    made = dict.fromkeys(Path(one["store"]) for one in outcomes if "store" in one)
    plot_ndc(
        imported_summary(*[store for store in made if stores.attributes(store).get("kind") == KIND_CURVES]), save=figure
    )
