"""A user's classifier as the decoder: scores of a plain scikit-learn loop, seeded, on workers, in runs of its own."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from mesodask import neuron_dropping_curves
from mesodask.checked import short_hash
from mesodask.compute import runner
from mesodask.errors import DataError, SettingsError
from mesodask.io.runstore import RunStore
from mesodask.numerics import seeds
from mesodask.numerics.crossval import cross_val_details, cross_val_scores, make_folds
from mesodask.numerics.decoder_identity import decoder_identity
from mesodask.runs.naming import run_prefix
from mesodask.settings import NdcSettings
from mesodask.simulate import SimulatedSubject


def population(n_trials=80, n_neurons=6, n_columns=4, seed=0):
    rng = np.random.default_rng(seed)
    Y = rng.permuted(np.tile(np.arange(n_trials)[:, None] % 2, n_columns), axis=0)
    # neurons of unequal offsets and scales, so that it shows whether anybody standardised
    X = rng.normal(size=(n_trials, n_neurons)) + np.outer(Y[:, 0], rng.normal(size=n_neurons))
    return X * np.logspace(-1, 2, n_neurons) + 10 * np.arange(n_neurons), Y


def liblinear(C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, solver="liblinear", tol=1e-8, max_iter=5000))


def by_hand(decoder, X, Y, seed, metric, n_splits=5):
    """The definition in a plain loop; the decoder must not draw."""
    scores = np.zeros((n_splits, Y.shape[1]))
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed).split(X, Y[:, 0])
    for fold, (train, test) in enumerate(folds):
        for column, y in enumerate(Y.T):
            decoder.fit(X[train], y[train])
            if metric == "accuracy":
                scores[fold, column] = balanced_accuracy_score(y[test], decoder.predict(X[test]))
            elif hasattr(decoder, "decision_function"):
                scores[fold, column] = roc_auc_score(y[test], decoder.decision_function(X[test]))
            else:
                scores[fold, column] = roc_auc_score(y[test], decoder.predict_proba(X[test])[:, 1])
    return scores.mean(axis=0)


# scores


@pytest.mark.parametrize("metric", ["auc", "accuracy"])
@pytest.mark.parametrize(
    "decoder",
    [
        liblinear(),
        SVC(kernel="linear", C=0.01),
        LinearDiscriminantAnalysis(),
        GaussianNB(),
        RandomForestClassifier(n_estimators=5, random_state=1),
    ],
    ids=lambda decoder: type(decoder).__name__,
)
def test_scores_are_those_of_a_plain_loop(decoder: object, metric: str) -> None:
    X, Y = population()
    details = cross_val_details(X, Y, seed=3, metric=metric, decoder=decoder)
    np.testing.assert_allclose(details.scores, by_hand(decoder, X, Y, 3, metric), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(details.folds_used, 5)
    np.testing.assert_array_equal(details.unconverged, 0)
    np.testing.assert_array_equal(cross_val_scores(X, Y, seed=3, metric=metric, decoder=decoder), details.scores)


def test_liblinear_as_decoder_agrees_with_our_own() -> None:
    X, Y = population(n_trials=200, n_columns=10)
    np.testing.assert_allclose(cross_val_scores(X, Y, decoder=liblinear()), cross_val_scores(X, Y), rtol=0, atol=5e-4)


def test_far_apart_tiny_probabilities_are_no_ties() -> None:
    class Tiny(ClassifierMixin, BaseEstimator):
        def fit(self, X: np.ndarray, y: np.ndarray) -> "Tiny":
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return np.column_stack([1 - 10.0 ** X[:, 0], 10.0 ** X[:, 0]])

    y = np.arange(20) % 2
    X = np.where(y, -9.0, -12.0)[:, None]
    X[0] = 0.0  # one trial of class 0 above all others, which makes the rest look alike
    assert cross_val_scores(X, y[:, None], n_splits=2, decoder=Tiny())[0] == pytest.approx(1 - 1 / 5 / 2)


def test_gap_and_folds_of_one_class_are_as_without_a_decoder() -> None:
    X, Y = population()
    Y[:, 1] = np.arange(len(Y)) < 16  # one class in all test blocks of five
    Y[:, 2] = np.arange(len(Y)) < 8  # both classes in the first test block, one class left to train on
    Y[:, 3] = np.arange(len(Y)) % 40 < 3
    how = {"folds": "contiguous", "gap": 2}
    ours, theirs = cross_val_details(X, Y, **how), cross_val_details(X, Y, **how, decoder=liblinear())
    np.testing.assert_array_equal(theirs.folds_used, ours.folds_used)
    assert theirs.folds_used.tolist() == [5, 0, 0, 2]
    assert np.isnan(theirs.scores).tolist() == [False, True, True, False]
    np.testing.assert_allclose(theirs.scores, ours.scores, rtol=0, atol=1e-2)


def test_the_decoder_takes_raw_activity_and_is_left_unfitted() -> None:
    seen = []

    def note(X: np.ndarray) -> np.ndarray:
        seen.append(X.copy())
        return X

    X, Y = population(n_columns=1)
    decoder = make_pipeline(FunctionTransformer(note), LinearDiscriminantAnalysis())
    cross_val_scores(X, Y, n_splits=2, decoder=decoder)
    (train, test), _ = make_folds(Y[:, 0], n_splits=2)
    np.testing.assert_array_equal(seen[0], X[train])
    np.testing.assert_array_equal(seen[1], X[test])
    assert not hasattr(decoder[-1], "classes_")


def test_a_decoder_that_works_in_place_spoils_nothing() -> None:
    X, Y = population()
    kept = X.copy()
    in_place = make_pipeline(StandardScaler(copy=False), LinearDiscriminantAnalysis())
    copying = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    np.testing.assert_array_equal(cross_val_scores(X, Y, decoder=in_place), cross_val_scores(X, Y, decoder=copying))
    np.testing.assert_array_equal(X, kept)


# seeds


def test_scores_do_not_depend_on_the_global_generator() -> None:
    X, Y = population()
    for decoder in (
        RandomForestClassifier(n_estimators=5),
        make_pipeline(StandardScaler(), SGDClassifier(max_iter=5, tol=None)),
        GridSearchCV(LinearDiscriminantAnalysis(), {"n_components": [1]}, cv=StratifiedKFold(2, shuffle=True)),
    ):
        first = {}
        for global_seed in (1, 2):
            np.random.seed(global_seed)  # noqa: NPY002
            undrawn = np.random.get_state()[2]  # type: ignore[index] # noqa: NPY002
            first[global_seed] = cross_val_scores(X[:, :2], Y, decoder=decoder)
            assert np.random.get_state()[2] == undrawn  # type: ignore[index] # noqa: NPY002
        np.testing.assert_array_equal(first[1], first[2])
        # a column has its place's seed, whatever stands beside it
        np.testing.assert_array_equal(cross_val_scores(X[:, :2], Y[:, :2], decoder=decoder), first[1][:2])


def test_each_fit_has_a_seed_of_its_own_unless_the_user_gave_one() -> None:
    drawn = []

    class Noting(RandomForestClassifier):
        def fit(self, X: np.ndarray, y: np.ndarray) -> "Noting":
            drawn.append(self.random_state)
            return super().fit(X, y)

    X, Y = population(n_columns=2)
    cross_val_scores(X, Y, n_splits=2, seed=7, decoder=make_pipeline(Noting(n_estimators=1)))
    key = "noting__random_state"
    assert drawn == [seeds.integer_seed(7, "decoder", fold, column, key) for fold in (0, 1) for column in (0, 1)]
    drawn.clear()
    cross_val_scores(X, Y, n_splits=2, decoder=Noting(n_estimators=1, random_state=4))
    assert drawn == [4] * 4


# warnings and errors


def test_unconverged_fits_are_counted_and_not_shown() -> None:
    X, Y = population()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        result = cross_val_details(X, Y, decoder=LogisticRegression(max_iter=1))
    assert result.unconverged.tolist() == [5] * 4
    assert np.isfinite(result.scores).all()
    assert shown == []


def test_other_warnings_reach_the_user() -> None:
    class Complains(LinearDiscriminantAnalysis):
        def fit(self, X: np.ndarray, y: np.ndarray) -> "Complains":
            warnings.warn("mind the gap", UserWarning, stacklevel=2)
            return super().fit(X, y)

    X, Y = population(n_columns=1)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        result = cross_val_details(X, Y, decoder=Complains())
    assert [str(warning.message) for warning in shown] == ["mind the gap"] * 5
    assert result.unconverged[0] == 0


class OneShort(LinearDiscriminantAnalysis):
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return super().decision_function(X)[1:]


class NoNumber(LinearDiscriminantAnalysis):
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return np.full(len(X), np.nan)


class Altering(LinearDiscriminantAnalysis):
    def __init__(self, tol: float = 1e-4) -> None:
        super().__init__(tol=[tol])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decoder", "options", "error", "text"),
    [
        (SVC, {}, SettingsError, r"SVC is a class.*decoder=SVC\(\)"),
        ("svm", {}, SettingsError, "'svm' has no method get_params"),
        (StandardScaler(), {}, SettingsError, "has no decision_function or predict_proba"),
        (LinearRegression(), {}, SettingsError, "take metric='accuracy'"),
        (LinearRegression(), {"metric": "accuracy"}, SettingsError, "LinearRegression.*expected the labels 0 and 1"),
        (StandardScaler(), {"metric": "accuracy"}, SettingsError, "has no predict,"),
        (VotingClassifier([("lda", LinearDiscriminantAnalysis())]), {}, SettingsError, "has no decision_function"),
        (Altering(), {}, SettingsError, "cannot be cloned"),
        (LinearDiscriminantAnalysis(), {"C": 0.1}, SettingsError, "C is 0.1 and a decoder is given"),
        (SVC(C=-1), {}, SettingsError, r"SVC\(C=-1\) failed on label column 0 of fold 0.*'C' parameter"),
        (LinearDiscriminantAnalysis(priors=[0.1, 0.1, 0.8]), {}, DataError, "LinearDiscriminantAnalysis.*failed on"),
        (OneShort(), {}, SettingsError, r"shape \(15,\), expected one value a trial, \(16,\)"),
        (NoNumber(), {}, DataError, "16 of its 16 decisions are NaN"),
    ],
)
def test_what_cannot_decode_is_told(decoder: object, options: dict, error: type[Exception], text: str) -> None:
    X, Y = population()
    with pytest.raises(error, match=text):
        cross_val_scores(X, Y, decoder=decoder, **options)


# identity


def log_of_one_plus(X: np.ndarray) -> np.ndarray:
    return np.log1p(np.abs(X))


def test_identity_tells_decoders_apart_and_twins_not() -> None:
    decoders = [
        LogisticRegression(),
        LogisticRegression(C=2.0),
        LogisticRegression(C=np.float64(3.0)),
        LogisticRegression(class_weight={0: 1.0, 1: 2.0}),
        LogisticRegression(class_weight={"0": 1.0, "1": 2.0}),
        SVC(),
        liblinear(),
        liblinear(C=2.0),
        make_pipeline(FunctionTransformer(np.mean), SVC()),
        make_pipeline(FunctionTransformer(log_of_one_plus), SVC()),
        make_pipeline(FunctionTransformer(np.log1p), SVC()),
        LinearDiscriminantAnalysis(priors=np.array([0.5, 0.5])),
        LinearDiscriminantAnalysis(priors=[0.4, 0.6]),
        LogisticRegressionCV(cv=StratifiedKFold(3)),
        LogisticRegressionCV(cv=StratifiedKFold(4)),
    ]
    texts = [decoder_identity(decoder) for decoder in decoders]
    assert len(set(texts)) == len(texts)
    assert decoder_identity(LogisticRegression(C=3.0)) == texts[2]
    assert decoder_identity(LogisticRegression(class_weight={1: 2.0, 0: 1.0})) == texts[3]
    assert decoder_identity(LinearDiscriminantAnalysis(priors=[0.5, 0.5])) == texts[11]
    X, Y = population()
    assert decoder_identity(liblinear().fit(X, Y[:, 0])) == texts[6]


def test_identity_holds_names_parameters_and_versions() -> None:
    import sklearn

    identity = json.loads(decoder_identity(make_pipeline(FunctionTransformer(log_of_one_plus), SVC(C=0.5))))
    assert identity["class"] == "sklearn.pipeline.Pipeline"
    (_, step), (_, svc) = identity["params"]["steps"]
    assert step["params"]["func"] == {"code": f"{__name__}.log_of_one_plus"}
    assert svc["class"] == "sklearn.svm._classes.SVC"
    assert svc["params"]["C"] == 0.5
    assert identity["versions"]["sklearn"] == sklearn.__version__
    assert len(identity["versions"][f"{__name__}.log_of_one_plus"]) == 16  # no version: the hash of its source


def test_identity_is_the_same_in_every_process() -> None:
    script = (
        "from mesodask.numerics.decoder_identity import decoder_identity as i; from sklearn.svm import SVC\n"
        "print(i(SVC(class_weight={1: .5, 0: 1}, random_state=3)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == decoder_identity(SVC(class_weight={1: 0.5, 0: 1}, random_state=3))


@pytest.mark.parametrize(
    ("decoder", "text"),
    [
        (SVC(random_state=np.random.RandomState(0)), "decoder.random_state is .*another text in every process"),
        (make_pipeline(FunctionTransformer(lambda X: X), SVC()), r"decoder.steps\[0\]\[1\].func is .*<lambda>"),
        (SVC(kernel=np.random.default_rng(0).normal), "decoder.kernel is <bound method Generator.normal of"),
    ],
)
def test_parameters_that_no_text_identifies_are_refused(decoder: object, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        decoder_identity(decoder)


# runs


SMALL = {"ks": (16,), "R": 2, "n_label_shuffles": 2, "targets": "choice"}


@pytest.fixture
def run(
    subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path: Path
) -> Callable[..., RunStore]:
    """Runs curves of two of the shared subject's sessions in a cache of this test."""
    (tmp_path / "data").mkdir()
    for session in sessions:
        source = Path(session.encoding["source"])
        (tmp_path / "data" / source.name).symlink_to(source)

    def compute(**options: object) -> RunStore:
        settings = SMALL | {"client": client} | options
        return neuron_dropping_curves(
            subject.eids[:2], one=subject.one_dir, cache_dir=tmp_path, roicat_root=subject.roicat_root, **settings
        )

    return compute


