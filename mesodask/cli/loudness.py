"""How much is said on stderr: ``--quiet``, ``--verbose`` and ``--debug``, before the name of a command or after it."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator

import click

CHOSEN = "mesodask.loudness"  # in a context's meta, which a group shares with its commands
PLAIN, DETAILED = "%(message)s", "%(levelname)s %(name)s: %(message)s"


def is_quiet() -> bool:
    """Tell whether the command that runs was asked to be quiet; outside the command line nothing is."""
    context = click.get_current_context(silent=True)
    return context is not None and "quiet" in context.meta.get(CHOSEN, ())


def options() -> list[click.Option]:
    """Make the options, for one command."""
    helps = {
        "quiet": "Say nothing on stderr but errors: no progress, no warnings.",
        "verbose": "Say more on stderr: which sessions, and what is waited for.",
        "debug": "Show tracebacks and all log lines.",
    }
    return [
        click.Option([f"--{name}"], is_flag=True, expose_value=False, is_eager=True, callback=_choose, help=words)
        for name, words in helps.items()
    ]


def give_to(command: click.Command) -> None:
    """Let a command, and all commands of a group, take the options after their names, too."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            give_to(each)
    else:
        command.params += options()


def _choose(context: click.Context, option: click.Parameter, value: bool) -> None:
    if not value:
        return
    chosen: set[str] = context.meta.setdefault(CHOSEN, set())
    chosen.add(str(option.name))
    if "quiet" in chosen and len(chosen) > 1:
        raise click.UsageError(f"--quiet does not go with {' or '.join(f'--{name}' for name in chosen - {'quiet'})}")
    _set_levels(chosen)


def _set_levels(chosen: set[str]) -> None:
    root, ours = logging.getLogger(), logging.getLogger("mesodask")
    if "quiet" in chosen:
        root.setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
    if "verbose" in chosen:
        ours.setLevel(logging.INFO)
    if "debug" in chosen:
        root.setLevel(logging.DEBUG)
        for handler in root.handlers:
            if isinstance(handler, _ToStderr):
                handler.setFormatter(logging.Formatter(DETAILED))


class _ToStderr(logging.StreamHandler):
    """The command line's own, among those of others."""


@contextlib.contextmanager
def logging_on_stderr() -> Iterator[None]:
    """Write warnings of all packages to stderr while a command runs; what the options change is undone after it."""
    root, ours = logging.getLogger(), logging.getLogger("mesodask")
    before = root.level, ours.level
    handler = _ToStderr(sys.stderr)
    handler.setFormatter(logging.Formatter(PLAIN))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
