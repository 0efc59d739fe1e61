"""The names of the original ``meso_chronic.py``: the same neurons across days, and which days share the most."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mesodask import session_choice, tracking
from mesodask.compat.keywords import SERVER_ROOT, TRIAL_KEY, original
from mesodask.errors import SettingsError, TrackingError
from mesodask.io import alf, alf_sessions, fov

logger = logging.getLogger(__name__)

MONOTONE = "counts are those of the sessions given, and as the search is exact they do not grow with the sessions"
SANITY = "rows are counted in the session's own files, so none can lie outside"


@original(server_root=SERVER_ROOT, sanity_check=SANITY)
def match_tracked_indices_across_sessions(
    one: Any,
    anchor_eid: str,
    other_eids: Sequence[str],
    roicat_root: str | Path | None = None,
    server_root: str | Path | None = None,
    *,
    filter_neurons: bool = True,
    sanity_check: bool = False,
) -> dict[str, np.ndarray]:
    """Find the neurons that were recorded in every one of several sessions, as indices.

    Different from the originals: a cluster-UID file of the wrong length is an error, not padded or cut, and a FOV
    without one keeps its rows, so that those of later FOVs are right.

    Parameters
    ----------
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    anchor_eid : str
        A session.
    other_eids : sequence of str
        The others, of the same subject.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    server_root
        No longer has a meaning: the tree and the session's own folders are looked in.
    filter_neurons : bool
        Count cells alone, as :func:`mesodask.compat.meso.load_or_embed` does, whose rows are meant.
        :func:`mesodask.compat.rows.store_rows` turns these indices into rows of a session store.
    sanity_check
        No longer has a meaning.

    Returns
    -------
    dict of str to numpy.ndarray
        By eid, in the order given: (n_shared,) int64 rows of ``load_or_embed(eid)["roi_signal"]``, the same neurons in
        the same order, that of their cluster UIDs. Empty arrays if no neuron is shared.

    Raises
    ------
    TrackingError
        No other session, one given twice, or sessions of several subjects.
    SessionNotFoundError, DataError
        As for :func:`mesodask.track_neurons`.

    Examples
    --------
    >>> idx_map = match_tracked_indices_across_sessions(one, eids[0], eids[1:])  # doctest: +SKIP
    >>> load_or_embed(eids[0])["roi_signal"][idx_map[eids[0]]]  # doctest: +SKIP
    """
    del server_root, sanity_check
    one = alf.connect(one)
    eids = [anchor_eid, *other_eids]
    tracked = tracking.track_neurons(eids, one=one, roicat_root=roicat_root, neurons_only=filter_neurons)
    found = _indices(tracked, one, filter_neurons=filter_neurons)
    return {eid: found[alf_sessions.session_info(one, eid).eid] for eid in eids}


def _indices(tracked: xr.Dataset, one: Any, *, filter_neurons: bool) -> dict[str, np.ndarray]:
    """Rows of the originals' table of each session, by eid in date order."""
    found = {}
    for eid, roi in zip(tracked["session"].values.tolist(), tracked["roi"].values, strict=True):
        found[eid] = _rank_among_cells(one, eid)[roi] if filter_neurons else roi
    return found


def _rank_among_cells(one: Any, eid: str) -> np.ndarray:
    """How many cells come before each ROI of a session, (n_rois,) int64; read from its files, without its store."""
    files = alf.SessionFiles(one, eid)
    is_cell = np.concatenate([fov.read_cells(files, name) for name in files.fov_names()])
    return np.cumsum(is_cell) - is_cell


