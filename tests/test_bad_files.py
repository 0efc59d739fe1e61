"""What is damaged is told: files of a session before a store is made of them, stores when they are read."""

import contextlib
import io
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from mesodask import load_or_embed, simulate_subject, trial_features
from mesodask import sessions as session_stores
from mesodask.errors import DataError, StoreError
from mesodask.io import sources, stores
from mesodask.io.alf import write_one_tables
from mesodask.io.npy import read_npy
from mesodask.originals.sessions import original_cache
from mesodask.simulate import SimulatedSubject
from mesodask.tracking import all_neurons

N_ROIS = 8
TABLE = "task_00/_ibl_trials.table.pqt"
CUE = "task_00/_ibl_trials.goCueTrigger_times.npy"
WHEEL_TIMES = "task_00/_ibl_wheel.timestamps.npy"
WHEEL = "task_00/_ibl_wheel.position.npy"
ACTIVITY = "FOV_01/mpci.ROIActivityDeconvolved.npy"
TIMES = "FOV_01/mpci.times.npy"
BAD_FRAMES = "FOV_01/mpci.badFrames.npy"
SHIFT = "FOV_01/mpciStack.timeshift.npy"
STACK = "FOV_01/mpciROIs.stackPos.npy"
TYPES = "FOV_01/mpciROIs.mpciROITypes.npy"
PROBABILITY = "FOV_01/mpciROIs.cellClassifier.npy"
POSITION = "FOV_01/mpciROIs.mlapdv_estimate.npy"
REGION = "FOV_01/mpciROIs.brainLocationIds_ccf_2017_estimate.npy"
UUIDS = "FOV_01/mpciROIs.uuids.csv"
NPY = (ACTIVITY, TIMES, BAD_FRAMES, SHIFT, STACK, TYPES, PROBABILITY, POSITION, REGION, CUE, WHEEL_TIMES, WHEEL)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """One short session, never to be written to."""
    folder = tmp_path_factory.mktemp("pristine")
    return simulate_subject(folder, n_days=1, n_trials=20, rois_per_fov=(N_ROIS, N_ROIS), seed=5)


@pytest.fixture
def short(pristine: SimulatedSubject, tmp_path: Path) -> SimulatedSubject:
    """A copy of the short session that a test may damage."""
    shutil.copytree(pristine.folder, tmp_path / "subject", ignore=shutil.ignore_patterns("meso"))
    return SimulatedSubject.open(tmp_path / "subject")


def alf_folder(subject: SimulatedSubject) -> Path:
    return subject.session_folder(subject.eids[0]) / "alf"


def embed(subject: SimulatedSubject, **options: object) -> xr.Dataset:
    return load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False, **options)  # type: ignore[arg-type]


def nothing_is_written(subject: SimulatedSubject) -> bool:
    return not [p for p in (subject.one_dir / "meso").rglob("*") if p.name != "data"]


@dataclass(frozen=True)
class Damage:
    """What is done to which file, and the words of the error: what was found, and what was expected."""

    what: str
    file: str
    apply: Callable[[Path], object]
    found: str
    expected: str


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0" * 8)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_archive(path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, np.load(path))
    path.write_bytes(stream.getvalue())


def to_pickle(path: Path) -> None:
    np.save(path, np.load(path).astype(object), allow_pickle=True)


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        np.save(path, change(np.load(path)))

    return apply


def with_value(index: object, value: object) -> Callable[[Path], None]:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return changed(change)


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return apply


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        change(pd.read_parquet(path)).to_parquet(path)

    return apply


def twice_a_column(path: Path) -> None:
    found = pq.read_table(path)
    pq.write_table(pa.table([*found.columns, found["choice"]], names=[*found.column_names, "choice"]), path)


