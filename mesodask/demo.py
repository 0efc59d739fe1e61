"""The whole road on a simulated subject of four days: what ``mesodask demo`` runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from mesodask import sessions
from mesodask.embedding import raster_order
from mesodask.figures import plot_ndc
from mesodask.io import alf, cache, stores
from mesodask.io.runstore import RunStore
from mesodask.ndc import neuron_dropping_curves
from mesodask.runs.driver import Progress
from mesodask.settings import NdcSettings
from mesodask.simulate import SimulatedSubject, simulate_subject
from mesodask.summary import summarize

if TYPE_CHECKING:
    from distributed import Client, Future

CURVES = NdcSettings(ks=(4, 8, 16, 32, 64, 128), R=30, n_label_shuffles=100)


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes
    ----------
    subject : SimulatedSubject
        The simulated subject.
    run : RunStore
        Its neuron-dropping curves.
    summary : xarray.Dataset
        Means, p-values and k* of the run.
    figure : pathlib.Path
        The curves as a PNG.
    reused : bool
        Whether everything was there already.
    """

    subject: SimulatedSubject
    run: RunStore
    summary: xr.Dataset
    figure: Path
    reused: bool


def run_demo(
    folder: Path,
    *,
    progress: Progress,
    announce: Callable[[str], None],
    start: "Callable[[], Client] | None" = None,
) -> Demo:
    """Simulate a subject, embed and track it, compute the curves of four targets, and draw them.

    What is in the folder already is used again.

    Parameters
    ----------
    folder : pathlib.Path
        Where everything goes.
    progress : callable(stage, done, total)
        Called as the work goes on.
    announce : callable(text)
        Called with lines a person should see, such as the dashboard's address.
    start : callable(), optional
        Starts workers if there is something to do; by default local ones.

    Returns
    -------
    Demo
    """
    worked = False

    def watch(stage: str, done: int, total: int) -> None:
        nonlocal worked
        worked |= stage not in ("sessions", "features") and done < total
        progress(stage, done, total)

    figure = folder / "demo_ndc.png"
    with _workers_if_needed(folder, announce, start) as client:
        subject = simulate_subject(
            folder,
            subject="DEMO_001",
            n_days=4,
            rois_per_fov=(180, 180),
            n_trials=300,
            seed=1,
            progress=lambda done, total: watch("simulate", done, total),
        )
        with _sorting(_embed(subject, watch), client, watch):
            run = neuron_dropping_curves(
                subject.eids,
                one=subject.one_dir,
                roicat_root=subject.roicat_root,
                client=client,
                progress=watch,
                settings=CURVES,
            )
        summary = summarize(run)
        if worked or not figure.exists():
            plot_ndc(summary, save=figure)
    return Demo(subject, run, summary, figure, reused=not worked)


@contextmanager
def _workers_if_needed(
    folder: Path, announce: Callable[[str], None], start: "Callable[[], Client] | None"
) -> "Iterator[Client | None]":
    """Start workers, unless the demo is finished."""
    if any(_is_finished(RunStore(path)) for path in cache.decoding_folder(folder / "one" / "meso").glob("*.zarr")):
        announce(f"found a finished demo in {folder}")
        yield None
        return
    from mesodask.compute.cluster import how_to_watch, local_client

    with (start or local_client)() as client:
        for line in how_to_watch(client):
            announce(line)
        yield client


def _is_finished(run: RunStore) -> bool:
    return set(run.targets()) >= set(CURVES.targets) and all(
        (run.sessions(target)["status"] == "done").all() for target in CURVES.targets
    )


def _embed(subject: SimulatedSubject, progress: Progress) -> list[Path]:
    """Build the session stores that are not there yet, and give all their paths."""
    one = alf.connect(subject.one_dir)
    data = cache.cache_folder(None, one)
    paths = [cache.session_store(data, eid) for eid in subject.eids]
    for done, (eid, path) in enumerate(zip(subject.eids, paths, strict=True)):
        progress("embed", done + path.exists(), done + 1)
        sessions.load_or_embed(eid, one=one, rastermap=False)
    progress("embed", len(paths), len(paths))
    return paths


@contextmanager
def _sorting(paths: list[Path], client: "Client | None", progress: Progress) -> Iterator[None]:
    """Compute the Rastermap orders that are not there yet, on a worker, while the block goes on.

    One after the other: Rastermap is compiled at its first import, and one worker shall do that, not all.
    """
    unsorted = [path for path in paths if not stores.has_group(path, "order")]
    done = len(paths) - len(unsorted)
    progress("sort (Rastermap)", done, len(paths))
    futures: list[Future] = []
    if client is not None:
        for path in unsorted:
            futures.append(client.submit(_sort, path, futures[-1] if futures else None, pure=False))
    yield
    for path, future in zip(unsorted, futures or [None] * len(unsorted), strict=True):
        if future is None:
            raster_order.write_order(path)
        else:
            future.result()
        done += 1
        progress("sort (Rastermap)", done, len(paths))


def _sort(path: Path, before: None) -> None:
    """Sort one session, once the one before is done."""
    del before
    raster_order.write_order(path)
