"""Session stores against the ALF files they come from."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mesodask import building, load_or_embed, schema, simulate_subject
from mesodask import sessions as session_stores
from mesodask.errors import DataError, SessionNotFoundError, SettingsError, StoreError
from mesodask.io import alf, stores
from mesodask.io.alf import write_one_tables
from mesodask.numerics.order import rastermap_order
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
        assert str(sessions[0]["region"].values[row]) == known["acronym"][0]
        color = sessions[0]["region_color"].values[row]
        assert [int(color[i : i + 2], 16) for i in (1, 3, 5)] == known["rgb"][0].tolist()


def test_unknown_region_becomes_void(copy: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    path = fov_file(copy, "mpciROIs.brainLocationIds_ccf_2017_estimate.npy")
    ids = np.load(path)
    ids[:3] = 123_456_789
    np.save(path, ids)
    session = embed_again(copy)
    assert session["region"].values[:3].tolist() == ["void"] * 3
    assert session["region_id"].values[0] == 123_456_789
    assert [r.message for r in caplog.records if "3 ROIs have Allen ids" in r.message]


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
    (folder / "FOV_01" / "mpciROIs.mlapdv.npy").unlink()
    estimated = embed_again(subject)
    assert estimated.attrs["region_source"] == "estimate"
    np.testing.assert_array_equal(estimated["xyz"].values, np.concatenate(known) + 5)


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


def read_all(session: xr.Dataset) -> dict[str, np.ndarray]:
    """Everything a store holds, its groups too."""
    parts = [session, session_stores.trials(session), session_stores.wheel(session)]
    return {f"{i}/{name}": part[name].values for i, part in enumerate(parts) for name in part.variables}  # type: ignore


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


def test_a_flipped_bit_is_an_error_or_changes_nothing(copy: SimulatedSubject) -> None:
    session = embed_again(copy)
    path = Path(session.encoding["source"])
    good = read_all(session)
    chunks = sorted(p for p in path.rglob("c/**/*") if p.is_file())
    rng = np.random.default_rng(7)
    told = 0
    for chunk in rng.choice(np.array(chunks, dtype=object), 60):
        content = bytearray(chunk.read_bytes())
        position, bit = rng.integers(len(content)), rng.integers(8)
        content[position] ^= 1 << bit
        original = chunk.read_bytes()
        chunk.write_bytes(content)
        try:
            found = read_all(session_stores.open_session(path))
        except Exception:  # zarr's own kinds, from the codec
            told += 1
        else:
            for name, values in good.items():
                np.testing.assert_array_equal(found[name], values)
        chunk.write_bytes(original)
    assert told >= 55  # a bit of the frame's header may mean nothing


def test_without_wheel_and_without_optional_files(copy: SimulatedSubject) -> None:
    for name in ("mpci.badFrames.npy", "mpciROIs.cellClassifier.npy", "mpciROIs.uuids.csv"):
        fov_file(copy, name).unlink()
    for path in copy.session_folder(copy.eids[0]).rglob("_ibl_wheel*"):
        path.unlink()
    session = embed_again(copy)
    assert session_stores.wheel(session) is None
    assert not session["bad_frame"].values[0].any()
    assert set(session["uuid"].values[:60]) == {""}


def test_without_trials(copy: SimulatedSubject) -> None:
    for path in copy.session_folder(copy.eids[0]).rglob("_ibl_trials*"):
        path.unlink()
    with pytest.raises(DataError, match=f"{copy.eids[0]} has no trials"):
        session_stores.trials(embed_again(copy))


def test_trials_beside_the_fovs(copy: SimulatedSubject) -> None:
    """Older sessions have trials in alf/ and one file an attribute."""
    folder = copy.session_folder(copy.eids[0]) / "alf"
    table = pd.read_parquet(folder / "task_00" / "_ibl_trials.table.pqt")
    for path in (folder / "task_00").iterdir():
        path.unlink()
    for column in set(table.columns) - {"intervals_0", "intervals_1"}:
        np.save(folder / f"_ibl_trials.{column}.npy", table[column].to_numpy())
    np.save(folder / "_ibl_trials.intervals.npy", table[["intervals_0", "intervals_1"]].to_numpy())
    trials = session_stores.trials(embed_again(copy))
    for column in table.columns:
        np.testing.assert_array_equal(trials[column].values, table[column].to_numpy())


def test_two_tasks(copy: SimulatedSubject) -> None:
    folder = copy.session_folder(copy.eids[0]) / "alf"
    table = pd.read_parquet(folder / "task_00" / "_ibl_trials.table.pqt")
    (folder / "task_01").mkdir()
    other = folder / "task_01" / "_ibl_trials.table.pqt"
    table.assign(probabilityLeft=0.5).iloc[:30].to_parquet(other)
    assert session_stores.trials(embed_again(copy)).sizes["trial"] == len(table)
    table.iloc[5:].to_parquet(other)
    with pytest.raises(DataError, match="alf/task_00, alf/task_01"):
        embed_again(copy)
    chosen = embed_again(copy, collection="alf/task_01")
    assert session_stores.trials(chosen).sizes["trial"] == len(table) - 5
    with pytest.raises(DataError, match="no trials in collection"):
        embed_again(copy, collection="alf/task_07")


def test_rastermap_order(copy: SimulatedSubject) -> None:
    session = load_or_embed(copy.eids[0], one=copy.one_dir)
    isort = session_stores.order(session)
    assert sorted(isort) == list(range(120))
    assert isort.tolist() != list(range(120))


def test_rastermap_puts_active_together_and_survives_nan() -> None:
    rng = np.random.default_rng(3)
    drive = rng.random((4, 600)) > 0.8
    group = np.repeat(np.arange(4), 20)
    shuffled = rng.permutation(80)
    signal = (drive[group] * 3.0 + rng.random((80, 600))).astype(np.float32)[shuffled]
    signal[5], signal[9, 3] = 1.0, np.nan
    isort, _ = rastermap_order(signal)
    assert sorted(isort) == list(range(80))
    assert set(isort[-2:]) == {5, 9}
    changes = np.count_nonzero(np.diff(group[shuffled][isort[:-2]]))
    assert changes <= 6  # 3 is perfect, a random order has about 58


def test_too_small_for_rastermap() -> None:
    isort, reason = rastermap_order(np.ones((4, 100), dtype=np.float32))
    assert isort.tolist() == [0, 1, 2, 3]
    assert "too few" in reason


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


def test_a_failed_build_leaves_nothing(copy: SimulatedSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(building, "write_rows", fail)
    with pytest.raises(OSError, match="disk full"):
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    assert list((copy.one_dir / "meso" / "data").iterdir()) == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def replace(change: object) -> object:
    def apply(path: Path) -> None:
        array = np.load(path)
        np.save(path, change(array))  # type: ignore[operator]

    return apply


def one_time_back(times: np.ndarray) -> np.ndarray:
    times[50] = times[49]
    return times


DAMAGES = {
    "truncated activity": ("mpci.ROIActivityDeconvolved.npy", truncate, "cannot be read"),
    "empty activity": ("mpci.ROIActivityDeconvolved.npy", lambda p: p.write_bytes(b""), "cannot be read"),
    "activity of one dimension": ("mpci.ROIActivityDeconvolved.npy", replace(lambda a: a[0]), "2 dimensions"),
    "integer activity": ("mpci.ROIActivityDeconvolved.npy", replace(lambda a: a.astype(int)), "floating"),
    "fewer times than frames": ("mpci.times.npy", replace(lambda a: a[:-5]), "frame times for"),
    "NaN times": ("mpci.times.npy", replace(lambda a: np.where(np.arange(len(a)) == 7, np.nan, a)), "not finite"),
    "times that stand still": ("mpci.times.npy", replace(one_time_back), "must increase"),
    "fewer regions": ("mpciROIs.brainLocationIds_ccf_2017_estimate.npy", replace(lambda a: a[:-1]), "60 ROIs"),
    "positions in 2-D": ("mpciROIs.mlapdv_estimate.npy", replace(lambda a: a[:, :2]), "expected"),
    "fewer types": ("mpciROIs.mpciROITypes.npy", replace(lambda a: a[:-1]), "60 ROIs"),
    "no types": ("mpciROIs.mpciROITypes.npy", Path.unlink, "missing"),
    "position off the image": ("mpciROIs.stackPos.npy", replace(lambda a: a + 600), "time shifts"),
    "duplicate uuids": ("mpciROIs.uuids.csv", lambda p: p.write_text("uuids\n" + ("0" * 8 + "\n") * 60), "twice"),
    "no header in uuids": ("mpciROIs.uuids.csv", lambda p: p.write_text("x\n" * 61), "header"),
    "fewer uuids": ("mpciROIs.uuids.csv", lambda p: p.write_text("uuids\nx\n"), "60 ROIs"),
    "short bad frames": ("mpci.badFrames.npy", replace(lambda a: a[:-1]), "frames"),
    "unreadable trials": ("../task_00/_ibl_trials.table.pqt", truncate, "parquet"),
    "wheel of another length": ("../task_00/_ibl_wheel.position.npy", replace(lambda a: a[:-1]), "wheel"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(copy: SimulatedSubject, damage: str) -> None:
    name, apply, words = DAMAGES[damage]
    path = fov_file(copy, name).resolve()
    apply(path)  # type: ignore[operator]
    write_one_tables(copy.one_dir)
    with pytest.raises(DataError, match=words) as caught:
        load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    assert path.name.split(".")[0] in str(caught.value)
    data = copy.one_dir / "meso" / "data"
    assert not data.exists() or list(data.iterdir()) == []


def test_frames_differ_between_fovs(copy: SimulatedSubject) -> None:
    for name in ("mpci.ROIActivityDeconvolved.npy", "mpci.times.npy", "mpci.badFrames.npy"):
        path = fov_file(copy, name, fov=1)
        np.save(path, np.load(path)[:-10])
    with pytest.raises(DataError, match=r"FOV_00/mpci.ROIActivityDeconvolved.npy.*FOV_01/mpci.ROIActivityDeconvolved"):
        embed_again(copy)


def test_trials_without_a_column(copy: SimulatedSubject) -> None:
    path = copy.session_folder(copy.eids[0]) / "alf" / "task_00" / "_ibl_trials.table.pqt"
    pd.read_parquet(path).drop(columns="choice").to_parquet(path)
    with pytest.raises(DataError, match="no column choice"):
        embed_again(copy)


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
        alf.subject_sessions(alf.connect(subject.one_dir), "SP001")


def test_signal_that_does_not_exist(subject: SimulatedSubject) -> None:
    with pytest.raises(SettingsError, match="signal"):
        load_or_embed(subject.eids[0], one=subject.one_dir, signal="dff")  # type: ignore[arg-type]


def test_selection_is_lazy(sessions: list[xr.Dataset]) -> None:
    chosen = sessions[0].isel(roi=session_stores.neurons(sessions[0]))
    assert chosen["is_neuron"].values.all()
    assert not chosen["signal"].variable._in_memory


def test_flipped_bits_are_never_numbers(copy: SimulatedSubject) -> None:
    session = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    path = Path(session.encoding["source"])
    clean = session["signal"].values
    rng = np.random.default_rng(0)
    chunks = sorted(p for p in (path / "signal").rglob("*") if p.is_file() and p.name != "zarr.json")
    for _ in range(10):
        chunk = chunks[rng.integers(len(chunks))]
        content = chunk.read_bytes()
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        chunk.write_bytes(damaged)
        try:
            found = stores.open_group(path)["signal"].values
        except Exception:
            pass
        else:
            np.testing.assert_array_equal(found, clean)
        chunk.write_bytes(content)
