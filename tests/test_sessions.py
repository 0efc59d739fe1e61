"""Session stores against the ALF files they come from."""

import errno
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from iblutil.io import parquet

from mesodask import load_or_embed, schema, simulate_subject
from mesodask import sessions as session_stores
from mesodask.embedding import building
from mesodask.errors import DataError, SessionNotFoundError, SessionsFailedError, SettingsError, StoreError
from mesodask.io import alf, alf_sessions
from mesodask.io.alf import write_one_tables
from mesodask.io.regions import describe_regions
from mesodask.io.shards import RowShards
from mesodask.simulate import SimulatedSubject


def fov_file(subject: SimulatedSubject, name: str, fov: int = 0, day: int = 0) -> Path:
    return subject.session_folder(subject.eids[day]) / "alf" / f"FOV_{fov:02d}" / name


def embed_again(subject: SimulatedSubject, **options: object) -> xr.Dataset:
    write_one_tables(subject.one_dir)
    return load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False, rerun=True, **options)


def test_every_variable_is_that_of_the_files(subject: SimulatedSubject, sessions: list[xr.Dataset]) -> None:
    session, truth = sessions[0], subject.truth(subject.eids[0])
    schema.validate(session, schema.SESSION, "session")
    for fov in (0, 1):
        rows = session["fov_index"].values == fov
        assert session["roi_in_fov"].values[rows].tolist() == list(range(60))
        for name, variable in {
            "mpci.ROIActivityDeconvolved.npy": session["signal"].values[rows].T,
            "mpci.times.npy": session["frame_times"].values[fov],
            "mpci.badFrames.npy": session["bad_frame"].values[fov],
            "mpciROIs.mlapdv_estimate.npy": session["xyz"].values[rows],
            "mpciROIs.brainLocationIds_ccf_2017_estimate.npy": session["region_id"].values[rows],
            "mpciROIs.cellClassifier.npy": session["cell_probability"].values[rows],
        }.items():
            np.testing.assert_array_equal(variable, np.load(fov_file(subject, name, fov)))
        types = np.load(fov_file(subject, "mpciROIs.mpciROITypes.npy", fov))
        np.testing.assert_array_equal(session["is_neuron"].values[rows], types == 1)
        uuids = pd.read_csv(fov_file(subject, "mpciROIs.uuids.csv", fov))["uuids"]
        assert session["uuid"].values[rows].tolist() == uuids.tolist()
    np.testing.assert_array_equal(session["roi_delay"].values, truth["roi_delay"].values)
    assert session.attrs["signal_kind"] == "deconvolved"
    assert session.attrs["region_source"] == "estimate"


def test_delay_is_that_of_the_row_and_not_of_the_column(subject: SimulatedSubject, sessions: list[xr.Dataset]) -> None:
    position = np.load(fov_file(subject, "mpciROIs.stackPos.npy"))
    shift = np.load(fov_file(subject, "mpciStack.timeshift.npy"))
    np.testing.assert_array_equal(sessions[0]["roi_delay"].values[:60], shift[position[:, 0]])
    assert (shift[position[:, 0]] != shift[position[:, 1]]).any()


def test_delay_by_pixel(copy: SimulatedSubject) -> None:
    shift = np.random.default_rng(0).random((512, 512)) * 1e-3
    np.save(fov_file(copy, "mpciStack.timeshift.npy"), shift)
    position = np.load(fov_file(copy, "mpciROIs.stackPos.npy"))
    session = embed_again(copy)
    np.testing.assert_array_equal(session["roi_delay"].values[:60], shift[position[:, 0], position[:, 1]])


def test_trials_and_wheel(subject: SimulatedSubject, sessions: list[xr.Dataset]) -> None:
    folder = subject.session_folder(subject.eids[0]) / "alf" / "task_00"
    trials = session_stores.trials(sessions[0])
    table = pd.read_parquet(folder / "_ibl_trials.table.pqt")
    for column in table.columns:
        np.testing.assert_array_equal(trials[column].values, table[column].to_numpy())
    np.testing.assert_array_equal(
        trials["goCueTrigger_times"].values, np.load(folder / "_ibl_trials.goCueTrigger_times.npy")
    )
    wheel = session_stores.wheel(sessions[0])
    assert wheel is not None
    np.testing.assert_array_equal(wheel["position"].values, np.load(folder / "_ibl_wheel.position.npy"))