def test_run_by_a_decoder(
    run: Callable[..., RunStore], subject: SimulatedSubject, submitted: list[runner.Task], tracked: xr.Dataset
) -> None:
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=2))
    store = run(decoder=forest)
    assert store.attrs["decoder"] == decoder_identity(forest)
    assert submitted
    submitted.clear()
    assert run(decoder=make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=2))).path == store.path
    assert submitted == []

    features = store.features("choice", subject.eids[1])
    decoded = features["decoded"].values
    X, y = features["X"].values[decoded], features["y"].values[decoded]
    nulls = features["null_label"].values[:, decoded]
    order = seeds.generator(0, "neurons", 1).permutation(X.shape[1])
    fold_seed = seeds.integer_seed(0, "folds", subject.eids[1], "choice", 1)
    labels = np.column_stack([y, nulls[:2].T])
    again = cross_val_scores(X[:, order[:16]], labels, seed=fold_seed, decoder=forest)
    one = store.scores("choice").isel(session=1, resample=1).sel(k=16)
    assert float(one["score"]) == again[0]
    np.testing.assert_array_equal(one["null_score"].values, again[1:].astype(np.float32))

    before = store.scores("choice")
    grown = run(decoder=forest, n_label_shuffles=3).scores("choice")
    np.testing.assert_array_equal(grown["score"].values, before["score"].values)
    np.testing.assert_array_equal(grown["null_score"].values[..., :2], before["null_score"].values)


