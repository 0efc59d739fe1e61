"""Patterns of presence: neurons that were found in the same sessions are interchangeable, and counted together."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# sums of whole numbers are exact below this in float32, whose matrix products take half the time of float64's
EXACT_IN_FLOAT32 = 1 << 24


class Patterns(NamedTuple):
    """Distinct patterns of presence.

    Attributes
    ----------
    words : numpy.ndarray, (n_patterns, n_words) uint64
        The patterns as bits, the first session lowest.
    present : numpy.ndarray, (n_patterns, n_sessions) float
        The same as 0 and 1.
    weight : numpy.ndarray, (n_patterns,) float
        Number of neurons of each.
    """

    words: np.ndarray
    present: np.ndarray
    weight: np.ndarray

    @property
    def n_sessions(self) -> int:
        """Number of sessions to choose from."""
        return self.present.shape[1]

    def with_all(self, members: Sequence[int]) -> np.ndarray:
        """Find the patterns that hold all these sessions: their indices."""
        wanted = mask_of(members, self.words.shape[1])
        return np.flatnonzero(((self.words & wanted) == wanted).all(axis=1))


def mask_of(sessions: Sequence[int], n_words: int) -> np.ndarray:
    """Set the bits of some sessions, (n_words,) uint64.

    Examples
    --------
    >>> mask_of([0, 2, 64], 2).tolist()
    [5, 1]
    """
    mask = np.zeros(n_words, dtype=np.uint64)
    for session in sessions:
        mask[session // 64] |= np.uint64(1) << np.uint64(session % 64)
    return mask


def group_patterns(presence: np.ndarray, fewest: int) -> Patterns:
    """Group the neurons by pattern; those in fewer than `fewest` sessions are in no subset and are left out.

    Examples
    --------
    >>> found = group_patterns(np.array([[True, True, False], [True, True, True]]), fewest=1)
    >>> found.words[:, 0].tolist(), found.weight.tolist()
    ([2, 3], [1.0, 2.0])
    """
    presence = presence[:, presence.sum(axis=0) >= fewest]
    n_sessions = len(presence)
    n_words = -(-n_sessions // 64)
    words = np.zeros((presence.shape[1], n_words), dtype=np.uint64)
    for session in range(n_sessions):
        words[:, session // 64] |= presence[session].astype(np.uint64) << np.uint64(session % 64)
    words, first, weight = np.unique(words, axis=0, return_index=True, return_counts=True)
    dtype = np.float32 if presence.shape[1] < EXACT_IN_FLOAT32 else np.float64
    return Patterns(words, np.ascontiguousarray(presence[:, first].T, dtype=dtype), weight.astype(dtype))


def pair_counts(present: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Count the neurons that each pair of sessions shares, (n_sessions, n_sessions); the diagonal has those of each.

    Examples
    --------
    >>> pair_counts(np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 2.0])).tolist()
    [[2.0, 2.0], [2.0, 3.0]]
    """
    return (present * weight[:, None]).T @ present
