"""The simulator: its files through ONE and NumPy, against its truth, and the statistics it promises. 15 s."""

import itertools
import json
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from one.api import One
from scipy import stats

from mesodask.errors import DataError, SettingsError
from mesodask.simulate import SimulatedSubject, activity, simulate_subject
from mesodask.simulate.behavior import draw_behavior
from mesodask.simulate.recipe import Recipe
from mesodask.simulate.wheel import draw_wheel

REAL_TRIALS = Path(__file__).resolve().parents[2] / "shared" / "real" / "ibl_trials.csv"
MESSY = {
    "subject": "SP_01",
    "n_days": 3,
    "rois_per_fov": (40, 30, 20),
    "n_trials": 120,
    "shuffle_fovs": True,
    "no_go_rate": 0.03,
    "missing_movement_rate": 0.05,
    "bad_frames": 0.01,
    "untracked": 0.2,
}
PERIOD = Recipe.frame_period


@pytest.fixture(scope="module")
def messy(tmp_path_factory) -> SimulatedSubject:
    return simulate_subject(tmp_path_factory.mktemp("messy"), **MESSY)


@pytest.fixture(scope="module")
def one(messy) -> One:
    return One(cache_dir=messy.one_dir, mode="local")


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> SimulatedSubject:
    """One session with enough neurons and trials for statistics."""
    folder = tmp_path_factory.mktemp("large")
    return simulate_subject(folder, n_days=1, rois_per_fov=(150, 150), n_trials=400)


def fov_folders(subject, eid):
    return sorted((subject.session_folder(eid) / "alf").glob("FOV_*"))


def table(subject, eid):
    return pd.read_parquet(subject.session_folder(eid) / "alf" / "task_00" / "_ibl_trials.table.pqt")


def all_rows(subject, eid, name):
    return np.concatenate([np.load(folder / name) for folder in fov_folders(subject, eid)])


def deconvolved(subject, eid):
    """All ROIs of a session, FOVs in name order: (roi, time)."""
    name = "mpci.ROIActivityDeconvolved.npy"
    return np.concatenate([np.load(folder / name).T for folder in fov_folders(subject, eid)])


