"""The features of a run, made once and stored with it: balanced sets of trials, null labels, and who is skipped why.

Two passes, each of which can be killed and goes on where it stopped: the first stores every session's features, the
second, which knows the trials of all sessions, marks the decoded trials and draws the null labels.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from mesodask import features, schema, sessions
from mesodask.errors import DataError, NothingToDecodeError, StoreError
from mesodask.io import stores
from mesodask.io.runbase import RunBase, content_hash, open_features
from mesodask.io.runstore import SHUFFLE_CHUNK
from mesodask.numerics import nulls, seeds
from mesodask.numerics.folds import make_folds
from mesodask.numerics.labels import balanced_subset
from mesodask.settings import NdcSettings, RunSettings

logger = logging.getLogger(__name__)

NULL_BATCH = SHUFFLE_CHUNK  # null label vectors that are scored together, and so stored together


def whole_batches(n_shuffles: int) -> int:
    """Round a number of null label vectors up to whole batches.

    Examples
    --------
    >>> whole_batches(0), whole_batches(20), whole_batches(101)
    (0, 100, 200)
    """
    return -(-n_shuffles // NULL_BATCH) * NULL_BATCH


class Source(Protocol):
    """Where the features of a session come from: a session store, or a population of the user's."""

    @property
    def eid(self) -> str:
        """The session's eid, or the population's name."""
        ...

    @property
    def build_id(self) -> str:
        """Text that changes whenever the features may have changed."""
        ...

    def features(self, targets: Sequence[str], settings: RunSettings) -> list[xr.Dataset]:
        """Compute the features of some targets, with attributes ``unusable``, ``dropped`` and ``performance``."""
        ...

    def trials(self) -> dict[str, np.ndarray]:
        """Read the columns of the trials table; there may be none."""
        ...

    def blocks(self) -> np.ndarray | None:
        """Read the block of every trial; None if there are no blocks."""
        ...


@dataclass(frozen=True)
class SessionSource:
    """Features from a session store.

    Attributes
    ----------
    eid : str
        The session.
    path : pathlib.Path
        Its store.
    rows : numpy.ndarray, (n_neurons,) int
        Rows of the store.
    trial_mask : numpy.ndarray, (n_trials,) bool, optional
        Trials that may be used.
    """

    eid: str
    path: Path
    rows: np.ndarray
    trial_mask: np.ndarray | None = None

    @property
    def build_id(self) -> str:
        """Id of the build of the session store."""
        return stores.attributes(self.path)["build_id"]

    def features(self, targets: Sequence[str], settings: RunSettings) -> list[xr.Dataset]:
        """Features of all targets; for a session that cannot give them, no trials and the reason in ``unusable``."""
        session = sessions.open_session(self.path)
        defined = [settings.target(name) for name in targets]
        try:
            datasets = features.session_features(
                session, self.rows, defined, sampling=settings.sampling, trial_mask=self.trial_mask
            )
            performance = features.performance(session)
        except DataError as error:  # no trials, or trials without a needed column
            empty = {"X": np.empty((0, len(self.rows))), "y": np.empty(0), "trial_index": np.empty(0)}
            attrs: dict[str, Any] = {"unusable": str(error), "dropped": {}, "performance": None}
            return [schema.conform(empty, schema.FEATURES, attrs) for _ in targets]
        share = performance if np.isfinite(performance) else None
        return [dataset.assign_attrs(unusable="", performance=share) for dataset in datasets]

    def trials(self) -> dict[str, np.ndarray]:
        """Read the trials table."""
        table = sessions.trials(sessions.open_session(self.path))
        return {str(name): values.values for name, values in table.items()}

    def blocks(self) -> np.ndarray | None:
        """Read the probability of a stimulus on the left."""
        return self.trials().get("probabilityLeft")


