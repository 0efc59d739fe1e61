"""What a command answers on stdout: words as they come, or with ``--json`` one document at its end."""

import dataclasses
import datetime
import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON document in place of words and tables.")


class Answer:
    """Collects what a command has found, and prints it.

    Parameters
    ----------
    as_json : bool
        Whether a program reads it.

    Attributes
    ----------
    document : object
        What is printed as JSON; a dictionary unless a command sets something else.

    Examples
    --------
    >>> for as_json in (False, True):
    ...     answer = Answer(as_json)
    ...     answer.tell("run", Path("a.zarr"))
    ...     answer.put(rows=[{"p": float("nan")}])
    ...     answer.close()
    ...     answer.close()  # once is enough
    run      a.zarr
    {
      "run": "a.zarr",
      "rows": [
        {
          "p": null
        }
      ]
    }
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.document: Any = {}

    def say(self, words: str | Callable[[], None]) -> None:
        """Print words, or what a function prints, for a person alone."""
        if self.as_json:
            return
        if callable(words):
            words()
        else:
            click.echo(words)

    def put(self, **values: Any) -> None:
        """Add to the document, for a program alone."""
        self.document.update(values)

    def tell(self, label: str, value: Any, key: str | None = None) -> None:
        """Tell both: a line with a label, and an entry of the document under the key, or the label."""
        self.say(f"{label:<8} {value}")
        self.put(**{key or label: value})

    def close(self) -> None:
        """Print the document, once, if there is something in it to print."""
        if self.as_json and (self.document or isinstance(self.document, list)):
            click.echo(json.dumps(plain(self.document), indent=2, allow_nan=False))
        self.document = {}


def answers(command: Callable) -> Callable:
    """Give a command ``--json``; it takes an :class:`Answer`, which is printed when it ends, also with an error."""

    @functools.wraps(command)
    def with_answer(as_json: bool, **values: Any) -> Any:
        answer = Answer(as_json)
        try:
            return command(answer=answer, **values)
        finally:
            answer.close()

    return _flag(with_answer)


def plain(value: Any) -> Any:
    """Turn a value into what JSON holds: paths and dates into text, arrays into lists, NaN and infinities into None.

    Examples
    --------
    >>> plain({"when": datetime.date(2025, 1, 13), 8: (np.float32(0.5), np.nan, Path("a"))})
    {'when': '2025-01-13', '8': [0.5, None, 'a']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (Path, datetime.date)):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return value


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Give the rows of a :class:`pandas.DataFrame` as dictionaries; what is missing is None.

    Examples
    --------
    >>> import pandas as pd
    >>> rows_of(pd.DataFrame({"k": pd.array([8, None], dtype="Int64"), "p": [0.5, float("nan")]}))
    [{'k': 8, 'p': 0.5}, {'k': None, 'p': None}]
    """
    return plain(table.astype(object).where(table.notna(), None).to_dict("records"))
