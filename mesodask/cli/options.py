"""Options that several commands share, so that they are named and explained the same everywhere.

A SESSION is named by its eid, or by subject/date/number.
"""

import contextlib
import datetime
import functools
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mesodask.checked import Fault
from mesodask.errors import SettingsError
from mesodask.io import alf_sessions
from mesodask.io.fov import SIGNAL_FILES
from mesodask.io.session_names import SubjectDays

if TYPE_CHECKING:
    from distributed import Client

    from mesodask.compute.runner import GiveClient

logger = logging.getLogger(__name__)

FOLDER = click.Path(file_okay=False, path_type=Path)

one = click.option("--one", type=FOLDER, help="Folder with ONE tables; your default ONE if not given.")
cache_dir = click.option("--cache-dir", type=FOLDER, help="Folder of all stores; <ONE folder>/meso if not given.")
roicat_root = click.option("--roicat-root", type=FOLDER, help="Folder that holds the ROICaT tree; ~/chronic_csv.")
rerun = click.option("--rerun", is_flag=True, help="Compute again what is stored already.")
all_rois = click.option("--all-rois", is_flag=True, help="Take ROIs that are not flagged as cells, too.")

figure = click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw a figure into this file.")


def many(*options: Callable) -> Callable:
    """Put several options on a command at once."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


where = many(one, cache_dir)


# which sessions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Which:
    """Which sessions a command is to take, as its arguments say.

    Attributes
    ----------
    names : tuple of str
        Each an eid, or subject/date/number.
    subject : str, optional
        In place of names.
    first, last : datetime.date, optional
        Limits of a subject's days, both included.
    """

    names: tuple[str, ...] = ()
    subject: str | None = None
    first: datetime.date | None = None
    last: datetime.date | None = None

    def __post_init__(self) -> None:
        """Raise :class:`SettingsError` unless sessions are named in one of the two ways."""
        if bool(self.names) == bool(self.subject):
            raise SettingsError(
                "name the sessions either by their eids or by --subject; a session may be named subject/date/number, "
                "too"
            )
        if self.names and (self.first or self.last):
            raise SettingsError("--from and --to go with --subject; leave them out, or name the subject alone")

    def eids(self, connection: Any) -> list[str]:
        """Give the eids that are meant: in the order of their names, or of a subject's days.

        Raises
        ------
        SettingsError, SessionNotFoundError
            As :func:`mesodask.io.alf_sessions.find_sessions`.
        """
        found = alf_sessions.find_sessions(
            connection, self.names, subject=self.subject, first=self.first, last=self.last
        )
        logger.info("%d sessions: %s", len(found), ", ".join(info.relative for info in found))
        return [info.eid for info in found]

    def subject_or_eids(self, connection: Any) -> str | list[str]:
        """Give the subject and its days to a function that itself chooses from a subject's sessions, else the eids."""
        if self.subject:
            return SubjectDays(self.subject, self.first, self.last)
        return self.eids(connection)


def _read_day(context: click.Context, option: click.Parameter, value: Any) -> datetime.date | None:
    del context, option
    return None if value is None else value.date()


def _day(name: str, parameter: str, words: str) -> Callable:
    kind = click.DateTime(formats=["%Y-%m-%d"])
    return click.option(name, parameter, type=kind, callback=_read_day, metavar="DATE", help=words)


def which(command: Callable) -> Callable:
    """Give a command the ways in which sessions are named; it takes them together, as ``which``."""

    @functools.wraps(command)
    def with_which(eids: tuple[str, ...], subject: str | None, **values: Any) -> Any:
        days = {side: values.pop(side) for side in ("first", "last")}
        return command(which=Which(eids, subject, **days), **values)

    return many(
        click.argument("eids", nargs=-1, metavar="[SESSION]..."),
        click.option(
            "--subject",
            help="All sessions of this subject, in place of SESSIONs, which are eids or subject/date/number.",
        ),
        _day("--from", "first", "Of the subject's sessions those from this day on, e.g. 2025-01-13."),
        _day("--to", "last", "Of the subject's sessions those until this day, which is included."),
    )(with_which)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was not typed, so that the functions' own defaults hold."""
    return {name: value for name, value in values.items() if value is not None}


