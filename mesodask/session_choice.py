"""Which sessions to analyse together: subsets that share the most neurons, and pairs of consecutive sessions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from mesodask import schema, selection, sessions
from mesodask.errors import DataError, SettingsError, TrackingError
from mesodask.io import alf, behavior, cache
from mesodask.numerics import subsets
from mesodask.settings import MIN_TRIALS
from mesodask.tracking import (
    SessionNeurons,
    find_sessions,
    match,
    presence_matrix,
    read_neurons,
    report_left_out,
    session_names,
)

logger = logging.getLogger(__name__)

DEFAULT_SIZES = range(5, 11)


@dataclass(frozen=True)
class Candidate:
    """A session that may be chosen.

    Attributes
    ----------
    neurons : SessionNeurons
        The session and its tracked neurons.
    n_trials : int
        Its trials; 0 if there are none, or none that can be read.
    reason : str
        Why it cannot be chosen; empty if it can.
    """

    neurons: SessionNeurons
    n_trials: int
    reason: str


def best_session_subsets(
    subject: str | Sequence[str],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    sizes: Sequence[int] | None = None,
    min_trials: int = MIN_TRIALS,
    method: Literal["exact", "greedy"] = "exact",
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
    time_limit: float = subsets.TIME_LIMIT,
    n_best_starts: int = subsets.N_BEST_STARTS,
    n_random_starts: int = subsets.N_RANDOM_STARTS,
    seed: int = 0,
) -> xr.Dataset:
    """Find, for every number of sessions, those that share the most neurons.

    Parameters
    ----------
    subject : str or sequence of str
        A subject, for all its sessions in which ROIs were found, or eids to choose from.
    one, roicat_root, neurons_only, neurons
        As for :func:`mesodask.track_neurons`.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default. Of sessions that are embedded the trials are those of
        their stores.
    sizes : sequence of int, optional
        Numbers of sessions; by default 5 to 10, as far as there are so many, and 2 to all of them if there are fewer
        than 5.
    min_trials : int
        A session with fewer trials is left out, and one without trials or without tracked neurons, too.
    method : {"exact", "greedy"}
        "exact" begins with the greedy search and goes on until the best is proven or the time is up (see
        :func:`mesodask.numerics.subsets.exact_subsets`).
    time_limit : float
        Seconds for the exact search of all sizes together.
    n_best_starts, n_random_starts, seed : int
        Of the greedy search: see :func:`mesodask.numerics.subsets.greedy_subsets`.

    Returns
    -------
    xarray.Dataset
        :data:`mesodask.schema.SESSION_SUBSETS`: ``member(size, session)``, ``n_shared(size)`` and ``gap(size)``, by
        how much another subset could be better at the most (0: proven best); for each session ``n_trials``,
        ``n_neurons`` and the ``reason`` why it is left out. :func:`mesodask.session_choice.subset_eids` gives the
        eids of a size.

    Raises
    ------
    TrackingError
        Fewer than two sessions can be chosen.
    SettingsError
        A size is not from 1 to the number of sessions that can be chosen, or another argument is not allowed.
    SessionNotFoundError, DataError
        As for :func:`mesodask.track_neurons`.
    """
    if method not in ("exact", "greedy"):
        raise SettingsError(f"method: {method!r} is none of exact, greedy")
    candidates = find_candidates(
        subject, one=one, cache_dir=cache_dir, roicat_root=roicat_root, min_trials=min_trials,
        neurons_only=neurons_only, neurons=neurons,
    )  # fmt: skip
    n_usable = sum(not candidate.reason for candidate in candidates)
    if sizes is None:
        fitting = [size for size in DEFAULT_SIZES if size <= n_usable]
        sizes = fitting or range(2, n_usable + 1)
    starts = {"n_best_starts": n_best_starts, "n_random_starts": n_random_starts, "seed": seed}
    attrs = {"method": method, "min_trials": min_trials, "neurons_only": neurons_only}
    return _best_of(candidates, sizes, {"method": method, "time_limit": time_limit, **starts}, attrs)


def _best_of(
    candidates: Sequence[Candidate], sizes: Sequence[int], how: Mapping[str, Any], attrs: Mapping[str, Any]
) -> xr.Dataset:
    """Find the best subsets of candidates; arguments as for :func:`best_session_subsets`."""
    usable = np.array([not candidate.reason for candidate in candidates])
    _, presence = presence_matrix([c.neurons for c in candidates if not c.reason])
    search = dict(how)
    if search.pop("method") == "exact":
        found = subsets.exact_subsets(presence, sizes, **search)
    else:
        del search["time_limit"]
        found = subsets.greedy_subsets(presence, sizes, **search)
    member = np.zeros((len(found.sizes), len(candidates)), dtype=bool)
    member[:, usable] = found.members
    infos = [candidate.neurons.info for candidate in candidates]
    return schema.conform(
        {
            "size": found.sizes,
            "member": member,
            "n_shared": found.n_shared,
            "gap": found.bound - found.n_shared,
            "n_trials": [candidate.n_trials for candidate in candidates],
            "n_neurons": [len(candidate.neurons.rows) for candidate in candidates],
            "reason": [candidate.reason for candidate in candidates],
            **session_names(infos),
        },
        schema.SESSION_SUBSETS,
        {"subject": infos[0].subject, **attrs},
    )


def longest_series(
    subject: str | Sequence[str],
    *,
    one: Any,
    cache_dir: str | Path | None,
    roicat_root: str | Path | None,
    min_sessions: int,
    min_shared: int,
    min_trials: int,
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
) -> list[str]:
    """Choose as many sessions as share enough neurons; of so many, those that share the most.

    Parameters
    ----------
    subject, one, cache_dir, roicat_root, min_trials, neurons_only, neurons
        As for :func:`best_session_subsets`.
    min_sessions : int
        Fewest sessions.
    min_shared : int
        Fewest neurons that all of them have.

    Returns
    -------
    list of str
        eids in the order of (date, number).

    Raises
    ------
    TrackingError
        Fewer sessions can be chosen, or no such set shares so many neurons; the message names the best there is.
    """
    candidates = find_candidates(
        subject, one=one, cache_dir=cache_dir, roicat_root=roicat_root, min_trials=min_trials,
        neurons_only=neurons_only, neurons=neurons,
    )  # fmt: skip
    name = candidates[0].neurons.info.subject
    left_out = [c for c in candidates if c.reason]
    n_usable = len(candidates) - len(left_out)
    if n_usable < min_sessions:
        why = "; ".join(f"{c.neurons.info.date.isoformat()}: {c.reason}" for c in left_out[:3])
        raise TrackingError(
            f"{n_usable} of {len(candidates)} sessions of {name} can be chosen, at least {min_sessions} (min_sessions) "
            f"are needed" + (f". Left out, e.g.: {why}" if why else "")
        )
    how = {"method": "exact", "time_limit": subsets.TIME_LIMIT, "n_best_starts": subsets.N_BEST_STARTS,
           "n_random_starts": subsets.N_RANDOM_STARTS, "seed": 0}  # fmt: skip
    best = _best_of(candidates, range(min_sessions, n_usable + 1), how, {})
    enough = best["size"].values[best["n_shared"].values >= min_shared]
    if not len(enough):
        raise TrackingError(
            f"no {min_sessions} sessions of {name} share {min_shared} neurons (min_k_shared); "
            f"{best_in_words(best, min_sessions)}. Lower min_k_shared, or min_sessions"
        )
    size = int(enough.max())
    if best["gap"].sel(size=size) > 0:
        logger.warning(
            "%s: the search for the best %d sessions ran out of time, and may end elsewhere another time: give these "
            "eids to go on with them: %s", name, size, " ".join(subset_eids(best, size)),
        )  # fmt: skip
    return subset_eids(best, size)


def best_in_words(best: xr.Dataset, size: int) -> str:
    """Say which sessions of a size share the most neurons, and how many.

    Examples
    --------
    >>> member = (("size", "session"), [[True, False, True]])
    >>> date = ("session", ["2025-01-13", "2025-01-14", "2025-01-15"])
    >>> best = xr.Dataset({"member": member, "n_shared": ("size", [31])}, {"size": [2], "date": date})
    >>> best_in_words(best, 2)
    'the best 2 (2025-01-13, 2025-01-15) share 31'
    """
    dates = ", ".join(best["date"].values[best["member"].sel(size=size).values])
    return f"the best {size} ({dates}) share {int(best['n_shared'].sel(size=size))}"


def subset_eids(best: xr.Dataset, size: int) -> list[str]:
    """Give the eids of the best subset of a size, in the order of (date, number).

    Parameters
    ----------
    best : xarray.Dataset
        From :func:`best_session_subsets`.
    size : int
        Number of sessions.

    Raises
    ------
    SettingsError
        This size was not asked for.

    Examples
    --------
    >>> member = (("size", "session"), [[True, False, True]])
    >>> best = xr.Dataset({"member": member}, {"size": [2], "session": list("abc")})
    >>> subset_eids(best, 2)
    ['a', 'c']
    """
    if size not in best["size"].values:
        raise SettingsError(f"size: {size} is none of {', '.join(map(str, best['size'].values))}")
    return best["session"].values[best["member"].sel(size=size).values].tolist()


def consecutive_pairs(
    subject: str | Sequence[str],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    min_trials: int = MIN_TRIALS,
    min_shared: int = 1,
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
) -> list[xr.Dataset]:
    """Match the neurons of each two sessions that follow each other.

    Sessions with too few trials, or without biased blocks of both sides (probabilityLeft 0.2 and 0.8), are left out
    first: the session before and the one after are then consecutive.

    Parameters
    ----------
    subject : str or sequence of str
        A subject, for all its sessions in which ROIs were found, or eids.
    one, roicat_root, neurons_only, neurons
        As for :func:`mesodask.track_neurons`.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default. Of sessions that are embedded the trials are those of
        their stores.
    min_trials : int
        Fewest trials of a session.
    min_shared : int
        Fewest neurons of a pair; a log line names the pairs that share fewer.

    Returns
    -------
    list of xarray.Dataset
        Of each pair what :func:`mesodask.track_neurons` gives, in date order.

    Raises
    ------
    TrackingError
        Fewer than two sessions are left.
    SettingsError, SessionNotFoundError, DataError
        As for :func:`mesodask.track_neurons`.
    """
    candidates = find_candidates(
        subject, one=one, cache_dir=cache_dir, roicat_root=roicat_root, min_trials=min_trials, blocks=True,
        neurons_only=neurons_only, neurons=neurons,
    )  # fmt: skip
    usable = [candidate.neurons for candidate in candidates if not candidate.reason]
    pairs = [
        match(pair, {"neurons_only": neurons_only, "neurons": selection.in_words(neurons)}) for pair in pairwise(usable)
    ]
    for pair in pairs:
        if pair.sizes["neuron"] < min_shared:
            logger.warning("%s: left out the pair %s: %d neurons shared, at least %d wanted", pair.attrs["subject"],
                           " and ".join(pair["date"].values), pair.sizes["neuron"], min_shared)  # fmt: skip
    return [pair for pair in pairs if pair.sizes["neuron"] >= min_shared]


def find_candidates(
    subject: str | Sequence[str],
    *,
    one: Any,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None,
    min_trials: int,
    blocks: bool = False,
    **narrowing: Any,
) -> list[Candidate]:
    """Find the sessions, and say which of them can be chosen; log lines name the others.

    Parameters
    ----------
    subject, one, cache_dir, roicat_root, min_trials
        As for :func:`best_session_subsets`.
    blocks : bool
        Whether a session needs biased blocks of both sides.
    **narrowing
        ``neurons_only`` and ``neurons`` of :func:`mesodask.track_neurons`.

    Returns
    -------
    list of Candidate
        In the order of (date, number).

    Raises
    ------
    TrackingError
        Fewer than two of them can be chosen.
    """
    one = alf.connect(one)
    folder = cache.cache_folder(cache_dir, one)
    every = find_sessions(subject, one)
    found = read_neurons(every, roicat_root=roicat_root, **narrowing)
    candidates = [_judge(*of_one, folder, min_trials, blocks) for of_one in zip(every, found, strict=True)]
    name = found[0].info.subject
    reasons = {c.neurons.info: c.reason for c in candidates if c.reason}
    if len(candidates) - len(reasons) < 2:
        examples = [f"{info.date.isoformat()}: {reason}" for info, reason in reasons.items()][:3]
        raise TrackingError(
            f"{len(candidates) - len(reasons)} of {len(candidates)} sessions of {name} can be chosen, at least 2 are "
            f"needed. Left out, e.g.: {'; '.join(examples)}"
        )
    report_left_out(name, reasons)
    return candidates


def _judge(files: alf.SessionFiles, neurons: SessionNeurons, folder: Path, min_trials: int, blocks: bool) -> Candidate:
    try:
        trials = sessions.trials_of(files, cache.session_store(folder, files.info.eid))
    except DataError as error:  # one such session among many is no reason to do without the others
        return Candidate(neurons, 0, str(error))
    n_trials = len(trials.get("choice", ()))
    reason = ""
    if not trials:
        reason = "no trials"
    elif n_trials < min_trials:
        reason = f"{n_trials} trials, at least {min_trials} wanted"
    elif blocks and not behavior.has_blocks(trials):
        reason = "no biased blocks of both sides"
    elif not neurons.rows:
        reason = "no tracked neurons"
    return Candidate(neurons, n_trials, reason)
