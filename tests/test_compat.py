"""The original names: what they answer, and the five examples of the original README, as a user runs them."""

import inspect
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from alyx_server import alyx_server, set_up_one
from distributed import Client
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from mesodask import compat, simulate_subject, summarize
from mesodask.compat.show import show_figure
from mesodask.compute.script import unseen_by_workers
from mesodask.errors import DataError, SettingsError, TrackingError
from mesodask.io.crossstore import CrossSessionStore
from mesodask.numerics import seeds
from mesodask.numerics.labels import balanced_subset
from mesodask.simulate import SimulatedSubject

# what a person who has the original README before them types: its calls, with the import lines changed and the eids
# filled in. They stand on the top level of a script, without any guard, as they do there.
EXAMPLES = """
from one.api import ONE

one = ONE()
print("sessions", len(one.search()))

from mesodask.compat import load_or_embed, plot_raster

eid = {eids!r}[0]
rr = load_or_embed(eid)
print("signal", *rr["roi_signal"].shape, *rr["isort"].shape, *rr["xyz"].shape)
plot_raster(eid, bg="regions")

from pathlib import Path
from mesodask.compat import match_tracked_indices_across_sessions

eids = {eids!r}
idx_map = match_tracked_indices_across_sessions(one, eids[0], eids[1:], roicat_root=Path.home() / "chronic_csv")
print("shared", len(idx_map), *set(map(len, idx_map.values())))

from mesodask.compat import neuron_dropping_curves_cached

out = neuron_dropping_curves_cached(
    eids=eids,
    targets=("choice", "feedback", "stimulus", "block"),
    cache_dir=Path.home() / "FlatIron/meso/decoding",
    ks={ks},
    R={R},
    metric="auc",
    cv_splits=5,
    n_label_shuffles={n_label_shuffles},
    equalize_trials=True,
)
print("curves", len(out), *sorted(set(target for _, target in out)))
print("run", *set(about["run"] for about in out.values()))

from mesodask.compat import run_cross_session_train_first_test_rest, plot_cross_session_train_first_test_rest

payload = run_cross_session_train_first_test_rest(
    subject="SP072",
    min_sessions=10,
    min_k_shared=1000,
    targets=("choice", "feedback", "stimulus", "block"),
    dimreduce="pca",
    dim_k={dim_k},
    n_shuffle={n_shuffle},
)
print("payload", payload["n_shared"], *[len(payload["results"][target]) for target in payload["targets"]])
plot_cross_session_train_first_test_rest(payload)
print("cross", payload["run"])
"""
FULL = {
    "ks": (8, 16, 32, 64, 128, 256, 512, 1024, 2048), "R": 50, "n_label_shuffles": 100, "dim_k": 512, "n_shuffle": 200,
}  # fmt: skip
FEWER = FULL | {"R": 2}  # a fiftieth of the time; with them the other numbers cost next to nothing
EIGHT_IN_TEN = 0.8


# the examples -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SimulatedSubject]]:
    """A user's home: ten sessions of SP072, a ROICaT tree, and a default ONE."""
    folder = tmp_path_factory.mktemp("home")
    subject = simulate_subject(
        folder / "sim", n_days=10, rois_per_fov=(650, 650), n_trials=400, frame_period=0.5, persistence=1.0,
        untracked=0.0, non_cells=0.02, signals=("deconvolved",), seed=3,
    )  # fmt: skip
    (folder / "chronic_csv").symlink_to(subject.roicat_root)
    with alyx_server(subject) as address:
        set_up_one(folder, address, subject.one_dir)
        yield folder, subject