WHOLE = "expected a whole file of numbers"
ROWS = f"expected ({N_ROIS},), one row for each of the {N_ROIS} ROIs"
DAMAGES = [
    *(Damage("truncated", file, truncate, "cannot be read as an .npy array", WHOLE) for file in NPY),
    *(Damage("of no bytes", file, empty, "cannot be read as an .npy array", WHOLE) for file in NPY),
    *(Damage("of text", file, lambda p: p.write_text("x"), "cannot be read as an .npy", WHOLE) for file in NPY),
    Damage("a folder", ACTIVITY, to_folder, "cannot be read as an .npy array (", WHOLE),
    Damage("an archive", ACTIVITY, to_archive, "cannot be read as an .npy array (", WHOLE),
    Damage("a pickle", ACTIVITY, to_pickle, "Python objects", WHOLE),
    Damage("pickled types", TYPES, to_pickle, "Python objects", WHOLE),
    Damage("too long", ACTIVITY, lengthen, " bytes; ", "expected "),
    Damage("missing", ACTIVITY, Path.unlink, "is missing", "listed in the ONE tables"),
    Damage("missing", TYPES, Path.unlink, "is missing", "listed in the ONE tables"),
    Damage("missing", TIMES, Path.unlink, "is missing", "listed in the ONE tables"),
    Damage("missing", REGION, Path.unlink, "is missing", "listed in the ONE tables"),
    Damage("of one dimension", ACTIVITY, changed(lambda a: a[0]), f"shape ({N_ROIS},)", "expected 2 dimensions"),
    Damage("of whole numbers", ACTIVITY, changed(lambda a: a.astype(int)), "dtype int64", "expected floating"),
    Damage("complex", ACTIVITY, changed(lambda a: a.astype(complex)), "dtype complex128", "expected floating"),
    Damage("of no frames", ACTIVITY, changed(lambda a: a[:0]), "0 frames", "expected a recording"),
    Damage("shorter than the frames", TIMES, changed(lambda a: a[:-5]), "frame times for", "at least as many times"),
    Damage("with NaN", TIMES, with_value(7, np.nan), "1 of", "expected s"),
    Damage("infinite", TIMES, with_value(-1, np.inf), "1 of", "expected s"),
    Damage("standing still", TIMES, changed(lambda a: np.where(np.arange(len(a)) == 9, a[8], a)), "frame 9", "must"),
    Damage("decreasing", TIMES, changed(lambda a: a[::-1]), "comes not after frame 0", "must increase"),
    Damage("of two dimensions", TIMES, changed(lambda a: a[:, None]), "1)", "expected 1 dimensions"),
    Damage("of text items", TIMES, changed(lambda a: a.astype(str)), "dtype <U", "expected floating"),
    Damage("too short", BAD_FRAMES, changed(lambda a: a[:-1]), "entries", "expected one for each of"),
    Damage("all bad", BAD_FRAMES, changed(np.ones_like), "frames are bad", "expected some that are not"),
    Damage("floating", BAD_FRAMES, changed(lambda a: a.astype(float)), "dtype float64", "expected boolean"),
    Damage("of three dimensions", SHIFT, changed(lambda a: a[:, None, None]), "1, 1)", "expected 1 or 2 dimensions"),
    Damage("of whole numbers", SHIFT, changed(lambda a: a.astype(int)), "dtype int64", "expected floating"),
    Damage("NaN", SHIFT, changed(lambda a: a * np.nan), f"{N_ROIS} of {N_ROIS} ROIs are not finite", "expected s"),
    Damage("off the image", STACK, with_value((2, 0), 999), "to [999]", "expected pixels of the image"),
    Damage("negative", STACK, with_value((2, 0), -1), "from [-1]", "expected pixels of the image"),
    Damage("of parts of pixels", STACK, changed(lambda a: a + 0.5), "no whole numbers", "expected y, x and z"),
    Damage("NaN", STACK, changed(lambda a: a * np.nan), "no whole numbers", "expected y, x and z in pixels"),
    Damage("without z", STACK, changed(lambda a: a[:, :2]), f"shape ({N_ROIS}, 2)", f"expected ({N_ROIS}, 3)"),
    Damage("floating", TYPES, changed(lambda a: a.astype(float)), "dtype float64", "expected integer"),
    Damage("of another length", TYPES, changed(lambda a: a[:-1]), f"shape ({N_ROIS - 1},)", ROWS),
    Damage("of another length", PROBABILITY, changed(lambda a: a[:-1]), f"shape ({N_ROIS - 1},)", ROWS),
    Damage("of another length", REGION, changed(lambda a: np.append(a, a)), f"shape ({2 * N_ROIS},)", ROWS),
    Damage("floating", REGION, changed(lambda a: a.astype(float)), "dtype float64", "expected integer or unsigned"),
    Damage("of another length", POSITION, changed(lambda a: a[1:]), f"({N_ROIS - 1}, 3)", f"expected ({N_ROIS}, 3)"),
    Damage("in 2-D", POSITION, changed(lambda a: a[:, :2]), f"shape ({N_ROIS}, 2)", f"expected ({N_ROIS}, 3)"),
    Damage("infinite", POSITION, with_value((0, 0), np.inf), "1 coordinates are infinite", "expected um"),
    Damage("twice", UUIDS, lines(lambda a: [*a[:-1], a[1]]), f"for ROIs 0 and {N_ROIS - 1}", "expected another"),
    Damage("malformed", UUIDS, lines(lambda a: [*a[:-1], "x"]), f"'x' of ROI {N_ROIS - 1} is no uuid", "8-4-4-4"),
    Damage("blank", UUIDS, lines(lambda a: [*a[:-1], ""]), "'' of ROI", "expected 8-4-4-4-12 hex digits"),
    Damage("without header", UUIDS, lines(lambda a: a[1:]), "header '", "expected 'uuids'"),
    Damage("too few", UUIDS, lines(lambda a: a[:-1]), f"{N_ROIS - 1} uuids", f"one for each of {N_ROIS} ROIs"),
    Damage("of no bytes", UUIDS, empty, "header ''", "expected 'uuids'"),
    Damage("no text", UUIDS, lambda p: p.write_bytes(b"\xff\xfe\x00"), "cannot be read as CSV", "copy the file again"),
    Damage("a folder", UUIDS, to_folder, "cannot be read as CSV", "copy the file again"),
    Damage("truncated", TABLE, truncate, "cannot be read as a parquet table", "copy the file again"),
    Damage("of no bytes", TABLE, empty, "cannot be read as a parquet table", "copy the file again"),
    Damage("of text", TABLE, lambda p: p.write_text("x"), "cannot be read as a parquet", "copy the file again"),
    Damage("without rows", TABLE, table(lambda t: t.iloc[:0]), "0 trials", "expected a row for each trial"),
    Damage("without choice", TABLE, table(lambda t: t.drop(columns="choice")), "no column choice", "found contrast"),
    Damage("of words", TABLE, table(lambda t: t.assign(choice="left")), "column choice has dtype", "expected numbers"),
    Damage("of two choices", TABLE, twice_a_column, "cannot be read as a parquet table", "copy the file again"),
    Damage("backwards", TABLE, table(lambda t: t.iloc[::-1]), "trial 1 starts at", "expected trials in the order"),
    Damage("of another length", CUE, changed(lambda a: a[:-1]), "19 values", "expected one for each of 20 trials"),
    Damage("of words", CUE, changed(lambda a: a.astype(str)), "dtype <U", "expected floating or integer"),
    Damage("of three dimensions", CUE, changed(lambda a: a[:, None, None]), "1, 1)", "expected 1 or 2 dimensions"),
    Damage("of another length", WHEEL, changed(lambda a: a[:-1]), "wheel positions", "as many as times in"),
    Damage("missing", WHEEL, Path.unlink, "is missing", "listed in the ONE tables"),
    Damage("NaN", WHEEL, with_value(3, np.nan), "1 of", "expected none"),
    Damage("infinite", WHEEL_TIMES, with_value(-1, np.inf), "1 of", "expected none"),
    Damage("decreasing", WHEEL_TIMES, changed(lambda a: a[::-1]), "sample 1 at", "do not decrease"),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: f"{damage.file.split('/')[1]} {damage.what}")
