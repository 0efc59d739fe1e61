"""What narrows, limits or replaces the data of a run, what it would cost, and that every setting can be typed."""

import re
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import xarray as xr
from distributed import Client
from runs import Run, n_scores, pieces
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier

from mesodask import neuron_dropping_curves, plot_ndc, summarize, track_neurons, trial_features
from mesodask.cli import main
from mesodask.cli.commands import ALL
from mesodask.compute import runner
from mesodask.curves import plan as run_plan
from mesodask.curves.plan import Piece
from mesodask.curves.populations import check_populations
from mesodask.curves.scores import score_by_decoder, score_subset
from mesodask.errors import DataError, NothingToDecodeError, SettingsError, TrackingError
from mesodask.io.runstore import RunStore
from mesodask.numerics import crossval, seeds
from mesodask.numerics.crossval import cross_val_scores
from mesodask.numerics.nulls import null_labels
from mesodask.settings import NdcSettings
from mesodask.simulate import SimulatedSubject

TINY = {"targets": "choice", "ks": (4,), "R": 2, "n_label_shuffles": 5}


# neurons and trials -------------------------------------------------------------------------------------------


def test_neurons_of_a_region(run: Run, subject: SimulatedSubject) -> None:
    where = {"one": subject.one_dir, "roicat_root": subject.roicat_root}
    everywhere = run(**TINY)
    store = run(**TINY, neurons=["VISp"])
    expected = track_neurons(subject.eids, neurons=["VISp"], **where)
    assert 4 < expected.sizes["neuron"] < everywhere.tracked().sizes["neuron"]
    np.testing.assert_array_equal(store.tracked()["roi"], expected["roi"])
    assert store.path != everywhere.path
    with pytest.raises(SettingsError, match="did you mean"):
        run(**TINY, neurons="VISpp")
    with pytest.raises(SettingsError, match=r"both tracked= and neurons="):
        run(**TINY, neurons="VISp", tracked=expected)
    with pytest.raises(TrackingError, match=r"narrowed to neurons=.*share no neuron"):
        run(**TINY, neurons={subject.eids[0]: []})


def test_neurons_of_one_session(run: Run, subject: SimulatedSubject, sessions: list[xr.Dataset]) -> None:
    eid, is_neuron = subject.eids[0], sessions[0]["is_neuron"].values
    rows = np.flatnonzero(is_neuron)[::2]
    by_rows = run(**TINY, eids=[eid], neurons=rows)
    assert sorted(by_rows.tracked()["roi"].values[0]) == rows.tolist()
    mask = np.zeros(len(is_neuron), dtype=bool)
    mask[rows] = True
    assert run(**TINY, eids=[eid], neurons=mask).path == by_rows.path
    assert run(**TINY, eids=[eid], neurons={eid: mask}).path == by_rows.path


