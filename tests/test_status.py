"""The status of runs against counts over arrays that are known, files on disk, and a clock set by hand."""

import json
import math
import os
import re
import shutil
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from rich.console import Console

from mesodask import run_status, schema, summarize
from mesodask.cli import main
from mesodask.cli.progress import Stages
from mesodask.errors import StoreError
from mesodask.io.lock import Lock
from mesodask.io.runstore import RESAMPLE_CHUNK, SHUFFLE_CHUNK, UNDEFINED, RunStore
from mesodask.settings import NdcSettings

EIDS = ["e1", "e2", "e3"]
KS, R, SHUFFLES = [8, 2, 4], 25, 130  # in the order in which they were asked for; chunks are not filled


def new_run(path: Path) -> RunStore:
    tracked = schema.conform(
        {
            "roi": np.zeros((3, 8)),
            "session": EIDS,
            "date": ["2025-01-01", "2025-01-02", "2025-01-05"],
            "cluster_uid": [f"u{i}" for i in range(8)],
        },
        schema.TRACKED,
        {"subject": "S1"},
    )
    run = RunStore(path)
    run.create(tracked)
    run.update_attributes({"subject": "S1", "settings": NdcSettings().model_dump(mode="json")})
    return run


def arrays(run: RunStore, target: str) -> tuple[zarr.Array, zarr.Array]:
    group = zarr.open_group(str(run.path), mode="a")[target]
    return group["score"], group["null_score"]


@pytest.fixture
def run(tmp_path: Path) -> RunStore:
    """Of choice, all of e1 and a random part of e2; e3 is skipped. Of block, nothing."""
    rng = np.random.default_rng(0)
    made = new_run(tmp_path / "meso" / "decoding" / "S1_2025_0123abcd.zarr")
    for target in ("choice", "block"):
        made.reserve(target, EIDS, KS, R, SHUFFLE_CHUNK, "d")  # the first call makes the chunks
        made.reserve(target, EIDS, KS, R, SHUFFLES, "d")
        made.write_session(target, 2, n_trials=0, performance=np.nan, status="skipped", reason="3 trials of class 1")
    score, null = arrays(made, "choice")
    values = rng.uniform(size=(3, R))
    values[1, 3] = UNDEFINED  # computed, and not defined
    null_values = rng.uniform(size=(3, R, SHUFFLES)).astype("f4")
    score[0], null[0] = values, null_values
    score[1] = np.where(rng.uniform(size=values.shape) < 0.6, values, np.nan)
    null[1] = np.where(rng.uniform(size=null_values.shape) < 0.6, null_values, np.nan)
    return made


def stored(run: RunStore, target: str, session: int) -> int:
    """Count what is stored, straight from the arrays."""
    return sum(int(np.isfinite(array[session]).sum()) for array in arrays(run, target))


PER_SESSION = len(KS) * R * (1 + SHUFFLES)


def test_counts(run: RunStore) -> None:
    status = run_status(run.path)
    choice, block = status.targets
    assert (choice.target, block.target) == ("choice", "block")
    assert choice.skipped == block.skipped == {"2025-01-05 (e3)": "3 trials of class 1"}
    assert stored(run, "choice", 0) == PER_SESSION
    done = PER_SESSION + stored(run, "choice", 1)
    assert (choice.total, choice.done, choice.left, choice.failed, choice.damaged) == (
        2 * PER_SESSION, done, 2 * PER_SESSION - done, 0, 0,
    )  # fmt: skip
    assert (choice.n_sessions, choice.n_sessions_done) == (3, 1)
    assert (block.done, block.left, block.n_sessions_done) == (0, 2 * PER_SESSION, 0)
    assert (status.total, status.done, status.left) == (4 * PER_SESSION, done, 4 * PER_SESSION - done)
    assert (status.state, status.driver, status.subject) == ("stopped", None, "S1")
    assert run_status(run).plain() == status.plain()


def test_finished_and_nothing_begun(run: RunStore, tmp_path: Path) -> None:
    for target in ("choice", "block"):
        score, null = arrays(run, target)
        score[:2], null[:2] = 0.5, 0.5
    status = run_status(run)
    assert (status.state, status.left, status.seconds_left) == ("finished", 0, 0.0)
    empty = run_status(new_run(tmp_path / "new.zarr"))
    assert (empty.state, empty.targets, empty.total) == ("not begun", (), 0)
    with pytest.raises(StoreError, match="no run store"):
        run_status(tmp_path)


