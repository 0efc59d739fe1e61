"""Neuron-dropping curves: how well a population decodes behaviour, against the number of its neurons.

Settings become a plan of independent tasks, each one session x one target x a block of resamples over all numbers of
neurons. A task reads its features from the run store and returns scores; this process alone writes them.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mesodask import run_features, sessions, tracking
from mesodask.errors import SettingsError, TasksFailedError, TrackingError
from mesodask.io import alf, cache, stores
from mesodask.io.runstore import RESAMPLE_CHUNK, RunStore
from mesodask.numerics.decoder_identity import decoder_identity
from mesodask.run_scores import Block, score_block
from mesodask.settings import TARGETS, NdcSettings, short_hash

if TYPE_CHECKING:
    from distributed import Client

    from mesodask.compute.runner import Failure, Task

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and its total."""


def neuron_dropping_curves(
    eids: Sequence[str],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    tracked: xr.Dataset | None = None,
    neurons_only: bool = True,
    client: "Client | None" = None,
    rerun: bool = False,
    progress: Progress | None = None,
    decoder: Any = None,
    settings: NdcSettings | None = None,
    **options: Any,
) -> RunStore:
    """Score populations of growing size, with a null distribution for every score.

    For each session, target and resample r, a random order of the shared neurons gives nested subsets of k neurons;
    each is scored by cross-validation (:func:`mesodask.numerics.crossval.cross_val_scores`), once with the trials'
    labels and once with each of the null label vectors. A second call with more ks, resamples, shuffles or targets
    computes the blocks in which anything is missing, and no others; what is finished stays bit for bit.

    Parameters
    ----------
    eids : sequence of str
        One session, which is decoded from all its neurons, or several of one subject, decoded from the neurons that
        they share.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    tracked : xarray.Dataset, optional
        Takes these neurons (see :func:`mesodask.track_neurons`) and does not match any.
    neurons_only : bool
        Leave out, before anything else, the ROIs that are not flagged as cells.
    client : distributed.Client, optional
        Where to compute; by default workers are started on this machine, and stopped at the end.
    rerun : bool
        Forget the stored scores of these targets and compute them anew.
    progress : callable(stage, done, total), optional
        Called as the work goes on.
    decoder : scikit-learn classifier or pipeline, optional
        Takes the place of the logistic regression (see :func:`mesodask.numerics.crossval.cross_val_details`), at its
        own speed; set its penalty in it, not by C. Its class, parameters and package versions make another run, and
        stand in the run's attribute ``decoder``.
    settings : NdcSettings, optional
        All further settings at once.
    **options
        Or any of them by name: see :class:`mesodask.settings.NdcSettings`.

    Returns
    -------
    RunStore
        The run on disk; :func:`mesodask.summarize` and :func:`mesodask.plot_ndc` take it.

    Raises
    ------
    SettingsError
        A setting has a value that is not allowed, or the decoder cannot be used.
    TrackingError
        The sessions share no neuron.
    NothingToDecodeError
        Every session of every target was skipped; the message lists the reasons.
    TasksFailedError
        Some tasks failed for good; all else is stored, and ``failures.jsonl`` beside the store has the tracebacks.
    """
    if settings is not None and options:
        raise SettingsError(f"both settings= and {', '.join(options)} are given; give all settings in one way")
    settings = settings or NdcSettings(**options)
    decoded_by = _checked_identity(decoder, settings)
    one = alf.connect(one)
    folder = cache.cache_folder(cache_dir, one)
    report = progress or _silent
    paths = _embed(eids, one, folder, report)
    tracked = _shared_neurons(paths, one, roicat_root, tracked, neurons_only)
    session_paths = [paths[eid] for eid in tracked["session"].values]
    store = RunStore(cache.run_store(folder, run_prefix(tracked, session_paths, settings, decoded_by)))
    if not store.exists():
        store.create(tracked)
    elif rerun:
        store.forget(settings.targets)
    store.update_attributes(_run_attributes(tracked, settings, decoded_by))
    store.failures_file.unlink(missing_ok=True)
    run_features.prepare(store, tracked, session_paths, settings, report)
    try:
        _compute(store, tracked, settings, decoder, client, report)
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"run      {store.path}")
        raise
    return store


