"""Neuron-dropping curves: how well a population decodes behaviour, against the number of its neurons.

Arguments become a run: sessions are embedded, neurons matched, trials masked, and what names the run is hashed. The
engine (:mod:`mesodask.curves.engine`) does the rest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import xarray as xr

from mesodask.curves import forecast
from mesodask.curves.engine import carry_out
from mesodask.curves.populations import population_run
from mesodask.curves.sessions import session_run
from mesodask.errors import SettingsError
from mesodask.io import alf, cache
from mesodask.io.runstore import RunStore
from mesodask.runs.cost import RunCost
from mesodask.runs.decoding import Decoding
from mesodask.runs.driver import Progress, silent
from mesodask.runs.matching import Matching
from mesodask.runs.sessions import chosen_sessions, embed_all
from mesodask.selection import Narrowing
from mesodask.settings import NdcSettings, resolve_settings
from mesodask.trial_masks import TrialMask

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient


@overload
def neuron_dropping_curves(
    eids: Sequence[str] = (), *, dry_run: Literal[False] = False, **arguments: Any
) -> RunStore: ...
@overload
def neuron_dropping_curves(eids: Sequence[str] = (), *, dry_run: Literal[True], **arguments: Any) -> RunCost: ...
def neuron_dropping_curves(
    eids: Sequence[str] = (),
    *,
    features: Mapping[str, xr.Dataset] | None = None,
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    tracked: xr.Dataset | None = None,
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
) -> RunStore | RunCost:
    """Score populations of growing size, with a null distribution for every score.

    For each session, target and resample r, a random order of the shared neurons gives nested subsets of k neurons;
    each is scored by cross-validation (:func:`mesodask.numerics.crossval.cross_val_scores`), once with the trials'
    labels and once with each of the null label vectors. A second call with more ks, resamples, shuffles or targets
    computes the missing scores, and no others; what is finished stays bit for bit.

    Parameters
    ----------
    eids : sequence of str
        One session, which is decoded from all its neurons, or several of one subject, decoded from the neurons that
        they share.
    features : mapping of str to xarray.Dataset, optional
        In place of eids: populations that did not come from ALF, by name, each with ``X(trial, neuron)``,
        ``y(trial)`` of 0 and 1, and ``block(trial)`` for the null "blockwise". Several are several days of the same
        neurons, in the same order. What is decoded is called by their attribute ``target``, or "labels"; the null is
        "circular" by default. X is z-scored per neuron.
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
    neurons : array, str, sequence of str, or mapping, optional
        Only these neurons: Allen acronyms, or for one session a mask over its ROIs or rows of its store, or a mapping
        of eid to any of these (see :func:`mesodask.selection.masks`).
    trial_mask : numpy.ndarray, (n_trials,) bool, or mapping of eid to such, optional
        Trials of the session that may be used; sessions that a mapping does not name keep all.
    client : distributed.Client or callable() -> distributed.Client, optional
        Where to compute; by default workers are started on this machine, and stopped at the end. A callable is asked
        for its client only if there is something to compute.
    rerun : bool
        Forget the stored scores of these targets and compute them anew.
    dry_run : bool
        Compute and write nothing, no session store either: tell what the run would cost. Until sessions are embedded
        and their features stored, trials are counted in the trials tables alone.
    progress : callable(stage, done, total), optional
        Called as the work goes on; of the curves, scores are counted.
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
        The run on disk; :func:`mesodask.summarize` and :func:`mesodask.plot_ndc` take it. For a dry run its
        :class:`mesodask.runs.cost.RunCost`.

    Raises
    ------
    SettingsError
        A setting has a value that is not allowed, or the decoder cannot be used.
    TrackingError
        The sessions share no neuron.
    NothingToDecodeError
        Every session of every target was skipped; the message lists the reasons.
    LockedError
        Another process computes this run.
    StoreError
        The store is damaged where it cannot be mended, or the disk is full; what was stored stays.
    ClusterError
        The cluster is gone; all that was computed is stored.
    TasksFailedError
        Some tasks failed for good; all else is stored, and ``failures.jsonl`` beside the store has the tracebacks.

    Examples
    --------
    A population of one's own, here noise:

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> data = xr.Dataset({"X": (("trial", "neuron"), rng.normal(size=(60, 12))), "y": ("trial", np.arange(60) % 2)})
    >>> cost = neuron_dropping_curves(features={"noise": data}, ks=(4, 8), R=20, dry_run=True, cache_dir="no-folder")
    >>> cost.n_scores == 3 * 20 * (1 + 59)  # a circular null of 60 trials has 59 shifts
    True
    """
    if features is not None:
        _refuse_with_features(eids=eids or None, tracked=tracked, neurons=neurons, trial_mask=trial_mask)
        run = population_run(features, cache_dir, one, decoder, settings, options)
        if dry_run:
            return forecast.cost_of_populations(run, rerun=rerun)
        return carry_out(run, client, rerun=rerun, report=progress or silent)
    decoding = Decoding.of(resolve_settings(settings, options, NdcSettings), trial_mask, decoder)
    one = alf.connect(one)
    folder = cache.cache_folder(cache_dir, one)
    matching = Matching(chosen_sessions(eids, one), one, folder, roicat_root, tracked, neurons_only, neurons)
    if dry_run:
        return forecast.cost_of_sessions(matching, decoding, rerun=rerun)
    paths = embed_all(eids, one, folder, client, progress or silent)
    run = session_run(matching.tracked_neurons(), paths, decoding, cache.decoding_folder(folder))
    return carry_out(run, client, rerun=rerun, report=progress or silent)


def _refuse_with_features(**given: Any) -> None:
    refused = [name for name, value in given.items() if value is not None]
    if refused:
        raise SettingsError(
            f"features= brings its own neurons and trials, and does not go with {', '.join(refused)}; narrow X and y"
        )