def prepare(
    store: RunBase[Any], sources: Sequence[Source], settings: RunSettings, report: Callable[[str, int, int], None]
) -> None:
    """Make sure that the store holds the features and null labels of all sessions and targets of a run.

    Parameters
    ----------
    store : RunBase
        The run.
    sources : sequence of Source
        Where the features of each session come from, in the order of ``tracked.session``.
    settings : RunSettings
        Settings of the run.
    report : callable(stage, done, total)
        Called as the work goes on.

    Raises
    ------
    StoreError
        A session store was built anew since and gives other features than those the stored scores come from.
    """
    for done, source in enumerate(sources):
        report("features", done, len(sources))
        _store_features(store, source, settings)
    report("features", len(sources), len(sources))
    for target in settings.targets:
        _finish_target(store, target, sources, settings)


def skips(store: RunBase[Any], target: str, eids: Sequence[str]) -> dict[str, str]:
    """Tell why each session is skipped in a target; empty where it is not."""
    return {eid: store.feature_attributes(target, eid)["skipped"] for eid in eids}


def record_sessions(store: RunBase[Any], target: str, reasons: Mapping[str, str]) -> None:
    """Write the number of decoded trials, the performance and the reason of a skip of every session of a target.

    What stands there already is not written again: a finished run that is called again is only read.

    Parameters
    ----------
    store : RunBase
        The run.
    target : str
        Name of the target.
    reasons : mapping of str to str
        Why each session is skipped, by eid in the order of the sessions; empty where it is not.
    """
    stored = store.sessions(target)
    for session, (eid, reason) in enumerate(reasons.items()):
        attrs = store.feature_attributes(target, eid)
        before = str(stored["status"].values[session])
        unfinished = before if before in ("partial", "done") else "partial"
        values = {
            "n_trials": attrs["n_decoded"],
            "performance": np.nan if attrs["performance"] is None else attrs["performance"],
            "reason": reason,
            "status": "skipped" if reason else unfinished,
        }
        new = {n: v for n, v in values.items() if not _same(stored[n].values[session], v)}
        if new:
            store.write_session(target, session, **new)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)  # NaN is NaN


def check_anything_to_decode(reasons: Mapping[str, Mapping[str, str]]) -> None:
    """Raise :class:`NothingToDecodeError`, with all reasons by target and eid, if every session of all is skipped."""
    if all(reason for of_target in reasons.values() for reason in of_target.values()):
        listing = "\n".join(
            f"  {target}, session {eid}: {reason}"
            for target, of_target in reasons.items()
            for eid, reason in of_target.items()
        )
        raise NothingToDecodeError(f"no session of any target can be decoded:\n{listing}")


# first pass: the features of each session ----------------------------------------------------------------------


def _store_features(store: RunBase[Any], source: Source, settings: RunSettings) -> None:
    eid, build_id = source.eid, source.build_id
    pending = [t for t in settings.targets if store.feature_attributes(t, eid).get("build_id") != build_id]
    if not pending:
        return
    for target, dataset in zip(pending, source.features(pending, settings), strict=True):
        content = content_hash(dataset)
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
                "from, since its session store was built anew; use rerun=True to compute this run again"
            )


# second pass: decoded trials and null labels --------------------------------------------------------------------


def _finish_target(store: RunBase[Any], target: str, sources: Sequence[Source], settings: RunSettings) -> None:
    wanted = whole_batches(settings.n_null_labels)
    eids = [source.eid for source in sources]
    unfinished = [s for s in sources if store.feature_attributes(target, s.eid).get("n_null_asked", -1) < wanted]
    if not unfinished:
        return
    labels = {eid: store.features(target, eid)["y"].values for eid in eids}
    skipped = {eid: _skip_reason(store, target, eid, y, settings.min_per_class) for eid, y in labels.items()}
    # a session that is skipped below, because its null is refused, counts here all the same: whether it is refused
    # depends on how many shuffles are asked for, and the decoded trials of the others must not, or a run that grows
    # would change the scores it has. The price is that the others may be cut to the trials of a session that is skipped
    sizes = {eid: int(np.bincount(y, minlength=2).min()) for eid, y in labels.items() if not skipped[eid]}
    for source in unfinished:
        eid = source.eid
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
                null_labels = _draw_null(store, target, source, decoded, wanted, settings)
            except DataError as error:
                reason = str(error)
        _write_decoded(store, target, eid, decoded, null_labels, wanted, reason)


