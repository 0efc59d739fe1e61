"""Imported results of the original scripts -> what figures and tables take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from mesodask.errors import DataError, StoreError
from mesodask.io.upstream_results import StoredCrossSession
from mesodask.originals.results import cross_session_datasets, open_imported
from mesodask.summary import CURVES, SESSIONS, TARGET_NOTES, null_claim, settings_order

SD_OF_95_PERCENT = 1.96


def imported_summary(*imported: str | Path, delta: float = 0.02) -> xr.Dataset:
    """Give imported curves the form of a summary, so that they are drawn and tabulated as those of a run.

    Parameters
    ----------
    *imported : path-like
        Stores of one or several targets, of the same sessions.
    delta : float
        k* is the smallest k whose mean is within delta of the ceiling.

    Returns
    -------
    xarray.Dataset
        What :func:`mesodask.summarize` gives. The interval is mean +- 1.96 sd over the subsets; the null's is that of
        single scores, wider than that of means over resamples in a summary of a run. ``k_star`` is the originals': no
        test stands behind it. p-values, q and the interval of k* are NaN, since the files do not hold what they need.

    Raises
    ------
    StoreError
        One is no store of imported curves.
    DataError
        They are of different sessions, metrics or neurons, or of the same target.

    Examples
    --------
    >>> plot_ndc(imported_summary("3c7_4a4_choice.zarr", "3c7_4a4_block.zarr"))  # doctest: +SKIP
    """
    parts = _parts(imported)
    first = next(iter(parts.values()))
    dates = {eid: date for part in parts.values() for eid, date in _dates(part).items()}
    eids = sorted(dates, key=lambda eid: (dates[eid], eid))
    ks = np.unique(np.concatenate([part["k"].values for part in parts.values()]))
    tables = [_summary_of(part, eids, ks, delta) for part in parts.values()]
    summary = xr.concat(tables, "target").assign_coords(target=list(parts))
    for name, column in (CURVES | SESSIONS | TARGET_NOTES).items():
        unit = first.attrs["metric"] if column.unit == "score" else column.unit
        summary[name].attrs = {"long_name": column.meaning} | ({"units": unit} if unit else {})
    return summary.assign_coords(date=("session", [dates[eid] for eid in eids])).assign_attrs(
        subject=first.attrs["subject"],
        n_shared=first.attrs["n_shared"],
        n_resamples=int(summary["n_resamples"].max()),
        metric=first.attrs["metric"],
        delta=delta,
        decoder="",
        decoder_identity="",
        run=", ".join(map(str, imported)),
    )


def _parts(imported: Sequence[str | Path]) -> dict[str, xr.Dataset]:
    """Read imported curves, by target, and check that they belong together."""
    parts: dict[str, xr.Dataset] = {}
    for store in imported:
        found = open_imported(store)
        if not isinstance(found, xr.Dataset):
            raise StoreError(f"{store}: a cross-session analysis, which has no curves; expected curves")
        if found.attrs["target"] in parts:
            raise DataError(f"curves of {found.attrs['target']} are given twice; expected other targets", store)
        parts[str(found.attrs["target"])] = found
    if not parts:
        raise DataError("no store given; expected one or more of imported curves")
    names = settings_order(list(parts))
    for key in ("subject", "metric", "n_shared", "all_eids"):
        values = {name: parts[name].attrs[key] for name in names}
        other = next((name for name in names if values[name] != values[names[0]]), None)
        if other is not None:
            raise DataError(
                f"{key} is {values[names[0]]} for {names[0]} and {values[other]} for {other}; expected one analysis"
            )
    return {name: parts[name] for name in names}


def _dates(part: xr.Dataset) -> dict[str, str]:
    return dict(zip(part["session"].values.tolist(), part["date"].values.tolist(), strict=True))


def _summary_of(part: xr.Dataset, eids: list[str], ks: np.ndarray, delta: float) -> xr.Dataset:
    """Lay the curves of one target out over all sessions and ks of a summary."""
    counts = dict.fromkeys(("n_resamples", "n_shuffles", "n_trials"), 0)
    part = part.drop_vars(("date", "score", "null_score"), errors="ignore")
    part = part.reindex(session=eids, k=ks, fill_value={**dict.fromkeys(map(str, part.data_vars), np.nan), **counts})
    mean, spread = part["mean"], SD_OF_95_PERCENT * part["sd"]
    null_spread = SD_OF_95_PERCENT * part["null_sd"]
    done = (part["n_resamples"] > 0).any("k")
    reached = (mean >= part["ceiling"] - delta).transpose("session", "k").values
    star = np.where(reached.any(axis=1), ks[reached.argmax(axis=1)], np.nan)
    n_shuffles = part["n_shuffles"].max("k")
    nothing, none = xr.full_like(part["ceiling"], np.nan), xr.full_like(mean, np.nan)
    target = str(part.attrs["target"])
    valid, note = null_claim(target, "circular")
    return xr.Dataset(
        {
            "mean": mean, "sd": part["sd"], "low": mean - spread, "high": mean + spread,
            "n_resamples": part["n_resamples"], "null_mean": part["null_mean"],
            "null_low": part["null_mean"] - null_spread, "null_high": part["null_mean"] + null_spread,
            "n_null_resamples": part["n_resamples"].where(part["n_shuffles"] > 0, 0), "p": none,
            "ceiling": part["ceiling"], "k_star": ("session", star), "k_star_low": nothing, "k_star_high": nothing,
            "p_largest": nothing, "p_curve": nothing, "q": nothing, "n_shuffles": n_shuffles,
            "n_shuffles_possible": n_shuffles, "n_trials": part["n_trials"], "performance": part["performance"],
            "status": ("session", np.where(done, "done", "skipped").astype(object)),
            "reason": ("session", np.where(done, "", "no curve is stored").astype(object)),
            "n_shuffles_asked": int(n_shuffles.max()), "null_kind": "circular", "null_valid": valid,
            "null_note": note, "folds_note": "",
        }
    )  # fmt: skip


def drawable_cross_session(stored: StoredCrossSession) -> dict[str, xr.Dataset]:
    """Give a stored cross-session analysis the form in which a run is drawn (:func:`mesodask.plot_cross_session`).

    Where the mean alone of the accuracies with null labels was kept, it stands for all of them: the band of the null
    is a line, and there is no p-value.
    """
    return {target: _drawable(stored, one) for target, one in cross_session_datasets(stored).items()}


def _drawable(stored: StoredCrossSession, one: xr.Dataset) -> xr.Dataset:
    there = one["n_trials"].values > 0
    eid = stored.about.get("train_eid", stored.eids[0])
    variables = {
        "accuracy": one["accuracy"],
        "null_accuracy": one.get("null_accuracy", one["null_mean"].expand_dims("shuffle", axis=-1)),
        "p_value": one.get("p_value", xr.full_like(one["accuracy"], np.nan)),
        "fold_accuracy": one.get("fold_accuracy", xr.DataArray(np.empty(0), dims="fold")),
        "n_trials": one["n_trials"],
        "status": ("session", np.where(there, "done", "skipped").astype(object)),
        "reason": ("session", np.where(there, "", "no result is stored").astype(object)),
    }
    about = {"subject": stored.subject, "train_on": "first", "transfer": "median_fold", "train_eid": eid}
    return xr.Dataset(variables).assign_attrs(one.attrs | about | {"null_kind": "permute"})
