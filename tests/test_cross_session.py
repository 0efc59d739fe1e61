"""Train on one session, test on the others: against the truth, against scikit-learn, and however it is computed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pandas as pd
import psutil
import pytest
import survival_driver
import xarray as xr
from distributed import Client, LocalCluster
from PIL import Image
from runs import ELASTIC_NET
from scipy.stats import kstest
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from mesodask import cross_session, cross_session_table, run_status, simulate_subject, summarize
from mesodask.cli.commands import ALL
from mesodask.cli.main import main
from mesodask.compute import runner
from mesodask.cross import engine
from mesodask.cross.scores import FitBlock, fit_block
from mesodask.errors import NothingToDecodeError, SettingsError, StoreError, TasksFailedError, TrackingError
from mesodask.io.crossstore import CrossSessionStore
from mesodask.numerics import seeds
from mesodask.settings import CrossSessionSettings
from mesodask.simulate import SimulatedSubject
from mesodask.simulate.neurons import weights_of_day

SMALL = {"min_sessions": 3, "min_k_shared": 50, "dim_k": 32, "n_shuffle": 19}
TARGETS = ("choice", "feedback", "stimulus", "block")
NAMES = ("accuracy", "balanced_accuracy", "auc", "null_accuracy", "p_value", "fold_accuracy", "weights", "C")
Cross = Callable[..., CrossSessionStore]


@pytest.fixture
def cross(subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path: Path) -> Cross:
    """Runs the shared subject, of three days, in a cache of this test, on stores that are embedded already."""
    link_stores(sessions, tmp_path)

    def compute(eids: object = None, **options: object) -> CrossSessionStore:
        settings = SMALL | {"client": client, "targets": "choice", "cache_dir": tmp_path} | options
        settings = {name: value for name, value in settings.items() if value is not None}
        return cross_session(
            subject.eids if eids is None else eids, one=subject.one_dir, roicat_root=subject.roicat_root, **settings
        )

    return compute


def link_stores(sessions: list[xr.Dataset], cache: Path) -> None:
    (cache / "data").mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        (cache / "data" / source.name).symlink_to(source)


def same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in set(NAMES) & set(map(str, one.variables)):
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)
    assert one.attrs["picked_fold"] == other.attrs["picked_fold"]
    assert one["status"].values.tolist() == other["status"].values.tolist()


def simulated(folder: Path, client: Client, options: dict[str, object], **settings: object) -> CrossSessionStore:
    made = simulate_subject(
        folder,
        n_trials=200,
        rois_per_fov=(60,),
        signals=("deconvolved",),
        persistence=1.0,
        untracked=0.0,
        non_cells=0.0,
        **options,
    )
    return cross_session(
        made.eids, one=made.one_dir, roicat_root=made.roicat_root, client=client,
        **SMALL | {"n_shuffle": 99} | settings,
    )  # fmt: skip


# against the truth ------------------------------------------------------------------------------------------------


def test_a_stable_code_generalises_and_one_that_turns_falls_with_the_days(client: Client, tmp_path: Path) -> None:
    code = {"n_days": 4, "seed": 5, "fractions": dict.fromkeys(TARGETS, 0.5)}
    stable = simulated(tmp_path / "stable", client, code)
    turning = simulated(tmp_path / "turning", client, code | {"code_rotation": 30.0})
    for target in TARGETS:
        held, fell = stable.dataset(target), turning.dataset(target)
        assert (held["p_value"][1:] <= 0.02).all()
        assert np.isnan(held["p_value"].values[0])
        assert (held["accuracy"] > 0.7).all()
        assert float(held["fold_accuracy"][held.attrs["picked_fold"]]) == float(held["fold_accuracy"].median())
        # the first day is the same, whatever comes later; the fourth, 90 degrees away, has another code
        np.testing.assert_array_equal(held["fold_accuracy"], fell["fold_accuracy"])
        assert abs(float(fell["accuracy"][3]) - 0.5) < 0.15
        assert float(held["accuracy"][3] - fell["accuracy"][3]) > 0.15
    by_day = np.array([dataset["accuracy"].values for dataset in turning.datasets().values()]).mean(axis=0)
    assert (np.diff(by_day[1:]) < -0.05).all()


def test_without_a_code_p_values_are_uniform(client: Client, tmp_path: Path) -> None:
    """Of the default nulls, with slow drift; test sessions are independent draws of one readout's luck."""
    p_values, stored = [], []
    draw = np.random.default_rng(0)
    for seed in (1, 2):
        run = simulated(tmp_path / str(seed), client, {"n_days": 8, "seed": seed, "fractions": {}, "drift": 0.3})
        for dataset in run.datasets().values():
            found = dataset.isel(session=slice(1, None))
            above = (found["null_accuracy"] > found["accuracy"] + 1e-6).sum("shuffle").values
            tied = (abs(found["null_accuracy"] - found["accuracy"]) <= 1e-6).sum("shuffle").values
            # accuracies are counts, and ties count against the observed one: drawn among them, p is uniform
            p_values += list((above + draw.random(7) * (1 + tied)) / 100)
            stored += found["p_value"].values.tolist()
    assert len(p_values) == 2 * 7 * len(TARGETS)
    assert kstest(p_values, "uniform").pvalue > 0.05
    assert (np.array(stored) + 1e-9 >= p_values).all()
    assert np.mean(np.array(stored) <= 0.05) <= 0.125  # so many at the most in 99 % of draws of binomial(56, 0.05)


