"""Results that the original scripts stored, read safely and checked: curves, and sessions tested across days.

``<prefix>_<target>.pkl`` holds neuron-dropping curves of some sessions and one target; ``trainFirst_*.pkl`` and
``trainFirst_*.json`` hold the same payload of a cross-session analysis. Pickles are read without running anything
(:mod:`mesodask.io.safe_pickle`); none is ever written.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mesodask.errors import DataError
from mesodask.io.pickled_names import describe
from mesodask.io.safe_pickle import StandIns, load_pickle
from mesodask.io.untrusted import Entries

TARGETS = ("choice", "feedback", "stimulus", "block")
CURVES_NAME = re.compile(rf"(?P<prefix>.+)_(?P<target>{'|'.join(TARGETS)})\.pkl")
CROSS_NAME = re.compile(r"trainFirst_.+\.(?:pkl|json)")
MODULES = ("meso_decode", "meso_decode2", "pilot_analyses.meso_decode", "__main__")  # where the result class was
STAND_INS: StandIns = {(module, "NDCResult"): dict for module in MODULES}
LARGEST_JSON = 100_000_000  # bytes; a payload has a few thousand
MOST_SESSIONS = 1000
METRICS = ("auc", "accuracy")
TRAINING = ("train", "train_session_cv")  # what a record of the training session calls itself


@dataclass(frozen=True, eq=False)
class StoredScores:
    """What is stored of the scores at one number of neurons.

    Attributes
    ----------
    mean, sd : float
        Mean and standard deviation over random subsets, or over null label vectors.
    n : int
        How many.
    values : numpy.ndarray, (n,) float64, or None
        They themselves; None where their statistics alone were kept.
    """

    mean: float
    sd: float
    n: int
    values: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class StoredCurve:
    """The neuron-dropping curve of one session.

    Attributes
    ----------
    eid, date, subject : str
        The session; date and subject are empty where they are not stored.
    scores, null : dict of int to StoredScores
        By number of neurons; `null` is empty if there is none.
    ceiling : float
        Mean score at the largest number of neurons, as stored.
    n_trials : int
        Trials decoded.
    performance : float
        Share of rewarded trials.
    about : dict
        Event, window and other settings, as stored.
    """

    eid: str
    date: str
    subject: str
    scores: dict[int, StoredScores]
    null: dict[int, StoredScores]
    ceiling: float
    n_trials: int
    performance: float
    about: dict[str, Any]


@dataclass(frozen=True, eq=False)
class StoredCurves:
    """Neuron-dropping curves of some sessions and one target.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    prefix, target, metric, saved_at : str
        As stored.
    n_shared : int
        Neurons that the sessions share.
    eids : tuple of str
        All sessions of the analysis, also those without a curve.
    curves : tuple of StoredCurve
        In the order of their dates.
    """

    path: Path
    prefix: str
    target: str
    metric: str
    saved_at: str
    n_shared: int
    eids: tuple[str, ...]
    curves: tuple[StoredCurve, ...]


@dataclass(frozen=True)
class StoredTest:
    """How a decoder did on one session.

    Attributes
    ----------
    eid, date : str
        The session.
    trained : bool
        Whether it is the one that was trained on; the accuracy is cross-validated then.
    n_trials : int
        Trials decoded.
    accuracy, null_mean : float
        Share of trials decoded right, and the mean share with permuted labels; NaN where it is not stored.
    null : tuple of float
        The single shares with null labels; empty where their mean alone was kept.
    p_value : float
        NaN where it is not stored.
    """

    eid: str
    date: str
    trained: bool
    n_trials: int
    accuracy: float
    null_mean: float
    null: tuple[float, ...]
    p_value: float


@dataclass(frozen=True)
class StoredCrossSession:
    """A decoder that was trained on one session and tested on others, of several targets.

    Attributes
    ----------
    subject : str
        The subject.
    eids, dates : tuple of str
        The sessions, the one that was trained on first.
    n_shared : int
        Neurons that they share.
    tests : dict of str to tuple of StoredTest
        By target.
    folds : dict of str to tuple of float
        Accuracy on every fold of the training session, by target; empty where it is not stored.
    picked_fold : dict of str to int
        Fold whose model was carried to the other sessions, by target; -1 where it is not known.
    about : dict
        Settings, as stored.
    """

    subject: str
    eids: tuple[str, ...]
    dates: tuple[str, ...]
    n_shared: int
    tests: dict[str, tuple[StoredTest, ...]]
    folds: dict[str, tuple[float, ...]]
    picked_fold: dict[str, int]
    about: dict[str, Any]


def read_curves(path: str | Path) -> StoredCurves:
    """Read neuron-dropping curves that the original scripts stored.

    Parameters
    ----------
    path : path-like
        ``<prefix>_<target>.pkl``.

    Returns
    -------
    StoredCurves
        Statistics of the scores, or the scores themselves where an early file has them.

    Raises
    ------
    DataError
        The file asks for more than arrays, plain containers and the result class (nothing in it is run), is damaged,
        or holds other things than described here.
    """
    path = Path(path)
    match = CURVES_NAME.fullmatch(path.name)
    if match is None:
        raise DataError(f"no name of stored curves: expected <prefix>_<target>.pkl, {' or '.join(TARGETS)}", path)
    payload = Entries(load_pickle(path, stand_ins=STAND_INS), path)
    target = payload.text("target")
    if target != match["target"]:
        raise DataError(f"target: {target!r}; expected {match['target']!r}, as in the file's name", path)
    group = payload.entries("group_meta")
    sessions = payload.entries("sessions")
    if not 0 < len(sessions) <= MOST_SESSIONS:
        raise DataError(f"sessions: {len(sessions)}; expected 1 to {MOST_SESSIONS}", path)
    found = [_curve(eid, sessions.entries(eid)) for eid in sessions]
    metrics = sorted({metric for _, metric in found})
    if len(metrics) > 1:
        raise DataError(f"metric: {' and '.join(metrics)} in one file; expected one", path)
    curves = sorted((curve for curve, _ in found), key=lambda curve: (curve.date, curve.eid))
    return StoredCurves(
        path=path,
        prefix=payload.text("prefix"),
        target=target,
        metric=metrics[0],
        saved_at=payload.text("saved_at", ""),
        n_shared=group.count("n_shared"),
        eids=tuple(group.eids("all_eids")) if "all_eids" in group else tuple(c.eid for c in curves),
        curves=tuple(curves),
    )


def _curve(eid: str, session: Entries) -> tuple[StoredCurve, str]:
    """Read the curve of one session, and its metric."""
    eid = session.eid(eid)
    result, meta = session.entries("result"), session.entries("meta")
    ks = result.sizes("ks")
    scores = _scores(result, "scores", ks)
    null = _scores(result, "shuffled", ks) if "shuffled" in result else {}
    curve = StoredCurve(
        eid=eid,
        date=meta.text("date", ""),
        subject=meta.text("subject", ""),
        scores=scores,
        null=null,
        ceiling=result.number("ceiling"),
        n_trials=meta.count("trials"),
        performance=meta.number("performance", np.nan),
        about=meta.plain("event", "win", "equalize_trials", "n_shared", "ks_max"),
    )
    metric = result.text("metric")
    if metric not in METRICS:
        raise result.wrong("metric", repr(metric), " or ".join(METRICS))
    return curve, metric


def _scores(result: Entries, key: str, ks: list[int]) -> dict[int, StoredScores]:
    by_k = result.entries(key, keys=(int, np.integer))
    if sorted(int(k) for k in by_k) != ks:
        raise result.wrong(key, f"{len(by_k)} numbers of neurons", f"those of ks: {ks[:9]}")
    return {int(k): _stored_scores(by_k, k) for k in by_k}


def _stored_scores(by_k: Entries, k: Any) -> StoredScores:
    if isinstance(by_k.get(k), Mapping):
        stored = by_k.entries(k)
        return StoredScores(stored.number("mean"), stored.number("sd"), stored.count("n"))
    values = by_k.vector(k)
    if not len(values):
        return StoredScores(np.nan, 0.0, 0)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return StoredScores(float(np.mean(values)), sd, len(values), values)


def read_cross_session(path: str | Path) -> StoredCrossSession:
    """Read a cross-session analysis that the original scripts stored.

    Parameters
    ----------
    path : path-like
        ``trainFirst_*.pkl`` or ``trainFirst_*.json``.

    Raises
    ------
    DataError
        As for :func:`read_curves`.
    """
    path = Path(path)
    if CROSS_NAME.fullmatch(path.name) is None:
        raise DataError("no name of a cross-session analysis: expected trainFirst_*.pkl or trainFirst_*.json", path)
    return check_cross_session(_load_json(path) if path.suffix == ".json" else load_pickle(path), path)


def _load_json(path: Path) -> Any:
    if not path.is_file():
        raise DataError("no such file", path)
    if path.stat().st_size > LARGEST_JSON:
        raise DataError(f"{path.stat().st_size} bytes; expected a payload of at most {LARGEST_JSON}", path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"cannot be read as JSON ({str(error)[:200]}); copy the file again", path) from error


def check_cross_session(payload: Any, where: Path | None = None) -> StoredCrossSession:
    """Check the payload of a cross-session analysis, from a file or from :mod:`mesodask.compat`.

    Parameters
    ----------
    payload : dict
        What the original scripts gave back and stored.
    where : pathlib.Path, optional
        The file it comes from, for messages.

    Raises
    ------
    DataError
        An entry is missing, or is not what it should be.
    """
    found = Entries(payload, where)
    eids = found.eids("eids")
    dates = found.texts("dates")
    if len(dates) != len(eids):
        raise found.wrong("dates", f"{len(dates)} dates", f"one for each of {len(eids)} sessions")
    results = found.entries("results")
    unknown = [t for t in results if t not in TARGETS]
    if unknown:
        raise found.wrong("results", f"a target {describe(unknown[0])}", ", ".join(TARGETS))
    tests = {target: tuple(_test(one, eids) for one in results.each(target)) for target in results}
    cross_validated = found.entries("first_session_cv") if "first_session_cv" in found else Entries({}, None)
    of_first = {t: cross_validated.entries(t) for t in cross_validated if t in TARGETS}
    return StoredCrossSession(
        subject=found.text("subject"),
        eids=tuple(eids),
        dates=tuple(dates),
        n_shared=found.count("n_shared"),
        tests=tests,
        folds={target: tuple(one.vector("fold_accs").tolist()) for target, one in of_first.items()},
        picked_fold={target: one.whole("picked_fold") for target, one in of_first.items()},
        about=found.plain(
            "train_eid", "filter_neurons", "protocol", "dimreduce", "dim_k", "use_elasticnet", "Cs", "l1_ratio_grid",
            "inner_cv_splits", "seed",
        ),
    )  # fmt: skip


def _test(record: Entries, eids: list[str]) -> StoredTest:
    eid = record.eid(record.text("eid"))
    if eid not in eids:
        raise record.wrong("eid", f"session {eid}", "one of those under eids")
    return StoredTest(
        eid=eid,
        date=record.text("date", ""),
        trained=record.text("which") in TRAINING,
        n_trials=record.count("n_trials"),
        accuracy=record.number("acc"),
        null_mean=record.number("acc_shuffle", np.nan),
        null=tuple(record.vector("acc_null").tolist()) if "acc_null" in record else (),
        p_value=record.number("p_value", np.nan),
    )
