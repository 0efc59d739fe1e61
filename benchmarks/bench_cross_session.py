"""Time a cross-session analysis of 10 sessions x 1 000 neurons x 4 targets, and hold it against the scikit-learn loop.

Run with ``python benchmarks/bench_cross_session.py`` (some minutes) or with ``--small`` (for a try). Both do the same
on two processes of one thread each: on the first session three outer folds, in each a grid over three C by three inner
folds, with PCA of at most 512 components; the readout of the median fold decodes every later session; accuracy,
balanced accuracy and AUC there, and of 200 null label vectors each. It prints wall and processor time of both, and how
far accuracies, null accuracies and settings are from those of the loop: as it is timed, with the default tolerance of
its solver, and run to convergence.

The second part sends 200 permutations of the TRAINING labels through the whole pipeline, inner folds of their own
included. There the loop is timed on a few permutations of every target, and scaled; so the line says.

Populations are simulated, and their sessions differ in noise and, from day to day more, in code.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, StratifiedKFold  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from mesodask.numerics.transfer import (  # noqa: E402
    TransferGrid,
    TransferScores,
    fit_fold,
    median_fold,
    outer_folds,
    score_decisions,
)

# tolerances of scikit-learn's solver: its default, which is timed, and one at which it has converged
DEFAULT, TIGHT = 1e-4, 1e-8
N_TARGETS, N_TRIALS, N_WORKERS, SEED = 4, 400, 2, 0


@dataclass(frozen=True)
class Size:
    """How much is computed: permutations of training labels are timed in the loop on `n_loop` of them."""

    n_sessions: int = 10
    n_neurons: int = 1000
    n_shuffles: int = 200
    n_loop: int = 3
    grid: TransferGrid = TransferGrid(reduction="pca", dim_k=512)  # noqa: RUF009 (it is frozen)


SMALL = Size(n_sessions=3, n_neurons=200, n_shuffles=20, n_loop=1)


@dataclass(frozen=True)
class Outcome:
    """What one target gave: settings of each fold, scores and null scores of each session, seconds of a processor."""

    C: np.ndarray
    scores: np.ndarray
    null: np.ndarray
    seconds: float


class CappedPCA(TransformerMixin, BaseEstimator):
    """PCA with as many components as there can be: scikit-learn's own refuses more."""

    def __init__(self, dim_k: int = 2) -> None:
        self.dim_k = dim_k

    def fit(self, X: np.ndarray, _: Any = None) -> "CappedPCA":
        """Fit."""
        self.pca_ = PCA(min(self.dim_k, X.shape[1], len(X) - 1), random_state=0).fit(X)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Rotate."""
        return self.pca_.transform(X)


def sessions(target: int, size: Size) -> list[tuple[np.ndarray, np.ndarray]]:
    """Simulate the sessions of a target: activity, and labels in columns, those of the data first."""
    rng = np.random.default_rng((SEED, target))
    code, found = rng.normal(size=size.n_neurons), []
    for _ in range(size.n_sessions):
        y = rng.permutation(np.arange(N_TRIALS) % 2)
        X = rng.normal(size=(N_TRIALS, size.n_neurons)) + 0.3 * rng.normal(size=(N_TRIALS, 1))
        X += 0.08 * np.outer(y - 0.5, code)
        Y = np.column_stack([y] + [rng.permutation(y) for _ in range(size.n_shuffles)])
        found.append((X, Y))
        code = 0.97 * code + np.sqrt(1 - 0.97**2) * rng.normal(size=size.n_neurons)
    return found


# mesodask


def ours(target: int, size: Size) -> Outcome:
    """Null labels of the sessions abroad, against the fixed readout."""
    (X, Y), *abroad = sessions(target, size)
    began = time.process_time()
    folds = outer_folds(Y[:, 0], seed=SEED)
    fits = [fit_fold(X, Y[:, :1], *fold, size.grid, SEED) for fold in folds]
    at_home = [score_decisions(fit.decisions, Y[test, 0]) for fit, (_, test) in zip(fits, folds, strict=True)]
    picked = fits[median_fold([scores.accuracy[0] for scores in at_home])].readout
    scores = [np.mean(at_home, axis=0)]
    for activity, labels in abroad:
        scores.append(np.array(score_decisions(picked.decisions(activity)[0], labels)))
    seconds = time.process_time() - began
    return Outcome(
        np.array([fit.C[0] for fit in fits]),
        np.array([s[:, 0] for s in scores]),
        np.array(scores[1:])[:, :, 1:],
        seconds,
    )


def ours_trained(target: int, size: Size) -> Outcome:
    """Permuted training labels through the whole pipeline: each column picks its own median fold."""
    (X, Y), *abroad = sessions(target, size)
    began = time.process_time()
    folds = outer_folds(Y[:, 0], seed=SEED)
    fits = [fit_fold(X, Y, *fold, size.grid, SEED) for fold in folds]
    accuracies = np.array(
        [score_decisions(fit.decisions, Y[test]).accuracy for fit, (_, test) in zip(fits, folds, strict=True)]
    )
    picked = np.array([median_fold(column) for column in accuracies.T])
    columns = np.arange(len(picked))
    scores = []
    for activity, labels in abroad:
        decisions = np.array([fit.readout.decisions(activity) for fit in fits])[picked, columns]
        scores.append(np.array(score_decisions(decisions, labels[:, 0])))
    seconds = time.process_time() - began
    every = np.array(scores)
    return Outcome(np.array([fit.C for fit in fits]), every[:, :, 0], every[:, :, 1:], seconds)


# scikit-learn


def search(X: np.ndarray, y: np.ndarray, grid: TransferGrid, tol: float) -> GridSearchCV:
    model = LogisticRegression(tol=tol, max_iter=20_000)
    pipeline = Pipeline([("scale", StandardScaler()), ("reduce", CappedPCA(grid.dim_k)), ("fit", model)])
    folds = StratifiedKFold(grid.inner_cv, shuffle=True, random_state=SEED)
    return GridSearchCV(pipeline, {"fit__C": list(grid.C)}, cv=folds, scoring="accuracy").fit(X, y)


def plain_scores(y: np.ndarray, decisions: np.ndarray) -> TransferScores:
    called = decisions > 0
    return TransferScores(accuracy_score(y, called), balanced_accuracy_score(y, called), roc_auc_score(y, decisions))


def plain_fits(
    X: np.ndarray, y: np.ndarray, folds: Any, grid: TransferGrid, tol: float
) -> tuple[list[GridSearchCV], np.ndarray]:
    fits = [search(X[train], y[train], grid, tol) for train, _ in folds]
    decided = zip(fits, folds, strict=True)
    return fits, np.array([plain_scores(y[test], fit.decision_function(X[test])) for fit, (_, test) in decided])


def loop(target: int, size: Size, tol: float = DEFAULT) -> Outcome:
    (X, Y), *abroad = sessions(target, size)
    began = time.process_time()
    folds = list(StratifiedKFold(3, shuffle=True, random_state=SEED).split(X, Y[:, 0]))
    fits, at_home = plain_fits(X, Y[:, 0], folds, size.grid, tol)
    picked = fits[int(np.argsort(at_home[:, 0], kind="stable")[1])]
    scores, null = [at_home.mean(axis=0)], []
    for activity, labels in abroad:
        decisions = picked.decision_function(activity)
        scores.append(np.array(plain_scores(labels[:, 0], decisions)))
        null.append(np.array([plain_scores(y, decisions) for y in labels[:, 1:].T]).T)
    seconds = time.process_time() - began
    return Outcome(np.array([fit.best_params_["fit__C"] for fit in fits]), np.array(scores), np.array(null), seconds)


def loop_trained(target: int, size: Size, tol: float = DEFAULT) -> Outcome:
    """As :func:`ours_trained`, for the first few permutations."""
    (X, Y), *abroad = sessions(target, size)
    began = time.process_time()
    folds = list(StratifiedKFold(3, shuffle=True, random_state=SEED).split(X, Y[:, 0]))
    null, C = [], []
    for y in Y[:, 1 : 1 + size.n_loop].T:
        fits, at_home = plain_fits(X, y, folds, size.grid, tol)
        picked = fits[int(np.argsort(at_home[:, 0], kind="stable")[1])]
        null.append([plain_scores(labels[:, 0], picked.decision_function(activity)) for activity, labels in abroad])
        C.append([fit.best_params_["fit__C"] for fit in fits])
    seconds = time.process_time() - began
    return Outcome(np.array(C).T, np.empty(0), np.moveaxis(np.array(null), 0, 2), seconds)


# both


def measure(pool: ProcessPoolExecutor, function: Any, size: Size) -> tuple[list[Outcome], float, float]:
    """Let two processes share the targets; return what they gave, the wall time, and the seconds of a processor."""
    began = time.perf_counter()
    outcomes = list(pool.map(partial(function, size=size), range(N_TARGETS)))
    return outcomes, time.perf_counter() - began, sum(outcome.seconds for outcome in outcomes)


def warm_up(_: int) -> None:
    """Load what is compiled, which a long run pays once."""
    ours(0, SMALL)
    loop(0, SMALL)


def label_null(pool: ProcessPoolExecutor, size: Size) -> None:
    plain, plain_wall, plain_seconds = measure(pool, loop, size)
    fast, wall, seconds = measure(pool, ours, size)
    print(f"{size.n_shuffles} null label vectors of each later session, against the fixed readout:")
    print(f"  scikit-learn  {plain_wall:8.2f} s on 2 processes, {plain_seconds:8.2f} s of a processor")
    print(f"  mesodask      {wall:8.2f} s on 2 processes, {seconds:8.2f} s of a processor")
    print(f"  {plain_seconds / seconds:.0f} times less of a processor (wanted: 5; wall times include the simulation)")
    for name, other in (("as timed", plain), ("converged", measure(pool, partial(loop, tol=TIGHT), size)[0])):
        pairs = list(zip(fast, other, strict=True))
        same = sum(int((a.C == b.C).sum()) for a, b in pairs)
        trials = N_TRIALS * max(np.abs(a.scores[:, 0] - b.scores[:, 0]).max() for a, b in pairs)
        null = N_TRIALS * max(np.abs(a.null[:, 0] - b.null[:, 0]).max() for a, b in pairs)
        auc = max(np.abs(a.scores[:, 2] - b.scores[:, 2]).max() for a, b in pairs)
        print(
            f"  beside the loop {name}: {same} of {3 * N_TARGETS} folds choose the same C; at most {trials:.1f} trials,"
        )
        print(f"    {null:.1f} trials of the null and {auc:.1e} of an AUC apart")
    mean = np.mean([outcome.scores[:, 0] for outcome in fast], axis=0)
    print(f"  mean accuracy by session: {' '.join(f'{value:.2f}' for value in mean)}")


def training_null(pool: ProcessPoolExecutor, size: Size) -> None:
    plain, plain_wall, plain_seconds = measure(pool, loop_trained, size)
    fast, wall, seconds = measure(pool, ours_trained, size)
    scale = (1 + size.n_shuffles) / size.n_loop
    print(f"{size.n_shuffles} permutations of the training labels through the whole pipeline:")
    print(
        f"  scikit-learn  {scale * plain_wall:8.1f} s on 2 processes, {scale * plain_seconds:8.1f} s of a processor, "
        f"scaled from {size.n_loop} permutations of every target"
    )
    print(f"  mesodask      {wall:8.1f} s on 2 processes, {seconds:8.1f} s of a processor, measured whole")
    print(f"  {scale * plain_seconds / seconds:.0f} times less of a processor (wanted: 5)")
    for name, other in (("as timed", plain), ("converged", measure(pool, partial(loop_trained, tol=TIGHT), size)[0])):
        pairs = list(zip(fast, other, strict=True))
        off = N_TRIALS * max(np.abs(a.null[:, 0, : size.n_loop] - b.null[:, 0]).max() for a, b in pairs)
        same = sum(int((a.C[:, 1 : 1 + size.n_loop] == b.C).sum()) for a, b in pairs)
        every = 3 * N_TARGETS * size.n_loop
        print(f"  beside the loop {name}: {same} of {every} folds choose the same C; at most {off:.1f} trials apart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a quick try: its figures mean little")
    parser.add_argument("--part", choices=sorted(PARTS), help="this part alone")
    arguments = parser.parse_args()
    size = SMALL if arguments.small else Size()
    print(
        f"{size.n_sessions} sessions x {size.n_neurons} neurons x {N_TARGETS} targets, {N_TRIALS} trials each; "
        f"PCA of {size.grid.dim_k} components at most, C of {', '.join(f'{C:g}' for C in size.grid.C)}"
    )
    with ProcessPoolExecutor(N_WORKERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(warm_up, range(N_WORKERS)))
        for name, part in PARTS.items():
            if arguments.part in (None, name):
                part(pool, size)


PARTS = {"labels": label_null, "training": training_null}

if __name__ == "__main__":
    main()
