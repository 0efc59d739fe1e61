"""Building session stores: here, on workers, by two processes at once, and killed at any moment."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client

from mesodask import load_or_embed, simulate_subject
from mesodask import sessions as session_stores
from mesodask.cli import main
from mesodask.compute.cluster import local_client, scheduler_file
from mesodask.compute.runner import Task
from mesodask.embedding import building, from_alf
from mesodask.errors import DataError, MesodaskError, SessionNotFoundError, SessionsFailedError, StoreError
from mesodask.io import alf, cache, partials, shards, stores
from mesodask.io.lock import Lock
from mesodask.io.session_content import Content, FileRows, rows_across
from mesodask.io.shards import RowShards
from mesodask.simulate import SimulatedSubject


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """Three short days of 10 and 7 ROIs; no store beside them."""
    return simulate_subject(tmp_path_factory.mktemp("small"), n_days=3, rois_per_fov=(10, 7), n_trials=12, seed=5)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 4 rows, two of them a task: of 17 rows in two FOVs, 8 to 11 are one file and of both."""
    monkeypatch.setattr(shards, "ROWS_A_FILE", 4)
    monkeypatch.setattr(building, "TASK_BYTES", 1)
    original = building._begin

    def two_files_a_task(request: building.Request, *args: object) -> object:
        content = request.read()
        monkeypatch.setattr(building, "TASK_BYTES", 4 * content.described.sizes["time"] * 8)
        return original(request, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(building, "_begin", two_files_a_task)


def everything(session: xr.Dataset) -> dict[str, np.ndarray]:
    """All that a store holds, its groups too."""
    groups = {"": session, "trials": session_stores.trials(session), "wheel": session_stores.wheel(session)}
    return {f"{group}/{name}": part[name].values for group, part in groups.items() for name in part.variables}  # type: ignore[union-attr]


def assert_same(found: xr.Dataset, expected: dict[str, np.ndarray]) -> None:
    values = everything(found)
    assert values.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)


def embed(subject: SimulatedSubject, folder: Path, day: int = 0, **options: object) -> xr.Dataset:
    where = {"one": subject.one_dir, "cache_dir": folder, "rastermap": False}
    return load_or_embed(subject.eids[day], **where, **options)  # type: ignore[arg-type, call-overload, no-any-return]