def test_regions_have_their_names_and_colours(sessions: list[xr.Dataset]) -> None:
    from iblatlas.regions import BrainRegions

    atlas = BrainRegions()
    for row in (0, 60):
        known = atlas.get(int(sessions[0]["region_id"][row]))
        assert str(sessions[0]["region"].values[row]) == np.atleast_1d(known["acronym"])[0]
        color = sessions[0]["region_color"].values[row]
        assert [int(color[i : i + 2], 16) for i in (1, 3, 5)] == np.atleast_2d(known["rgb"])[0].tolist()


def test_every_id_of_the_atlas_in_both_hemispheres() -> None:
    """Negative ids are the right hemisphere's: acronyms and colours are iblatlas's own."""
    from iblatlas.regions import BrainRegions

    atlas = BrainRegions()
    ids = np.random.default_rng(0).permutation(np.concatenate([atlas.id, -atlas.id[:50]]))
    acronym, color = describe_regions(ids)
    assert acronym.tolist() == atlas.id2acronym(ids).tolist()
    assert (ids < 0).sum() > 1000
    known = atlas.get(ids)["rgb"]
    assert [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in color] == known.tolist()


def test_right_hemisphere_in_a_session(copy: SimulatedSubject) -> None:
    path = fov_file(copy, "mpciROIs.brainLocationIds_ccf_2017_estimate.npy")
    before = embed_again(copy)["region"].values
    np.save(path, -np.load(path))
    session = embed_again(copy)
    np.testing.assert_array_equal(session["region_id"].values[:60], np.load(path))
    np.testing.assert_array_equal(session["region"].values, before)


def test_unknown_regions_become_void_with_one_warning(copy: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    for fov, strangers in enumerate(([123_456_789] * 3, [-123_456_789, 5_555_555])):
        path = fov_file(copy, "mpciROIs.brainLocationIds_ccf_2017_estimate.npy", fov)
        ids = np.load(path)
        ids[: len(strangers)] = strangers
        np.save(path, ids)
    session = embed_again(copy)
    rows = [0, 1, 2, 60, 61]
    assert session["region"].values[rows].tolist() == ["void"] * 5
    assert session["region_color"].values[rows].tolist() == ["#000000"] * 5
    assert np.count_nonzero(session["region"].values == "void") == 5
    assert session["region_id"].values[rows].tolist() == [123_456_789] * 3 + [-123_456_789, 5_555_555]
    warned = [r.message for r in caplog.records if "Allen" in r.message]
    assert len(warned) == 1
    assert "5 ROIs have Allen ids that the atlas does not know" in warned[0]


def test_histology_is_preferred(tmp_path: Path) -> None:
    subject = simulate_subject(tmp_path, n_days=1, n_trials=20, rois_per_fov=(8, 8), histology=True)
    session = load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False)
    assert session.attrs["region_source"] == "histology"
    folder = subject.session_folder(subject.eids[0]) / "alf"
    known = [np.load(folder / f"FOV_0{fov}" / "mpciROIs.mlapdv.npy") for fov in (0, 1)]
    np.testing.assert_array_equal(session["xyz"].values, np.concatenate(known))
    # one FOV without histology: the estimates, for the whole session
    for fov in ("FOV_00", "FOV_01"):
        position = np.load(folder / fov / "mpciROIs.mlapdv.npy")
        np.save(folder / fov / "mpciROIs.mlapdv_estimate.npy", position + 5)
        shutil.copy(
            folder / fov / "mpciROIs.brainLocationIds_ccf_2017.npy",
            folder / fov / "mpciROIs.brainLocationIds_ccf_2017_estimate.npy",
        )
    assert embed_again(subject).attrs["region_source"] == "histology"
    for file in ("FOV_01/mpciROIs.mlapdv.npy", "FOV_00/mpciROIs.brainLocationIds_ccf_2017.npy"):
        content = (folder / file).read_bytes()
        (folder / file).unlink()
        estimated = embed_again(subject)
        assert estimated.attrs["region_source"] == "estimate"
        np.testing.assert_array_equal(estimated["xyz"].values, np.concatenate(known) + 5)
        (folder / file).write_bytes(content)
    assert embed_again(subject).attrs["region_source"] == "histology"


