"""The names of the original ``meso_decode.py`` but for its cross-session part: features and neuron-dropping curves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mesodask import features, sessions
from mesodask.compat import rows
from mesodask.compat.keywords import CEILING_MODE, SHUFFLE_SEED, original
from mesodask.compute.script import unseen_by_workers
from mesodask.curves.engine import carry_out
from mesodask.curves.sessions import session_run
from mesodask.errors import DataError
from mesodask.io import alf, cache
from mesodask.io.runstore import RunStore
from mesodask.numerics.labels import balanced_subset
from mesodask.numerics.windows import Sampling
from mesodask.runs.decoding import Decoding
from mesodask.runs.driver import silent
from mesodask.runs.matching import Matching
from mesodask.runs.sessions import chosen_sessions, embed_all
from mesodask.settings import NdcSettings
from mesodask.targets import SESSION_TARGETS

if TYPE_CHECKING:
    from distributed import Client

SAMPLING: Sampling = "frames"  # the originals'
KS = NdcSettings().ks
MIN_TRIALS = 4

Event = tuple[str, tuple[float, float]]


@original()
def build_trial_features(
    eid: str,
    target: str = "choice",
    rerun: bool = False,
    restrict: ArrayLike | None = None,
    filter_neurons: bool = True,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
) -> tuple[np.ndarray, np.ndarray, Event]:
    """Give the mean activity of every neuron in a window of every trial, z-scored and balanced.

    A frame belongs to a window by the clock of the first FOV, and trials without a frame in their window are dropped,
    as in the originals. Different from them: rows are counted as in
    :func:`mesodask.compat.chronic.match_tracked_indices_across_sessions` (the originals took indices of cells for
    indices of all ROIs); windows that reach beyond the recording, or touch a pause, are dropped and not cut; bad frames
    count as missing; other trials are drawn for the balance.

    Parameters
    ----------
    eid : str
        The session.
    target : {"choice", "feedback", "stimulus", "block"}
        What is decoded.
    rerun : bool
        Build the session store again.
    restrict : array_like of int or bool, optional
        Rows of ``load_or_embed(eid)["roi_signal"]``; all of them by default.
    filter_neurons : bool
        Whether rows are counted among cells alone.
    one, cache_dir
        As for :func:`mesodask.compat.meso.load_or_embed`.

    Returns
    -------
    X : numpy.ndarray, (n_trials, n_neurons) float32
        z-scored per neuron over the kept trials, before they were balanced.
    y : numpy.ndarray, (n_trials,) int
        Labels, as many 1 as 0.
    event : (str, (float, float))
        Column of the trials table, and the window around it, s.

    Raises
    ------
    DataError
        Fewer than 4 trials are left, or they are of one class alone; the message counts why trials were dropped.
    SettingsError
        `restrict` or `target` is not allowed.

    Examples
    --------
    >>> X, y, (event, window) = build_trial_features(eid, "block", restrict=idx_map[eid])  # doctest: +SKIP
    """
    session = sessions.load_or_embed(eid, one=alf.connect(one), cache_dir=cache_dir, rastermap=False, rerun=rerun)
    chosen = rows.session_rows(session, restrict, filter_neurons=filter_neurons)
    found = features.trial_features(session, chosen, target, sampling=SAMPLING)
    y = found["y"].values
    counts = np.bincount(y, minlength=2)
    if len(y) < MIN_TRIALS or counts.min() == 0:
        dropped = "".join(f"; {n} dropped: {reason}" for reason, n in found.attrs["dropped"].items())
        raise DataError(
            f"session {eid}, {target}: {counts[1]} trials of class 1 and {counts[0]} of class 0; expected at least "
            f"{MIN_TRIALS}, of both classes{dropped}"
        )
    kept = balanced_subset(y, key=(0, "balance", session.attrs["eid"], target))
    window = found.attrs["window"]
    return found["X"].values[kept], y[kept].astype(int), (found.attrs["event"], (window[0], window[1]))


@original(ceiling_mode=CEILING_MODE, shuffle_seed=SHUFFLE_SEED)
def neuron_dropping_curves_cached(
    eids: Sequence[str],
    targets: Sequence[str] = SESSION_TARGETS,
    roicat_root: str | Path | None = None,
    cache_dir: str | Path | None = None,
    ks: Sequence[int] = KS,
    R: int = 50,
    metric: str = "auc",
    cv_splits: int = 5,
    delta: float = 0.02,
    equalize_trials: bool = True,
    seed: int = 0,
    ceiling_mode: str = "maxk",
    n_label_shuffles: int = 100,
    shuffle_seed: int | None = None,
    plot: bool = True,
    rerun: bool = False,
    *,
    one: Any = None,
    client: "Client | None" = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[tuple[str, str], dict[str, Any]]:
    """Compute the neuron-dropping curves of some sessions, or what is missing of them, and plot them.

    Different from the originals: `R` counts; a run is found by a hash of all that changes a score, not by the first
    three letters of eids, and one that lacks a target, resamples, shuffles or ks computes these and no others; every
    score is kept, in double precision; null and data share neurons and folds; the null of ``block`` is simulated
    sessions, as a circular shift finds blocks in drifting populations without a code; "accuracy" is the balanced one;
    sessions with fewer than 10 trials in a class are skipped; the answer is the same whether anything was computed or
    not.

    Parameters
    ----------
    eids : sequence of str
        Sessions of one subject; one alone is decoded from all its neurons.
    targets : sequence of str
        Of choice, feedback, stimulus, block.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    cache_dir : path-like, optional
        The decoding folder, ``<ONE.cache_dir>/meso/decoding`` by default. Session stores lie in
        ``<ONE.cache_dir>/meso/data``, whatever is given here.
    ks, R, metric, cv_splits, delta, equalize_trials, seed, n_label_shuffles
        As for :func:`mesodask.neuron_dropping_curves`.
    ceiling_mode, shuffle_seed
        No longer have a meaning.
    plot : bool
        Draw the curves into ``<run>.png`` beside the run, and show them where there is a display.
    rerun : bool
        Forget the stored scores of these targets and compute them anew.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    client : distributed.Client, optional
        Where to compute; by default workers are started on this machine. They do not run the script that calls this.
    progress : callable(stage, done, total), optional
        Called as the work goes on.

    Returns
    -------
    dict
        ``{(eid, target): {...}}`` of the sessions that were not skipped, with ``eid, target, date, n_shared, ks_max,
        trials, performance, event, win, equalize_trials, prefix, all_eids, subject``, and ``run``, the path that
        :func:`mesodask.summarize` and :func:`mesodask.plot_ndc` take.

    Raises
    ------
    MesodaskError
        As for :func:`mesodask.neuron_dropping_curves`.

    Examples
    --------
    >>> out = neuron_dropping_curves_cached(eids, targets=("choice",), R=50)  # doctest: +SKIP
    >>> out[eids[0], "choice"]["trials"]  # doctest: +SKIP
    184
    """
    del ceiling_mode, shuffle_seed
    given: dict[str, Any] = {
        "targets": targets, "ks": ks, "R": R, "metric": metric, "cv_splits": cv_splits, "delta": delta, "seed": seed,
        "equalize_trials": equalize_trials, "n_label_shuffles": n_label_shuffles,
    }  # fmt: skip
    settings = NdcSettings(**given, sampling=SAMPLING)
    one = alf.connect(one)
    folder = cache.cache_folder(None, one)
    results = cache.decoding_folder(folder) if cache_dir is None else cache.cache_folder(cache_dir)
    matching = Matching(chosen_sessions(eids, one), one, folder, roicat_root, None, True, None)
    report = progress or silent
    with unseen_by_workers():
        paths = embed_all(eids, one, folder, client, report)
        run = session_run(matching.tracked_neurons(), paths, Decoding.of(settings), results)
        store = carry_out(run, client, rerun=rerun, report=report)
    if plot:
        _plot(store)
    return {
        (eid, target): about
        for target in settings.targets
        for eid, about in _about_sessions(store, target, settings).items()
    }


def _plot(store: RunStore) -> None:
    from mesodask.compat.show import save_figure, show_figure
    from mesodask.figures import plot_ndc

    figure = plot_ndc(store)
    save_figure(figure, store.path.with_suffix(".png"))
    show_figure(figure)


def _about_sessions(store: RunStore, target: str, settings: NdcSettings) -> dict[str, dict[str, Any]]:
    """Tell what the originals told of each session that is not skipped, by eid."""
    tracked, found = store.tracked(), store.sessions(target)
    dates = dict(zip(tracked["session"].values.tolist(), tracked["date"].values.tolist(), strict=True))
    definition = features.resolve_target(target)
    n_shared = tracked.sizes["neuron"]
    return {
        eid: {
            "eid": eid,
            "target": target,
            "date": dates[eid],
            "n_shared": n_shared,
            "ks_max": n_shared,
            "trials": int(one["n_trials"]),
            "performance": float(one["performance"]),
            "event": definition.event,
            "win": definition.window,
            "equalize_trials": settings.equalize_trials,
            "prefix": store.path.stem,
            "all_eids": list(dates),
            "subject": tracked.attrs["subject"],
            "run": str(store.path),
        }
        for eid, one in _rows(found)
        if str(one["status"].values) != "skipped"
    }


def _rows(found: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    return [(eid, found.isel(session=i)) for i, eid in enumerate(found["session"].values.tolist())]
