"""The live page: what it knows, what it costs, that it never harms a run, and how it looks in a real browser."""

import dataclasses
import functools
import io
import logging
import math
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import browser
import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from browser import Browser
from distributed import Client, LocalCluster, Scheduler
from runs import FailsOnSixteen, gated

from mesodask import neuron_dropping_curves, summarize
from mesodask.compute import dashboard, live_page, live_runs, runner
from mesodask.compute.cluster import local_client
from mesodask.compute.live_runs import TOPIC, Board
from mesodask.errors import TasksFailedError
from mesodask.io.runstore import RunStore
from mesodask.runs.events import feed, teller
from mesodask.tracking import session_labels

SMALL = {"ks": (4, 8, 16), "R": 20, "n_label_shuffles": 19}
DAYS = ("day-1", "day-2")
SCHEDULER_MS_A_TASK = 2.0  # what a task costs Dask's scheduler (see TRAPS)


def populations(subject: str = "lab mouse", n_trials: int = 80, n_neurons: int = 20) -> dict[str, xr.Dataset]:
    """Two days of the same neurons, which code the labels."""
    rng = np.random.default_rng(len(subject))
    days = {}
    for day in DAYS:
        y = rng.permutation(np.arange(n_trials) % 2)
        X = rng.normal(size=(n_trials, n_neurons)) + 0.5 * y[:, None] * rng.normal(size=n_neurons)
        data = xr.Dataset({"X": (("trial", "neuron"), X), "y": ("trial", y)}, attrs={"target": "choice"})
        days[day] = data.assign_attrs(subject=subject)
    return days


def compute(client: Client, folder: Path, subject: str = "lab mouse", **options: Any) -> RunStore:
    return neuron_dropping_curves(features=populations(subject), cache_dir=folder, client=client, **SMALL | options)  # type: ignore[return-value]


def begin(run: str = "a", n_lines: int = 2, **other: Any) -> dict[str, Any]:
    panels = [{"title": "choice", "x": [8, 16, 32], "log_x": True, "reference": 0.5}]
    lines = [f"day {n}" for n in range(n_lines)]
    return {"kind": "begin", "run": run, "format": 1, "client": "c", "title": f"run {run}", "lines": lines,
            "panels": panels, "total": 1000} | other  # fmt: skip


def update(run: str = "a", *rows: list[float], **other: Any) -> dict[str, Any]:
    return {"kind": "update", "run": run, "rows": list(rows)} | other


def point(line: int = 0, x: float = 8, mean: float = 0.7) -> list[float]:
    return [0, line, x, 20, mean, mean - 0.1, mean + 0.1, 0.45, 0.55]


def board_on(client: Client, what: Callable[[Board], Any]) -> Any:
    """Ask the board on a scheduler that may be in another process."""

    def ask(dask_scheduler: Any) -> Any:
        return what(dask_scheduler.plugins[dashboard.PLUGIN].board)

    return client.run_on_scheduler(ask)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


