"""Narrowing a session's ROIs: ``neurons=`` as a mask, rows of the session store, or region acronyms."""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mesodask.errors import SettingsError

N_LISTED = 12  # regions that a message names
GIVEN_BY_ARRAYS = "given"  # by masks or rows, in the words of in_words
Narrowing = Any  # see :func:`masks`


def masks(neurons: Narrowing, n_rois: Mapping[str, int], regions: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """Turn ``neurons=`` into one mask over all ROIs for each session that it narrows.

    Parameters
    ----------
    neurons : None, array, str, sequence of str or mapping
        - None narrows nothing;
        - a mask (n_rois,) bool, or rows (n,) int, of the session store: for one session alone, as rows of two
          sessions are never the same neurons;
        - one Allen acronym or several: the ROIs whose own area it is, exactly as in ``region`` of the session store,
          so that "VISp" does not take an ROI of "VISp2/3". It narrows every session;
        - a mapping of eid to any of these; sessions that it does not name are not narrowed.
    n_rois : mapping of str to int
        Number of ROIs of each session, by eid.
    regions : callable(eid) -> numpy.ndarray, (n_rois,) object
        Gives the acronyms of a session's ROIs; called only if acronyms are asked for.

    Returns
    -------
    dict of str to numpy.ndarray, (n_rois,) bool
        By eid.

    Raises
    ------
    SettingsError
        A mask has another length than the session, a row is not in it, an acronym is found in none of the sessions
        that it narrows (the message names those there are), or `neurons` is nothing of all this.

    Examples
    --------
    >>> found = masks({"a": ["VISp"]}, {"a": 3, "b": 2}, lambda eid: np.array(["VISp", "MOs", "VISp"], dtype=object))
    >>> found["a"].tolist(), "b" in found
    ([True, False, True], False)
    """
    narrowed: dict[str, np.ndarray] = {}
    wanted: set[str] = set()
    there: Counter[str] = Counter()
    for eid, choice in _by_session(neurons, n_rois).items():
        parsed = _parse(choice)
        if isinstance(parsed, np.ndarray):
            narrowed[eid] = _mask(parsed, n_rois[eid], eid)
        else:
            acronyms = regions(eid)
            wanted |= parsed
            there.update(acronyms.tolist())
            narrowed[eid] = np.fromiter((acronym in parsed for acronym in acronyms), dtype=bool, count=len(acronyms))
    _check_acronyms(wanted, there)
    return narrowed


def rows(neurons: Narrowing, eid: str, n_rois: int, regions: Callable[[], np.ndarray]) -> np.ndarray:
    """Turn a mask, rows or region acronyms into rows of one session's store; rows that are given keep their order.

    Parameters
    ----------
    neurons : array, str or sequence of str
        As in :func:`masks`, but for None and a mapping.
    eid : str
        The session, for messages.
    n_rois : int
        Number of its ROIs.
    regions : callable() -> numpy.ndarray, (n_rois,) object
        Gives the acronyms of its ROIs; called only if acronyms are asked for.

    Returns
    -------
    numpy.ndarray, (n_neurons,) int64

    Raises
    ------
    SettingsError
        As in :func:`masks`, or no neuron is chosen.

    Examples
    --------
    >>> regions = lambda: np.array(["VISp", "MOs", "VISp"], dtype=object)
    >>> [rows(choice, "a", 3, regions).tolist() for choice in ([2, 0], [False, True, True], "VISp")]
    [[2, 0], [1, 2], [0, 2]]
    """
    choice = _parse(neurons)
    mask = masks(neurons, {eid: n_rois}, lambda _: regions())[eid]
    if not mask.any():
        raise SettingsError(f"neurons: none of the {n_rois} ROIs of session {eid} is chosen; expected one or more")
    given = isinstance(choice, np.ndarray) and choice.dtype.kind != "b"
    return np.asarray(choice, dtype=np.int64) if given else np.flatnonzero(mask)


def in_words(neurons: Narrowing) -> str:
    """Tell how ``neurons=`` narrows: acronyms with commas, "given" for what cannot be written in a line, "" for not.

    Examples
    --------
    >>> in_words(["VISp", "MOs"]), in_words(None), in_words([0, 4])
    ('MOs,VISp', '', 'given')
    """
    if neurons is None:
        return ""
    parsed = None if isinstance(neurons, Mapping) else _parse(neurons)
    return ",".join(sorted(parsed)) if isinstance(parsed, set) else GIVEN_BY_ARRAYS


def _by_session(neurons: Narrowing, eids: Mapping[str, int]) -> dict[str, Any]:
    if neurons is None:
        return {}
    if isinstance(neurons, Mapping):
        strangers = sorted(str(eid) for eid in neurons if str(eid) not in eids)
        if strangers:
            raise SettingsError(f"neurons: {', '.join(strangers)} is none of the sessions ({', '.join(eids)})")
        return {str(eid): choice for eid, choice in neurons.items() if choice is not None}
    if len(eids) > 1 and isinstance(_parse(neurons), np.ndarray):
        raise SettingsError(
            f"neurons: one mask or array of rows for {len(eids)} sessions, whose rows are not the same neurons; "
            "give a mapping {eid: mask or rows}"
        )
    return dict.fromkeys(eids, neurons)


def _parse(choice: Any) -> np.ndarray | set[str]:
    """Tell acronyms (a set) from a mask or rows (an array)."""
    if isinstance(choice, str):
        return {choice}
    values = list(choice) if isinstance(choice, (set, frozenset, Sequence)) else choice
    array = np.asarray(values)
    if array.ndim == 1 and array.dtype.kind in "bui":
        return array
    if array.ndim == 1 and array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim == 1 and all(isinstance(value, str) for value in array.tolist()):
        return set(array.tolist())
    raise SettingsError(
        f"neurons: {array.dtype} values of shape {array.shape}; expected a mask (n_rois,) bool, rows (n,) int, "
        "region acronyms, or a mapping of eid to one of these"
    )


def _mask(choice: np.ndarray, n_rois: int, eid: str) -> np.ndarray:
    if choice.dtype.kind == "b":
        if len(choice) != n_rois:
            raise SettingsError(f"neurons: a mask of {len(choice)} for the {n_rois} ROIs of session {eid}")
        return choice
    outside = choice[(choice < 0) | (choice >= n_rois)]
    if len(outside):
        raise SettingsError(f"neurons: row {outside[0]} is not in session {eid}; its {n_rois} rows count from 0")
    mask = np.zeros(n_rois, dtype=bool)
    mask[choice] = True
    return mask


def _check_acronyms(wanted: set[str], there: Counter[str]) -> None:
    unknown = sorted(wanted - set(there))
    if not unknown:
        return
    name = unknown[0]
    spelt = {acronym.lower(): acronym for acronym, _ in there.most_common()}
    # areas that begin with the same letters first (VISp2/3 for VISp), then what else may have been meant
    near = [a for a in spelt if a.startswith(name.lower())] or difflib.get_close_matches(name.lower(), spelt)
    hint = f"; did you mean {' or '.join(repr(spelt[a]) for a in near[:3])}?" if near else "."
    listed = ", ".join(f"{acronym} ({n})" for acronym, n in there.most_common(N_LISTED))
    more = f" and {len(there) - N_LISTED} more" if len(there) > N_LISTED else ""
    raise SettingsError(f"neurons: no ROI is in {name!r}{hint} Regions, and their ROIs: {listed or 'none'}{more}")
