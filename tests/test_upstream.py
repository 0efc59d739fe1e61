"""Session caches of the original scripts against what was put into them."""

import contextlib
import os
import pickle
import re
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesodask import schema
from mesodask.errors import DataError, SettingsError
from mesodask.io.regions import describe_regions, ids_of_acronyms
from mesodask.io.upstream import UpstreamSession, cache_name, read_session_cache

EID = "0f1e2d3c-4b5a-4678-9abc-def012345678"
N_ROIS, N_FRAMES = 6, 20
WITHOUT_SIGNAL = {name: variable for name, variable in schema.SESSION.items() if name != "signal"}


def honest() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    times = 12.5 + np.cumsum(rng.uniform(0.15, 0.25, N_FRAMES))
    times[10:] += 30  # bouts are apart
    return {
        "roi_signal": rng.gamma(1.0, size=(N_ROIS, N_FRAMES)).astype(np.float32),
        "roi_times": times,
        "isort": rng.permutation(N_ROIS),
        "region_labels": np.array(["VISp", "VISp", "MOs", "root", "void", "SSp-bfd"], dtype=object),
        "region_colors": rng.integers(0, 256, (N_ROIS, 3)) / 255,
        "xyz": rng.uniform(-4000, 4000, (N_ROIS, 3)),
    }


def write(folder: Path, cache: Any, *, protocol: int | None = None, name: str = f"{EID}_filter_True.npy") -> Path:
    """As the original scripts did, or as they did with another protocol."""
    path = folder / name
    np.save(path, cache, allow_pickle=True)
    if protocol is not None:
        data = path.read_bytes()
        header = data[: data.index(b"\n") + 1]
        path.write_bytes(header + pickle.dumps(np.array(cache, dtype=object), protocol=protocol))
    return path


def hexadecimal(color: np.ndarray) -> list[str]:
    return ["#" + bytes(row.tolist()).hex() for row in np.rint(color).astype(np.uint8)]


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
@pytest.mark.parametrize("numpy_1", [False, True])
def test_honest_cache(tmp_path: Path, protocol: int | None, numpy_1: bool) -> None:
    cache = honest()
    path = write(tmp_path, cache, protocol=3 if numpy_1 and protocol is None else protocol)
    if numpy_1 and protocol in (None, 2, 3):  # np.save of NumPy 1 wrote protocol 3
        data = path.read_bytes()
        assert data.count(b"cnumpy._core.") == 1
        path.write_bytes(data.replace(b"cnumpy._core.", b"cnumpy.core."))
    session = read_session_cache(path)
    assert (session.path, session.eid, session.filtered) == (path, EID, True)
    assert (session.n_rois, session.n_frames) == (N_ROIS, N_FRAMES)
    np.testing.assert_array_equal(session.signal, cache["roi_signal"])
    np.testing.assert_array_equal(session.rows(2, 5), cache["roi_signal"][2:5])
    np.testing.assert_array_equal(session.frame_times, cache["roi_times"][None])
    np.testing.assert_array_equal(session.isort, cache["isort"])
    np.testing.assert_array_equal(session.xyz, cache["xyz"])
    assert session.region.tolist() == cache["region_labels"].tolist()
    assert session.region_color.tolist() == hexadecimal(cache["region_colors"] * 255)
    assert session.clock_index.tolist() == [0] * N_ROIS
    assert session.roi_delay is None
    assert session.other_keys == ()


def test_cache_of_a_session_store_gives_the_session_back(tmp_path: Path, sessions: list[xr.Dataset]) -> None:
    """What comes back is what mesodask itself reads from the ALF files."""
    store = sessions[0].compute()  # the fixture stays lazy for others
    times = store["frame_times"].values[store["fov_index"].values] + store["roi_delay"].values[:, None]
    isort = np.arange(store.sizes["roi"])[::-1]
    cache = {
        "roi_signal": store["signal"].values,
        "roi_times": times,
        "isort": isort,
        "region_labels": store["region"].values.astype(object),
        "region_colors": list(map(str, store["region_color"].values)),
        "xyz": store["xyz"].values / 1e6,
    }
    session = read_session_cache(write(tmp_path, cache), xyz_unit="m")
    dataset = schema.conform(session.variables(), WITHOUT_SIGNAL)
    schema.validate(dataset, WITHOUT_SIGNAL, "a cache")
    for name in ("region_id", "region", "region_color"):
        assert dataset[name].values.tolist() == store[name].values.tolist()
    np.testing.assert_allclose(dataset["xyz"].values, store["xyz"].values, atol=1e-6)
    np.testing.assert_array_equal(session.rows(0, session.n_rois), store["signal"].values)
    found = dataset["frame_times"].values[dataset["fov_index"].values] + dataset["roi_delay"].values[:, None]
    np.testing.assert_allclose(found, times, atol=1e-9)
    assert (dataset["roi_delay"].values != 0).any()
    assert dataset["fov"].values.tolist() == ["unknown"]
    assert dataset["is_neuron"].values.all()


