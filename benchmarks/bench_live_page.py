"""What the live page costs the scheduler, and with ``--picture FILE.png`` a picture of it during the demo's run.

Usage: bench_live_page.py [--picture FILE.png]. Needs Chromium and its driver (Debian: chromium, chromium-driver).

The scheduler is a process of its own, whose processor time is measured: alone; then with the page open in a browser and
the events of a run of 20 sessions and four targets, one a second, as a driver sends them; then 20 000 events at once.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from distributed import Client

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser, chromium  # what the tests use

from mesodask import neuron_dropping_curves, simulate_subject
from mesodask.compute import dashboard
from mesodask.compute.cluster import local_client
from mesodask.compute.live_runs import TOPIC
from mesodask.demo import CURVES

N_SESSIONS, KS, TARGETS = 20, [8, 16, 32, 64, 128, 256, 512, 1024, 2048], ["choice", "feedback", "stimulus", "block"]
POINTS_AN_EVENT = 12
SECONDS = 20
N_EVENTS = 20_000
DONE = 0.6  # share of the demo's run at which the picture is taken


def begin() -> dict:
    panels = [
        {"title": target, "x": KS, "log_x": True, "reference": 0.5, "x_label": "number of neurons", "y_label": "AUC"}
        for target in TARGETS
    ]
    lines = [f"2025-01-{day:02d}" for day in range(1, N_SESSIONS + 1)]
    return {"kind": "begin", "run": "bench", "format": 1, "client": "", "title": "a large subject", "lines": lines,
            "panels": panels, "total": 10**6}  # fmt: skip


def update(number: int) -> dict:
    rows = []
    for place in range(number * POINTS_AN_EVENT, (number + 1) * POINTS_AN_EVENT):
        session, k = place // len(KS) % N_SESSIONS, place % len(KS)
        mean = 0.55 + 0.04 * k + 0.001 * (number % 7)
        rows.append([place // 180 % 4, session, KS[k], 50, mean, mean - 0.05, mean + 0.05, 0.46, 0.54])
    return {"kind": "update", "run": "bench", "rows": rows, "done": 37 * number, "running": 4040, "failed": 0,
            "tasks": 8, "rate": 37.0, "seconds_left": 900.0, "by_panel": [0.1] * 4, "n_failures": 0,
            "failures": []}  # fmt: skip


def at_once(dask_scheduler: object) -> tuple[int, float]:
    """All on the scheduler, so that nothing but taking them in is timed."""
    events = [update(number) for number in range(N_EVENTS)]
    start = time.process_time()
    for event in events:
        dask_scheduler.log_event(TOPIC, event)
    return dask_scheduler.plugins[dashboard.PLUGIN].board.n_events, time.process_time() - start


def cost(window: Browser) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/scheduler.json"
        command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0",
                   "--dashboard-address", "127.0.0.1:0", "--scheduler-file", file]  # fmt: skip
        process = psutil.Popen(command, stderr=-3)
        try:
            with Client(scheduler_file=file, timeout=60) as client:
                measure(client, process, window)
        finally:
            process.terminate()
            process.wait()


def measure(client: Client, process: psutil.Process, window: Browser) -> None:
    def spent(action: object) -> float:
        before = sum(process.cpu_times()[:2])
        for second in range(SECONDS):
            action(second)
            time.sleep(1)
        return (sum(process.cpu_times()[:2]) - before) / SECONDS

    time.sleep(3)
    alone = spent(lambda _: None)
    start = sum(process.cpu_times()[:2])
    address = dashboard.install(client)
    client.log_event(TOPIC, begin())
    for number in range(60):  # all points are there
        client.log_event(TOPIC, update(number))
    window.open(address)
    window.wait_for(lambda: "a large subject" in window.text())
    time.sleep(2)
    print(f"installed, and opened by one reader: {sum(process.cpu_times()[:2]) - start:.2f} s, once")
    events = spent(lambda second: client.log_event(TOPIC, update(second)))
    print(f"the scheduler alone: {alone:.2%} of its time; with events and an open page: {events:.2%}")
    print(f"the live page costs {events - alone:.2%}")
    n_events, seconds = client.run_on_scheduler(at_once)
    each = seconds / N_EVENTS
    print(f"{n_events} events taken in; {1e6 * each:.0f} us each, or {each:.4%} of the time at one a second")


def picture(window: Browser, file: str) -> None:
    """Compute the demo's curves, and take a picture on the way."""
    with tempfile.TemporaryDirectory() as folder, local_client() as client:
        subject = simulate_subject(
            Path(folder), subject="DEMO_001", n_days=4, rois_per_fov=(180, 180), n_trials=300, seed=1
        )
        window.open(dashboard.install(client))
        done, total, ready = dict.fromkeys(CURVES.targets, 0), {}, threading.Event()

        def watch(stage: str, n: int, of: int) -> None:
            if stage.startswith("curves: "):
                done[stage[8:]], total[stage[8:]] = n, of
                if sum(done.values()) > DONE * sum(total.values()):
                    ready.set()

        def compute() -> None:
            neuron_dropping_curves(
                subject.eids, one=subject.one_dir, cache_dir=f"{folder}/cache", roicat_root=subject.roicat_root,
                client=client, settings=CURVES, progress=watch,
            )  # fmt: skip

        thread = threading.Thread(target=compute)
        thread.start()
        ready.wait(600)
        time.sleep(2)  # until it is told and drawn
        window.save(file)
        thread.join()
    print(f"{file}: {Path(file).stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", metavar="FILE.png")
    arguments = parser.parse_args()
    with chromium() as window:
        if arguments.picture:
            picture(window, arguments.picture)
        else:
            cost(window)


if __name__ == "__main__":
    main()