@contextmanager
def one_thread() -> Iterator[Client]:
    """A scheduler in this process, with one worker thread."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def thread() -> Iterator[Client]:
    """One for all tests that do not change it."""
    with one_thread() as client:
        yield client


# the board ----------------------------------------------------------------------------------------------------------


def test_a_point_is_replaced_and_not_added() -> None:
    board = Board()
    board.receive(begin())
    for mean in (0.6, 0.7, 0.8):
        board.receive(update("a", point(mean=mean)))
    run = board.runs["a"]
    assert run.n_points == 1
    assert run.panels[0].points[0][8][1] == 0.8


def test_a_board_keeps_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_runs, "MAX_POINTS", 100)
    board = Board()
    for number in range(live_runs.MAX_RUNS + 20):
        board.receive(begin(str(number)))
        if number:
            board.receive({"kind": "end", "run": str(number), "how": "finished"})
    assert len(board.runs) == live_runs.MAX_RUNS
    assert "0" in board.runs  # it is still running
    assert "1" not in board.runs
    board.receive(update("0", *(point(x=x) for x in range(1000))))
    assert sum(map(len, board.runs["0"].panels[0].points.values())) == 100


@pytest.mark.parametrize(
    "event",
    [None, 7, {}, {"kind": "begin"}, begin(format=2), begin(panels=3), {"kind": "what", "run": "a"}, update("other"),
     update("a", [5, 0, 8, 1]), update("a", [0]), {"kind": "end"}],
)  # fmt: skip
def test_events_that_are_not_understood_are_left_out(event: Any) -> None:
    board = Board()
    board.receive(begin(run="good"))
    board.receive(event)
    board.receive(update("good", point()))
    assert board.runs["good"].n_points == 1
    assert board.n_events == 3


def test_runs_of_a_client_that_is_gone_are_stopped() -> None:
    board = Board()
    board.receive(begin("a", client="one"))
    board.receive(begin("b", client="two"))
    board.client_left("one")
    assert [run.state for run in board.runs.values()] == ["stopped", "running"]


def test_the_page_stays_with_a_run_until_it_ends_or_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    assert board.current(None) is None
    for run in "abc":
        board.receive(begin(run))
    assert board.current(None) is board.runs["a"]  # of many begun together the first is worked on first
    board.receive(update("a", done=5))
    board.receive(update("b", done=5))
    assert board.current("a") is board.runs["a"]
    board.receive({"kind": "end", "run": "a", "how": "finished"})
    assert board.current("a") is board.runs["b"]
    later = time.time() + live_runs.SILENT + 1
    monkeypatch.setattr(live_runs.time, "time", lambda: later)
    board.receive(update("c", done=5))
    assert board.current("b") is board.runs["c"]
    for run in "bc":
        board.receive({"kind": "end", "run": run, "how": "finished"})
    assert board.current("b") is board.runs["c"]  # nothing is at work: the last


def test_twenty_thousand_events_cost_the_scheduler_under_a_hundredth_of_as_many_tasks() -> None:
    """Even if every task sent one; a driver sends one a second. Events are those of a run of 20 sessions."""
    board = Board()
    panels = [{"title": name, "x": [8, 16, 32]} for name in ("choice", "feedback", "stimulus", "block")]
    board.receive(begin(n_lines=20, panels=panels))
    events = [
        update("a", [n % 4, *point(n % 20, 8 * 2 ** (n % 3))[1:]], done=n, by_panel=[0, 0, 0, 0]) for n in range(20_000)
    ]
    start = time.thread_time()
    for event in events:
        board.receive(event)
    spent = time.thread_time() - start
    print(f"{spent / len(events) * 1e6:.1f} us an event")
    assert board.n_events == 20_001
    assert board.runs["a"].n_points == 60  # 20 lines, of which each has one panel and three x
    assert spent < 0.01 * SCHEDULER_MS_A_TASK / 1000 * len(events)


def test_pages_are_drawn_in_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are open and however slow they are: simulated on a clock of its own."""
    clock = 100.0
    monkeypatch.setattr(live_runs.time, "perf_counter", lambda: clock)
    board, spent = Board(), 0.0
    for _ in range(20_000):  # a page wants to be drawn every 10 ms
        clock += 0.01
        if board.may_draw():
            board.has_drawn(0.03)
            spent += 0.03
    assert 0 < spent / (clock - 100) < 0.01


def test_one_slow_drawing_does_not_hold_up_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    board = Board()
    for seconds in (0.002, 0.4, 0.002):
        board.has_drawn(seconds)
        clock += 1
        assert board.may_draw()
    for _ in range(2):
        board.has_drawn(0.4)
    clock += 60
    assert not board.may_draw()


# never in the way ---------------------------------------------------------------------------------------------------


MOVED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the application's class": lambda patch: patch.delattr("distributed.dashboard.core.BokehApplication"),
    "the routes": lambda patch: patch.delattr("distributed.http.routing.RoutingApplication.add_application"),
    "the templates": lambda patch: patch.delattr(live_page, "env"),
    "the navigation": lambda patch: patch.setattr(
        "distributed.dashboard.scheduler.template_variables", lambda _: {"tabs": ()}
    ),
    "the plugins": lambda patch: patch.delattr(Scheduler, "add_plugin"),
}