RGB = np.random.default_rng(4).integers(0, 256, (N_ROIS, 3))


@pytest.mark.parametrize(
    ("key", "value", "attribute", "expected"),
    [
        ("region_colors", RGB / 255, "region_color", hexadecimal(RGB)),
        ("region_colors", np.c_[RGB / 255, np.ones(N_ROIS)].astype(np.float32), "region_color", hexadecimal(RGB)),
        ("region_colors", RGB, "region_color", hexadecimal(RGB)),
        ("region_colors", RGB.astype(np.uint8), "region_color", hexadecimal(RGB)),
        ("region_colors", np.minimum(RGB, 1), "region_color", hexadecimal(np.minimum(RGB, 1))),
        ("region_colors", RGB.astype(float), "region_color", hexadecimal(RGB)),
        ("region_colors", (RGB / 255).tolist(), "region_color", hexadecimal(RGB)),
        ("region_colors", [tuple(row) for row in RGB / 255], "region_color", hexadecimal(RGB)),
        ("region_colors", list(RGB / 255), "region_color", hexadecimal(RGB)),
        ("region_colors", (RGB / 255).astype(object), "region_color", hexadecimal(RGB)),
        ("region_colors", hexadecimal(RGB), "region_color", hexadecimal(RGB)),
        ("region_colors", np.array(hexadecimal(RGB)), "region_color", hexadecimal(RGB)),
        ("region_colors", [text[1:].upper() + "ff" for text in hexadecimal(RGB)], "region_color", hexadecimal(RGB)),
        ("region_labels", ["a", "b", "c", "d", "e", ""], "region", ["a", "b", "c", "d", "e", ""]),
        ("region_labels", np.array(["VISp", "x"] * 3), "region", ["VISp", "x"] * 3),
        ("region_labels", tuple(np.array(["VISp", "x"] * 3)), "region", ["VISp", "x"] * 3),
        ("isort", None, "isort", None),
        ("isort", [5, 4, 3, 2, 1, 0], "isort", [5, 4, 3, 2, 1, 0]),
        ("isort", np.arange(N_ROIS, dtype=">u2"), "isort", list(range(N_ROIS))),
        ("roi_times", list(range(N_FRAMES)), "frame_times", [list(range(N_FRAMES))]),
        ("roi_times", [np.arange(N_FRAMES) / 4], "frame_times", [(np.arange(N_FRAMES) / 4).tolist()]),
        ("roi_times", np.arange(N_FRAMES, dtype=np.float32), "frame_times", [list(range(N_FRAMES))]),
        ("roi_times", np.tile(np.arange(N_FRAMES), (3, 1)), "frame_times", [list(range(N_FRAMES))]),
        ("roi_signal", np.ones((N_ROIS, N_FRAMES), dtype=">f8"), "signal", [[1.0] * N_FRAMES] * N_ROIS),
        ("roi_signal", [[0.5] * N_FRAMES for _ in range(N_ROIS)], "signal", [[0.5] * N_FRAMES] * N_ROIS),
        ("roi_signal", list(np.ones((N_ROIS, N_FRAMES))), "signal", [[1.0] * N_FRAMES] * N_ROIS),
        ("xyz", [[500, -2, 3]] * N_ROIS, "xyz", [[500.0, -2.0, 3.0]] * N_ROIS),
    ],
)
def test_other_forms(tmp_path: Path, key: str, value: Any, attribute: str, expected: Any) -> None:
    session = read_session_cache(write(tmp_path, honest() | {key: value}))
    found = getattr(session, attribute)
    assert (found if found is None else found.tolist()) == expected
    others = read_session_cache(write(tmp_path, honest()))
    for name in {"signal", "frame_times", "isort", "region", "region_color", "xyz"} - {attribute}:
        np.testing.assert_array_equal(getattr(session, name), getattr(others, name))