def test_trial_mask(run: Run, subject: SimulatedSubject, sessions: list[xr.Dataset]) -> None:
    first, second, third = subject.eids
    mask = np.arange(240) < 150
    whole = run(**TINY)
    store = run(**TINY, trial_mask={second: mask})
    rows = store.tracked()["roi"].values
    expected = trial_features(sessions[1], rows[1], "choice", trial_mask=mask)
    np.testing.assert_array_equal(store.features("choice", second)["X"], expected["X"])
    assert store.features("choice", second)["trial_index"].values.max() < 150
    assert store.features("choice", third)["trial_index"].values.max() > 150
    assert store.features("choice", second).attrs["dropped"]["trial_mask"] == 90
    other = run(**TINY, trial_mask={second: np.arange(240) < 151})
    assert len({whole.path, store.path, other.path}) == 3
    assert run(**TINY, trial_mask={first: np.ones(240, dtype=bool)}).path == whole.path
    one = run(**TINY, eids=[second], trial_mask=mask)
    assert one.features("choice", second)["trial_index"].values.max() < 150


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda _: np.ones(240, dtype=bool), "one mask for 3 sessions"),
        (lambda eids: {eids[1]: np.ones(239, dtype=bool)}, "expected 240 booleans"),
        (lambda eids: {eids[1]: np.ones(240)}, "dtype float64"),
        (lambda _: {"nobody": np.ones(240, dtype=bool)}, "nobody is none of the sessions"),
    ],
)
def test_wrong_trial_masks(run: Run, subject: SimulatedSubject, mask: Callable, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        run(**TINY, trial_mask=mask(subject.eids))


# the null on fewer resamples ----------------------------------------------------------------------------------


def test_null_on_the_first_resamples_alone(run: Run, submitted: list[runner.Task], tmp_path: Path) -> None:
    size = TINY | {"R": 14}
    store = run(**size, shuffle_resamples=3)
    assert n_scores(submitted) == 3 * 2 * (14 + 3 * 5)
    scores = store.scores("choice")
    assert scores["finished"].all()
    computed = scores["null_score"].notnull().all(["session", "k", "shuffle"]).values
    assert computed.tolist() == [True] * 3 + [False] * 11
    assert scores["status"].values.tolist() == ["done"] * 3
    submitted.clear()
    assert run(**size, shuffle_resamples=3).path == store.path
    assert submitted == []
    run(**size, shuffle_resamples=12)
    assert n_scores(submitted) == 3 * 2 * 9 * 5
    submitted.clear()
    grown = run(**size).scores("choice")
    assert n_scores(submitted) == 3 * 2 * 2 * 5
    store.path.rename(tmp_path / "moved.zarr")
    xr.testing.assert_equal(run(**size).scores("choice"), grown)


# populations that did not come from ALF -----------------------------------------------------------------------


def population(seed: int, n_trials: int = 120, n_neurons: int = 12, code: float = 1.5) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_trials) % 2)
    X = 3 + rng.normal(size=(n_trials, n_neurons)) + code * np.outer(y, rng.normal(size=n_neurons) > 0)
    block = np.arange(n_trials) // 20
    return xr.Dataset({"X": (("trial", "neuron"), X), "y": ("trial", y), "block": ("trial", block)})


@pytest.fixture
def own(client: Client, tmp_path: Path) -> Callable[..., RunStore]:
    """Curves of populations of one's own."""
    size = {"ks": (4,), "R": 3, "n_label_shuffles": 19, "client": client, "cache_dir": tmp_path}
    return lambda features, **options: neuron_dropping_curves(features=features, **(size | options))


def test_a_population_of_ones_own(own: Callable[..., RunStore], submitted: list[runner.Task]) -> None:
    data = population(0)
    store = own({"odour": data})
    assert store.path.name.startswith("odour_")
    scores = store.scores("labels")
    assert scores["status"].values.tolist() == ["done"]
    assert scores["k"].values.tolist() == [4, 12]
    X, y = data["X"].values, data["y"].values
    z = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    labels = null_labels("circular", y, range(100), key=(0, "null", "odour", "labels"))
    for resample in range(3):
        order = seeds.generator(0, "neurons", resample).permutation(12)
        fold_seed = seeds.integer_seed(0, "folds", "odour", "labels", resample)
        one = scores.isel(session=0, k=0, resample=resample)
        assert float(one["score"]) == cross_val_scores(z[:, order[:4]], y[:, None], seed=fold_seed)[0]
        null = cross_val_scores(z[:, order[:4]], np.column_stack([y, labels]), seed=fold_seed)[1:20]
        np.testing.assert_array_equal(one["null_score"], null.astype(np.float32))
    summary = summarize(store)
    assert summary["null_kind"].item() == "circular"
    assert float(summary["p_largest"].item()) == pytest.approx(1 / 20)
    assert plot_ndc(store).axes[0].get_title() == "labels"
    submitted.clear()
    assert own({"odour": data}).path == store.path
    assert submitted == []
    assert own({"odour": population(1)}).path != store.path


def test_several_days_of_one_population(own: Callable[..., RunStore]) -> None:
    days = {"day1": population(0, n_trials=120), "day2": population(1, n_trials=100).transpose()}
    for data in days.values():
        data.attrs = {"target": "odour", "subject": "M1"}
    store = own(days)
    assert store.targets() == ["odour"]
    assert store.attrs["subject"] == "M1"
    scores = store.scores("odour")
    assert scores["session"].values.tolist() == ["day1", "day2"]
    assert scores["n_trials"].values.tolist() == [100, 100]  # equalised
    assert own(days, equalize_trials=False).scores("odour")["n_trials"].values.tolist() == [120, 100]
    assert set(summarize(store)["date"].values) == {"day1", "day2"}


