"""Time whole runs of neuron-dropping curves on workers of this machine, and hold them against the scikit-learn loop.

Run with ``python benchmarks/bench_ndc.py`` (minutes) or with ``--small`` (for a try). It prints

- how much faster two workers are than one, and the share of their time that is not spent on scores;
- the peak memory of a worker that decodes 20 sessions of 3 000 neurons;
- the time of a default run of one session and target (R = 50, 100 crossed shuffles, ks 8..2048 and 3 000), beside the
  same number of scores by a loop over scikit-learn, measured on a sample of every k and scaled.

Populations are simulated and reach the runs through ``features=``; every run goes through a store, as any other.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench_decoding import sklearn_loop  # sets one thread for every library, before they are imported

import numpy as np  # isort: skip
import xarray as xr  # isort: skip
from distributed import Client  # isort: skip

from mesodask import neuron_dropping_curves  # isort: skip
from mesodask.compute import runner  # isort: skip
from mesodask.compute.cluster import local_client  # isort: skip
from mesodask.numerics.crossval import cross_val_scores  # isort: skip
from mesodask.curves.plan import actual_ks  # isort: skip
from mesodask.settings import NdcSettings  # isort: skip

N_TRIALS, N_NEURONS = 400, 3000


class Measured(NamedTuple):
    """One run: its wall time, what workers spent on scores, the processor time of this process, seconds by task."""

    wall: float
    busy: float
    driver: float
    tasks: np.ndarray


def population(seed: int, n_trials: int, n_neurons: int) -> xr.Dataset:
    """Simulate neurons with a weak code, private noise and a shared fluctuation."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_trials) % 2)
    X = rng.normal(size=(n_trials, n_neurons)) + 0.3 * rng.normal(size=(n_trials, 1))
    X += 0.15 * np.outer(y - 0.5, rng.normal(size=n_neurons))
    return xr.Dataset({"X": (("trial", "neuron"), X.astype(np.float32)), "y": ("trial", y)})


@contextmanager
def task_seconds(into: list[float]) -> Any:
    """Note what every task that arrives has spent on scores."""
    original = runner.run_tasks

    def watched(client: Client, tasks: Any, on_result: Any, **options: Any) -> Any:
        def note(task: runner.Task, result: Any) -> None:
            into.append(sum(scores.data_seconds + scores.null_seconds for scores in result))
            on_result(task, result)

        return original(client, tasks, note, **options)

    runner.run_tasks = watched
    try:
        yield
    finally:
        runner.run_tasks = original


def warm_up(client: Client) -> None:
    """Import and load what is compiled on every worker, which a long run pays once."""
    client.run(_warm_up)


def _warm_up() -> None:
    from mesodask.curves.scores import _warm_up

    _warm_up()


