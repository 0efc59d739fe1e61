"""The ``mesodask`` command: its group, and what errors look like."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import click

import mesodask
from mesodask.cli import commands, loudness, options
from mesodask.errors import MesodaskError, SettingsError

BY_SIGNAL = 128  # a shell adds the signal's number to this for a process that a signal has ended
# a batch system's end of a job, kill, and a terminal that is closed
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class EndedError(KeyboardInterrupt):
    """The process is asked to end: like Ctrl-C, what runs is saved and closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Commands(click.Group):
    """The commands; what is wrong with a setting is told by the name of its option."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(context)
        except SettingsError as error:
            command = self.commands.get(context.invoked_subcommand or "")
            raise error if command is None else options.by_option(error, command) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(mesodask.__version__, prog_name="mesodask")
def group() -> None:
    """Decode behaviour from two-photon populations, across days.

    Results go to stdout, progress and warnings to stderr. The exit status is 0 if all is done, 1 if something failed,
    and 2 if the usage or the input is wrong.

    \b
    Try it: mesodask demo
    Let a shell complete names with the Tab key: eval "$(_MESODASK_COMPLETE=bash_source mesodask)"
    (zsh_source in zsh; in fish: _MESODASK_COMPLETE=fish_source mesodask | source)
    """  # noqa: D301


group.params += loudness.options()
for command in commands.ALL:
    loudness.give_to(command)
    group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those the process was started with.

    Returns
    -------
    int
        Exit status: 0 done, 1 something failed, 2 wrong usage or input, 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check_text(arguments)
        with loudness.logging_on_stderr(), _ending_in_good_order():
            group.main(arguments, prog_name="mesodask", standalone_mode=False)
    except MesodaskError as error:
        if "--debug" in arguments:
            raise
        click.echo(f"Error: {error}", err=True)
        return error.exit_status
    except OSError as error:
        if "--debug" in arguments:
            raise
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as interrupt:
        # click raises its own of the one that knows more
        cause = interrupt.__cause__ or interrupt
        number = cause.number if isinstance(cause, EndedError) else signal.SIGINT
        with contextlib.suppress(OSError):  # the terminal may be gone
            what = "Interrupted" if number == signal.SIGINT else f"Ended by {signal.Signals(number).name}"
            click.echo(f"{what}. What was finished is stored; the same command goes on from there.", err=True)
            for note in getattr(cause, "__notes__", []):
                click.echo(note, err=True)
        return BY_SIGNAL + number
    return 0


def _check_text(arguments: Sequence[str]) -> None:
    """Raise :class:`click.UsageError` for what is no text: such names could be neither stored nor printed."""
    for argument in arguments:
        if "\0" in argument or any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise click.UsageError(f"the argument {argument!a} is no text; expected UTF-8 without NUL characters")


@contextlib.contextmanager
def _ending_in_good_order() -> Iterator[None]:
    """Let the signals that end a process do what Ctrl-C does, once; those that are ignored, as under nohup, stay so."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be set
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise EndedError(number)

    heard = {number: handler for number in ENDING if (handler := signal.getsignal(number)) == signal.SIG_DFL}
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
