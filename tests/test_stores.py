"""Stores on disk: round trips, growth, and what a broken build leaves."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from runs import missing_scores

from mesodask import schema
from mesodask.errors import StoreError
from mesodask.io import partials, stores
from mesodask.io.runstore import RESAMPLE_CHUNK, RunStore

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


def test_round_trip_keeps_dtypes_strings_and_coordinates(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    stores.write_group(path, "tracked", TRACKED)
    back = stores.open_group(path, "tracked", schema.TRACKED).load()
    xr.testing.assert_equal(back.astype({"roi": "int64"}), TRACKED)
    assert set(back.coords) == {"session", "date", "cluster_uid"}
    assert back.attrs == TRACKED.attrs


def test_empty_strings_and_empty_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    dataset = xr.Dataset({"name": ("roi", np.array(["", "é", "VISp"], dtype=object)), "none": ("x", np.empty(0))})
    stores.write_group(path, "", dataset)
    back = stores.open_group(path)
    assert back["name"].values.tolist() == ["", "é", "VISp"]
    assert back["none"].shape == (0,)


def test_every_array_has_a_checksum_and_writes_empty_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    stores.write_group(path, "", xr.Dataset({"x": ("t", np.full(40, np.nan))}), chunks={"t": 10})
    array = zarr.open_group(str(path))["x"]
    assert [c.to_dict()["configuration"]["checksum"] for c in array.compressors] == [True]
    assert len([p for p in (path / "x" / "c").rglob("*") if p.is_file()]) == 4


def test_building_replaces_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with partials.building(path) as temporary:
        (temporary / "first").touch()
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), partials.building(path) as temporary:
        (temporary / str(1 / 0)).touch()
    assert [p.name for p in path.iterdir()] == ["first"]
    with partials.building(path) as temporary:
        (temporary / "third").touch()
    assert [p.name for p in path.iterdir()] == ["third"]
    assert list(tmp_path.iterdir()) == [path]


def test_orphans_of_killed_builds_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = partials.partial_of(tmp_path / "a.zarr").name
    orphan = alive.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    machine = alive.removeprefix(f".a.zarr.{socket.gethostname()}-").split("-")[0]
    kept = {
        "alive": alive,
        "elsewhere": orphan.replace(socket.gethostname(), "another-host"),
        "another container": orphan.replace(machine, "0123abcd"),
        "other store": orphan.replace("a.zarr", "b.zarr"),
    }
    old = orphan.replace(machine, "4567abcd")  # before a reboot, or on a host that is no more
    for name in (orphan, old, *kept.values()):
        (tmp_path / name).mkdir()
    long_ago = time.time() - 3 * 86400
    os.utime(tmp_path / old, (long_ago, long_ago))
    os.utime(tmp_path / alive, (long_ago, long_ago))
    partials.remove_partial(tmp_path, "a.zarr")
    assert {p.name for p in tmp_path.iterdir()} == set(kept.values())


def test_a_store_that_another_process_finished_first_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with partials.building(path, replace=False) as ours:
        (ours / "ours").touch()
        path.mkdir()
        (path / "theirs").touch()
    assert [p.name for p in path.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [path]


def test_schema_violations_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no Zarr group"):
        stores.open_group(tmp_path / "nothing.zarr")
    with pytest.raises(StoreError, match="variable roi is missing"):
        schema.validate(TRACKED.drop_vars("roi"), schema.TRACKED, "tracked")
    with pytest.raises(StoreError, match="dtype float64, expected int64"):
        schema.validate(TRACKED.astype({"roi": float}), schema.TRACKED, "tracked")
    with pytest.raises(StoreError, match="not in the schema"):
        schema.conform({"isort": [0], "what": [1]}, schema.ORDER)


def test_damaged_metadata_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    stores.write_group(path, "tracked", TRACKED)
    (path / "tracked" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="rerun"):
        stores.open_group(path, "tracked")
    with pytest.raises(StoreError, match="rerun"):
        stores.attributes(path, "tracked")


@pytest.fixture
def run(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path / "run.zarr")
    store.create(TRACKED)
    store.reserve("choice", ["b", "a"], [8, 2], 20, 3, "d")
    return store


def block(n_ks: int, n_resamples: int, n_shuffles: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((n_ks, n_resamples)), rng.random((n_ks, n_resamples, n_shuffles)).astype(np.float32)


def test_one_write_is_one_chunk_a_k(run: RunStore) -> None:
    """Chunks are whole blocks, also in arrays that were created empty and grew."""
    score, null = block(2, 10, 3)
    run.write_scores("choice", 0, 0, [2, 8], score, null)
    for name in ("score", "null_score"):
        assert len([p for p in (run.path / "choice" / name / "c").rglob("*") if p.is_file()]) == 2


def test_what_is_written_is_not_missing(run: RunStore) -> None:
    score, null = block(2, 10, 3)
    assert missing_scores(run, "choice", 1, [2, 8], 20, 3).all()
    run.write_scores("choice", 1, RESAMPLE_CHUNK, [2, 8], score, null)
    missing = missing_scores(run, "choice", 1, [2, 8], 20, 3)
    np.testing.assert_array_equal(missing, np.arange(20) < 10 + np.zeros((2, 1)))
    assert missing_scores(run, "choice", 0, [2, 8], 20, 3).all()
    scores = run.scores("choice")
    assert scores["k"].values.tolist() == [2, 8]
    np.testing.assert_array_equal(scores["score"].values[1, :, 10:], score)
    np.testing.assert_array_equal(scores["null_score"].values[1, :, 10:], null)


def test_undefined_is_computed_but_nan(run: RunStore) -> None:
    score, null = block(2, 10, 3)
    score[0, 0] = null[1, 1, 1] = np.nan
    run.write_scores("choice", 0, 0, [2, 8], score, null)
    assert not missing_scores(run, "choice", 0, [2, 8], 10, 3).any()
    scores = run.scores("choice")
    assert np.isnan(scores["score"].values[0, 0, 0])
    assert scores["finished"].values[0, 0, 0]
    assert np.isnan(scores["null_score"].values[0, 1, 1, 1])


def test_growth_keeps_what_is_there(run: RunStore) -> None:
    score, null = block(2, 20, 3)
    run.write_scores("choice", 0, 0, [2, 8], score, null)
    run.reserve("choice", ["b", "a"], [2, 4, 8, 16], 30, 150, "d")
    scores = run.scores("choice")
    assert scores["k"].values.tolist() == [2, 4, 8, 16]
    np.testing.assert_array_equal(scores["score"].sel(k=[2, 8]).values[0, :, :20], score)
    np.testing.assert_array_equal(scores["null_score"].sel(k=[2, 8]).values[0, :, :20, :3], null)
    assert not scores["finished"].sel(k=[4, 16]).any()
    assert missing_scores(run, "choice", 0, [2, 4], 20, 3).tolist() == [[False] * 20, [True] * 20]
    assert missing_scores(run, "choice", 0, [2], 20, 4).all()
    run.reserve("choice", ["b", "a"], [2], 5, 0, "d")
    assert run.scores("choice").sizes["resample"] == 30


def test_another_definition_is_refused(run: RunStore) -> None:
    with pytest.raises(StoreError, match="another event or window"):
        run.reserve("choice", ["b", "a"], [8], 20, 3, "other")


def test_forgetting_killed_midway_leaves_no_target_behind(run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stores.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        run.forget(["choice"])
    assert run.targets() == []


def test_unknown_target(run: RunStore) -> None:
    with pytest.raises(StoreError, match="it has choice"):
        run.scores("block")
