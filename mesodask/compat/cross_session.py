"""The cross-session names of the original ``meso_decode.py``: train on one session, test on the others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mesodask import generalization, session_choice
from mesodask.compat.decode import SAMPLING
from mesodask.compat.keywords import original
from mesodask.compute.script import unseen_by_workers
from mesodask.errors import SettingsError
from mesodask.io import alf, alf_sessions
from mesodask.io.crossstore import CrossSessionStore
from mesodask.io.session_names import in_date_order
from mesodask.io.upstream_results import check_cross_session
from mesodask.originals.views import drawable_cross_session
from mesodask.settings import CrossSessionSettings
from mesodask.targets import SESSION_TARGETS

if TYPE_CHECKING:
    from distributed import Client
    from matplotlib.figure import Figure

PROTOCOL = "trainFirst_streamed_outer3fold_keepMedianFold"  # what the originals call this procedure
DEFAULTS = CrossSessionSettings()


@original()
def run_cross_session_train_first_test_rest(
    subject: str,
    *,
    one: Any = None,
    roicat_root: str | Path | None = None,
    min_sessions: int = 10,
    min_k_shared: int = 1349,
    targets: Sequence[str] = SESSION_TARGETS,
    n_shuffle: int = DEFAULTS.n_shuffle,
    inner_cv_splits: int = DEFAULTS.inner_cv,
    Cs: Sequence[float] = DEFAULTS.C,
    use_elasticnet: bool = False,
    l1_ratio_grid: Sequence[float] = DEFAULTS.l1_ratio,
    dimreduce: str = DEFAULTS.reduction,
    dim_k: int = DEFAULTS.dim_k,
    max_iter: int = DEFAULTS.max_iter,
    seed: int = 0,
    rerun: bool = False,
    eid_train: str | None = None,
    eid_test: Sequence[str] | None = None,
    filter_neurons: bool = True,
    cache_dir: str | Path | None = None,
    client: "Client | None" = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Train a decoder on a subject's first session, and test it on the later ones.

    Different from the originals: rows are the right ones (indices of cells were taken for indices of all ROIs); the
    sessions are those that share the most neurons, not the first that a greedy search met; the null is each target's
    own, as permuting slow labels finds blocks where there are none, and its single accuracies are kept; every draw is
    keyed; and it is stored and resumed as :func:`mesodask.cross_session`, without a pickle.

    Parameters
    ----------
    subject : str
        The subject.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    roicat_root : path-like, optional
        Holds the ``ROICaT`` tree; ``~/chronic_csv`` by default.
    min_sessions : int
        Number of sessions, of those with 400 trials or more.
    min_k_shared : int
        Fewest neurons that they share.
    targets : sequence of str
        Of choice, feedback, stimulus, block.
    n_shuffle : int
        Null label vectors for every test session.
    inner_cv_splits : int
        Folds in which the grid is searched, within each of 3 folds of the first session.
    Cs, l1_ratio_grid : sequence of float
        The grid; the second with `use_elasticnet` alone.
    use_elasticnet : bool
        Search shares of L1, too.
    dimreduce : {"pca", "selectk", "none"}
        What stands between scaler and classifier.
    dim_k : int
        Components or neurons, at most; fewer where a training fold has fewer trials.
    max_iter, seed : int
        Iterations of a fit, at most; key of all draws.
    rerun : bool
        Forget the stored scores of these targets and compute them anew.
    eid_train, eid_test : str, sequence of str
        These sessions, in place of a choice. If the one to train on is not the earliest, all are trained on in turn.
    filter_neurons : bool
        Take cells alone.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default.
    client, progress
        As for :func:`mesodask.compat.decode.neuron_dropping_curves_cached`.

    Returns
    -------
    dict
        ``subject, eids`` (the one that was trained on first), ``dates, n_shared, targets``; ``results``: by target a
        list of a dictionary a session that was not skipped, ``eid, date, which`` ("train_session_cv" or "test"),
        ``n_trials, acc, acc_shuffle`` (the null's mean) and ``k``; ``first_session_cv``: by target ``mean_acc,
        fold_accs, picked_fold``; and the settings. Besides, ``acc_null`` (the null's single accuracies) and ``p_value``
        in every record of a test session, and ``run``, the path of the store.

    Raises
    ------
    SettingsError
        There are not so many sessions; one of eid_train and eid_test is missing; a setting is not allowed.
    TrackingError
        The sessions share fewer than `min_k_shared` neurons.
    MesodaskError
        As for :func:`mesodask.cross_session`.

    Examples
    --------
    >>> payload = run_cross_session_train_first_test_rest("SP072", min_sessions=10)  # doctest: +SKIP
    >>> [record["acc"] for record in payload["results"]["choice"]]  # doctest: +SKIP
    """
    one = alf.connect(one)
    narrowing: dict[str, Any] = {"roicat_root": roicat_root, "neurons_only": filter_neurons}
    if eid_train is None and eid_test is None:
        best = session_choice.best_session_subsets(subject, one=one, sizes=[min_sessions], **narrowing)
        eids, fewest = session_choice.subset_eids(best, min_sessions), min_k_shared
    else:
        eids, fewest = _given_sessions(subject, eid_train, eid_test, one), 1
    first = in_date_order([alf_sessions.session_info(one, eid) for eid in eids])[0].eid
    given: dict[str, Any] = {
        "targets": targets, "n_shuffle": n_shuffle, "inner_cv": inner_cv_splits, "C": Cs, "l1_ratio": l1_ratio_grid,
        "use_elasticnet": use_elasticnet, "reduction": dimreduce, "dim_k": dim_k, "max_iter": max_iter, "seed": seed,
        "train_on": "first" if eids[0] == first else "each", "min_sessions": len(eids), "min_k_shared": fewest,
    }  # fmt: skip
    settings = CrossSessionSettings(**given, sampling=SAMPLING, equalize_trials=False)
    with unseen_by_workers():
        run = generalization.cross_session(
            eids, one=one, cache_dir=cache_dir, settings=settings, client=client, rerun=rerun, progress=progress,
            **narrowing,
        )  # fmt: skip
    return _payload(run, eids, settings, filter_neurons=filter_neurons)