def test_damaged_files_are_named(short: SimulatedSubject, damage: Damage) -> None:
    """The file, what was found and what was expected; and nothing is written."""
    path = alf_folder(short) / damage.file
    damage.apply(path)
    with pytest.raises(DataError) as caught:
        embed(short)
    for words in (str(path), damage.found, damage.expected):
        assert words in str(caught.value)
    assert nothing_is_written(short)


def test_the_session_is_whole_before_it_is_damaged(short: SimulatedSubject) -> None:
    assert embed(short).sizes["roi"] == 2 * N_ROIS
    assert not nothing_is_written(short)


@pytest.mark.parametrize("file", [ACTIVITY, TYPES, TIMES, STACK, SHIFT, POSITION, REGION, WHEEL])
def test_files_that_one_does_not_list_are_named(short: SimulatedSubject, file: str) -> None:
    (alf_folder(short) / file).unlink()
    if file == ACTIVITY:
        (alf_folder(short) / "FOV_01/mpci.ROIActivityF.npy").unlink()
    write_one_tables(short.one_dir)
    with pytest.raises(DataError, match=rf"{file}.* missing"):
        embed(short)
    assert nothing_is_written(short)


def test_activity_that_lies_on_its_side(short: SimulatedSubject) -> None:
    """(n_rois, n_frames) in place of (n_frames, n_rois): both files that do not fit together are named."""
    path = alf_folder(short) / ACTIVITY
    n_frames = len(np.load(path))
    np.save(path, np.load(path).T)
    with pytest.raises(DataError, match=rf"FOV_01/mpci.* {n_frames} ROIs in mpci.ROIActivityDeconvolved.npy"):
        embed(short)


