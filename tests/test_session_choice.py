"""Tracking table, best subsets and consecutive pairs of a simulated subject, against its truth."""

import datetime
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from mesodask import (
    best_session_subsets,
    consecutive_pairs,
    load_or_embed,
    plot_tracking,
    simulate_subject,
    track_neurons,
)
from mesodask import tracking_table as table_of
from mesodask.errors import DataError, SettingsError, TrackingError
from mesodask.figures.tracking import shared_values
from mesodask.io.alf import write_one_tables
from mesodask.io.roicat import CLUSTER_FILE
from mesodask.session_choice import subset_eids
from mesodask.simulate import SimulatedSubject

N_DAYS, N_TRIALS = 7, 200
TRIALS = "alf/task_00/_ibl_trials.table.pqt"


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """Seven days on which neurons come and go."""
    return simulate_subject(
        tmp_path_factory.mktemp("mouse"),
        n_days=N_DAYS,
        n_trials=N_TRIALS,
        rois_per_fov=(40, 30),
        persistence=0.8,
        untracked=0.1,
        shuffle_fovs=True,
        signals=("deconvolved",),
        seed=3,
    )


@pytest.fixture
def moved(mouse: SimulatedSubject, tmp_path: Path) -> SimulatedSubject:
    """A copy that a test may damage."""
    shutil.copytree(mouse.folder, tmp_path / "mouse")
    return SimulatedSubject.open(tmp_path / "mouse")


def where(subject: SimulatedSubject) -> dict:
    return {"one": subject.one_dir, "roicat_root": subject.roicat_root}


@pytest.fixture(scope="module")
def table(mouse: SimulatedSubject) -> xr.Dataset:
    return table_of(mouse.subject, **where(mouse))


def true_uids(subject: SimulatedSubject) -> list[set[str]]:
    """Cluster UIDs of the cells that are tracked on each day, from the truth."""
    uid_of = subject.neurons()["cluster_uid"]
    days = []
    for eid in subject.eids:
        truth = subject.truth(eid)
        seen = truth["neuron"].values[truth["tracked"].values & truth["is_cell"].values]
        days.append(set(uid_of.sel(neuron=seen).values.tolist()))
    return days


def change_trials(subject: SimulatedSubject, day: int, change: object) -> None:
    path = subject.session_folder(subject.eids[day]) / TRIALS
    trials = change(pd.read_parquet(path))  # type: ignore[operator]
    trials.to_parquet(path)
    for column in path.parent.glob("_ibl_trials.*.npy"):
        np.save(column, np.load(column)[: len(trials)])


# the tracking table -------------------------------------------------------------------------------------------


def test_table_is_the_true_one(mouse: SimulatedSubject, table: xr.Dataset) -> None:
    days = true_uids(mouse)
    assert table["session"].values.tolist() == list(mouse.eids)
    uids = table["cluster_uid"].values.tolist()
    assert uids == sorted(set.union(*days))
    for day, found in zip(days, table["presence"].values, strict=True):
        assert {uid for uid, there in zip(uids, found, strict=True) if there} == day
    shared = [[len(one & other) for other in days] for one in days]
    assert table["shared"].values.tolist() == shared
    assert table["n_neurons"].values.tolist() == [len(day) for day in days]
    for gap in range(1, N_DAYS):  # one session a day
        counts = [shared[i][i + gap] for i in range(N_DAYS - gap)]
        at_gap = table.sel(gap=gap)
        assert int(at_gap["gap_pairs"]) == len(counts)
        assert float(at_gap["gap_mean"]) == pytest.approx(np.mean(counts))
        assert [int(at_gap["gap_min"]), int(at_gap["gap_max"])] == [min(counts), max(counts)]


def test_table_of_eids_and_its_order(mouse: SimulatedSubject, table: xr.Dataset) -> None:
    some = [mouse.eids[i] for i in (4, 0, 2)]
    found = table_of(some, **where(mouse))
    assert found["date"].values.tolist() == [mouse.dates[i].isoformat() for i in (0, 2, 4)]
    np.testing.assert_array_equal(found["shared"].values, table["shared"].values[::2, ::2][:3, :3])
    assert found["gap"].values.tolist() == [2, 4]
    assert found["gap_pairs"].values.tolist() == [2, 1]


def test_table_narrows_each_session_for_itself(mouse: SimulatedSubject, table: xr.Dataset) -> None:
    found = table_of(mouse.subject, neurons={mouse.eids[0]: []}, **where(mouse))
    assert found["n_neurons"].values.tolist() == [0, *table["n_neurons"].values[1:]]
    assert table_of(mouse.subject, neurons="VISp", **where(mouse))["n_neurons"].values.min() > 0


