"""A whole analysis from one file, on a simulated subject, against the public functions that it stands on."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from runs import fail_for_a_session

from mesodask import (
    cross_session,
    neuron_dropping_curves,
    pairwise_curves,
    run_analysis,
    sparseness,
    trial_features,
)
from mesodask.cli import main
from mesodask.cli.run import in_words
from mesodask.compute import runner
from mesodask.errors import SettingsError, StoreError, TasksFailedError, TrackingError
from mesodask.features import resolve_target
from mesodask.io import alf
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject
from mesodask.workflow import Analysis, AnalysisResult, analysis_cost, read_analysis

WINDOW = (-0.2, 0.0)
CURVES: dict[str, Any] = {"targets": ("choice",), "windows": {"choice": WINDOW}, "ks": (4, 16), "R": 3,
                          "n_label_shuffles": 9, "seed": 2}  # fmt: skip
ACROSS: dict[str, Any] = {"min_sessions": 3, "min_k_shared": 30, "n_shuffle": 5, "dim_k": 8, "C": (0.3,)}
SHARED = ("targets", "windows", "seed")


def plain(subject: SimulatedSubject, **changes: Any) -> dict[str, Any]:
    """All stages, small, as a file says them."""
    stages = {
        "data": {"one": str(subject.one_dir), "roicat_root": str(subject.roicat_root), "subject": subject.subject},
        "decoding": {name: CURVES[name] for name in SHARED},
        "embed": {"rastermap": "none"},
        "ndc": {name: value for name, value in CURVES.items() if name not in SHARED},
        "pairs": {"min_trials": 100, "R": 2},
        "cross_session": ACROSS | {"min_trials": 100},
        "sparseness": True,
        "figures": {"rasters": True},
        "report": {"path": "page/report.html", "rasters": True},
    }
    return stages | changes


@pytest.fixture(scope="module")
def folder(subject: SimulatedSubject, sessions: list[xr.Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the shared sessions are embedded, and the analysis beside it."""
    folder = tmp_path_factory.mktemp("workflow")
    data = folder / "meso" / "data"
    data.mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        (data / source.name).symlink_to(source)
    asked = plain(subject)
    asked["data"]["cache_dir"] = "meso"
    (folder / "analysis.yaml").write_text(json.dumps(asked, indent=1))  # JSON is YAML
    return folder


@pytest.fixture(scope="module")
def done(folder: Path, client: Client) -> AnalysisResult:
    return run_analysis(folder / "analysis.yaml", client=client)


@pytest.fixture
def where(subject: SimulatedSubject, folder: Path, client: Client) -> dict[str, Any]:
    return {"one": subject.one_dir, "cache_dir": folder / "meso", "roicat_root": subject.roicat_root, "client": client}


# all of it -------------------------------------------------------------------------------------------------------


def test_every_stage_gives_what_its_function_gives(
    done: AnalysisResult, subject: SimulatedSubject, where: dict[str, Any], submitted: list[runner.Task]
) -> None:
    """The functions find the runs of the analysis by themselves, and nothing is left to compute."""
    assert [stage.error for stage in done.stages.values()] == [None] * 7
    assert {name: stage.computed for name, stage in done.stages.items()} == {
        "embed": False, "ndc": True, "pairs": True, "cross_session": True, "sparseness": True, "figures": False,
        "report": False,
    }  # fmt: skip
    value = {name: stage.value for name, stage in done.stages.items()}
    assert [session.attrs["eid"] for session in value["embed"]] == list(subject.eids)
    assert neuron_dropping_curves(subject.eids, **CURVES, **where).path == value["ndc"].path
    pairs = pairwise_curves(subject.eids, min_trials=100, **CURVES | {"R": 2}, **where)
    assert [pair.run.path for pair in pairs] == [pair.run.path for pair in value["pairs"]]  # type: ignore[union-attr]
    shared = {name: CURVES[name] for name in SHARED}
    across = cross_session(subject.eids, **shared, **ACROSS, **where)
    assert across.path == value["cross_session"].path
    del where["roicat_root"]
    xr.testing.assert_identical(sparseness(subject.eids, **where), value["sparseness"])
    assert submitted == []


def test_figures_and_report_are_there(done: AnalysisResult, folder: Path) -> None:
    names = {path.name.split("_")[0] for path in done.stages["figures"].files}
    assert names == {"ndc.png", "k", "cross", "sparseness.png", "raster"}
    assert len(done.stages["figures"].files) == 4 + 3
    assert all(path.stat().st_size > 5000 for path in done.stages["figures"].files)
    assert done.stages["report"].files == (folder / "page" / "report.html",)
    page = (folder / "page" / "report.html").read_text()
    assert "-0.2 to 0 s" in page
    assert 'id="across"' in page
    assert page.count("Activity of a minute") == 3