def test_missing_order_and_further_keys(tmp_path: Path) -> None:
    cache = honest()
    del cache["isort"]
    session = read_session_cache(write(tmp_path, cache | {"version": 2, "uuids": ["a", "b"]}))
    assert session.isort is None
    assert session.other_keys == ("version", "uuids")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"{EID}.npy", (EID, None)),
        (f"{EID}_filter_True.npy", (EID, True)),
        (f"{EID}_filter_False.npy", (EID, False)),
        (f"{EID.upper()}.npy", (EID, None)),
    ],
)
def test_names(name: str, expected: tuple[str, bool | None]) -> None:
    assert cache_name(name) == expected


@pytest.mark.parametrize("name", ["cache.npy", f"{EID}.npz", f"{EID}_filter_Yes.npy", f"x{EID}.npy", f"{EID[:-1]}.npy"])
def test_names_of_other_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"<eid>\.npy") as caught:
        read_session_cache(tmp_path / name)
    assert caught.value.path == tmp_path / name


def test_times_of_each_roi_become_clock_and_delay(tmp_path: Path) -> None:
    cache = honest()
    delay = np.array([0.01, 0.0, 0.03, 0.19, 0.02, 0.05])
    session = read_session_cache(write(tmp_path, cache | {"roi_times": cache["roi_times"] + delay[:, None]}))
    np.testing.assert_array_equal(session.frame_times, cache["roi_times"][None] + 0.01)
    np.testing.assert_allclose(session.roi_delay, delay - 0.01, atol=1e-12)
    assert "roi_delay" in session.variables()


@pytest.mark.parametrize("error", [5e-7, 5e-6])
def test_delay_must_be_constant(tmp_path: Path, error: float) -> None:
    times = honest()["roi_times"] + 0.01 * np.arange(N_ROIS)[:, None]
    times[4, 7] += error
    path = write(tmp_path, honest() | {"roi_times": times})
    if error < 1e-6:
        np.testing.assert_allclose(read_session_cache(path).roi_delay, 0.01 * np.arange(N_ROIS), atol=1e-6)
    else:
        with pytest.raises(DataError, match=r"roi_times: ROI 4 is 0\.040000 to 0\.040005 s later") as caught:
            read_session_cache(path)
        assert caught.value.path == path


def test_delays_of_many_rois(tmp_path: Path) -> None:
    delay = np.random.default_rng(5).uniform(0, 0.2, 600)
    cache = {
        "roi_signal": np.zeros((600, 3), dtype=np.float32),
        "roi_times": np.arange(3.0) + delay[:, None],
        "region_labels": ["VISp"] * 600,
        "region_colors": ["#08858c"] * 600,
        "xyz": np.full((600, 3), 1000.0),
    }
    np.testing.assert_allclose(read_session_cache(write(tmp_path, cache)).roi_delay, delay - delay[0], atol=1e-12)
    cache["roi_times"][400, 1] += 0.001  # type: ignore[index]
    with pytest.raises(DataError, match="ROI 400 is"):
        read_session_cache(write(tmp_path, cache))


def test_signalling_nan_is_just_nan(tmp_path: Path) -> None:
    """Its conversion warns, and warnings are errors here."""
    signal, xyz = np.ones((N_ROIS, N_FRAMES)), honest()["xyz"].astype(np.float32)
    signal[1, 2] = np.array(0x7FF4_0000_0000_0000, dtype=np.uint64).view(np.float64)
    xyz[3, 0] = np.array(0x7FA0_0000, dtype=np.uint32).view(np.float32)
    session = read_session_cache(write(tmp_path, honest() | {"roi_signal": signal, "xyz": xyz}))
    assert np.argwhere(np.isnan(session.rows(0, N_ROIS))).tolist() == [[1, 2]]
    assert np.argwhere(np.isnan(session.xyz)).tolist() == [[3, 0]]


def test_times_of_each_fov_need_to_be_told_apart(tmp_path: Path) -> None:
    cache = honest()
    times = cache["roi_times"] + np.array([[0.0], [0.1]])
    path = write(tmp_path, cache | {"roi_times": times})
    with pytest.raises(DataError, match=r"2 different rows for 6 ROIs.*clock_index"):
        read_session_cache(path)
    session = read_session_cache(path, clock_index=[0, 0, 1, 1, 1, 0])
    dataset = schema.conform(session.variables(), WITHOUT_SIGNAL)
    np.testing.assert_array_equal(dataset["frame_times"].values, times)
    assert dataset["fov_index"].values.tolist() == [0, 0, 1, 1, 1, 0]
    assert dataset["fov"].values.tolist() == ["unknown_0", "unknown_1"]
    for wrong in ([0, 0, 1], [0, 0, 1, 2, 0, 0], [-1] * 6, [0.5] * 6):
        with pytest.raises(SettingsError, match=r"clock_index: .* 0 to 1, for each of the 6 ROIs"):
            read_session_cache(path, clock_index=wrong)


