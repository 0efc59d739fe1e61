"""The run store, cut off and damaged in every place: what is found, what is said, and that nothing else is lost."""

import errno
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from runs import missing_scores

from mesodask import schema
from mesodask.errors import LockedError, StoreError
from mesodask.io import partials, stores, target_store
from mesodask.io.runbase import content_hash
from mesodask.io.runstore import RunStore
from mesodask.io.score_array import ScoreArray

TRACKED = schema.conform(
    {
        "roi": np.arange(6).reshape(2, 3),
        "session": ["b", "a"],
        "date": ["2025-01-01", "2025-01-02"],
        "cluster_uid": ["x", "y", "z"],
    },
    schema.TRACKED,
    {"subject": "S", "neurons_only": True},
)
EIDS = ["b", "a"]
KS = [8, 2]
R, SHUFFLES = 25, 130
RNG = np.random.default_rng(0)
SCORE = RNG.random((2, 2, R))  # session, k as in KS, resample
NULL = RNG.random((2, 2, R, SHUFFLES)).astype(np.float32)
KILL = KeyboardInterrupt("killed here")


def reserve(store: RunStore, ks: list[int] = KS, R: int = R, n_shuffles: int = SHUFFLES, **options: int) -> None:
    store.reserve("choice", EIDS, ks, R, n_shuffles, "d", **options)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose scores are all computed; never to be written to."""
    store = RunStore(tmp_path_factory.mktemp("computed") / "run.zarr")
    with store.writing():
        store.create(TRACKED)
        reserve(store)
        for session in range(2):
            store.write_session("choice", session, n_trials=90 + session, performance=0.5, status="done", reason="")
            for first in range(0, R, 10):
                part = slice(first, first + 10)
                store.write_scores("choice", session, first, KS, SCORE[session, :, part], NULL[session, :, part])
    return store.path


@pytest.fixture
def run(computed: Path, tmp_path: Path) -> RunStore:
    """A copy of it, to be damaged."""
    return RunStore(Path(shutil.copytree(computed, tmp_path / "run.zarr")))


def everything_is_there(store: RunStore) -> None:
    scores = store.scores("choice").sel(k=KS)
    np.testing.assert_array_equal(scores["score"].values[:, :, :R], SCORE)
    np.testing.assert_array_equal(scores["null_score"].values[:, :, :R, :SHUFFLES], NULL)
    assert scores["n_trials"].values.tolist() == [90, 91]
    assert scores["status"].values.tolist() == ["done", "done"]


def missing(store: RunStore) -> np.ndarray:
    """What is missing, (session, k, resample)."""
    return np.array([missing_scores(store, "choice", session, KS, R, SHUFFLES) for session in range(2)])


# what is written is what Zarr reads -------------------------------------------------------------------------------


@pytest.mark.parametrize("resample_chunk", [1, 7, 10])
def test_zarr_reads_what_is_written_however_it_is_cut(tmp_path: Path, resample_chunk: int) -> None:
    """Blocks of any place and size, some over others, against plain arrays."""
    store = RunStore(tmp_path / "run.zarr")
    store.create(TRACKED)
    reserve(store, resample_chunk=resample_chunk)
    assert store.resample_chunk("choice") == resample_chunk
    score, null = np.full((2, 2, R), np.nan), np.full((2, 2, R, SHUFFLES), np.nan, dtype=np.float32)
    rng = np.random.default_rng(resample_chunk)
    with store.writing():
        for _ in range(30):
            session, (k,) = int(rng.integers(2)), rng.choice(2, 1)
            first, first_shuffle = int(rng.integers(R)), int(rng.integers(SHUFFLES))
            n, s = int(rng.integers(1, R - first + 1)), int(rng.integers(SHUFFLES - first_shuffle + 1))
            a, b = rng.random((1, n)), rng.random((1, n, s)).astype(np.float32)
            with_data = rng.random() < 0.7
            store.write_scores("choice", session, first, [KS[k]], a if with_data else None, b, first_shuffle)
            if with_data:
                score[session, k, first : first + n] = a
            null[session, k, first : first + n, first_shuffle : first_shuffle + s] = b
    group = zarr.open_group(str(store.path / "choice"), mode="r")
    np.testing.assert_array_equal(group["score"][:], score)
    np.testing.assert_array_equal(group["null_score"][:], null)
    for session in range(2):
        for row, (_, data, nulls) in enumerate(store.missing_by_k("choice", session, KS, R, R, SHUFFLES)):
            np.testing.assert_array_equal(data, np.isnan(score[session, row]))
            np.testing.assert_array_equal(nulls, np.isnan(null[session, row]))
        expected = np.isnan(score[session]) | np.isnan(null[session, :, :, :50]).any(axis=2)
        np.testing.assert_array_equal(missing_scores(store, "choice", session, KS, R, 50), expected)


def test_what_there_is_no_room_for_is_missing(run: RunStore) -> None:
    assert missing_scores(run, "choice", 0, [8, 16], R + 5, SHUFFLES).sum() == 5 + R + 5
    assert missing_scores(run, "choice", 0, [8], R, SHUFFLES + 1).all()
    assert not missing_scores(run, "choice", 0, [8], R, 0).any()


@pytest.mark.parametrize(("n_shuffles", "chunk"), [(0, 100), (20, 100), (101, 200), (1000, 1000), (2500, 1000)])
def test_many_shuffles_are_no_more_files(tmp_path: Path, n_shuffles: int, chunk: int) -> None:
    store = RunStore(tmp_path / "run.zarr")
    store.create(TRACKED)
    reserve(store, n_shuffles=n_shuffles)
    assert zarr.open_group(str(store.path))["choice/null_score"].chunks == (1, 1, 10, chunk)


def test_a_store_of_before_is_read_and_grown(tmp_path: Path) -> None:
    """A file for each k, shuffles by the 100, and no chunk where all values are the fill value."""
    store = RunStore(tmp_path / "run.zarr")
    store.create(TRACKED)
    group = zarr.open_group(str(store.path)).create_group("choice", attributes={"definition": "d", "target": "choice"})
    sizes = {"session": 2, "k": 2, "resample": R, "shuffle": SHUFFLES}
    chunks = {"session": 1, "k": 1, "resample": 10, "shuffle": 100}
    values = {"session": np.array(EIDS, dtype=object), "k": KS, "score": SCORE, "null_score": NULL,
              "n_trials": [90, 91], "status": np.array(["done", "done"], dtype=object)}  # fmt: skip
    for name, variable in schema.RUN_TARGET.items():
        by = chunks if name in ("score", "null_score", "k") else sizes
        stores.create_array(
            group, name, dims=variable.dims, shape=tuple(sizes[d] for d in variable.dims), dtype=variable.dtype,
            chunks=tuple(by[d] for d in variable.dims),
        )  # fmt: skip
        if name in values:
            group[name][:] = values[name]
    everything_is_there(store)
    with store.writing():
        store.create(TRACKED)
        reserve(store, ks=[2, 4], R=R + 10, n_shuffles=300)
        assert not missing(store).any()
        store.write_scores("choice", 1, 0, [4], np.ones((1, 35)), np.ones((1, 35, 300), np.float32))
    everything_is_there(store)
    assert store.scores("choice")["finished"].sel(k=4).values[1].all()


# killed anywhere --------------------------------------------------------------------------------------------------


def killed_at_every_step(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[type | object, str]], call: Callable[[], None]
) -> Iterator[int]:
    """Kill a call before its first step, its second one and so on, until it is through; yields after each kill."""
    for n_steps in range(100):
        left = n_steps
        with monkeypatch.context() as patch:
            for owner, name in steps:
                original = getattr(owner, name)

                def step(*args: object, _original: Callable = original, **options: object) -> object:
                    nonlocal left
                    if left == 0:
                        raise KILL
                    left -= 1
                    return _original(*args, **options)

                patch.setattr(owner, name, step)
            try:
                call()
            except KeyboardInterrupt:
                killed = True
            else:
                killed = False
        if not killed:
            assert n_steps > 0
            return
        yield n_steps


GROWTH = [(zarr.Array, "resize"), (zarr.Array, "__setitem__"), (zarr.core.attributes.Attributes, "__setitem__")]


def test_growth_killed_at_every_step_loses_nothing(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"ks": [4, 8, 16], "R": 45, "n_shuffles": 450}
    fresh = run.path.with_name("fresh.zarr")
    shutil.copytree(run.path, fresh)
    kills = 0
    for n_steps in killed_at_every_step(monkeypatch, GROWTH, lambda: reserve(run, **more)):
        kills = n_steps + 1
        everything_is_there(run)  # readers, before anything is repaired
        ks, n_resamples, n_shuffles = run.extent("choice")
        assert sorted(ks) == run.scores("choice")["k"].values.tolist()
        assert n_resamples in (R, 45)
        assert n_shuffles in (SHUFFLES, 450)
        with run.writing():
            assert not missing(run).any()
            reserve(run)  # the next driver may ask for less
        everything_is_there(run)
        shutil.rmtree(run.path)
        shutil.copytree(fresh, run.path)
    assert kills >= 4
    everything_is_there(run)
    assert run.extent("choice") == ([8, 2, 4, 16], 45, 450)
    grown = np.full((1, 45), 0.5)
    run.write_scores("choice", 0, 0, [16], grown, np.ones((1, 45, 450), np.float32))
    np.testing.assert_array_equal(run.scores("choice")["score"].sel(k=16).values[0], grown[0])


CREATION = [(stores, "create_array"), (zarr.Array, "__setitem__"), (Path, "rename"), (zarr.Group, "create_array")]


def test_creation_killed_at_every_step_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(tmp_path / "run.zarr")

    def create() -> None:
        store.create(TRACKED)
        reserve(store)

    kills = 0
    for n_steps in killed_at_every_step(monkeypatch, CREATION, create):
        kills = n_steps
        assert store.targets() == []
        if n_steps % 2:  # both onto what is left, and afresh
            shutil.rmtree(store.path, ignore_errors=True)
    assert kills > 15
    assert store.extent("choice") == (KS, R, SHUFFLES)
    assert [p.name for p in tmp_path.iterdir()] == ["run.zarr"]


def test_a_block_counts_whole_or_not_at_all(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve(run, R=R + 10)
    block = np.full((2, 10), 0.5), np.full((2, 10, SHUFFLES), 0.5, np.float32)
    for n_steps in killed_at_every_step(
        monkeypatch, [(ScoreArray, "write")], lambda: run.write_scores("choice", 0, R, KS, *block)
    ):
        left = missing_scores(run, "choice", 0, KS, R + 10, SHUFFLES)[:, R:]
        assert left.sum() == 10 * (2 - max(0, n_steps - 2))  # first the null of both ks, then the scores
    assert not missing_scores(run, "choice", 0, KS, R + 10, SHUFFLES).any()


def test_an_interrupted_write_leaves_nothing(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C a driver gives its lock back, and the next one has no reason to sweep."""
    block = np.full((2, 10), 0.5), np.full((2, 10, SHUFFLES), 0.5, np.float32)
    for _ in killed_at_every_step(
        monkeypatch, [(os, "open"), (Path, "replace")], lambda: run.write_scores("choice", 1, 20, KS, *block)
    ):
        assert not [*run.path.rglob(f"*{partials.PARTIAL}")]


