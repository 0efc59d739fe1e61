"""Which sessions of a subject share the most neurons.

Given which neuron was found in which session, a subset S of the sessions shares the neurons that were found in every
session of S,

    n(S) = sum over neurons j of  product over s in S of presence[s, j],

and for every size k the subset with the largest n(S) is wanted. :func:`greedy_subsets` searches from many starts;
:func:`exact_subsets` goes on from there with branch and bound, until it is proven that no subset shares more.

Neurons that were found in the same sessions are interchangeable: both work on the distinct patterns of presence and
on how many neurons have each, not on the neurons.
"""

import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mesodask.errors import SettingsError
from mesodask.numerics.presence import Patterns, group_patterns, mask_of, pair_counts
from mesodask.numerics.seeds import generator

N_BEST_STARTS, N_RANDOM_STARTS = 10, 5
TIME_LIMIT = 60.0  # s


@dataclass(frozen=True)
class Subsets:
    """The subset that was found for each size.

    Attributes
    ----------
    sizes : numpy.ndarray, (n_sizes,) int64
        Numbers of sessions, as they were asked for.
    members : numpy.ndarray, (n_sizes, n_sessions) bool
        Which sessions are in the subset.
    n_shared : numpy.ndarray, (n_sizes,) int64
        Neurons that all of them share.
    bound : numpy.ndarray, (n_sizes,) int64
        No subset of this size shares more than that; where it equals `n_shared`, the subset is proven to be the best.
    """

    sizes: np.ndarray
    members: np.ndarray
    n_shared: np.ndarray
    bound: np.ndarray


# a branch of the search: its bound, negative so that the highest comes first; the sessions chosen; the candidates
_Branch = tuple[float, tuple[int, ...], tuple[int, ...]]