def test_two_sessions_of_a_day(moved: SimulatedSubject) -> None:
    day = moved.session_folder(moved.eids[1]).parent
    tree = moved.roicat_root / "ROICaT" / moved.subject / day.name
    for folder in (day, tree):
        shutil.copytree(folder / "001", folder / "002")
    write_one_tables(moved.one_dir)
    table = table_of(moved.subject, **where(moved))
    assert table["number"].values.tolist() == [1, 1, 2, 1, 1, 1, 1, 1]
    assert table["gap"].values[0] == 0
    assert int(table["gap_max"][0]) == int(table["n_neurons"][1])


def test_sessions_of_behaviour_alone_are_left_out(moved: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    """A subject has many of them; they are no error, and by eid they are."""
    alf = moved.session_folder(moved.eids[3]) / "alf"
    for fov in ("FOV_00", "FOV_01"):
        shutil.rmtree(alf / fov)
    write_one_tables(moved.one_dir)
    table = table_of(moved.subject, **where(moved))
    assert table["session"].values.tolist() == [eid for eid in moved.eids if eid != moved.eids[3]]
    assert "left out 2025-01-16/001: no ROIs" in caplog.text
    with pytest.raises(DataError, match="no field of view"):
        table_of(moved.eids, **where(moved))


# best subsets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "greedy"])
def test_best_subsets_are_the_true_ones(mouse: SimulatedSubject, method: str) -> None:
    days = true_uids(mouse)
    best = best_session_subsets(mouse.subject, min_trials=N_TRIALS, method=method, **where(mouse))  # type: ignore[arg-type]
    assert best["size"].values.tolist() == [5, 6, 7]
    for size in best["size"].values.tolist():
        chosen = subset_eids(best, size)
        assert chosen == [eid for eid in mouse.eids if eid in chosen]
        assert len(chosen) == size
        one = best.sel(size=size)
        counted = len(set.intersection(*(days[mouse.eids.index(eid)] for eid in chosen)))
        assert int(one["n_shared"]) == counted
        most = max(len(set.intersection(*of)) for of in combinations(days, size))
        assert counted == most if method == "exact" else counted <= most <= counted + int(one["gap"])
        assert track_neurons(chosen, **where(mouse)).sizes["neuron"] == counted
    if method == "exact":
        assert (best["gap"].values == 0).all()
    assert best["n_trials"].values.tolist() == [N_TRIALS] * N_DAYS
    assert best["n_neurons"].values.tolist() == [len(day) for day in days]


def test_default_sizes_for_few_sessions(mouse: SimulatedSubject) -> None:
    best = best_session_subsets(mouse.eids[:4], min_trials=0, **where(mouse))
    assert best["size"].values.tolist() == [2, 3, 4]


def test_unusable_sessions_are_left_out_with_reasons(moved: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    change_trials(moved, 0, lambda trials: trials[: N_TRIALS - 1])
    shutil.rmtree(moved.session_folder(moved.eids[2]) / "alf" / "task_00")
    (moved.session_folder(moved.eids[3]) / TRIALS).write_bytes(b"no table")
    tree = moved.roicat_root / "ROICaT" / moved.subject / moved.dates[4].isoformat()
    for path in tree.rglob(CLUSTER_FILE):
        path.unlink()
    write_one_tables(moved.one_dir)
    best = best_session_subsets(moved.subject, sizes=[2, 3], min_trials=N_TRIALS, **where(moved))
    reasons = best["reason"].values.tolist()
    assert [bool(reason) for reason in reasons] == [True, False, True, True, True, False, False]
    for reason, words in zip(
        [reasons[i] for i in (0, 2, 3, 4)],
        ["199 trials, at least 200 wanted", "no trials", "cannot be read as a parquet table", "no tracked neurons"],
        strict=True,
    ):
        assert words in reason
        assert reason in caplog.text
    assert not best["member"].values[:, [0, 2, 3, 4]].any()
    with pytest.raises(SettingsError, match=r"sizes: 4; expected .* from 1 to 3"):
        best_session_subsets(moved.subject, sizes=[4], min_trials=N_TRIALS, **where(moved))


def test_nothing_to_choose_from(mouse: SimulatedSubject) -> None:
    with pytest.raises(TrackingError, match=r"0 of 7 sessions .* 200 trials, at least 400 wanted"):
        best_session_subsets(mouse.subject, **where(mouse))
    with pytest.raises(SettingsError, match="none of exact, greedy"):
        best_session_subsets(mouse.subject, method="best", **where(mouse))  # type: ignore[arg-type]
    best = best_session_subsets(mouse.subject, min_trials=0, sizes=[2], **where(mouse))
    with pytest.raises(SettingsError, match="size: 3 is none of 2"):
        subset_eids(best, 3)


# pairs --------------------------------------------------------------------------------------------------------


def test_pairs_are_consecutive(mouse: SimulatedSubject) -> None:
    pairs = consecutive_pairs(mouse.subject, min_trials=N_TRIALS, **where(mouse))
    assert len(pairs) == N_DAYS - 1
    for first, pair in enumerate(pairs):
        xr.testing.assert_identical(pair, track_neurons(mouse.eids[first : first + 2], **where(mouse)))


def test_pairs_skip_sessions_without_both_blocks(moved: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    change_trials(moved, 2, lambda trials: trials.assign(probabilityLeft=trials["probabilityLeft"].replace(0.2, 0.8)))
    change_trials(moved, 5, lambda trials: trials[:150])
    pairs = consecutive_pairs(moved.subject, min_trials=N_TRIALS, **where(moved))
    expected = [(0, 1), (1, 3), (3, 4), (4, 6)]
    assert [pair["session"].values.tolist() for pair in pairs] == [[moved.eids[i] for i in p] for p in expected]
    assert "2025-01-15/001: no biased blocks" in caplog.text
    assert "2025-01-18/001: 150 trials" in caplog.text


def test_pairs_that_share_too_few_are_named(mouse: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    counts = [p.sizes["neuron"] for p in consecutive_pairs(mouse.subject, min_trials=0, **where(mouse))]
    fewest = sorted(counts)[2]
    pairs = consecutive_pairs(mouse.subject, min_trials=0, min_shared=fewest, **where(mouse))
    assert [p.sizes["neuron"] for p in pairs] == [n for n in counts if n >= fewest]
    assert caplog.text.count(f"at least {fewest} wanted") == len(counts) - len(pairs) > 0


# the figure ---------------------------------------------------------------------------------------------------


def drawn_numbers(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_figure_shows_the_table(table: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "days.png"
    figure = plot_tracking(table, save=path)
    assert path.stat().st_size > 20_000
    assert drawn_numbers(figure) == [str(n) for n in table["shared"].values.ravel()]
    image = figure.axes[0].images[0].get_array()
    off_diagonal = ~np.eye(N_DAYS, dtype=bool)
    np.testing.assert_array_equal(np.ma.getdata(image)[off_diagonal], table["shared"].values[off_diagonal])
    pairs, mean = figure.axes[1].lines
    assert len(pairs.get_xdata()) == N_DAYS * (N_DAYS - 1) // 2
    np.testing.assert_allclose(mean.get_ydata(), table["gap_mean"].values)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == table["date"].values.tolist()


def test_figure_of_shares(table: xr.Dataset) -> None:
    shared, n = table["shared"].values, table["n_neurons"].values
    assert shared_values(table, share=True)[1, 4] == pytest.approx(100 * shared[1, 4] / min(n[1], n[4]))
    figure = plot_tracking(table, share=True)
    assert drawn_numbers(figure)[0] == f"{100 * shared[0, 1] / min(n[0], n[1]):.0f}"


def test_figure_of_many_sessions_leaves_out_what_is_too_small(table: xr.Dataset) -> None:
    repeats = np.tile(np.arange(N_DAYS), 12)
    dates = [(datetime.date(2025, 1, 1) + datetime.timedelta(i)).isoformat() for i in range(len(repeats))]
    many = table.isel(session=repeats, other=repeats).assign_coords(date=("session", dates))
    figure = plot_tracking(many.assign(shared=many["shared"] * 100))
    assert drawn_numbers(figure) == []
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == dates[:: dates.index(labels[1])]


def test_figure_without_any_shared_neuron(table: xr.Dataset) -> None:
    nothing = table.assign(shared=table["shared"] * 0, n_neurons=table["n_neurons"] * 0)
    for share in (False, True):
        plot_tracking(nothing, share=share).canvas.draw()


def test_figure_that_cannot_be_saved(table: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ends in one of"):
        plot_tracking(table, save=tmp_path / "days.xyz")


def test_of_embedded_sessions_the_trials_are_those_of_their_stores(moved: SimulatedSubject) -> None:
    """A session with trials in two folders can be chosen, as the error that leaves it out advises."""
    task = moved.session_folder(moved.eids[2]) / "alf" / "task_00"
    shutil.copytree(task, task.with_name("task_01"))
    write_one_tables(moved.one_dir)
    how = {"min_trials": N_TRIALS, **where(moved)}
    before = best_session_subsets(moved.subject, sizes=[2], **how)
    assert [bool(reason) for reason in before["reason"].values] == [day == 2 for day in range(N_DAYS)]
    assert f"embed {moved.eids[2]} --collection alf/task_00" in before["reason"].values[2]
    load_or_embed(moved.eids[2], one=moved.one_dir, rastermap=False, collection="alf/task_00")
    after = best_session_subsets(moved.subject, sizes=[2], **how)
    assert after["reason"].values.tolist() == [""] * N_DAYS
    assert after["n_trials"].values.tolist() == [N_TRIALS] * N_DAYS
    assert len(consecutive_pairs(moved.subject, **how)) == N_DAYS - 1
    elsewhere = best_session_subsets(moved.subject, sizes=[2], cache_dir=moved.folder / "other", **how)
    assert elsewhere["reason"].values[2] == before["reason"].values[2]