def test_code_rotation_turns_the_weights_by_the_angle(tmp_path: Path) -> None:
    weight = np.where(np.arange(4000)[:, None] % 2, np.random.default_rng(1).choice([-1.0, 1.0], (4000, 4)), 0.0)
    for degrees in (0, 30, 60, 90):
        turned = weights_of_day(weight, degrees, np.random.default_rng(2))
        assert (turned[weight == 0] == 0).all()
        along = (turned * weight).sum(axis=0) / (weight**2).sum(axis=0)
        np.testing.assert_allclose(along, np.cos(np.radians(degrees)), atol=0.08)
    # a subject that was made before there was such a setting is taken as it is
    made = simulate_subject(tmp_path, n_days=1, rois_per_fov=(3, 2), n_trials=5)
    truth = tmp_path / "truth.zarr" / "zarr.json"
    before = json.loads(truth.read_text())
    settings = json.loads(before["attributes"]["settings"])
    del settings["code_rotation"]
    before["attributes"]["settings"] = json.dumps(settings)
    truth.write_text(json.dumps(before))
    assert simulate_subject(tmp_path, n_days=1, rois_per_fov=(3, 2), n_trials=5).eids == made.eids


# against scikit-learn ----------------------------------------------------------------------------------------------


def by_hand(
    X: np.ndarray, y: np.ndarray, steps: list[tuple[str, object]], grid: dict[str, list[float]], eid: str, target: str
) -> tuple[list[GridSearchCV], list[float]]:
    """Fit the outer folds of a training session by plain scikit-learn: searches and accuracies."""
    outer = StratifiedKFold(3, shuffle=True, random_state=seeds.integer_seed(0, "folds", eid, target, 0))
    searches, accuracies = [], []
    for fold, (train, test) in enumerate(outer.split(X, y)):
        inner = StratifiedKFold(3, shuffle=True, random_state=seeds.integer_seed(0, "fit", eid, target, fold))
        search = GridSearchCV(Pipeline(steps), grid, cv=inner, scoring="accuracy").fit(X[train], y[train])
        searches.append(search)
        accuracies.append(float((search.predict(X[test]) == y[test]).mean()))
    return searches, accuracies