def test_signal_is_one_kind_for_all_fovs(copy: SimulatedSubject) -> None:
    fov_file(copy, "mpci.ROIActivityDeconvolved.npy", fov=1).unlink()
    session = embed_again(copy)
    assert session.attrs["signal_kind"] == "fluorescence"
    np.testing.assert_array_equal(session["signal"].values[:60].T, np.load(fov_file(copy, "mpci.ROIActivityF.npy")))


def test_corrected_signal_has_a_store_of_its_own(copy: SimulatedSubject) -> None:
    plain = embed_again(copy)
    corrected = load_or_embed(copy.eids[0], one=copy.one_dir, signal="corrected", rastermap=False)
    assert corrected.encoding["source"] != plain.encoding["source"]
    raw, neuropil = (
        np.load(fov_file(copy, f"mpci.ROI{name}.npy")).astype(np.float64) for name in ("ActivityF", "NeuropilActivityF")
    )
    np.testing.assert_allclose(corrected["signal"].values[:60].T, raw - 0.7 * neuropil, rtol=1e-4, atol=1e-3)


def test_old_sessions_with_more_times_than_frames(copy: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    path = fov_file(copy, "mpci.times.npy")
    times = np.load(path)
    np.save(path, np.append(times, times[-1] + [0.2, 0.4]))
    np.testing.assert_array_equal(embed_again(copy)["frame_times"].values[0], times)
    assert [r.message for r in caplog.records if str(path) in r.message and "the last 2 are left out" in r.message]


def test_gaps_are_kept_and_listed(copy: SimulatedSubject) -> None:
    before = embed_again(copy).attrs["gaps_s"]
    path = fov_file(copy, "mpci.times.npy", fov=1)
    times = np.load(path)
    times[40:] += 30.0
    np.save(path, times)
    session = embed_again(copy)
    np.testing.assert_array_equal(session["frame_times"].values[1], times)
    assert session.attrs["gaps_s"]["FOV_00"] == before["FOV_00"]
    assert [times[39], times[40]] in session.attrs["gaps_s"]["FOV_01"]


def test_a_lost_chunk_of_any_array_is_an_error(copy: SimulatedSubject) -> None:
    """Zarr itself would read False, 0 or "" where a chunk of such an array is lost."""
    path = Path(embed_again(copy).encoding["source"])
    chunks = sorted(p for p in path.rglob("c/**/*") if p.is_file())
    assert {p.relative_to(path).parts[0] for p in chunks} > {"signal", "is_neuron", "fov", "trials", "wheel"}
    for chunk in chunks[:: max(1, len(chunks) // 30)]:
        content = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(StoreError, match=rf"{chunk}.*lost.*rerun=True"):
            load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
        chunk.write_bytes(content)
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)


def test_second_call_opens_the_same_store(copy: SimulatedSubject) -> None:
    first = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    second = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    assert first.attrs["build_id"] == second.attrs["build_id"]
    again = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False, rerun=True)
    assert again.attrs["build_id"] != first.attrs["build_id"]
    xr.testing.assert_equal(again.load(), xr.load_dataset(second.encoding["source"], engine="zarr", consolidated=False))


def test_files_that_changed_since_are_told(copy: SimulatedSubject) -> None:
    """A store of other files than tracking counts rows in would give other neurons."""
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    path = fov_file(copy, "mpciROIs.cellClassifier.npy")
    probability = np.load(path)
    np.save(path, probability[:-1])
    with pytest.raises(StoreError, match=r"cellClassifier.npy has changed.*rerun"):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    np.save(path, probability)
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    shutil.copytree(path.parent, path.parent.parent / "FOV_02")
    write_one_tables(copy.one_dir)
    with pytest.raises(StoreError, match=r"the FOVs were FOV_00, FOV_01"):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)


