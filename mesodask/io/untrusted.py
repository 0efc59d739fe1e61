"""Dictionaries of files that are not to be trusted: each entry is checked when it is taken out."""

import math
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mesodask.errors import DataError
from mesodask.io.pickled_names import describe

LONGEST_TEXT = 1000
LARGEST = 1 << 53  # up to here a double holds every whole number
FEW = 10_000  # items that any file may have, however small


class Budget:
    """How many items may be taken out of a file: no honest one has more of them than bytes.

    In a pickle one list may be meant many times over, so that what takes a megabyte there would take a terabyte here.

    Parameters
    ----------
    path : pathlib.Path, optional
        The file; without one there is no limit.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._left = math.inf if path is None else max(FEW, path.stat().st_size)

    def charge(self, n: int) -> None:
        """Take n items; raise :class:`DataError` if there are no more."""
        self._left -= n
        if self._left < 0:
            raise DataError(
                "holds more items than bytes, as one is meant many times over; expected each once", self._path
            )


class Entries:
    """A dictionary whose entries are checked when they are taken out; what is wrong is a :class:`DataError`.

    Parameters
    ----------
    value : object
        The dictionary.
    path : pathlib.Path, optional
        The file that it comes from, for messages.
    name : str
        Where in the file it is, for messages; empty for the whole.
    keys : tuple of type
        What its keys must be.

    Examples
    --------
    >>> Entries({"ks": [8, 16]}).sizes("ks")
    [8, 16]
    >>> Entries({"ks": [8, "x"]}).sizes("ks")
    Traceback (most recent call last):
    mesodask.errors.DataError: ks: list of length 2; expected a vector of numbers
    """

    def __init__(
        self,
        value: Any,
        path: Path | None = None,
        name: str = "",
        keys: tuple[type, ...] = (str,),
        budget: Budget | None = None,
    ) -> None:
        self._path, self._name = path, name
        self._budget = budget or Budget(path)
        if not isinstance(value, Mapping) or not all(isinstance(key, keys) for key in value):
            kind = "names" if str in keys else "numbers"
            raise DataError(f"{name or 'it'} is {describe(value)}; expected a dictionary by {kind}", path)
        self._budget.charge(len(value))
        self._entries: Mapping[Any, Any] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Any) -> bool:
        return self._entries.get(key) is not None

    def get(self, key: Any) -> Any:
        """Take an entry out as it is."""
        if key not in self._entries:
            there = ", ".join(str(name)[:40] for name in list(self._entries)[:20])
            raise DataError(f"no {self._called(key)}; found {there or 'nothing'}", self._path)
        return self._entries[key]

    def _called(self, key: Any) -> str:
        shown = ascii(key)[:60] if self._name else str(key)[:60]
        return f"{self._name}[{shown}]" if self._name else shown

    def wrong(self, key: Any, found: str, expected: str) -> DataError:
        """Make the error that says what is wrong with an entry."""
        return DataError(f"{self._called(key)}: {found}; expected {expected}", self._path)

    def entries(self, key: Any, keys: tuple[type, ...] = (str,)) -> "Entries":
        """Take out a dictionary."""
        return Entries(self.get(key), self._path, self._called(key), keys, self._budget)

    def each(self, key: str) -> "Iterator[Entries]":
        """Take out the dictionaries of a list."""
        for i, value in enumerate(self._list(key)):
            yield Entries(value, self._path, f"{self._called(key)}[{i}]", budget=self._budget)

    def _list(self, key: Any) -> list[Any]:
        values = self.get(key)
        if isinstance(values, np.ndarray) and values.ndim == 1:
            values = values.tolist()
        if not isinstance(values, (list, tuple)):
            raise self.wrong(key, describe(values), "a list")
        self._budget.charge(len(values))
        return list(values)

    def text(self, key: str, default: str | None = None) -> str:
        """Take out a text; the default if it is not there, or None."""
        if default is not None and key not in self:
            return default
        return self._checked_text(key, self.get(key))

    def _checked_text(self, key: Any, value: Any) -> str:
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
            raise self.wrong(key, describe(value), f"a text of at most {LONGEST_TEXT} letters")
        return str(value)

    def texts(self, key: str) -> list[str]:
        """Take out a list of texts."""
        return [self._checked_text(key, value) for value in self._list(key)]

    def eids(self, key: str) -> list[str]:
        """Take out a list of different eids."""
        found = [self.eid(text) for text in self.texts(key)]
        if not found or len(set(found)) < len(found):
            raise self.wrong(key, f"{len(found)} eids, {len(set(found))} of them different", "one for each session")
        return found

    def eid(self, text: str) -> str:
        """Check that a text is an eid."""
        try:
            return str(uuid.UUID(text))
        except ValueError as error:
            where = f"{self._name}: " if self._name else ""
            raise DataError(
                f"{where}{text[:60]!a} is no eid; expected 8-4-4-4-12 hexadecimal digits", self._path
            ) from error

    def number(self, key: Any, default: float | None = None) -> float:
        """Take out a number, or NaN; the default if it is not there, or None."""
        if default is not None and key not in self:
            return default
        value = self.get(key)
        if not is_number(value) or math.isinf(value):
            raise self.wrong(key, describe(value), "a number, or NaN")
        return float(value)

    def whole(self, key: Any) -> int:
        """Take out a whole number."""
        value = self.get(key)
        if not is_number(value) or not math.isfinite(value) or int(value) != value:
            raise self.wrong(key, describe(value), "a whole number")
        return int(value)

    def count(self, key: Any) -> int:
        """Take out a whole number that is not negative."""
        found = self.whole(key)
        if found < 0:
            raise self.wrong(key, str(found), "0 or more")
        return found

    def vector(self, key: Any) -> np.ndarray:
        """Take out a list or an array of numbers, (n,) float64."""
        values = self.get(key)
        if isinstance(values, (list, tuple)) and all(map(is_number, values)):
            values = np.array(values, dtype=float)
        if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "fiu":
            raise self.wrong(key, describe(values), "a vector of numbers")
        self._budget.charge(len(values))
        if np.isinf(values).any():
            raise self.wrong(key, f"{describe(values)} with infinite numbers", "numbers, or NaN")
        with np.errstate(invalid="ignore"):  # signalling NaN
            return values.astype(np.float64)

    def sizes(self, key: str) -> list[int]:
        """Take out different whole numbers from 1, ascending."""
        values = self.vector(key)
        found = sorted({int(value) for value in values if math.isfinite(value) and value == int(value)})
        if len(found) != len(values) or not found or found[0] < 1 or found[-1] > LARGEST:
            raise self.wrong(key, describe(self.get(key)), "different whole numbers from 1")
        return found

    def plain(self, *keys: str) -> dict[str, Any]:
        """Take out those of some entries that are there: numbers, texts, None, or lists of these."""
        return {key: self._plain(key) for key in keys if key in self._entries}

    def _plain(self, key: str) -> Any:
        value = self._entries[key]
        if isinstance(value, (list, tuple, np.ndarray)):
            return [self._single(key, one) for one in self._list(key)]
        return self._single(key, value)

    def _single(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, (bool, np.bool_)):
            return None if value is None else bool(value)
        if is_number(value) and math.isfinite(value):
            return int(value) if isinstance(value, (int, np.integer)) else float(value)
        if isinstance(value, str):
            return self._checked_text(key, value)
        raise self.wrong(key, describe(value), "a number, a text, or a list of such")


def is_number(value: Any) -> bool:
    """Tell whether a value is a number that a double can hold; booleans are none.

    Examples
    --------
    >>> is_number(np.float16(0.5)), is_number(10**400), is_number(True)
    (True, False, False)
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return abs(int(value)) <= LARGEST
    return isinstance(value, (float, np.floating))