def test_the_page_is_absent_and_said_if_dask_has_changed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with one_thread() as client:
        scheduler = client.cluster.scheduler
        base = f"http://127.0.0.1:{scheduler.http_server.port}"
        before = list(scheduler.http_application.applications)
        for part, move in MOVED.items():
            caplog.clear()
            with pytest.MonkeyPatch.context() as patch:
                move(patch)
                assert dashboard.install(client) is None, part
            assert "no live page /mesodask on the scheduler's dashboard" in caplog.text, part
            assert dashboard.PLUGIN not in scheduler.plugins, part
            assert scheduler.http_application.applications == before, part
        assert get(f"{base}/mesodask")[0] == 404
        status, page = get(f"{base}/status")
        assert status == 200
        assert "Mesodask" not in page
        with pytest.MonkeyPatch.context() as patch:
            MOVED["the routes"](patch)
            store = compute(client, tmp_path)  # a run is as any other
        assert (store.scores("choice")["status"] == "done").all()
        assert dashboard.install(client) is not None  # and what is as expected again works again
        assert "Mesodask" in get(f"{base}/status")[1]


def fail(*arguments: Any, **options: Any) -> NoReturn:
    raise RuntimeError("broken on purpose")


@pytest.mark.parametrize(
    ("where", "name"), [(feed, "curve_point"), (feed.Feed, "__init__"), (feed.Feed, "stored"), (Client, "log_event")]
)
def test_whatever_fails_in_telling_fails_alone(
    thread: Client,
    where: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(where, name, fail)
    with caplog.at_level(logging.INFO, logger="mesodask"):
        start = time.monotonic()
        store = compute(thread, tmp_path)
        assert time.monotonic() - start < 20
    assert (store.scores("choice")["status"] == "done").all()
    assert "the live page is not told any more" in caplog.text


def test_a_scheduler_without_a_dashboard_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with (
        LocalCluster(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}
        ) as cluster,
        Client(cluster) as client,
        caplog.at_level(logging.INFO, logger="mesodask"),
    ):
        assert dashboard.install(client) is None
    assert "this scheduler runs without a dashboard" in caplog.text


@contextmanager
def scheduler_process(folder: Path, *options: str, n_workers: int = 1) -> Iterator[Client]:
    """A scheduler that somebody else has started, and that knows nothing of us, with workers."""
    file = folder / "scheduler.json"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    worker = ["worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    commands = [[*scheduler, *options], *[[*worker, "--local-directory", str(folder)]] * n_workers]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--scheduler-file", str(file)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]  # fmt: skip
    try:
        with Client(scheduler_file=str(file), timeout=60) as client:
            yield client
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)


