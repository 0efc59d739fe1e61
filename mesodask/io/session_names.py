"""How a person names sessions: by eid, by ``subject/date/number``, or by a subject and some dates."""

import datetime
import difflib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesodask.errors import SessionNotFoundError, SettingsError

FORMS = "expected an eid (8-4-4-4-12 hexadecimal digits) or subject/date/number, e.g. SP072/2025-01-13/001"
N_LISTED = 12  # names or dates in a message
MOST_WRONG_DIGITS = 4  # of an eid that may have been meant by another
Day = datetime.date | str


@dataclass(frozen=True)
class SessionInfo:
    """Who, when and where a session is.

    Attributes
    ----------
    eid : str
        Experiment id.
    subject, lab : str
        Names as in the ONE tables.
    date : datetime.date
        Day of the recording.
    number : int
        Running number within the day, from 1.
    path : pathlib.Path
        The session's folder.
    """

    eid: str
    subject: str
    lab: str
    date: datetime.date
    number: int
    path: Path

    @property
    def relative(self) -> str:
        """``subject/date/number`` as IBL writes it."""
        return f"{self.subject}/{self.date.isoformat()}/{self.number:03d}"


def in_date_order(sessions: list[SessionInfo]) -> list[SessionInfo]:
    """Sort sessions by (date, number)."""
    return sorted(sessions, key=lambda info: (info.date, info.number, info.eid))


@dataclass(frozen=True)
class SessionName:
    """A session as its path names it.

    Attributes
    ----------
    subject : str
    date : datetime.date
    number : int
    lab : str
        Empty if it is not said.
    """

    subject: str
    date: datetime.date
    number: int
    lab: str = ""

    @classmethod
    def parse(cls, text: str) -> "SessionName | None":
        """Read ``subject/date/number``, whatever path stands before it; None for an eid, which has no slash.

        Raises
        ------
        SettingsError
            It is neither; the message says what is wrong with it.

        Examples
        --------
        >>> SessionName.parse("SP072/2025-01-13/1")
        SessionName(subject='SP072', date=datetime.date(2025, 1, 13), number=1, lab='')
        >>> SessionName.parse("/data/lab/Subjects/SP072/2025-01-13/001/").lab
        'lab'
        """
        parts = text.strip("/").split("/")
        if len(parts) == 1:
            return None
        lab = parts[-5] if len(parts) >= 5 and parts[-4] == "Subjects" else ""
        if len(parts) != 3 and not lab:
            raise SettingsError(f"{text!r}: {len(parts)} parts between slashes; {FORMS}")
        subject, date, number = parts[-3:]
        if not number.isascii() or not number.isdigit():
            raise SettingsError(f"{text!r}: {number!r} is no number of a session; {FORMS}")
        return cls(subject, read_day(date, repr(text)), int(number), lab)

    def fits(self, info: SessionInfo) -> bool:
        """Tell whether it names this session."""
        same_lab = not self.lab or self.lab == info.lab
        return same_lab and (self.subject, self.date, self.number) == (info.subject, info.date, info.number)


def read_day(value: Day, name: str) -> datetime.date:
    """Read a date as ISO writes it.

    Parameters
    ----------
    value : datetime.date or str
    name : str
        What the message calls it.

    Raises
    ------
    SettingsError
        There is no such day.

    Examples
    --------
    >>> read_day("2025-01-13", "first")
    datetime.date(2025, 1, 13)
    """
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"{name}: {value!r} is no date ({error}); expected year-month-day, e.g. 2025-01-13"
        ) from error


@dataclass(frozen=True)
class Days:
    """The days from one to another, both included; None leaves a side open."""

    first: datetime.date | None = None
    last: datetime.date | None = None

    @classmethod
    def between(cls, first: Day | None, last: Day | None) -> "Days":
        """Read the limits.

        Raises
        ------
        SettingsError
            One is no date, or they are the wrong way round.

        Examples
        --------
        >>> str(Days.between("2025-01-13", None))
        'from 2025-01-13 on'
        """
        days = cls(*(None if day is None else read_day(day, name) for day, name in ((first, "first"), (last, "last"))))
        if days.first and days.last and days.first > days.last:
            raise SettingsError(f"the first day, {days.first}, is after the last, {days.last}; exchange them")
        return days

    def __bool__(self) -> bool:
        return self != Days()

    def __contains__(self, day: datetime.date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)

    def __str__(self) -> str:
        if self.first and self.last:
            return f"from {self.first} to {self.last}"
        return f"from {self.first} on" if self.first else f"until {self.last}" if self.last else "on any day"

    def choose(self, sessions: Sequence[SessionInfo]) -> list[SessionInfo]:
        """Take the sessions of these days.

        Raises
        ------
        SessionNotFoundError
            There is none; the message lists the days on which the subject has some.
        """
        chosen = [info for info in sessions if info.date in self]
        if not chosen:
            there = listed(dict.fromkeys(info.date.isoformat() for info in sessions))
            raise SessionNotFoundError(
                f"no session of subject {sessions[0].subject!r} {self}; it has {len(sessions)}, on {there}"
            )
        return chosen