def _checked(presence: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    presence = np.asarray(presence)
    if presence.dtype != bool or presence.ndim != 2:
        raise SettingsError(
            f"presence has dtype {presence.dtype} and shape {presence.shape}; expected bool (n_sessions, n_neurons)"
        )
    wanted = np.asarray(sizes, dtype=np.int64)
    outside = [int(k) for k in wanted if not 1 <= k <= len(presence)]
    if outside or len(wanted) == 0:
        raise SettingsError(
            f"sizes: {', '.join(map(str, outside)) or 'none given'}; expected numbers of sessions "
            f"from 1 to {len(presence)}, as many as there are to choose from"
        )
    return presence, wanted


def greedy_subsets(
    presence: np.ndarray,
    sizes: Sequence[int],
    *,
    n_best_starts: int = N_BEST_STARTS,
    n_random_starts: int = N_RANDOM_STARTS,
    seed: int = 0,
) -> Subsets:
    """Search for the best subsets step by step, from many starts.

    A start is a pair of sessions: the `n_best_starts` pairs that share the most neurons, and `n_random_starts` pairs
    drawn at random. Each grows by the session that keeps the most neurons (the earliest one of equals), and for every
    size the best over all starts is kept. A subset of size 1 is the session with the most neurons.

    Parameters
    ----------
    presence : numpy.ndarray, (n_sessions, n_neurons) bool
        Which neuron was found in which session.
    sizes : sequence of int
        Numbers of sessions.
    n_best_starts, n_random_starts : int
        Numbers of starts.
    seed : int
        The random pairs are keyed (seed, "subsets", "start").

    Returns
    -------
    Subsets
        Their `bound` is what counting neurons of single sessions and of pairs can tell.

    Raises
    ------
    SettingsError
        `presence` is no matrix of booleans, or a size is not from 1 to n_sessions.

    Examples
    --------
    >>> presence = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [0, 1, 1, 0]], dtype=bool)
    >>> found = greedy_subsets(presence, [2, 3])
    >>> found.members.astype(int).tolist(), found.n_shared.tolist()
    ([[1, 1, 0], [1, 1, 1]], [2, 1])
    """
    presence, wanted = _checked(presence, sizes)
    patterns = group_patterns(presence, fewest=1)
    starts = _starts(patterns, n_best_starts, n_random_starts, seed)
    best: dict[int, tuple[int, list[int]]] = {}
    for start in starts:
        members = list(start)
        for shared in _growing(patterns, members, int(wanted.max())):
            size = len(members)
            if size not in best or shared > best[size][0]:
                best[size] = shared, list(members)
    found = np.zeros((len(wanted), len(presence)), dtype=bool)
    for row, size in enumerate(wanted.tolist()):
        found[row, best[size][1]] = True
    n_shared = np.array([best[size][0] for size in wanted.tolist()], dtype=np.int64)
    # the bound of the undivided search: with no time to spend it stops there
    bound = [_Search(patterns, np.flatnonzero(row).tolist()).run(deadline=0.0) for row in found]
    return Subsets(wanted, found, n_shared, np.array(bound, dtype=np.int64))


def _starts(patterns: Patterns, n_best: int, n_random: int, seed: int) -> list[tuple[int, ...]]:
    """Pairs to start from, and the largest session alone."""
    counts = pair_counts(patterns.present, patterns.weight)
    single = (int(np.argmax(np.diag(counts))),)
    pairs = list(combinations(range(patterns.n_sessions), 2))
    if not pairs:
        return [single]
    order = np.argsort([-counts[pair] for pair in pairs], kind="stable")
    drawn = generator(seed, "subsets", "start").permutation(len(pairs))[:n_random]
    chosen = dict.fromkeys([*order[:n_best].tolist(), *drawn.tolist()])
    return [single, *(pairs[i] for i in chosen)]


def _growing(patterns: Patterns, members: list[int], largest: int) -> Iterator[int]:
    """Add sessions to `members` up to `largest`; yield what they share at the start and after each."""
    rows = patterns.with_all(members)
    present, weight = patterns.present[rows], patterns.weight[rows]
    yield int(weight.sum())
    while len(members) < largest:
        kept = weight @ present
        kept[members] = -1
        members.append(int(np.argmax(kept)))
        there = present[:, members[-1]] > 0
        present, weight = present[there], weight[there]
        yield int(weight.sum())


def exact_subsets(
    presence: np.ndarray,
    sizes: Sequence[int],
    *,
    time_limit: float = TIME_LIMIT,
    n_best_starts: int = N_BEST_STARTS,
    n_random_starts: int = N_RANDOM_STARTS,
    seed: int = 0,
) -> Subsets:
    """Find the best subsets, and prove that they are the best, by branch and bound.

    The search begins with what :func:`greedy_subsets` finds, improved by exchanging single sessions, and is never
    below it. A branch has some sessions chosen and r more to be taken from its candidates; it is given up when no
    completion can share more than the best subset found so far. With I the neurons that all chosen sessions share,
    a candidate t is in no better subset if either of these is not above the best:

    - the (r - 1)-th largest over candidates u of the neurons of I that are in t and in u;
    - Dawson and Sankoff's bound: a neuron of I that c of the r taken sessions lack counts as 1 if c = 0, else 0,
      which is at most (m - c)(m + 1 - c) / (m (m + 1)) for every whole m >= 1. Summed over neurons it needs the
      neurons lacked by single candidates and by pairs of them only.

    Neurons of I in fewer than r candidates cannot be shared either and are dropped, until nothing changes any more.
    The branch with the highest bound is taken first. A mixed-integer program with one row for every pattern and
    session it lacks, solved with HiGHS, took 15 s for 12 sessions and 577 patterns, where this takes a hundredth of a
    second.

    Parameters
    ----------
    presence : numpy.ndarray, (n_sessions, n_neurons) bool
        Which neuron was found in which session.
    sizes : sequence of int
        Numbers of sessions.
    time_limit : float
        Seconds for all sizes together; what a size leaves is for those after it. Where it does not suffice, `bound`
        of the result says how much more a subset could share at the most.
    n_best_starts, n_random_starts, seed : int
        As for :func:`greedy_subsets`.

    Returns
    -------
    Subsets
        The same at every call where it is proven.

    Raises
    ------
    SettingsError
        `presence` is no matrix of booleans, a size is not from 1 to n_sessions, or the time limit is negative.

    References
    ----------
    Dawson, D. A. and Sankoff, D. (1967). An inequality for probabilities. Proc. Am. Math. Soc. 18, 504-507.

    Examples
    --------
    >>> presence = np.random.default_rng(0).random((12, 2000)) < 0.6
    >>> found = exact_subsets(presence, [5, 6])
    >>> bool((found.bound == found.n_shared).all())
    True
    """
    if not time_limit >= 0:
        raise SettingsError(f"time_limit is {time_limit!r}; expected seconds, 0 or more")
    deadline = time.monotonic() + time_limit
    found = greedy_subsets(presence, sizes, n_best_starts=n_best_starts, n_random_starts=n_random_starts, seed=seed)
    patterns = group_patterns(np.asarray(presence), int(found.sizes.min()))
    left = len(found.sizes)
    for row in np.argsort(found.sizes, kind="stable"):
        now = time.monotonic()
        search = _Search(patterns, np.flatnonzero(found.members[row]).tolist())
        search.exchange()
        bound = search.run(now + max(deadline - now, 0.0) / left)
        found.members[row] = np.isin(np.arange(patterns.n_sessions), search.members)
        found.n_shared[row], found.bound[row] = search.best, min(bound, found.bound[row])
        left -= 1
    return found


class _Search:
    """Branch and bound for one size.

    Attributes
    ----------
    best : int
        Neurons that the best subset found so far shares.
    members : list of int
        That subset.
    """

    def __init__(self, patterns: Patterns, members: list[int]) -> None:
        self._patterns = patterns
        self._size = len(members)
        self.members = members
        self.best = self._shared(members)

    def _shared(self, members: Sequence[int]) -> int:
        return int(self._patterns.weight[self._patterns.with_all(members)].sum())

    def _offer(self, members: Sequence[int], shared: float) -> bool:
        if shared <= self.best:
            return False
        self.members, self.best = sorted(members), int(shared)
        return True

    def exchange(self) -> None:
        """Exchange one session for a better one, as long as there is any."""
        while any(self._replace(session) for session in self.members):
            pass

    def _replace(self, session: int) -> bool:
        rest = [other for other in self.members if other != session]
        rows = self._patterns.with_all(rest)
        kept = self._patterns.weight[rows] @ self._patterns.present[rows]
        kept[rest] = -1
        return self._offer([*rest, int(np.argmax(kept))], kept.max())

    def run(self, deadline: float) -> int:
        """Search until the best is proven or the time is up; give the bound that holds then."""
        branches = self._expand((-np.inf, (), tuple(range(self._patterns.n_sessions))))
        heapq.heapify(branches)
        while branches and -branches[0][0] > self.best:
            if time.monotonic() > deadline:
                return int(-branches[0][0])
            for branch in self._expand(heapq.heappop(branches)):
                if -branch[0] > self.best:
                    heapq.heappush(branches, branch)
        return self.best

    def _expand(self, branch: _Branch) -> list[_Branch]:
        """Split a branch by the next session to take; nothing is left of one that cannot hold a better subset."""
        _, chosen, left = branch
        candidates, wanted = np.array(left), self._size - len(chosen)
        rows = self._patterns.with_all(chosen)
        while True:
            inside = self._patterns.words[rows] & mask_of(candidates.tolist(), self._patterns.words.shape[1])
            rows = rows[np.bitwise_count(inside).sum(axis=1) >= wanted]
            weight = self._patterns.weight[rows]
            counts = pair_counts(self._patterns.present[np.ix_(rows, candidates)], weight)
            if wanted <= 2:
                self._finish(chosen, candidates, counts, wanted)
                return []
            limits = _limits(counts, float(weight.sum()), wanted)
            promising = limits > self.best
            if promising.sum() < wanted:
                return []
            if promising.all():
                return _children(branch, candidates, counts, limits, wanted)
            candidates = candidates[promising]

    def _finish(self, chosen: tuple[int, ...], candidates: np.ndarray, counts: np.ndarray, wanted: int) -> None:
        """Take the last one or two sessions: the counts say which."""
        # the pairs, or the single sessions on the diagonal
        counts = np.where(np.eye(len(counts), dtype=bool) == (wanted == 1), counts, -1)
        last = np.unravel_index(int(np.argmax(counts)), counts.shape)[:wanted]
        self._offer([*chosen, *candidates[list(last)].tolist()], counts.max())


def _limits(counts: np.ndarray, total: float, wanted: int) -> np.ndarray:
    """Bound, for every candidate, what a subset with it can share (see :func:`exact_subsets`).

    Parameters
    ----------
    counts : numpy.ndarray, (n, n)
        Neurons that each pair of candidates shares.
    total : float
        Neurons to begin with.
    wanted : int
        Sessions to take, three or more; at most n.

    Returns
    -------
    numpy.ndarray, (n,) float64
    """
    counts = counts.astype(np.float64)
    single, n = np.diag(counts).copy(), len(counts)
    lacked = total - single
    both_lacked = total - single[:, None] - single[None, :] + counts
    np.fill_diagonal(both_lacked, 0.0)
    np.fill_diagonal(counts, -1.0)
    by_pairs = np.partition(counts, n - wanted + 1, axis=1)[:, n - wanted + 1]
    most_lacked = np.partition(both_lacked, n - wanted + 1, axis=1)[:, n - wanted + 1 :].sum(axis=1)
    m = np.arange(1, wanted + 1)[:, None]
    value = most_lacked / (m * (m + 1)) - 2 * lacked / (m + 1)  # (n_m, n), of a session that is taken
    highest = np.partition(value, n - wanted, axis=1)[:, n - wanted :]
    # the highest values, among which the session's own takes the place of the last if it is not there
    with_session = total + highest.sum(axis=1, keepdims=True) - highest[:, :1] + np.minimum(value, highest[:, :1])
    return np.minimum(by_pairs, np.floor(with_session.min(axis=0) + 1e-6))


def _children(
    branch: _Branch, candidates: np.ndarray, counts: np.ndarray, limits: np.ndarray, wanted: int
) -> list[_Branch]:
    """Take each candidate in turn, with those after it; the least promising first, as its branch is the largest."""
    order = np.argsort(limits, kind="stable")
    candidates, counts = candidates[order], counts[np.ix_(order, order)]
    bounds = np.minimum(limits[order], -branch[0])
    # a subset shares no more than its wanted best candidates allow
    bounds = np.minimum(bounds, bounds[len(bounds) - wanted])
    children = []
    for i in range(len(candidates) - wanted + 1):
        by_pairs = np.partition(counts[i, i + 1 :], -(wanted - 1))[-(wanted - 1)]
        bound = min(float(bounds[i]), float(by_pairs))
        children.append((-bound, (*branch[1], int(candidates[i])), tuple(candidates[i + 1 :].tolist())))
    return children
