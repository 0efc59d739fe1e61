"""Settings objects: frozen, checked, hashed, and what is wrong with one told in words.

Whether settings come as keywords, from a command line or from a file, a fault is the same: the key, what is allowed,
what was found, and the nearest right name.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from mesodask.errors import LONGEST_VALUE, SettingsError, nearest, short

Key = tuple[str | int, ...]
EXPECTED = {  # pydantic's kinds of faults, by their first word, in the words of who writes settings
    "tuple": "a list", "dict": "a table of names and values", "model": "a table of settings", "string": "text",
    "path": "a path", "int": "a whole number", "float": "a number", "bool": "true or false",
    "date": "a day such as 2025-01-13",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What is wrong with a setting.

    Attributes
    ----------
    key : tuple of str or int
        Names of the setting and of the tables that it is in, and places in lists; empty for several settings that do
        not go together.
    message : str
        What is allowed, and what was found.
    """

    key: Key
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.key)}: {self.message}" if self.key else self.message


def dotted(key: Key) -> str:
    r"""Write a key; what is long in it, or cannot be printed as it is, is not.

    Examples
    --------
    >>> print(dotted(("ndc", "ks", 1)), dotted(("ndc\n",)))
    ndc.ks.1 'ndc\n'
    """
    parts = map(str, key)
    return ".".join(part if part.isprintable() and len(part) <= LONGEST_VALUE else short(part) for part in parts)


class Checked(BaseModel):
    """A frozen settings object; a value that is not allowed raises :class:`SettingsError`, each fault in a line.

    Examples
    --------
    >>> class Walk(Checked):
    ...     steps: int = 1
    >>> Walk(step=2)
    Traceback (most recent call last):
    mesodask.errors.SettingsError: step: no such setting; did you mean 'steps'? (there are steps)
    >>> Walk(steps=True)
    Traceback (most recent call last):
    mesodask.errors.SettingsError: steps: expected a number, found True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = faults_of(error, type(self))
            raise SettingsError("\n".join(map(str, faults)), [(fault.key, fault.message) for fault in faults]) from None

    # as pydantic marks its own: one table within another is then checked in place, and its faults have the whole key
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse yes and no where pydantic would take them for 1 and 0."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if kinds & {int, float} and bool not in kinds and any(isinstance(one, bool) for one in _leaves(value)):
            raise ValueError(f"expected a number, found {short(value)}")
        return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """Give the types that an annotation is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _leaves(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


# what is wrong ------------------------------------------------------------------------------------------------


def faults_of(error: ValidationError, model: type[BaseModel], what: str = "setting") -> list[Fault]:
    """Say what is wrong with the values of a settings object.

    Parameters
    ----------
    error : pydantic.ValidationError
        What its validation raised.
    model : type
        Its class.
    what : str
        What a name in it is called.

    Returns
    -------
    list of Fault
        In the order of the fields.
    """
    return [Fault(fault["loc"], _message(fault, model, what)) for fault in error.errors(include_url=False)]


def _message(fault: Any, model: type[BaseModel], what: str) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return unknown(str(fault["loc"][-1]), names_of(table_at(model, fault["loc"][:-1])), what)
    if fault["type"] in ("value_error", "missing"):
        return message
    found, (kind, _, rest) = fault["input"], fault["type"].partition("_")
    if kind in EXPECTED and rest in ("type", "parsing", "from_float", "from_datetime_parsing", "from_datetime_inexact"):
        return f"expected {EXPECTED[kind]}, found {short(found)}"
    if fault["type"] == "literal_error" and isinstance(found, str):
        allowed = re.findall(r"'(.*?)'", message)
        return f"{message}, found {short(found)}{nearest(found, allowed)}"
    return f"{message}, found {short(found)}"


def unknown(name: str, known: Iterable[str], what: str = "setting") -> str:
    """Say that there is no such name, which is the nearest, and which there are.

    Examples
    --------
    >>> unknown("fold", ["folds", "gap"])
    "no such setting; did you mean 'folds'? (there are folds, gap)"
    """
    known = list(known)
    return f"no such {what}{nearest(name, known)} (there are {', '.join(known)})"


# what is allowed ----------------------------------------------------------------------------------------------


def names_of(model: type[BaseModel]) -> list[str]:
    """Give the names of a model's fields as a file has them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def table_at(model: type[BaseModel], key: Key) -> type[BaseModel]:
    """Find the class of a table within a settings object by its key; the last one that is known."""
    for part in key:
        field = model.model_fields.get(str(part))
        below = [kind for kind in _kinds(field.annotation if field else None) if _is_model(kind)]
        if not below:
            return model
        model = below[0]
    return model


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Read what each setting means from where it is declared: the Attributes of the docstrings, inherited ones first.

    Examples
    --------
    >>> class Walk(Checked):
    ...     '''A walk.
    ...
    ...     Attributes
    ...     ----------
    ...     steps, miles : int
    ...         How far (see :func:`math.floor`).
    ...     '''
    >>> meanings(Walk)
    {'steps': 'How far.', 'miles': 'How far.'}
    """
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes\n")[2]  # indented before Python 3.13
        for names, meaning in re.findall(r"^([\w, ]+) : .*\n((?: {4,}\S.*\n?)+)", text, flags=re.MULTILINE):
            # what names an object of the code is of no use to who reads a page or a file
            words = re.sub(r" \(see :.*?`\)", "", " ".join(meaning.split()))
            found |= dict.fromkeys(names.split(", "), words)
    return found


def short_hash(content: Any) -> str:
    """Eight hex digits of the blake2b hash of a JSON-able value.

    Examples
    --------
    >>> short_hash({"b": 1, "a": [2.0]}) == short_hash({"a": [2.0], "b": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=4).hexdigest()
