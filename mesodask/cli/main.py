"""The ``mesodask`` command: its group, and what errors look like."""

import logging
import sys
from collections.abc import Sequence

import click

import mesodask
from mesodask.cli import commands
from mesodask.errors import MesodaskError

INTERRUPTED = 130  # what a shell gives for a process that Ctrl-C has ended


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(mesodask.__version__, prog_name="mesodask")
@click.option("--debug", is_flag=True, help="Show tracebacks and all log lines.")
def group(debug: bool) -> None:
    """Decode behaviour from two-photon populations, across days.

    Try it: mesodask demo
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if debug else "%(message)s",
        stream=sys.stderr,
    )


for command in commands.ALL:
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
        Exit status: 0 done, 1 something failed, 2 wrong usage or input.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
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
        notes = getattr(interrupt.__cause__ or interrupt, "__notes__", [])
        click.echo("Interrupted. What was finished is stored; the same command goes on from there.", err=True)
        for note in notes:
            click.echo(note, err=True)
        return INTERRUPTED
    return 0