def _checked_identity(decoder: Any, settings: NdcSettings) -> str | None:
    """Text that identifies a user's decoder; None for the default. What cannot be used raises before any work."""
    if decoder is None:
        return None
    from mesodask.numerics.decoders import check_decoder

    check_decoder(decoder, settings.metric, settings.C)
    return decoder_identity(decoder)


def _silent(stage: str, done: int, total: int) -> None:
    pass


def _embed(eids: Sequence[str], one: Any, folder: Path, report: Progress) -> dict[str, Path]:
    if not eids:
        raise TrackingError("no session given; give one eid or more")
    infos = alf.in_date_order([alf.session_info(one, eid) for eid in eids])
    if len(infos) > 1:
        tracking.check_sessions(infos)
    paths = {}
    for done, info in enumerate(infos):
        report("sessions", done, len(infos))
        # the raster's order is no part of decoding
        sessions.load_or_embed(info.eid, one=one, cache_dir=folder, rastermap=False)
        paths[info.eid] = cache.session_store(folder, info.eid)
    report("sessions", len(infos), len(infos))
    return paths


def _shared_neurons(
    paths: dict[str, Path],
    one: Any,
    roicat_root: str | Path | None,
    tracked: xr.Dataset | None,
    neurons_only: bool,
) -> xr.Dataset:
    if tracked is not None:
        strangers = set(tracked["session"].values.tolist()) ^ set(paths)
        if strangers:
            raise TrackingError(f"the tracked neurons and the eids differ in sessions {', '.join(sorted(strangers))}")
    elif len(paths) == 1:
        tracked = tracking.all_neurons(sessions.open_session(*paths.values()), neurons_only=neurons_only)
    else:
        tracked = tracking.track_neurons(list(paths), one=one, roicat_root=roicat_root, neurons_only=neurons_only)
    if tracked.sizes["neuron"] == 0 and len(paths) == 1:
        raise TrackingError(f"session {next(iter(paths))} has no ROI that is flagged as a cell")
    if tracked.sizes["neuron"] == 0:
        raise TrackingError(
            f"the {tracked.sizes['session']} sessions ({', '.join(tracked['date'].values)}) share no neuron; "
            "check roicat_root, or choose sessions that lie closer together"
        )
    return tracked


def run_prefix(
    tracked: xr.Dataset, session_paths: Sequence[Path], settings: NdcSettings, decoder: str | None = None
) -> str:
    """Name a run: subject, first and last date, number of sessions, and a hash of all that changes a score.

    `decoder` is the identity of a user's decoder; None is the default one, and leaves no mark in the hash.
    """
    content = {
        "eids": tracked["session"].values.tolist(),
        "uids": tracked["cluster_uid"].values.tolist(),
        "rows": tracked["roi"].values.tolist(),
        "signals": [stores.attributes(path)["signal_kind"] for path in session_paths],
        "settings": settings.score_identity(),
    }
    identity = short_hash(content if decoder is None else content | {"decoder": decoder})
    dates = tracked["date"].values
    return f"{tracked.attrs['subject']}_{dates[0]}_{dates[-1]}_{len(dates)}_{identity}"


def _run_attributes(tracked: xr.Dataset, settings: NdcSettings, decoder: str | None) -> dict[str, Any]:
    from mesodask import __version__

    return {
        "kind": "neuron_dropping_curves",
        "subject": tracked.attrs["subject"],
        "settings": json.loads(settings.model_dump_json()),
        "decoder": decoder,
        "mesodask_version": __version__,
    }


# the plan -----------------------------------------------------------------------------------------------------


def actual_ks(ks: Sequence[int], n_shared: int) -> list[int]:
    """Numbers of neurons that are scored: those up to the shared ones, and that number itself.

    Examples
    --------
    >>> actual_ks([8, 16, 32, 64], 40)
    [8, 16, 32, 40]
    """
    return sorted({k for k in ks if k <= n_shared} | {n_shared})