def test_the_decoder_is_part_of_a_runs_name(run: Callable[..., RunStore]) -> None:
    few = {"ks": (4,), "R": 1, "n_label_shuffles": 0}
    default = run(**few)
    assert default.attrs["decoder"] is None
    assert len({default.path, *(run(**few, decoder=liblinear(C=C)).path for C in (0.1, 1.0))}) == 3


def test_default_runs_keep_their_names(sessions: list[xr.Dataset], tracked: xr.Dataset) -> None:
    """The formula of the name as it was before there were other decoders."""
    paths = [Path(session.encoding["source"]) for session in sessions]
    content = {
        "eids": tracked["session"].values.tolist(),
        "uids": tracked["cluster_uid"].values.tolist(),
        "rows": tracked["roi"].values.tolist(),
        "signals": [session.attrs["signal_kind"] for session in sessions],
        "settings": NdcSettings().score_identity(),
    }
    assert "decoder" not in content["settings"]
    assert run_prefix(tracked, paths, NdcSettings()).endswith(f"_{short_hash(content)}")
    assert not run_prefix(tracked, paths, NdcSettings(), "x").endswith(f"_{short_hash(content)}")


def test_unusable_decoders_are_told_before_any_work(run: Callable[..., RunStore], tmp_path: Path) -> None:
    for options, text in (
        ({"decoder": SVC}, "is a class"),
        ({"decoder": SVC(), "C": 0.1}, "C is 0.1 and a decoder is given"),
        ({"decoder": SVC(random_state=np.random.RandomState(0))}, "decoder.random_state"),
    ):
        with pytest.raises(SettingsError, match=text):
            run(**options)
    assert not (tmp_path / "decoding").exists()


NOTEBOOK = '''
from sklearn.base import BaseEstimator, ClassifierMixin

class Centroids(ClassifierMixin, BaseEstimator):
    """The axis between the classes' means."""

    def fit(self, X, y):
        self.classes_ = [0, 1]
        self.axis_ = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
        return self

    def decision_function(self, X):
        return X @ self.axis_
'''


def test_a_class_of_a_notebook_reaches_the_workers(
    run: Callable[..., RunStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell: dict = {"__name__": "__main__"}
    exec(NOTEBOOK, cell)
    # the workers' own __main__ has no such class
    monkeypatch.setattr(sys.modules["__main__"], "Centroids", cell["Centroids"], raising=False)
    store = run(decoder=cell["Centroids"]())
    scores = store.scores("choice")
    assert scores["finished"].all()
    assert (scores["score"].mean("resample") > 0.55).all()
    assert json.loads(store.attrs["decoder"])["class"] == "__main__.Centroids"
