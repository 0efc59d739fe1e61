"""Count false positives at 5 % on populations without a code: target x null x folds, with and without drift.

Run with ``python benchmarks/bench_calibration.py`` (``--quick`` for a first look). A session has the
behaviour of a task-model observer without history, and neurons that know nothing of it. Trials are balanced,
z-scored, split into folds, shuffled and tested by mesodask's own functions with a run's keys; a session is
one test, at all its neurons.

What a null claims decides what is asked of it:

- ``no drift``: 4 to 6 % false positives while trials are exchangeable, nothing else;
- ``drift``: that, and at most 8 % while activity drifts slowly;
- ``invalid``: nothing; the table shows what happens to those who use it.

A rate within its limits ``holds``. Outside, it ``fails`` if its whole 95 % interval lies outside as well,
else it is ``open``: more sessions would tell. Sessions take turns between two observers, judged together.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from scipy.stats import binomtest  # noqa: E402

from mesodask.errors import DataError  # noqa: E402
from mesodask.features import zscore  # noqa: E402
from mesodask.numerics.crossval import cross_val_scores  # noqa: E402
from mesodask.numerics.folds import FoldKind  # noqa: E402
from mesodask.numerics.inference import p_value  # noqa: E402
from mesodask.numerics.labels import balanced_subset, binary_labels  # noqa: E402
from mesodask.numerics.nulls import NullKind, max_shuffles, null_labels  # noqa: E402
from mesodask.numerics.seeds import generator  # noqa: E402
from mesodask.numerics.taskmodel import Observer, draw_choices, draw_trials  # noqa: E402
from mesodask.runs.features import fold_settings, pseudo_session  # noqa: E402
from mesodask.settings import NdcSettings  # noqa: E402
from mesodask.targets import TARGETS  # noqa: E402

N_TRIALS, N_NEURONS = 300, 40
N_SHUFFLES = 99  # p takes the value of the level itself: an exact test passes it in just 5 %
LEVEL = 0.05
MIN_TESTED = 30  # sessions, below which a rate says nothing
# contiguous folds are the same in every resample, and so is the set of all neurons
N_RESAMPLES: dict[FoldKind, int] = {"shuffled": 2, "contiguous": 1}
NULLS: tuple[NullKind, ...] = ("permute", "circular", "blockwise", "pseudosession")
OBSERVERS = {
    "default": Observer(),
    "weak prior": Observer(gain=5.0, bias=0.3, prior_weight=0.2, lapse_left=0.08, lapse_right=0.03),
}
WITHOUT_DRIFT, WITH_DRIFT = (0.04, 0.06), (0.0, 0.08)
SHOWN_INVALID = (0.27, 0.90)  # of permute on block under drift
FAST_SD, SLOW_SD = 0.35, 0.35  # of the loadings on each latent; private noise has 1
N_FAST, N_WALKS, N_COSINES = 2, 2, 2


class Case(NamedTuple):
    """One line of the table."""

    drift: bool
    target: str
    null: NullKind
    folds: FoldKind

    @property
    def claim(self) -> str:
        """What the null claims to be valid under.

        A permutation cuts all ties of labels in time, so it asks for exchangeable trials, and blocks are
        nothing but such ties. The other nulls keep them; but a session has too few blocks for shifts of them to
        tell a drift from a code.
        """
        if self.null == "circular" and self.target == "block":
            return "no drift"
        if self.null != "permute":
            return "drift"
        return "invalid" if self.target == "block" else "no drift"

    @property
    def limits(self) -> tuple[float, float] | None:
        """Bounds of the false positive rate; None where nothing is claimed or expected."""
        if self.drift:
            return {"drift": WITH_DRIFT, "invalid": SHOWN_INVALID}.get(self.claim)
        return None if self.claim == "invalid" else WITHOUT_DRIFT


Outcomes = dict[Case, dict[str, list[float]]]  # p-values by observer, NaN where the null was refused


def draw_behavior(observer: Observer, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw a session's trials as ALF columns, each of shape (N_TRIALS,)."""
    shown = draw_trials(N_TRIALS, rng)
    chose_right = draw_choices(observer, shown, rng)
    on_right = shown.side > 0
    return {
        "choice": np.where(chose_right, -1, 1),
        "feedbackType": np.where(chose_right == on_right, 1, -1),
        "contrastLeft": np.where(on_right, np.nan, shown.contrast),
        "contrastRight": np.where(on_right, shown.contrast, np.nan),
        "probabilityLeft": shown.probability_left,
    }