def test_blocks_of_a_population(own: Callable[..., RunStore]) -> None:
    data = population(0)
    store = own({"a": data}, null="blockwise")
    stored = store.features("labels", "a")
    for row in stored["null_label"].values:
        for block in range(6):
            members = data["block"].values == block
            assert row[members].sum() == data["y"].values[members].sum()
    with pytest.raises(SettingsError, match=r"needs block\(trial\), which a"):
        own({"a": data.drop_vars("block")}, null="blockwise")


@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()])
def test_a_population_is_known_by_the_names_of_its_blocks_wherever_they_lie(dtype: object) -> None:
    def build_id(blocks: np.ndarray) -> str:
        names = np.array([f"a block of a long name, {block}" for block in blocks], dtype=dtype)
        return check_populations({"a": population(0).assign(block=("trial", names))})[0].build_id

    blocks = population(0)["block"].values
    assert build_id(blocks) == build_id(blocks)
    assert build_id(blocks) != build_id(np.roll(blocks, 1))


def test_populations_keep_their_build_ids() -> None:
    y = np.arange(4) % 2
    data = xr.Dataset({"X": (("trial", "neuron"), np.eye(4)), "y": ("trial", y)})
    assert check_populations({"a": data})[0].build_id == "bef6e43ae296160048f693414e76e1e5"
    blocks = data.assign(block=("trial", np.array(["l", "l", "r", "r"])))
    assert check_populations({"a": blocks})[0].build_id == "02e80c9c0122ffc6ec901e7361e8ea06"


@pytest.mark.parametrize(
    ("features", "options", "error", "words"),
    [
        ({}, {}, SettingsError, "no population"),
        ({"a/b": population(0)}, {}, SettingsError, "cannot name a run"),
        ({"a": population(0), "b": population(1, n_neurons=5)}, {}, SettingsError, "call neuron_dropping_curves once"),
        (
            {n: population(0).assign_coords(neuron=np.arange(12) + i) for i, n in enumerate("ab")},
            {}, SettingsError, "other neurons",
        ),
        ({n: population(0).assign_attrs(target=n) for n in "ab"}, {}, SettingsError, "several targets"),
        ({"a": population(0)}, {"null": "pseudosession"}, SettingsError, "IBL task"),
        ({"a": population(0)}, {"targets": "choice"}, SettingsError, "attribute target"),
        ({"a": population(0)}, {"eids": ["x"]}, SettingsError, "does not go with eids"),
        ({"a": population(0)}, {"settings": NdcSettings(), "R": 3}, SettingsError, "both settings="),
        ({"a": population(0)["X"]}, {}, SettingsError, "expected an xarray.Dataset"),
        ({"a": population(0).drop_vars("y")}, {}, DataError, r"no y\(trial\)"),
        ({"a": population(0).assign(y=("neuron", np.arange(12)))}, {}, DataError, r"has dims \(neuron\)"),
        ({"a": population(0) * np.nan}, {}, DataError, "not finite in 120 of 120 trials"),
        ({"a": population(0).assign(y=("trial", np.arange(120)))}, {}, DataError, "0 and 1 alone"),
        ({"a": population(0).assign(y=("trial", np.ones(120)))}, {}, NothingToDecodeError, "0 of class 0"),
    ],
)  # fmt: skip
def test_wrong_populations(
    own: Callable[..., RunStore], features: dict, options: dict, error: type[Exception], words: str
) -> None:
    options = {"ks": (4,), "R": 1, "n_label_shuffles": 0} | options
    if "settings" in options:
        with pytest.raises(error, match=words):
            neuron_dropping_curves(features=features, settings=options["settings"], R=3)
        return
    with pytest.raises(error, match=words):
        own(features, **options)


# the same numbers, however a plan is cut ----------------------------------------------------------------------