def _blocks(
    store: RunStore, target: str, session: int, ks: Sequence[int], settings: NdcSettings, decoder: Any
) -> Iterator[Block]:
    """Blocks of a session and target that have anything missing."""
    eid = str(store.tracked()["session"].values[session])
    attrs = store.feature_attributes(target, eid)
    n_shuffles = min(settings.n_label_shuffles, attrs["n_null"])
    missing = store.missing(target, session, ks, settings.R, n_shuffles)  # (len(ks), R)
    for first in range(0, settings.R, RESAMPLE_CHUNK):
        resamples = range(first, min(first + RESAMPLE_CHUNK, settings.R))
        wanted = tuple(k for k, row in zip(ks, missing[:, resamples.start : resamples.stop], strict=True) if row.any())
        if wanted:
            yield Block(str(store.path), target, eid, wanted, resamples, n_shuffles, attrs["fingerprint"], decoder)


# the run ------------------------------------------------------------------------------------------------------


def _compute(
    store: RunStore,
    tracked: xr.Dataset,
    settings: NdcSettings,
    decoder: Any,
    client: "Client | None",
    report: Progress,
) -> None:
    """Compute what is missing, write it as it arrives, and say in the store how far each session is."""
    ks = actual_ks(settings.ks, tracked.sizes["neuron"])
    eids = tracked["session"].values.tolist()
    for target in settings.targets:
        store.reserve(target, eids, ks, settings.R, settings.n_label_shuffles, TARGETS[target].definition())
        run_features.record_sessions(store, target, eids)
    run_features.check_anything_to_decode(store, settings.targets)
    plan = {
        target: [
            block
            for session, eid in enumerate(eids)
            if run_features.is_decoded(store, target, eid)
            for block in _blocks(store, target, session, ks, settings, decoder)
        ]
        for target in settings.targets
    }
    failures = _run_plan(store, eids, plan, settings, client, report) if any(plan.values()) else []
    for target in settings.targets:
        for session, eid in enumerate(eids):
            if run_features.is_decoded(store, target, eid):
                left = _anything_missing(store, target, session, eid)
                store.write_session(target, session, status="partial" if left else "done")
    if failures:
        raise TasksFailedError(
            f"{len(failures)} tasks failed, e.g. {failures[0].error}; all other scores are stored. Tracebacks are in "
            f"{store.failures_file}; call again to try only what is missing"
        )


def _anything_missing(store: RunStore, target: str, session: int, eid: str) -> bool:
    """Tell whether any score that the store has room for is missing, also one that an earlier, larger run asked for."""
    ks, R, n_shuffles = store.extent(target)
    n_null = store.feature_attributes(target, eid)["n_null"]
    return bool(store.missing(target, session, ks, R, min(n_shuffles, n_null)).any())


def _run_plan(
    store: RunStore,
    eids: list[str],
    plan: dict[str, list[Block]],
    settings: NdcSettings,
    client: "Client | None",
    report: Progress,
) -> "list[Failure]":
    from mesodask.compute import cluster, runner

    done = dict.fromkeys(plan, 0)
    unconverged = 0

    def on_result(task: "Task", result: tuple[np.ndarray, np.ndarray, int]) -> None:
        nonlocal unconverged
        block: Block = task.arguments[0]
        score, null, n_bad = result
        unconverged += n_bad
        store.write_scores(block.target, eids.index(block.eid), block.resamples.start, block.ks, score, null)
        done[block.target] += 1
        report(f"curves: {block.target}", done[block.target], len(plan[block.target]))

    def on_failure(failure: "Failure") -> None:
        logger.error("task %s failed: %s", failure.task.key, failure.error)
        store.note_failure({**failure.task.label, "error": failure.error, "traceback": failure.traceback})

    for target, blocks in plan.items():
        report(f"curves: {target}", 0, len(blocks))
    tasks = (_task(block, settings) for blocks in plan.values() for block in blocks)
    with nullcontext(client) if client is not None else cluster.local_client() as workers:
        failures = runner.run_tasks(workers, tasks, on_result, on_failure=on_failure)
    if unconverged:
        logger.warning("%d fits did not converge; their scores are kept", unconverged)
    return failures


def _task(block: Block, settings: NdcSettings) -> "Task":
    from mesodask.compute.runner import Task

    name = short_hash([block.store, block.target, block.eid, list(block.ks), block.resamples.start, block.n_shuffles])
    label = {"target": block.target, "eid": block.eid, "first_resample": block.resamples.start}
    return Task(f"score-{block.target}-{block.resamples.start}-{name}", score_block, (block, settings), label)