def test_a_scheduler_that_was_running_gets_the_page_from_the_run(tmp_path: Path) -> None:
    with scheduler_process(tmp_path) as client:
        base = client.dashboard_link.removesuffix("/status")
        assert get(f"{base}/mesodask")[0] == 404
        for R in (10, 20):  # several runs, one after the other, the second of which grows the first
            store = compute(client, tmp_path, R=R)
            state, before, done, total = board_on(
                client, lambda board: [(r.state, r.before, r.done, r.total) for r in board.runs.values()]
            )[0]
            assert state == "finished"
            assert total == 2 * 4 * R * 20  # days, ks, and one score and 19 shuffles each
            assert before == (0 if R == 10 else total // 2)
            assert done == total - before
        assert board_on(client, lambda board: len(board.runs)) == 1
        compute(client, tmp_path, subject="another")
        assert board_on(client, lambda board: [run.title for run in board.runs.values()]) == [
            "lab mouse, day-1 to day-2", "another, day-1 to day-2",
        ]  # fmt: skip
        status, page = get(f"{base}/mesodask")
        assert status == 200
        assert "cdn.bokeh.org" not in page
        assert same_curves(client, store)


def test_a_scheduler_that_cannot_import_the_page_goes_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocker = tmp_path / "blocker.py"
    blocker.write_text("import sys\nsys.modules['mesodask.compute.dashboard'] = None\n")
    with scheduler_process(tmp_path, "--preload", str(blocker), n_workers=0) as client:
        assert dashboard.install(client) is None
        assert get(client.dashboard_link)[0] == 200
    assert "no live page" in caplog.text
    assert "mesodask.compute.dashboard" in caplog.text


def same_curves(client: Client, store: RunStore) -> bool:
    """Hold what the page knows of a run against its summary."""
    points = board_on(client, lambda board: board.runs[str(store.path)].panels[0].points)
    summary = summarize(store).sel(target="choice")
    names = ("n_resamples", "mean", "low", "high", "null_low", "null_high")
    assert sorted(points) == list(range(summary.sizes["session"]))
    for session, of_line in points.items():
        assert sorted(of_line) == summary["k"].values.tolist()
        for k, values in of_line.items():
            expected = [float(summary[name].isel(session=session).sel(k=k)) for name in names]
            np.testing.assert_allclose(values, expected, rtol=1e-12)
    return True


# the driver's side ------------------------------------------------------------------------------------------------


def test_sessions_of_one_day_are_named_as_everywhere(tmp_path: Path) -> None:
    tracked = xr.Dataset(
        {"roi": (("session", "neuron"), np.zeros((3, 2)))},
        {"date": ("session", ["2025-01-13", "2025-01-14", "2025-01-14"]), "number": ("session", [1, 1, 3])},
        {"subject": "S1"},
    )
    run = SimpleNamespace(
        store=RunStore(tmp_path / "run.zarr"), tracked=tracked, eids=list("abc"), decoded_by=None, settings=None
    )
    said = feed.Feed([(SimpleNamespace(run=run, target="choice", session=0), 5)]).begin("client")
    assert said["lines"] == session_labels(tracked) == ["2025-01-13", "2025-01-14/001", "2025-01-14/003"]
    assert said["panels"][0]["note"] == "skipped: 2025-01-14/001, 2025-01-14/003"


def test_twenty_thousand_results_are_few_events(thread: Client, tmp_path: Path) -> None:
    """What a driver sends does not grow with its tasks; the earlier part of the run is sent without any."""
    store = compute(thread, tmp_path)
    events = board_on(thread, lambda board: board.n_events)
    tracked = store.tracked()
    run = SimpleNamespace(
        store=store, tracked=tracked, eids=list(DAYS), decoded_by=None, extent=lambda _: EXTENT,
        settings=SimpleNamespace(metric="auc", R=20, n_label_shuffles=19),
    )  # fmt: skip
    shares = [SimpleNamespace(run=run, target="choice", session=session, n_null=19) for session in range(2)]
    start = time.monotonic()
    with teller.telling(thread, shares, [1_000_000, 1_000_000]) as told:
        for number in range(20_000):
            pieces = [{"k": 8, "resamples": [0, 10], "shuffles": [0, 9], "data": True}]
            task = runner.Task(f"task {number}", print, (), {"pieces": pieces})
            told.submitted(shares[number % 2], task)
            told.stored(shares[number % 2], task)
        for _ in range(100):
            if board_on(thread, lambda board: board.runs[str(store.path)].done) == 2_000_000:
                break
            time.sleep(0.05)
    seconds = time.monotonic() - start
    sent = board_on(thread, lambda board: board.n_events) - events
    assert sent <= seconds / teller.EVERY + 6  # at the beginning and the end there are some more
    assert same_curves(thread, store)
    spent = board_on(thread, lambda board: board.seconds)
    print(f"{sent} events in {seconds:.1f} s; the scheduler took {1e3 * spent:.1f} ms for all there were")


EXTENT = SimpleNamespace(ks=(4, 8, 16, 20), R=20, null_resamples=20, n_shuffles=19)


def test_an_interrupted_run_is_told_as_stopped(thread: Client, tmp_path: Path) -> None:

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage.startswith("curves") and done > total / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(thread, tmp_path, progress=interrupt)
    run = board_on(thread, lambda board: list(board.runs.values())[-1])
    assert run.state == "stopped"
    assert 0 < run.done < run.total
    assert run.running == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "live page"]