def decoded(run: CrossSessionStore, target: str, eid: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features = run.features(target, eid)
    rows = features["decoded"].values
    return features["X"].values[rows].astype(float), features["y"].values[rows], features["null_label"].values[:, rows]


REDUCTIONS = {
    "none": [],
    "pca": [("reduce", PCA(32, svd_solver="full", random_state=0))],
    "selectk": [("reduce", SelectKBest(f_classif, k=32))],
}


@pytest.mark.parametrize("elastic", [False, True], ids=["l2", "elastic net"])
@pytest.mark.parametrize("reduction", list(REDUCTIONS))
def test_the_whole_pipeline_by_scikit_learn(
    cross: Cross, subject: SimulatedSubject, reduction: str, elastic: bool
) -> None:
    """The same settings are chosen, and the same trials are right but for one, at home, abroad and in the null."""
    run = cross(reduction=reduction, use_elasticnet=elastic, targets=("choice", "block") if not elastic else "block")
    grid: dict[str, list[float]] = {"read__C": [0.03, 0.3, 1.0]}
    logistic = LogisticRegression(tol=1e-10, max_iter=10_000)
    if elastic:
        grid["read__l1_ratio"] = [0.0, 0.5]
        logistic = LogisticRegression(**ELASTIC_NET, tol=1e-6, max_iter=20_000, l1_ratio=0.0, random_state=0)
    steps = [("scale", StandardScaler()), *REDUCTIONS[reduction], ("read", logistic)]
    for target in run.targets():
        found = run.dataset(target)
        X, y, _ = decoded(run, target, subject.eids[0])
        searches, accuracies = by_hand(X, y, steps, grid, subject.eids[0], target)
        one_trial = 1.01 / (len(y) // 3)
        assert [search.best_params_["read__C"] for search in searches] == found["C"].values.tolist()
        if elastic:
            assert [search.best_params_["read__l1_ratio"] for search in searches] == found["l1_ratio"].values.tolist()
        np.testing.assert_allclose(found["fold_accuracy"], accuracies, atol=one_trial)
        np.testing.assert_allclose(float(found["accuracy"][0]), np.mean(accuracies), atol=one_trial)
        picked = found.attrs["picked_fold"]
        assert float(found["fold_accuracy"][picked]) == float(found["fold_accuracy"].median())
        for session in (1, 2):
            check_abroad(searches[picked], *decoded(run, target, subject.eids[session]), found.isel(session=session))


def check_abroad(model: GridSearchCV, X: np.ndarray, y: np.ndarray, null: np.ndarray, found: xr.Dataset) -> None:
    one_trial = 1.01 / len(y)
    called = model.predict(X)
    assert abs(float(found["accuracy"]) - (called == y).mean()) <= one_trial
    assert abs(float(found["balanced_accuracy"]) - balanced_accuracy_score(y, called)) <= 2 * one_trial
    assert abs(float(found["auc"]) - roc_auc_score(y, model.decision_function(X))) < 2e-3
    by_hand = (called[None] == null[: found.sizes["shuffle"]]).mean(axis=1)
    np.testing.assert_allclose(found["null_accuracy"], by_hand, atol=one_trial)
    n_reached = int((found["null_accuracy"] + 1e-6 >= found["accuracy"]).sum())
    assert float(found["p_value"]) == pytest.approx((1 + n_reached) / (1 + found.sizes["shuffle"]))


def test_permuted_training_labels_go_through_the_whole_pipeline(cross: Cross, subject: SimulatedSubject) -> None:
    run = cross(null_labels="train", n_shuffle=12)
    found = run.dataset("choice")
    X, _, null = decoded(run, "choice", subject.eids[0])
    _, y, _ = decoded(run, "choice", subject.eids[0])
    X_test, y_test, _ = decoded(run, "choice", subject.eids[2])
    steps = [("scale", StandardScaler()), *REDUCTIONS["pca"], ("read", LogisticRegression(tol=1e-10, max_iter=10_000))]
    outer = StratifiedKFold(3, shuffle=True, random_state=seeds.integer_seed(0, "folds", subject.eids[0], "choice", 0))
    for shuffle in (0, 11):
        searches, accuracies = [], []
        for fold, (train, test) in enumerate(outer.split(X, y)):
            seed = seeds.integer_seed(0, "fit", subject.eids[0], "choice", fold)
            inner = StratifiedKFold(3, shuffle=True, random_state=seed)
            search = GridSearchCV(Pipeline(steps), {"read__C": [0.03, 0.3, 1.0]}, cv=inner, scoring="accuracy")
            searches.append(search.fit(X[train], null[shuffle][train]))
            accuracies.append((search.predict(X[test]) == null[shuffle][test]).mean())
        model = searches[accuracies.index(sorted(accuracies)[1])]
        by_hand = (model.predict(X_test) == y_test).mean()
        assert abs(float(found["null_accuracy"][2, shuffle]) - by_hand) <= 1.01 / len(y_test)


# what may be asked for ----------------------------------------------------------------------------------------------


def test_each_session_as_the_first(cross: Cross, subject: SimulatedSubject) -> None:
    """The first row of the matrix is the run that trains on the first session; another row, that on another's."""
    first, matrix = cross().dataset("choice"), cross(train_on="each").dataset("choice")
    assert matrix["accuracy"].dims == ("train_session", "test_session")
    for name in ("accuracy", "auc", "p_value", "weights", "fold_accuracy"):
        np.testing.assert_array_equal(matrix[name][0], first[name])
    assert np.isfinite(matrix["accuracy"]).all()
    np.testing.assert_array_equal(np.isnan(matrix["p_value"]), np.eye(3, dtype=bool))
    assert matrix.attrs["picked_fold"][0] == first.attrs["picked_fold"]


def test_refit_carries_a_model_of_all_trials(cross: Cross, subject: SimulatedSubject) -> None:
    median, run = cross().dataset("choice"), cross(transfer="refit")
    refit = run.dataset("choice")
    np.testing.assert_array_equal(refit["fold_accuracy"], median["fold_accuracy"])
    assert refit.sizes["model"] == 4
    X, y, _ = decoded(run, "choice", subject.eids[0])
    C = float(refit["C"][3])
    pipeline = Pipeline([("scale", StandardScaler()), *REDUCTIONS["pca"], ("read", LogisticRegression(C=C, tol=1e-10))])
    pipeline.fit(X, y)
    for session in (1, 2):
        X_test, y_test, _ = decoded(run, "choice", subject.eids[session])
        accuracy = (pipeline.predict(X_test) == y_test).mean()
        assert abs(float(refit["accuracy"][session]) - accuracy) <= 1.01 / len(y_test)


def test_a_decoder_of_the_users_own(cross: Cross, subject: SimulatedSubject) -> None:
    model = LogisticRegression(C=0.1, tol=1e-8)
    run = cross(decoder=model, dim_k=None)
    found = run.dataset("choice")
    X, y, _ = decoded(run, "choice", subject.eids[0])
    outer = StratifiedKFold(3, shuffle=True, random_state=seeds.integer_seed(0, "folds", subject.eids[0], "choice", 0))
    folds = list(outer.split(X, y))
    by_hand = [(model.fit(X[train], y[train]).predict(X[test]) == y[test]).mean() for train, test in folds]
    np.testing.assert_allclose(found["fold_accuracy"], by_hand)
    train, _ = folds[found.attrs["picked_fold"]]
    model.fit(X[train], y[train])
    X_test, y_test, null = decoded(run, "choice", subject.eids[2])
    assert float(found["accuracy"][2]) == (model.predict(X_test) == y_test).mean()
    np.testing.assert_allclose(found["null_accuracy"][2], (model.predict(X_test) == null[:19]).mean(axis=1))
    assert cross_session_table(run)["decoder"].iloc[0] == "LogisticRegression"
    with pytest.raises(SettingsError, match="both decoder= and dim_k, C are given"):
        cross(decoder=model, C=(1.0,))


# however it is computed ----------------------------------------------------------------------------------------------


def test_a_dry_run_counts_what_the_run_computes(cross: Cross, submitted: list[runner.Task], tmp_path: Path) -> None:
    """Before anything is stored, when half of it is, and when all is; nothing is written."""
    options = {"targets": ("choice", "block"), "train_on": "each", "null_labels": "train", "transfer": "refit"}
    cost = cross(dry_run=True, **options)
    assert not (tmp_path / "decoding").exists()
    cross(**options | {"targets": "choice"})
    half = cross(dry_run=True, **options)
    cross(**options)
    assert sum(task.label["n_scores"] for task in submitted) == cost.n_scores == 2 * half.n_scores
    assert len(submitted) == cost.n_tasks == 2 * half.n_tasks
    assert min(cost.core_seconds, half.core_seconds) > 0  # each is timed for itself
    assert cross(dry_run=True, **options).n_scores == 0
    anew = cross(dry_run=True, rerun=True, **options)
    assert anew.n_scores == cost.n_scores
    assert not [note for note in anew.notes if "embedded" in note or "stored" in note]


def test_what_is_finished_is_not_computed_again_and_more_is_added(
    cross: Cross, submitted: list[runner.Task], tmp_path: Path
) -> None:
    run = cross()
    assert len(submitted) == 3 + 2  # models, test sessions
    submitted.clear()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    again = cross()
    assert submitted == []
    assert {path: path.stat().st_mtime_ns for path in again.path.rglob("*") if path.is_file()} == before
    cross(n_shuffle=130)
    assert [task.label["n_scores"] for task in submitted] == [130 - 19] * 2
    submitted.clear()
    cross(n_shuffle=130, targets=("choice", "block"))
    assert {task.label["target"] for task in submitted} == {"block"}
    fresh = cross(n_shuffle=130, cache_dir=relinked(tmp_path))
    same_bits(fresh.dataset("choice"), run.dataset("choice"))


def relinked(cache: Path) -> Path:
    """Give another cache with the same session stores."""
    (cache / "other").mkdir()
    (cache / "other" / "data").symlink_to(cache / "data")
    return cache / "other"


def test_a_null_of_training_labels_grows_by_what_is_missing(
    cross: Cross, submitted: list[runner.Task], tmp_path: Path
) -> None:
    cross(null_labels="train", n_shuffle=5)
    submitted.clear()
    run = cross(null_labels="train", n_shuffle=15)
    assert sorted(task.label["n_scores"] for task in submitted) == [2 * 5, 2 * 10]  # the first batch is made whole
    fresh = cross(null_labels="train", n_shuffle=15, cache_dir=relinked(tmp_path))
    same_bits(fresh.dataset("choice"), run.dataset("choice"))


@contextmanager
def threads() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_same_bits_in_processes_and_threads_and_after_a_kill(
    cross: Cross, subject: SimulatedSubject, sessions: list[xr.Dataset], tmp_path: Path
) -> None:
    settings = {"targets": ("choice", "block"), "null_labels": "train", "n_shuffle": 12}
    expected = cross(**settings).datasets()
    other = tmp_path / "killed"
    link_stores(sessions, other)
    log = tmp_path / "log"
    driver = subprocess.Popen(
        [sys.executable, survival_driver.__file__, str(subject.folder), str(other), str(log),
         json.dumps(SMALL | settings), "cross_session"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not log.exists() or log.read_text().count("done") < 4:
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=60)
    psutil.wait_procs(children, timeout=30)
    (path,) = (other / "decoding" / "cross_session").glob("*.zarr")
    halfway = run_status(path)
    assert halfway.state == "stopped"
    assert 0 < halfway.done < halfway.total
    with threads() as client:
        run = cross(cache_dir=other, client=client, **settings)
    assert run.path == path
    for target, dataset in run.datasets().items():
        same_bits(dataset, expected[target])
    assert not list(path.rglob("*.partial"))
    assert run_status(path).state == "finished"


def test_damage_is_mended(cross: Cross, caplog: pytest.LogCaptureFixture) -> None:
    run = cross()
    before = run.dataset("choice").load()
    for name in ("weights/c/1/0", "null_accuracy/c/2/0", "accuracy/c/1"):
        file = run.path / "choice" / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged"):
        run.dataset("choice")
    status = run_status(run)
    assert (status.damaged, status.left) == (1 + 19 + 1, 1 + 19 + 1)
    same_bits(cross().dataset("choice"), before)
    assert caplog.text.count("is damaged") >= 3


def fail_in_fold_1(block: FitBlock, settings: CrossSessionSettings) -> object:
    if block.model == 1 and block.training.target == "choice":
        raise RuntimeError("no such luck")
    return fit_block(block, settings)


def test_a_failed_model_costs_its_target_alone(cross: Cross, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = engine._task

    def bad(*arguments: object) -> runner.Task:
        task = original(*arguments)  # type: ignore[arg-type]
        if not isinstance(task.arguments[0], FitBlock):
            return task
        return runner.Task(task.key, fail_in_fold_1, task.arguments, task.label)

    monkeypatch.setattr(engine, "_task", bad)
    with pytest.raises(TasksFailedError, match=r"1 tasks failed.*no such luck"):
        cross(targets=("choice", "block"))
    monkeypatch.undo()
    (path,) = (tmp_path / "decoding" / "cross_session").glob("*.zarr")
    store = CrossSessionStore(path)
    assert set(store.dataset("block")["status"].values) == {"done"}
    assert np.isnan(store.dataset("choice")["accuracy"]).all()
    assert run_status(path).failed == 1
    assert np.isfinite(cross(targets=("choice", "block")).dataset("choice")["accuracy"]).all()


# who is skipped, and what is refused ---------------------------------------------------------------------------------


def few(n: int) -> np.ndarray:
    return np.arange(240) < n


def test_a_skipped_session_costs_no_other(cross: Cross, subject: SimulatedSubject) -> None:
    whole = cross(equalize_trials=False).dataset("choice")
    run = cross(equalize_trials=False, trial_mask={subject.eids[1]: few(12)})
    found = run.dataset("choice")
    assert found["status"].values.tolist() == ["done", "skipped", "done"]
    assert "at least 10 of each needed" in str(found["reason"].values[1])
    assert np.isnan(found["accuracy"].values[1])
    np.testing.assert_array_equal(found["accuracy"][[0, 2]], whole["accuracy"][[0, 2]])
    np.testing.assert_array_equal(found["null_accuracy"][2], whole["null_accuracy"][2])
    assert run_status(run).state == "finished"
    matrix = cross(train_on="each", equalize_trials=False, trial_mask={subject.eids[1]: few(12)}).dataset("choice")
    np.testing.assert_array_equal(np.isfinite(matrix["accuracy"]).sum(axis=1), [2, 0, 2])


def test_nothing_to_compare_is_told(cross: Cross, subject: SimulatedSubject, submitted: list[runner.Task]) -> None:
    first, second, third = subject.eids
    with pytest.raises(
        NothingToDecodeError, match=r"the first session, .*, which is trained on, is skipped: .*of class"
    ):
        cross(trial_mask={first: few(12)})
    with pytest.raises(NothingToDecodeError, match=r"all 2 sessions that it would be tested on are skipped, e.g. 20"):
        cross(trial_mask={second: few(12), third: few(12)})
    assert submitted == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_sessions": 4}, r"3 sessions given, at least 4 \(min_sessions\)"),
        ({"min_k_shared": 1000}, r"share \d+ neurons, at least 1000 \(min_k_shared\)"),
        ({"min_k_shared": 1000, "min_sessions": 2}, r"the best 2 \(2025-01-1\d, 2025-01-1\d\) share \d+"),
        ({"eids": "SP072", "min_sessions": 5, "min_trials": 10}, r"3 of 3 sessions of SP072 can be chosen, at least 5"),
        (
            {"eids": "SP072", "min_trials": 10, "min_k_shared": 999},
            r"no 3 sessions of SP072 share 999.*best 3 .* share",
        ),
        ({"eids": "SP072", "min_trials": 300}, r"240 trials, at least 300 wanted"),
        ({"dim_k": 1}, r"dim_k: a population is reduced to at least 2 dimensions, found 1"),
        ({"reduction": "umap"}, r"reduction: .*none.*pca.*selectk"),
        ({"min_per_class": 4}, r"min_per_class is 4, too few for outer_cv=3"),
        ({"min_per_class": 11, "inner_cv": 8}, r"min_per_class is 11, .* inner_cv=8 .*expected at least 12"),
        ({"C": ()}, r"C: no value to search"),
        ({"null": "blockwise", "targets": "block"}, r"blockwise"),
        (
            {"eids": "SP072", "min_trials": 10, "trial_mask": np.ones(240, dtype=bool)},
            r"one mask for the sessions of a",
        ),
        ({"decoder": object(), "dim_k": None}, r"no method get_params"),
    ],
)
def test_refusals_have_their_words(cross: Cross, options: dict[str, object], words: str) -> None:
    with pytest.raises((SettingsError, TrackingError), match=words):
        cross(**options)


def test_one_neuron_cannot_be_reduced(cross: Cross, subject: SimulatedSubject, sessions: list[xr.Dataset]) -> None:
    row = np.flatnonzero(sessions[0]["is_neuron"].values)
    tracked = [cross(n_shuffle=0).tracked()["roi"].values[0][:1]]
    with pytest.raises(SettingsError, match=r"dim_k: 1 shared neuron cannot be reduced to 2 dimensions"):
        cross(neurons={subject.eids[0]: tracked[0]}, min_k_shared=1)
    assert len(row) > 1


def test_a_subject_gives_as_many_sessions_as_share_enough(cross: Cross, subject: SimulatedSubject) -> None:
    run = cross("SP072", min_trials=100, min_sessions=2, n_shuffle=0)
    assert run.tracked()["session"].values.tolist() == list(subject.eids)
    all_three = run.tracked().sizes["neuron"]
    two = cross("SP072", min_trials=100, min_sessions=2, min_k_shared=all_three + 1, n_shuffle=0)
    assert two.tracked().sizes["session"] == 2
    assert np.isnan(two.dataset("choice")["p_value"]).all()
    assert cross_session_table(two)["n_shuffles"].tolist() == [0, 0]  # no null was asked for
    assert cross_session_table(two)[["p", "q", "null_low"]].isna().all(axis=None)


# the table and the command line ---------------------------------------------------------------------------------------


def test_table_says_what_the_store_holds(cross: Cross, subject: SimulatedSubject) -> None:
    run = cross(targets=("block", "choice"), null="permute")
    table = cross_session_table(run.path)
    assert table["target"].tolist() == ["choice"] * 3 + ["block"] * 3
    assert table["days"].tolist() == [0, 1, 2] * 2
    assert table["null_valid"].tolist() == [True] * 3 + [False] * 3
    assert table["q"].notna().tolist() == [False, True, True] + [False] * 3
    found = run.dataset("choice")
    np.testing.assert_array_equal(table["accuracy"][:3], found["accuracy"])
    np.testing.assert_array_equal(table["p"][:3], found["p_value"])
    np.testing.assert_allclose(table["null_mean"][1:3], found["null_accuracy"][1:].mean("shuffle"))
    assert table["n_shuffles"].tolist() == [0, 19, 19] * 2
    matrix = cross_session_table(cross(train_on="each"))
    assert matrix["days"].tolist() == [0, 1, 2, -1, 0, 1, -2, -1, 0]
    with pytest.raises(StoreError, match=r"found a run across sessions; cross_session_table, .* take it"):
        summarize(run.path)  # type: ignore[arg-type]


def test_every_setting_can_be_typed() -> None:
    command = next(command for command in ALL if command.name == "cross-session")
    options = {parameter.name for parameter in command.params if isinstance(parameter, click.Option)}
    assert options >= set(CrossSessionSettings.model_fields) | {"neurons", "rerun", "all_rois", "min_trials"}


def test_command(
    cross: Cross, subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = cross()
    where = ["--one", str(subject.one_dir), "--cache-dir", str(tmp_path)]
    typed = [*where, "--roicat-root", str(subject.roicat_root), "--targets", "choice", "--min-sessions", "3",
             "--min-k-shared", "50", "--dim-k", "32", "--shuffles", "19"]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["cross-session", *subject.eids, *typed, "--csv", str(tmp_path / "table.csv")]) == 0
    out = capsys.readouterr().out
    assert str(run.path) in out
    assert out.count("\nchoice") == 3
    assert "0.05" in out
    assert "…" not in out
    read = pd.read_csv(tmp_path / "table.csv")
    np.testing.assert_allclose(read["accuracy"], run.dataset("choice")["accuracy"], rtol=1e-15)
    assert main(["cross-session", *subject.eids, *typed, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == str(run.path)
    assert [row["days"] for row in told["rows"]] == [0, 1, 2]
    assert main(["status", *where]) == 0
    assert "finished   100% of 43 scores  cross-session" in capsys.readouterr().out
    assert main(["status", run.path.stem, *where]) == 0
    assert "43/43 100%" in capsys.readouterr().out
    assert main(["summary", run.path.stem, *where]) == 0
    assert str(run.path) in capsys.readouterr().out
    assert main(["cross-session", *subject.eids, *typed, "--x", "days", "--figure", str(tmp_path / "days.png")]) == 0
    assert main(["plot", str(run.path), str(tmp_path / "plot.png")]) == 0
    assert min((tmp_path / name).stat().st_size for name in ("days.png", "plot.png")) > 10_000
    small = ["plot", "ndc", str(run.path), "--save", str(tmp_path / "small.png")]
    assert main([*small, "--size", "4,5", "--dpi", "50"]) == 0
    with Image.open(tmp_path / "small.png") as image:
        assert image.size == (200, 250)
        about = json.loads(image.text["Description"])  # type: ignore[attr-defined]
    assert (about["run"], about["settings"]["dim_k"]) == (str(run.path), 32)
    assert main([*small, "--dpi", "0"]) == 2