def revised(file: Path, revision: str, change: Callable[[np.ndarray], np.ndarray] = np.copy) -> Path:
    """Put a revision of an array beside it, changed."""
    folder = file.parent / f"#{revision}#"
    folder.mkdir(exist_ok=True)
    np.save(folder / file.name, change(np.load(file)))
    return folder / file.name


def test_of_several_revisions_the_newest_is_read(copy: SimulatedSubject) -> None:
    file = fov_file(copy, "mpciROIs.mpciROITypes.npy")
    for number in range(1, 7):  # ids of datasets are in no order: many, so that not each is by chance the last one
        revised(file, f"2025-03-0{number}", lambda types, n=number: np.where(np.arange(len(types)) < n, 1, 0))  # type: ignore[misc]
    times = revised(fov_file(copy, "mpci.times.npy"), "2025-03-01", lambda times: times + 1e-3)
    session = embed_again(copy)
    first = session["fov_index"].values == 0
    np.testing.assert_array_equal(session["is_neuron"].values[first], np.arange(first.sum()) < 6)
    np.testing.assert_array_equal(session["frame_times"].values[0], np.load(times))
    again = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    assert again.attrs["build_id"] == session.attrs["build_id"]


@pytest.mark.parametrize("name", ["FOV_00/mpciROIs.mpciROITypes.npy", "task_00/_ibl_wheel.position.npy"])
def test_a_store_of_an_older_revision_is_told(copy: SimulatedSubject, name: str) -> None:
    """Its files are as they were; tracking would read the new ones."""
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    revised(copy.session_folder(copy.eids[0]) / "alf" / name, "2025-03-01")
    write_one_tables(copy.one_dir)
    folder, file = name.split("/")
    with pytest.raises(
        StoreError, match=rf"alf/{name} was read, and alf/{folder}/#2025-03-01#/{file} is its default.*rerun=True"
    ):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    embed_again(copy)
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)


def test_a_fov_of_which_all_lies_in_a_revision(copy: SimulatedSubject) -> None:
    expected = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False).load()
    folder = fov_file(copy, "").parent / "FOV_01"
    files = [file for file in folder.iterdir() if file.is_file()]
    (folder / "#2025-03-01#").mkdir()
    for file in files:
        file.rename(folder / "#2025-03-01#" / file.name)
    xr.testing.assert_equal(embed_again(copy).load(), expected)
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)


def test_two_revisions_that_are_both_the_default_are_told(copy: SimulatedSubject) -> None:
    revised(fov_file(copy, "mpci.times.npy"), "2025-03-01")
    write_one_tables(copy.one_dir)
    datasets, about = parquet.load(copy.one_dir / "datasets.pqt")
    assert (~datasets["default_revision"]).sum() == 1
    parquet.save(copy.one_dir / "datasets.pqt", datasets.assign(default_revision=True), about)
    with pytest.raises(DataError, match=r"2 revisions of this file the default: .*mpci.times.npy, .*FOV_00/mpci.times"):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)


def test_tables_of_another_source_are_not_overwritten(copy: SimulatedSubject) -> None:
    tables = {name: copy.one_dir / name for name in ("sessions.pqt", "datasets.pqt")}
    assert write_one_tables(copy.one_dir) == list(copy.eids)  # its own ones are
    sessions = pd.read_parquet(tables["sessions.pqt"])
    eids = [str(uuid.uuid4()), *sessions.index[1:]]
    sessions.set_index(pd.Index(eids, name="id")).to_parquet(tables["sessions.pqt"])
    before = {name: file.read_bytes() for name, file in tables.items()}
    with pytest.raises(DataError, match=r"sessions.pqt: 1 of its 3 sessions have eids of another source.*move sess"):
        write_one_tables(copy.one_dir)
    assert {name: file.read_bytes() for name, file in tables.items()} == before
    tables["sessions.pqt"].write_bytes(b"damaged")
    assert write_one_tables(copy.one_dir) == list(copy.eids)