def _skip_reason(store: RunBase[Any], target: str, eid: str, y: np.ndarray, min_per_class: int) -> str:
    """Why a session has too few trials; empty if it has enough."""
    attrs = store.feature_attributes(target, eid)
    counts = np.bincount(y, minlength=2)
    if attrs["unusable"] or counts.min() >= min_per_class:
        return attrs["unusable"]
    dropped = "".join(f"; {n} dropped: {reason}" for reason, n in attrs["dropped"].items())
    return f"{counts[1]} trials of class 1 and {counts[0]} of class 0, at least {min_per_class} of each needed{dropped}"


def _draw_null(
    store: RunBase[Any], target: str, source: Source, decoded: np.ndarray, wanted: int, settings: RunSettings
) -> np.ndarray:
    """Null label vectors (n_null, n_trials), -1 where a trial is not decoded."""
    eid = source.eid
    stored = store.features(target, eid)
    y = stored["y"].values[decoded]
    kind = settings.null_of(target)
    n_null = min(wanted, nulls.max_shuffles(kind, len(y)))
    if n_null == 0:
        return np.empty((0, len(decoded)), dtype=np.int8)
    rows = stored["trial_index"].values[decoded]
    blocks = source.blocks() if kind == "blockwise" else None
    drawn = nulls.null_labels(
        kind,
        y,
        range(n_null),
        key=(settings.seed, "null", eid, target),
        blocks=None if blocks is None else blocks[rows],
        pseudo=pseudo_session(source.trials(), target, rows, y, eid, settings) if kind == "pseudosession" else None,
    )
    labels = np.full((n_null, len(decoded)), -1, dtype=np.int8)
    labels[:, decoded] = drawn.T
    return labels


def pseudo_session(
    table: Mapping[str, np.ndarray], target: str, rows: np.ndarray, y: np.ndarray, eid: str, settings: RunSettings
) -> nulls.PseudoSession:
    """Prepare the pseudo-sessions of a session and target: decoded rows of the trials table, and their labels y."""
    if not settings.null_folds:
        return nulls.PseudoSession.fit(table, target, rows)
    # every fold must hold both classes: those of the first resample stand for all, since a null label vector must not
    # change when a run grows by more resamples
    seed = seeds.integer_seed(settings.seed, "folds", eid, target, 0)
    folds = make_folds(y, n_splits=settings.null_folds, seed=seed)
    in_test = np.zeros((len(folds), len(y)), dtype=bool)
    for mask, (_, test) in zip(in_test, folds, strict=True):
        mask[test] = True
    return nulls.PseudoSession.fit(table, target, rows, in_test)


def fold_settings(settings: NdcSettings, eid: str, target: str, resample: int) -> dict[str, Any]:
    """Arguments of :func:`mesodask.numerics.folds.make_folds` for one resample; the same for all k and all nulls."""
    return {
        "n_splits": settings.cv_splits,
        "seed": seeds.integer_seed(settings.seed, "folds", eid, target, resample),
        "folds": settings.folds,
        "gap": settings.gap,
    }


def _write_decoded(
    store: RunBase[Any], target: str, eid: str, decoded: np.ndarray, null_labels: np.ndarray, wanted: int, reason: str
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
        logger.warning("%s, session %s is skipped: %s", target, eid, reason)


# what a worker reads --------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def load_decoded(
    store: str, target: str, eid: str, fingerprint: str, n_null: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the decoded trials: X (n_trials, n_neurons), y (n_trials,), null labels (n_null, n_trials).

    The fingerprint is part of the key under which a worker remembers them: features that were made anew are read anew.
    """
    del fingerprint
    features = open_features(Path(store), target, eid)
    decoded = features["decoded"].values
    labels = features["null_label"][:n_null].values[:, decoded] if n_null else np.empty((0, decoded.sum()), np.int8)
    return features["X"].values[decoded], features["y"].values[decoded], labels