def by_option(error: SettingsError, command: click.Command) -> SettingsError:
    """Tell what is wrong with settings by the options that were typed: ``--resamples``, and not ``R``."""
    if not error.faults:
        return error
    typed = {parameter.name: parameter.opts[-1] for parameter in command.params}
    typed["adaptive"] = typed.get("n_workers", "adaptive")  # --workers 0-40
    faults = [((typed.get(str(key[0]), key[0]), *key[1:]) if key else key, message) for key, message in error.faults]
    return SettingsError("\n".join(str(Fault(*fault)) for fault in faults))


def check_figure(figure: Path | None) -> None:
    """Raise :class:`SettingsError` if a figure that is asked for cannot be saved: before hours of work, not after."""
    if figure is not None:
        from mesodask.figures.saving import checked_file

        checked_file(figure)


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


# where a command computes ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """Which workers a command is to use, as its options say.

    Attributes
    ----------
    kind : str, optional
        As in :func:`mesodask.start_cluster`; local if only other options are given.
    n_workers : int, optional
        How many workers.
    adaptive : tuple of int, optional
        Fewest and most workers.
    memory, walltime, queue, account : str, optional
    job_extra : tuple of str
    """

    kind: str | None = None
    n_workers: int | None = None
    adaptive: tuple[int, int] | None = None
    memory: str | None = None
    walltime: str | None = None
    queue: str | None = None
    account: str | None = None
    job_extra: tuple[str, ...] = ()

    @property
    def is_given(self) -> bool:
        """Whether any of the options was."""
        return self != Cluster()

    def start(self) -> "Client":
        """Start the workers, local ones if no option was given; closing the client stops them."""
        from mesodask.compute.cluster import start_cluster

        wanted = asdict(self)
        return start_cluster(wanted.pop("kind") or "local", **wanted)

    @contextlib.contextmanager
    def workers(self, say: Callable[[str], None]) -> Iterator["GiveClient"]:
        """Give what starts the workers when it is first asked, says how to watch them, and stops them at the end."""
        with contextlib.ExitStack() as stack:

            @functools.cache
            def started() -> "Client":
                from mesodask.compute.cluster import how_to_watch

                client: Client = stack.enter_context(self.start())
                for line in how_to_watch(client):
                    say(line)
                return client

            yield started


def _read_workers(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """Read ``8``, or ``0-40`` for as many between as there is work for."""
    if value is None:
        return None
    try:
        numbers = [int(part) for part in value.split("-")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or numbers[-1] < 1 or numbers != sorted(numbers):
        raise click.BadParameter(f"{value!r}: expected a number such as 8, or a range such as 0-40", context, option)
    return tuple(numbers)


_CLUSTER_FLAGS = {
    "kind": click.option(
        "--cluster", "kind", metavar="KIND",
        help="Where to compute: local, slurm, a block of jobqueue in Dask's configuration, tcp:// or tls://HOST:PORT, "
        "or a scheduler file (.json).",
    ),
    "n_workers": click.option(
        "--workers", "n_workers", metavar="N|MIN-MAX", callback=_read_workers,
        help="Workers of one thread each; MIN-MAX lets SLURM have as many as there is work for.",
    ),
    "memory": click.option("--memory", help="Of a worker, e.g. 8GiB; on SLURM of a job."),
    "walltime": click.option("--walltime", help="Of a SLURM job, e.g. 04:00:00; workers are replaced when it ends."),
    "queue": click.option("--queue", help="SLURM partition."),
    "account": click.option("--account", help="SLURM account."),
    "job_extra": click.option(
        "--job-extra", multiple=True, metavar="DIRECTIVE",
        help="One more #SBATCH directive, e.g. --job-extra=--qos=long; may be repeated.",
    ),
}  # fmt: skip


def cluster_options(command: Callable) -> Callable:
    """Give a command the options of where it computes; it takes them together, as ``cluster``."""

    @functools.wraps(command)
    def with_cluster(**values: Any) -> Any:
        given = {name: values.pop(name) for name in _CLUSTER_FLAGS}
        if given["n_workers"] is not None and len(given["n_workers"]) == 2:
            given["adaptive"], given["n_workers"] = given["n_workers"], None
        elif given["n_workers"] is not None:
            (given["n_workers"],) = given["n_workers"]
        return command(cluster=Cluster(**given), **values)

    return many(*_CLUSTER_FLAGS.values())(with_cluster)