def draw_population(rng: np.random.Generator, *, drift: bool) -> np.ndarray:
    """Draw activity that knows nothing of the trials: private noise, shared fast and, if asked, slow latents.

    The slow latents are random walks, and cosines of 0.5 to 3 cycles a session, all of unit variance.

    Returns
    -------
    ndarray of float64, shape (N_TRIALS, N_NEURONS)
    """
    activity = rng.standard_normal((N_TRIALS, N_NEURONS))
    fast = rng.standard_normal((N_TRIALS, N_FAST))
    activity += fast @ rng.normal(0, FAST_SD, (N_FAST, N_NEURONS))
    if not drift:
        return activity
    walks = rng.standard_normal((N_TRIALS, N_WALKS)).cumsum(axis=0)
    cycles, phase = rng.uniform(0.5, 3.0, N_COSINES), rng.uniform(0, 2 * np.pi, N_COSINES)
    cosines = np.cos(2 * np.pi * np.linspace(0, 1, N_TRIALS)[:, None] * cycles + phase)
    slow = zscore(np.hstack([walks, cosines]))  # (N_TRIALS, N_WALKS + N_COSINES)
    return activity + slow @ rng.normal(0, SLOW_SD, (slow.shape[1], N_NEURONS))


def score_session(index: int, seed: int) -> tuple[str, dict[Case, float]]:
    """Simulate a session and test it for every target, null and kind of folds.

    Returns
    -------
    observer : str
        Whose behaviour it has.
    p : dict of Case to float
        NaN where the session cannot have the null.
    """
    name = list(OBSERVERS)[index % len(OBSERVERS)]
    eid = f"session {index}"
    trials = draw_behavior(OBSERVERS[name], generator(seed, "behavior", eid))
    p: dict[Case, float] = {}
    for target in TARGETS:
        labels = binary_labels(trials, target)
        kept = np.flatnonzero(np.isfinite(labels))
        decoded = balanced_subset(labels[kept], key=(seed, "balance", eid, target))
        rows = kept[decoded]
        y = labels[rows].astype(np.int8)
        populations = {}
        for drift in (False, True):
            activity = draw_population(generator(seed, "population", eid, target, int(drift)), drift=drift)
            populations[drift] = zscore(activity[kept])[decoded]
        for folds in N_RESAMPLES:
            settings = NdcSettings(seed=seed, folds=folds, n_label_shuffles=N_SHUFFLES)
            for null, drawn in draw_nulls(trials, target, rows, y, eid, settings):
                for drift, X in populations.items():
                    p[Case(drift, target, null, folds)] = population_p(X, y, drawn, target, eid, settings)
    return name, p


def draw_nulls(
    trials: Mapping[str, np.ndarray],
    target: str,
    rows: np.ndarray,
    y: np.ndarray,
    eid: str,
    settings: NdcSettings,
) -> Iterator[tuple[NullKind, np.ndarray | None]]:
    """Yield each null of a target with its labels (n_decoded, n_shuffles), None if it is refused."""
    for null in NULLS:
        if null == "blockwise" and target == "block":
            continue
        shuffles = range(min(settings.n_label_shuffles, max_shuffles(null, len(y))))
        pseudo = pseudo_session(trials, target, rows, y, eid, settings) if null == "pseudosession" else None
        blocks = trials["probabilityLeft"][rows]
        key = (settings.seed, "null", eid, target)
        try:
            yield null, null_labels(null, y, shuffles, key=key, blocks=blocks, pseudo=pseudo)
        except DataError:
            yield null, None


def population_p(
    X: np.ndarray, y: np.ndarray, drawn: np.ndarray | None, target: str, eid: str, settings: NdcSettings
) -> float:
    """Return p of the mean score over resamples; NaN without a null.

    X is (n_decoded, N_NEURONS), y (n_decoded,) and the null labels (n_decoded, n_shuffles).
    """
    if drawn is None:
        return float("nan")
    labels = np.column_stack([y, drawn])
    scores = [
        cross_val_scores(X, labels, **fold_settings(settings, eid, target, resample))
        for resample in range(N_RESAMPLES[settings.folds])
    ]
    mean = np.mean(scores, axis=0)
    return float(p_value(mean[0], mean[1:]))


