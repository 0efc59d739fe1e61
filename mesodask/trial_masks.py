"""Narrowing a session's trials: ``trial_mask=`` as one mask, or one for each of several sessions."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mesodask.errors import SettingsError

TrialMask = np.ndarray | Sequence[bool] | Mapping[str, np.ndarray] | None


def masks(trial_mask: TrialMask, eids: Sequence[str], n_trials: Callable[[str], int | None]) -> dict[str, np.ndarray]:
    """Turn ``trial_mask=`` into one mask over all trials for each session that it narrows.

    Parameters
    ----------
    trial_mask : None, array (n_trials,) of bool, or mapping of eid to such
        None narrows nothing; one array is for one session alone; sessions that a mapping does not name keep all of
        their trials.
    eids : sequence of str
        The sessions.
    n_trials : callable(eid) -> int or None
        Trials of a session; None if it has none that can be read.

    Returns
    -------
    dict of str to numpy.ndarray, (n_trials,) bool
        By eid. A mask that keeps all trials is not among them: it is the same as none.

    Raises
    ------
    SettingsError
        A mask is not of booleans or not one a trial, or it is for another session.

    Examples
    --------
    >>> found = masks({"a": np.array([True, False]), "b": np.array([True, True])}, ["a", "b"], lambda eid: 2)
    >>> found["a"].tolist(), "b" in found
    ([True, False], False)
    """
    if trial_mask is None:
        return {}
    if not isinstance(trial_mask, Mapping):
        if len(eids) != 1:
            raise SettingsError(
                f"trial_mask: one mask for {len(eids)} sessions, whose trials are not the same; give a mapping "
                "{eid: mask}"
            )
        trial_mask = {eids[0]: np.asarray(trial_mask)}
    by_eid = {str(eid): np.asarray(mask) for eid, mask in trial_mask.items() if mask is not None}
    strangers = sorted(set(by_eid) - set(eids))
    if strangers:
        raise SettingsError(f"trial_mask: {', '.join(strangers)} is none of the sessions ({', '.join(eids)})")
    for eid, mask in by_eid.items():
        n = n_trials(eid)
        if mask.dtype != bool or mask.ndim != 1 or (n is not None and len(mask) != n):
            raise SettingsError(
                f"trial_mask: found shape {mask.shape} and dtype {mask.dtype} for session {eid}; expected "
                f"{'one boolean a trial' if n is None else f'{n} booleans, one a trial'}"
            )
    return {eid: mask for eid, mask in by_eid.items() if not mask.all()}


def identity(found: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Give a fingerprint of each mask, for the hash of a run.

    Examples
    --------
    >>> identity({"a": np.array([True, False])}) == identity({"a": np.array([True, True])})
    False
    """
    return {
        eid: hashlib.blake2b(f"{len(mask)}:".encode() + np.packbits(mask).tobytes(), digest_size=16).hexdigest()
        for eid, mask in found.items()
    }