def run_examples(
    home: Path, subject: SimulatedSubject, sizes: dict[str, object], timeout: float
) -> dict[str, list[str]]:
    """Run the examples as a script in a process of its own, and give what it printed, by the first word of a line."""
    script = home / "examples.py"
    script.write_text(EXAMPLES.format(eids=list(subject.eids), **sizes))
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    environment = {name: value for name, value in os.environ.items() if name not in proxies}
    package = str(Path(compat.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment | {"HOME": str(home), "MPLBACKEND": "agg", "PYTHONPATH": package},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return {words[0]: words[1:] for line in done.stdout.splitlines() if (words := line.split())}


def check_examples(
    home: Path, subject: SimulatedSubject, said: dict[str, list[str]]
) -> tuple[xr.Dataset, CrossSessionStore]:
    """Hold what the examples printed and stored against the truth."""
    truth = [subject.truth(eid) for eid in subject.eids]
    n_cells = int(truth[0]["is_cell"].sum())
    always = set.intersection(*(set(t["neuron"].values[t["is_cell"].values].tolist()) for t in truth))
    assert len(always) >= 1000
    assert said["sessions"] == ["10"]
    assert [int(number) for number in said["signal"]][:1] + said["signal"][2:] == [
        n_cells,
        str(n_cells),
        str(n_cells),
        "3",
    ]
    assert said["shared"] == ["10", str(len(always))]
    assert said["curves"] == ["40", "block", "choice", "feedback", "stimulus"]
    assert said["payload"] == [str(len(always)), "10", "10", "10", "10"]
    rasters = list((subject.one_dir / "meso" / "rasters").glob(f"{subject.eids[0]}_*.png"))
    assert len(rasters) == 1
    run = Path(said["run"][0])
    assert run.parent == home / "FlatIron" / "meso" / "decoding"
    assert run.with_suffix(".png").stat().st_size > 50_000
    summary, cross = summarize(run), CrossSessionStore(Path(said["cross"][0]))
    assert (summary["status"] == "done").all()
    assert summary["k"].values.tolist() == sorted({8, 16, 32, 64, 128, 256, 512, min(1024, len(always)), len(always)})
    assert all(dataset.sizes["shuffle"] >= 200 for dataset in cross.datasets().values())
    return summary, cross


def test_the_five_examples_of_the_original_readme(home: tuple[Path, SimulatedSubject]) -> None:
    """They run; what a quarter of a thousand neurons code is found by all of them, at home and days later."""
    said = run_examples(*home, FEWER, timeout=900)
    summary, cross = check_examples(*home, said)
    assert (summary["n_resamples"].max("k") == 2).all()
    assert (summary["ceiling"].mean("session") > EIGHT_IN_TEN).all()
    for dataset in cross.datasets().values():
        assert float(dataset["accuracy"].mean()) > 0.6


@pytest.mark.slow
def test_the_five_examples_with_their_own_numbers(home: tuple[Path, SimulatedSubject]) -> None:
    said = run_examples(*home, FULL, timeout=6 * 3600)
    summary, _ = check_examples(*home, said)
    assert (summary["n_resamples"].max("k") == 50).all()


# each name --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """Three days, a quarter of the ROIs no cells: rows of cells and rows of ROIs differ widely."""
    return simulate_subject(
        tmp_path_factory.mktemp("mouse"), n_days=3, n_trials=240, non_cells=0.25, signals=("deconvolved",), seed=21
    )


@pytest.fixture(scope="module")
def idx_map(mouse: SimulatedSubject) -> dict[str, np.ndarray]:
    given = [mouse.eids[i] for i in (2, 0, 1)]
    return compat.match_tracked_indices_across_sessions(
        mouse.one_dir, given[0], given[1:], roicat_root=mouse.roicat_root
    )


def test_indices_are_rows_of_the_dictionary_and_mean_the_same_neurons(
    mouse: SimulatedSubject, idx_map: dict[str, np.ndarray]
) -> None:
    """By the simulator's truth, and in the order in which the sessions were given."""
    assert list(idx_map) == [mouse.eids[i] for i in (2, 0, 1)]
    neurons = []
    for eid, rows in idx_map.items():
        truth = mouse.truth(eid)
        cells = np.flatnonzero(truth["is_cell"].values)
        neurons.append(truth["neuron"].values[cells[rows]].tolist())
        rr = compat.load_or_embed(eid, one=mouse.one_dir)
        assert len(rr["roi_signal"]) == len(cells)
        files = mouse.session_folder(eid) / "alf"
        signal = np.hstack([np.load(files / f"FOV_0{i}" / "mpci.ROIActivityDeconvolved.npy") for i in (0, 1)]).T
        np.testing.assert_array_equal(rr["roi_signal"], signal[cells])
        chosen = compat.load_or_embed(eid, restrict=rows, one=mouse.one_dir)
        np.testing.assert_array_equal(chosen["roi_signal"], signal[cells[rows]])
        assert {len(chosen[name]) for name in ("roi_times", "region_labels", "region_colors", "xyz")} == {len(rows)}
        assert "isort" not in chosen
        np.testing.assert_array_equal(compat.store_rows(eid, rows, one=mouse.one_dir), cells[rows])
        assert sorted(rr["isort"]) == list(range(len(cells)))
    assert neurons[0] == neurons[1] == neurons[2]
    assert len(set(neurons[0])) > 20


def test_without_the_filter_rows_are_those_of_the_store(mouse: SimulatedSubject) -> None:
    eids = list(mouse.eids[:2])
    how = {"roicat_root": mouse.roicat_root, "filter_neurons": False}
    found = compat.match_tracked_indices_across_sessions(mouse.one_dir, eids[0], eids[1:], **how)
    neurons = [mouse.truth(eid)["neuron"].values[rows].tolist() for eid, rows in found.items()]
    assert neurons[0] == neurons[1]
    assert len(compat.load_or_embed(eids[0], one=mouse.one_dir, filter_neurons=False)["roi_signal"]) == 120
    mask = np.zeros(120, dtype=bool)
    mask[[3, 90]] = True
    assert compat.store_rows(eids[0], mask, filter_neurons=False, one=mouse.one_dir).tolist() == [3, 90]


def test_rows_that_do_not_exist_are_named(mouse: SimulatedSubject) -> None:
    n_cells = int(mouse.truth(mouse.eids[0])["is_cell"].sum())
    for wrong in ([n_cells], [-1], [0.5], [[1]], [], [True]):
        with pytest.raises(SettingsError, match="restrict"):
            compat.load_or_embed(mouse.eids[0], restrict=wrong, one=mouse.one_dir)


def test_build_trial_features(mouse: SimulatedSubject, idx_map: dict[str, np.ndarray]) -> None:
    """The mean of the frames in the window by the first FOV's clock, z-scored over kept trials, then balanced."""
    eid = mouse.eids[0]
    X, y, (event, window) = compat.build_trial_features(eid, "block", restrict=idx_map[eid], one=mouse.one_dir)
    assert (event, window) == ("stimOn_times", (-0.4, -0.1))
    assert (X.dtype, X.shape[1], y.mean()) == (np.float32, len(idx_map[eid]), 0.5)
    trials, _ = compat.get_win_times(eid, one=mouse.one_dir)
    rr = compat.load_or_embed(eid, restrict=idx_map[eid], one=mouse.one_dir)
    files = mouse.session_folder(eid) / "alf" / "FOV_00"
    times, bad = np.load(files / "mpci.times.npy"), np.load(files / "mpci.badFrames.npy")
    rr["roi_signal"][:, bad] = np.nan
    means, labels = [], []
    for p_left, start in zip(trials["probabilityLeft"], trials["stimOn_times"], strict=True):
        inside = (times >= start - 0.4) & (times <= start - 0.1) & ~bad
        if p_left in (0.2, 0.8) and inside.any():
            means.append(np.nanmean(rr["roi_signal"][:, inside].astype(float), axis=1))
            labels.append(int(p_left == 0.8))
    scored = StandardScaler().fit_transform(np.array(means))
    kept = balanced_subset(labels, key=(0, "balance", eid, "block"))
    np.testing.assert_allclose(X, scored[kept], atol=2e-4)
    assert y.tolist() == [labels[i] for i in kept]


def test_a_session_without_a_class_is_told(mouse: SimulatedSubject, tmp_path: Path) -> None:
    unbiased = simulate_subject(tmp_path, n_days=1, n_trials=40, rois_per_fov=(6,), signals=("deconvolved",))
    with pytest.raises(DataError, match=r"block: 0 trials of class 1 and 0 of class 0.*40 dropped: no label"):
        compat.build_trial_features(unbiased.eids[0], "block", one=unbiased.one_dir)


def test_best_subsets_and_pairs(mouse: SimulatedSubject) -> None:
    """Against all subsets, counted by the truth."""
    seen = {
        eid: set(t["neuron"].values[t["is_cell"].values & t["tracked"].values].tolist())
        for eid, t in ((eid, mouse.truth(eid)) for eid in mouse.eids)
    }
    how = {"one": mouse.one_dir, "roicat_root": mouse.roicat_root, "min_trials": 200}
    best = compat.best_eid_subsets_for_animal("SP072", k_min=2, **how)
    assert list(best) == [2, 3]
    pairs = {pair: len(seen[pair[0]] & seen[pair[1]]) for pair in ((a, b) for a in seen for b in seen if a < b)}
    assert best[2]["n_shared"] == max(pairs.values())
    assert pairs[tuple(sorted(best[2]["eids"]))] == best[2]["n_shared"]  # type: ignore[index]
    assert best[3] == {"eids": list(mouse.eids), "n_shared": len(set.intersection(*seen.values()))}
    with pytest.raises(SettingsError, match="3 of 3 sessions"):
        compat.best_eid_subsets_for_animal("SP072", **how)
    found = compat.pairwise_shared_indices_for_animal("SP072", **how)
    first, second, third = mouse.eids
    assert list(found) == [f"{first[:3]}_{second[:3]}", f"{second[:3]}_{third[:3]}"]
    for pair in found.values():
        neurons = []
        for eid, rows in pair.items():
            truth = mouse.truth(eid)
            neurons.append(truth["neuron"].values[np.flatnonzero(truth["is_cell"].values)[rows]].tolist())
        assert neurons[0] == neurons[1]
        assert len(neurons[0]) == len(set.intersection(*(seen[eid] for eid in pair)))


def test_no_pairs_are_none(mouse: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    how = {"one": mouse.one_dir, "roicat_root": mouse.roicat_root}
    assert compat.pairwise_shared_indices_for_animal("SP072", **how) == {}
    assert "240 trials, at least 400 wanted" in caplog.text


def test_event_windows(mouse: SimulatedSubject) -> None:
    """Masks against a loop over trials."""
    trials, tts = compat.get_win_times(mouse.eids[0], one=mouse.one_dir)
    assert trials["intervals"].shape == (240, 2)
    assert trials.choice is trials["choice"]
    assert len(tts) == 26
    p, choice = trials["probabilityLeft"], trials["choice"]
    for i in range(240):
        deep = i >= 10 and (p[i - 10 : i + 1] == 0.8).all()
        left = not np.isnan(trials["contrastLeft"][i])
        assert tts["stimLbLcR"][1][i] == (deep and left and choice[i] == -1)
        assert tts["sRbRchoiceL"][1][i] == (p[i] == 0.2 and not left and choice[i] == 1)
        pause = np.inf if i == 0 else trials["stimOn_times"][i] - trials["intervals"][i - 1, 1]
        assert tts["inter_trial"][1][i] == (pause > 1.15)
    assert [tts[name][0] for name in ("block50", "motor_init", "choiceR", "fback0")] == [
        "stimOn_times", "firstMovement_times", "firstMovement_times", "feedback_times",
    ]  # fmt: skip
    assert [tts[name][2] for name in ("quiescence", "motor_init", "choiceL", "fback1")] == [
        [0.4, -0.1], [0.15, 0.0], [0.0, 0.15], [0.0, 0.3],
    ]  # fmt: skip


def test_neuron_dropping_curve_in_memory() -> None:
    """Each score is that of scikit-learn on the same neurons and folds."""
    rng = np.random.default_rng(4)
    y = rng.permutation(np.arange(80) % 2)
    X = rng.normal(size=(80, 30)) + 0.6 * y[:, None] * (np.arange(30) < 8)
    found = compat.neuron_dropping_curve(X, y, ks=(5, 30, 64), R=3, n_label_shuffles=7, seed=2)
    assert found.ks.tolist() == [5, 30]
    for r in range(3):
        order = seeds.generator(2, "neurons", r).permutation(30)
        folds = StratifiedKFold(5, shuffle=True, random_state=seeds.integer_seed(2, "folds", r))
        aucs = []
        for train, test in folds.split(X, y):
            part = X[:, order[:5]]
            scaler = StandardScaler().fit(part[train])
            fit = LogisticRegression(solver="liblinear", tol=1e-10).fit(scaler.transform(part[train]), y[train])
            aucs.append(roc_auc_score(y[test], fit.decision_function(scaler.transform(part[test]))))
        assert found.scores[5][r] == pytest.approx(np.mean(aucs), abs=5e-3)  # type: ignore[index]
    assert found.ceiling == np.mean(found.scores[30])  # type: ignore[arg-type]
    assert found.shuffled is not None
    assert [len(null) for null in found.shuffled.values()] == [7, 7]
    assert abs(np.mean(found.shuffled[30]) - 0.5) < 0.15  # type: ignore[arg-type]
    more = compat.neuron_dropping_curve(X, y, ks=(5, 8, 30), R=5, seed=2)
    np.testing.assert_allclose(more.scores[5][:3], found.scores[5], atol=1e-3)  # type: ignore[index]
    brief = compat.neuron_dropping_curve(X, y, ks=(5,), R=3, seed=2, stats_only=True, scores_dtype=np.float16)
    expected = {"mean": np.mean(found.scores[5]), "sd": np.std(found.scores[5], ddof=1), "n": 3}  # type: ignore[arg-type]
    assert brief.scores[5] == pytest.approx(expected, abs=1e-3)
    assert brief.shuffled is None
    with pytest.raises(SettingsError, match="up to 30 neurons"):
        compat.neuron_dropping_curve(X, y, ks=(31,))
    with pytest.raises(SettingsError, match="shuffle_mode"):
        compat.neuron_dropping_curve(X, y, n_label_shuffles=1, shuffle_mode="rotate")


def test_curves_go_to_the_decoding_folder_and_resume(
    mouse: SimulatedSubject, client: Client, tmp_path: Path, submitted: list[object]
) -> None:
    how = {
        "roicat_root": mouse.roicat_root, "cache_dir": tmp_path / "decoding here", "ks": (4, 8), "R": 2,
        "n_label_shuffles": 5, "one": mouse.one_dir, "client": client, "plot": False,
    }  # fmt: skip
    out = compat.neuron_dropping_curves_cached(mouse.eids, targets=("choice",), **how)
    about = out[mouse.eids[1], "choice"]
    run = Path(about["run"])
    assert run.parent == tmp_path / "decoding here"
    assert not (run.parent / "data").exists()
    assert about["date"] == mouse.dates[1].isoformat()
    assert about["all_eids"] == list(mouse.eids)
    assert about["win"] == (-0.1, 0.0)
    X, _, _ = compat.build_trial_features(mouse.eids[1], "choice", one=mouse.one_dir)
    assert about["trials"] <= len(X)
    n_tasks = len(submitted)
    assert compat.neuron_dropping_curves_cached(mouse.eids, targets=("choice",), **how) == out
    assert len(submitted) == n_tasks
    both = compat.neuron_dropping_curves_cached(mouse.eids, targets=("choice", "stimulus"), **how)
    assert {target for _, target in both} == {"choice", "stimulus"}
    assert len(submitted) > n_tasks
    assert summarize(run)["target"].values.tolist() == ["choice", "stimulus"]


def test_features_of_a_run_are_those_of_the_original_name(
    mouse: SimulatedSubject, client: Client, idx_map: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """The same frames, rows and trials: neither table nor sampling differs between the two ways."""
    how = {"roicat_root": mouse.roicat_root, "one": mouse.one_dir, "client": client, "cache_dir": tmp_path}
    out = compat.neuron_dropping_curves_cached(
        mouse.eids, targets=("block",), ks=(4,), R=1, n_label_shuffles=0, equalize_trials=False, plot=False, **how
    )
    eid = mouse.eids[2]
    stored = xr.open_dataset(
        out[eid, "block"]["run"], engine="zarr", group=f"features/block/{eid}", consolidated=False, chunks=None
    )
    X, y, _ = compat.build_trial_features(eid, "block", restrict=idx_map[eid], one=mouse.one_dir)
    decoded = stored["decoded"].values
    np.testing.assert_array_equal(X, stored["X"].values[decoded])
    np.testing.assert_array_equal(y, stored["y"].values[decoded])


def test_across_sessions(mouse: SimulatedSubject, client: Client, tmp_path: Path) -> None:
    how = {
        "one": mouse.one_dir, "roicat_root": mouse.roicat_root, "cache_dir": tmp_path / "cache", "client": client,
        "targets": ("choice",), "n_shuffle": 9, "dim_k": 8, "Cs": (0.1, 1.0),
    }  # fmt: skip
    first, second, third = mouse.eids
    payload = compat.run_cross_session_train_first_test_rest("SP072", eid_train=first, eid_test=[third, second], **how)
    assert json.loads(json.dumps(payload))["eids"] == [first, third, second]
    home, *abroad = payload["results"]["choice"]
    assert (home["which"], home["eid"]) == ("train_session_cv", first)
    assert [record["eid"] for record in abroad] == [third, second]
    stored = CrossSessionStore(Path(payload["run"])).dataset("choice")
    assert abroad[0]["acc"] == float(stored["accuracy"][2])
    null = np.array(abroad[0]["acc_null"])
    assert abroad[0]["acc_shuffle"] == pytest.approx(null.mean())
    assert abroad[0]["p_value"] == (1 + (null >= abroad[0]["acc"] - 1e-9).sum()) / 10
    assert payload["first_session_cv"]["choice"]["mean_acc"] == pytest.approx(
        np.mean(payload["first_session_cv"]["choice"]["fold_accs"])
    )
    figure = compat.plot_cross_session_train_first_test_rest(payload, show=False, save_path=tmp_path / "new" / "a.png")
    assert (tmp_path / "new" / "a.png").stat().st_size > 10_000
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["choice"]
    later = compat.run_cross_session_train_first_test_rest("SP072", eid_train=second, eid_test=[first, third], **how)
    assert later["results"]["choice"][0]["eid"] == second
    each = CrossSessionStore(Path(later["run"])).dataset("choice")
    assert later["results"]["choice"][1]["acc"] == float(each["accuracy"][1, 0])
    assert compat.plot_cross_session_train_first_test_rest(later, show=False).axes


def test_sessions_across_days_are_checked(mouse: SimulatedSubject) -> None:
    how = {"one": mouse.one_dir, "roicat_root": mouse.roicat_root}
    with pytest.raises(SettingsError, match="eid_test None; expected"):
        compat.run_cross_session_train_first_test_rest("SP072", eid_train=mouse.eids[0], **how)
    with pytest.raises(SettingsError, match="sessions of SP072 are given for the subject SP061"):
        compat.run_cross_session_train_first_test_rest(
            "SP061", eid_train=mouse.eids[0], eid_test=list(mouse.eids[1:]), **how
        )
    with pytest.raises(TrackingError, match="400 wanted"):
        compat.run_cross_session_train_first_test_rest("SP072", **how)


def test_sparseness(mouse: SimulatedSubject, client: Client, idx_map: dict[str, np.ndarray]) -> None:
    """Of rates that are read off the dictionary, in the order of the rows."""
    eid = mouse.eids[0]
    restrict = idx_map[eid][::-1]
    how = {"one": mouse.one_dir, "client": client}
    found = compat.compute_sparseness(eid, restrict=restrict, **how)
    trials, tts = compat.get_win_times(eid, one=mouse.one_dir)
    assert list(found) == [*tts, "full_session"]
    rr = compat.load_or_embed(eid, restrict=restrict, one=mouse.one_dir)
    files = mouse.session_folder(eid) / "alf" / "FOV_00"
    times, good = np.load(files / "mpci.times.npy"), ~np.load(files / "mpci.badFrames.npy")
    low, high = np.percentile(rr["roi_signal"][:, good].astype(float), [20, 99], axis=1, keepdims=True)
    scaled = (rr["roi_signal"] - low) / np.maximum(high - low, 1e-3)
    event, mask, (before, after) = tts["fback1"]
    rates = []
    for time in trials[event][mask]:
        inside = (times >= time - before) & (times <= time + after) & good
        if inside.any():
            rates.append(np.maximum(scaled[:, inside].mean(axis=1), 0))
    mean = np.mean(rates, axis=0)
    window = found["fback1"]
    assert window["n_trials"] == len(rates)
    np.testing.assert_allclose(window["firing_rates"], mean, rtol=1e-3, atol=1e-5)
    assert window["sparseness"] == pytest.approx(mean.mean() ** 2 / (mean**2).mean(), rel=1e-3)
    assert found["full_session"]["n_time_bins"] == len(times)
    by_trial = compat.compute_sparseness(eid, restrict=restrict, per_trial=True, **how)
    expected = [r.mean() ** 2 / (r**2).mean() for r in rates if r.any()]
    np.testing.assert_allclose(by_trial["fback1"]["sparseness_per_trial"], expected, rtol=1e-3)
    assert len(by_trial["full_session"]["chunk_bounds_idx"]) == 241


def test_pictures(mouse: SimulatedSubject, idx_map: dict[str, np.ndarray], tmp_path: Path) -> None:
    eid = mouse.eids[1]
    how = {"one": mouse.one_dir, "cache_dir": tmp_path}
    n_cells = int(mouse.truth(eid)["is_cell"].sum())
    raster = compat.plot_raster(eid, **how)
    assert f"{n_cells} of 120 ROIs" in " ".join(axes.get_title(loc="left") for axes in raster.axes)
    whole = compat.plot_raster(eid, bg="firing_rate", restr=False, restrict=idx_map[eid], **how)
    spans = [figure.axes[1].get_xlim() for figure in (raster, whole)]
    assert spans[0][1] - spans[0][0] == pytest.approx(60)
    assert spans[1][1] - spans[1][0] > 600
    saved = sorted(path.name.split("_")[-2] for path in (tmp_path / "rasters").iterdir())
    assert saved == sorted([str(n_cells), str(len(idx_map[eid]))])
    rank = np.empty(n_cells)
    rank[compat.load_or_embed(eid, **how)["isort"]] = np.arange(n_cells)
    by_rank = compat.plot_xyz(eid, **how).axes[0].collections[0]
    assert spearmanr(by_rank.get_array(), rank).statistic == pytest.approx(1)
    alone = compat.plot_xyz(eid, mapping="isort", restrict=idx_map[eid], axoff=True, **how)
    assert not alone.axes[0].axison
    assert alone.axes[0].get_legend() is not None
    with pytest.raises(SettingsError, match="isort or regions"):
        compat.plot_xyz(eid, mapping="depth", **how)


class Window(FigureManagerBase):
    """Where a person with a display would see a figure."""

    shown: ClassVar[list[Figure]] = []

    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:
        del block
        cls.shown += [manager.canvas.figure for manager in Gcf.get_all_fig_managers()]


class Canvas(FigureCanvasAgg):
    manager_class = Window  # type: ignore[assignment]


def test_figures_are_shown_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure()
    show_figure(figure)  # nowhere, and without a warning
    backend = ModuleType("some_display")
    backend.FigureCanvas, backend.FigureManager = Canvas, Window  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_display", backend)
    before = plt.get_backend()
    try:
        plt.switch_backend("module://some_display")
        show_figure(figure)
    finally:
        plt.close("all")
        plt.switch_backend(before)
    assert Window.shown == [figure]


# manners ----------------------------------------------------------------------------------------------------------


def test_an_unknown_keyword_names_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="no keyword 'cv_split'; did you mean 'cv_splits'"):
        compat.neuron_dropping_curves_cached([], cv_split=3)  # type: ignore[call-arg]
    functions = [getattr(compat, name) for name in compat.__all__ if name != "NDCResult"]
    for function in functions:
        with pytest.raises(SettingsError, match="no keyword 'quite_another'"):
            function(quite_another=1)


def test_a_keyword_without_a_meaning_is_told_once_it_is_used(
    mouse: SimulatedSubject, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    eids, how = list(mouse.eids), {"roicat_root": mouse.roicat_root}
    compat.match_tracked_indices_across_sessions(mouse.one_dir, eids[0], eids[1:], server_root=None, **how)
    assert "server_root" not in caplog.text
    compat.match_tracked_indices_across_sessions(mouse.one_dir, eids[0], eids[1:], server_root="/data", **how)
    assert "server_root='/data' does nothing any more" in caplog.text


def test_names_and_keywords_are_those_of_design() -> None:
    """Each keyword of the originals, in their order where they are positional."""
    expected = {
        "compute_sparseness": ["eid", "scaling", "restrict", "per_trial"],
        "load_or_embed": ["eid", "restrict", "rerun", "filter_neurons"],
        "get_win_times": ["eid"],
        "plot_raster": ["eid", "bg", "alpha_bg", "alpha_data", "interp", "restr", "rsort", "scaling", "restrict"],
        "plot_xyz": ["eid", "mapping", "axoff", "ax", "restrict"],
        "match_tracked_indices_across_sessions": ["one", "anchor_eid", "other_eids", "roicat_root", "server_root"],
        "build_trial_features": ["eid", "target", "rerun", "restrict"],
        "neuron_dropping_curve": [
            "X", "y", "ks", "R", "metric", "cv_splits", "seed", "ceiling_mode", "n_label_shuffles", "shuffle_seed",
            "shuffle_mode", "block_ids", "scores_dtype", "stats_only", "progress",
        ],
        "neuron_dropping_curves_cached": [
            "eids", "targets", "roicat_root", "cache_dir", "ks", "R", "metric", "cv_splits", "delta",
            "equalize_trials", "seed", "ceiling_mode", "n_label_shuffles", "shuffle_seed", "plot", "rerun",
        ],
        "best_eid_subsets_for_animal": ["subject"],
        "pairwise_shared_indices_for_animal": ["subject"],
        "run_cross_session_train_first_test_rest": ["subject"],
        "plot_cross_session_train_first_test_rest": ["payload"],
    }  # fmt: skip
    for name, positional in expected.items():
        assert list(inspect.signature(getattr(compat, name)).parameters)[: len(positional)] == positional


def test_the_script_is_hidden_from_workers_and_found_again() -> None:
    script = sys.modules["__main__"]
    before = (getattr(script, "__file__", None), script.__spec__)
    with unseen_by_workers():
        assert not hasattr(script, "__file__")
        assert script.__spec__ is None
    assert (getattr(script, "__file__", None), script.__spec__) == before
