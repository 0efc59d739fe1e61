"""Which sessions a ONE knows: by eid, by name, or of a subject.

Nothing is imported of ``one`` here: the tables of a ONE (:func:`mesodask.io.alf.connect`) say who, when and where, and
the server of an online one is asked for what they do not know.
"""

import contextlib
import datetime
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mesodask.errors import SessionNotFoundError, SettingsError
from mesodask.io import session_names
from mesodask.io.one_faults import naming_tables
from mesodask.io.session_names import Day, SessionInfo, SubjectDays, in_date_order


def session_info(one: Any, eid: str) -> SessionInfo:
    """Look a session up in the ONE tables; an online ONE asks its server for one that they do not have.

    Parameters
    ----------
    one : One
        See :func:`mesodask.io.alf.connect`.
    eid : str
        Experiment id.

    Raises
    ------
    SessionNotFoundError
        The tables hold no such session; the message lists what they hold.
    """
    eid = str(eid)
    try:
        key = uuid.UUID(eid)
    except ValueError as error:
        raise SessionNotFoundError(f"{eid!r} is no eid: expected 8-4-4-4-12 hexadecimal digits") from error
    info = _in_tables(one, key)
    if info is None and not one.offline:
        # ONE refuses UUIDs of some versions
        with asking(one), contextlib.suppress(ValueError):
            one.eid2path(key)  # puts what the server answers into the tables
        info = _in_tables(one, key)
    if info is None:
        sessions = one._cache["sessions"]
        near = session_names.did_you_mean(session_names.near_eids(eid, map(str, sessions.index)))
        subjects = session_names.listed(sorted(set(sessions["subject"]))) or "no subject"
        raise SessionNotFoundError(
            f"session {eid} is not in the ONE tables of {one.cache_dir}{near} they have {len(sessions)} sessions of "
            f"{subjects}"
        )
    return info


def _in_tables(one: Any, key: uuid.UUID) -> SessionInfo | None:
    with naming_tables(one):
        sessions = one._cache["sessions"]
        if key not in sessions.index:
            return None
        record = sessions.loc[[key]].iloc[0]
        lab, subject, number = str(record["lab"]), str(record["subject"]), int(record["number"])
        date = datetime.date.fromisoformat(str(record["date"])[:10])
    path = Path(one.cache_dir) / lab / "Subjects" / subject / date.isoformat() / f"{number:03d}"
    return SessionInfo(str(key), subject, lab, date, number, path)


@contextlib.contextmanager
def asking(one: Any) -> Iterator[None]:
    """Say in our words that a ONE's server does not answer."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # ONE greets when it has logged in
            yield
    except Exception as error:  # requests and ONE have many for it
        raise SessionNotFoundError(
            f"the server {one.alyx.base_url} cannot be asked for what the ONE tables of {one.cache_dir} do not "
            f"have ({error}); try again, or index what is on disk with mesodask.io.alf.write_one_tables"
        ) from error


def find_sessions(
    one: Any,
    names: str | Sequence[str] = (),
    *,
    subject: str | None = None,
    first: Day | None = None,
    last: Day | None = None,
) -> list[SessionInfo]:
    """Find the sessions that a person means: by their names, or by a subject and some days.

    Parameters
    ----------
    one : One
        See :func:`mesodask.io.alf.connect`.
    names : str or sequence of str
        Each an eid, or ``subject/date/number`` (``SP072/2025-01-13/001``, with or without zeros before the number, and
        with whatever path ends in ``<lab>/Subjects/`` before it).
    subject : str, optional
        In place of names: all sessions of this subject, or those of its days
        (:class:`mesodask.io.session_names.SubjectDays`).
    first, last : datetime.date or str, optional
        Of a subject's sessions, those from the first to the last of these days, both included.

    Returns
    -------
    list of SessionInfo
        In the order of the names; of a subject in the order of (date, number).

    Raises
    ------
    SettingsError
        Neither or both of names and subject are given, a session twice, days without a subject, or what is no name of
        a session or no date.
    SessionNotFoundError
        There is no such session; the message tells those that are near, or the days that the subject has.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from mesodask import simulate_subject
    >>> from mesodask.io import alf
    >>> made = simulate_subject(mkdtemp(), n_days=2, n_trials=20, rois_per_fov=(10,))
    >>> [info.relative for info in find_sessions(alf.connect(made.one_dir), ["SP072/2025-01-14/1"])]
    ['SP072/2025-01-14/001']
    >>> [info.relative for info in find_sessions(alf.connect(made.one_dir), subject="SP072", last="2025-01-13")]
    ['SP072/2025-01-13/001']
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    days = session_names.Days.between(first, last)
    if isinstance(subject, SubjectDays):
        days = days or subject.days
    if bool(names) == bool(subject):
        raise SettingsError(
            "name the sessions either by their eids or by subject; a session may be named subject/date/number, too"
        )
    if subject:
        return days.choose(subject_sessions(one, subject))
    if days:
        raise SettingsError(f"days ({days}) choose from the sessions of a subject; give subject, or leave them out")
    found = [_session_named(one, name) for name in names]
    session_names.check_once(names, found)
    return found


def _session_named(one: Any, name: str) -> SessionInfo:
    wanted = session_names.SessionName.parse(name)
    if wanted is None:
        if not session_names.is_eid(name):
            table = one._cache["sessions"]
            rows = table[["subject", "date", "number"]].itertuples(index=False)
            raise session_names.no_name(name, [f"{row.subject}/{row.date}/{int(row.number):03d}" for row in rows])
        return session_info(one, name)
    for ask in (False, True):  # the tables may be older than the session
        there = subject_sessions(one, wanted.subject, ask=ask)
        fitting = [info for info in there if wanted.fits(info)]
        if fitting:
            break
    if not fitting:
        raise session_names.absent(name, wanted, there)
    if len(fitting) > 1:
        both = " and ".join(f"{info.eid} ({info.lab})" for info in fitting)
        raise SettingsError(f"{name!r} is the name of {len(fitting)} sessions, {both}; give the eid")
    return fitting[0]


def subject_sessions(one: Any, subject: str, *, ask: bool = False) -> list[SessionInfo]:
    """List the sessions of a subject in the order of (date, number).

    Those that the tables on disk have are all there are; an online ONE without tables, or whose tables do not know the
    subject, asks its server.

    Parameters
    ----------
    one : One
        See :func:`mesodask.io.alf.connect`.
    subject : str
        Its name as in the tables.
    ask : bool
        Whether an online ONE asks its server in any case.

    Raises
    ------
    SessionNotFoundError
        There is no session of this subject; the message lists the subjects there are.
    """
    eids = _eids_of(one, subject)
    # what single answers of a server have put into the tables is not all that it knows
    if not one.offline and (ask or not eids or one._cache["_meta"]["loaded_time"] is None):
        with asking(one):
            list(one.search(subject=subject, query_type="remote"))  # page by page, into the tables
        eids = _eids_of(one, subject)
    if not eids:
        raise session_names.no_subject(subject, set(one._cache["sessions"]["subject"]), one.cache_dir)
    return in_date_order([session_info(one, eid) for eid in eids])


def _eids_of(one: Any, subject: str) -> list[str]:
    with naming_tables(one):
        sessions = one._cache["sessions"]
        return [str(eid) for eid in sessions.index[sessions["subject"] == subject]]


def all_sessions(one: Any) -> list[SessionInfo]:
    """List the sessions of the ONE tables."""
    return [session_info(one, str(eid)) for eid in one._cache["sessions"].index]
