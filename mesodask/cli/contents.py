"""``mesodask list`` and ``mesodask rm``: what the cache folder holds, and the removal of it."""

import contextlib
from pathlib import Path

import click

from mesodask.cli import loudness, options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.status import cache_folder_of, find_run, list_runs
from mesodask.errors import SettingsError
from mesodask.io import cache, cache_contents
from mesodask.io.session_names import SessionName

SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


@click.group(name="list")
def list_contents() -> None:
    """List what the cache folder holds: subjects, sessions, runs, and other results.

    Example: mesodask list subjects --one ~/one
    """


of_subject = click.option("--subject", help="Only those of this subject.")


@list_contents.command(name="subjects")
@options.where
@answers
def list_subjects(one: Path | None, cache_dir: Path | None, answer: Answer) -> None:
    """List the subjects: stored sessions, the first and last day of them, their size on disk, and runs.

    Example: mesodask list subjects --one ~/one
    """
    from mesodask import status

    folder = cache_folder_of(one, cache_dir)
    found = status.list_subjects(folder)
    answer.document = found
    for each in found:
        days = f"{each.first} to {each.last}" if each.n_sessions else "-"
        numbers = f"sessions {each.n_sessions:>3}  {days:<24}  {in_bytes(each.n_bytes):>8}  runs {each.n_runs:>3}"
        answer.say(f"{each.subject:<12}  {numbers}")
    if not found:
        answer.say(f"no subjects in {folder}")


@list_contents.command(name="sessions")
@options.where
@of_subject
@answers
def list_sessions(one: Path | None, cache_dir: Path | None, subject: str | None, answer: Answer) -> None:
    """List the session stores: eid, subject/date/number, and size on disk.

    Example: mesodask list sessions --one ~/one --subject SP072
    """
    folder = cache_folder_of(one, cache_dir)
    _tell_sessions(cache_contents.list_sessions(folder, subject), cache.session_folder(folder), "sessions", answer)


@list_contents.command(name="sparseness")
@options.where
@of_subject
@answers
def list_sparseness(one: Path | None, cache_dir: Path | None, subject: str | None, answer: Answer) -> None:
    """List the stores of sparseness: eid, subject/date/number, size on disk, and the hash of the settings.

    Example: mesodask list sparseness --one ~/one --subject SP072
    """
    folder = cache_folder_of(one, cache_dir)
    _tell_sessions(
        cache_contents.list_sparseness(folder, subject), cache.sparseness_folder(folder), "sparseness", answer
    )


def _tell_sessions(found: list[cache_contents.SessionEntry], folder: Path, what: str, answer: Answer) -> None:
    answer.document = [entry.plain() for entry in found]
    for entry in found:
        where = f"{entry.subject}/{entry.date}/{entry.number:03d}"
        kind = entry.path.stem.removeprefix(entry.eid).strip("_")
        words = entry.problem or f"{entry.eid}  {where}  {in_bytes(entry.n_bytes):>8}  {kind}"
        answer.say(words.rstrip())
    if not found:
        answer.say(f"no {what} in {folder}")


@list_contents.command(name="runs")
@options.where
@answers
def list_all_runs(one: Path | None, cache_dir: Path | None, answer: Answer) -> None:
    """List the runs, how far each is (as mesodask status does), and whether a report or figure is beside it.

    Example: mesodask list runs --one ~/one
    """
    list_runs(cache_folder_of(one, cache_dir), answer)


@list_contents.command(name="imports")
@options.where
@answers
def list_imports(one: Path | None, cache_dir: Path | None, answer: Answer) -> None:
    """List the imported curves and cross-session analyses; imported sessions are among the sessions.

    Example: mesodask list imports --one ~/one
    """
    folder = cache_folder_of(one, cache_dir)
    found = cache_contents.list_imports(folder)
    answer.document = [entry.plain() for entry in found]
    for entry in found:
        about = f"{entry.about['kind']}  {entry.about['subject']}  from {', '.join(entry.about['sources'])}"
        answer.say(entry.problem or f"{entry.path.stem}  {in_bytes(entry.n_bytes):>8}  {about}")
    if not found:
        answer.say(f"no imported results in {cache.imported_folder(folder)}")


@list_contents.command(name="analyses")
@options.where
@answers
def list_analyses(one: Path | None, cache_dir: Path | None, answer: Answer) -> None:
    """List the records of analyses, which mesodask run takes, and the folders of their figures.

    Example: mesodask list analyses --one ~/one
    """
    folder = cache_folder_of(one, cache_dir)
    found = cache_contents.list_analyses(folder)
    answer.document = [entry.plain() for entry in found]
    for entry in found:
        answer.say("  ".join([entry.path.name, *(f"figures in {place.name}" for place in entry.files)]))
    if not found:
        answer.say(f"no analyses in {cache.decoding_folder(folder)}")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@options.where
@click.option("--yes", is_flag=True, help="Do not ask.")
@answers
def rm(names: tuple[str, ...], one: Path | None, cache_dir: Path | None, yes: bool, answer: Answer) -> None:
    """Remove session stores, runs and other results from the cache folder, after a question.

    NAME is a session, by its eid or subject/date/number, which means its stores and no results; a run: its name, the
    beginning of it, or its path; or the whole name or path of any other thing that mesodask list shows. With a run go
    its failures, report and figures beside it; with the record of an analysis the folder of its figures. Recordings are
    never touched, nothing outside the cache folder is, and links are not followed.

    Example: mesodask rm SP072_2025-01-13_2025-01-16_4_0123abcd --one ~/one
    """
    folder = cache_folder_of(one, cache_dir)
    doomed = list(dict.fromkeys(path for name in names for path in _meant(name, folder)))
    listed = [each for path in doomed for each in (path, *cache_contents.companions(path))]
    answer.put(removed=[])
    for path in listed if not (yes and loudness.is_quiet()) else ():  # what a question is about is never left out
        click.echo(f"{in_bytes(cache_contents.size_on_disk(path)):>8}  {path}", err=True)
    if not yes and not click.confirm(f"Remove {f'these {len(listed)}' if len(listed) > 1 else 'it'}?", err=True):
        click.echo("Nothing was removed.", err=True)
        return
    for path in doomed:
        for removed in cache_contents.remove(folder, path):
            answer.say(f"removed  {removed}")
            answer.document["removed"].append(removed)


def _meant(name: str, folder: Path) -> list[Path]:
    """Find the stores that a name means: all of a session's, or one of another kind.

    Raises
    ------
    SettingsError
        There is none, or more than one run.
    """
    if not name:
        raise SettingsError("NAME is empty; give an eid, or the name of a run")
    return cache_contents.named(folder, name) or _of_session(name, folder) or [find_run(name, None, folder)]


def _of_session(name: str, folder: Path) -> list[Path]:
    """Find the stores of a session that is named subject/date/number; none if this is no such name."""
    with contextlib.suppress(SettingsError):
        wanted = SessionName.parse(name)
        if wanted is not None:
            who = (wanted.subject, wanted.date.isoformat(), wanted.number)
            found = cache_contents.list_sessions(folder, wanted.subject)
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