def test_neuropil_of_another_shape(short: SimulatedSubject) -> None:
    path = alf_folder(short) / "FOV_01/mpci.ROINeuropilActivityF.npy"
    np.save(path, np.load(path)[:, 1:])
    with pytest.raises(DataError, match=rf"{path}: shape .*, 7\); expected .*, 8\), as in mpci.ROIActivityF.npy"):
        embed(short, signal="corrected")


def test_frames_differ_between_fovs(short: SimulatedSubject) -> None:
    for file in (ACTIVITY, TIMES, BAD_FRAMES):
        path = alf_folder(short) / file
        np.save(path, np.load(path)[:-10])
    n_frames = len(np.load(alf_folder(short) / TIMES))
    first = f"{n_frames + 10} frames in alf/{ACTIVITY.replace('FOV_01', 'FOV_00')}"
    with pytest.raises(DataError, match=rf"{first}, {n_frames} in alf/{ACTIVITY}; all FOVs"):
        embed(short)
    assert nothing_is_written(short)


def test_a_fov_folder_without_files(short: SimulatedSubject) -> None:
    """Left out in silence, it would change the rows of all FOVs after it."""
    folder = alf_folder(short) / "FOV_00a"
    folder.mkdir()  # no field of view by its name
    embed(short)
    folder.rename(alf_folder(short) / "FOV_02")
    for _ in range(2):
        with pytest.raises(DataError, match=r"alf/FOV_02: ONE knows no file in this folder; expected mpci.times.npy"):
            embed(short, rerun=True)
        write_one_tables(short.one_dir)
    shutil.rmtree(alf_folder(short) / "FOV_02")
    embed(short)
    for fov in ("FOV_00", "FOV_01"):
        shutil.rmtree(alf_folder(short) / fov)
    write_one_tables(short.one_dir)
    with pytest.raises(DataError, match=r"no field of view: expected files in alf/FOV_00"):
        embed(short, rerun=True)


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_a_damaged_header_is_never_a_raw_error(tmp_path: Path) -> None:
    """Every bit of a header of 128 bytes flipped; < and > differ by one bit, and nothing tells which was meant."""
    path = tmp_path / "a.npy"
    array = np.random.default_rng(0).random((6, 5)).astype("<f4")
    np.save(path, array)
    whole = path.read_bytes()
    for bit in range(128 * 8):
        path.write_bytes(flipped(whole, bit))
        with contextlib.suppress(DataError):
            found = read_npy(path, ndim=2, kind="f")
            assert found.dtype == ">f4" or (found == array).all()


# what is no damage -------------------------------------------------------------------------------------------------


