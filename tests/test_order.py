"""The Rastermap order: against the direct way, planted truth, odd recordings, and kills while it is written."""

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from scipy.stats import spearmanr
from sklearn.decomposition import TruncatedSVD

from mesodask import load_or_embed
from mesodask import sessions as session_stores
from mesodask.cli import main
from mesodask.compute.runner import Task
from mesodask.embedding import raster_order
from mesodask.errors import SessionsFailedError, SettingsError, StoreError, TasksFailedError
from mesodask.io import stores
from mesodask.numerics import order as order_room
from mesodask.numerics.order import Order, rastermap_order
from mesodask.numerics.truncated_svd import truncated_svd
from mesodask.simulate import SimulatedSubject

# --- the SVD ---------------------------------------------------------------------------------------------------------


def svd_in_blocks(A: np.ndarray, k: int, n_rows: int = 7) -> tuple[np.ndarray, np.ndarray]:
    A = A.astype(np.float32)
    return truncated_svd(lambda: (A[i : i + n_rows] for i in range(0, len(A), n_rows)), A.shape, k)


def matrix_of(values: np.ndarray, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, len(values))))[0] for n in shape)
    return (left * values) @ right.T


@pytest.mark.parametrize("shape", [(80, 50), (50, 80), (60, 60)])
@pytest.mark.parametrize("n_rows", [1, 7, 200])
def test_svd_is_numpys(shape: tuple[int, int], n_rows: int) -> None:
    A = matrix_of(0.8 ** np.arange(50), shape)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    Usv, Vsv = svd_in_blocks(A, 12, n_rows)
    assert (Usv.shape, Vsv.shape) == ((shape[0], 12), (shape[1], 12))
    for found, true in ((Usv, U), (Vsv, Vt.T)):
        np.testing.assert_allclose(np.linalg.norm(found, axis=0), s[:12], rtol=1e-4)
        # each vector is the true one, or its negative
        np.testing.assert_allclose(np.abs((found / s[:12]).T @ true[:, :12]), np.eye(12), atol=2e-3)
    np.testing.assert_allclose(Usv / s[:12] @ Vsv.T, (U[:, :12] * s[:12]) @ Vt[:12], atol=2e-3)
    assert (Vsv[np.abs(Vsv).argmax(axis=0), np.arange(12)] > 0).all()


@pytest.mark.parametrize("shape", [(80, 50), (50, 80)])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_svd_of_a_matrix_of_low_rank_gives_no_more_than_there_is(shape: tuple[int, int], rank: int) -> None:
    A = matrix_of(np.arange(rank, 0, -1.0), shape)
    Usv, Vsv = svd_in_blocks(A, 12)
    np.testing.assert_allclose(np.linalg.norm(Usv, axis=0), np.arange(rank, 0, -1.0), rtol=1e-5)
    np.testing.assert_allclose(Usv / np.linalg.norm(Usv, axis=0) @ Vsv.T, A, atol=1e-5)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_svd_of_flat_noise_is_that_of_the_direct_way(shape: tuple[int, int]) -> None:
    """No randomised SVD finds the true components there: the same sketch gives the same ones."""
    A = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    direct = TruncatedSVD(40, random_state=0).fit_transform(A)
    np.testing.assert_allclose(svd_in_blocks(A, 40)[0], direct, atol=1e-3 * np.abs(direct).max())


# --- the order of traces ---------------------------------------------------------------------------------------------