def measure(client: Client, features: dict[str, xr.Dataset], settings: NdcSettings) -> Measured:
    """Run curves into a new folder."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder, task_seconds(seconds):
        began, processor = time.perf_counter(), time.process_time()
        neuron_dropping_curves(features=features, settings=settings, cache_dir=folder, client=client)
        wall, driver = time.perf_counter() - began, time.process_time() - processor
    return Measured(wall, sum(seconds), driver, np.array(seconds))


def scaling(small: bool) -> None:
    features = {f"day{i}": population(i, N_TRIALS, 1024) for i in range(2)}
    settings = NdcSettings(ks=(8, 32, 128, 512), R=10 if small else 50, n_label_shuffles=100)
    measured, plain = {}, {}
    for n_workers in (1, 2):
        with local_client(n_workers) as client:
            warm_up(client)
            plain[n_workers] = plain_seconds(client)
            measured[n_workers] = measure(client, features, settings)
        one = measured[n_workers]
        lost = 1 - one.busy / one.wall / n_workers
        print(
            f"{n_workers} worker{'s' * (n_workers > 1)}: {one.wall:.1f} s, {len(one.tasks)} tasks of "
            f"{np.median(one.tasks):.2f} s (median; longest {one.tasks.max():.2f}), {lost:.1%} of the workers' time "
            f"lost; driver and scheduler took {one.driver:.1f} s of a processor"
        )
    print(
        f"two workers against one: {measured[1].wall / measured[2].wall:.2f} x (wanted: 1.8, and less than 10 % lost); "
        f"the machine itself, without runs: {2 * plain[1] / plain[2]:.2f} x"
    )


def plain_seconds(client: Client) -> float:
    """Let every worker compute the same scores at the same time, and return the time of the slowest.

    Cores that share memory and caches slow each other down, whatever gives them their work.
    """
    workers = list(client.nthreads())
    return max(client.gather([client.submit(_plain_seconds, workers=[w], pure=False) for w in workers]))


def _plain_seconds() -> float:
    data = population(0, N_TRIALS, 1024)
    X, y = data["X"].values, data["y"].values
    Y = np.column_stack([y, *(np.roll(y, shift) for shift in range(1, 101))])
    subsets = [X[:, :k].copy() for k in (8, 32, 128, 512, 1024)]
    began = time.perf_counter()
    for _ in range(20):
        for subset in subsets:
            cross_val_scores(subset, Y)
    return time.perf_counter() - began


def memory(small: bool) -> None:
    n_sessions = 4 if small else 20
    features = {f"day{i:02d}": population(i, N_TRIALS, N_NEURONS) for i in range(n_sessions)}
    settings = NdcSettings(ks=(8, 512, 2048), R=2, n_label_shuffles=100)
    with local_client(2) as client:
        warm_up(client)
        before = max(client.run(peak_memory).values())
        measure(client, features, settings)
        after = max(client.run(peak_memory).values())
    print(
        f"{n_sessions} sessions of {N_NEURONS} neurons x {N_TRIALS} trials: a worker's memory peaked at "
        f"{after / 1e6:.0f} MB (wanted: less than 1000; {before / 1e6:.0f} MB before it read any features)"
    )


def peak_memory() -> float:
    """Return the peak of this process's memory in bytes; of Linux, where getrusage counts that of the parent, too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) * 1024
    return float("nan")


def default_run(small: bool) -> None:
    settings = NdcSettings(R=4 if small else 50, n_label_shuffles=100)
    data = population(0, N_TRIALS, N_NEURONS)
    ks = actual_ks(settings.ks, N_NEURONS)
    with local_client(2) as client:
        warm_up(client)
        run = measure(client, {"one": data}, settings)
    loop = loop_seconds(data, ks, 1 if small else 3)
    n_columns = settings.R * (1 + settings.n_label_shuffles)
    whole = n_columns * sum(loop)
    n_scores = n_columns * len(ks)
    each = ", ".join(f"{1e3 * one:.0f}" for one in loop)
    print(f"one session and target, R = {settings.R}, 100 shuffles, {len(ks)} ks up to {N_NEURONS}: {n_scores} scores")
    print(f"  this run        {run.wall:8.1f} s on 2 workers, {run.busy:.1f} s of one core")
    print(f"  scikit-learn    {whole / 3600:8.2f} h of one core (from {each} ms a score)")
    print(
        f"  {whole / run.busy:.0f} times the core time, {whole / 2 / run.wall:.0f} times the wall time of two workers"
    )


def loop_seconds(data: xr.Dataset, ks: Sequence[int], repeats: int) -> list[float]:
    """Time one score of the scikit-learn loop at every k: the best of some repeats, by the processor's time."""
    X, y = data["X"].values, data["y"].values
    seconds = []
    for k in ks:
        subset, best = np.ascontiguousarray(X[:, :k]), np.inf
        for _ in range(repeats):
            began = time.process_time()
            sklearn_loop(subset, y)
            best = min(best, time.process_time() - began)
        seconds.append(best)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a quick try: its figures mean little")
    parser.add_argument("--part", choices=sorted(PARTS), help="this part alone")
    arguments = parser.parse_args()
    for name, part in PARTS.items():
        if arguments.part in (None, name):
            part(arguments.small)


PARTS = {"scaling": scaling, "memory": memory, "default": default_run}

if __name__ == "__main__":
    main()
