"""What ``mesodask submit`` is asked to submit: a YAML file, or a command line, checked before it waits in a queue."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ConfigDict, ValidationError

from mesodask.checked import unknown
from mesodask.cli import options
from mesodask.compute.batch import DriverSettings
from mesodask.errors import SettingsError
from mesodask.io.folders import expanded
from mesodask.io.settings_file import Source, read_settings
from mesodask.settings import CrossSessionSettings, NdcSettings, RunSettings
from mesodask.workflow import read_analysis

SETTINGS_OF: Mapping[str, type[RunSettings]] = {
    "ndc": NdcSettings,
    "pairs": NdcSettings,
    "cross-session": CrossSessionSettings,
}


class Submission(BaseModel):
    """A submission file: one command with its options, and the job that it runs in.

    Attributes
    ----------
    command : str
        Of ``mesodask``, e.g. ``ndc``.
    options : dict
        By the names that the command line has for them, without dashes; ``eids``, or whatever arguments the command
        takes, are among them. Lists may be given as lists.
    driver : DriverSettings
        The job of the driver.
    cluster : dict
        ``kind``, e.g. ``slurm``, and further options of the workers: ``workers``, ``memory``, ``walltime``, ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    options: dict[str, Any] = {}
    driver: DriverSettings = DriverSettings()
    cluster: dict[str, Any] = {}


def read_submission(path: Path, driver: dict[str, Any], group: click.Group) -> tuple[list[str], DriverSettings]:
    """Read a submission file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    driver : dict
        Settings of the driver's job that take the place of the file's.
    group : click.Group
        The commands there are.

    Returns
    -------
    command : list of str
        Arguments of ``mesodask``.
    settings : DriverSettings

    Raises
    ------
    SettingsError
        The file cannot be read, or a key or value is not allowed; each fault has its line.
    """
    content, source = read_settings(path, "command: ndc")
    if driver and isinstance(in_file := content.get("driver") or {}, dict):
        content["driver"] = in_file | driver
    try:
        submission = Submission.model_validate({name: part for name, part in content.items() if part is not None})
    except ValidationError as error:
        raise source.faults(error, Submission, "key") from None
    command = _command_of(submission.command, group, source)
    arguments = [
        *_arguments(submission.options, "options", command, source),
        *_arguments(submission.cluster, "cluster", command, source),
    ]
    # what is no option stands behind them all
    words = [submission.command, *sorted(arguments, key=lambda word: not word.startswith("-"))]
    check_command(words, group)
    return words, submission.driver


def check_driver(driver: dict[str, Any]) -> DriverSettings:
    """Check settings of a driver's job that come from the command line.

    Raises
    ------
    SettingsError
        A value is not allowed.
    """
    try:
        return DriverSettings.model_validate(driver)
    except ValidationError as error:
        raise Source("mesodask submit").faults(error, DriverSettings, "key") from None


def check_command(words: Sequence[str], group: click.Group) -> None:
    """Raise unless a command line would be taken: what is refused in a job is read hours later.

    Raises
    ------
    SettingsError
        There is no such command, or a setting has a value that is not allowed.
    click.UsageError
        There is no such option, or it has a value that is not allowed.
    """
    command = _command_of(words[0], group, Source("mesodask submit"))
    with command.make_context(words[0], list(words[1:])) as context:
        typed = context.params
        if words[0] == "run":
            read_analysis(typed["file"])
        elif words[0] in SETTINGS_OF:
            kind = SETTINGS_OF[words[0]]
            given = {name: value for name, value in typed.items() if name in kind.model_fields}
            try:
                kind(**options.given(given))
            except SettingsError as error:
                raise options.by_option(error, command) from error
        if {"eids", "first", "last"} <= typed.keys():
            options.Which(typed["eids"], typed["subject"], typed["first"], typed["last"])
        options.check_figure(typed.get("figure"))


def _command_of(name: str, group: click.Group, source: Source) -> click.Command:
    known = [other for other, command in group.commands.items() if not command.hidden and other != "submit"]
    if name not in known:
        raise SettingsError(source.fault(("command",), f"{name}: {unknown(name, known, 'key')}"))
    return group.commands[name]


def _arguments(values: Mapping[str, Any], block: str, command: click.Command, source: Source) -> list[str]:
    """Write a table of options as a command line has them."""
    by_name = _parameters(command)
    arguments: list[str] = []
    for key, value in values.items():
        name = "cluster" if (block, key) == ("cluster", "kind") else str(key).replace("_", "-")
        if name not in by_name:
            known = ["kind" if block == "cluster" and other == "cluster" else other for other in by_name]
            raise SettingsError(source.fault((block, key), unknown(str(key), known, "key")))
        try:
            arguments += _written(by_name[name], value)
        except ValueError as error:
            raise SettingsError(source.fault((block, key), str(error))) from None
    return arguments


def _parameters(command: click.Command) -> dict[str, click.Parameter]:
    """Parameters of a command by the names of their long options, or their own."""
    found: dict[str, click.Parameter] = {}
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            found[str(parameter.name)] = parameter
        else:
            found |= {option.lstrip("-"): parameter for option in parameter.opts if option.startswith("--")}
    return found


def _written(parameter: click.Parameter, value: Any) -> list[str]:
    """Write one option.

    Examples
    --------
    >>> _written(click.Option(["--ks"]), [8, 16]), _written(click.Option(["--rerun"], is_flag=True), True)
    (['--ks=8,16'], ['--rerun'])
    """
    if value is None:
        return []
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(one, (dict, list)) for one in values):
        raise ValueError(f"expected a value or a list of values, found {value!r}")
    texts = [_text(parameter, one) for one in values]
    if isinstance(parameter, click.Argument):
        return texts
    option = next(name for name in parameter.opts if name.startswith("--"))
    if isinstance(parameter, click.Option) and parameter.is_flag:
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, found {value!r}")
        return [option] if value else parameter.secondary_opts[:1]
    if parameter.multiple:
        return [f"{option}={text}" for text in texts]
    return [f"{option}={','.join(texts)}"]


def _text(parameter: click.Parameter, value: Any) -> str:
    if isinstance(parameter.type, click.Path):  # a shell would have done so
        return str(expanded(str(value)))
    return str(value)