@pytest.mark.parametrize(("unit", "factor"), [("um", 1), ("mm", 1e-3), ("m", 1e-6)])
def test_unit_of_the_positions_is_told_and_never_guessed(tmp_path: Path, unit: Any, factor: float) -> None:
    xyz = honest()["xyz"]
    xyz[2] = np.nan
    path = write(tmp_path, honest() | {"xyz": xyz * factor})
    np.testing.assert_allclose(read_session_cache(path, xyz_unit=unit).xyz, xyz, rtol=1e-12)
    for other in {"um", "mm", "m"} - {unit}:
        with pytest.raises(DataError, match=f'xyz: the furthest .* {other} from bregma.*pass xyz_unit="{unit}"'):
            read_session_cache(path, xyz_unit=other)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="xyz_unit"):
        read_session_cache(path, xyz_unit="inch")  # type: ignore[arg-type]


def test_positions_that_nobody_knows(tmp_path: Path) -> None:
    session = read_session_cache(write(tmp_path, honest() | {"xyz": np.full((N_ROIS, 3), np.nan)}))
    assert np.isnan(session.xyz).all()


def test_unknown_acronyms_become_void_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = ["VISp", "nowhere", "", "MOs", "nowhere", "void"]
    session = read_session_cache(write(tmp_path, honest() | {"region_labels": labels}))
    variables = session.variables()
    assert variables["region_id"].tolist() == [385, 0, 0, 993, 0, 0]
    assert variables["region"].tolist() == ["VISp", "void", "void", "MOs", "void", "void"]
    assert session.region.tolist() == labels
    assert [r.message for r in caplog.records] == ["3 ROIs have acronyms that the atlas does not know (, nowhere): set "
                                                   "to void"]  # fmt: skip


def test_ids_of_acronyms_undo_describe_regions() -> None:
    from iblatlas.regions import BrainRegions

    ids = np.unique(np.abs(BrainRegions().id))
    assert len(ids) > 1000
    np.testing.assert_array_equal(ids_of_acronyms(describe_regions(ids)[0]), ids)
    np.testing.assert_array_equal(ids_of_acronyms(describe_regions(-ids)[0]), ids)