def test_numbers_of_another_byte_order_are_the_same_numbers(short: SimulatedSubject) -> None:
    before = read_all(embed(short))
    for file in NPY:
        path = alf_folder(short) / file
        array = np.load(path)
        np.save(path, array.astype(array.dtype.newbyteorder(">")))
    after = read_all(embed(short, rerun=True))
    for name in before.keys() - {"attribute sources"}:
        np.testing.assert_array_equal(after[name], before[name])


def test_what_may_be_missing(short: SimulatedSubject) -> None:
    for path in [*alf_folder(short).rglob("_ibl_wheel*"), *alf_folder(short).rglob("mpci.mpciFrameQC.npy")]:
        path.unlink()
    for file in (BAD_FRAMES, PROBABILITY, UUIDS):
        (alf_folder(short) / file).unlink()
    write_one_tables(short.one_dir)
    session = embed(short)
    second = session["fov_index"].values == 1
    assert session_stores.wheel(session) is None
    assert not session["bad_frame"].values[1].any()
    assert np.isnan(session["cell_probability"].values[second]).all()
    assert set(session["uuid"].values[second]) == {""}
    assert "" not in session["uuid"].values[~second]


def test_what_is_not_known_of_an_roi(short: SimulatedSubject) -> None:
    """A place outside the atlas is no damage, and a file that is never read does no harm."""
    with_value((2, 1), np.nan)(alf_folder(short) / POSITION)
    truncate(alf_folder(short) / "FOV_01/mpci.mpciFrameQC.npy")
    assert np.isnan(embed(short)["xyz"].values).sum() == 1


def test_nullable_columns_are_numbers_like_any(short: SimulatedSubject) -> None:
    before = session_stores.trials(embed(short))
    path = alf_folder(short) / TABLE
    pd.read_parquet(path).convert_dtypes().to_parquet(path)
    assert pd.read_parquet(path)["choice"].dtype == "Int64"
    xr.testing.assert_equal(session_stores.trials(embed(short, rerun=True)), before)


# a finished store --------------------------------------------------------------------------------------------------


def read_all(session: xr.Dataset) -> dict[str, np.ndarray]:
    """Everything that a store holds, as mesodask's own functions read it."""
    path = Path(session.encoding["source"])
    found = original_cache(session)
    features = trial_features(session, session_stores.neurons(session), "choice")
    found |= {f"features/{name}": features[name].values for name in ("X", "y", "trial_index")}
    found["tracked"] = all_neurons(session)["roi"].values
    with stores.reading(path, *map(str, session.variables)):
        found |= {str(name): session[name].values for name in session.variables}
    for group, dataset in {"trials": session_stores.trials(session), "wheel": session_stores.wheel(session)}.items():
        assert dataset is not None
        found |= {f"{group}/{name}": dataset[name].values for name in dataset.variables}
    found |= {f"attribute {key}": np.array(repr(v)) for key, v in session.attrs.items() if key != "build_id"}
    return found


