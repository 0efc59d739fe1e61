"""Train on one session, test on the others: whether a decoder of the same neurons holds from day to day.

Arguments become a run: sessions are chosen, neurons matched, sessions embedded, and what names the run is hashed. The
engine (:mod:`mesodask.cross.engine`) does the rest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import xarray as xr

from mesodask import session_choice, tracking
from mesodask.cross import engine
from mesodask.cross.cost import cost_of_cross_session
from mesodask.cross.engine import CrossSessionRun
from mesodask.errors import SettingsError, TrackingError
from mesodask.io import alf, cache
from mesodask.io.crossstore import CrossSessionStore
from mesodask.runs.cost import RunCost
from mesodask.runs.decoding import Decoding
from mesodask.runs.driver import Progress, checked_identity, silent
from mesodask.runs.naming import sources_and_prefix
from mesodask.runs.sessions import check_masks, chosen_sessions, embed_all
from mesodask.selection import Narrowing
from mesodask.settings import MIN_DIMENSIONS, CrossSessionSettings, resolve_settings
from mesodask.trial_masks import TrialMask

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient

OF_THE_PIPELINE = ("reduction", "dim_k", "use_elasticnet", "C", "l1_ratio", "inner_cv", "max_iter")


@overload
def cross_session(
    subject: str | Sequence[str], *, dry_run: Literal[False] = False, **arguments: Any
) -> CrossSessionStore: ...
@overload
def cross_session(subject: str | Sequence[str], *, dry_run: Literal[True], **arguments: Any) -> RunCost: ...
def cross_session(
    subject: str | Sequence[str],
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    roicat_root: str | Path | None = None,
    min_trials: int = session_choice.MIN_TRIALS,
    neurons_only: bool = True,
    neurons: Narrowing = None,
    trial_mask: TrialMask = None,
    client: "AnyClient | None" = None,
    rerun: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    decoder: Any = None,
    settings: CrossSessionSettings | None = None,
    **options: Any,
) -> CrossSessionStore | RunCost:
    """Train a decoder on the first session of a subject, and test it on all later ones.

    The neurons are those that all sessions share, z-scored within each. The first session is cut into outer folds;
    within each, the settings of a pipeline (scaler, reduction, logistic regression) are searched by inner folds. The
    mean accuracy over the outer folds is that at home; the model of the fold with the median accuracy is carried to
    every later session. A null distribution of every accuracy abroad gives its p-value ::

        p = (1 + #{null accuracies >= accuracy}) / (1 + shuffles)

    By default the null replaces the labels of the test session, by each target's own null (``null``), while the
    predictions stay as they are. A second call with more shuffles or targets computes the missing scores, and no
    others; what is finished stays bit for bit.

    Parameters
    ----------
    subject : str or sequence of str
        A subject, of whose sessions as many are taken as share ``min_k_shared`` neurons (of so many, those that share
        the most); or eids, which are taken as they are. Either way they are put in the order of (date, number).
    min_trials : int
        Of a subject's sessions, those with fewer trials are left out.
    decoder : scikit-learn classifier or pipeline, optional
        Takes the place of the whole pipeline, at its own speed; set its penalty, scaler and reduction in it.
    one, cache_dir, roicat_root, neurons_only, neurons, trial_mask, client, rerun, dry_run, progress
        As for :func:`mesodask.neuron_dropping_curves`; neurons are narrowed by regions, or by a mapping of eid.
    settings : CrossSessionSettings, optional
        All further settings at once.
    **options
        Or any of them by name: see :class:`mesodask.settings.CrossSessionSettings`.

    Returns
    -------
    CrossSessionStore
        The run on disk, ``decoding/cross_session/<prefix>.zarr``. Its ``datasets()``, one a target, are what
        :func:`mesodask.plot_cross_session` takes; :func:`mesodask.cross_session_table` lays it out as a table. For a
        dry run its :class:`mesodask.runs.cost.RunCost`.

    Raises
    ------
    SettingsError
        A setting has a value that is not allowed, or the decoder cannot be used.
    TrackingError
        There are fewer sessions than ``min_sessions``, or they share fewer neurons than ``min_k_shared``; the message
        names the best there is.
    NothingToDecodeError
        In every target the session that is trained on, or every one that it would be tested on, is skipped; the message
        lists the reasons. A test session that is skipped costs no other.
    LockedError, StoreError, ClusterError, TasksFailedError
        As for :func:`mesodask.neuron_dropping_curves`.

    Examples
    --------
    >>> run = cross_session("SP072", one="~/one", targets="choice")  # doctest: +SKIP
    >>> run.dataset("choice")["accuracy"].values  # doctest: +SKIP
    array([0.84, 0.81, 0.79, 0.78])
    """
    decoding = _decoding(resolve_settings(settings, options, CrossSessionSettings), trial_mask, decoder)
    one = alf.connect(one)
    folder = cache.cache_folder(cache_dir, one)
    narrowing = {"roicat_root": roicat_root, "neurons_only": neurons_only, "neurons": neurons}
    if isinstance(subject, str):
        check_masks(trial_mask, one, "a subject")
    tracked = _tracked(subject, one, folder, decoding.settings, min_trials, narrowing)
    eids = tracked["session"].values.tolist()
    decoding = decoding.of_sessions(eids) if isinstance(subject, str) else decoding
    if dry_run:
        return _cost(tracked, one, folder, decoding, rerun)
    report = progress or silent
    paths = embed_all(eids, one, folder, client, report)
    run = _run(tracked, paths, folder, decoding)
    return engine.carry_out(run, client, rerun=rerun, report=report)


def _run(
    tracked: xr.Dataset, paths: Mapping[str, Path], folder: Path, decoding: Decoding[CrossSessionSettings]
) -> CrossSessionRun:
    """Describe the run of embedded sessions: nothing is computed or written."""
    sources, prefix = sources_and_prefix(tracked, paths, decoding)
    store = CrossSessionStore(cache.cross_session_folder(folder) / f"{prefix}.zarr")
    return CrossSessionRun(store, tracked, sources, decoding.settings, decoding.decoder, decoding.decoded_by)


def _cost(
    tracked: xr.Dataset, one: Any, folder: Path, decoding: Decoding[CrossSessionSettings], rerun: bool
) -> RunCost:
    infos = chosen_sessions(tracked["session"].values.tolist(), one)
    paths = {info.eid: cache.session_store(folder, info.eid) for info in infos}
    n_missing = sum(not path.exists() for path in paths.values())
    store = None if rerun or n_missing else _run(tracked, paths, folder, decoding).store
    return cost_of_cross_session(infos, one, folder, tracked.sizes["neuron"], decoding, store, n_missing)


def _decoding(settings: CrossSessionSettings, trial_mask: TrialMask, decoder: Any) -> Decoding[CrossSessionSettings]:
    """Check the decoder, and find what identifies it.

    Raises
    ------
    SettingsError
        It cannot be used, or settings of the pipeline that it replaces are given, too.
    """
    replaced = [name for name in OF_THE_PIPELINE if name in settings.model_fields_set]
    if decoder is not None and replaced:
        raise SettingsError(
            f"both decoder= and {', '.join(replaced)} are given; a decoder takes the place of the whole pipeline: set "
            "what it needs in it"
        )
    checked_identity(decoder, "accuracy")
    return Decoding(settings, trial_mask, decoder, checked_identity(decoder, "auc"))


def _tracked(
    subject: str | Sequence[str],
    one: Any,
    folder: Path,
    settings: CrossSessionSettings,
    min_trials: int,
    narrowing: dict[str, Any],
) -> xr.Dataset:
    """Choose the sessions, and match their neurons.

    Raises
    ------
    TrackingError
        There are too few sessions, or they share too few neurons.
    SettingsError
        So few neurons cannot be reduced.
    """
    fewest, min_shared = settings.min_sessions, settings.min_k_shared
    if isinstance(subject, str):
        eids = session_choice.longest_series(
            subject,
            one=one,
            cache_dir=folder,
            min_sessions=fewest,
            min_shared=min_shared,
            min_trials=min_trials,
            **narrowing,
        )
    else:
        eids = [info.eid for info in chosen_sessions(subject, one)]
    if len(eids) < fewest:
        raise TrackingError(f"{len(eids)} sessions given, at least {fewest} (min_sessions) are needed")
    tracked = tracking.track_neurons(eids, one=one, **narrowing)
    n_shared = tracked.sizes["neuron"]
    if n_shared < min_shared:
        best = ""
        if len(eids) > fewest:
            found = session_choice.best_session_subsets(
                eids, one=one, cache_dir=folder, sizes=[fewest], min_trials=0, **narrowing
            )
            best = f"; {session_choice.best_in_words(found, fewest)}"
        dates = ", ".join(tracked["date"].values)
        raise TrackingError(
            f"the {len(eids)} sessions ({dates}) share {n_shared} neurons, at least {min_shared} (min_k_shared) are "
            f"needed{best}. Lower min_k_shared, or give sessions that lie closer together"
        )
    if n_shared < MIN_DIMENSIONS and settings.reduction != "none":
        raise SettingsError(
            f"dim_k: {n_shared} shared neuron cannot be reduced to {MIN_DIMENSIONS} dimensions or more; take "
            "reduction='none', or more neurons"
        )
    return tracked