@original(server_root=SERVER_ROOT, trial_key=TRIAL_KEY, enforce_monotone=MONOTONE)
def best_eid_subsets_for_animal(
    subject: str,
    *,
    one: Any = None,
    roicat_root: str | Path | None = None,
    server_root: str | Path | None = None,
    k_min: int = 5,
    k_max: int | None = None,
    n_starts: int = 10,
    random_starts: int = 5,
    enforce_monotone: bool = True,
    min_trials: int = 400,
    trial_key: str = "stimOn_times",
    filter_neurons: bool = True,
) -> dict[int, dict[str, Any]]:
    """Find, for every number of sessions of a subject, those that share the most neurons.

    Different from the originals: the greedy search is only where the exact one begins, so that the sessions share as
    many neurons, or more; they come in the order of their dates; and no count is lowered to look monotone.

    Parameters
    ----------
    subject : str
        The subject.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    server_root, enforce_monotone, trial_key
        No longer have a meaning.
    k_min, k_max : int
        Fewest and most sessions; at most 10, or as many as there are, by default.
    n_starts, random_starts : int
        Starts of the greedy search: from the sessions with the most neurons, and from random ones.
    min_trials : int
        Sessions with fewer trials are left out.
    filter_neurons : bool
        Count cells alone.

    Returns
    -------
    dict of int to dict
        ``{k: {"eids": list of str, "n_shared": int}}``.

    Raises
    ------
    SettingsError
        There are fewer than `k_min` sessions, or `k_max` is smaller.
    TrackingError, SessionNotFoundError, DataError
        As for :func:`mesodask.best_session_subsets`.

    Examples
    --------
    >>> best_eid_subsets_for_animal("SP072", k_min=10)[10]["n_shared"]  # doctest: +SKIP
    1349
    """
    del server_root, enforce_monotone, trial_key
    one = alf.connect(one)
    how: dict[str, Any] = {
        "one": one,
        "roicat_root": roicat_root,
        "min_trials": min_trials,
        "neurons_only": filter_neurons,
    }
    candidates = session_choice.find_candidates(subject, **how)
    usable = [candidate.neurons.info.eid for candidate in candidates if not candidate.reason]
    most = min(10 if k_max is None else k_max, len(usable))
    if not 1 <= k_min <= most:
        raise SettingsError(
            f"k_min is {k_min} and k_max {k_max}; {len(usable)} of {len(candidates)} sessions of {subject} have "
            f"{min_trials} trials and tracked neurons: expected 1 <= k_min <= k_max, and k_min <= {len(usable)}"
        )
    best = session_choice.best_session_subsets(
        usable, sizes=range(k_min, most + 1), n_best_starts=n_starts, n_random_starts=random_starts, **how
    )
    return {
        int(size): {"eids": session_choice.subset_eids(best, size), "n_shared": int(n_shared)}
        for size, n_shared in zip(best["size"].values, best["n_shared"].values, strict=True)
    }


@original(server_root=SERVER_ROOT, trial_key=TRIAL_KEY)
def pairwise_shared_indices_for_animal(
    subject: str,
    *,
    one: Any = None,
    roicat_root: str | Path | None = None,
    server_root: str | Path | None = None,
    min_trials: int = 400,
    trial_key: str = "stimOn_times",
    require_nonzero: bool = True,
    filter_neurons: bool = True,
) -> dict[str, dict[str, np.ndarray]]:
    """Match the neurons of each two sessions of a subject that follow each other.

    Different from the originals: a session with blocks of one side alone is left out, as one without blocks always was;
    two pairs whose eids begin alike get longer keys, where one overwrote the other; a pair that cannot be read is an
    error, and is not left out in silence.

    Parameters
    ----------
    subject : str
        The subject.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    server_root, trial_key
        No longer have a meaning.
    min_trials : int
        Sessions with fewer trials are left out.
    require_nonzero : bool
        Leave out pairs that share no neuron.
    filter_neurons : bool
        Count cells alone (see :func:`match_tracked_indices_across_sessions`).

    Returns
    -------
    dict of str to dict
        In date order, by the first three characters of both eids (``"3c7_4a4"``): ``{eid: indices}``, as
        :func:`match_tracked_indices_across_sessions` gives them. Empty, with a log line, if there are no two sessions.

    Raises
    ------
    SessionNotFoundError, DataError
        As for :func:`mesodask.consecutive_pairs`.

    Examples
    --------
    >>> pairs = pairwise_shared_indices_for_animal("SP072")  # doctest: +SKIP
    >>> list(pairs)  # doctest: +SKIP
    ['3c7_4a4', '4a4_bc3']
    """
    del server_root, trial_key
    one = alf.connect(one)
    try:
        pairs = session_choice.consecutive_pairs(
            subject, one=one, roicat_root=roicat_root, min_trials=min_trials, min_shared=int(require_nonzero),
            neurons_only=filter_neurons,
        )  # fmt: skip
    except TrackingError as error:
        logger.warning("%s: no pairs: %s", subject, error)
        return {}
    found = [_indices(pair, one, filter_neurons=filter_neurons) for pair in pairs]
    return dict(zip(pair_keys([list(pair) for pair in found]), found, strict=True))


def pair_keys(pairs: Sequence[Sequence[str]]) -> list[str]:
    """Name pairs by the first three characters of both eids, or by as many more as tell all pairs apart.

    Examples
    --------
    >>> pair_keys([("abc1", "def1"), ("def1", "abc2")])
    ['abc_def', 'def_abc']
    >>> pair_keys([("abc1", "def1"), ("abc2", "def2")])
    ['abc1_def1', 'abc2_def2']
    """
    length = 3
    while len({(a[:length], b[:length]) for a, b in pairs}) < len(pairs):
        length += 1
    return [f"{a[:length]}_{b[:length]}" for a, b in pairs]