def run(n_sessions: int, seed: int, n_jobs: int) -> Outcomes:
    """Test all sessions, in so many processes, and collect their p-values."""
    outcomes: Outcomes = defaultdict(lambda: {name: [] for name in OBSERVERS})
    with multiprocessing.get_context("spawn").Pool(n_jobs) as pool:
        results = pool.imap(partial(score_session, seed=seed), range(n_sessions), chunksize=5)
        for done, (observer, p) in enumerate(results, start=1):
            for case, value in p.items():
                outcomes[case][observer].append(value)
            if done % 100 == 0:
                print(f"{done} of {n_sessions} sessions", file=sys.stderr, flush=True)
    return outcomes


def false_positives(p: list[float]) -> tuple[int, int]:
    """Count the sessions that pass the level, and those that were tested."""
    tested = [value for value in p if not np.isnan(value)]
    return sum(value <= LEVEL for value in tested), len(tested)


def verdict(case: Case, rate: float, low: float, high: float) -> str:
    """Judge a rate and its interval by what the null claims."""
    if case.limits is None:
        return "no claim"
    least, most = case.limits
    if case.claim == "invalid":
        return "shown invalid" if least <= rate <= most else f"not in {least:.0%} to {most:.0%}"
    if least <= rate <= most:
        return "holds"
    return "fails" if high < least or low > most else "open"


def print_table(outcomes: Outcomes) -> None:
    """Print a line for each case: rate and 95 % interval, the rate of each observer, and the verdict."""
    header = f"{'drift':<6}{'target':<10}{'null':<15}{'folds':<12}{'claim':<10}{'tested':>7}{'positive':>10}"
    print(header + f"{'95 % interval':>18}" + "".join(f"{name:>12}" for name in OBSERVERS) + "  verdict")
    count: dict[str, int] = defaultdict(int)
    for case in sorted(outcomes, key=lambda case: case.drift):
        name = case.null + ("*" if case.null == TARGETS[case.target].null else "")
        line = f"{'slow' if case.drift else 'none':<6}{case.target:<10}{name:<15}{case.folds:<12}"
        line += f"{case.claim:<10}"
        by_observer = [false_positives(p) for p in outcomes[case].values()]
        n_positive, n = np.sum(by_observer, axis=0).tolist()
        n_refused = sum(map(len, outcomes[case].values())) - n
        if n < MIN_TESTED:
            print(f"{line}{n:>7}  too few to judge ({n_refused} refused)")
            continue
        low, high = binomtest(n_positive, n).proportion_ci()
        judged = verdict(case, n_positive / n, low, high)
        count[judged] += 1
        line += f"{n:>7}{n_positive / n:>10.1%}{f'{low:.1%} to {high:.1%}':>18}"
        line += "".join(f"{positive / max(tested, 1):>12.1%}" for positive, tested in by_observer)
        print(f"{line}  {judged}" + (f" ({n_refused} refused)" if n_refused else ""))
    print("refused: 100 pseudo-sessions without 40 % of each class and both in every fold (feedback: errors")
    print("are too few in all but the worst sessions); * the target's default null")
    print(", ".join(f"{n} {judged}" for judged, n in count.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Count false positives without a code.")
    parser.add_argument("--sessions", type=int, default=800, help="simulated, both observers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="40 sessions: it runs, but says little")
    options = parser.parse_args()
    n_sessions = 40 if options.quick else options.sessions
    start = time.perf_counter()
    outcomes = run(n_sessions, options.seed, options.jobs)
    print(f"{n_sessions} sessions of {N_TRIALS} trials and {N_NEURONS} neurons, {N_SHUFFLES} shuffles, "
          f"p <= {LEVEL:.0%}; {time.perf_counter() - start:.0f} s with {options.jobs} processes")  # fmt: skip
    print_table(outcomes)


if __name__ == "__main__":
    main()
