"""Neuron-dropping curves of every two sessions of a subject that follow each other, as one plan on one cluster."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import xarray as xr

from mesodask import session_choice
from mesodask.curves import cost, engine, forecast
from mesodask.curves.engine import Run
from mesodask.curves.sessions import session_run
from mesodask.errors import (
    MesodaskError,
    NothingToDecodeError,
    SettingsError,
    TasksFailedError,
    TrackingError,
)
from mesodask.io import alf, cache
from mesodask.io.runstore import RunStore
from mesodask.runs.cost import RunCost
from mesodask.runs.decoding import Decoding
from mesodask.runs.driver import Progress, silent
from mesodask.runs.matching import Matching
from mesodask.runs.sessions import check_masks, chosen_sessions, embed_each
from mesodask.selection import Narrowing
from mesodask.settings import NdcSettings, resolve_settings
from mesodask.trial_masks import TrialMask

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Curves of two consecutive sessions.

    Attributes
    ----------
    eids, dates : (str, str)
        The sessions.
    n_shared : int
        Neurons that they share.
    run : RunStore or None
        Their run; None if it could not be begun.
    figure : pathlib.Path or None
        Its curves; None if there are none.
    reason : str
        Why the pair was skipped, or is not finished; empty if it is done.
    """

    eids: tuple[str, str]
    dates: tuple[str, str]
    n_shared: int
    run: RunStore | None
    figure: Path | None
    reason: str


@overload
def pairwise_curves(
    subject: str | Sequence[str], *, dry_run: Literal[False] = False, **arguments: Any
) -> list[Pair]: ...
@overload
def pairwise_curves(subject: str | Sequence[str], *, dry_run: Literal[True], **arguments: Any) -> RunCost: ...
def pairwise_curves(
    subject: str | Sequence[str],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    min_trials: int = session_choice.MIN_TRIALS,
    min_shared: int | None = None,
    neurons_only: bool = True,
    neurons: Narrowing = None,
    trial_mask: TrialMask = None,
    client: "AnyClient | None" = None,
    rerun: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    decoder: Any = None,
    settings: NdcSettings | None = None,
    **options: Any,
) -> list[Pair] | RunCost:
    """Compute the curves of every two consecutive sessions, and draw them.

    Each pair is a run of its own, ``decoding/pair_summaries/<subject>/res/<prefix>.zarr``, with its figure in
    ``imgs/<prefix>.png``; all are computed together. They resume and grow as those of
    :func:`mesodask.neuron_dropping_curves`. A pair that cannot be decoded is skipped with its reason, and the others
    are done.

    Parameters
    ----------
    subject : str or sequence of str
        A subject, for all its sessions in which ROIs were found, or eids.
    min_trials : int
        Sessions with fewer trials are left out, and so are those without biased blocks of both sides (see
        :func:`mesodask.consecutive_pairs`): the session before and the one after are then consecutive.
    min_shared : int, optional
        Fewest neurons of a pair; by default the smallest of the ks.
    trial_mask : mapping of eid to numpy.ndarray, (n_trials,) bool, optional
        Trials that may be used; sessions that it does not name keep all.
    one, cache_dir, roicat_root, neurons_only, neurons, client, rerun, dry_run, progress, decoder, settings, **options
        As for :func:`mesodask.neuron_dropping_curves`; neurons are narrowed by regions, or by a mapping of eid.

    Returns
    -------
    list of Pair
        In date order. For a dry run the :class:`mesodask.runs.cost.RunCost` of all pairs together.

    Raises
    ------
    TrackingError
        Fewer than two sessions can be used, or no pair shares enough neurons.
    NothingToDecodeError
        Every pair was skipped; the message lists the reasons.
    TasksFailedError
        Some tasks failed for good; all else is stored, and drawn.
    """
    decoding = Decoding.of(resolve_settings(settings, options, NdcSettings), trial_mask, decoder)
    one = alf.connect(one)
    check_masks(trial_mask, one, "many pairs")
    folder = cache.cache_folder(cache_dir, one)
    min_shared = min(decoding.settings.ks) if min_shared is None else min_shared
    matched = session_choice.consecutive_pairs(
        subject, one=one, cache_dir=folder, roicat_root=roicat_root, min_trials=min_trials, min_shared=min_shared,
        neurons_only=neurons_only, neurons=neurons,
    )  # fmt: skip
    if not matched:
        raise TrackingError(f"no two consecutive sessions share {min_shared} neurons; check roicat_root, or lower it")
    if dry_run:
        return _cost(matched, one, folder, decoding, rerun)
    report = progress or silent
    eids = list(dict.fromkeys(eid for pair in matched for eid in pair["session"].values.tolist()))
    paths, broken = embed_each(eids, one, folder, client, report)
    results = cache.pairs_folder(folder, matched[0].attrs["subject"]) / "res"
    with ExitStack() as locks:
        runs, reasons = _prepare(matched, paths, broken, results, decoding, rerun, report, locks)
        ready = [run for run, reason in zip(runs, reasons, strict=True) if run is not None and not reason]
        try:
            engine.compute(ready, client, report)
        except TasksFailedError as error:
            error.result = _results(matched, runs, reasons)  # what there is is drawn all the same
            raise
    return _results(matched, runs, reasons)