def compute_with_failures(client: Client, folder: Path) -> None:
    with pytest.raises(TasksFailedError):
        compute(client, folder, subject="failing mouse", decoder=FailsOnSixteen(), n_label_shuffles=2, R=4)


# in a browser -----------------------------------------------------------------------------------------------------

POINTS = """
const models = [...Bokeh.documents[0].all_models].filter(m => m.name == 'points');
const columns = models.map(m => ['line', 'x', 'mean', 'n'].map(name => m.get_column(name)));
return columns.map(([line, x, mean, n]) => Array.from(x).map((_, i) => [line[i], x[i], mean[i], n[i]]));
"""
CHOOSE = """
const choice = [...Bokeh.documents[0].all_models].find(m => m.type == 'Select');
choice.value = choice.options.find(o => o[1].includes(arguments[0]))[0];
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[Client]:
    with local_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def window(lacking: Callable[[str, str], NoReturn]) -> Iterator[Browser]:
    if browser.missing():
        lacking("chromium", browser.missing())
    with browser.chromium() as window:
        yield window


class Gate:
    """Holds back the tasks of a run but for the first ones."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.open(0)

    def open(self, n_tasks: int = 10**9) -> None:
        """Let so many tasks of each run pass."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(str(n_tasks))
        temporary.replace(self._file)

    def hold(self, tasks: Iterable[runner.Task]) -> Iterator[runner.Task]:
        for number, task in enumerate(tasks):
            yield dataclasses.replace(task, function=functools.partial(gated, str(self._file), number, task.function))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gate:
    """One that all runs of a test meet."""
    gate, original = Gate(tmp_path / "gate"), runner.run_tasks

    def run_tasks(client: Client, tasks: Iterable[runner.Task], *arguments: Any, **options: Any) -> Any:
        return original(client, gate.hold(tasks), *arguments, **options)

    monkeypatch.setattr(runner, "run_tasks", run_tasks)
    return gate


@contextmanager
def in_background(work: Callable[[], Any], gate: Gate) -> Iterator[None]:
    """Do something meanwhile, with the gate open at the end at last; what it raises is raised then."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        gate.open()
        thread.join()
    if errors:
        raise errors[0]


def coloured_pixels(window: Browser) -> int:
    """How much of the page is drawn in strong colours: lines and points, no grey."""
    png = matplotlib.image.imread(io.BytesIO(window.driver.get_screenshot_as_png()))[230:, :, :3]
    return int((png.max(axis=-1) - png.min(axis=-1) > 0.25).sum())


def shown(window: Browser) -> list[list[Any]]:
    """The points of the only panel, each line, k, mean and n."""
    panels = window.run(POINTS)
    return panels[0] if panels else []


def n_scores(window: Browser) -> int:
    return sum(n for *_, n in shown(window))


def test_the_curves_grow_in_a_browser(workers: Client, window: Browser, tmp_path: Path, gate: Gate) -> None:
    address = dashboard.install(workers)
    assert address is not None
    window.open(workers.dashboard_link)
    tabs = window.run("return [...document.querySelectorAll('.navbar li a')].map(a => a.textContent.trim())")
    assert tabs.index("Mesodask") > tabs.index("Status")
    window.run("[...document.querySelectorAll('.navbar li a')].find(a => a.textContent.trim() == 'Mesodask').click()")
    window.wait_for(lambda: "No run yet" in window.text(), 60)
    assert window.driver.current_url == address

    seen: list[tuple[int, int, int]] = []
    with in_background(lambda: compute(workers, tmp_path), gate):
        window.wait_for(lambda: "0 of 3\xa0200 scores (0 %)" in window.text(), 60)
        window.wait_for(lambda: "8 tasks on 2 workers" in window.text(), 60)
        for n_tasks in (2, 7, 9):
            before = n_scores(window)
            gate.open(n_tasks)
            window.wait_for(lambda before=before: n_scores(window) > before, 60)  # type: ignore[misc]
            seen.append((len(shown(window)), n_scores(window), coloured_pixels(window)))
    n_points, n_seen, pixels = zip(*seen, strict=True)
    assert list(n_points) == sorted(n_points)
    assert list(n_seen) == sorted(set(n_seen))
    window.wait_for(lambda: "finished" in window.text(), 60)
    window.wait_for(lambda: n_scores(window) == 2 * 4 * 20, 60)
    summary = summarize(next(tmp_path.rglob("decoding/*.zarr"))).sel(target="choice")
    for line, k, mean, n in shown(window):
        expected = summary.isel(session=DAYS.index(line)).sel(k=int(k))
        assert (mean, n) == (pytest.approx(float(expected["mean"])), 20)
    assert coloured_pixels(window) > 1.2 * pixels[0]
    text = window.text()
    assert "3\xa0200 of 3\xa0200 scores (100 %)" in text
    assert all(day in text for day in DAYS)
    labels = window.run("return [...Bokeh.documents[0].all_models].map(m => m.axis_label).filter(label => label)")
    assert sorted(labels) == ["AUC", "number of neurons"]


