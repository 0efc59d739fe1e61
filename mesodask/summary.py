"""Run stores -> means, intervals, p-values and k*, from the store alone, one session after the other."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from mesodask.errors import StoreError
from mesodask.io.crossstore import checked_run
from mesodask.io.runreader import ScoreReader, is_computed, is_defined
from mesodask.io.runstore import RunStore
from mesodask.numerics import inference
from mesodask.targets import TARGETS

LEVEL = 0.95
METRIC_NAMES = {"auc": "AUC", "accuracy": "balanced accuracy"}
# the fewest with which 1 / (1 + shuffles), the smallest p-value there can be, allows a k*
MIN_SHUFFLES = round(1 / inference.MAX_P) - 1


@dataclass(frozen=True)
class Column:
    """What a variable of a summary is.

    Attributes
    ----------
    meaning : str
        In one line; the variable's attribute ``long_name``.
    unit : str
        The variable's attribute ``units``: "score" is that of the run's metric, "1" a pure number, "" a text.
    """

    meaning: str
    unit: str = "1"


CURVES = {
    "mean": Column("mean score over finished resamples", "score"),
    "sd": Column("standard deviation of the score over resamples", "score"),
    "low": Column(
        "lower end of the 95 % interval over resamples (spread of neurons and folds, not of trials)", "score"
    ),
    "high": Column(
        "upper end of the 95 % interval over resamples (spread of neurons and folds, not of trials)", "score"
    ),
    "n_resamples": Column("finished resamples", "resamples"),
    "null_mean": Column("mean over shuffles of the null's mean score", "score"),
    "null_low": Column("lower end of the 95 % interval of the null's mean scores", "score"),
    "null_high": Column("upper end of the 95 % interval of the null's mean scores", "score"),
    "n_null_resamples": Column("resamples that p and the null's means are over", "resamples"),
    "p": Column("p-value of the mean score at this k"),
}
SESSIONS = {
    "ceiling": Column("mean score at the largest number of neurons", "score"),
    "k_star": Column("smallest number of neurons whose mean score is within delta of the ceiling", "neurons"),
    "k_star_low": Column("lower end of the 95 % bootstrap interval of k*", "neurons"),
    "k_star_high": Column("upper end of the 95 % bootstrap interval of k*", "neurons"),
    "p_largest": Column("p-value at the largest number of neurons"),
    "p_curve": Column("p-value of the whole curve: the largest standardised excess over the null"),
    "q": Column("p_largest after Benjamini-Hochberg over the sessions and targets whose null is valid"),
    "n_shuffles": Column("shuffles that p_largest counts", "shuffles"),
    "n_shuffles_possible": Column("shuffles that the null can give, of those asked for", "shuffles"),
    "n_trials": Column("trials decoded", "trials"),
    "performance": Column("share of rewarded trials among those that can be"),
    "status": Column("done, partial or skipped", ""),
    "reason": Column("why it was skipped", ""),
}
TARGET_NOTES = {
    "n_shuffles_asked": Column("shuffles asked for", "shuffles"),
    "null_kind": Column("kind of null labels", ""),
    "null_valid": Column("whether the p-values can be used at all"),
    "null_note": Column("what the null asks of the data; empty where it asks nothing", ""),
    "folds_note": Column("what the folds do to the scores; empty where nothing is known against them", ""),
}
COUNTS = ("n_resamples", "n_null_resamples", "n_shuffles", "n_shuffles_possible", "n_trials")


class CurvePoint(NamedTuple):
    """One point of a curve: variables of :data:`CURVES`, and how many resamples have a score that is defined."""

    n: int
    mean: float
    low: float
    high: float
    null_low: float
    null_high: float


def summarize(run: RunStore | str | Path, *, delta: float | None = None) -> xr.Dataset:
    """Summarise a run: curves with intervals, null bands, p-values, ceiling and k*.

    Mean, sd, interval, ceiling and k* are over all finished resamples whose score is defined. What compares with the
    null (``p, p_curve, null_mean, null_low, null_high``) is, at each k of a session and target, over *paired*
    resamples, the same for the observed mean and for that of every shuffle that counts ::

        p = (1 + #{null mean >= observed mean}) / (1 + shuffles that count)

    Paired are the finished resamples that have any null score: the first ones, where ``shuffle_resamples`` limits the
    null to them. The shuffles that are computed on all of these count. While a run is under way or grows, resamples
    differ in the shuffles they have; then, if that compares more null scores, paired are instead the resamples that
    have every shuffle that any has, and all of these count. Which it is depends on what the store holds, and on nothing
    else: not on the order in which it came. A score that is computed but not defined (no fold with both classes) takes
    its resample out of the observed and of all null means; a null score that is not defined is left out of its
    shuffle's mean alone.

    The store is read one session after the other, and one k after the other, so that memory holds the null scores of
    one curve's point. A driver may be writing meanwhile.

    Parameters
    ----------
    run : RunStore or path-like
        What :func:`mesodask.neuron_dropping_curves` gave, or its path.
    delta : float, optional
        k* is the smallest k whose mean is within delta of the ceiling; the run's own setting by default.

    Returns
    -------
    xarray.Dataset
        Dims target, session, k: the variables of :data:`mesodask.summary.CURVES`; dims target, session: those of
        :data:`mesodask.summary.SESSIONS`; dim target: those of :data:`mesodask.summary.TARGET_NOTES` (see
        :func:`mesodask.summary.null_claim`). Each has its meaning as the attribute ``long_name`` and its unit as
        ``units``. What is not computed, or is skipped, is NaN, and 0 where it is a count. Coordinates of the sessions:
        ``date``, and ``number``, their place within the day, where it is known. Attributes: ``subject,
        n_shared, n_resamples, metric, delta, run``, the run's ``settings``, and ``decoder``, the name of a user's
        decoder with its ``decoder_identity``, both empty for the package's own.

    Notes
    -----
    q corrects ``p_largest`` over those sessions and targets whose null is valid for the target. The p-value of a null
    that is not (``null_valid`` False) tests nothing: it is no member of the family, and its q is NaN.

    Raises
    ------
    StoreError
        There is no such run, it has no curves, or a chunk of it is damaged.
    """
    store = checked_run(run, RunStore)
    settings = store.attrs["settings"]
    tracked = store.tracked()
    delta = settings["delta"] if delta is None else delta
    names = settings_order(store.targets())
    if not names:
        raise StoreError(f"{store.path}: nothing has been computed yet in this run")
    readers = [ScoreReader(store.path, name) for name in names]
    ks = np.unique(np.concatenate([reader.ks for reader in readers]))
    parts = [_summarize_target(store, reader, ks, delta, settings["seed"]) for reader in readers]
    variables = {name: (_dims(name), np.stack([part[name] for part in parts])) for name in parts[0]}
    summary = xr.Dataset(variables, {"target": names, "session": tracked["session"].values, "k": ks})
    summary = summary.assign(_caveats(names, settings))
    summary["n_shuffles_asked"] = ("target", [reader.n_shuffles for reader in readers])
    valid_p = summary["p_largest"].where(summary["null_valid"])
    summary["q"] = (("target", "session"), inference.benjamini_hochberg(valid_p.values))
    for name, column in (CURVES | SESSIONS | TARGET_NOTES).items():
        unit = settings["metric"] if column.unit == "score" else column.unit
        summary[name].attrs = {"long_name": column.meaning} | ({"units": unit} if unit else {})
    identity = store.attrs.get("decoder") or ""
    of_sessions = {name: ("session", tracked[name].values) for name in ("date", "number") if name in tracked}
    return summary.assign_coords(of_sessions).assign_attrs(
        subject=store.attrs["subject"],
        n_shared=tracked.sizes["neuron"],
        n_resamples=int(summary["n_resamples"].max()),
        metric=settings["metric"],
        delta=delta,
        decoder=decoder_name(identity),
        decoder_identity=identity,
        settings=settings,
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
        where the null is not valid (:func:`mesodask.summary.null_claim`), neither are p and k*, and q is NaN.
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


def decoder_name(identity: str) -> str:
    """Name a user's decoder as a person would, given its identity (the run's attribute ``decoder``).

    Parameters
    ----------
    identity : str
        JSON of :func:`mesodask.numerics.decoder_identity.decoder_identity`; empty for the package's own decoder.

    Returns
    -------
    str
        Its class; for a pipeline those of its steps.

    Examples
    --------
    >>> decoder_name('{"class": "sklearn.svm._classes.LinearSVC", "params": {"C": 0.1}}')
    'LinearSVC'
    >>> decoder_name("")
    ''
    """
    return _class_name(json.loads(identity)) if identity else ""


def _class_name(described: Any) -> str:
    """Name a described estimator, and the steps of a pipeline, which are pairs of a name and an estimator or a text."""
    if not isinstance(described, dict) or "class" not in described:
        return str(described)
    steps = described.get("params", {}).get("steps")
    if isinstance(steps, list):
        return " + ".join(_class_name(step[1]) for step in steps if step[1] not in (None, "passthrough"))
    return described["class"].rpartition(".")[2]


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


def _dims(name: str) -> tuple[str, ...]:
    return ("target", "session", "k") if name in CURVES else ("target", "session")


def _summarize_target(
    store: RunStore, reader: ScoreReader, ks: np.ndarray, delta: float, seed: int
) -> dict[str, np.ndarray]:
    """Summarise one target: curves (session, k) at the ks of all targets, and values (session,)."""
    n_sessions = len(reader.sessions)
    columns = np.searchsorted(ks, reader.ks)
    target = reader.target
    summary: dict[str, np.ndarray] = {
        name: np.zeros((n_sessions, len(ks)), int) if name in COUNTS else np.full((n_sessions, len(ks)), np.nan)
        for name in CURVES
    }
    values = []
    for session, eid in enumerate(reader.sessions):
        curves, one = _summarize_session(reader, session, delta, (seed, "k_star", eid))
        for name in CURVES:
            summary[name][session, columns] = curves[name]
        n_null = store.feature_attributes(target, eid).get("n_null", reader.n_shuffles)
        values.append(one | {"n_shuffles_possible": min(n_null, reader.n_shuffles)})
    per_session = {name: np.array([one[name] for one in values]) for name in values[0]}
    return summary | per_session | reader.session_values()


def _summarize_session(
    reader: ScoreReader, session: int, delta: float, key: tuple[int | str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Summarise one session of a target: curves (k,) at the target's ks, and values."""
    stored = reader.score(session)  # (k, resample)
    finished, defined = is_computed(stored), is_defined(stored)
    observed = np.where(defined, stored, np.nan)
    pairs = [_paired_with_null(stored[k], reader.null_score(session, k)) for k in range(len(reader.ks))]
    paired_mean = np.array([pair.observed_mean for pair in pairs])
    null_means = np.array([pair.null_means for pair in pairs]).reshape(len(reader.ks), reader.n_shuffles)
    mean = _mean(observed, defined)
    low, high = inference.interval(observed, level=LEVEL, axis=1)
    null_low, null_high = inference.interval(null_means, level=LEVEL, axis=1)
    p = inference.p_value(paired_mean, null_means)
    p_largest = float(p[-1]) if len(p) else float("nan")
    # a resample whose score is computed but not defined is no part of k*; one that is not computed makes it wait
    undefined = (finished & ~defined).any(axis=0)
    star = inference.k_star(reader.ks, observed[:, ~undefined], delta, level=LEVEL, p=p_largest, key=key)
    sd = np.sqrt(_mean((observed - mean[:, None]) ** 2, defined))
    curves = {
        "mean": mean, "sd": sd, "low": low, "high": high, "n_resamples": finished.sum(axis=1),
        "null_mean": _mean(null_means, np.isfinite(null_means)), "null_low": null_low, "null_high": null_high,
        "n_null_resamples": np.array([pair.n_resamples for pair in pairs], dtype=int), "p": p,
    }  # fmt: skip
    values = {
        "p_largest": p_largest, "p_curve": inference.p_curve(paired_mean, null_means), "ceiling": star.ceiling,
        "k_star": star.k_star, "k_star_low": star.low, "k_star_high": star.high,
        "n_shuffles": int(np.isfinite(null_means[-1:]).sum()),
    }  # fmt: skip
    return curves, values