def planted_sequences(n_rois: int, n_frames: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sweeps of activity along a line of ROIs, over sparse noise; also each ROI's place on the line."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(n_rois) / n_rois
    signal = rng.exponential(noise, (n_rois, n_frames)) * (rng.random((n_rois, n_frames)) < 0.1)
    front = np.arange(30) / 30
    for onset in rng.integers(0, n_frames - 30, n_frames // 60):
        bump = 2 * np.exp(-0.5 * ((place[:, None] - front) / 0.04) ** 2)
        signal[:, onset : onset + 30] += bump * (rng.random(bump.shape) < 0.5)
    return signal.astype(np.float32), np.argsort(place)


def direct_order(signal: np.ndarray) -> np.ndarray:
    """Rastermap's order when it is handed the whole matrix; ROIs in the same place as they come."""
    from rastermap import Rastermap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Rastermap(n_PCs=100, n_clusters=30, locality=0.75, time_lag_window=5, bin_size=1, verbose=False)
        return np.argsort(model.fit(signal).embedding[:, 0], kind="stable")


def order_of(signal: np.ndarray, rows: np.ndarray | None = None) -> Order:
    return rastermap_order(signal.__getitem__, np.arange(len(signal)) if rows is None else rows, len(signal))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of the positions in two orders; their direction means nothing."""
    return abs(spearmanr(np.argsort(one), np.argsort(other))[0])


def shared_neighbours(one: np.ndarray, other: np.ndarray, reach: int = 10) -> float:
    """Share of the pairs at most `reach` places apart in one order that are so in the other, too."""
    near = [np.abs(np.subtract.outer(p, p)) <= reach for p in (np.argsort(one), np.argsort(other))]
    off_diagonal = ~np.eye(len(one), dtype=bool)
    return float((near[0] & near[1] & off_diagonal).sum() / (near[0] & off_diagonal).sum())


@pytest.mark.parametrize("shape", [(300, 2000), (900, 600)], ids=["wide", "tall"])
def test_order_is_that_of_the_direct_way_and_of_the_truth(shape: tuple[int, int]) -> None:
    signal, truth = planted_sequences(*shape, noise=1.0, seed=1)
    direct, found = direct_order(signal), order_of(signal)
    assert found.reason == ""
    assert found.parameters == order_room.PARAMETERS
    assert correlation(found.isort, direct) > 0.99
    assert shared_neighbours(found.isort, direct) > 0.8  # another sketch, or none, gives 0.7 of them
    assert correlation(found.isort, truth) > 0.95  # the direct way reads .99 here
    assert correlation(found.isort, np.random.default_rng(0).permutation(len(signal))) < 0.2


def test_order_in_noise_is_still_that_of_the_direct_way() -> None:
    """Where there is nothing to find, only the same components give the same order."""
    signal = np.random.default_rng(4).exponential(size=(250, 1500)).astype(np.float32)
    assert correlation(order_of(signal).isort, direct_order(signal)) > 0.95


def test_same_traces_same_order() -> None:
    signal, _ = planted_sequences(120, 400, noise=2.0, seed=2)
    first = order_of(signal).isort
    np.random.seed(99)  # noqa: NPY002 - the global generator must not matter
    np.testing.assert_array_equal(order_of(signal).isort, first)


def test_active_together_lie_together_and_bad_traces_come_last() -> None:
    rng = np.random.default_rng(3)
    drive = rng.random((4, 600)) > 0.8
    group = np.repeat(np.arange(4), 20)
    shuffled = rng.permutation(80)
    signal = (drive[group] * 3.0 + rng.random((80, 600))).astype(np.float32)[shuffled]
    signal[5], signal[9, 3], signal[2, 0], signal[70, 8], signal[33] = 0.1, np.nan, np.inf, -np.inf, 0.0
    found = order_of(signal)
    assert found.isort[-5:].tolist() == [2, 5, 9, 33, 70]
    assert sorted(found.isort) == list(range(80))
    assert np.count_nonzero(np.diff(group[shuffled][found.isort[:-5]])) <= 6  # 3 is perfect, chance about 55
    assert found.parameters["n_PCs"] == 74
    assert found.reason == "75 active ROIs and 600 frames allow n_PCs=74, n_clusters=30"


def test_only_the_wanted_rows_are_sorted_and_others_follow() -> None:
    signal, _ = planted_sequences(200, 600, noise=1.0, seed=5)
    wanted = np.flatnonzero(np.arange(200) % 3 > 0)
    signal[wanted[[4, 50]]] = np.nan
    found = order_of(signal, wanted).isort
    usable = np.setdiff1d(wanted, wanted[[4, 50]])
    np.testing.assert_array_equal(found[: len(usable)], usable[order_of(signal[usable]).isort])
    assert found[len(usable) :].tolist() == [*wanted[[4, 50]], *np.arange(0, 200, 3)]


def odd_traces(n: int, t: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([n, t])
    noise, trace = rng.normal(size=(n, t)), rng.normal(size=t)
    with_nan, with_inf = noise.copy(), noise.copy()
    with_nan[rng.random((n, t)) < 0.05], with_inf[:1, 0], with_inf[-1:, -1] = np.nan, np.inf, -np.inf
    return {
        "noise": noise,
        "all alike": np.outer(rng.random(n) + 1, trace),
        "mirrored": np.outer(np.where(np.arange(n) % 2, 1, -1), trace),
        "two groups": np.where(np.arange(n)[:, None] % 2, trace, trace**2),
        "one spike each": np.eye(n, t),
        "huge": rng.choice([-3e38, 3e38], size=(n, t)),
        "tiny": noise * 1e-42,
        "of many sizes": noise * 10.0 ** rng.integers(-30, 30, size=(n, 1)),
        "rank 3": noise[:, :3] @ rng.normal(size=(min(3, t), t)),
        "far from 0": noise + 1e6,
        "nan": with_nan,
        "inf": with_inf,
    }


@pytest.mark.parametrize("n_rois", [0, 1, 9, 13, 61])
def test_odd_recordings_always_have_an_order(n_rois: int, capfd: pytest.CaptureFixture[str]) -> None:
    for n_frames in (2, 9, 12, 70):
        for kind, values in odd_traces(n_rois, n_frames).items():
            with np.errstate(all="ignore"):
                signal = values.astype(np.float32)
            found = order_of(signal)
            assert sorted(found.isort) == list(range(n_rois)), (n_frames, kind)
            assert found.reason, (n_frames, kind)
            if not found.parameters:
                assert "too few" in found.reason or "alike" in found.reason, (n_frames, kind, found.reason)
    assert capfd.readouterr() == ("", "")


def test_nothing_of_the_process_is_changed(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers[:] = []  # else logging.basicConfig does nothing
    state = np.random.get_state()  # noqa: NPY002
    try:
        order_of(planted_sequences(100, 300, noise=1.0, seed=0)[0])
        assert root.handlers == []
        assert root.level == level
    finally:
        root.handlers[:] = before
    np.testing.assert_equal(np.random.get_state(), state)  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


def test_threads_may_sort_at_once() -> None:
    signal, _ = planted_sequences(60, 300, noise=1.0, seed=0)
    expected, found = order_of(signal).isort, []
    threads = [threading.Thread(target=lambda: found.append(order_of(signal).isort)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for isort in found:
        np.testing.assert_array_equal(isort, expected)


# --- the order in its store ------------------------------------------------------------------------------------------


def embed(subject: SimulatedSubject, day: int = 0, **options: object) -> tuple[xr.Dataset, Path]:
    options = {"rastermap": False} | options
    session = load_or_embed(subject.eids[day], one=subject.one_dir, **options)  # type: ignore[arg-type]
    return session, Path(session.encoding["source"])


def test_all_rows_then_neurons_then_all(copy: SimulatedSubject) -> None:
    session, path = embed(copy)
    with pytest.raises(StoreError, match=r"order: there is no order; load_or_embed"):
        session_stores.order(session)
    for rastermap, rows in ((True, "all"), ("neurons", "neurons"), (True, "all")):
        session, _ = embed(copy, rastermap=rastermap)
        isort, attributes = session_stores.order(session), stores.attributes(path, "order")
        assert sorted(isort) == list(range(120))
        assert attributes["rows"] == rows
        assert attributes["build_id"] == session.attrs["build_id"]
        assert attributes["parameters"] | {"n_PCs": 100} == order_room.PARAMETERS
        is_neuron = session["is_neuron"].values
        wanted = np.arange(120) if rows == "all" else np.flatnonzero(is_neuron)
        expected = order_of(session["signal"].values, wanted).isort
        np.testing.assert_array_equal(isort, expected)
        if rows == "neurons":
            assert (~is_neuron).sum() > 0
            assert isort[is_neuron.sum() :].tolist() == np.flatnonzero(~is_neuron).tolist()
        written = (path / "order" / "zarr.json").stat()
        embed(copy, rastermap=rastermap)
        embed(copy, rastermap=False)
        assert (path / "order" / "zarr.json").stat() == written
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("wrong", ["all", "cells", None, 1])
def test_another_rastermap_is_refused_before_anything_is_built(copy: SimulatedSubject, wrong: object) -> None:
    with pytest.raises(SettingsError, match=r"rastermap: .*expected True .*'neurons' or False"):
        embed(copy, rastermap=wrong)
    assert not (copy.one_dir / "meso").exists()


def test_rows_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="rows"):
        raster_order.write_order(tmp_path / "a.zarr", "cells")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no session store here"):
        raster_order.write_order(tmp_path / "a.zarr")


def test_rows_by_the_command_line(copy: SimulatedSubject, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["embed", copy.eids[0], "--one", str(copy.one_dir)]
    assert main([*command, "--no-rastermap"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert not stores.has_group(path, "order")
    for options, rows in ((["--rastermap", "neurons"], "neurons"), (["--rastermap", "none"], "neurons"), ([], "all")):
        assert main([*command, *options]) == 0
        assert stores.attributes(path, "order")["rows"] == rows
    assert main([*command, "--rastermap", "cells"]) == 2


def test_one_task_a_session_on_workers(copy: SimulatedSubject, client: Client, submitted: list[Task]) -> None:
    paths = [embed(copy, day)[1] for day in (0, 1)]
    raster_order.write_orders(paths, "neurons", client)
    assert [task.arguments for task in submitted] == [(path, "neurons") for path in paths]
    for path in paths:
        expected = raster_order.compute_order(path, "neurons")
        np.testing.assert_array_equal(raster_order.read_order(path), expected.isort)
    raster_order.write_order(paths[0], "neurons", client)
    assert len(submitted) == 2


def numba_threads() -> int:
    import numba

    return int(numba.get_num_threads())


def test_workers_have_one_numba_thread(client: Client) -> None:
    assert set(client.run(numba_threads).values()) == {1}


def damage(path: Path) -> None:
    chunk = max((path / "signal" / "c").rglob("0"), key=lambda p: p.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


def test_a_damaged_signal_gives_no_order(copy: SimulatedSubject, client: Client) -> None:
    good, bad = embed(copy, 0)[1], embed(copy, 1)[1]
    damage(bad)
    with pytest.raises(StoreError, match=rf"{bad}/signal: cannot be read.*rerun"):
        raster_order.write_order(bad)
    for where, kind in ((client, TasksFailedError), (None, StoreError)):
        stores.remove_group(good, "order")
        (error,) = raster_order.write_orders([bad, good], client=where).values()
        assert isinstance(error, kind)
        assert f"{bad}/signal: cannot be read" in str(error)
        assert not stores.has_group(bad, "order")
        assert raster_order.has_order(good, "all")
    stores.remove_group(good, "order")
    with pytest.raises(SessionsFailedError) as told:
        load_or_embed([copy.eids[1], copy.eids[0]], one=copy.one_dir)
    assert list(told.value.errors) == [copy.eids[1]]
    assert raster_order.has_order(good, "all")


def test_a_lost_chunk_of_the_signal_gives_no_order(copy: SimulatedSubject) -> None:
    _, path = embed(copy)
    next(p for p in (path / "signal" / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(StoreError, match="lost"):
        raster_order.write_order(path)


@pytest.mark.parametrize("harm", ["chunk lost", "chunk flipped", "metadata cut"])
def test_a_damaged_order_is_told_and_made_again(copy: SimulatedSubject, harm: str) -> None:
    session, path = embed(copy, rastermap=True)
    good = session_stores.order(session)
    chunk, metadata = path / "order" / "isort" / "c" / "0", path / "order" / "zarr.json"
    if harm == "chunk lost":
        chunk.unlink()
    elif harm == "chunk flipped":
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    else:
        metadata.write_text(metadata.read_text()[:30])
    with pytest.raises(StoreError, match=r"order.*(anew|rebuild)"):
        session_stores.order(session)
    session, _ = embed(copy, rastermap=True)
    np.testing.assert_array_equal(session_stores.order(session), good)


def test_no_order_outlives_its_build(copy: SimulatedSubject, tmp_path: Path) -> None:
    _, path = embed(copy, rastermap=True)
    shutil.copytree(path / "order", tmp_path / "old")
    session, _ = embed(copy, rerun=True)
    assert not stores.has_group(path, "order")
    shutil.copytree(tmp_path / "old", path / "order")
    with pytest.raises(StoreError, match="another build"):
        session_stores.order(session)
    session, _ = embed(copy, rastermap=True)
    assert stores.attributes(path, "order")["build_id"] == session.attrs["build_id"]


def test_a_store_built_again_meanwhile_gets_no_old_order(
    copy: SimulatedSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = embed(copy)
    compute = raster_order.compute_order

    def compute_slowly(path: Path, rows: raster_order.Rows) -> Order:
        found = compute(path, rows)
        embed(copy, rerun=True)
        return found

    monkeypatch.setattr(raster_order, "compute_order", compute_slowly)
    with pytest.raises(StoreError, match=r"built again.*call again"):
        raster_order.write_order(path)
    assert not stores.has_group(path, "order")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# --- kills and races -------------------------------------------------------------------------------------------------

WRITER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from mesodask.embedding import raster_order

path, delays = Path(sys.argv[1]), [float(d) for d in sys.argv[2:]]

def write_for_ever(written=None):
    rng = np.random.default_rng(os.getpid())
    while True:
        raster_order.store_order(path, rng.permutation(120), "random")
        if written is not None:
            os.write(written, b".")

raster_order.store_order(path, np.arange(120))  # once before forking: the first write imports much
print("ready", flush=True)
if not delays:
    write_for_ever()
for delay in delays:
    sys.stdin.readline()
    done, written = os.pipe()
    child = os.fork()  # Zarr gives the child a loop of its own
    if child == 0:
        write_for_ever(written)
    os.read(done, 1)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def start_writer(path: Path, *delays: float) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WRITER, str(path), *map(str, delays)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def check_store(path: Path) -> bool:
    """Open the store, and tell whether it has an order; if so it is whole."""
    session = session_stores.open_session(path)
    if not stores.has_group(path, "order"):
        return False
    assert sorted(session_stores.order(session)) == list(range(120))
    return True


def test_killed_at_any_moment_the_order_is_whole_or_absent(copy: SimulatedSubject) -> None:
    _, path = embed(copy)
    delays = np.random.default_rng(8).uniform(0, 0.05, 20)
    left_behind = with_order = 0
    with start_writer(path, *delays) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for _ in delays:
            writer.stdin.write("go\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "killed\n"
            with_order += check_store(path)
            left_behind += len(list(path.parent.iterdir())) > 1
    assert with_order > 10
    assert left_behind > 2  # the kills did hit it while it was writing
    embed(copy, rastermap="neurons")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_is_gone_for_a_moment_is_looked_for_again(copy: SimulatedSubject, tmp_path: Path) -> None:
    """So an order that another process is just replacing looks, to who has listed its files before."""
    session, path = embed(copy, rastermap=True)
    isort = session_stores.order(session)
    for look in (lambda: session_stores.order(session), lambda: session_stores.open_session(path)):
        (path / "order").rename(tmp_path / "away")
        back = threading.Timer(0.005, (tmp_path / "away").rename, [path / "order"])
        back.start()
        look()
        back.join()
    np.testing.assert_array_equal(session_stores.order(session), isort)


def test_an_order_that_goes_while_the_store_is_listed_is_looked_for_again(copy: SimulatedSubject) -> None:
    """Python 3.11 raises where a folder vanishes between its name and its content."""
    _, path = embed(copy, rastermap=True)
    away, end, failed = path.parent / "away", time.time() + 2, 0
    mover = threading.Thread(target=flip, args=(path / "order", away, end))
    mover.start()
    while time.time() < end:
        try:
            stores.check_chunks(path)
        except StoreError:
            failed += 1
    mover.join()
    assert failed
    assert check_store(path)


def flip(folder: Path, away: Path, end: float) -> None:
    """Take a folder away and put it back, until a time."""
    while time.time() < end:
        folder.rename(away)
        away.rename(folder)


def test_two_writers_and_a_reader_do_no_harm(copy: SimulatedSubject) -> None:
    _, path = embed(copy, rastermap=True)
    seen = set()
    with endless(start_writer(path)) as first, endless(start_writer(path)) as second:
        deadline = time.time() + 2
        while time.time() < deadline:
            session = session_stores.open_session(path)
            seen.add(session_stores.order(session).tobytes())
            raster_order.store_order(path, np.arange(120))
        assert first.poll() is None
        assert second.poll() is None
    assert len(seen) > 3
    assert check_store(path)


@contextmanager
def endless(writer: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill a writer at the end, also of a test that failed."""
    with writer:
        try:
            yield writer
        finally:
            writer.kill()