def test_the_window_is_that_of_the_file(
    done: AnalysisResult, subject: SimulatedSubject, sessions: list[xr.Dataset], tracked: xr.Dataset
) -> None:
    target = resolve_target("choice").model_copy(update={"window": WINDOW})
    stored = done.stages["ndc"].value.features("choice", subject.eids[1])
    asked = trial_features(sessions[1], tracked["roi"].values[1], target)
    usual = trial_features(sessions[1], tracked["roi"].values[1], "choice")
    np.testing.assert_array_equal(stored["X"], asked["X"])
    assert not np.array_equal(stored["X"], usual["X"])


@pytest.mark.parametrize("again", ["the file", "the record"])
def test_once_more_computes_nothing(
    again: str, done: AnalysisResult, folder: Path, submitted: list[runner.Task]
) -> None:
    """Whichever it is run from, the same runs are found, and no worker is started."""
    from_where = {"the file": folder / "analysis.yaml", "the record": done.record}[again]
    before = sorted(folder.rglob("*.zarr"))
    said: list[str] = []
    found = run_analysis(from_where, announce=said.append)
    assert not found.computed
    assert found.failed == []
    assert (said, submitted) == ([], [])
    assert found.record == done.record
    assert sorted(folder.rglob("*.zarr")) == before
    assert {name: stage.stores for name, stage in found.stages.items()} == {
        name: stage.stores for name, stage in done.stages.items()
    }


def test_the_record_says_everything(done: AnalysisResult, subject: SimulatedSubject) -> None:
    from mesodask import __version__

    found = read_analysis(done.record)
    assert found == done.analysis
    assert found.mesodask_version == __version__
    assert found.data.sessions == tuple(subject.eids)
    assert found.ndc is not None
    assert found.ndc.cv_splits == 5
    text = done.record.read_text()
    assert f"{subject.eids[0]}  # SP072/2025-01-13/001" in text
    assert "cv_splits: 5" in text
    runs = [store for stage in ("ndc", "pairs", "cross_session") for store in done.stages[stage].stores]
    assert len(runs) == 1 + 2 + 1
    for run in runs:  # so that it can be run again, too
        assert read_analysis(run) == found


# what cannot be run ----------------------------------------------------------------------------------------------