class SubjectDays(str):
    """The name of a subject of whose sessions those of some days are meant, wherever a subject is taken.

    Parameters
    ----------
    subject : str
    first, last : datetime.date or str, optional
        Limits, both included.

    Raises
    ------
    SettingsError
        As :meth:`Days.between`.

    Examples
    --------
    >>> some = SubjectDays("SP072", "2025-01-13", "2025-02-01")
    >>> print(some, some.days)
    SP072 from 2025-01-13 to 2025-02-01
    """

    days: Days

    def __new__(cls, subject: str, first: Day | None = None, last: Day | None = None) -> "SubjectDays":
        """Read the limits."""
        made = super().__new__(cls, subject)
        made.days = Days.between(first, last)
        return made


def check_once(names: Sequence[str], found: Sequence[SessionInfo]) -> None:
    """Raise :class:`SettingsError` if two names are of one session."""
    first: dict[str, str] = {}
    for name, info in zip(names, found, strict=True):
        if info.eid in first:
            both = name if name == first[info.eid] else f"{first[info.eid]} is {name}"
            raise SettingsError(f"a session is given more than once: {both}; name each once")
        first[info.eid] = name


def absent(name: str, wanted: SessionName, sessions: Sequence[SessionInfo]) -> SessionNotFoundError:
    """Say that a subject has no such session, and which it has that are near.

    Examples
    --------
    >>> there = SessionInfo("e", "SP072", "lab", datetime.date(2025, 1, 13), 1, Path("."))
    >>> str(absent("SP072/2025-01-14/1", SessionName.parse("SP072/2025-01-14/1"), [there]))
    "no session 'SP072/2025-01-14/1'; did you mean SP072/2025-01-13/001? SP072 has 1 session: SP072/2025-01-13/001"
    """
    same_day = [info.relative for info in sessions if info.date == wanted.date]
    names = [info.relative for info in sessions]
    text = f"{wanted.subject}/{wanted.date}/{wanted.number:03d}"
    near = did_you_mean(same_day[:3] or difflib.get_close_matches(text, names))
    have = f"{wanted.subject} has {len(names)} session{'s' * (len(names) != 1)}: {listed(names)}"
    return SessionNotFoundError(f"no session {name!r}{near} {have}")


def no_subject(subject: str, known: Iterable[str], where: object) -> SessionNotFoundError:
    """Say that there is no such subject, and which there are."""
    known = sorted(known)
    spelt = {name.lower(): name for name in known}
    near = did_you_mean([spelt[name] for name in difflib.get_close_matches(subject.lower(), spelt)])
    return SessionNotFoundError(
        f"no session of subject {subject!r} in {where}{near} subjects there: {listed(known) or 'none'}"
    )


def no_name(text: str, known: Sequence[str]) -> SettingsError:
    """Say that this is no name of a session, and which names are near it."""
    subjects = {name.split("/")[0] for name in known}
    if text in subjects:
        return SettingsError(
            f"{text!r} is no eid but a subject: give subject={text!r} (--subject {text}) for all of it"
        )
    return SettingsError(f"{text!r} is no eid{did_you_mean(difflib.get_close_matches(text, known))} {FORMS}")


def is_eid(text: str) -> bool:
    """Tell whether this is written like an eid.

    Examples
    --------
    >>> is_eid("3fa85f64-5717-4562-b3fc-2c963f66afa6"), is_eid("SP072")
    (True, False)
    """
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def near_eids(text: str, known: Iterable[str]) -> list[str]:
    """Find the eids that only a few digits tell from one.

    Examples
    --------
    >>> near_eids("3fa85f64-5717-4562-b3fc-2c963f66afa6", ["3fa85f64-5717-4562-b3fc-2c963f66afb7", "5" * 36])
    ['3fa85f64-5717-4562-b3fc-2c963f66afb7']
    """
    return [eid for eid in known if sum(a != b for a, b in zip(text, eid, strict=False)) <= MOST_WRONG_DIGITS][:3]


def did_you_mean(near: Sequence[str]) -> str:
    """Ask whether some names were meant; a semicolon if there is none to ask about.

    Examples
    --------
    >>> did_you_mean(["SP072", "SP071"]), did_you_mean([])
    ('; did you mean SP072 or SP071?', ';')
    """
    return f"; did you mean {' or '.join(near)}?" if near else ";"


def listed(names: Iterable[str]) -> str:
    """List names, the first and the last of many.

    Examples
    --------
    >>> listed("abc"), listed(str(n) for n in range(20))
    ('a, b, c', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ..., 19')
    """
    names = list(names)
    shown = names if len(names) <= N_LISTED else [*names[: N_LISTED - 1], "...", names[-1]]
    return ", ".join(shown)
