"""Tracked neurons against the simulator's truth."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mesodask import simulate_subject, track_neurons
from mesodask.errors import DataError, SessionNotFoundError, SettingsError, TrackingError
from mesodask.io.alf import write_one_tables
from mesodask.io.roicat import CLUSTER_FILE, read_uids
from mesodask.simulate import SimulatedSubject
from mesodask.tracking import all_neurons, tracked_rows

FOV_ROIS = 60
PER_ROI = ("mpciROIs.mpciROITypes.npy", "mpciROIs.brainLocationIds_ccf_2017_estimate.npy")


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


def test_files_that_the_one_tables_do_not_know(copy: SimulatedSubject, tracked: xr.Dataset) -> None:
    """Found beside the other files, and the tree goes first."""
    path = uid_file(copy)
    beside = copy.session_folder(copy.eids[0]) / "alf" / "FOV_00" / CLUSTER_FILE
    beside.write_text("\n" * FOV_ROIS)
    xr.testing.assert_identical(track(copy), tracked)
    shutil.move(path, beside)
    xr.testing.assert_identical(track(copy), tracked)


def test_root_that_is_none(copy: SimulatedSubject, tmp_path: Path) -> None:
    for root, words in [
        (tmp_path / "nowhere", "no such folder"),
        (copy.one_dir, "no folder ROICaT in it"),
        (copy.roicat_root / "ROICaT", f"give {copy.roicat_root}"),
    ]:
        with pytest.raises(DataError, match=words):
            track_neurons(copy.eids, one=copy.one_dir, roicat_root=root)


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
    assert found["untracked_fovs"].values.tolist() == ["", "FOV_00", ""]


def test_repeated_uid_takes_the_first() -> None:
    uids = np.array(["b", "a", "b", ""], dtype=object)
    assert tracked_rows(uids, np.ones(4, dtype=bool)) == ({"b": 0, "a": 1}, 1)
    assert tracked_rows(uids, np.array([False, True, True, True])) == ({"a": 1, "b": 2}, 0)


def write_uids(path: Path, uids: list[str]) -> None:
    path.write_text("".join(f"{uid}\n" for uid in uids))


def test_repeated_uids_are_counted_by_session(
    copy: SimulatedSubject, tracked: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    """An ROI further down, in another FOV, carries the UID of a tracked neuron, too: nothing changes but the count."""
    neuron = int(np.flatnonzero(tracked["roi"].values[2] < FOV_ROIS)[0])
    uid = str(tracked["cluster_uid"].values[neuron])
    path = uid_file(copy, day=2, fov=1)
    uids = read_uids(path, FOV_ROIS)
    cells = copy.truth(copy.eids[2])["is_cell"].values[FOV_ROIS:]
    free = next(row for row in range(FOV_ROIS) if cells[row] and uids[row] not in tracked["cluster_uid"].values)
    uids[free] = uid
    write_uids(path, uids)
    found = track(copy)
    assert found["repeated"].values.tolist() == [0, 0, 1]
    xr.testing.assert_identical(found.drop_vars("repeated"), tracked.drop_vars("repeated"))
    assert "2025-01-15/001: 1 ROIs carry" in caplog.text


def shuffle_session(subject: SimulatedSubject, day: int, rng: np.random.Generator) -> np.ndarray:
    """Swap the FOVs of a session on disk and shuffle their rows; give the new row of each old one."""
    alf = subject.session_folder(subject.eids[day]) / "alf"
    tree = uid_file(subject, day).parents[1]
    new_row = np.empty(2 * FOV_ROIS, dtype=int)
    for fov in range(2):
        order = rng.permutation(FOV_ROIS)
        for name in PER_ROI:
            path = alf / f"FOV_{fov:02d}" / name
            np.save(path, np.load(path)[order])
        uids = read_uids(uid_file(subject, day, fov), FOV_ROIS)
        write_uids(uid_file(subject, day, fov), [uids[row] for row in order])
        new_row[fov * FOV_ROIS + order] = (1 - fov) * FOV_ROIS + np.arange(FOV_ROIS)
    for folder in (alf, tree):
        (folder / "FOV_00").rename(folder / "moving")
        (folder / "FOV_01").rename(folder / "FOV_00")
        (folder / "moving").rename(folder / "FOV_01")
    return new_row


@pytest.mark.parametrize("neurons", [None, "VISp", ["MOs", "MOp"]])
def test_shuffled_files_change_nothing_but_rows(copy: SimulatedSubject, neurons: object) -> None:
    def find(eids: tuple[str, ...]) -> xr.Dataset:
        return track_neurons(eids, one=copy.one_dir, roicat_root=copy.roicat_root, neurons=neurons)

    before = find(copy.eids)
    assert before.sizes["neuron"] > 5
    new_row = shuffle_session(copy, 1, np.random.default_rng(0))
    write_one_tables(copy.one_dir)
    after = find((copy.eids[1], copy.eids[2], copy.eids[0]))
    expected = before["roi"].values.copy()
    expected[1] = new_row[expected[1]]
    np.testing.assert_array_equal(after["roi"].values, expected)
    xr.testing.assert_identical(after.drop_vars("roi"), before.drop_vars("roi"))


def narrowed(subject: SimulatedSubject, neurons: object) -> xr.Dataset:
    return track_neurons(subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root, neurons=neurons)


def kept(tracked: xr.Dataset, passes: np.ndarray) -> xr.Dataset:
    return tracked.isel(neuron=np.flatnonzero(passes))


@pytest.mark.parametrize("neurons", ["VISp", ["MOs", "VISp"], {"MOp"}, np.array(["MOs"], dtype=object)])
def test_regions_narrow_every_session(
    subject: SimulatedSubject, sessions: list[xr.Dataset], tracked: xr.Dataset, neurons: object
) -> None:
    """As the session stores name them, though none is read."""
    wanted = [neurons] if isinstance(neurons, str) else list(neurons)  # type: ignore[call-overload]
    inside = [np.isin(s["region"].values[rows].astype(object), wanted)
              for s, rows in zip(sessions, tracked["roi"].values, strict=True)]  # fmt: skip
    expected = kept(tracked, np.all(inside, axis=0))
    assert 0 < expected.sizes["neuron"] < tracked.sizes["neuron"]
    xr.testing.assert_identical(narrowed(subject, neurons), expected.assign_attrs(neurons=",".join(sorted(wanted))))


def test_masks_and_rows_narrow_their_session(subject: SimulatedSubject, tracked: xr.Dataset) -> None:
    """A neuron is kept if it passes in every session that is narrowed; the others do not matter."""
    rng = np.random.default_rng(4)
    first, last = subject.eids[0], subject.eids[2]
    mask, rows = rng.random(120) < 0.6, rng.choice(120, 70, replace=False)
    roi = tracked["roi"].values
    expected = kept(tracked, mask[roi[0]] & np.isin(roi[2], rows))
    assert 0 < expected.sizes["neuron"] < tracked.sizes["neuron"]
    xr.testing.assert_identical(narrowed(subject, {first: mask, last: rows}), expected.assign_attrs(neurons="given"))
    both = {first: xr.DataArray(mask), last: [*rows.tolist(), int(rows[0])], subject.eids[1]: None}
    xr.testing.assert_identical(narrowed(subject, both), expected.assign_attrs(neurons="given"))
    assert narrowed(subject, {first: np.zeros(120, dtype=bool)}).sizes["neuron"] == 0
    assert narrowed(subject, {first: []}).sizes["neuron"] == 0


def test_narrowing_comes_after_the_first_row_of_a_uid(copy: SimulatedSubject, tracked: xr.Dataset) -> None:
    """A mask that leaves out a neuron's row does not put the second ROI of the same UID in its place."""
    row = int(tracked["roi"].values[0].min())
    uid = str(tracked["cluster_uid"].values[tracked["roi"].values[0].argmin()])
    uids = read_uids(uid_file(copy, fov=1), FOV_ROIS)
    cells = copy.truth(copy.eids[0])["is_cell"].values[FOV_ROIS:]
    uids[int(np.flatnonzero(cells)[-1])] = uid
    write_uids(uid_file(copy, fov=1), uids)
    mask = np.ones(120, dtype=bool)
    mask[row] = False
    assert uid not in narrowed(copy, {copy.eids[0]: mask})["cluster_uid"].values