def test_a_stage_that_cannot_be_run_costs_no_other(
    done: AnalysisResult, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = json.loads((folder / "analysis.yaml").read_text())
    asked |= {"cross_session": {"min_k_shared": 5000, "min_sessions": 3, "min_trials": 100}, "report": False}
    asked |= {"figures": False, "embed": False}
    (folder / "other.yaml").write_text(json.dumps(asked))
    assert main(["run", str(folder / "other.yaml")]) == 1
    captured = capsys.readouterr()
    assert "Error: 1 of 4 stages failed (cross_session)" in captured.err
    out = captured.out
    assert re.search(r"^cross_session failed in \d+\.\d s$", out, re.M)
    assert "share 5000 neurons (min_k_shared)" in out
    assert re.search(rf"^ndc           done in \d+\.\d s\n  {re.escape(str(done.stages['ndc'].stores[0]))}", out, re.M)
    assert "sparseness    done" in out
    assert main(["run", str(folder / "other.yaml"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {name: stage["status"] for name, stage in told["stages"].items()} == {
        "ndc": "done", "pairs": "done", "cross_session": "failed", "sparseness": "done"
    }  # fmt: skip
    assert not told["computed"]


def test_without_a_stage_that_embeds_the_others_do(copy: SimulatedSubject, client: Client) -> None:
    """On an empty cache; a session whose files are damaged costs only what is asked of it."""
    asked = plain(copy, embed=False, cross_session=False, figures=False, report=False)
    asked["ndc"] = {"ks": (4,), "R": 1, "n_label_shuffles": 0}
    asked["data"] |= {"to": "2025-01-13"}
    assert run_analysis(Analysis(**asked | {"pairs": False, "sparseness": False}), client=client).failed == []
    del asked["data"]["to"]
    damaged = next(copy.session_folder(copy.eids[2]).glob("alf/FOV_00/mpci.ROIActivityDeconvolved.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    found = run_analysis(Analysis(**asked), client=client).stages
    assert damaged.name in str(found["ndc"].error)
    assert found["pairs"].error is None
    assert [pair.run is not None for pair in found["pairs"].value] == [True, False]
    assert damaged.name in str(found["sparseness"].error)
    assert found["sparseness"].value["session"].values.tolist() == list(copy.eids[:2])


def test_a_file_that_cannot_be_written_costs_only_its_stage(done: AnalysisResult, folder: Path, tmp_path: Path) -> None:
    asked = json.loads((folder / "analysis.yaml").read_text())
    asked |= {"embed": False, "pairs": False, "cross_session": False}
    taken = tmp_path / "taken"
    taken.touch()
    asked |= {"figures": {"folder": str(taken)}, "report": {"path": str(taken / "page.html")}}
    asked["data"]["cache_dir"] = str(folder / "meso")
    found = run_analysis(Analysis(**asked))
    assert [(stage.name, type(stage.error)) for stage in found.failed] == [
        ("figures", StoreError),
        ("report", StoreError),
    ]
    assert all(f"{taken}: File exists" in str(stage.error) for stage in found.failed)
    full = tmp_path / "figures"
    full.mkdir()
    (full / "ndc.png").symlink_to("/dev/full")  # a disk without space, which tells no name
    figures = run_analysis(Analysis(**asked | {"figures": {"folder": str(full)}, "report": False})).stages["figures"]
    assert f"{full}/ndc.png: No space left on device; the figure is not drawn" in str(figures.error)
    assert [path.name for path in figures.files] == ["k_star.png", "sparseness.png"]
    asked["data"]["cache_dir"] = str(tmp_path / "meso")
    (tmp_path / "meso").mkdir()
    (tmp_path / "meso" / "decoding").touch()
    with pytest.raises(StoreError, match=f"{tmp_path}/meso/decoding.*nothing is computed without a record"):
        run_analysis(Analysis(**asked))


def test_of_curves_whose_tasks_fail_there_is_drawn_what_there_is(
    subject: SimulatedSubject, folder: Path, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plain(subject, embed=False, cross_session=False, sparseness=False)
    asked["data"] |= {"cache_dir": str(folder / "meso")}
    asked["ndc"] = {"ks": (4,), "R": 2, "n_label_shuffles": 3, "cv_splits": 3}
    asked |= {"figures": {"folder": str(tmp_path)}, "report": {"path": str(tmp_path / "page.html")}}
    fail_for_a_session(monkeypatch, subject.eids[0])
    found = run_analysis(Analysis(**asked), client=client)
    assert [(stage.name, type(stage.error)) for stage in found.failed] == [
        ("ndc", TasksFailedError), ("pairs", TasksFailedError)
    ]  # fmt: skip
    assert found.stages["ndc"].value.scores("choice")["status"].values.tolist() == ["partial", "done", "done"]
    assert [bool(pair.reason) for pair in found.stages["pairs"].value] == [True, False]
    assert [path.name for path in found.stages["figures"].files] == ["ndc.png", "k_star.png"]
    assert (tmp_path / "page.html").exists()
    runs = [*found.stages["ndc"].stores, *found.stages["pairs"].stores]
    assert [read_analysis(run) for run in runs] == [found.analysis] * 3
    told = in_words(found)
    assert re.search(rf"^ndc           failed in .* s\n  {re.escape(str(runs[0]))}\n  \d+ tasks failed", told, re.M)


def test_curves_that_fail_are_no_report(subject: SimulatedSubject, folder: Path, tmp_path: Path) -> None:
    asked = plain(subject, pairs=False, cross_session=False, sparseness=False, embed=False, figures={})
    asked["data"] |= {"cache_dir": str(folder / "meso"), "roicat_root": str(tmp_path)}
    found = run_analysis(Analysis(**asked | {"report": {"path": str(tmp_path / "page.html")}}))
    assert [type(stage.error).__name__ for stage in found.failed] == ["DataError", "NothingToDecodeError"]
    assert not (tmp_path / "page.html").exists()
    assert found.stages["figures"].files == ()


def test_what_is_wrong_for_all_is_told_before_anything(
    subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = plain(subject)
    asked["data"]["cache_dir"] = str(tmp_path / "meso")
    asked["data"]["subject"] = "SP07"
    (tmp_path / "a.yaml").write_text(json.dumps(asked))
    assert main(["run", str(tmp_path / "a.yaml")]) == 2
    assert "SP072" in capsys.readouterr().err
    assert not (tmp_path / "meso").exists()
    with pytest.raises(SettingsError, match="more than once"):
        run_analysis(Analysis(data=asked["data"] | {"subject": None, "sessions": [subject.eids[0]] * 2}, ndc=True))


def test_a_run_of_no_analysis_says_what_to_do(run: Callable[..., RunStore]) -> None:
    with pytest.raises(StoreError, match="was not made by an analysis file"):
        read_analysis(run(targets="choice", ks=(4,), R=1, n_label_shuffles=0).path)


def test_sessions_by_name_and_by_days(subject: SimulatedSubject, folder: Path) -> None:
    where = plain(subject)["data"] | {"cache_dir": folder / "meso"}
    names = {"subject": None, "sessions": ["SP072/2025-01-14/1", subject.eids[0]]}
    by_name = run_analysis(Analysis(data=where | names))
    by_days = run_analysis(Analysis(data=where | {"to": "2025-01-14"}))
    assert by_name.analysis.data.sessions == by_days.analysis.data.sessions == tuple(subject.eids[:2])
    assert by_name.record == by_days.record


def test_a_given_one_is_recorded_in_place_of_that_of_the_file(subject: SimulatedSubject, folder: Path) -> None:
    where = plain(subject)["data"] | {"cache_dir": folder / "meso", "one": folder / "nowhere"}
    found = run_analysis(Analysis(data=where), one=alf.connect(subject.one_dir))
    assert found.analysis.data.one == read_analysis(found.record).data.one == subject.one_dir.resolve()
    found.record.write_bytes(b"\xff\xfe damaged")
    again = run_analysis(Analysis(data=where), one=subject.one_dir)
    assert read_analysis(again.record) == found.analysis


# stopped, forecast, overridden -----------------------------------------------------------------------------------


def test_after_ctrl_c_the_record_goes_on(
    subject: SimulatedSubject, folder: Path, client: Client, submitted: list[runner.Task]
) -> None:
    asked = plain(subject, pairs=False, cross_session=False, sparseness=False, figures=False, report=False)
    asked["data"]["cache_dir"] = str(folder / "meso")
    asked["ndc"] = asked["ndc"] | {"R": 40, "cv_splits": 4}
    analysis = Analysis(**asked)

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("ndc: curves") and 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run_analysis(analysis, client=client, progress=stop)
    note = next(note for note in caught.value.__notes__ if note.startswith("record"))
    run = next(note for note in caught.value.__notes__ if note.startswith("run"))
    assert read_analysis(run.removeprefix("run").strip()) == read_analysis(note.removeprefix("record").strip())
    n_before = len(submitted)
    found = run_analysis(note.removeprefix("record").strip(), client=client)
    assert found.computed
    assert found.failed == []
    scores = found.stages["ndc"].value.scores("choice")
    assert bool(scores["finished"].all())
    assert len(submitted) > n_before


def test_costs_are_told_and_nothing_is_written(
    subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = plain(subject)
    asked["data"]["cache_dir"] = "meso"
    asked["cross_session"] = {"min_k_shared": 5000}
    (tmp_path / "a.yaml").write_text(json.dumps(asked))
    costs = analysis_cost(tmp_path / "a.yaml")
    # 3 sessions x (ks 4, 16 and all) x resamples x (data and null)
    assert costs["ndc"].n_scores == 3 * 3 * 3 * 10  # type: ignore[union-attr]
    assert costs["pairs"].n_scores == 4 * 3 * 2 * 10  # type: ignore[union-attr]
    assert isinstance(costs["cross_session"], TrackingError)
    assert main(["run", str(tmp_path / "a.yaml"), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ndc"]["n_scores"] == 270
    assert "sessions of SP072" in told["cross_session"]["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_a_cluster_that_there_is_not_ends_it(subject: SimulatedSubject, folder: Path) -> None:
    """It would be in the way of every stage: its own message, once."""
    data = plain(subject)["data"] | {"cache_dir": folder / "meso"}
    asked = Analysis(data=data, ndc={"R": 1, "ks": (5,)}, sparseness=True, cluster={"kind": "slum"})
    with pytest.raises(SettingsError, match="cluster 'slum'; expected local, slurm"):
        run_analysis(asked)


def test_options_take_the_place_of_the_file(tmp_path: Path) -> None:
    from mesodask.cli.options import Cluster
    from mesodask.cli.run import with_options
    from mesodask.workflow.analysis import ClusterSettings

    asked = Analysis(data={"subject": "S", "one": "a"}, cluster={"kind": "slurm", "workers": 3, "queue": "long"})
    same = with_options(asked, {"one": None}, Cluster())
    assert same == asked
    more = with_options(asked, {"one": tmp_path}, Cluster(adaptive=(0, 9), memory="8 GiB"))
    assert more.data.one == tmp_path
    assert more.cluster == ClusterSettings(kind="slurm", workers="0-9", queue="long", memory="8 GiB")
    other = with_options(asked, {}, Cluster(kind="local", n_workers=2))
    assert other.cluster == ClusterSettings(workers=2)