def file_bytes(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# ---- what ONE reads

# ONE 3.6 uses keywords that pandas 3.1 deprecates
one_on_new_pandas = pytest.mark.filterwarnings(r"ignore:The (copy|inplace) keyword:DeprecationWarning")


@one_on_new_pandas
def test_one_lists_sessions_and_collections(messy, one):
    found = one.search(subject=messy.subject)
    assert sorted(map(str, found)) == sorted(messy.eids)
    for eid in messy.eids:
        collections = {str(c) for c in one.list_collections(eid)}
        assert collections == {"alf/FOV_00", "alf/FOV_01", "alf/FOV_02", "alf/task_00"}
        assert one.eid2path(eid) == messy.session_folder(eid)


@one_on_new_pandas
def test_one_loads_fields_of_view(messy, one):
    eid = messy.eids[0]
    attributes = ["stackPos", "mpciROITypes", "cellClassifier", "uuids", "mlapdv_estimate"]
    attributes.append("brainLocationIds_ccf_2017_estimate")
    for folder in fov_folders(messy, eid):
        collection = f"alf/{folder.name}"
        signals = one.load_object(eid, "mpci", collection=collection)
        rois = one.load_object(eid, "mpciROIs", collection=collection, attribute=attributes)
        stack = one.load_object(eid, "mpciStack", collection=collection)
        n_frames, n_rois = signals["ROIActivityF"].shape
        assert signals["ROIActivityDeconvolved"].shape == signals["ROINeuropilActivityF"].shape
        assert all(len(signals[name]) == n_frames for name in ("times", "badFrames", "mpciFrameQC"))
        assert all(len(value) == n_rois for value in rois.values())
        assert list(pd.DataFrame(rois["uuids"]).columns) == ["uuids"]
        assert stack["timeshift"].shape == (512,)


@one_on_new_pandas
def test_one_loads_trials_and_wheel(messy, one):
    eid = messy.eids[1]
    trials = one.load_object(eid, "trials", collection="alf/task_00")
    assert {"stimOff_times", "goCueTrigger_times", "quiescencePeriod", "intervals", "choice"} <= set(trials)
    assert all(len(value) == 120 for value in trials.values())
    wheel = one.load_object(eid, "wheel", collection="alf/task_00")
    assert wheel["position"].shape == wheel["timestamps"].shape
    assert (np.diff(wheel["timestamps"]) > 0).all()
    assert np.diff(wheel["timestamps"]).std() > 0.01


def test_eids_stay_the_same(messy, tmp_path):
    again = simulate_subject(tmp_path, **{**MESSY, "n_days": 1, "seed": 9})
    assert again.eids == messy.eids[:1]
    assert uuid.UUID(again.eids[0]).version == 3


# ---- the files as they are


def test_arrays_have_the_dtypes_and_order_of_real_files(messy):
    expected = {
        "mpci.times": ("float64", 1),
        "mpci.badFrames": ("bool", 1),
        "mpci.mpciFrameQC": ("uint8", 1),
        "mpci.ROIActivityF": ("float32", 2),
        "mpci.ROINeuropilActivityF": ("float32", 2),
        "mpci.ROIActivityDeconvolved": ("float32", 2),
        "mpciStack.timeshift": ("float64", 1),
        "mpciROIs.stackPos": ("int64", 2),
        "mpciROIs.mpciROITypes": ("int16", 1),
        "mpciROIs.cellClassifier": ("float64", 1),
        "mpciROIs.mlapdv_estimate": ("float64", 2),
        "mpciROIs.brainLocationIds_ccf_2017_estimate": ("int64", 1),
    }
    others = {"mpciROIs.uuids.csv", "mpciFrameQC.names.tsv", "mpciROITypes.names.tsv"}
    for eid in messy.eids:
        for folder in fov_folders(messy, eid):
            assert {path.name for path in folder.iterdir()} == {f"{name}.npy" for name in expected} | others
            for name, (dtype, ndim) in expected.items():
                array = np.load(folder / f"{name}.npy", mmap_mode="r")
                assert (array.dtype, array.ndim) == (np.dtype(dtype), ndim), name
                if "Activity" in name:
                    assert array.T.flags.c_contiguous


def test_histology_drops_the_suffix(tmp_path):
    mouse = simulate_subject(tmp_path, n_days=1, rois_per_fov=(3,), n_trials=3, histology=True)
    names = {path.name for path in fov_folders(mouse, mouse.eids[0])[0].iterdir()}
    assert {"mpciROIs.mlapdv.npy", "mpciROIs.brainLocationIds_ccf_2017.npy"} <= names
    assert not any("estimate" in name for name in names)


def test_trials_table_is_consistent(messy):
    for eid in messy.eids:
        trials = table(messy, eid)
        assert (trials[["contrastLeft", "contrastRight"]].notna().sum(axis=1) == 1).all()
        assert (trials["intervals_0"] < trials["stimOn_times"]).all()
        assert (trials["stimOn_times"] < trials["response_times"]).all()
        assert (trials["response_times"] < trials["feedback_times"]).all()
        assert (trials["feedback_times"] < trials["intervals_1"]).all()
        assert (trials["intervals_1"].to_numpy()[:-1] <= trials["intervals_0"].to_numpy()[1:]).all()
        no_go = trials["choice"] == 0
        assert no_go.any()
        assert trials.loc[no_go, "firstMovement_times"].isna().all()
        assert (trials.loc[no_go, "feedbackType"] == -1).all()
        np.testing.assert_allclose((trials["response_times"] - trials["stimOn_times"])[no_go], 60)
        # choice +1 reports left
        side = np.where(trials["contrastLeft"].isna(), 1, -1)
        rewarded = trials["choice"].to_numpy() == -side
        np.testing.assert_array_equal(trials["feedbackType"].to_numpy() == 1, rewarded)
        np.testing.assert_array_equal(trials["rewardVolume"] > 0, rewarded)


def test_wheel_turns_clockwise_for_choice_one(messy):
    for eid in messy.eids:
        folder = messy.session_folder(eid) / "alf" / "task_00"
        times, position = (np.load(folder / f"_ibl_wheel.{name}.npy") for name in ("timestamps", "position"))
        trials, truth = table(messy, eid), messy.truth(eid)
        moved = trials["choice"].to_numpy() != 0
        before = np.interp(truth["movement_times"].values[moved], times, position)
        after = np.interp(trials["response_times"].to_numpy()[moved], times, position)
        np.testing.assert_array_equal(np.sign(after - before), -trials["choice"].to_numpy()[moved])


def test_clocks(messy):
    eid = messy.eids[0]
    truth = messy.truth(eid)
    first = truth["frame_times"].values[0]
    for i, folder in enumerate(fov_folders(messy, eid)):
        times = np.load(folder / "mpci.times.npy")
        np.testing.assert_array_equal(times, truth["frame_times"].values[i])
        np.testing.assert_allclose(np.diff(times), PERIOD)
        assert 0 <= times[0] - first[0] < PERIOD
        line = np.load(folder / "mpciROIs.stackPos.npy")[:, 0]
        delays = np.load(folder / "mpciStack.timeshift.npy")[line]
        np.testing.assert_array_equal(delays, truth["roi_delay"].values[truth["fov_index"] == i])
    trials = table(messy, eid)
    assert first[0] < trials["intervals_0"].iloc[0]
    assert first[-1] > trials["intervals_1"].iloc[-1]


def test_gap_and_number_of_frames(tmp_path):
    mouse = simulate_subject(
        tmp_path, n_days=1, rois_per_fov=(3,), n_trials=10, n_frames=900, gap=12.0, signals=("deconvolved",)
    )
    folder = fov_folders(mouse, mouse.eids[0])[0]
    steps = np.diff(np.load(folder / "mpci.times.npy"))
    assert len(steps) == 899
    np.testing.assert_allclose(steps.max(), 12 + PERIOD)
    assert (steps > 2 * PERIOD).sum() == 1
    assert [path.name for path in folder.glob("mpci.ROI*")] == ["mpci.ROIActivityDeconvolved.npy"]


def test_places(messy):
    for folder in itertools.chain.from_iterable(fov_folders(messy, eid) for eid in messy.eids):
        y, x, _ = np.load(folder / "mpciROIs.stackPos.npy").T
        ml, ap, _ = np.load(folder / "mpciROIs.mlapdv_estimate.npy").T
        # 512 pixels are about 660 um, x to the right and y to the back
        assert np.polyfit(x, ml, 1)[0] == pytest.approx(660 / 512)
        assert np.polyfit(y, ap, 1)[0] == pytest.approx(-660 / 512)
        regions = np.load(folder / "mpciROIs.brainLocationIds_ccf_2017_estimate.npy")
        assert set(regions) <= {385, 993, 985, 879, 329, 394, 39, 312782546}


# ---- truth against files


def roicat_lines(subject, eid, fov):
    folder = subject.session_folder(eid).relative_to(subject.one_dir / "simlab" / "Subjects")
    path = subject.roicat_root / "ROICaT" / folder / "alf" / fov / "mpciROIs.clusterUIDs.csv"
    return path.read_text().split("\n")[:-1]


def test_rows_hold_the_neurons_that_the_truth_says(messy):
    neurons = messy.neurons()
    uid_of = dict(zip(neurons["neuron"].values, neurons["cluster_uid"].values, strict=True))
    assert len(set(uid_of.values())) == len(uid_of)
    n_blank = 0
    for eid in messy.eids:
        truth = messy.truth(eid)
        lines = []
        for i, folder in enumerate(fov_folders(messy, eid)):
            fov = roicat_lines(messy, eid, folder.name)
            assert len(fov) == int((truth["fov_index"] == i).sum())
            lines += fov
        expected = [
            uid_of[n] if t else "" for n, t in zip(truth["neuron"].values, truth["tracked"].values, strict=True)
        ]
        assert lines == expected
        n_blank += lines.count("")
        types = all_rows(messy, eid, "mpciROIs.mpciROITypes.npy")
        np.testing.assert_array_equal(types == 1, truth["is_cell"])
        probability = all_rows(messy, eid, "mpciROIs.cellClassifier.npy")
        np.testing.assert_array_equal(probability >= 0.5, truth["is_cell"])
        assert ((probability >= 0) & (probability <= 1)).all()
        bad = [np.load(folder / "mpci.badFrames.npy") for folder in fov_folders(messy, eid)]
        np.testing.assert_array_equal(bad, truth["bad_frame"])
    assert stats.binomtest(n_blank, 270, 0.2).pvalue > 1e-3
    assert all(uuid.UUID(uid).version == 4 for uid in uid_of.values())


def test_neurons_persist_and_change_row(large, messy, tmp_path):
    mouse = simulate_subject(
        tmp_path, n_days=3, rois_per_fov=(400,), n_trials=2, persistence=0.7, signals=("deconvolved",)
    )
    present = [mouse.truth(eid)["neuron"].values for eid in mouse.eids]
    for a, b in itertools.combinations(present, 2):
        assert stats.binomtest(len(np.intersect1d(a, b)), 400, 0.7**2).pvalue > 1e-3
        assert (a == b).mean() < 0.05
    everyone = set(np.concatenate(present))
    assert everyone == set(mouse.neurons()["neuron"].values)
    # FOV numbers move with shuffle_fovs: the same site (of 40, 30 or 20 ROIs) under several names
    sizes = [[len(roicat_lines(messy, eid, f"FOV_0{i}")) for i in range(3)] for eid in messy.eids]
    assert all(sorted(day) == [20, 30, 40] for day in sizes)
    assert len({tuple(day) for day in sizes}) > 1
    weights = large.neurons()["weight"].values
    for column in weights.T:
        assert stats.binomtest(int((column != 0).sum()), len(column), 0.25).pvalue > 1e-3
        assert stats.binomtest(int((column > 0).sum()), int((column != 0).sum()), 0.5).pvalue > 1e-3


def test_codes_are_the_labels_of_the_table(messy):
    for eid in messy.eids:
        trials, truth = table(messy, eid), messy.truth(eid)
        code = truth["code"].to_pandas()
        np.testing.assert_array_equal(code["choice"], trials["choice"])
        np.testing.assert_array_equal(code["feedback"], trials["feedbackType"])
        block = trials["probabilityLeft"].map({0.2: -1, 0.5: 0, 0.8: 1})
        np.testing.assert_array_equal(code["block"], block)
        stimulus = (trials["contrastRight"] > 0).astype(int) - (trials["contrastLeft"] > 0)
        np.testing.assert_array_equal(np.sign(code["stimulus"]), stimulus)
        shown = trials["firstMovement_times"].to_numpy()
        same = np.isnan(shown) | (shown == truth["movement_times"].values)
        assert same.all()
        assert np.isnan(shown).sum() > np.isnan(truth["movement_times"]).sum()


# ---- determinism


def test_same_settings_give_the_same_bytes(messy, tmp_path):
    again = simulate_subject(tmp_path / "again", **MESSY)
    for root in ("one/simlab", "chronic_csv"):
        assert file_bytes(again.folder / root) == file_bytes(messy.folder / root)
    other = simulate_subject(tmp_path / "other", **MESSY, seed=1)
    ours, theirs = (file_bytes(subject.one_dir / "simlab") for subject in (messy, other))
    same = {path.name for path in ours if ours[path] == theirs.get(path)}
    drawn = ("Activity", "stackPos", "mlapdv", "cellClassifier", "uuids", "_ibl_")
    assert not [name for name in same if any(word in name for word in drawn)]


def test_a_session_depends_neither_on_their_number_nor_on_blocks_nor_on_signals(messy, tmp_path, monkeypatch):
    monkeypatch.setattr(activity, "BLOCK_ROIS", 7)
    short = simulate_subject(tmp_path, **{**MESSY, "n_days": 1}, signals=("fluorescence", "deconvolved"))
    folder = messy.session_folder(messy.eids[0])
    expected = {k: v for k, v in file_bytes(folder).items() if "Neuropil" not in k.name}
    assert file_bytes(short.session_folder(short.eids[0])) == expected


def test_a_finished_folder_is_reused_and_an_interrupted_one_made_again(tmp_path, messy):
    small = {"n_days": 2, "rois_per_fov": (4,), "n_trials": 3}
    calls = []
    whole = simulate_subject(tmp_path / "a", **small, progress=lambda *call: calls.append(call))
    assert calls == [(0, 2), (1, 2), (2, 2)]
    assert simulate_subject(tmp_path / "a", **small, progress=lambda *call: calls.append(call)) == whole
    assert len(calls) == 3
    with pytest.raises(DataError, match="n_days"):
        simulate_subject(tmp_path / "a", **{**small, "n_days": 3})

    def stop(session_index, _n_sessions):
        if session_index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_subject(tmp_path / "b", **small, progress=stop)
    with pytest.raises(DataError, match="no simulated subject"):
        SimulatedSubject.open(tmp_path / "b")
    again = simulate_subject(tmp_path / "b", **small)
    assert file_bytes(again.one_dir / "simlab") == file_bytes(whole.one_dir / "simlab")
    assert {path.name for path in again.folder.iterdir()} == {"one", "chronic_csv", "truth.zarr"}

    (tmp_path / "c" / "one").mkdir(parents=True)
    with pytest.raises(DataError, match="already holds one"):
        simulate_subject(tmp_path / "c", **small)


# ---- behaviour


def test_behaviour_has_the_statistics_of_a_mouse():
    sessions = [draw_behavior(np.random.default_rng(seed), n_trials=500) for seed in range(12)]
    trials = pd.concat([session.trials for session in sessions])
    reaction = trials["firstMovement_times"] - trials["stimOn_times"]
    assert reaction.median() == pytest.approx(0.3, abs=0.03)
    assert reaction.quantile(0.99) > 1.5
    assert 0 < (reaction < 0).mean() < 0.03
    delay = trials["feedback_times"] - trials["response_times"]
    assert delay.between(0, 0.01).all()
    correct = trials["feedbackType"] == 1
    contrast = trials[["contrastLeft", "contrastRight"]].max(axis=1)
    assert correct[contrast == 0].mean() == pytest.approx(0.59, abs=0.05)
    assert correct[contrast == 1].mean() > 0.9
    assert trials["choice"].isin((-1, 1)).all()


def test_no_gos_and_missing_movements_come_at_their_rates():
    behavior = draw_behavior(np.random.default_rng(0), n_trials=3000, no_go_rate=0.1, missing_movement_rate=0.2)
    no_go = behavior.trials["choice"].to_numpy() == 0
    assert stats.binomtest(int(no_go.sum()), 3000, 0.1).pvalue > 1e-3
    np.testing.assert_array_equal(np.isnan(behavior.movement_times), no_go)
    hidden = behavior.trials["firstMovement_times"].isna().to_numpy()[~no_go]
    assert stats.binomtest(int(hidden.sum()), len(hidden), 0.2).pvalue > 1e-3


@pytest.mark.skipif(not REAL_TRIALS.is_file(), reason="the shared real recordings are not on this machine")
def test_real_trials_are_taken_as_they_are(tmp_path):
    real = pd.read_csv(REAL_TRIALS)
    mouse = simulate_subject(tmp_path / "a", trials=REAL_TRIALS, n_days=1, rois_per_fov=(5,), signals=("deconvolved",))
    trials = table(mouse, mouse.eids[0])
    assert len(trials) == 500
    for name in set(real) & set(trials):
        np.testing.assert_array_equal(trials[name], real[name], err_msg=name)
    reaction = trials["firstMovement_times"] - trials["stimOn_times"]
    assert (reaction > 0).all()
    assert (trials["firstMovement_times"] < trials["feedback_times"]).all()
    assert (trials["intervals_1"].to_numpy()[:-1] <= trials["intervals_0"].to_numpy()[1:]).all()
    np.testing.assert_array_equal(mouse.truth(mouse.eids[0])["side"], real["stim_side"])
    times = mouse.truth(mouse.eids[0])["frame_times"].values
    assert times.min() < trials["intervals_0"].min()
    assert times.max() > trials["intervals_1"].max()

    lapsing = draw_behavior(np.random.default_rng(0), n_trials=1, recorded=real, no_go_rate=0.1)
    waits = (lapsing.trials["choice"] == 0).to_numpy()
    assert 25 < waits.sum() < 80
    # every no-go moves what follows by the rest of its 60 s, and nothing else changes
    shift = lapsing.trials["stimOn_times"] - real["stimOn_times"]
    rest = 60 - (real["feedback_times"] - real["stimOn_times"])
    expected = np.concatenate([[0], np.cumsum(np.where(waits, rest, 0))[:-1]])
    np.testing.assert_allclose(shift, expected, atol=0.1)
    assert lapsing.end > real["feedback_times"].max() + 25 * 20


def test_recorded_first_movements_are_kept_and_gaps_filled():
    recorded = pd.DataFrame(
        {
            "stimOn_times": [10.0, 20.0, 30.0],
            "firstMovement_times": [10.3, np.nan, 30.2],
            "choice": [1, -1, 0],
            "contrastLeft": [1.0, np.nan, 0.0],
            "contrastRight": [np.nan, 0.5, np.nan],
            "probabilityLeft": 0.5,
        }
    )
    behavior = draw_behavior(np.random.default_rng(0), n_trials=1, recorded=recorded)
    assert behavior.movement_times[0] == 10.3
    assert 20 < behavior.movement_times[1] < 25
    assert np.isnan(behavior.movement_times[2])
    assert behavior.side.tolist() == [-1, 1, -1]
    assert behavior.trials["feedbackType"].tolist() == [1, 1, -1]


def test_wheel_is_still_without_movement():
    behavior = draw_behavior(np.random.default_rng(1), n_trials=50, no_go_rate=1.0)
    _, position = draw_wheel(behavior, np.random.default_rng(2))
    assert (position == 0).all()


# ---- population


def hold_means(signal, times, delays, events, window):
    """Windowed means by hand: each of 200 instants takes the sample from its own side of the event."""
    instants = events[:, None] + np.linspace(*window, 200)
    means = np.empty((len(events), len(signal)))
    for roi, trace in enumerate(signal):
        clock = times[roi] + delays[roi]
        if window[1] <= 0:
            index = np.searchsorted(clock, instants, side="right") - 1
        else:
            index = np.searchsorted(clock, instants, side="left")
        means[:, roi] = trace[index].mean(axis=1)
    return means


EVENTS = {
    "choice": ("firstMovement_times", (-0.1, 0.0)),
    "stimulus": ("stimOn_times", (0.0, 0.1)),
    "feedback": ("feedback_times", (0.0, 0.2)),
    "block": ("stimOn_times", (-0.4, -0.1)),
}


@pytest.mark.parametrize("target", list(EVENTS))
def test_coding_neurons_and_no_others_tell_the_labels(large, target):
    eid = large.eids[0]
    truth, trials = large.truth(eid), table(large, eid)
    event, window = EVENTS[target]
    label = np.sign(truth["code"].sel(target=target).values)
    times = truth["frame_times"].values[truth["fov_index"].values]
    activity_of = hold_means(
        deconvolved(large, eid), times, truth["roi_delay"].values, trials[event].to_numpy(), window
    )
    t, p = stats.ttest_ind(activity_of[label > 0], activity_of[label < 0], equal_var=False)
    weight = large.neurons()["weight"].sel(neuron=truth["neuron"].values)
    codes = weight.sel(target=target).values != 0
    silent = (weight.values == 0).all(axis=1)
    signs_agree = np.sign(t) == np.sign(weight.sel(target=target).values)
    assert signs_agree[codes].mean() > 0.9
    assert (p[codes] < 0.05).mean() > 0.6
    # neurons without any code: labels are related to each other, so only these are free of all
    assert silent.sum() > 60
    assert (p[silent] < 0.05).mean() < 0.15


def test_nothing_crosses_its_event():
    behavior = draw_behavior(np.random.default_rng(3), n_trials=200)
    trains = activity.code_trains(behavior)
    stim_on = behavior.trials["stimOn_times"].to_numpy()
    feedback = behavior.trials["feedback_times"].to_numpy()
    for target, event in (("choice", stim_on), ("stimulus", stim_on), ("feedback", feedback)):
        np.testing.assert_allclose(trains[target].mean_before(event, PERIOD), 0, atol=1e-9)
        assert np.abs(trains[target].mean_before(event + PERIOD, PERIOD)).mean() > 0.1
    # full strength where the windows look
    movement = behavior.movement_times
    late = movement - stim_on > 0.5
    choice = behavior.trials["choice"].to_numpy()
    np.testing.assert_allclose(trains["choice"].mean_before(movement[late] - 0.298, PERIOD), choice[late])
    ended = trains["choice"].mean_before(movement + PERIOD, PERIOD)
    np.testing.assert_allclose(ended, 0, atol=1e-9)
    value = np.sign(behavior.trials["probabilityLeft"] - 0.5).to_numpy()
    for before in (0.1, 0.4 + PERIOD):
        np.testing.assert_allclose(trains["block"].mean_before(stim_on - before, PERIOD), value, atol=1e-9)


def test_pulse_train_is_the_integral_of_its_pulses():
    rng = np.random.default_rng(4)
    start = rng.uniform(0, 20, 30)
    stop, value = start + rng.uniform(-0.2, 3, 30), rng.normal(size=30)
    train = activity.PulseTrain.from_pulses(start, stop, value)
    for t in rng.uniform(-1, 25, 50):
        overlap = np.clip(np.minimum(t, stop) - np.maximum(t - 0.7, start), 0, None)
        assert train.mean_before(np.array([t]), 0.7)[0] == pytest.approx((overlap * value).sum() / 0.7, abs=1e-9)


def test_events_have_their_rate_and_are_mostly_zero(tmp_path):
    mouse = simulate_subject(
        tmp_path, n_days=1, rois_per_fov=(200,), n_trials=100, fractions={}, signals=("deconvolved",)
    )
    events = deconvolved(mouse, mouse.eids[0])
    rows = mouse.truth(mouse.eids[0])["neuron"].values
    rate = mouse.neurons()["rate"].sel(neuron=rows).values
    assert (mouse.neurons()["weight"] == 0).all()
    assert (events == 0).mean() > 0.6
    assert (events >= 0).all()
    # four fast latents of loading sd .2 raise the mean by exp(4 * .2**2 / 2)
    ratio = events.mean(axis=1) / PERIOD / rate
    assert ratio.mean() == pytest.approx(np.exp(0.08), rel=0.05)
    assert np.corrcoef(np.log(rate), np.log(events.mean(axis=1)))[0, 1] > 0.9


def test_fluorescence_is_decaying_events_on_neuropil(large):
    folder = fov_folders(large, large.eids[0])[1]
    f, neuropil, events = (
        np.load(folder / f"mpci.{name}.npy")
        for name in ("ROIActivityF", "ROINeuropilActivityF", "ROIActivityDeconvolved")
    )
    calcium = np.zeros(events.shape)
    decay = np.exp(-PERIOD / 0.7)
    for t in range(len(events)):
        calcium[t] = (decay * calcium[t - 1] if t else 0) + events[t]
    rest = f - 0.7 * neuropil - 40 * calcium
    np.testing.assert_allclose(rest.std(axis=0), 8, rtol=0.1)
    assert (rest.mean(axis=0) > 20).all()

    # neuropil is shared within the field of view; cells hardly are
    def shared(x):
        return np.corrcoef(x[:, :40].T)[np.triu_indices(40, 1)].mean()

    assert shared(neuropil) > 0.7
    assert 0 < shared(events) < 0.2


def test_drift_is_slow_and_without_it_there_is_none(tmp_path):
    slow_share = []
    for drift in (0.0, 1.0):
        mouse = simulate_subject(
            tmp_path / str(drift), n_days=1, rois_per_fov=(60,), n_trials=200, fractions={}, drift=drift,
            signals=("deconvolved",),
        )  # fmt: skip
        events = deconvolved(mouse, mouse.eids[0])
        minutes = events[:, : events.shape[1] // 300 * 300].reshape(60, -1, 300).sum(axis=2)
        following = [np.corrcoef(trace[:-1], trace[1:])[0, 1] for trace in minutes]
        slow_share.append(np.mean(following))
    assert slow_share[0] < 0.2
    assert slow_share[1] > 0.5


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_days": 0}, "n_days is 0"),
        ({"rois_per_fov": ()}, "rois_per_fov is empty"),
        ({"rois_per_fov": (60, 0)}, "rois_per_fov is 0"),
        ({"persistence": 1.5}, "persistence is 1.5"),
        ({"persistence": None}, "persistence is None; expected a number from 0 to 1"),
        ({"drift": "x"}, "drift is 'x'; expected a number"),
        ({"subject": 5}, "subject is 5; expected letters"),
        ({"fractions": {"choice": "a"}}, r"fractions\['choice'\] is 'a'; expected a number"),
        ({"frame_period": float("nan")}, "frame_period is nan"),
        ({"fractions": {"chioce": 0.5}}, "fractions names chioce"),
        ({"fractions": {"choice": 2}}, r"fractions\['choice'\] is 2"),
        ({"signals": ("spikes",)}, "signals is"),
        ({"subject": "a/b"}, "subject is 'a/b'"),
        ({"start_date": "today"}, "start_date is 'today'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(SettingsError, match=message):
        simulate_subject(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


GOOD_TRIALS = {
    "stimOn_times": [1.0, 2.0],
    "choice": [1, -1],
    "contrastLeft": [1.0, 0.5],
    "contrastRight": [np.nan, np.nan],
    "probabilityLeft": [0.5, 0.5],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stimOn_times": [2.0, 1.0]}, "must increase"),
        ({"stimOn_times": [1.0, np.nan]}, "without a time"),
        ({"choice": [2, 1]}, "other values than"),
    ],
)
def test_bad_trials_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        simulate_subject(tmp_path, trials=pd.DataFrame({**GOOD_TRIALS, **change}))
    path = tmp_path / "missing.csv"
    with pytest.raises(DataError, match=r"missing\.csv"):
        simulate_subject(tmp_path, trials=path)


def test_settings_are_stored_with_the_truth(messy):
    settings = SimulatedSubject.open(messy.folder).settings
    assert settings["rois_per_fov"] == [40, 30, 20]
    assert json.loads(json.dumps(settings)) == settings
    with pytest.raises(DataError, match="no group"):
        messy.truth("nobody")
