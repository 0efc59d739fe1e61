"""The commands that look at runs: how far they are, and what has come out."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers, rows_of
from mesodask.cli.progress import clock
from mesodask.errors import MesodaskError, SettingsError
from mesodask.io import cache
from mesodask.io.cache_contents import companions
from mesodask.io.folders import expanded
from mesodask.percent import whole_percent

if TYPE_CHECKING:
    from mesodask.status import RunStatus, TargetStatus

MOST_SKIPPED = 10  # lines, on a terminal; --json has all
BESIDE = {".html": "report", ".png": "figure"}  # of a run
CSV = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("run", required=False)
@options.where
@click.option("--quick", is_flag=True, help="Trust that stored chunks of null scores are full; for very large runs.")
@answers
def status(run: str | None, one: Path | None, cache_dir: Path | None, quick: bool, answer: Answer) -> None:
    """Show what of RUN is done, failed, skipped and left, and how fast it goes.

    RUN is a run store, or the beginning of the name of one in the cache folder. Without it, all runs of the cache
    folder are listed, as with --quick. Only stores are read: it works while a run is computed, and from any machine
    that sees them. Scores are the data's and the null's, one for each label vector.

    Example: mesodask status SP072 --one ~/one
    """
    from mesodask.status import run_status

    if run is None:
        list_runs(cache_folder_of(one, cache_dir), answer)
        return
    found = run_status(find_run(run, one, cache_dir), quick=quick)
    answer.say(in_words(found))
    answer.put(**found.plain())


@click.command()
@click.argument("run")
@options.where
@click.option("--csv", type=CSV, help="Write the curves into this file, a row a target, session and number of neurons.")
@click.option("--k-star-csv", type=CSV, help="Write k*, ceiling and p-values, a row a target and session.")
@click.option("--delta", type=float, help="k* is the smallest k this close to the ceiling; as in the run if not given.")
@answers
def summary(
    run: str,
    one: Path | None,
    cache_dir: Path | None,
    csv: Path | None,
    k_star_csv: Path | None,
    delta: float | None,
    answer: Answer,
) -> None:
    """Print the summary of RUN, and write it as CSV.

    RUN is a run store, or the beginning of the name of one in the cache folder. It may be under way. In the files,
    empty fields are what is not computed. A run across sessions has one table, which --csv writes.

    Example: mesodask summary SP072 --one ~/one --csv curves.csv --k-star-csv k_star.csv
    """
    from mesodask.cli.cross_session import summarize_cross_session
    from mesodask.cli.tables import print_summary, summary_rows
    from mesodask.io.crossstore import CrossSessionStore, open_run
    from mesodask.summary import summarize
    from mesodask.summary_tables import summary_table, write_csv

    store = open_run(find_run(run, one, cache_dir))
    if isinstance(store, CrossSessionStore):
        if k_star_csv is not None or delta is not None:
            raise SettingsError(f"{store.path}: a cross-session run has no k*; leave --k-star-csv and --delta out")
        summarize_cross_session(store, csv, answer)
        return
    found = summarize(store, delta=delta)
    answer.say(lambda: print_summary(found))
    answer.put(run=store.path, rows=summary_rows(found), curves=rows_of(summary_table(found)))
    if csv is not None:
        answer.tell("curves", write_csv(found, csv), "csv")
    if k_star_csv is not None:
        answer.tell("k*", write_csv(found, k_star_csv, table="k_star"), "k_star_csv")


def find_run(name: str, one: Path | None, cache_dir: Path | None) -> Path:
    """Find the run that is meant by a path, or by the beginning of its name in the cache folder.

    Raises
    ------
    SettingsError
        There is none, or more than one.
    """
    from mesodask.io.crossstore import open_run
    from mesodask.status import find_runs

    path = expanded(name)
    if open_run(path).exists() or (len(path.parts) > 1 and one is None and cache_dir is None):
        return path  # where no run is, the error says so; a path is not looked for in the cache folder
    folder = cache_folder_of(one, cache_dir)
    runs = find_runs(folder)
    exact = [run for run in runs if name in (run.name, run.stem)]
    matching = exact or [run for run in runs if run.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    listing = "\n".join(f"  {run.stem}" for run in matching or runs) or "  none"
    problem = f"{len(matching)} runs begin like that" if matching else "no such file, and no run begins like that"
    raise SettingsError(f"{name}: {problem} in {cache.decoding_folder(folder)}; there are\n{listing}")


def cache_folder_of(one: Path | None, cache_dir: Path | None) -> Path:
    """Give the cache folder; a ONE is asked for it only where neither folder is named."""
    if cache_dir is not None or one is not None:
        return cache.cache_folder(cache_dir if cache_dir is not None else expanded(str(one)) / "meso")
    from mesodask.io import alf

    return cache.cache_folder(None, alf.connect(None))


def list_runs(folder: Path, answer: Answer) -> None:
    """Tell a line a run of a cache folder, and how far it is."""
    from mesodask.status import find_runs, run_status

    runs = find_runs(folder)
    found: list[RunStatus | str] = []
    for run in runs:
        try:
            found.append(run_status(run, quick=True))
        except MesodaskError as error:  # one damaged run must not hide the others
            found.append(str(error))
    beside = [companions(run) for run in runs]
    answer.document = [
        (part.plain() if not isinstance(part, str) else {"path": run, "state": "damaged", "problem": part})
        | {"files": files}
        for run, part, files in zip(runs, found, beside, strict=True)
    ]
    width = max((len(run.stem) for run in runs), default=0)
    for run, part, files in zip(runs, found, beside, strict=True):
        shown = "".join(f"  {BESIDE[file.suffix]}" for file in files if file.suffix in BESIDE)
        answer.say(f"{run.stem:<{width}}  {part if isinstance(part, str) else _one_line(part)}{shown}")
    if not runs:
        answer.say(f"no runs in {cache.decoding_folder(folder)}")


def _one_line(run: "RunStatus") -> str:
    parts = [f"{run.state:<9}", _share(run.done, run.total)]
    if run.failed:
        parts.append(f"{run.failed} failed")
    if run.driver:
        parts.append(f"time left {clock(run.seconds_left)}")
    if run.kind == "cross_session":
        parts.append("cross-session")
    return "  ".join(parts)


def in_words(run: "RunStatus") -> str:
    """Tell the status of a run in lines for a terminal."""
    lines = [f"{run.path.stem}: {run.state}", f"driver   {run.driver or 'none is at work'}"]
    if not math.isnan(run.last_write):
        written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.last_write))
        lines.append(f"last     score stored at {written}")
    lines += ["", _row("target", "sessions", "scores done", "", "failed", "left", "a minute", "time left")]
    for one in run.targets:
        lines.append(_target_row(one.target, one, f"{one.n_sessions_done}/{one.n_sessions - len(one.skipped)}"))
    if len(run.targets) > 1:
        lines.append(_target_row("all", run))
    lines += ["", *_remarks(run), f"store    {run.path}"]
    if run.state in ("stopped", "failed"):
        lines.append("Run the same analysis again to go on from there.")
    return "\n".join(lines)


def _row(*cells: str) -> str:
    widths = (8, 8, 20, 4, 6, 10, 8, 9)
    sides = ("<", *">" * 7)
    return " ".join(f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True)).rstrip()


def _target_row(name: str, one: "TargetStatus | RunStatus", sessions: str = "") -> str:
    rate = "-" if math.isnan(one.rate) else f"{one.rate:.0f}"
    done, percent = f"{one.done}/{one.total}", _percent(one.done, one.total)
    return _row(
        name,
        sessions,
        done,
        percent,
        str(one.failed),
        str(one.left),
        rate,
        clock(one.seconds_left) if one.left else "-",
    )


def _share(done: int, total: int) -> str:
    return f"{_percent(done, total):>4} of {total} scores"


def _percent(done: int, total: int) -> str:
    return f"{whole_percent(done, total)}%" if total else "-"


def _remarks(run: "RunStatus") -> list[str]:
    lines = []
    for target in run.targets:
        lines += [f"skipped  {target.target}, {session}: {why}" for session, why in target.skipped.items()]
    rest = len(lines) - MOST_SKIPPED
    if rest > 0:
        lines[MOST_SKIPPED:] = [f"skipped  ... and {rest} more (--json lists all)"]
    lines += [f"problem  {target.target}: {target.problem}" for target in run.targets if target.problem]
    if run.damaged:
        lines.append(f"damaged  {run.damaged} scores cannot be read; the next call computes them again")
    if run.failed_tasks:
        lines.append(
            f"failed   {run.failed_tasks} tasks, the last by {run.last_error}; tracebacks: {run.failures_file}"
        )
    return lines
