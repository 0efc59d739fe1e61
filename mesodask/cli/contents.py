"""``mesodask list`` and ``mesodask rm``: what the cache folder holds, and the removal of it."""

import contextlib
from pathlib import Path

import click

from mesodask.cli import loudness, options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.status import cache_folder_of, find_run, list_runs
from mesodask.errors import SettingsError
from mesodask.io import cache, contents
from mesodask.io.session_names import SessionName

SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


@click.group(name="list")
def list_contents() -> None:
    """List what the cache folder holds: sessions or runs.

    Example: mesodask list runs --one ~/one
    """


@list_contents.command(name="sessions")
@options.where
@click.option("--subject", help="Only sessions of this subject.")
@answers
def list_sessions(one: Path | None, cache_dir: Path | None, subject: str | None, answer: Answer) -> None:
    """List the session stores: eid, subject/date/number, and size on disk.

    Example: mesodask list sessions --one ~/one --subject SP072
    """
    folder = cache_folder_of(one, cache_dir)
    found = contents.list_sessions(folder, subject)
    answer.document = [entry.plain() for entry in found]
    for entry in found:
        where = f"{entry.subject}/{entry.date}/{entry.number:03d}"
        kind = entry.path.stem.removeprefix(entry.eid).strip("_")
        words = entry.problem or f"{entry.eid}  {where}  {in_bytes(entry.n_bytes):>8}  {kind}"
        answer.say(words.rstrip())
    if not found:
        answer.say(f"no sessions in {cache.session_folder(folder)}")


@list_contents.command(name="runs")
@options.where
@answers
def list_all_runs(one: Path | None, cache_dir: Path | None, answer: Answer) -> None:
    """List the runs, and how far each is (as mesodask status does).

    Example: mesodask list runs --one ~/one
    """
    list_runs(cache_folder_of(one, cache_dir), answer)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.where
@click.option("--yes", is_flag=True, help="Do not ask.")
@answers
def rm(names: tuple[str, ...], one: Path | None, cache_dir: Path | None, yes: bool, answer: Answer) -> None:
    """Remove session stores and runs from the cache folder, after a question.

    NAME is a session, by its eid or subject/date/number, or a run: its name, the beginning of it, or its path.
    Recordings are never touched, nothing outside the cache folder is, and links are not followed.

    Example: mesodask rm SP072_2025-01-13_2025-01-16_4_0123abcd --one ~/one
    """
    folder = cache_folder_of(one, cache_dir)
    doomed = list(dict.fromkeys(path for name in names for path in _meant(name, folder)))
    answer.put(removed=[])
    for path in doomed if not (yes and loudness.is_quiet()) else ():  # what a question is about is never left out
        click.echo(f"{in_bytes(contents.size_on_disk(path)):>8}  {path}", err=True)
    if not yes and not click.confirm(f"Remove {len(doomed)} store{'s' * (len(doomed) != 1)}?", err=True):
        click.echo("Nothing was removed.", err=True)
        return
    for path in doomed:
        contents.remove_store(folder, path)
        answer.say(f"removed  {path}")
        answer.document["removed"].append(path)


def _meant(name: str, folder: Path) -> list[Path]:
    """Find the stores that a name means: all of a session's, or a run's one.

    Raises
    ------
    SettingsError
        There is none, or more than one run.
    """
    if not name:
        raise SettingsError("NAME is empty; give an eid, or the name of a run")
    stored = sorted(cache.session_folder(folder).glob("*.zarr"))
    # compared, and not searched for: what a name has of * ? [ is no pattern
    exact = [path for path in stored if name in (path.stem, path.stem.partition("_")[0])]
    return exact or _of_session(name, folder) or [find_run(name, None, folder)]


def _of_session(name: str, folder: Path) -> list[Path]:
    """Find the stores of a session that is named subject/date/number; none if this is no such name."""
    with contextlib.suppress(SettingsError):
        wanted = SessionName.parse(name)
        if wanted is not None:
            who = (wanted.subject, wanted.date.isoformat(), wanted.number)
            found = contents.list_sessions(folder, wanted.subject)
            return [one.path for one in found if (one.subject, str(one.date), one.number) == who]
    return []


def in_bytes(size: float) -> str:
    """Give a size in the largest unit in which it is 1 or more.

    Examples
    --------
    >>> in_bytes(999), in_bytes(1_234_567)
    ('999 B', '1.2 MB')
    """
    for unit in SIZE_UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {SIZE_UNITS[-1]}"