def test_a_batch_is_computed_whole_whatever_part_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shape decides the last bits of its scores, which few populations would show."""
    data = population(3, n_neurons=5)
    y = data["y"].values
    labels = null_labels("permute", y, range(150), key=("cut",)).T
    columns: list[int] = []
    original = crossval.cross_val_batches

    def note(X: np.ndarray, batches: list[np.ndarray], **how: object) -> object:
        columns.extend(Y.shape[1] for Y in batches)
        return original(X, batches, **how)

    monkeypatch.setattr(crossval, "cross_val_batches", note)
    for data_too, shuffles in ((True, range(3)), (False, range(37, 120)), (True, range(0)), (False, range(100, 101))):
        score_subset(data["X"].values, y, labels, Piece(5, range(1), data_too, shuffles), {"n_splits": 2})
    assert columns == [1, 101, 101, 51, 1, 51]


def test_a_cut_piece_scores_as_the_whole() -> None:
    data = population(3, n_neurons=5)
    X, y = data["X"].values.astype(np.float32), data["y"].values
    labels = null_labels("permute", y, range(150), key=("cut",)).T
    how = {"n_splits": 3, "seed": 4, "metric": "auc", "C": 1.0}
    whole = score_subset(X, y, labels, Piece(5, range(1), True, range(150)), how)
    for shuffles in (range(100), range(100, 150), range(37, 120)):
        part = score_subset(X, y, labels, Piece(5, range(1), False, shuffles), how)
        np.testing.assert_array_equal(part.null, whole.null[shuffles.start : shuffles.stop])
        assert np.isnan(part.score)
    forest = RandomForestClassifier(n_estimators=2)  # each label vector has a seed of its own
    whole = score_by_decoder(X, y, labels, Piece(5, range(1), True, range(9)), how, forest)
    part = score_by_decoder(X, y, labels, Piece(5, range(1), False, range(4, 7)), how, forest)
    np.testing.assert_array_equal(part.null, whole.null[4:7])
    alone = score_by_decoder(X, y, labels, Piece(5, range(1), True), how, forest)
    assert alone.score == whole.score


def test_a_decoder_is_fitted_to_what_is_wanted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = population(3, n_neurons=5)
    X, y = data["X"].values.astype(np.float32), data["y"].values
    labels = null_labels("permute", y, range(9), key=("cut",)).T
    fits = []
    original = LinearDiscriminantAnalysis.fit
    monkeypatch.setattr(LinearDiscriminantAnalysis, "fit", lambda self, *of: (fits.append(1), original(self, *of))[1])
    for piece, n in ((Piece(5, range(1), False, range(4, 5)), 1), (Piece(5, range(1), True, range(2)), 3)):
        fits.clear()
        scores = score_by_decoder(X, y, labels, piece, {"n_splits": 5}, LinearDiscriminantAnalysis())
        assert len(fits) == 5 * n
        assert (scores.data_seconds > 0, np.isfinite(scores.score)) == (piece.data, piece.data)
        assert scores.null_seconds > scores.data_seconds


@pytest.mark.parametrize("decoder", [None, LinearDiscriminantAnalysis()])
def test_another_block_size_gives_the_same_scores(
    own: Callable[..., RunStore], submitted: list[runner.Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    decoder: object,
) -> None:  # fmt: skip
    size = {"R": 23, "decoder": decoder, "n_label_shuffles": 101 if decoder is None else 7}
    features = {"a": population(2)}
    store = own(features, **size)
    n_tasks = len(submitted)
    store.path.rename(tmp_path / "moved.zarr")
    submitted.clear()
    monkeypatch.setattr(run_plan, "SECONDS_PER_TASK", 1e-3)
    again = own(features, **size)
    assert len(submitted) > max(n_tasks, 2 * 23 - 1)
    assert n_scores(submitted) == 2 * 23 * (1 + size["n_label_shuffles"])
    if decoder is not None:
        assert any(0 < len(piece.shuffles) < 7 for _, piece in pieces(submitted))
    xr.testing.assert_equal(again.scores("labels"), RunStore(tmp_path / "moved.zarr").scores("labels"))


# what it would cost -------------------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_tells_what_the_run_does_and_writes_nothing(
    run: Run, submitted: list[runner.Task], tmp_path: Path
) -> None:
    size = {"targets": ("choice", "block"), "ks": (4, 16), "R": 12, "n_label_shuffles": 19}
    before = everything(tmp_path)
    cost = run(**size, dry_run=True)
    assert everything(tmp_path) == before
    store = run(**size)
    assert cost.n_scores == n_scores(submitted)
    files = [path for path in store.path.rglob("*") if path.is_file()]
    assert cost.store_files == pytest.approx(len(files), rel=0.15)
    assert cost.store_bytes == pytest.approx(sum(path.stat().st_size for path in files), rel=0.4)
    before = everything(tmp_path)
    assert run(**size, dry_run=True).n_scores == 0
    more = run(**(size | {"ks": (4, 8, 16), "R": 13}), dry_run=True)
    assert everything(tmp_path) == before
    assert more.n_scores == 2 * 3 * (13 + 3) * 20
    assert run(**size, rerun=True, dry_run=True).n_scores == cost.n_scores


def test_a_dry_run_needs_no_session_store(subject: SimulatedSubject, tmp_path: Path) -> None:
    arguments = {"one": subject.one_dir, "roicat_root": subject.roicat_root, "cache_dir": tmp_path / "none", **TINY}
    cost = neuron_dropping_curves(subject.eids, dry_run=True, **arguments)
    assert "3 of 3 sessions are not embedded yet" in str(cost)
    assert cost.n_scores == 3 * 2 * 2 * 6
    alone = neuron_dropping_curves(subject.eids[:1], dry_run=True, neurons="VISp", **arguments)
    assert alone.n_scores == 2 * 2 * 6
    with pytest.raises(NothingToDecodeError, match="at least 500 trials"):
        neuron_dropping_curves(subject.eids, dry_run=True, min_per_class=500, **arguments)
    assert not (tmp_path / "none").exists()


def test_a_dry_run_on_the_command_line(
    subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--one", subject.one_dir, "--roicat-root", subject.roicat_root, "--cache-dir", tmp_path / "none"]
    small = ["--targets", "choice", "--ks", "4", "--resamples", 2, "--shuffles", 5, "--dry-run"]
    assert main([str(a) for a in ("ndc", *subject.eids, *where, *small)]) == 0
    out = capsys.readouterr().out
    assert re.match(r"72 scores in \d+ tasks of", out)
    for word in ("core minutes", "workers suggested", "memory of a worker", "store", "files"):
        assert word in out
    assert not (tmp_path / "none").exists()


# the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ndc", "pairs"])
def test_every_setting_can_be_typed(name: str) -> None:
    command = next(command for command in ALL if command.name == name)
    options = {parameter.name for parameter in command.params if isinstance(parameter, click.Option)}
    assert options >= set(NdcSettings.model_fields) | {"neurons", "dry_run", "rerun", "all_rois"}


def test_settings_that_were_typed_arrive(
    subject: SimulatedSubject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = {
        "targets": ("choice",), "ks": (4, 8), "R": 3, "n_label_shuffles": 7, "shuffle_resamples": 2, "null": "permute",
        "metric": "accuracy", "cv_splits": 4, "folds": "contiguous", "gap": 2, "C": 0.5, "sampling": "frames",
        "equalize_trials": False, "min_per_class": 12, "delta": 0.1, "seed": 3,
        "windows": {"choice": (-0.2, 0.0), "block": (-0.5, -0.25)}, "events": {"choice": "stimOn_times"},
    }  # fmt: skip
    assert set(typed) == set(NdcSettings.model_fields)
    arguments = ["ndc", subject.eids[0], "--one", subject.one_dir, "--no-equalize-trials", "--resamples", 3,
                 "--shuffles", 7, "--windows", "choice=-0.2:0,block=-0.5:-0.25", "--events",
                 "choice=stimOn_times"]  # fmt: skip
    for name, value in typed.items():
        if name not in ("R", "n_label_shuffles", "equalize_trials", "windows", "events"):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            arguments += [f"--{name.replace('_', '-')}", text]
    seen: dict[str, object] = {}

    def note(eids: list[str], **given: object) -> str:
        seen.update(given)
        return "noted"

    monkeypatch.setattr("mesodask.ndc.neuron_dropping_curves", note)
    assert main([str(a) for a in [*arguments, "--dry-run"]]) == 0
    arrived = NdcSettings(**{name: seen[name] for name in typed})
    assert {name: getattr(arrived, name) for name in typed} == typed
    assert NdcSettings(**typed) == NdcSettings(**{name: seen[name] for name in typed})