@pytest.fixture(scope="module")
def pristine_cache(pristine: SimulatedSubject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the store of the short session, never to be written to."""
    folder = tmp_path_factory.mktemp("cache")
    load_or_embed(pristine.eids[0], one=pristine.one_dir, cache_dir=folder)
    return folder


@pytest.fixture
def finished(pristine_cache: Path, tmp_path: Path) -> Path:
    """A store that a test may damage; its order was added when it was finished."""
    shutil.copytree(pristine_cache, tmp_path / "cache")
    return next((tmp_path / "cache" / "data").iterdir())


@pytest.mark.parametrize("pattern", ["c/**/*", "zarr.json"])
def test_a_flipped_bit_is_an_error_or_changes_nothing(pristine: SimulatedSubject, finished: Path, pattern: str) -> None:
    """60 flips of chunks and 60 of metadata, spread over all files of the store."""
    cache_dir = finished.parent.parent
    good = read_all(embed(pristine, cache_dir=cache_dir))
    files = sorted(p for p in finished.rglob(pattern) if p.is_file())
    assert {p.relative_to(finished).parts[0] for p in files} > {"signal", "fov", "trials", "wheel", "order"}
    rng = np.random.default_rng(7)
    told: list[str] = []
    for flip in range(60):
        file = files[flip % len(files)]
        content = file.read_bytes()
        file.write_bytes(flipped(content, int(rng.integers(8 * len(content)))))
        try:
            found = read_all(embed(pristine, cache_dir=cache_dir))
        except StoreError as error:
            told.append(str(error))
        else:
            for name, values in good.items():
                np.testing.assert_array_equal(found[name], values)
        file.write_bytes(content)
    assert all(str(finished) in message for message in told)
    assert all("rerun=True" in message or "computes it anew" in message for message in told)
    assert len(told) >= 55  # a space more or less, or a bit of a frame's header, may mean nothing


READERS: dict[str, tuple[str, Callable[[xr.Dataset], object]]] = {
    "trial_features, its activity": ("signal", lambda s: trial_features(s, [3, 11], "choice")),
    "trial_features, its clocks": ("frame_times", lambda s: trial_features(s, [3, 11], "choice")),
    "trial_features, its delays": ("roi_delay", lambda s: trial_features(s, [3, 11], "choice")),
    "trial_features, its bad frames": ("bad_frame", lambda s: trial_features(s, [3, 11], "choice")),
    "trial_features, its FOVs": ("fov_index", lambda s: trial_features(s, [3, 11], "choice")),
    "trial_features, its trials": ("trials/choice", lambda s: trial_features(s, [3, 11], "choice")),
    "trial_features of a region": ("region", lambda s: trial_features(s, "VISp", "choice")),
    "neurons": ("is_neuron", session_stores.neurons),
    "trials": ("trials/feedback_times", session_stores.trials),
    "wheel": ("wheel/position", session_stores.wheel),
    "order": ("order/isort", session_stores.order),
    "original_cache": ("xyz", original_cache),
    "all_neurons": ("roi_in_fov", all_neurons),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", [truncate, empty, lambda p: p.write_bytes(p.read_bytes()[::-1]), Path.unlink])
def test_what_is_damaged_after_opening_is_told(finished: Path, reader: str, damage: Callable[[Path], object]) -> None:
    """The store is opened long before it is read: its values come when they are asked for."""
    session = session_stores.open_session(finished)
    variable, read = READERS[reader]
    damage(next(p for p in sorted((finished / variable).rglob("c/**/*")) if p.is_file()))
    with pytest.raises(StoreError, match=rf"^{finished}.*{variable.split('/')[0]}.*; (rebuild .*rerun=True|.*anew$)"):
        read(session)


def test_a_digit_of_an_attribute_is_told(finished: Path) -> None:
    """Each of these is JSON as good as before, and would be read as another number."""
    root, signal = finished / "zarr.json", finished / "signal" / "zarr.json"
    order = finished / "order" / "isort" / "zarr.json"
    trials = finished / "trials" / "choice" / "zarr.json"
    for file, old, new in [
        (root, "2025-01-13", "2025-01-12"),
        (root, '"number": 1', '"number": 3'),
        (root, "deconvolved", "deconvolvee"),
        (signal, '"NaN"', "0.0"),
        (signal, '"float32"', '"uint32"'),
        (trials, '"int64"', '"uint64"'),
    ]:
        content = file.read_text()
        assert old in content
        file.write_text(content.replace(old, new))
        with pytest.raises(StoreError, match=rf"{file}: is not as it was written; rebuild"):
            session_stores.open_session(finished)
        file.write_text(content)
    session = session_stores.open_session(finished)
    order.write_text(order.read_text().replace('"int64"', '"uint64"'))
    with pytest.raises(StoreError, match=rf"{order}: is not as it was written"):
        session_stores.order(session)


def test_what_a_store_was_made_from_is_sealed(pristine: SimulatedSubject, finished: Path) -> None:
    """Also where it is compared with the files there are, which is before the store is opened."""
    root = finished / "zarr.json"
    content = root.read_text()
    for old, new in {"mtime_ns": "mtime_os", "trials_collection": "trials_collectinn", "FOV_01": "FOV_03"}.items():
        root.write_text(content.replace(f'{old}"', f'{new}"').replace(f"/{old}/", f"/{new}/"))
        with pytest.raises(StoreError, match=rf"{root}: is not as it was written"):
            embed(pristine, cache_dir=finished.parent.parent, collection="alf/task_00")


def test_metadata_that_is_lost_is_told(finished: Path) -> None:
    """Without it the session would have no wheel, no trials or no delays."""
    for name in ("wheel/zarr.json", "trials/zarr.json", "trials/choice/zarr.json", "roi_delay/zarr.json"):
        content = (finished / name).read_bytes()
        (finished / name).unlink()
        with pytest.raises(StoreError, match=rf"{name}: cannot be read"):
            session_stores.open_session(finished)
        (finished / name).write_bytes(content)
    session_stores.open_session(finished)


def test_metadata_that_is_damaged_after_opening(finished: Path) -> None:
    session = session_stores.open_session(finished)
    for name, read in {"trials": session_stores.trials, "wheel": session_stores.wheel}.items():
        file = finished / name / "zarr.json"
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(StoreError, match=rf"{file}: cannot be read"):
            read(session)
        file.write_bytes(content)


def test_the_seal_is_cheap_and_not_seen(finished: Path) -> None:
    start = time.perf_counter()
    for _ in range(20):
        stores.check_seal(finished)
    assert (time.perf_counter() - start) / 20 < 0.05  # about 2 ms on a machine that does nothing else
    assert stores.SEAL not in session_stores.open_session(finished).attrs


def test_a_group_that_comes_later_breaks_no_seal(short: SimulatedSubject) -> None:
    path = Path(embed(short).encoding["source"])
    rows = np.arange(2 * N_ROIS)
    attrs = {"build_id": stores.attributes(path)["build_id"], "rows": "all"}
    stores.write_group(path, "order", xr.Dataset({"isort": ("roi", rows)}, attrs=attrs))
    session = session_stores.open_session(path)  # also while it is being written
    with pytest.raises(StoreError, match="order: was never finished"):
        session_stores.order(session)
    stores.seal(path, "order")
    stores.seal(path)  # leaves out what is sealed
    stores.write_group(path, "order", xr.Dataset({"isort": ("roi", rows[::-1])}, attrs=attrs))
    stores.seal(path, "order")
    np.testing.assert_array_equal(session_stores.order(session_stores.open_session(path)), rows[::-1])


def test_an_order_that_was_not_computed(short: SimulatedSubject) -> None:
    with pytest.raises(StoreError, match=r"there is no order; load_or_embed\(eid\)"):
        session_stores.order(embed(short))


# files that changed since ------------------------------------------------------------------------------------------


def test_other_content_of_the_same_size_is_told(short: SimulatedSubject) -> None:
    embed(short)
    for file in (TYPES, TABLE, CUE, WHEEL):
        path = alf_folder(short) / file
        content = path.read_bytes()
        path.write_bytes(flipped(content, 8 * len(content) - 1))
        with pytest.raises(StoreError, match=rf"{path.name} has changed.*rerun=True"):
            embed(short)
        path.write_bytes(content)
    embed(short)


def test_copies_are_no_changes(short: SimulatedSubject) -> None:
    """A copy has times of its own; whoever moves a data set need not build its stores again."""
    first = embed(short)
    for path in [p for p in alf_folder(short).rglob("*.*") if p.is_file()]:
        os.utime(path, (1, 1))
    assert embed(short).attrs["build_id"] == first.attrs["build_id"]


def test_a_fingerprint_looks_at_both_ends_and_between(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    size = 3 * sources.N_BLOCKS * sources.BLOCK + 17
    content = np.random.default_rng(1).bytes(size)
    path.write_bytes(content)
    known = sources.describe(path) | {"mtime_ns": 0}
    apart = (size - sources.BLOCK) / (sources.N_BLOCKS - 1)
    looked_at = [int(block * apart + sources.BLOCK / 2) for block in range(sources.N_BLOCKS)]
    for position in (0, size - 1, *looked_at):
        path.write_bytes(flipped(content, 8 * position))
        assert sources.has_changed(path, known)
    path.write_bytes(content)
    assert not sources.has_changed(path, known)
    assert sources.has_changed(path, known | {"size": size + 1})