def curve_point(reader: ScoreReader, session: int, k: int) -> CurvePoint:
    """Summarise a session at one k, both given by index, as :func:`summarize` does; a damaged chunk raises."""
    stored = reader.score(session, k)
    defined = stored[is_defined(stored)]
    null_means = _paired_with_null(stored, reader.null_score(session, k)).null_means
    low, high = inference.interval(defined, level=LEVEL)
    null_low, null_high = inference.interval(null_means, level=LEVEL)
    mean = defined.mean() if len(defined) else np.nan
    return CurvePoint(len(defined), *map(float, (mean, low, high, null_low, null_high)))


class _Paired(NamedTuple):
    """Observed and null means of one k, over the same resamples."""

    observed_mean: float  # NaN where no resample is paired
    null_means: np.ndarray  # (n_shuffles,); NaN where a shuffle does not count
    n_resamples: int


def _paired_with_null(score: np.ndarray, null: np.ndarray) -> _Paired:
    """Average a score (resample,) and its null (resample, shuffle), as on disk, over the same resamples."""
    computed = is_computed(null) & is_computed(score)[:, None]
    with_any, shuffles = computed.any(axis=1), computed.any(axis=0)
    with_all, on_all = computed[:, shuffles].all(axis=1), computed[with_any].all(axis=0)
    if with_any.sum() * on_all.sum() >= with_all.sum() * shuffles.sum():
        paired, counts = with_any, on_all
    else:
        paired, counts = with_all, shuffles
    paired = paired & is_defined(score)
    null = null[paired]
    null_means = _mean(null.T, (is_defined(null) & counts).T)
    return _Paired(float(_mean(score, paired)), null_means, int(paired.sum()))


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean over the last axis, in double precision, of the values that count; NaN where none does."""
    n = counted.sum(axis=-1)
    total = np.where(counted, values, 0).sum(axis=-1, dtype=float)
    return np.divide(total, n, out=np.full(np.shape(n), np.nan), where=n > 0)
