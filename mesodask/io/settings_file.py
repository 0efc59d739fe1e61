"""Settings from a YAML file: plain values, and the line of every key for the messages.

Keys are read as they are written (``null:`` and ``on:`` are names here), times of day too (YAML 1.1 reads ``12:00:00``
as a number to the base of 60), and a key that stands twice is an error. Aliases are not taken: nobody needs them in a
page of settings, and ten lines of them can stand for a billion values.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mesodask.checked import Fault, Key, dotted, faults_of
from mesodask.errors import SettingsError, short

LONGEST = 1 << 20  # bytes; a page of settings has some thousands
DEEPEST = 20  # tables within tables


@dataclass(frozen=True)
class Source:
    """Where settings come from, for messages: a file and the lines of its keys, or the command line.

    Attributes
    ----------
    name : str
        The file.
    lines : mapping of tuple to int
        Line of each key.

    Examples
    --------
    >>> Source("a.yaml", {("ndc",): 3}).fault(("ndc", "R"), "expected a number")
    'a.yaml, line 3: ndc.R: expected a number'
    """

    name: str
    lines: Mapping[Key, int] = field(default_factory=dict)

    def fault(self, key: Key, message: str) -> str:
        """Say what is wrong, and in which line."""
        # what is missing has no line, but its table has one
        line = next((self.lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.lines), None)
        where = f"{self.name}, line {line}" if line else self.name
        return f"{where}: {Fault(key, message)}"

    def faults(self, error: ValidationError, model: type[BaseModel], what: str = "setting") -> SettingsError:
        """Make the error that tells all that is wrong, each fault with its line."""
        return SettingsError("\n".join(self.fault(one.key, one.message) for one in faults_of(error, model, what)))


def read_settings(path: Path, example: str) -> tuple[dict[str, Any], Source]:
    """Read a YAML file of settings.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    example : str
        What a file could hold, for who has given another.

    Returns
    -------
    content : dict
        Plain values; keys are text.
    source : Source
        The line of every key, and of every part of a list.

    Raises
    ------
    SettingsError
        The file cannot be read, is no YAML, or has a key twice; the message names the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(raw) > LONGEST:
        raise SettingsError(f"{path}: more than {LONGEST} bytes; this is no file of settings")
    return parse_settings(raw, str(path), example)


def parse_settings(raw: bytes | str, name: str, example: str) -> tuple[dict[str, Any], Source]:
    """Read the text of such a file; arguments as for :func:`read_settings`."""
    with _explained(name):
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        loader = _Loader(text)
        node = loader.get_single_node()
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError(f"{name}: expected keys with values, such as '{example}'")
    lines: dict[Key, int] = {}
    return _plain(loader, node, (), lines, name), Source(name, lines)


class _Loader(yaml.SafeLoader):
    """Makes nodes of a text; an alias or a deep nest is an error."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not taken; write the values out", self.peek_event().start_mark
            )
        if self._depth > DEEPEST:
            raise yaml.composer.ComposerError(
                None, None, f"more than {DEEPEST} tables within each other", self.peek_event().start_mark
            )
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say what is no YAML, and in which line."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: cannot be read as YAML (byte {error.start} is no UTF-8)") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        what = " ".join(filter(None, (error.context, error.problem)))
        raise SettingsError(f"{where}: cannot be read as YAML ({what})") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise SettingsError(f"{name}: cannot be read as YAML (too many brackets)") from None


def _plain(loader: _Loader, node: yaml.Node, key: Key, lines: dict[Key, int], name: str) -> Any:
    """Make plain values of a node, and note the lines of what is in it."""
    if isinstance(node, yaml.MappingNode):
        table = {}
        for key_node, value in node.value:
            below = (*key, _key(key_node, name))
            line = key_node.start_mark.line + 1
            if below in lines:
                raise SettingsError(f"{name}, line {line}: {dotted(below)} is there already, in line {lines[below]}")
            lines[below] = line
            table[below[-1]] = _plain(loader, value, below, lines, name)
        return table
    if isinstance(node, yaml.SequenceNode):
        parts = []
        for place, part in enumerate(node.value):
            lines[*key, place] = part.start_mark.line + 1
            parts.append(_plain(loader, part, (*key, place), lines, name))
        return parts
    if node.tag == "tag:yaml.org,2002:int" and ":" in node.value:
        return node.value
    try:
        return loader.construct_object(node)
    except Exception as error:  # a value that is not what its tag says raises errors of many kinds
        raise SettingsError(
            f"{name}, line {node.start_mark.line + 1}: {dotted(key)}: {short(node.value)} cannot be read "
            f"as {node.tag.rsplit(':', 1)[-1]} ({type(error).__name__})"
        ) from None


def _key(node: yaml.Node, name: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise SettingsError(f"{name}, line {node.start_mark.line + 1}: expected a name in front of ':', found a table")
    return str(node.value)