# rows in shards -----------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["as they are", "shuffled"])
def matrix(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RowShards, np.ndarray]:
    """600 rows of which the last file is not full; nothing is written yet."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((600, 50)) < 0.2, rng.normal(size=(600, 50)), 0).astype(np.float32)
    values[3, 1:], values[599, 7] = np.nan, -np.inf
    rows = RowShards.create(
        tmp_path / "a.zarr", "x", dims=("roi", "time"), shape=values.shape, dtype="float32",
        shuffle=request.param, attributes={"units": "a.u."},
    )  # fmt: skip
    return rows, values


def test_zarr_reads_what_we_write(matrix: tuple[RowShards, np.ndarray]) -> None:
    rows, values = matrix
    rows.write(256, values[256:])
    rows.write(0, values[:256])
    array = zarr.open_group(str(rows.path.parent), mode="r")["x"]
    np.testing.assert_array_equal(array[...], values)
    assert sorted(p.relative_to(rows.path).as_posix() for p in rows.path.rglob("c/**/*") if p.is_file()) == [
        "c/0/0", "c/1/0", "c/2/0"
    ]  # fmt: skip


def test_we_read_what_zarr_writes(matrix: tuple[RowShards, np.ndarray]) -> None:
    rows, values = matrix
    zarr.open_group(str(rows.path.parent), mode="a")["x"][...] = values
    assert RowShards.open(rows.path) == rows
    lazy = stores.open_group(rows.path.parent)["x"]
    assert not lazy.variable._in_memory
    np.testing.assert_array_equal(lazy.values, values)
    rng = np.random.default_rng(1)
    some, columns = rng.integers(0, 600, 40), rng.permutation(50)[:9]
    for key in ((some,), (some, slice(5, 40, 3)), (slice(None, None, 7), columns), (slice(9, 3, -2), slice(3)), (5,),
                (slice(0, 20), 4), (5, 6), (np.array([], dtype=int),), (rng.random(600) < 0.1,)):  # fmt: skip
        np.testing.assert_array_equal(lazy[key].values, values[key])
    np.testing.assert_array_equal(lazy[some, columns].values, values[np.ix_(some, columns)])


def test_other_layouts_are_left_to_zarr(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="a")
    values = np.arange(600, dtype="float32").reshape(60, 10)
    group.create_array("wide", shape=(60, 10), dtype="float32", shards=(20, 10), chunks=(2, 5), dimension_names="rt")
    group.create_array("plain", shape=(60, 10), dtype="float32", chunks=(20, 10), dimension_names="rt")
    for name in ("wide", "plain"):
        group[name][...] = values
        assert RowShards.open(tmp_path / "a.zarr" / name) is None
        np.testing.assert_array_equal(stores.open_group(tmp_path / "a.zarr")[name].values, values)


def test_every_flipped_bit_of_a_shard_is_told(matrix: tuple[RowShards, np.ndarray]) -> None:
    rows, values = matrix
    rows.write(0, values)
    file = rows.path / "c" / "2" / "0"
    clean = file.read_bytes()
    for position in np.random.default_rng(2).integers(0, 8 * len(clean), 60):
        damaged = bytearray(clean)
        damaged[position // 8] ^= 1 << (position % 8)
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{file}.*damaged.*rerun=True"):
            rows.read(np.arange(512, 600))
        np.testing.assert_array_equal(rows.read(np.arange(512)), values[:512])
    for length in (0, 3, 100, len(clean) - 1):
        file.write_bytes(clean[:length])
        with pytest.raises(StoreError, match=rf"{file}.*damaged"):
            rows.read(np.array([599]))
    file.unlink()
    with pytest.raises(StoreError, match=rf"{file}.*lost"):
        rows.read(np.array([512]))


def test_a_store_that_was_given_up_does_not_come_back(matrix: tuple[RowShards, np.ndarray]) -> None:
    rows, values = matrix
    (rows.path / "c").rmdir()
    with pytest.raises(FileNotFoundError):
        rows.write(0, values)
    assert not (rows.path / "c").exists()


def test_rows_of_files_in_either_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    fortran, c_order = rng.random((30, 8)).astype("float32"), rng.random((30, 8))
    np.save(tmp_path / "a.npy", np.asfortranarray(fortran))
    np.save(tmp_path / "b.npy", c_order)
    maps = [np.load(tmp_path / name, mmap_mode="r").T for name in ("a.npy", "b.npy")]
    both = FileRows.of(maps, (1.0, -0.7))
    assert both.by_row == (True, False)
    expected = fortran.T - np.float32(0.7) * c_order.T.astype("float32")
    np.testing.assert_array_equal(both.rows(2, 7), expected[2:7])
    one = FileRows.of(maps[:1], (1.0,))
    np.testing.assert_array_equal(rows_across([one, both, one], 5, 19), np.r_[fortran.T, expected, fortran.T][5:19])
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"a.npy: ends within ROI 6 of 8"):
        one.rows(3, 8)


# on workers ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_workers_write_what_one_process_writes(
    small: SimulatedSubject, tmp_path: Path, client: Client, submitted: list[Task]
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    expected = everything(embed(small, alone))
    assert not submitted
    assert_same(embed(small, shared, client=client), expected)
    np.testing.assert_array_equal(
        expected["/signal"],
        np.concatenate(
            [
                np.load(small.session_folder(small.eids[0]) / "alf" / f"FOV_0{fov}" / "mpci.ROIActivityDeconvolved.npy")
                for fov in (0, 1)
            ],
            axis=1,
        ).T,
    )
    files = [sorted(p.relative_to(d) for p in d.rglob("signal/c/*/*")) for d in (alone / "data", shared / "data")]
    assert len(files[0]) == 5
    for ours, theirs in zip(*files, strict=True):
        assert (alone / "data" / ours).read_bytes() == (shared / "data" / theirs).read_bytes()
    # no file is written by two tasks
    blocks = sorted(task.arguments[2:] for task in submitted)
    assert blocks == [(0, 8), (8, 16), (16, 17)]


def test_sessions_come_back_in_the_order_given(small: SimulatedSubject, tmp_path: Path, client: Client) -> None:
    wanted = [small.eids[i] for i in (2, 0, 1, 0)]
    steps: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        steps.append((done, total))

    load_or_embed(small.eids[1], one=small.one_dir, cache_dir=tmp_path, rastermap=False)
    opened = load_or_embed(wanted, one=small.one_dir, cache_dir=tmp_path, rastermap=False, client=client, progress=note)
    assert [session.attrs["eid"] for session in opened] == wanted
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for session in opened:
        alone = tmp_path / "alone"
        assert_same(session, everything(embed(small, alone, small.eids.index(session.attrs["eid"]))))
    assert load_or_embed([], one=small.one_dir, cache_dir=tmp_path) == []


def test_a_session_is_read_when_its_turn_comes(small: SimulatedSubject, tmp_path: Path) -> None:
    one = alf.connect(small.one_dir)
    paths = [tmp_path / f"{i}.zarr" for i in range(3)]

    def reader(i: int) -> Callable[[], Content]:
        def read() -> Content:
            assert [path.exists() for path in paths] == [k < i for k in range(3)]
            return from_alf.read_session(alf.SessionFiles(one, small.eids[i]))

        return read

    assert building.build_stores([building.Request(str(i), paths[i], reader(i), False) for i in range(3)]) == {}
    assert all(path.exists() for path in paths)


def test_a_store_with_a_lost_chunk_costs_no_other(copy: SimulatedSubject) -> None:
    stores = load_or_embed(list(copy.eids), one=copy.one_dir, rastermap=False)
    (Path(stores[1].encoding["source"]) / "signal" / "c" / "0" / "0").unlink()
    with pytest.raises(SessionsFailedError, match="this part of the store is lost") as caught:
        load_or_embed(list(copy.eids), one=copy.one_dir, rastermap=False)
    assert list(caught.value.errors) == [copy.eids[1]]


@pytest.mark.parametrize("on_workers", [False, True], ids=["here", "on workers"])
def test_a_failed_session_costs_no_other(copy: SimulatedSubject, client: Client, on_workers: bool) -> None:
    times = copy.session_folder(copy.eids[1]) / "alf" / "FOV_01" / "mpci.times.npy"
    np.save(times, np.load(times)[::-1])
    with pytest.raises(SessionsFailedError) as caught:
        load_or_embed(list(copy.eids), one=copy.one_dir, rastermap=False, client=client if on_workers else None)
    assert "1 of 3 sessions failed" in str(caught.value)
    assert f"{copy.eids[1]}: {times}: frame 1 at" in str(caught.value)
    assert isinstance(caught.value.errors[copy.eids[1]], DataError)
    data = copy.one_dir / "meso" / "data"
    assert {path.name for path in data.iterdir()} == {f"{copy.eids[day]}.zarr" for day in (0, 2)}
    for day in (0, 2):
        embed(copy, copy.one_dir / "meso", day)
    # of one session its own error, of an unknown one before any work
    with pytest.raises(DataError, match="must increase"):
        load_or_embed([copy.eids[1]], one=copy.one_dir, rastermap=False)
    with pytest.raises(SessionNotFoundError):
        load_or_embed([copy.eids[0], "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"], one=copy.one_dir, rerun=True)


def test_the_command_takes_workers(small: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eids = [small.eids[1], small.eids[0]]
    status = main(
        ["embed", *eids, "--one", str(small.one_dir), "--cache-dir", str(tmp_path), "--no-rastermap", "--workers", "1"]
    )
    assert status == 0
    assert capsys.readouterr().out.split() == [str(cache.session_store(tmp_path, eid)) for eid in eids]


@dataclass(frozen=True)
class FailingRows:
    """Rows that cannot be read, or kill their worker at the first try."""

    rows_of: FileRows
    mark: Path
    deadly: bool

    @property
    def n_rois(self) -> int:
        return self.rows_of.n_rois

    def rows(self, start: int, stop: int) -> np.ndarray:
        if start >= 4 and not self.mark.exists():
            if not self.deadly:
                raise DataError("gone", self.rows_of.files[0])
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.rows_of.rows(start, stop)


def sabotaged(subject: SimulatedSubject, folder: Path, day: int, *, deadly: bool) -> building.Request:
    files = alf.SessionFiles(alf.connect(subject.one_dir), subject.eids[day])

    def read() -> Content:
        content = from_alf.read_session(files)
        # the first look at the rows, in this process, ends before the fourth
        rows = [FailingRows(part, folder / "mark", deadly) for part in content.activity]  # type: ignore[arg-type]
        return Content(content.described, rows, content.trials, content.wheel)

    return building.Request(files.info.eid, folder / f"{files.info.eid}.zarr", read, False)


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_worker_costs_nothing(
    small: SimulatedSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "ROWS_LOOKED_AT", 2)
    request = sabotaged(small, tmp_path, 0, deadly=True)
    with local_client(2) as workers:
        assert building.build_stores([request], client=workers) == {}
    assert (tmp_path / "mark").exists()
    expected = everything(embed(small, tmp_path / "alone"))
    assert_same(session_stores.open_session(request.path), expected)
    assert not list(request.path.rglob("*.partial"))


@pytest.mark.usefixtures("small_blocks")
def test_a_task_that_fails_takes_its_store_along(
    small: SimulatedSubject, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "ROWS_LOOKED_AT", 2)
    whole = building.Request(
        "whole", tmp_path / "whole.zarr",
        lambda: from_alf.read_session(alf.SessionFiles(alf.connect(small.one_dir), small.eids[1])), False,
    )  # fmt: skip
    for workers in (None, client):
        requests = [sabotaged(small, tmp_path, 0, deadly=False), whole]
        errors: dict[str, MesodaskError] = building.build_stores(requests, client=workers)
        assert list(errors) == [small.eids[0]]
        assert "ROIActivityDeconvolved.npy: gone" in str(errors[small.eids[0]])
        assert [path.name for path in tmp_path.iterdir()] == ["whole.zarr"]


# two processes ------------------------------------------------------------------------------------------------

# imports first, then a session for every line it reads: what comes then is only the embedding
SERVER = """
import json, os, sys
from mesodask import load_or_embed
from mesodask.embedding import building
from mesodask.compute.cluster import start_cluster
from mesodask.io import alf, regions
import numpy
regions.describe_regions(numpy.array([997]))
one = alf.connect(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    pid = os.fork() if task["fork"] else 0
    if pid == 0:
        if task.get("stop_in_rows"):
            import time
            building.write_rows = lambda *arguments: (print("writing", flush=True), time.sleep(600))
        client = start_cluster(task["cluster"]) if task.get("cluster") else None
        print(os.getpid(), flush=True)
        while True:
            session = load_or_embed(task["eid"], one=one, cache_dir=task["cache_dir"], rastermap=False,
                                    rerun=task["rerun"], client=client)
            if not task["fork"]:
                print(session.attrs["build_id"], flush=True)
                break
    else:
        os.waitpid(pid, 0)
        print("ended", flush=True)
"""


class Server:
    """A process that embeds when it is told to."""

    def __init__(self, subject: SimulatedSubject) -> None:
        self._eid = subject.eids[0]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVER, str(subject.one_dir)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[1],
        )  # fmt: skip

    def hears(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, folder: Path, **task: object) -> None:
        assert self._process.stdin is not None
        whole = {"eid": self._eid, "cache_dir": str(folder), "fork": False, "rerun": False} | task
        self._process.stdin.write(json.dumps(whole) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def servers(small: SimulatedSubject) -> Iterator[list[Server]]:
    started = [Server(small) for _ in range(2)]
    assert [server.hears() for server in started] == ["ready"] * 2
    yield started
    for server in started:
        server.close()


def test_of_two_processes_one_builds(servers: list[Server], tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        for server in servers:
            server.tell(folder)
        assert all(server.hears().isdigit() for server in servers)
        builds = {server.hears() for server in servers}
        assert len(builds) == 1
        assert len(list((folder / "data").iterdir())) == 1


def test_two_rebuilds_take_turns(servers: list[Server], tmp_path: Path) -> None:
    for server in servers:
        server.tell(tmp_path, rerun=True)
    assert all(server.hears().isdigit() for server in servers)
    assert len({server.hears() for server in servers}) == 2
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_who_waits_takes_over_from_the_killed(servers: list[Server], small: SimulatedSubject, tmp_path: Path) -> None:
    server = servers[0]
    server.tell(tmp_path, fork=True, stop_in_rows=True)
    pid = int(server.hears())
    assert server.hears() == "writing"
    found: list[xr.Dataset] = []
    waiter = threading.Thread(target=lambda: found.append(embed(small, tmp_path)))
    waiter.start()
    waiter.join(1.5)
    assert waiter.is_alive()
    assert not found
    os.kill(pid, signal.SIGKILL)
    assert server.hears() == "ended"
    waiter.join(30)
    assert_same(found[0], everything(embed(small, tmp_path / "alone")))
    assert [path.name for path in (tmp_path / "data").iterdir()] == [f"{small.eids[0]}.zarr"]


@pytest.mark.parametrize("on_workers", [False, True], ids=["here", "on workers"])
def test_meanwhile_the_others_are_built(
    small: SimulatedSubject, tmp_path: Path, client: Client, on_workers: bool
) -> None:
    """Two processes with the same sessions in another order must not wait for each other."""
    paths = [cache.session_store(tmp_path, eid) for eid in small.eids]
    opened: list[xr.Dataset] = []
    where = {"one": small.one_dir, "cache_dir": tmp_path, "client": client if on_workers else None}

    def run() -> None:
        opened.extend(load_or_embed(list(small.eids), rastermap=False, **where))  # type: ignore[call-overload]

    with Lock(paths[0].with_name(f".{paths[0].name}.lock"), "the first"):
        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.time() + 30
        while not all(path.exists() for path in paths[1:]):
            assert time.time() < deadline
            time.sleep(0.02)
        assert not paths[0].exists()
    thread.join(30)
    assert [session.attrs["eid"] for session in opened] == list(small.eids)


# killed -------------------------------------------------------------------------------------------------------


def test_what_a_dead_process_left_is_removed(small: SimulatedSubject, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path = cache.session_store(tmp_path, small.eids[0])
    ours = partials.partial_of(path).name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    elsewhere = ours.replace(socket.gethostname(), "another-host")
    for rerun, builds in ((False, True), (False, False), (True, True)):
        for name in (ours, elsewhere):
            (path.parent / name / "signal").mkdir(parents=True)
        embed(small, tmp_path, rerun=rerun)
        # whether a process elsewhere lives is not to be seen from here: only the holder of the lock knows
        assert {p.name for p in path.parent.iterdir()} == {path.name} | (set() if builds else {elsewhere})
        shutil.rmtree(path.parent / elsewhere, ignore_errors=True)


def kill_at_random(
    server: Server, small: SimulatedSubject, folder: Path, delays: np.ndarray, **task: object
) -> tuple[int, int]:
    """Kill an embedding at some moments; count after how many there was a store, and after how many a partial one."""
    path = cache.session_store(folder, small.eids[0])
    expected = everything(embed(small, folder / "alone"))
    n_there = n_partial = 0
    for delay in delays:
        server.tell(folder, fork=True, rerun=True, **task)
        pid = int(server.hears())
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        assert server.hears() == "ended"
        n_partial += bool(list(path.parent.glob(".*.partial")))
        if path.exists():
            n_there += 1
            assert_same(session_stores.open_session(path), expected)
        assert_same(embed(small, folder), expected)
        left = [p.name for p in path.parent.iterdir() if p != path]
        assert left in ([], [f".{path.name}.lock"]), left  # a lock without an owner holds nobody up
    assert_same(embed(small, folder, rerun=True), expected)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return n_there, n_partial


def test_kill_at_random_moments(
    servers: list[Server], small: SimulatedSubject, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    n = 200 if request.config.getoption("--slow") else 14
    delays = np.random.default_rng(8).uniform(0.0, 0.8, n)
    _, n_partial = kill_at_random(servers[0], small, tmp_path, delays)
    assert n_partial >= n // 4  # or the moments were not those that matter


def test_kill_the_driver_of_workers_at_random_moments(
    servers: list[Server], small: SimulatedSubject, tmp_path: Path, client: Client, request: pytest.FixtureRequest
) -> None:
    n = 60 if request.config.getoption("--slow") else 6
    delays = np.random.default_rng(9).uniform(0.0, 0.8, n)
    kill_at_random(servers[1], small, tmp_path, delays, cluster=str(scheduler_file(client)))
