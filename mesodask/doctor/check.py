"""What a check of the machine has found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """What was found of one thing.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "warning", "error"}
        An error keeps mesodask from its work; a warning may matter, or does for a part of it.
    found : str
        What is there.
    mend : str
        What to do; empty where all is well.
    """

    name: str
    status: Status
    found: str
    mend: str = ""


Checks = Iterator[Check]