@pytest.mark.parametrize(
    ("neurons", "words"),
    [
        ("VIS", "no ROI is in 'VIS'; did you mean 'VISp'\\? Regions, and their ROIs: .*VISp \\(180\\)"),
        (["VISp", "mos"], "'mos'; did you mean 'MOs'"),
        ("XYZ", r"no ROI is in 'XYZ'\. Regions"),
        (np.ones(120, dtype=bool), "give a mapping"),
        ([1, 2], "give a mapping"),
        ({"first": np.ones(7, dtype=bool)}, "a mask of 7 for the 120 ROIs"),
        ({"first": [0, 120]}, "row 120 is not in session"),
        ({"first": [-1]}, "row -1"),
        ({"nobody": [1]}, "nobody is none of the sessions"),
        ([0.5], "float64 values"),
        ([["VISp"]], "shape"),
        (3, "expected a mask"),
    ],
)
def test_narrowing_that_does_not_fit(subject: SimulatedSubject, neurons: object, words: str) -> None:
    if isinstance(neurons, dict):
        neurons = {subject.eids[0] if eid == "first" else eid: choice for eid, choice in neurons.items()}
    with pytest.raises(SettingsError, match=words):
        narrowed(subject, neurons)


def test_regions_from_histology_if_all_fovs_have_it(copy: SimulatedSubject) -> None:
    """The session store's own choice, in the session that has both."""
    for fov in ("FOV_00", "FOV_01"):
        folder = copy.session_folder(copy.eids[0]) / "alf" / fov
        np.save(folder / "mpciROIs.brainLocationIds_ccf_2017.npy", np.full(FOV_ROIS, 394))
        np.save(folder / "mpciROIs.mlapdv.npy", np.zeros((FOV_ROIS, 3)))
    write_one_tables(copy.one_dir)
    assert narrowed(copy, {copy.eids[0]: "VISam"}).sizes["neuron"] > 20
    assert narrowed(copy, "VISp").sizes["neuron"] == 0


