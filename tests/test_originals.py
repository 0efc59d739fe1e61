"""Sessions as the original scripts cached them, both ways."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mesodask import load_or_embed, trial_features
from mesodask import sessions as session_stores
from mesodask.errors import DataError, SessionNotFoundError, StoreError
from mesodask.originals.sessions import import_session_cache, original_cache
from mesodask.simulate import SimulatedSubject


@pytest.fixture
def session(copy: SimulatedSubject) -> xr.Dataset:
    return load_or_embed(copy.eids[0], one=copy.one_dir)


def test_the_dictionary_is_that_of_the_files(copy: SimulatedSubject, session: xr.Dataset) -> None:
    cached = original_cache(session)
    assert list(cached) == ["roi_signal", "roi_times", "isort", "region_labels", "region_colors", "xyz"]
    folder = copy.session_folder(copy.eids[0]) / "alf"
    for fov in (0, 1):
        rows, files = slice(60 * fov, 60 * fov + 60), folder / f"FOV_{fov:02d}"
        np.testing.assert_array_equal(cached["roi_signal"][rows].T, np.load(files / "mpci.ROIActivityDeconvolved.npy"))
        delay = np.load(files / "mpciStack.timeshift.npy")[np.load(files / "mpciROIs.stackPos.npy")[:, 0]]
        np.testing.assert_array_equal(cached["roi_times"][rows], np.load(files / "mpci.times.npy") + delay[:, None])
    assert sorted(cached["isort"]) == list(range(120))
    assert cached["region_colors"].min() >= 0
    assert cached["region_colors"].max() <= 1


def test_there_and_back(copy: SimulatedSubject, session: xr.Dataset, tmp_path: Path) -> None:
    """A store, the dictionary made of it, and the store made of that give the same features."""
    path = tmp_path / f"{copy.eids[0]}.npy"
    np.save(path, original_cache(session), allow_pickle=True)
    again = import_session_cache(path, one=copy.one_dir)
    assert Path(again.encoding["source"]).name == f"{copy.eids[0]}_imported.zarr"
    np.testing.assert_array_equal(again["signal"].values, session["signal"].values)
    np.testing.assert_array_equal(session_stores.order(again), session_stores.order(session))
    for name in ("region", "region_color", "region_id", "xyz"):
        np.testing.assert_array_equal(again[name].values, session[name].values)
    # what the dictionary does not hold are the bad frames; every ROI keeps its times, though one clock serves all
    session = session.drop_vars("bad_frame")
    rows = np.arange(0, 120, 7)
    for target in ("choice", "block"):
        ours, theirs = (trial_features(s, rows, target) for s in (session, again))
        np.testing.assert_array_equal(ours["trial_index"], theirs["trial_index"])
        np.testing.assert_allclose(ours["X"], theirs["X"], atol=1e-3)


def test_it_is_not_taken_for_the_sessions_own_store(
    copy: SimulatedSubject, session: xr.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / f"{copy.eids[0]}_filter_True.npy"
    cells = session_stores.neurons(session)
    cached = {name: value for name, value in original_cache(session).items() if name != "isort"}
    np.save(path, {name: value[cells] for name, value in cached.items()}, allow_pickle=True)
    imported = import_session_cache(path, one=copy.one_dir)
    assert imported.sizes["roi"] == len(cells)
    assert imported["is_neuron"].values.all()
    assert load_or_embed(copy.eids[0], one=copy.one_dir).sizes["roi"] == 120


def test_the_second_call_opens_what_the_first_made(
    copy: SimulatedSubject, session: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"{copy.eids[0]}.npy"
    np.save(path, original_cache(session), allow_pickle=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    first = import_session_cache(f"~/{path.name}", one=copy.one_dir)
    assert import_session_cache(path, one=copy.one_dir).attrs["build_id"] == first.attrs["build_id"]
    again = import_session_cache(path, one=copy.one_dir, rerun=True)
    assert again.attrs["build_id"] != first.attrs["build_id"]


def test_another_file_or_another_way_is_refused(copy: SimulatedSubject, session: xr.Dataset, tmp_path: Path) -> None:
    content = original_cache(session)
    first, other = (tmp_path / f"{copy.eids[0]}{end}.npy" for end in ("", "_filter_True"))
    np.save(first, content, allow_pickle=True)
    made = import_session_cache(first, one=copy.one_dir)
    np.save(other, content, allow_pickle=True)
    with pytest.raises(StoreError, match=r"not from .*_filter_True.*rerun=True"):
        import_session_cache(other, one=copy.one_dir)
    with pytest.raises(StoreError, match=r"'xyz_unit': 'm'.*rerun=True"):
        import_session_cache(first, one=copy.one_dir, xyz_unit="m")
    np.save(first, content | {"xyz": content["xyz"] + 1}, allow_pickle=True)
    with pytest.raises(StoreError, match="as it is now"):
        import_session_cache(first, one=copy.one_dir)
    first.unlink()  # what was made of it is enough
    assert import_session_cache(first, one=copy.one_dir).attrs["build_id"] == made.attrs["build_id"]


def test_an_order_that_a_kill_has_prevented_is_added(
    copy: SimulatedSubject, session: xr.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / f"{copy.eids[0]}.npy"
    isort = np.random.default_rng(0).permutation(session.sizes["roi"])
    np.save(path, original_cache(session) | {"isort": isort}, allow_pickle=True)
    store = Path(import_session_cache(path, one=copy.one_dir).encoding["source"])
    shutil.rmtree(store / "order")
    again = import_session_cache(path, one=copy.one_dir)
    np.testing.assert_array_equal(original_cache(again)["isort"], isort)


def test_what_is_wrong_is_named_and_nothing_is_written(copy: SimulatedSubject, tmp_path: Path) -> None:
    stranger = tmp_path / "0f1e2d3c-4b5a-4678-9abc-def012345678.npy"
    np.save(stranger, {"roi_signal": np.zeros((2, 3))}, allow_pickle=True)
    with pytest.raises(SessionNotFoundError, match="0f1e2d3c"):
        import_session_cache(stranger, one=copy.one_dir)
    known = tmp_path / f"{copy.eids[0]}.npy"
    stranger.rename(known)
    with pytest.raises(DataError, match="roi_times"):
        import_session_cache(known, one=copy.one_dir)
    assert not list((copy.one_dir / "meso").rglob("*imported*"))