def _given_sessions(subject: str, eid_train: str | None, eid_test: Sequence[str] | None, one: Any) -> list[str]:
    if eid_train is None or eid_test is None or isinstance(eid_test, str):
        raise SettingsError(
            f"eid_train is {eid_train!r} and eid_test {eid_test!r}; expected an eid and a list of eids, or neither"
        )
    infos = [alf_sessions.session_info(one, eid) for eid in (eid_train, *eid_test)]
    others = sorted({info.subject for info in infos} - {subject})
    if others:
        raise SettingsError(f"sessions of {', '.join(others)} are given for the subject {subject}")
    return [info.eid for info in infos]


def _payload(
    run: CrossSessionStore, eids: list[str], settings: CrossSessionSettings, *, filter_neurons: bool
) -> dict[str, Any]:
    """Give a run the form of the originals' payload, in the order of `eids`."""
    tracked = run.tracked()
    dates = dict(zip(tracked["session"].values.tolist(), tracked["date"].values.tolist(), strict=True))
    found = {target: _trained_on(run.dataset(target), eids[0]) for target in settings.targets}
    n_shared = tracked.sizes["neuron"]
    return {
        "subject": tracked.attrs["subject"],
        "filter_neurons": filter_neurons,
        "eids": list(eids),
        "train_eid": eids[0],
        "dates": [dates[eid] for eid in eids],
        "n_shared": n_shared,
        "targets": list(settings.targets),
        "results": {target: _records(one, eids, n_shared) for target, one in found.items()},
        "first_session_cv": {target: _cross_validated(one, eids[0]) for target, one in found.items()},
        "protocol": PROTOCOL,
        "dimreduce": settings.reduction,
        "dim_k": settings.dim_k,
        "use_elasticnet": settings.use_elasticnet,
        "Cs": list(settings.C),
        "l1_ratio_grid": list(settings.l1_ratio),
        "inner_cv_splits": settings.inner_cv,
        "seed": settings.seed,
        "null": {target: str(one.attrs["null_kind"]) for target, one in found.items()},
        "run": str(run.path),
    }