# damaged anywhere -------------------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(bytes(content))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def damages(*files: str) -> list[tuple[str, Callable[[Path], None]]]:
    """Every file with every damage, but no flips of metadata: one bit may leave that as good as it was."""
    each = [(file, damage) for file in files for damage in (flip, truncate, Path.unlink)]
    return [(file, damage) for file, damage in each if not (damage is flip and file.endswith("json"))]


def empty(file: Path) -> None:
    file.write_bytes(b"")


def another_size(file: Path) -> None:
    from numcodecs.zstd import Zstd

    file.write_bytes(Zstd(checksum=True).encode(np.zeros(3)))


@pytest.mark.parametrize("damage", [flip, truncate, empty, another_size])
@pytest.mark.parametrize("array", ["score/c/1/0/2", "null_score/c/1/0/2/0"])
def test_a_damaged_chunk_is_said_and_computed_again(
    run: RunStore, damage: Callable[[Path], None], array: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = run.path / "choice" / array
    damage(file)
    for read in (lambda: run.scores("choice"), lambda: missing(run)):
        with pytest.raises(
            StoreError, match=rf"{array}: this chunk of scores is damaged .*call the same analysis again"
        ):
            read()
    with run.writing(), caplog.at_level(logging.WARNING):
        expected = np.zeros((2, 2, R), dtype=bool)
        expected[1, 0, 20:] = True
        np.testing.assert_array_equal(missing(run), expected)
        assert f"{file}: this chunk of scores is damaged" in caplog.text
        run.write_scores("choice", 1, 20, [8], SCORE[1, :1, 20:], NULL[1, :1, 20:])
    everything_is_there(run)


def another_k(run: Path) -> list[Path]:
    one, other = (run / "choice" / "score" / "c" / "1" / k / "2" for k in "01")
    aside = one.rename(run.parent / "aside")
    other.rename(one)
    aside.rename(other)
    return [one, other]


def another_run(run: Path) -> list[Path]:
    other = RunStore(run.with_name("other.zarr"))
    with other.writing():
        other.create(TRACKED)
        reserve(other)
        other.write_scores("choice", 1, 20, KS, 1 - SCORE[1, :, 20:], 1 - NULL[1, :, 20:])
    files = [f"choice/{name}/c/1/{k}/2{end}" for name, end in (("score", ""), ("null_score", "/0")) for k in "01"]
    for file in files:
        shutil.copy2(other.path / file, run / file)
    return [run / file for file in files]


@pytest.mark.parametrize("exchange", [another_k, another_run])
def test_a_whole_chunk_in_the_place_of_another_is_said_and_computed_again(
    run: RunStore, exchange: Callable[[Path], list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    exchanged = exchange(run.path)
    with pytest.raises(StoreError, match=r"this chunk of scores is damaged .*written for another place"):
        run.scores("choice")
    with run.writing(), caplog.at_level(logging.WARNING):
        left = missing(run)
        for row, k in enumerate(KS):
            run.write_scores("choice", 1, 20, [k], SCORE[1, [row], 20:], NULL[1, [row], 20:])
    assert [str(file) in caplog.text for file in exchanged] == [True] * len(exchanged)
    expected = np.zeros((2, 2, R), dtype=bool)
    expected[1, :, 20:] = True
    np.testing.assert_array_equal(left, expected)
    everything_is_there(run)


def test_a_damaged_chunk_does_not_stop_a_part_of_it_from_being_written(run: RunStore) -> None:
    flip(run.path / "choice" / "null_score" / "c" / "0" / "0" / "0" / "0")
    with run.writing():
        run.write_scores("choice", 0, 3, [8], SCORE[0, :1, 3:5], NULL[0, :1, 3:5])
        left = missing_scores(run, "choice", 0, KS, R, SHUFFLES)
    assert left[0].tolist() == [resample < 10 and resample not in (3, 4) for resample in range(R)]


def test_a_lost_chunk_of_scores_is_not_computed(run: RunStore) -> None:
    (run.path / "choice" / "score" / "c" / "0" / "1" / "0").unlink()
    expected = np.zeros((2, 2, R), dtype=bool)
    expected[0, 1, :10] = True
    np.testing.assert_array_equal(missing(run), expected)


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
@pytest.mark.parametrize("name", ["n_trials", "performance", "status", "reason", "session"])
def test_damaged_values_of_sessions_are_written_again(run: RunStore, name: str, damage: Callable[[Path], None]) -> None:
    damage(run.path / "choice" / name / "c" / "0")
    with pytest.raises(StoreError, match=rf"{name}.*; call the same analysis again"):
        run.scores("choice")
    with run.writing():
        run.create(TRACKED)
        reserve(run)
        for session in range(2):
            run.write_session("choice", session, n_trials=90 + session, performance=0.5, status="done", reason="")
    everything_is_there(run)
    assert run.scores("choice")["session"].values.tolist() == EIDS


def test_a_full_disk_is_no_damage_to_what_stands_there(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with run.writing():
        run.create(TRACKED)
        with monkeypatch.context() as patch:
            patch.setattr(zarr.Array, "__setitem__", full)
            with pytest.raises(OSError, match="No space left"):
                run.write_session("choice", 0, status="partial")
    everything_is_there(run)


def test_numbers_in_the_place_of_texts_are_no_billions_of_texts(run: RunStore) -> None:
    """Zarr makes room for as many texts as a chunk says that it holds, before it looks for them: here 16 GB."""
    for name in ("status", "session"):
        shutil.copy2(run.path / "choice" / "score" / "c" / "0" / "0" / "0", run.path / "choice" / name / "c" / "0")
        with pytest.raises(StoreError, match=rf"{name}: its chunks are not those that were written"):
            run.scores("choice")
    with run.writing():
        run.create(TRACKED)
        for session in range(2):
            run.write_session("choice", session, status="done")
    everything_is_there(run)


def test_damaged_metadata_of_session_values_is_made_anew(run: RunStore) -> None:
    (run.path / "choice" / "status" / "zarr.json").write_text("{")
    with run.writing():
        run.write_session("choice", 0, status="done")
        run.write_session("choice", 1, status="done")
    everything_is_there(run)


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_scores_whose_k_is_lost_are_never_taken_for_others(run: RunStore, damage: Callable[[Path], None]) -> None:
    damage(run.path / "choice" / "k" / "c" / "0")
    with pytest.raises(StoreError, match="rerun=True"):
        run.scores("choice")
    with run.writing(), pytest.raises(StoreError, match="rerun=True"):
        reserve(run, ks=[4])


@pytest.mark.parametrize("damage", [empty, truncate, Path.unlink])
@pytest.mark.parametrize("node", ["choice", "choice/score", "choice/null_score", "choice/k", "choice/session"])
def test_damaged_metadata_of_scores_is_an_error_that_rerun_helps(
    run: RunStore, node: str, damage: Callable[[Path], None]
) -> None:
    damage(run.path / node / "zarr.json")
    for read in (lambda: run.scores("choice"), lambda: run.extent("choice"), lambda: missing(run)):
        with pytest.raises(StoreError, match="choice"):
            read()
    with run.writing():
        if node != "choice/session":  # the sessions are known
            with pytest.raises(StoreError, match="rerun=True"):
                reserve(run)
        run.forget(["choice"])
        reserve(run)
        assert missing(run).all()


@pytest.mark.parametrize(
    ("file", "damage"),
    damages("zarr.json", "tracked/zarr.json", "tracked/roi/zarr.json", "tracked/roi/c/0/0", "tracked/date/c/0"),
)
def test_what_the_call_knows_is_written_again(
    run: RunStore, file: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(run.path / file)
    if file != "zarr.json":
        with pytest.raises(StoreError, match=r"tracked.*(: no Zarr group here|; call the same analysis again)"):
            run.tracked()
    with run.writing(), caplog.at_level(logging.WARNING):
        run.create(TRACKED)
        run.update_attributes({"subject": "S"})
    if not (damage is Path.unlink and file == "zarr.json"):
        assert "it is written again" in caplog.text
    xr.testing.assert_equal(run.tracked().load(), TRACKED)
    assert run.attrs["subject"] == "S"
    everything_is_there(run)


def test_a_run_of_other_neurons_is_refused(run: RunStore) -> None:
    with run.writing(), pytest.raises(StoreError, match="run of other neurons"):
        run.create(TRACKED.assign(roi=TRACKED["roi"] + 1))


FEATURES = schema.conform(
    {"X": np.ones((4, 3)), "y": [0, 1, 0, 1], "trial_index": [2, 3, 5, 7]},
    schema.FEATURES,
    {"build_id": "b", "n_null_asked": 100},
)
FEATURES.attrs["content"] = content_hash(FEATURES)


@pytest.mark.parametrize(("file", "damage"), damages("X/c/0/0", "y/c/0", "trial_index/c/0", "y/zarr.json"))
def test_damaged_features_are_unmarked(run: RunStore, file: str, damage: Callable[[Path], None]) -> None:
    run.write_features("choice", "a", FEATURES)
    run.check_features("choice", "a")
    assert run.feature_attributes("choice", "a") == FEATURES.attrs
    damage(run.path / "features" / "choice" / "a" / file)
    run.check_features("choice", "a")
    assert run.feature_attributes("choice", "a") == FEATURES.attrs | {"build_id": "", "n_null_asked": -1}
    run.update_features("choice", "a", {"build_id": "b"}, FEATURES)
    xr.testing.assert_equal(run.features("choice", "a").load(), FEATURES)
    run.check_features("choice", "b")  # there are none


def test_groups_of_features_lose_their_metadata_and_no_features(run: RunStore) -> None:
    run.write_features("choice", "a", FEATURES)
    (run.path / "features" / "zarr.json").write_text("{")
    (run.path / "features" / "choice" / "zarr.json").unlink()
    run.write_features("choice", "b", FEATURES)
    for eid in ("a", "b"):
        xr.testing.assert_equal(run.features("choice", eid).load(), FEATURES)


# the lock ---------------------------------------------------------------------------------------------------------


def test_a_second_driver_is_refused_and_readers_are_not(run: RunStore) -> None:
    with run.writing():
        assert run.lock_file == run.path.with_name("run.lock")
        with pytest.raises(LockedError, match="the run run is held by process"), RunStore(run.path).writing():
            pass
        everything_is_there(RunStore(run.path))
    assert not run.lock_file.exists()


def test_who_has_lost_the_lock_writes_nothing(run: RunStore) -> None:
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    writes: list[Callable[[], None]] = [
        lambda: run.create(TRACKED),
        lambda: run.update_attributes({"x": 1}),
        lambda: run.forget(["choice"]),
        lambda: run.note_failure({}),
        lambda: run.write_features("choice", "a", FEATURES),
        lambda: run.update_features("choice", "a", {}),
        lambda: reserve(run, ks=[99]),
        lambda: run.write_session("choice", 0, status="partial"),
        lambda: run.write_scores("choice", 0, 0, KS, np.zeros((2, R)), np.zeros((2, R, 1), np.float32)),
    ]
    with run.writing():
        run.lock_file.write_text("another's")
        for write in writes:
            with pytest.raises(LockedError, match="writes nothing more"):
                write()
    run.lock_file.unlink()
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    assert not run.failures_file.exists()


def test_half_written_files_of_a_killed_driver_are_removed(run: RunStore) -> None:
    junk = run.path / "choice" / "score" / "c" / "0" / "0" / f"1.0123abcd{partials.PARTIAL}"
    junk.touch()
    with run.writing():
        pass
    assert junk.exists()  # nobody was killed: nothing to look for
    run.lock_file.touch()
    os.utime(run.lock_file, (0, 0))
    with run.writing():
        assert not junk.exists()
    everything_is_there(run)


def test_random_damage_is_never_taken_for_a_score(run: RunStore) -> None:
    """Many chunks, many bits: whatever can be read is what was written."""
    rng = random.Random(0)
    files = sorted(p for name in ("score", "null_score") for p in (run.path / "choice" / name / "c").rglob("*")
                   if p.is_file())  # fmt: skip
    for file in rng.sample(files, 10):
        content = bytearray(file.read_bytes())
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(content[: rng.choice([None, None, len(content) - 1])]))
    with run.writing():
        left = missing(run)
    scores = run.scores("choice").sel(k=KS)
    there = scores["finished"].values
    assert there.any()
    assert left.any()
    np.testing.assert_array_equal(scores["score"].values[there], SCORE[there])
    null = scores["null_score"].values
    read = ~np.isnan(null)
    np.testing.assert_array_equal(null[read], NULL[read])
    assert target_store.UNDEFINED not in null[read]
