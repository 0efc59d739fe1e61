"""The features of a run, made once and stored with it: balanced sets of trials, null labels, and who is skipped why.

Two passes, each of which can be killed and goes on where it stopped: the first stores every session's features, the
second, which knows the trials of all sessions, marks the decoded trials and draws the null labels.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mesodask import features, schema, sessions
from mesodask.errors import DataError, NothingToDecodeError, StoreError
from mesodask.io import stores
from mesodask.io.runstore import RunStore
from mesodask.numerics import nulls, seeds
from mesodask.numerics.folds import make_folds
from mesodask.numerics.labels import balanced_subset
from mesodask.settings import TARGETS, NdcSettings

logger = logging.getLogger(__name__)

NULL_BATCH = 100  # null label vectors that are scored together


def whole_batches(n_shuffles: int) -> int:
    """Round a number of null label vectors up to whole batches.

    Examples
    --------
    >>> whole_batches(0), whole_batches(20), whole_batches(101)
    (0, 100, 200)
    """
    return -(-n_shuffles // NULL_BATCH) * NULL_BATCH


def prepare(
    store: RunStore,
    tracked: xr.Dataset,
    session_paths: Sequence[Path],
    settings: NdcSettings,
    report: Callable[[str, int, int], None],
) -> None:
    """Make sure that the store holds the features and null labels of all sessions and targets of a run.

    Parameters
    ----------
    store : RunStore
        The run.
    tracked : xarray.Dataset
        Its neurons.
    session_paths : sequence of pathlib.Path
        Session stores, in the order of ``tracked.session``.
    settings : NdcSettings
        Settings of the run.
    report : callable(stage, done, total)
        Called as the work goes on.

    Raises
    ------
    StoreError
        A session store was built anew since and gives other features than those the stored scores come from.
    """
    eids = tracked["session"].values.tolist()
    for done, (eid, path, rows) in enumerate(zip(eids, session_paths, tracked["roi"].values, strict=True)):
        report("features", done, len(eids))
        _store_features(store, eid, path, rows, settings)
    report("features", len(eids), len(eids))
    paths = dict(zip(eids, session_paths, strict=True))
    for target in settings.targets:
        _finish_target(store, target, paths, settings)


def is_decoded(store: RunStore, target: str, eid: str) -> bool:
    """Tell whether a session takes part in a target, that is, is not skipped."""
    return store.feature_attributes(target, eid).get("skipped") == ""


def record_sessions(store: RunStore, target: str, eids: Sequence[str]) -> None:
    """Write the number of decoded trials, the performance and the reason of a skip of every session of a target."""
    for session, eid in enumerate(eids):
        attrs = store.feature_attributes(target, eid)
        store.write_session(
            target,
            session,
            n_trials=attrs["n_decoded"],
            performance=np.nan if attrs["performance"] is None else attrs["performance"],
            status="skipped" if attrs["skipped"] else "partial",
            reason=attrs["skipped"],
        )


def check_anything_to_decode(store: RunStore, targets: Sequence[str]) -> None:
    """Raise :class:`NothingToDecodeError`, with all reasons, if every session of every target is skipped."""
    reasons = {}
    for target in targets:
        for eid in store.tracked()["session"].values.tolist():
            if is_decoded(store, target, eid):
                return
            reasons[f"{target}, session {eid}"] = store.feature_attributes(target, eid)["skipped"]
    listing = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
    raise NothingToDecodeError(f"no session of any target can be decoded:\n{listing}")


# first pass: the features of each session ----------------------------------------------------------------------


def _store_features(store: RunStore, eid: str, path: Path, rows: np.ndarray, settings: NdcSettings) -> None:
    build_id = stores.attributes(path)["build_id"]
    pending = [t for t in settings.targets if store.feature_attributes(t, eid).get("build_id") != build_id]
    if not pending:
        return
    for target, dataset in zip(pending, _session_features(path, rows, pending, settings), strict=True):
        content = _content_hash(dataset)
        known = store.feature_attributes(target, eid).get("content")
        if known is None:
            dataset.attrs |= {"build_id": build_id, "content": content}
            store.write_features(target, eid, dataset)
        elif known == content:
            # the same arrays again: those that are there may be damaged
            store.update_features(target, eid, {"build_id": build_id}, dataset)
        else:
            raise StoreError(
                f"{store.path}: the features of {target} in session {eid} are not those its scores were computed "
                f"from, since {path} was built anew; use rerun=True to compute this run again"
            )


def _session_features(path: Path, rows: np.ndarray, targets: Sequence[str], settings: NdcSettings) -> list[xr.Dataset]:
    """Features of all targets; for a session that cannot give them, no trials and the reason in ``unusable``."""
    session = sessions.open_session(path)
    try:
        datasets = features.session_features(session, rows, targets, sampling=settings.sampling)
        performance = features.performance(session)
    except DataError as error:  # no trials, or trials without a needed column
        empty = {"X": np.empty((0, len(rows))), "y": np.empty(0), "trial_index": np.empty(0)}
        return [
            schema.conform(empty, schema.FEATURES, {"unusable": str(error), "dropped": {}, "performance": None})
            for _ in targets
        ]
    share = performance if np.isfinite(performance) else None
    return [dataset.assign_attrs(unusable="", performance=share) for dataset in datasets]


def _content_hash(dataset: xr.Dataset) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("X", "y", "trial_index"):
        digest.update(np.ascontiguousarray(dataset[name].values).tobytes())
    return digest.hexdigest()


# second pass: decoded trials and null labels --------------------------------------------------------------------


def _finish_target(store: RunStore, target: str, paths: dict[str, Path], settings: NdcSettings) -> None:
    wanted = whole_batches(settings.n_label_shuffles)
    unfinished = [eid for eid in paths if store.feature_attributes(target, eid).get("n_null_asked", -1) < wanted]
    if not unfinished:
        return
    labels = {eid: store.features(target, eid)["y"].values for eid in paths}
    skipped = {eid: _skip_reason(store, target, eid, y, settings.min_per_class) for eid, y in labels.items()}
    sizes = {eid: int(np.bincount(y, minlength=2).min()) for eid, y in labels.items() if not skipped[eid]}
    for eid in unfinished:
        # until the end of this pass nothing of it counts, so that a kill in its middle is no harm
        store.update_features(target, eid, {"n_null_asked": -1})
        n_per_class = min(sizes.values()) if settings.equalize_trials and sizes else sizes.get(eid, 0)
        decoded = np.zeros(len(labels[eid]), dtype=bool)
        null_labels = np.empty((0, len(decoded)), dtype=np.int8)
        reason = skipped[eid]
        if not reason:
            key = (settings.seed, "balance", eid, target)
            decoded[balanced_subset(labels[eid], n_per_class, key=key)] = True
            try:
                null_labels = _draw_null(store, target, eid, paths[eid], decoded, wanted, settings)
            except DataError as error:
                reason = str(error)
        _write_decoded(store, target, eid, decoded, null_labels, wanted, reason)


def _skip_reason(store: RunStore, target: str, eid: str, y: np.ndarray, min_per_class: int) -> str:
    """Why a session has too few trials; empty if it has enough."""
    attrs = store.feature_attributes(target, eid)
    counts = np.bincount(y, minlength=2)
    if attrs["unusable"] or counts.min() >= min_per_class:
        return attrs["unusable"]
    dropped = "".join(f"; {n} dropped: {reason}" for reason, n in attrs["dropped"].items())
    return f"{counts[1]} trials of class 1 and {counts[0]} of class 0, at least {min_per_class} of each needed{dropped}"


def _draw_null(
    store: RunStore, target: str, eid: str, path: Path, decoded: np.ndarray, wanted: int, settings: NdcSettings
) -> np.ndarray:
    """Null label vectors (n_null, n_trials), -1 where a trial is not decoded."""
    stored = store.features(target, eid)
    y = stored["y"].values[decoded]
    kind = settings.null_of(target)
    n_null = min(wanted, nulls.max_shuffles(kind, len(y)))
    if n_null == 0:
        return np.empty((0, len(decoded)), dtype=np.int8)
    rows = stored["trial_index"].values[decoded]
    table = {str(name): values.values for name, values in sessions.trials(sessions.open_session(path)).items()}
    drawn = nulls.null_labels(
        kind,
        y,
        range(n_null),
        key=(settings.seed, "null", eid, target),
        blocks=table["probabilityLeft"][rows],
        pseudo=pseudo_session(table, target, rows, y, eid, settings) if kind == "pseudosession" else None,
    )
    labels = np.full((n_null, len(decoded)), -1, dtype=np.int8)
    labels[:, decoded] = drawn.T
    return labels


def pseudo_session(
    table: Mapping[str, np.ndarray], target: str, rows: np.ndarray, y: np.ndarray, eid: str, settings: NdcSettings
) -> nulls.PseudoSession:
    """Prepare the pseudo-sessions of a session and target: decoded rows of the trials table, and their labels y."""
    if settings.folds == "contiguous":
        # blocks of trials in time often hold one class, in the data too: asking more of the null than of the data
        # makes it another population, with 15 to 32 % false positives (benchmarks/bench_calibration.py)
        return nulls.PseudoSession.fit(table, target, rows)
    # every fold must hold both classes: those of the first resample stand for all, since a null label vector must not
    # change when a run grows by more resamples
    folds = make_folds(y, **fold_settings(settings, eid, target, resample=0))
    in_test = np.zeros((len(folds), len(y)), dtype=bool)
    for mask, (_, test) in zip(in_test, folds, strict=True):
        mask[test] = True
    return nulls.PseudoSession.fit(table, target, rows, in_test)


def fold_settings(settings: NdcSettings, eid: str, target: str, resample: int) -> dict[str, Any]:
    """Arguments of :func:`mesodask.numerics.crossval.make_folds` for one resample; the same for all k and all nulls."""
    return {
        "n_splits": settings.cv_splits,
        "seed": seeds.integer_seed(settings.seed, "folds", eid, target, resample),
        "folds": settings.folds,
        "gap": settings.gap,
    }


def _write_decoded(
    store: RunStore, target: str, eid: str, decoded: np.ndarray, null_labels: np.ndarray, wanted: int, reason: str
) -> None:
    content = store.feature_attributes(target, eid)["content"]
    fingerprint = hashlib.blake2b(content.encode() + decoded.tobytes(), digest_size=16).hexdigest()
    arrays = schema.conform({"decoded": decoded, "null_label": null_labels},
                            {n: schema.FEATURES[n] for n in ("decoded", "null_label")})  # fmt: skip
    attrs: dict[str, Any] = {
        "skipped": reason,
        "n_decoded": int(decoded.sum()),
        "n_null": len(null_labels),
        "n_null_asked": wanted,
        "fingerprint": fingerprint,
    }
    store.update_features(target, eid, attrs, arrays)
    if reason:
        logger.warning("%s, session %s is skipped: %s", TARGETS[target].name, eid, reason)