def _trained_on(dataset: xr.Dataset, eid: str) -> xr.Dataset:
    """Take what came of training on one session, as if it were the only one trained on."""
    if "train_session" not in dataset.dims:
        return dataset
    place = dataset["session"].values.tolist().index(eid)
    by_pair = {name: variable.rename(test_session="session").drop_vars("session", errors="ignore")
               for name, variable in dataset.isel(train_session=place).data_vars.items()
               if "test_session" in variable.dims}  # fmt: skip
    rest = dataset.isel(train_session=place).drop_dims("test_session")
    picked = dataset.attrs["picked_fold"][place]
    return rest.assign({name: (v.dims, v.values) for name, v in by_pair.items()}).assign_attrs(picked_fold=picked)


def _records(one: xr.Dataset, eids: list[str], k: int) -> list[dict[str, Any]]:
    """Give a record for every session that is not skipped, the one that was trained on first."""
    dates = dict(zip(one["session"].values.tolist(), one["date"].values.tolist(), strict=True))
    picked = int(one.attrs["picked_fold"])
    records = []
    for eid in eids:
        session = one.isel(session=one["session"].values.tolist().index(eid))
        if str(session["status"].values) == "skipped":
            continue
        home = eid == eids[0]
        null = session["null_accuracy"].values
        null = null[np.isfinite(null)]
        about = {
            "eid": eid, "date": dates[eid], "which": "train_session_cv" if home else "test",
            "n_trials": int(session["n_trials"]), "acc": float(session["accuracy"]),
            "acc_shuffle": float(np.mean(null)) if len(null) else float("nan"), "k": k,
        }  # fmt: skip
        if home:
            about["picked_fold"] = picked
        else:
            about |= {"from_fold": picked, "acc_null": null.tolist(), "p_value": float(session["p_value"])}
        records.append(about)
    return records


def _cross_validated(one: xr.Dataset, eid: str) -> dict[str, Any]:
    place = one["session"].values.tolist().index(eid)
    done = str(one["status"].values[place]) != "skipped"
    return {
        "mean_acc": float(one["accuracy"].values[place]) if done else float("nan"),
        "fold_accs": one["fold_accuracy"].values.tolist() if done else [],
        "picked_fold": int(one.attrs["picked_fold"]) if done else -1,
    }


@original()
def plot_cross_session_train_first_test_rest(
    payload: dict[str, Any], *, show: bool = True, save_path: str | Path | None = None
) -> "Figure":
    """Plot the accuracy on every session, with the null, a panel a target.

    Parameters
    ----------
    payload : dict
        What :func:`run_cross_session_train_first_test_rest` gave, or the original; also one that it stored.
    show : bool
        Show the figure, where there is a display.
    save_path : path-like, optional
        Save it here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure
        The originals gave nothing back.

    Raises
    ------
    DataError
        The payload lacks an entry, or one is not what it should be.

    Examples
    --------
    >>> plot_cross_session_train_first_test_rest(payload, show=False, save_path="days.png")  # doctest: +SKIP
    """
    from mesodask.compat.show import save_figure, show_figure
    from mesodask.figures import plot_cross_session

    figure = plot_cross_session(drawable_cross_session(check_cross_session(payload)))
    if save_path is not None:
        save_figure(figure, save_path)
    if show:
        show_figure(figure)
    return figure