def test_a_resumed_run_shows_its_earlier_part(workers: Client, window: Browser, tmp_path: Path, gate: Gate) -> None:
    gate.open()
    compute(workers, tmp_path, R=10)
    gate.open(0)
    window.open(dashboard.install(workers))
    with in_background(lambda: compute(workers, tmp_path, R=20), gate):
        window.wait_for(lambda: "(50 %, 1\xa0600 of them before)" in window.text(), 60)
        window.wait_for(lambda: [n for *_, n in shown(window)] == [10] * 8, 60)
        gate.open()
        window.wait_for(lambda: [n for *_, n in shown(window)] == [20] * 8, 60)


def test_failures_and_several_runs_in_a_browser(workers: Client, window: Browser, tmp_path: Path) -> None:
    compute(workers, tmp_path, subject="first mouse", R=5)
    compute_with_failures(workers, tmp_path)
    window.open(dashboard.install(workers))
    window.wait_for(lambda: "failing mouse, day-1 to day-2" in window.text(), 60)
    # how scores are cut into tasks depends on how long they take: a task that failed may have other ks beside 16
    window.wait_for(lambda: re.search(r"choice of day-[12], (\d+, )*16(, \d+)* neurons", window.text()), 60)
    text = window.text()
    assert "tasks failed, the last first" in text
    assert "ValueError: sixteen <b>neurons</b>" in text  # as text, no markup
    assert ".failures.jsonl" in text
    assert "is not told" not in text
    window.driver.execute_script(CHOOSE, "first mouse")
    window.wait_for(lambda: "tasks failed" not in window.text())
    assert "finished" in window.text()


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_wider_than_the_page(workers: Client, window: Browser, width: int) -> None:
    window.resize(width, 900)
    address = dashboard.install(workers)
    workers.log_event(TOPIC, begin("wide", n_lines=30, title="a run of many days"))
    workers.log_event(TOPIC, update("wide", *(point(line) for line in range(30)), failures=[["x" * 99, "y" * 999]]))
    window.open(address)
    window.wait_for(lambda: "a run of many days" in window.text(), 60)
    window.wait_for(lambda: window.run("return document.documentElement.scrollWidth") <= width)


def test_the_browser_met_no_error_and_never_left_this_machine(workers: Client, window: Browser) -> None:
    """On this page, and on all that the tests before have opened."""
    window.open(dashboard.install(workers))
    window.wait_for(lambda: "run" in window.text(), 60)
    assert window.console_errors() == []
    assert window.foreign_requests() == []
    scripts = [url for url in window.requests() if "bokeh" in url and url.split("?")[0].endswith(".js")]
    assert scripts


def test_time_left_and_speed_are_what_they_say() -> None:
    speed = feed._Speed(now=0.0)
    assert math.isnan(speed.rate(now=1.0))
    for second in range(1, 301):  # twice as fast in the last 100 s
        speed.learn(10 * second if second <= 200 else 2000 + 20 * (second - 200), now=float(second))
    assert speed.rate(now=300.0) == pytest.approx(20, rel=0.02)
    assert speed.rate(now=310.0) == pytest.approx(20 * 50 / 60, rel=0.05)