def test_the_stores_are_enough_when_the_files_are_gone(copy: SimulatedSubject) -> None:
    first = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    for path in copy.session_folder(copy.eids[0]).rglob("*.npy"):
        path.unlink()
    again = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    assert again.attrs["build_id"] == first.attrs["build_id"]


def test_store_of_another_schema_is_refused(copy: SimulatedSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 99)
    with pytest.raises(StoreError, match="rerun=True"):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)


def test_a_build_that_the_disk_refuses_leaves_nothing_and_costs_no_other(
    copy: SimulatedSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(array: RowShards, *arguments: object) -> None:
        if copy.eids[0] in str(array.path):
            raise OSError(errno.ENOSPC, "No space left on device", "a/chunk")
        write_rows(array, *arguments)  # type: ignore[arg-type]

    write_rows = building.write_rows
    monkeypatch.setattr(building, "write_rows", fail)
    with pytest.raises(StoreError, match=r"a/chunk: No space left on device; the store is not built\. Make space"):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    data = copy.one_dir / "meso" / "data"
    assert list(data.iterdir()) == []
    with pytest.raises(SessionsFailedError, match="No space left"):
        load_or_embed(copy.eids[:2], one=copy.one_dir, rastermap=False)
    assert [path.stem for path in data.iterdir()] == [copy.eids[1]]


def test_sessions_that_are_not_there(subject: SimulatedSubject, tmp_path: Path) -> None:
    with pytest.raises(SessionNotFoundError, match="is no eid"):
        load_or_embed("not-an-eid", one=subject.one_dir)
    with pytest.raises(SessionNotFoundError, match="3 sessions of SP072"):
        load_or_embed("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", one=subject.one_dir)
    with pytest.raises(SessionNotFoundError, match="no such folder"):
        load_or_embed(subject.eids[0], one=tmp_path / "nowhere")
    with pytest.raises(SessionNotFoundError, match="no ONE tables"):
        load_or_embed(subject.eids[0], one=tmp_path)
    with pytest.raises(SessionNotFoundError, match="no <lab>/Subjects"):
        write_one_tables(tmp_path)
    with pytest.raises(SessionNotFoundError, match="subjects there: SP072"):
        alf_sessions.subject_sessions(alf.connect(subject.one_dir), "SP001")


def test_signal_that_does_not_exist(subject: SimulatedSubject) -> None:
    with pytest.raises(SettingsError, match="signal"):
        load_or_embed(subject.eids[0], one=subject.one_dir, signal="dff")  # type: ignore[arg-type]


def test_selection_is_lazy(sessions: list[xr.Dataset]) -> None:
    chosen = sessions[0].isel(roi=session_stores.neurons(sessions[0]))
    assert chosen["is_neuron"].values.all()
    assert not chosen["signal"].variable._in_memory


def test_selecting_reads_no_activity(copy: SimulatedSubject) -> None:
    """With all of the activity destroyed, rows, masks and regions still select; only values cannot be read."""
    session = embed_again(copy)
    for chunk in (Path(session.encoding["source"]) / "signal" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no activity")
    cells = session_stores.neurons(session)
    is_cell = np.load(fov_file(copy, "mpciROIs.mpciROITypes.npy")) == 1
    mask = session["is_neuron"] & (session["region"] == session["region"][0])
    by_rows, by_mask = session["signal"][cells], session["signal"][mask]
    assert by_rows.shape == (len(cells), session.sizes["time"])
    assert cells[cells < 60].tolist() == np.flatnonzero(is_cell).tolist()
    assert by_mask.sizes["roi"] == mask.values.sum() > 0
    assert session.isel(roi=mask.values).sel(roi=slice(5))["signal"].sizes["roi"] == 5
    for selected in (by_rows, by_mask):
        with pytest.raises(Exception, match="this part of the store is damaged"):
            _ = selected.values
