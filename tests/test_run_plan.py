"""The plan of a run: what is missing is cut into blocks without loss, lazily, and by what scores have taken."""

import dataclasses
import itertools
import time
import tracemalloc
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesodask.curves.cost import Load, estimate, plan_of_loads
from mesodask.curves.plan import Cost, Extent, Grain, Pace, Piece, cost_of, cut_blocks, fresh_pieces, pieces_of
from mesodask.settings import NdcSettings

Cell = tuple[int, int, int]  # k, resample, and shuffle or -1 for the data


def cells(pieces: Iterable[Piece]) -> list[Cell]:
    return [
        (piece.k, resample, label)
        for piece in pieces
        for resample in piece.resamples
        for label in ([-1] if piece.data else []) + list(piece.shuffles)
    ]


@st.composite
def missing(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    R = draw(st.integers(1, 12))
    null_resamples, n_shuffles = draw(st.integers(0, R)), draw(st.integers(0, 12))
    bits = draw(st.lists(st.booleans(), min_size=R * 13, max_size=R * 13))
    values = np.array(bits).reshape(R, 13)
    return values[:, 0], values[:null_resamples, 1 : 1 + n_shuffles]


@settings(deadline=None)
@given(missing(), st.sampled_from([1, 4, 5]))
def test_pieces_are_what_is_missing_in_whole_batches(of: tuple[np.ndarray, np.ndarray], batch: int) -> None:
    data, null = of
    expected = {(3, int(r), -1) for r in np.flatnonzero(data)}
    for r, s in zip(*np.nonzero(null), strict=True):
        first = s // batch * batch
        expected |= {(3, int(r), int(other)) for other in range(first, min(first + batch, null.shape[1]))}
    found = cells(pieces_of(3, data, null, Grain(5, batch)))
    assert len(found) == len(set(found))
    assert set(found) == expected


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    start, first, n_batches = draw(st.integers(0, 9)), 4 * draw(st.integers(0, 3)), draw(st.integers(0, 5))
    shuffles = range(first, first + max(0, 4 * n_batches - draw(st.integers(0, 2))))
    data = draw(st.booleans()) or not n_batches
    return Piece(draw(st.integers(1, 4)), range(start, start + draw(st.integers(1, 40))), data, shuffles)


@settings(deadline=None)
@given(st.lists(pieces(), max_size=5), st.floats(0, 2), st.floats(0, 2), st.floats(0.01, 40))
def test_blocks_are_the_pieces_cut(whole: list[Piece], data: float, null: float, seconds: float) -> None:
    """Every score once, batches whole, and no block much too long unless it cannot be cut."""
    grain, cost = Grain(10, 4), Cost(data, null)
    blocks = list(cut_blocks(whole, lambda _: cost, grain, seconds))
    assert sorted(cells(itertools.chain(*blocks))) == sorted(cells(whole))
    edges = {edge for piece in whole for edge in (piece.shuffles.start, piece.shuffles.stop)}
    for block in blocks:
        for piece in block:
            assert {piece.shuffles.start, piece.shuffles.stop} <= edges | set(range(0, 40, 4))
        taken = sum(cost.of(piece, grain) for piece in block)
        alone = len(block) == 1 and len(block[0].resamples) == 1
        smallest = alone and (grain.batches(block[0].shuffles) <= 1 or data > seconds)
        assert smallest or taken <= 1.4 * seconds * (1 + 1e-9)


def test_cuts_fall_on_the_ends_of_chunks() -> None:
    whole = [Piece(8, range(3, 58), True, range(100))]
    blocks = list(cut_blocks(whole, lambda _: Cost(0.0, 0.1), Grain(10, 100), seconds=2.5))
    assert [block[0].resamples for block in blocks] == [range(3, 20), range(20, 40), range(40, 58)]


def test_what_is_too_long_is_cut_by_shuffles_and_then_by_resamples() -> None:
    whole = [Piece(8, range(10), True, range(1000))]
    blocks = list(cut_blocks(whole, lambda _: Cost(0.01, 0.1), Grain(10, 100), seconds=2.5))
    assert [block[0].shuffles for block in blocks] == [range(s, s + 200) for s in range(0, 1000, 200)]
    assert [block[0].data for block in blocks] == [True, False, False, False, False]
    slow = list(cut_blocks([Piece(8, range(4), False, range(100))], lambda _: Cost(0, 9.0), Grain(10, 100), 2.5))
    assert [block[0].resamples for block in slow] == [range(r, r + 1) for r in range(4)]


def test_blocks_are_short_until_scores_are_timed() -> None:
    pace = Pace()

    def cost(piece: Piece) -> Cost | None:
        return cost_of(piece, pace, "choice", 100)

    extent = Extent(ks=(8, 16), R=1000, null_resamples=1000, n_shuffles=100)
    stream = cut_blocks(fresh_pieces(extent), cost, Grain(10, 100), seconds=2.0)
    for resample in range(3):
        assert next(stream) == (Piece(16, range(resample, resample + 1), True, range(100)),)
    pace.learn("choice", 16, False, n_trials=100, n=3, seconds=0.03)
    pace.learn("choice", 16, True, n_trials=100, n=3, seconds=0.12)
    assert next(stream) == (Piece(16, range(3, 40), True, range(100)),)
    pace.learn("choice", 16, True, n_trials=100, n=40, seconds=11.8)  # slower than it seemed
    assert next(stream) == (Piece(16, range(40, 46), True, range(100)),)  # 0.3 s each now, and no chunk fits


def test_pace_is_of_the_target_else_of_the_nearest_k_and_in_proportion_to_the_trials() -> None:
    pace = Pace()
    pace.learn("choice", 8, True, n_trials=100, n=2, seconds=0.2)
    pace.learn("choice", 8, True, n_trials=100, n=2, seconds=0.4)
    pace.learn("block", 64, True, n_trials=50, n=1, seconds=0.5)
    assert pace.seconds("choice", 8, True, n_trials=200) == pytest.approx(0.3)
    assert pace.seconds("block", 9, True, n_trials=100) == pytest.approx(0.15 * 9 / 8)
    assert pace.seconds("block", 48, True, n_trials=50) == pytest.approx(0.5)
    assert pace.seconds("choice", 8, False, n_trials=100) is None


# a plan of 165 sessions x 4 targets x 9 ks x R = 1000 x 1000 shuffles, a run a subject ---------------------------

LARGE = NdcSettings(R=1000, n_label_shuffles=1000, null="permute")
N_SESSIONS = (7, 8, 9, 10, 11, 6, 4, 15, 20, 25, 12, 18, 5, 10, 5)  # of each of 15 subjects


def large_plan() -> Iterator[Load]:
    assert sum(N_SESSIONS) == 165
    extent = Extent(LARGE.ks, LARGE.R, LARGE.null_resamples, LARGE.n_label_shuffles)
    for n_sessions in N_SESSIONS:
        for target in LARGE.targets:
            yield from [Load(target, 400, 2048, extent)] * n_sessions


@pytest.fixture
def pace() -> Pace:
    pace = Pace()
    for k in (8, 64, 512, 2048):
        pace.learn("choice", k, False, n_trials=400, n=1, seconds=0.001 + 1e-5 * k)
        pace.learn("choice", k, True, n_trials=400, n=1, seconds=0.005 + 3e-5 * k)
    return pace


def test_a_large_plan_is_enumerated_lazily(pace: Pace) -> None:
    tracemalloc.start()
    began = time.process_time()
    n_blocks = sum(1 for _ in itertools.islice(plan_of_loads(large_plan(), pace), 20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_blocks == 20_000
    assert peak < 1e6
    assert time.process_time() - began < 20


@pytest.mark.parametrize("order", [1, -1])
def test_what_one_load_lacks_is_not_taken_for_another(pace: Pace, order: int) -> None:
    fresh = Load("choice", 400, 2048, Extent((8, 64), 10, 0, 0))
    stored = dataclasses.replace(fresh, missing=lambda: [Piece(8, range(3), True)])
    assert estimate([stored, fresh, fresh][::order], LARGE, pace=pace).n_scores == 3 + 20 + 20


def test_the_cost_of_a_large_plan_is_told_without_running_it(pace: Pace) -> None:
    began = time.process_time()
    cost = estimate(list(large_plan()), LARGE, n_runs=len(N_SESSIONS), pace=pace)
    assert time.process_time() - began < 5
    assert cost.n_scores == 165 * 4 * 9 * 1000 * 1001
    assert 1 < cost.core_seconds / cost.n_tasks < 5
    null_bytes = 165 * 4 * 9 * 1000 * 1000 * 4
    assert 0.7 * null_bytes < cost.store_bytes < 1.2 * null_bytes
    assert f"{cost.n_scores:,}".replace(",", " ") in str(cost)


@pytest.mark.slow
def test_a_large_plan_is_enumerated_to_its_end(pace: Pace) -> None:
    tracemalloc.start()
    counted = 0
    for _, block in plan_of_loads(large_plan(), pace):
        counted += sum(piece.n_scores for piece in block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counted == 165 * 4 * 9 * 1000 * 1001
    assert peak < 1e6