def test_null_is_asked_for_on_some_resamples_and_no_more_shuffles_than_it_gives(run: RunStore) -> None:
    group = zarr.open_group(str(run.path), mode="a")
    group["choice"].attrs["null_resamples"] = 12
    features = schema.conform(
        {"X": np.zeros((4, 2)), "y": [0, 1, 0, 1], "trial_index": range(4)}, schema.FEATURES, {"n_null": 57}
    )
    run.write_features("choice", "e2", features)
    choice = run_status(run).targets[0]
    assert choice.total == 3 * (2 * R + 12 * (SHUFFLES + 57))
    score, null = arrays(run, "choice")
    of_e2 = np.isfinite(score[1]).sum() + np.isfinite(null[1, :, :12, :57]).sum()
    assert choice.done == 3 * (R + 12 * SHUFFLES) + of_e2


def failed_pieces(first: int) -> list[dict[str, Any]]:
    """What a task that had all scores of ten resamples was to compute."""
    return [{"k": k, "resamples": [first, first + 10], "shuffles": [0, SHUFFLES], "data": True} for k in KS]


def test_failed_tasks(run: RunStore) -> None:
    pieces = [
        {"k": 4, "resamples": [0, 10], "shuffles": [0, 100], "data": True},
        {"k": 8, "resamples": [10, 20], "shuffles": [0, 0], "data": True},
    ]
    run.note_failure({"target": "choice", "eid": "e2", "pieces": pieces, "error": "ValueError: first", "traceback": ""})
    run.note_failure({"target": "block", "eid": "e1", "pieces": failed_pieces(20), "error": "KilledWorker: no\nmore"})
    with run.failures_file.open("a") as stream:
        stream.write('{"target": "choi')  # is being written
    status = run_status(run)
    score, null = (array[1] for array in arrays(run, "choice"))
    # rows as on disk, where ks stand as in KS
    failed = np.isnan(score[2, :10]).sum() + np.isnan(null[2, :10, :100]).sum() + np.isnan(score[0, 10:20]).sum()
    choice, block = status.targets
    assert choice.failed == failed
    assert choice.left == choice.total - choice.done - failed
    assert block.failed == 3 * 5 * (1 + SHUFFLES)
    assert (status.failed_tasks, status.last_error) == (2, "KilledWorker: no")


