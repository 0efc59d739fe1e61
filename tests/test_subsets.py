"""Best subsets of sessions, against brute force and against the rule written out (5 s)."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mesodask.errors import SettingsError
from mesodask.numerics.subsets import exact_subsets, greedy_subsets

PRESENCE = st.tuples(st.integers(1, 8), st.integers(0, 40)).flatmap(lambda shape: arrays(bool, shape))


def shared(presence, members):
    return int(presence[list(members)].all(axis=0).sum())


def best_of_all(presence, size):
    return max(shared(presence, members) for members in combinations(range(len(presence)), size))


def step_by_step(presence, start, size):
    """The greedy rule in plain words; of sessions that keep equally many the earliest."""
    members = list(start)
    while len(members) < size:
        rest = [s for s in range(len(presence)) if s not in members]
        members.append(max(rest, key=lambda s: shared(presence, [*members, s])))
    return shared(presence, members)


def drifting(n_sessions, n_neurons, seed=0):
    """Neurons that come and go, and are missed on some days."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(-n_sessions, n_sessions, n_neurons)
    last = first + rng.exponential(n_sessions, n_neurons)
    day = np.arange(n_sessions)[:, None]
    return (first <= day) & (day <= last) & (rng.random((n_sessions, n_neurons)) < 0.8)


@settings(max_examples=150, deadline=None)
@given(PRESENCE)
def test_exact_is_brute_force_and_never_below_greedy(presence):
    sizes = list(range(1, len(presence) + 1))
    found, greedy = exact_subsets(presence, sizes), greedy_subsets(presence, sizes)
    truth = [best_of_all(presence, size) for size in sizes]
    assert found.n_shared.tolist() == truth
    assert found.bound.tolist() == truth
    assert (greedy.n_shared <= truth).all()
    assert (greedy.bound >= truth).all()
    for result in (found, greedy):
        assert result.members.sum(axis=1).tolist() == sizes
        assert [shared(presence, np.flatnonzero(row)) for row in result.members] == result.n_shared.tolist()


def scattered(n_sessions, n_groups, seed):
    """Groups of neurons, each in a few sessions drawn at random: what pairs share says little about larger subsets."""
    rng = np.random.default_rng(seed)
    presence = np.zeros((n_sessions, n_groups), dtype=bool)
    for group in range(n_groups):
        presence[rng.choice(n_sessions, rng.integers(2, 8), replace=False), group] = True
    return np.repeat(presence, rng.integers(1, 30, n_groups), axis=1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["drifting", "independent", "scattered"])
def test_exact_is_brute_force_where_branches_are_deep(kind, seed):
    """Some hundred subsets, and many branches; the search starts from one step-by-step result only."""
    presence = {
        "drifting": lambda: drifting(11, 600, seed),
        "independent": lambda: np.random.default_rng(seed).random((11, 600)) < 0.6,
        "scattered": lambda: scattered(11, 40, seed),
    }[kind]()
    sizes = [3, 4, 6]
    found = exact_subsets(presence, sizes, n_best_starts=0, n_random_starts=0)
    assert found.n_shared.tolist() == [best_of_all(presence, size) for size in sizes]
    assert (found.bound == found.n_shared).all()


@settings(max_examples=50, deadline=None)
@given(PRESENCE.filter(lambda presence: len(presence) >= 2))
def test_greedy_follows_the_rule(presence):
    n = len(presence)
    largest = max(range(n), key=lambda s: shared(presence, [s]))
    starts = [*combinations(range(n), 2), (largest,)]
    found = greedy_subsets(presence, range(2, n + 1), n_best_starts=n * n, n_random_starts=0)
    for size, n_shared in zip(found.sizes, found.n_shared, strict=True):
        assert n_shared == max(step_by_step(presence, start, size) for start in starts)


def test_best_starts_are_the_best_pairs_and_the_seed_chooses_the_others():
    presence = np.random.default_rng(3).random((20, 400)) < 0.5
    pairs = sorted(combinations(range(20), 2), key=lambda pair: -shared(presence, pair))
    largest = max(range(20), key=lambda s: shared(presence, [s]))
    found = greedy_subsets(presence, [6], n_best_starts=2, n_random_starts=0)
    assert found.n_shared[0] == max(step_by_step(presence, s, 6) for s in [*pairs[:2], (largest,)])
    by_seed = [greedy_subsets(presence, [6], n_best_starts=0, n_random_starts=3, seed=s) for s in (0, 0, 1, 2, 3)]
    assert by_seed[0].members.tolist() == by_seed[1].members.tolist()
    assert len({result.members.tobytes() for result in by_seed}) > 1


def test_exact_beats_greedy_where_greedy_is_misled():
    """The two largest sessions share most, and lead away from the three that hold together."""
    blocks = [([0, 1], 50), ([0, 2], 20), ([1, 3], 20), ([2, 3, 4], 30)]
    presence = np.zeros((5, sum(n for _, n in blocks)), dtype=bool)
    first = 0
    for sessions, n in blocks:
        presence[sessions, first : first + n] = True
        first += n
    assert greedy_subsets(presence, [3], n_best_starts=1, n_random_starts=0).n_shared.tolist() == [0]
    found = exact_subsets(presence, [3], n_best_starts=1, n_random_starts=0)
    assert found.n_shared.tolist() == [30]
    assert np.flatnonzero(found.members[0]).tolist() == [2, 3, 4]


def test_order_of_sessions_and_neurons_plays_no_part():
    presence = drifting(16, 800)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(16), rng.permutation(800)
    found, moved = (exact_subsets(p, [4, 8]) for p in (presence, presence[rows][:, columns]))
    assert found.n_shared.tolist() == moved.n_shared.tolist()


def test_more_than_64_sessions():
    presence = drifting(70, 900)
    presence[[3, 40, 69], :200] = True  # over all words of the patterns
    found = exact_subsets(presence, [2, 3])
    counts = presence.astype(int) @ presence.T
    assert found.n_shared[0] == (counts - np.diag(np.diag(counts))).max()
    assert found.n_shared[1] == best_of_all(presence, 3)


def test_time_limit_leaves_a_gap_and_a_bound_that_holds():
    presence = np.random.default_rng(0).random((18, 3000)) < 0.6
    hurried, patient = (exact_subsets(presence, [8], time_limit=limit) for limit in (0, 60))
    assert (patient.n_shared == patient.bound).all()
    assert hurried.n_shared[0] <= patient.n_shared[0] < hurried.bound[0]
    assert hurried.n_shared[0] >= greedy_subsets(presence, [8]).n_shared[0]


@pytest.mark.parametrize(
    ("presence", "sizes", "words"),
    [
        (np.zeros((3, 4), dtype=int), [2], "expected bool"),
        (np.zeros(4, dtype=bool), [2], r"shape \(4,\)"),
        (np.zeros((3, 4), dtype=bool), [2, 4], "sizes: 4; expected .* from 1 to 3"),
        (np.zeros((3, 4), dtype=bool), [0], "sizes: 0"),
        (np.zeros((3, 4), dtype=bool), [], "none given"),
    ],
)
def test_what_is_refused(presence, sizes, words):
    with pytest.raises(SettingsError, match=words):
        exact_subsets(presence, sizes)
    with pytest.raises(SettingsError, match="time_limit"):
        exact_subsets(np.zeros((3, 4), dtype=bool), [2], time_limit=-1)
