"""Naming sessions: by eid, by subject/date/number, or by a subject and some days."""

import datetime
from typing import Any

import pytest

from mesodask.errors import MesodaskError, SessionNotFoundError, SettingsError
from mesodask.io import alf, alf_sessions
from mesodask.simulate import SimulatedSubject

DAYS = ("2025-01-13", "2025-01-14", "2025-01-15")


@pytest.fixture(scope="module")
def one(subject: SimulatedSubject) -> Any:
    return alf.connect(subject.one_dir)


def found(one: Any, *names: str, **days: Any) -> list[str]:
    return [info.eid for info in alf_sessions.find_sessions(one, names, **days)]


@pytest.mark.parametrize(
    "form",
    [
        "{eid}",
        "SP072/2025-01-14/001",
        "SP072/2025-01-14/1",
        "{lab}/Subjects/SP072/2025-01-14/001",
        "/somewhere/else/{lab}/Subjects/SP072/2025-01-14/001/",
    ],
)
def test_every_form_of_a_name(subject: SimulatedSubject, one: Any, form: str) -> None:
    name = form.format(eid=subject.eids[1], lab=subject.settings["lab"])
    assert found(one, name) == [subject.eids[1]]
    (info,) = alf_sessions.find_sessions(one, name)
    assert (info.relative, info.number) == ("SP072/2025-01-14/001", 1)
    assert (info.path / "alf").is_dir()


def test_names_keep_their_order_and_subjects_have_that_of_days(subject: SimulatedSubject, one: Any) -> None:
    first, second, third = subject.eids
    assert found(one, third, "SP072/2025-01-13/1") == [third, first]
    assert found(one, subject="SP072") == [first, second, third]


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        ("2025-01-14", None, DAYS[1:]),
        (None, datetime.date(2025, 1, 14), DAYS[:2]),
        ("2025-01-14", "2025-01-14", DAYS[1:2]),
        (datetime.datetime(2025, 1, 15, 23, 0), "2026-01-01", DAYS[2:]),
        ("2024-01-01", "2026-01-01", DAYS),
    ],
)
def test_limits_are_included(one: Any, first: Any, last: Any, days: tuple[str, ...]) -> None:
    chosen = alf_sessions.find_sessions(one, subject="SP072", first=first, last=last)
    assert tuple(info.date.isoformat() for info in chosen) == days


@pytest.mark.parametrize(
    ("names", "how", "kind", "words"),
    [
        ((), {}, SettingsError, "either by their eids or by subject"),
        (("SP072/2025-01-13/1",), {"subject": "SP072"}, SettingsError, "either by their eids or by subject"),
        (("SP072/2025-01-13/1",), {"first": "2025-01-13"}, SettingsError, "choose from the sessions of a subject"),
        (("SP072/2025-01-13/1", "SP072/2025-01-13/001"), {}, SettingsError, "more than once: SP072/2025-01-13/1 is SP"),
        (("SP072",), {}, SettingsError, "'SP072' is no eid but a subject: give subject='SP072' (--subject SP072)"),
        (("SP072/2025-01-13",), {}, SettingsError, "2 parts between slashes; expected an eid"),
        (("SP072/2025-01-13/x",), {}, SettingsError, "'x' is no number of a session"),
        (("SP072/2025-02-30/1",), {}, SettingsError, "'2025-02-30' is no date"),
        (("what",), {}, SettingsError, "'what' is no eid; expected an eid (8-4-4-4-12"),
        (("SP072-2025-01-13-001",), {}, SettingsError, "did you mean SP072/2025-01-13/001"),
        (("SP072/2025-01-14/2",), {}, SessionNotFoundError, "did you mean SP072/2025-01-14/001? SP072 has 3 sessions"),
        (("SP072/2025-03-14/1",), {}, SessionNotFoundError, "SP072/2025-01-14/001"),
        (("elsewhere/Subjects/SP072/2025-01-14/1",), {}, SessionNotFoundError, "did you mean SP072/2025-01-14/001"),
        (("SP27/2025-01-14/2",), {}, SessionNotFoundError, "did you mean SP072? subjects there: SP072"),
        ((), {"subject": "sp072"}, SessionNotFoundError, "did you mean SP072?"),
        ((), {"subject": "SP072", "first": "2025-02-01"}, SessionNotFoundError, "it has 3, on 2025-01-13, 2025-01-14"),
        ((), {"subject": "SP072", "first": "2025-13-01"}, SettingsError, "first: '2025-13-01' is no date"),
        ((), {"subject": "SP072", "last": 20250113}, SettingsError, "last: 20250113 is no date"),
        ((), {"subject": "SP072", "first": DAYS[1], "last": DAYS[0]}, SettingsError, "is after the last"),
    ],
)
def test_errors_name_what_is_near(one: Any, names: tuple, how: dict, kind: type[MesodaskError], words: str) -> None:
    with pytest.raises(kind) as raised:
        alf_sessions.find_sessions(one, names, **how)
    assert words in str(raised.value)


def test_an_eid_with_a_wrong_digit_is_told_from_a_stranger(subject: SimulatedSubject, one: Any) -> None:
    eid = subject.eids[0]
    wrong = eid[:-1] + ("0" if eid[-1] != "0" else "1")
    with pytest.raises(SessionNotFoundError, match=f"did you mean {eid}"):
        alf_sessions.find_sessions(one, wrong)
    with pytest.raises(SessionNotFoundError, match="they have 3 sessions of SP072") as raised:
        alf_sessions.find_sessions(one, "3fa85f64-5717-4562-b3fc-2c963f66afa6")
    assert "did you mean" not in str(raised.value)