def test_run_in_which_nothing_is_left_but_failures(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run.zarr")
    run.reserve("choice", EIDS, [4], 10, 0, "d")
    arrays(run, "choice")[0][:2] = 0.5
    run.note_failure({"target": "choice", "eid": "e3", "pieces": failed_pieces(0), "error": "ValueError: x"})
    assert run_status(run).state == "failed"


def test_damaged_chunks_are_left_and_counted(run: RunStore) -> None:
    before = run_status(run).targets[0]
    root = run.path / "choice"
    flipped = root / "score" / "c" / "0" / "1" / "0"  # e1, k = 2, resamples 0 to 9
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 0xFF
    flipped.write_bytes(content)
    cut = root / "null_score" / "c" / "0" / "0" / "2" / "1"  # e1, k = 8, resamples 20 to 24, shuffles 100 to 129
    os.truncate(cut, 20)
    choice = run_status(run).targets[0]
    lost = RESAMPLE_CHUNK + (R - 2 * RESAMPLE_CHUNK) * (SHUFFLES - SHUFFLE_CHUNK)
    assert (choice.damaged, choice.done, choice.left) == (lost, before.done - lost, before.left + lost)
    assert choice.n_sessions_done == 0


def test_lost_chunks_are_left(run: RunStore) -> None:
    before = run_status(run).targets[0]
    (run.path / "choice" / "null_score" / "c" / "0" / "0" / "0" / "0").unlink()
    exact, quick = run_status(run).targets[0], run_status(run, quick=True).targets[0]
    assert exact.done == before.done - RESAMPLE_CHUNK * SHUFFLE_CHUNK
    assert (exact.n_sessions_done, quick.n_sessions_done) == (0, 0)


def test_quick_takes_chunks_for_full(run: RunStore) -> None:
    exact, quick = run_status(run).targets[0], run_status(run, quick=True).targets[0]
    # every chunk of e2's null is there, and partly NaN
    assert quick.done - exact.done == np.isnan(arrays(run, "choice")[1][1]).sum()
    assert run_status(run, quick=True).targets[1].done == 0


def test_extents_that_a_kill_or_a_driver_at_work_leave_unequal(run: RunStore) -> None:
    before = run_status(run).targets[0]
    group = zarr.open_group(str(run.path), mode="a")["choice"]
    group["null_score"].resize((3, 4, R + 10, SHUFFLES))
    status = run_status(run).targets[0]
    assert (status.done, status.total) == (before.done, before.total)
    group["score"].resize((3, 4, R + 10))
    group["k"].resize((4,))  # its number is not there yet
    status = run_status(run).targets[0]
    assert (status.done, status.total) == (before.done, 2 * 3 * (R + 10 + R * SHUFFLES))  # the null is asked for on R


def test_damaged_metadata_of_a_target_hides_no_other(run: RunStore) -> None:
    (run.path / "block" / "score" / "zarr.json").write_text("{")
    status = run_status(run)
    assert status.targets[0].done > 0
    assert "block" in status.targets[1].problem


def test_damaged_features_of_a_target_hide_no_other(run: RunStore) -> None:
    damaged = run.path / "features" / "choice" / EIDS[0] / "zarr.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    status = run_status(run)
    assert f"{damaged}: cannot be read" in status.targets[0].problem
    assert status.targets[1].problem == ""
    assert status.state == "stopped"


def set_clock(run: RunStore, seconds_ago: dict[str, float], now: float) -> None:
    """Date all chunks of a target and session so many seconds ago."""
    for place, ago in seconds_ago.items():
        target, session = place.split("/")
        for array in ("score", "null_score"):
            for file in (run.path / target / array / "c" / session).rglob("*"):
                if file.is_file():
                    os.utime(file, (now - ago, now - ago))


def test_rate_and_time_left(run: RunStore) -> None:
    """What was written in the last ten minutes, after the first of it."""
    score, null = arrays(run, "block")
    score[0], null[0] = 0.5, 0.5
    now = time.time()
    set_clock(run, {"choice/0": 3000.0, "choice/1": 500.0, "block/0": 100.0}, now)
    stopped = run_status(run)
    assert stopped.last_write == pytest.approx(now - 100)
    assert stopped.rate == pytest.approx(60 * PER_SESSION / 400)  # until the last score
    assert math.isnan(stopped.seconds_left)
    with Lock(run.path.with_suffix(".lock"), "the run"):
        running = run_status(run)
    per_second = PER_SESSION / 500
    assert running.state == "running"
    assert str(os.getpid()) in str(running.driver)
    assert running.rate == pytest.approx(60 * per_second, rel=0.02)
    assert running.seconds_left == pytest.approx(running.left / per_second, rel=0.02)
    choice, block = running.targets
    assert choice.rate == 0
    assert block.rate == pytest.approx(60 * per_second, rel=0.02)
    assert choice.seconds_left + block.seconds_left == pytest.approx(running.seconds_left)


def test_rate_is_not_known_from_one_task(run: RunStore) -> None:
    set_clock(run, {"choice/0": 90000.0, "choice/1": 5.0}, time.time())
    with Lock(run.path.with_suffix(".lock"), "the run"):
        running = run_status(run)
    assert math.isnan(running.rate)
    assert math.isnan(running.seconds_left)
    assert json.loads(json.dumps(running.plain(), allow_nan=False))["seconds_left"] is None


def test_lock_of_a_process_that_is_gone_is_no_driver(run: RunStore) -> None:
    lock = run.path.with_suffix(".lock")
    with Lock(lock, "the run"):
        content = json.loads(lock.read_text())
    lock.write_text(json.dumps(content | {"started": "0"}))  # its number is another process's now
    assert run_status(run).state == "stopped"


def test_while_a_driver_writes_and_makes_room(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run.zarr")
    run.reserve("choice", EIDS, [2], 10, 10, "d")
    steps = [(k, R) for R in (10, 20, 30) for k in (2, 3, 4)]

    def drive() -> None:
        for k, R in steps:
            run.reserve("choice", EIDS, [k], R, 10, "d")
            run.write_scores("choice", 0, R - 10, [k], np.full((1, 10), 0.6), np.full((1, 10, 10), 0.5))
            run.write_session("choice", 0, n_trials=100, performance=0.5, status="partial", reason="")

    driver = threading.Thread(target=drive)
    driver.start()
    seen = []
    while driver.is_alive():
        status = run_status(run)
        assert status.targets[0].problem == ""
        seen.append(status.done)
        summarize(run)
    driver.join()
    assert seen == sorted(seen)
    assert run_status(run).done == len(steps) * 10 * 11
    assert summarize(run)["n_resamples"].values[0, 0].tolist() == [30, 30, 30]


# the command --------------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_command_tells_all_in_words(run: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    run.note_failure(
        {"target": "block", "eid": "e1", "pieces": failed_pieces(20), "error": "ValueError: bad", "traceback": ""}
    )
    found = run_status(run)
    exit_status, out, _ = command(capsys, "status", run.path)
    assert exit_status == 0
    choice = found.targets[0]
    assert re.search(rf"^choice +1/2 +{choice.done}/{choice.total} +\d+% +0 +{choice.left} ", out, re.MULTILINE)
    assert re.search(rf"^all +{found.done}/{found.total} +\d+% +{found.failed} +{found.left} ", out, re.MULTILINE)
    assert "S1_2025_0123abcd: stopped" in out
    assert "skipped  choice, 2025-01-05 (e3): 3 trials of class 1" in out
    assert "failed   1 tasks, the last by ValueError: bad" in out
    assert str(run.failures_file) in out
    assert "Run the same analysis again" in out
    rows = [line for line in out.splitlines() if line.startswith(("target", "choice", "block", "all"))]
    assert all(len(line) <= 80 for line in rows)


def test_command_finds_runs_by_name(run: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    cache = run.path.parents[1]
    _, by_path, _ = command(capsys, "status", run.path, "--json")
    for where in (("--cache-dir", cache), ("--one", cache.parent)):
        exit_status, out, _ = command(capsys, "status", "S1_20", *where, "--json")
        assert exit_status == 0
        assert json.loads(out) == json.loads(by_path)
    assert json.loads(by_path)["done"] == run_status(run).done
    shutil.copytree(run.path, run.path.with_name("S1_2025_ffffffff.zarr"))
    exit_status, _, err = command(capsys, "status", "S1", "--cache-dir", cache)
    assert exit_status == 2
    assert "2 runs begin like that" in err
    assert "S1_2025_ffffffff" in err
    exit_status, _, err = command(capsys, "status", "S2", "--cache-dir", cache)
    assert exit_status == 2
    assert "S1_2025_0123abcd" in err
    exit_status, _, err = command(capsys, "status", cache / "no.zarr")
    assert exit_status == 2
    assert "no run store here" in err


def test_command_lists_runs(run: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    cache = run.path.parents[1]
    damaged = new_run(run.path.with_name("A_run.zarr"))
    (damaged.path / "zarr.json").write_text("{")
    exit_status, out, _ = command(capsys, "status", "--cache-dir", cache)
    assert exit_status == 0
    first, second = out.splitlines()
    quick = run_status(run, quick=True)
    assert "cannot be read" in first
    assert re.fullmatch(
        rf"S1_2025_0123abcd +stopped +{100 * quick.done // quick.total}% of {quick.total} scores", second
    )
    exit_status, out, _ = command(capsys, "status", "--cache-dir", cache, "--json")
    assert [part["state"] for part in json.loads(out)] == ["damaged", "stopped"]
    exit_status, out, _ = command(capsys, "status", "--cache-dir", cache / "empty")
    assert "no runs in" in out


def test_status_writes_nothing(run: RunStore) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run.path.parent.rglob("*")}

    before = files()
    run_status(run)
    assert files() == before


# progress -----------------------------------------------------------------------------------------------------


def test_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    out = StringIO()
    with Stages(Console(file=out), line_every=30.0) as stages:
        stages.report("there", 3, 3)  # nothing to do: nothing to say
        for target in ("a", "b"):
            stages.report(target, 0, 100)
        for done in range(1, 101):
            clock[0] += 1.0
            stages.report("a", done, 100)
        for done in (1, 2):
            clock[0] += 50.0
            stages.report("b", done, 100)
        clock[0] += 1.0
        stages.report("b", 3, 100)
    assert out.getvalue().splitlines() == [
        "a 30/100, 0:01:10 left",
        "a 60/100, 0:00:40 left",
        "a 90/100, 0:00:10 left",
        "a 100/100 in 0:01:40",
        "b 1/100, 1:22:30 left",  # 99 times 50 s, for b begins when a moves last
        "b 2/100, 1:21:40 left",
        "b 3/100, 0:54:26 left",  # the last word on leaving: 97 times 101 s / 3
    ]


def test_terminal_has_a_bar_a_stage() -> None:
    out = StringIO()
    with Stages(Console(file=out, force_terminal=True, width=80)) as stages:
        stages.report("curves: choice", 0, 909000)
        stages.report("curves: feedback", 0, 909000)
        stages.report("curves: choice", 909000, 909000)
        stages.say("a line")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    last = [line for line in re.split(r"[\r\n]+", shown) if line.startswith("curves")][-2:]
    assert re.fullmatch(r"curves: choice +━+ 909000/909000 0:00:0\d *", last[0])
    assert re.fullmatch(r"curves: feedback +━* *.* +0/909000 -:--:-- *", last[1])
    assert "a line" in shown
