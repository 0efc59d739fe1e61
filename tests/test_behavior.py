"""Where trials and wheel of a session come from, in all the ways in which sessions keep them."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mesodask import load_or_embed, neuron_dropping_curves, simulate_subject, trial_features
from mesodask import sessions as session_stores
from mesodask.cli import main
from mesodask.errors import DataError, NothingToDecodeError, StoreError
from mesodask.io.alf import write_one_tables
from mesodask.simulate import SimulatedSubject

TABLE = "_ibl_trials.table.pqt"
TIMES, POSITION = "_ibl_wheel.timestamps.npy", "_ibl_wheel.position.npy"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """One session that reaches biased blocks of both sides, never to be written to."""
    return simulate_subject(tmp_path_factory.mktemp("pristine"), n_days=1, n_trials=200, rois_per_fov=(4, 4), seed=5)


@pytest.fixture
def one_day(pristine: SimulatedSubject, tmp_path: Path) -> SimulatedSubject:
    """A copy of it that a test may change."""
    shutil.copytree(pristine.folder, tmp_path / "subject", ignore=shutil.ignore_patterns("meso"))
    return SimulatedSubject.open(tmp_path / "subject")


def alf_folder(subject: SimulatedSubject) -> Path:
    return subject.session_folder(subject.eids[0]) / "alf"


def embed(subject: SimulatedSubject, collection: str | None = None) -> xr.Dataset:
    write_one_tables(subject.one_dir)
    return load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False, rerun=True, collection=collection)


def read_table(subject: SimulatedSubject) -> pd.DataFrame:
    return pd.read_parquet(alf_folder(subject) / "task_00" / TABLE)


def write_task(folder: Path, table: pd.DataFrame, wheel_start: float | None = None) -> None:
    """Trials, and a wheel of 5 samples if it has a start."""
    folder.mkdir(exist_ok=True)
    table.to_parquet(folder / TABLE)
    if wheel_start is not None:
        np.save(folder / TIMES, wheel_start + np.arange(5.0))
        np.save(folder / POSITION, np.zeros(5))


def wheel_start(session: xr.Dataset) -> float:
    wheel = session_stores.wheel(session)
    assert wheel is not None
    return float(wheel["times"].values[0])


def remove(subject: SimulatedSubject, pattern: str) -> None:
    for path in alf_folder(subject).rglob(pattern):
        path.unlink()


def split_into_files(folder: Path, table: pd.DataFrame) -> None:
    """One npy an attribute, and no table."""
    for column in table.columns.drop(["intervals_0", "intervals_1"]):
        np.save(folder / f"_ibl_trials.{column}.npy", table[column].to_numpy())
    np.save(folder / "_ibl_trials.intervals.npy", table[["intervals_0", "intervals_1"]].to_numpy())


def same_trials(session: xr.Dataset, table: pd.DataFrame) -> None:
    trials = session_stores.trials(session)
    assert trials.sizes["trial"] == len(table)
    for column in table.columns:
        np.testing.assert_array_equal(trials[column].values, table[column].to_numpy())


def test_a_table_and_further_attributes_beside_it(one_day: SimulatedSubject) -> None:
    table = read_table(one_day)
    quiescence = np.random.default_rng(0).random(len(table))
    np.save(alf_folder(one_day) / "task_00" / "_ibl_trials.quiescencePeriod.npy", quiescence)
    session = embed(one_day)
    same_trials(session, table.assign(quiescencePeriod=quiescence))
    assert session.attrs["trials_collection"] == "alf/task_00"


@pytest.mark.parametrize("folder", ["", "task_00"])
def test_one_file_an_attribute_and_no_table(one_day: SimulatedSubject, folder: str) -> None:
    table = read_table(one_day)
    remove(one_day, "_ibl_trials*")
    split_into_files(alf_folder(one_day) / folder, table)
    session = embed(one_day)
    same_trials(session, table)
    assert session.attrs["trials_collection"] == f"alf/{folder}".rstrip("/")
    odd = alf_folder(one_day) / folder / "_ibl_trials.choice.npy"
    np.save(odd, table["choice"].to_numpy()[:-1])
    with pytest.raises(DataError, match=rf"{odd}: 199 values; expected one for each of 200 trials"):
        embed(one_day)
    odd.unlink()
    with pytest.raises(DataError, match=rf"{odd}: the trials have no column choice; found contrastLeft"):
        embed(one_day)


def test_a_table_beside_the_fovs(one_day: SimulatedSubject) -> None:
    table = read_table(one_day)
    for path in (alf_folder(one_day) / "task_00").iterdir():
        shutil.move(path, alf_folder(one_day))
    session = embed(one_day)
    same_trials(session, table)
    assert session.attrs["trials_collection"] == "alf"
    assert wheel_start(session) == np.load(alf_folder(one_day) / TIMES)[0]


@pytest.mark.parametrize("other", ["task_01", "."])
def test_of_two_the_one_with_biased_blocks(one_day: SimulatedSubject, other: str) -> None:
    """A passive or training protocol beside it is neither read for trials nor for the wheel, whichever comes first."""
    table = read_table(one_day)
    write_task(alf_folder(one_day) / other, table.assign(probabilityLeft=0.5).iloc[:30], wheel_start=9000.0)
    session = embed(one_day)
    same_trials(session, table)
    assert wheel_start(session) < 9000
    # not even one that lacks what trials need
    write_task(alf_folder(one_day) / other, table[["stimOn_times"]].iloc[:3])
    same_trials(embed(one_day), table)
    write_task(alf_folder(one_day) / "task_00", table.assign(probabilityLeft=0.5))
    write_task(alf_folder(one_day) / other, table.iloc[7:], wheel_start=9000.0)
    session = embed(one_day)
    same_trials(session, table.iloc[7:])
    assert wheel_start(session) == 9000


@pytest.mark.parametrize("other", ["task_01", "."])
def test_two_qualify(one_day: SimulatedSubject, other: str) -> None:
    table = read_table(one_day)
    write_task(alf_folder(one_day) / other, table.iloc[5:], wheel_start=9000.0)
    second = f"alf/{other}".removesuffix("/.")
    names = " and ".join(sorted([second, "alf/task_00"]))
    with pytest.raises(DataError, match=rf"trials in {names}, of which 2 have biased blocks; expected 1.*collection="):
        embed(one_day)
    assert not list((one_day.one_dir / "meso").rglob("*.zarr"))
    same_trials(embed(one_day, "alf/task_00"), table)
    chosen = embed(one_day, second)
    same_trials(chosen, table.iloc[5:])
    assert wheel_start(chosen) == 9000
    with pytest.raises(
        DataError, match=rf"no trials in collection 'alf/task_07'; trials are in: {names}".replace(" and", ",")
    ):
        embed(one_day, "alf/task_07")


def test_none_of_two_qualifies(one_day: SimulatedSubject) -> None:
    table = read_table(one_day).assign(probabilityLeft=0.5)
    for folder in ("task_00", "task_01"):
        write_task(alf_folder(one_day) / folder, table)
    with pytest.raises(DataError, match=r"of which 0 have biased blocks"):
        embed(one_day)
    same_trials(embed(one_day, "alf/task_01"), table)


def test_alone_it_need_not_be_biased(one_day: SimulatedSubject) -> None:
    table = read_table(one_day).assign(probabilityLeft=0.5)
    write_task(alf_folder(one_day) / "task_00", table)
    same_trials(embed(one_day), table)


def test_one_of_many_is_embedded_first(one_day: SimulatedSubject, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that the message of a run names helps, and the run then takes what was chosen."""
    table = read_table(one_day)
    write_task(alf_folder(one_day) / "task_01", table.iloc[5:])
    write_one_tables(one_day.one_dir)
    settings = {"targets": ("choice",), "ks": (2,), "R": 1, "n_label_shuffles": 0, "min_per_class": 5}
    with pytest.raises(DataError) as caught:
        neuron_dropping_curves(one_day.eids, one=one_day.one_dir, **settings)
    command = re.search(r"mesodask (embed \S+ --collection \S+)", str(caught.value))
    assert command is not None
    arguments = [*command[1].split(), "--one", str(one_day.one_dir), "--no-rastermap"]
    assert main([str(a) for a in arguments]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.name == f"{one_day.eids[0]}.zarr"
    session = load_or_embed(one_day.eids[0], one=one_day.one_dir, rastermap=False)
    same_trials(session, table)
    with pytest.raises(StoreError, match=r"has its trials from alf/task_00, not from alf/task_01; build it again"):
        load_or_embed(one_day.eids[0], one=one_day.one_dir, rastermap=False, collection="alf/task_01")
    load_or_embed(one_day.eids[0], one=one_day.one_dir, rastermap=False, collection="alf/task_00")
    cost = neuron_dropping_curves(one_day.eids, one=one_day.one_dir, dry_run=True, **settings)
    assert cost.n_scores == 2  # of 2 neurons, and of all


def test_a_signal_by_the_command_line(one_day: SimulatedSubject, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["embed", one_day.eids[0], "--one", str(one_day.one_dir), "--no-rastermap"]
    assert main([*where, "--signal", "corrected"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.name == f"{one_day.eids[0]}_corrected.zarr"
    assert session_stores.open_session(path).attrs["signal_kind"] == "corrected"
    assert main([*where, "--signal", "dff"]) == 2
    assert "'dff' is none of deconvolved, fluorescence, corrected" in capsys.readouterr().err


def test_without_trials(one_day: SimulatedSubject) -> None:
    remove(one_day, "_ibl_trials*")
    session = embed(one_day)
    assert session.attrs["trials_collection"] == ""
    assert session_stores.wheel(session) is not None
    for read in (session_stores.trials, lambda s: trial_features(s, [0, 1], "choice")):
        with pytest.raises(DataError, match=f"{one_day.eids[0]} has no trials; nothing can be decoded"):
            read(session)
    with pytest.raises(NothingToDecodeError, match=f"session {one_day.eids[0]}: session .* has no trials"):
        neuron_dropping_curves(one_day.eids, one=one_day.one_dir, targets=("choice",), ks=(2,), R=1)


def test_a_target_without_its_event(one_day: SimulatedSubject) -> None:
    write_task(alf_folder(one_day) / "task_00", read_table(one_day).drop(columns="firstMovement_times"))
    session = embed(one_day)
    with pytest.raises(DataError, match=rf"{one_day.eids[0]}.* no column firstMovement_times, which target 'choice'"):
        trial_features(session, [0, 1], "choice")
    assert trial_features(session, [0, 1], "stimulus").sizes["neuron"] == 2


# the wheel ---------------------------------------------------------------------------------------------------------


def test_the_only_wheel_is_taken_wherever_it_lies(one_day: SimulatedSubject) -> None:
    for name in (TIMES, POSITION):
        shutil.move(alf_folder(one_day) / "task_00" / name, alf_folder(one_day))
    assert wheel_start(embed(one_day)) == np.load(alf_folder(one_day) / TIMES)[0]


def test_of_several_wheels_none_is_guessed(one_day: SimulatedSubject, caplog: pytest.LogCaptureFixture) -> None:
    remove(one_day, "_ibl_wheel*")
    passive = read_table(one_day).assign(probabilityLeft=0.5)
    for folder in ("task_01", "task_02"):
        write_task(alf_folder(one_day) / folder, passive, wheel_start=5.0)
    assert session_stores.wheel(embed(one_day)) is None
    assert "wheels in alf/task_01 and alf/task_02, none of them beside the trials (alf/task_00)" in caplog.text
    np.save(alf_folder(one_day) / TIMES, np.arange(3.0))
    np.save(alf_folder(one_day) / POSITION, np.arange(3.0))
    assert wheel_start(embed(one_day)) == 0.0


def test_half_a_wheel_is_an_error(one_day: SimulatedSubject) -> None:
    path = alf_folder(one_day) / "task_00" / TIMES
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: file is missing"):
        embed(one_day)
