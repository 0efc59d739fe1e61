"""Tracked neurons against the simulator's truth."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mesodask import simulate_subject, track_neurons
from mesodask.errors import DataError, SessionNotFoundError, TrackingError
from mesodask.io.alf import write_one_tables
from mesodask.io.roicat import CLUSTER_FILE, read_uids
from mesodask.simulate import SimulatedSubject
from mesodask.tracking import all_neurons, tracked_rows


def true_rows(subject: SimulatedSubject, *, neurons_only: bool = True) -> dict[str, list[int]]:
    """Cluster UID -> its row on every day, for neurons that are tracked (and cells) on all days."""
    uid_of = subject.neurons()["cluster_uid"]
    days = []
    for eid in subject.eids:
        truth = subject.truth(eid)
        admitted = truth["tracked"].values & (truth["is_cell"].values | (not neurons_only))
        days.append({str(uid_of.sel(neuron=truth["neuron"].values[row]).values): int(row)
                     for row in np.flatnonzero(admitted)})  # fmt: skip
    return {uid: [day[uid] for day in days] for uid in days[0] if all(uid in day for day in days)}


@pytest.mark.parametrize("neurons_only", [True, False])
def test_pairs_are_the_true_ones(subject: SimulatedSubject, neurons_only: bool) -> None:
    tracked = track_neurons(
        subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root, neurons_only=neurons_only
    )
    expected = true_rows(subject, neurons_only=neurons_only)
    assert len(expected) > 20
    assert tracked["cluster_uid"].values.tolist() == sorted(expected)
    np.testing.assert_array_equal(tracked["roi"].values.T, [expected[uid] for uid in sorted(expected)])


def test_moved_fovs_and_another_order_of_sessions(tmp_path: Path) -> None:
    subject = simulate_subject(tmp_path, n_days=3, n_trials=10, rois_per_fov=(30, 20, 25), shuffle_fovs=True, seed=5)
    expected = true_rows(subject)
    tracked = track_neurons(subject.eids[::-1], one=subject.one_dir, roicat_root=subject.roicat_root)
    assert tracked["session"].values.tolist() == list(subject.eids)
    np.testing.assert_array_equal(tracked["roi"].values.T, [expected[uid] for uid in sorted(expected)])
    days = zip(subject.eids, tracked["roi"].values, strict=True)
    fovs = [subject.truth(eid)["fov_index"].values[rows] for eid, rows in days]
    assert (fovs[0] != fovs[1]).any()


def uid_file(subject: SimulatedSubject, day: int = 0, fov: int = 0) -> Path:
    date = subject.dates[day].isoformat()
    return subject.roicat_root / "ROICaT" / subject.subject / date / "001" / "alf" / f"FOV_{fov:02d}" / CLUSTER_FILE


def track(subject: SimulatedSubject) -> xr.Dataset:
    return track_neurons(subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root)


def test_files_may_lie_in_the_session(copy: SimulatedSubject, tracked: xr.Dataset) -> None:
    for day in range(3):
        for fov in range(2):
            path = uid_file(copy, day, fov)
            shutil.move(path, copy.session_folder(copy.eids[day]) / "alf" / f"FOV_{fov:02d}" / CLUSTER_FILE)
    write_one_tables(copy.one_dir)
    xr.testing.assert_identical(track(copy), tracked)


def test_spaces_are_stripped_and_blank_is_untracked(copy: SimulatedSubject, tracked: xr.Dataset) -> None:
    path = uid_file(copy)
    path.write_text("\n".join(f"  {line} \t" for line in path.read_text().split("\n")[:-1]) + "\n")
    xr.testing.assert_identical(track(copy), tracked)


@pytest.mark.parametrize("change", [lambda lines: lines[:-1], lambda lines: [*lines, ""]])
def test_wrong_number_of_rows(copy: SimulatedSubject, change: object) -> None:
    path = uid_file(copy, fov=1)
    lines = path.read_text().split("\n")[:-1]
    path.write_text("\n".join(change(lines)) + "\n")  # type: ignore[operator]
    with pytest.raises(DataError, match=r"(59|61) rows for 60 ROIs") as caught:
        track(copy)
    assert caught.value.path == path


def test_files_of_a_spreadsheet(copy: SimulatedSubject, tracked: xr.Dataset) -> None:
    """Byte-order mark, Windows line ends and capitals are the same UIDs."""
    path = uid_file(copy)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_text().upper().replace("\n", "\r\n").encode())
    xr.testing.assert_identical(track(copy), tracked)


def test_root_that_does_not_exist(copy: SimulatedSubject, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="roicat_root"):
        track_neurons(copy.eids, one=copy.one_dir, roicat_root=tmp_path / "nowhere")


def test_file_without_a_last_line_break(tmp_path: Path) -> None:
    path = tmp_path / CLUSTER_FILE
    path.write_text("a\n\nb")
    assert read_uids(path, 3) == ["a", "", "b"]
    path.write_text("a\n\n")
    assert read_uids(path, 2) == ["a", ""]


def test_fov_without_a_file_is_untracked(
    copy: SimulatedSubject, tracked: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    """And shifts nothing: the rows of the other FOV stay those of the whole session."""
    uid_file(copy, day=1, fov=0).unlink()
    found = track(copy)
    left = tracked["roi"].values[1] >= 60
    np.testing.assert_array_equal(found["roi"].values, tracked["roi"].values[:, left])
    assert any("FOV_00, so 60 of 120 ROIs" in r.message for r in caplog.records)


def test_repeated_uid_takes_the_first() -> None:
    uids = np.array(["b", "a", "b", ""], dtype=object)
    assert tracked_rows(uids, np.ones(4, dtype=bool)) == ({"b": 0, "a": 1}, 1)
    assert tracked_rows(uids, np.array([False, True, True, True])) == ({"a": 1, "b": 2}, 0)


def test_no_shared_neuron_is_an_empty_dataset(tmp_path: Path) -> None:
    subject = simulate_subject(tmp_path, n_days=2, n_trials=10, persistence=0.0)
    tracked = track(subject)
    assert tracked.sizes == {"session": 2, "neuron": 0}


def test_too_few_or_wrong_sessions(subject: SimulatedSubject, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="1 session given"):
        track_neurons(subject.eids[:1], one=subject.one_dir)
    with pytest.raises(TrackingError, match="more than once"):
        track_neurons([subject.eids[0]] * 2, one=subject.one_dir)
    with pytest.raises(SessionNotFoundError):
        track_neurons([subject.eids[0], "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"], one=subject.one_dir)
    simulate_subject(tmp_path, subject="A", n_days=1, n_trials=10, rois_per_fov=(5,))
    simulate_subject(tmp_path / "b", subject="B", n_days=1, n_trials=10, rois_per_fov=(5,))
    shutil.copytree(tmp_path / "b" / "one" / "simlab", tmp_path / "one" / "simlab", dirs_exist_ok=True)
    eids = write_one_tables(tmp_path / "one")
    with pytest.raises(TrackingError, match="several subjects"):
        track_neurons(eids, one=tmp_path / "one")


def test_one_session_alone(sessions: list[xr.Dataset]) -> None:
    alone = all_neurons(sessions[0])
    assert sorted(alone["roi"].values[0]) == np.flatnonzero(sessions[0]["is_neuron"].values).tolist()
    assert all_neurons(sessions[0], neurons_only=False).sizes["neuron"] == 120
    assert alone["cluster_uid"].values.tolist() == sorted(alone["cluster_uid"].values)