def _prepare(
    matched: Sequence[xr.Dataset],
    paths: Mapping[str, Path],
    broken: Mapping[str, MesodaskError],
    folder: Path,
    decoding: Decoding,
    rerun: bool,
    report: Progress,
    locks: ExitStack,
) -> tuple[list[Run | None], list[str]]:
    """Prepare the run of every pair, under its lock; where that cannot be done, there is a reason in its place."""
    runs: list[Run | None] = []
    reasons = []
    for number, pair in enumerate(matched):
        report("pairs", number, len(matched))
        run, reason = None, ""
        try:
            for eid in pair["session"].values:
                if eid in broken:
                    raise broken[eid]
            run = session_run(pair, paths, decoding.of_sessions(pair["session"].values.tolist()), folder)
            with ExitStack() as lock:
                lock.enter_context(run.store.writing())
                engine.prepare(run, rerun=rerun, report=silent)
                locks.push(lock.pop_all())
        except SettingsError:  # the user's mistake, and not the pair's fault
            raise
        except MesodaskError as error:
            reason = str(error)
            logger.warning("the pair %s is skipped: %s", " and ".join(pair["date"].values), reason)
        runs.append(run)
        reasons.append(reason)
    report("pairs", len(matched), len(matched))
    if all(reasons):
        listing = "\n".join(f"{' and '.join(p['date'].values)}: {r}" for p, r in zip(matched, reasons, strict=True))
        raise NothingToDecodeError(f"no pair of consecutive sessions can be decoded:\n{listing}")
    return runs, reasons


def _results(matched: Sequence[xr.Dataset], runs: Sequence[Run | None], reasons: Sequence[str]) -> list[Pair]:
    return [_result(*one) for one in zip(matched, runs, reasons, strict=True)]


def _result(pair: xr.Dataset, run: Run | None, reason: str) -> Pair:
    """Draw what a pair's run holds, and say what it is."""
    figure = None
    if run is not None and not reason:
        unfinished = [t for t in run.settings.targets if (run.store.sessions(t)["status"] == "partial").any()]
        figure = _draw(run.store, anew=bool(unfinished))
        if unfinished and run.store.failures_file.exists():
            reason = f"tasks of {', '.join(unfinished)} failed: see {run.store.failures_file}"
        elif unfinished:
            reason = f"an earlier call that asked for more of {', '.join(unfinished)} is not finished"
    first, second = pair["session"].values.tolist()
    dates = pair["date"].values.tolist()
    store = None if run is None else run.store
    return Pair((first, second), (dates[0], dates[1]), pair.sizes["neuron"], store, figure, reason)


def _draw(store: RunStore, *, anew: bool) -> Path:
    """Draw the curves of a run, unless it is finished and they stand as they are since the last time."""
    figure = cache.pair_figure(store.path)
    # these files are written whenever the run is asked for something else, and when more of it is finished
    marks = [store.path / "zarr.json", *(f for t in store.targets() for f in (store.path / t / "status").rglob("*"))]
    if anew or not figure.exists() or figure.stat().st_mtime <= max(file.stat().st_mtime for file in marks):
        from mesodask.figures import plot_ndc  # figures are for who wants one

        figure.parent.mkdir(parents=True, exist_ok=True)
        plot_ndc(store, save=figure)
    return figure


def _cost(matched: Sequence[xr.Dataset], one: Any, folder: Path, decoding: Decoding, rerun: bool) -> RunCost:
    loads, notes = [], {f"{len(matched)} pairs": None}
    for pair in matched:
        infos = chosen_sessions(pair["session"].values.tolist(), one)
        matching = Matching(infos, one, folder, None, pair, True, None)
        results = cache.pairs_folder(folder, infos[0].subject) / "res"
        try:
            found, remarks = forecast.loads_of_sessions(
                matching, decoding.of_sessions(pair["session"].values.tolist()), results, rerun=rerun
            )
        except NothingToDecodeError as error:
            notes[f"{' and '.join(pair['date'].values)} would be skipped: {error}"] = None
            continue
        loads += found
        notes |= dict.fromkeys(remarks)
    return cost.estimate(loads, decoding.settings, decoding.decoder, list(notes), n_runs=len(matched))