def test_region_file_of_another_length(copy: SimulatedSubject) -> None:
    path = copy.session_folder(copy.eids[0]) / "alf" / "FOV_01" / PER_ROI[1]
    np.save(path, np.full(FOV_ROIS + 1, 385))
    with pytest.raises(DataError, match=r"\(61,\); expected \(60,\)") as caught:
        narrowed(copy, "VISp")
    assert caught.value.path == path


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


def test_one_session_alone_narrowed(sessions: list[xr.Dataset]) -> None:
    session = sessions[0]
    cells, visual = session["is_neuron"].values, session["region"].values == "VISp"
    by_region, by_mask = all_neurons(session, neurons="VISp"), all_neurons(session, neurons=visual)
    assert sorted(by_region["roi"].values[0]) == np.flatnonzero(cells & visual).tolist()
    assert (by_region.attrs.pop("neurons"), by_mask.attrs.pop("neurons")) == ("VISp", "given")
    xr.testing.assert_identical(by_region, by_mask)
    rows = [3, 5, 100]
    assert sorted(all_neurons(session, neurons=rows, neurons_only=False)["roi"].values[0]) == rows
    mapped = all_neurons(session, neurons={session.attrs["eid"]: rows})
    assert sorted(mapped["roi"].values[0]) == [row for row in rows if cells[row]]
    with pytest.raises(SettingsError, match="a mask of 3 for the 120 ROIs"):
        all_neurons(session, neurons=np.ones(3, dtype=bool))
