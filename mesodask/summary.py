"""Run stores -> means, intervals, p-values and k*, from the store alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mesodask.errors import StoreError
from mesodask.io.runstore import RunStore
from mesodask.numerics import inference
from mesodask.settings import TARGETS

LEVEL = 0.95
# the fewest with which 1 / (1 + shuffles), the smallest p-value there can be, allows a k*
MIN_SHUFFLES = round(1 / inference.MAX_P) - 1

MEANINGS = {
    "mean": "mean score over finished resamples",
    "sd": "standard deviation of the score over resamples",
    "low": "lower end of the 95 % interval over resamples (spread of neurons and folds, not of trials)",
    "high": "upper end of the 95 % interval over resamples (spread of neurons and folds, not of trials)",
    "null_mean": "mean over shuffles of the null's mean score",
    "null_low": "lower end of the 95 % interval of the null's mean scores",
    "null_high": "upper end of the 95 % interval of the null's mean scores",
    "p": "p-value of the mean score at this k",
    "n_resamples": "finished resamples",
    "p_largest": "p-value at the largest number of neurons",
    "p_curve": "p-value of the whole curve: the largest standardised excess over the null",
    "q": "p_largest after Benjamini-Hochberg over sessions and targets",
    "ceiling": "mean score at the largest number of neurons",
    "k_star": "smallest number of neurons whose mean score is within delta of the ceiling",
    "k_star_low": "lower end of the bootstrap interval of k*",
    "k_star_high": "upper end of the bootstrap interval of k*",
    "n_shuffles": "shuffles that p_largest counts",
    "null_kind": "kind of null labels",
    "null_valid": "whether the p-values can be used at all",
    "null_note": "what the null asks of the data; empty where it asks nothing",
    "folds_note": "what the folds do to the scores; empty where nothing is known against them",
}


def summarize(run: RunStore | str | Path, *, delta: float | None = None) -> xr.Dataset:
    """Summarise a run: curves with intervals, null bands, p-values, ceiling and k*.

    Observed and null means are taken over the same resamples, and
    ``p = (1 + #{null mean >= observed mean}) / (1 + shuffles)``.

    Parameters
    ----------
    run : RunStore or path-like
        What :func:`mesodask.neuron_dropping_curves` gave, or its path.
    delta : float, optional
        k* is the smallest k whose mean is within delta of the ceiling; the run's own setting by default.

    Returns
    -------
    xarray.Dataset
        Dims target, session, k: ``mean, sd, low, high, null_mean, null_low, null_high, p, n_resamples``; dims target,
        session: ``p_largest, p_curve, q, ceiling, k_star, k_star_low, k_star_high, n_shuffles, n_trials, performance,
        status, reason``; dim target: ``null_kind, null_valid, null_note, folds_note`` (see :func:`null_claim`). What is
        not computed, or is skipped, is NaN.

    Raises
    ------
    StoreError
        There is no such run.
    """
    store = run if isinstance(run, RunStore) else RunStore(Path(run))
    if not store.exists():
        raise StoreError(f"{store.path}: no run store here; give the path that neuron_dropping_curves printed")
    settings = store.attrs["settings"]
    tracked = store.tracked()
    delta = settings["delta"] if delta is None else delta
    names = settings_order(store.targets())
    if not names:
        raise StoreError(f"{store.path}: nothing has been computed yet in this run")
    parts = [_summarize_target(store.scores(name), delta, settings["seed"]) for name in names]
    summary = xr.concat(parts, pd.Index(names, name="target"), join="outer")
    summary["q"] = (("target", "session"), inference.benjamini_hochberg(summary["p_largest"].values))
    summary = summary.assign(_caveats(names, settings))
    for name, meaning in MEANINGS.items():
        summary[name].attrs["long_name"] = meaning
    return summary.assign_coords(date=("session", tracked["date"].values)).assign_attrs(
        subject=store.attrs["subject"],
        n_shared=tracked.sizes["neuron"],
        n_resamples=int(summary["n_resamples"].max()),
        metric=settings["metric"],
        delta=delta,
        run=str(store.path),
    )


def k_star(run: RunStore | str | Path, *, delta: float | None = None) -> pd.DataFrame:
    """Tell how many neurons are enough: k* of every session and target.

    Parameters
    ----------
    run, delta
        As in :func:`summarize`.

    Returns
    -------
    pandas.DataFrame
        One row a target and session: ``date, ceiling, k_star, k_star_low, k_star_high, p_largest, q, status,
        null_valid``. k* is NaN while scores are missing at the largest k, and where the p-value there is above 0.05;
        where the null is not valid (:func:`null_claim`), neither are p, q and k*.
    """
    summary = summarize(run, delta=delta)
    columns = ["ceiling", "k_star", "k_star_low", "k_star_high", "p_largest", "q", "status", "null_valid"]
    return summary[columns].to_dataframe().reset_index()[["target", "session", "date", *columns]]


def null_claim(target: str, kind: str) -> tuple[bool, str]:
    """Tell whether a null is valid for a target, and what it asks of the data.

    A permutation cuts every tie between the labels of successive trials, so it asks for trials that could change
    places, which slow drift forbids. Blocks are nothing but such ties: no recording is without drift on their scale.

    Parameters
    ----------
    target : str
        What is decoded.
    kind : {"permute", "circular", "blockwise", "pseudosession"}
        Kind of null labels.

    Returns
    -------
    valid : bool
        False where no p-value of it can be used.
    note : str
        Why not, or under which condition; empty where there is none.

    References
    ----------
    Harris, K. D. (2021), "Nonsense correlations in neuroscience", bioRxiv 2020.11.29.402719.

    Examples
    --------
    >>> null_claim("block", "permute")[0], null_claim("choice", "permute")[0], null_claim("block", "pseudosession")
    (False, True, (True, ''))
    """
    if kind == "circular" and target == "block":
        return True, "shifted blocks find codes in 12 % of drifting populations without one; pseudosession does not"
    if kind != "permute":
        return True, ""
    if target == "block":
        return False, "permuting slow labels finds codes in drifting populations without one; use pseudosession"
    return True, "valid only without slow drift; circular holds with it, too"


def _caveats(targets: list[str], settings: dict[str, Any]) -> dict[str, tuple[str, list[Any]]]:
    """Gather what is known against the null and the folds of every target, as variables over target."""
    kinds = [settings["null"] or TARGETS[target].null for target in targets]
    claims = [null_claim(target, kind) for target, kind in zip(targets, kinds, strict=True)]
    leaky = "shuffled folds leak slow drift into the score; compare with contiguous ones"
    return {
        "null_kind": ("target", kinds),
        "null_valid": ("target", [valid for valid, _ in claims]),
        "null_note": ("target", [note for _, note in claims]),
        "folds_note": (
            "target",
            [leaky if target == "block" and settings["folds"] == "shuffled" else "" for target in targets],
        ),
    }


def settings_order(targets: list[str]) -> list[str]:
    """Sort target names as they stand in DESIGN's table; others come after, by name.

    Examples
    --------
    >>> settings_order(["block", "choice"])
    ['choice', 'block']
    """
    return [name for name in TARGETS if name in targets] + sorted(set(targets) - set(TARGETS))


def _summarize_target(scores: xr.Dataset, delta: float, seed: int) -> xr.Dataset:
    """Summary of one target; its ks and sessions are those of the scores."""
    per_session = [
        _summarize_session(scores.isel(session=session), delta, seed) for session in range(scores.sizes["session"])
    ]
    summary = xr.concat(per_session, "session")
    return summary.assign({name: scores[name] for name in ("n_trials", "performance", "status", "reason")})


def _summarize_session(scores: xr.Dataset, delta: float, seed: int) -> xr.Dataset:
    observed = scores["score"].values  # (k, resample)
    null = scores["null_score"].values.astype(float)  # (k, resample, shuffle)
    ks = scores["k"].values
    finished = scores["finished"].values
    defined = finished & np.isfinite(observed)
    mean = _mean(observed, defined)
    low, high = inference.interval(observed, level=LEVEL, axis=1)
    null_means = _null_means(null, defined, scores["null_finished"].values)  # (k, shuffle)
    null_low, null_high = inference.interval(null_means, level=LEVEL, axis=1)
    p = inference.p_value(mean, null_means)
    # a resample whose score is computed but not defined is no part of k*; one that is not computed makes it wait
    undefined = (finished & ~defined).any(axis=0)
    key = (seed, "k_star", str(scores["session"].values))
    star = inference.k_star(ks, observed[:, ~undefined], delta, p=p[-1], key=key)
    sd = np.sqrt(_mean((observed - mean[:, None]) ** 2, defined))
    curves = {
        "mean": mean, "sd": sd, "low": low, "high": high, "null_mean": _mean(null_means, np.isfinite(null_means)),
        "null_low": null_low, "null_high": null_high, "p": p, "n_resamples": finished.sum(axis=1),
    }  # fmt: skip
    values = {
        "p_largest": p[-1], "p_curve": inference.p_curve(mean, null_means), "ceiling": star.ceiling,
        "k_star": star.k_star, "k_star_low": star.low, "k_star_high": star.high,
        "n_shuffles": np.isfinite(null_means[-1]).sum(),
    }  # fmt: skip
    return xr.Dataset(
        {name: ("k", value) for name, value in curves.items()} | {name: ((), value) for name, value in values.items()},
        coords={"k": ks},
    )


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that count; NaN where none does."""
    n = counted.sum(axis=-1)
    total = np.where(counted, values, 0.0).sum(axis=-1)
    return np.divide(total, n, out=np.full(np.shape(n), np.nan), where=n > 0)


def _null_means(null: np.ndarray, defined: np.ndarray, null_finished: np.ndarray) -> np.ndarray:
    """Mean null score of each shuffle over the resamples whose score counts, (k, shuffle).

    A shuffle that is not computed on all of them yet is NaN: observed and null means are over the same resamples.
    """
    counted = np.isfinite(null) & defined[:, :, None] & null_finished[:, None, :]
    return _mean(np.moveaxis(null, 1, 2), np.moveaxis(counted, 1, 2))