@pytest.mark.parametrize("name", [f"{EID}.npy", f"{EID}_filter_False.npy"])
def test_cells_that_are_not_told_are_said(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    variables = read_session_cache(write(tmp_path, honest(), name=name)).variables()
    assert variables["is_neuron"].tolist() == [True] * N_ROIS
    assert "all 6 count as such" in caplog.text


def change(key: str, value: Any) -> Callable[[dict], Any]:
    return lambda cache: cache | {key: value(cache[key]) if callable(value) else value}


def without(key: str) -> Callable[[dict], Any]:
    return lambda cache: {k: v for k, v in cache.items() if k != key}


def set_at(place: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def edit(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[place] = value
        return array

    return edit


DAMAGES: dict[str, tuple[Callable[[dict], Any], str]] = {
    "a list": (lambda cache: [cache], "holds an array of object of shape .*; expected a dictionary with the keys roi_"),
    "None": (lambda _: None, "holds None"),
    "keys that are numbers": (lambda cache: cache | {1: 2}, "holds dict of length 7"),
    "no signal": (without("roi_signal"), "no key roi_signal; expected roi_signal, roi_times"),
    "no times": (without("roi_times"), "no key roi_times"),
    "no positions": (without("xyz"), "no key xyz"),
    "integer signal": (change("roi_signal", lambda s: s.astype(int)), "roi_signal: an array of int64"),
    "signal of one ROI": (change("roi_signal", lambda s: s[0]), r"shape \(20,\); expected .* \(n_rois, n_frames\)"),
    "no ROI": (change("roi_signal", lambda s: s[:0]), r"roi_signal: .* shape \(0, 20\)"),
    "no signal at all": (change("roi_signal", None), "roi_signal: None"),
    "text for a signal": (change("roi_signal", "F.npy"), "roi_signal: str of length 5"),
    "too large a signal": (
        change("roi_signal", lambda s: s * np.float64(1e300)),
        "roi_signal: values as large as .*float32",
    ),
    "infinite signal": (change("roi_signal", set_at((0, 0), -np.inf)), "roi_signal: values as large as inf"),
    "ragged signal": (change("roi_signal", [[1.0, 2.0], [1.0]]), "roi_signal: list of length 2 that make no array"),
    "signal on its side": (change("roi_signal", lambda s: s.T), r"roi_times: .* shape \(20,\); expected .* \(6,\)"),
    "one ROI too many": (change("roi_signal", lambda s: s[[0, 0, 1, 2, 3, 4, 5]]), "isort: .*permutation of the 7"),
    "a frame too few": (change("roi_times", lambda t: t[1:]), r"roi_times: .* shape \(19,\); expected .* \(20,\)"),
    "times of no ROI": (change("roi_times", np.empty((0, N_FRAMES))), r"roi_times: .* shape \(0, 20\)"),
    "one time": (change("roi_times", np.array(5.0)), r"roi_times: .* shape \(\)"),
    "times as text": (change("roi_times", ["0"] * N_FRAMES), "roi_times: list of length 20 of other things than num"),
    "nested times": (change("roi_times", [[[0.0]]] * N_FRAMES), "roi_times: list of length 20 of other things"),
    "huge time": (change("roi_times", [0.5, 10**400]), "roi_times: an array of object"),
    "times of no dimension": (change("roi_times", [np.array(1.0)] * N_FRAMES), "roi_times: list of length 20 of other"),
    "NaN time": (change("roi_times", set_at(3, np.nan)), "roi_times: 1 frame times are not finite"),
    "huge times": (change("roi_times", set_at(19, 1.7e308)), r"roi_times: times as large as 1\.7e\+308"),
    "long ago": (change("roi_times", set_at(0, -1.7e308)), r"roi_times: times as large as 1\.7e\+308"),
    "decreasing times": (change("roi_times", set_at(4, 0.0)), "roi_times: frame 4 does not come after frame 3"),
    "repeated time": (change("roi_times", lambda t: set_at(4, t[3])(t)), "frame 4 does not come after frame 3"),
    "order with a repetition": (change("isort", set_at(0, 3)), "isort: .* expected a permutation of the 6 rows"),
    "order beyond the rows": (change("isort", lambda i: i + 1), "isort: .* permutation of the 6 rows"),
    "order of floats": (change("isort", lambda i: i.astype(float)), "isort: an array of float64"),
    "short order": (change("isort", np.arange(5)), "isort: .* permutation of the 6 rows"),
    "short labels": (change("region_labels", lambda v: v[:5]), r"region_labels: .* shape \(5,\).* each of 6 ROIs"),
    "labels that are ids": (change("region_labels", np.full(6, 385)), "region_labels: an array of int64"),
    "a label that is none": (change("region_labels", set_at(2, None)), "region_labels: None in row 2"),
    "a label of control codes": (change("region_labels", set_at(2, "a\x1b[2J")), "region_labels: str .* in row 2"),
    "a label like a book": (change("region_labels", set_at(2, "a" * 101)), "region_labels: str of length 101"),
    "labels in two columns": (change("region_labels", np.full((6, 2), "a")), "region_labels: list of length 2 in row"),
    "short colours": (change("region_colors", lambda c: c[:5]), r"region_colors: .* shape \(5, 3\)"),
    "colours in two columns": (change("region_colors", lambda c: c[:, :2]), r"region_colors: .* shape \(6, 2\)"),
    "negative colour": (change("region_colors", lambda c: -c), "region_colors: values from -"),
    "bright colour": (change("region_colors", lambda c: c * 300), "region_colors: values from .* 0 to 255"),
    "NaN colour": (change("region_colors", lambda c: c * np.nan), "region_colors: 18 colours are not finite"),
    "named colour": (change("region_colors", ["#08858c", "red"] * 3), "region_colors: no colour in row 1"),
    "short colour": (change("region_colors", ["#08858"] * 6), "region_colors: no colour in row 0"),
    "some colours": (change("region_colors", ["#08858c", None] * 3), "region_colors: None in row 1"),
    "positions in a plane": (
        change("xyz", lambda p: p[:, :2]),
        r"xyz: .* shape \(6, 2\).* ML, AP and DV for each of 6",
    ),
    "positions on their side": (change("xyz", lambda p: p.T), r"xyz: .* shape \(3, 6\)"),
    "infinite position": (change("xyz", set_at((0, 0), np.inf)), "xyz: the furthest coordinate is inf um"),
    "huge position": (change("xyz", set_at((0, 0), 1.7e308)), r"xyz: the furthest coordinate is 1\.7e\+308 um"),
    "positions at bregma": (change("xyz", lambda p: p * 0), "xyz: the furthest coordinate is 0 um .*100 to 20000 um"),
    "complex positions": (change("xyz", lambda p: p * 1j), "xyz: an array of complex128"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_caches(tmp_path: Path, case: str) -> None:
    damage, message = DAMAGES[case]
    path = write(tmp_path, damage(honest()))
    with pytest.raises(DataError, match=message) as caught:
        read_session_cache(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", [lambda _: b"", lambda data: data[:500], lambda data: data + b"x"])
def test_truncated_and_padded_files(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, honest())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"cannot be read as an \.npy file of pickled objects") as caught:
        read_session_cache(path)
    assert caught.value.path == path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_session_cache(tmp_path / f"{EID}.npy")


class Touch:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self._marker}",)


@pytest.mark.parametrize("place", ["roi_signal", "roi_times", "region_labels", "another"])
@pytest.mark.parametrize(
    "form", [lambda evil: evil, lambda evil: [evil], lambda evil: np.array([evil, 1], dtype=object)]
)
def test_hostile_caches_do_not_run(tmp_path: Path, place: str, form: Callable[[Touch], Any]) -> None:
    marker = tmp_path / "ran"
    path = write(tmp_path, honest() | {place: form(Touch(marker))})
    with pytest.raises(DataError, match=r"asks for posix\.system;.* nothing in the file was run") as caught:
        read_session_cache(path)
    assert caught.value.path == path
    assert not marker.exists()
    np.load(path, allow_pickle=True)
    assert marker.exists()


ROW = np.zeros(20_000)
BOMBS = {
    "one list many times": {"roi_signal": [ROW.tolist()] * 20_000},
    "one vector many times": {"roi_signal": [ROW] * 20_000},
    "one list many times for times": {"roi_times": [ROW.tolist()] * 20_000},
    "one long label many times": {"region_labels": ["x" * 1_000_000] * N_ROIS},
    "lists of lists of lists": {"roi_times": [[[[[[[[0.0] * 20] * 20] * 20] * 20] * 20] * 20] * 20]},
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_take_neither_memory_nor_time(tmp_path: Path, case: str) -> None:
    path = write(tmp_path, honest() | BOMBS[case])
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(DataError):
            read_session_cache(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * path.stat().st_size + 1_000_000
    assert time.monotonic() - start < 20


def assert_sound(session: UpstreamSession) -> None:
    """Whatever a reader goes on to do with it will work."""
    dataset = schema.conform(session.variables(), WITHOUT_SIGNAL)
    schema.validate(dataset, WITHOUT_SIGNAL, "a cache")
    assert session.rows(0, session.n_rois).shape == (session.n_rois, session.n_frames)
    assert (np.diff(session.frame_times) > 0).all()
    assert np.isfinite(session.frame_times).all()
    assert session.isort is None or sorted(session.isort) == list(range(session.n_rois))
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in session.region_color)
    assert not np.isinf(session.xyz).any()
    "".join(session.region).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An honest file with a few bytes changed, most of them outside the numbers, or cut off."""
    header, body = draw(st.sampled_from(FILES))
    data = bytearray(header + body)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] = draw(st.sampled_from([data[place] ^ (1 << bit) for bit in range(8)]) | st.integers(0, 255))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


def files() -> list[tuple[bytes, bytes]]:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    rows = honest()["roi_times"] + np.arange(N_ROIS)[:, None] * 0.01
    caches = [
        honest(),
        honest() | {"roi_times": rows, "roi_signal": honest()["roi_signal"].astype(float)},
        honest() | {"region_colors": hexadecimal(RGB), "region_labels": np.array(["VISp", "MOs"] * 3)},
        honest() | {"region_colors": RGB.tolist(), "isort": list(range(N_ROIS)), "xyz": honest()["xyz"].tolist()},
    ]
    return [(header, pickle.dumps(np.array(c, dtype=object), protocol=p)) for c in caches for p in (2, 3, 4, 5)]


FILES = files()


@pytest.mark.parametrize("number", range(len(FILES)))
def test_the_undamaged_files_are_sound(tmp_path: Path, number: int) -> None:
    path = tmp_path / f"{EID}_filter_True.npy"
    path.write_bytes(b"".join(FILES[number]))
    assert_sound(read_session_cache(path))


@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged())
def test_damage_ends_in_data_error_or_in_checked_data(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / f"{EID}_filter_True.npy"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        assert_sound(read_session_cache(path))
