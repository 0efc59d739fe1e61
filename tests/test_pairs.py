"""Curves of consecutive pairs: one plan for all, each in its own store, and no pair harmed by another."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from runs import fail_for_a_session, n_scores

from mesodask import consecutive_pairs, neuron_dropping_curves, pairwise_curves
from mesodask.cli import main
from mesodask.compute import runner
from mesodask.errors import NothingToDecodeError, SessionNotFoundError, SettingsError, TasksFailedError, TrackingError
from mesodask.io.runstore import RunStore
from mesodask.pairs import Pair
from mesodask.simulate import SimulatedSubject

SMALL = {"targets": "choice", "ks": (4,), "R": 2, "n_label_shuffles": 5, "min_trials": 100}
Pairs = Callable[..., list[Pair]]


@pytest.fixture
def pairs(subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path: Path) -> Pairs:
    """Curves of the pairs of the shared subject, on stores that are embedded already."""
    data = tmp_path / "data"
    data.mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        (data / source.name).symlink_to(source)
    where = {"one": subject.one_dir, "roicat_root": subject.roicat_root, "cache_dir": tmp_path, "client": client}
    return lambda who=subject.subject, **options: pairwise_curves(who, **(where | SMALL | options))


def test_every_pair_is_a_run_of_its_own(
    pairs: Pairs, subject: SimulatedSubject, client: Client, submitted: list[runner.Task], tmp_path: Path
) -> None:
    calls: list[tuple[str, int, int]] = []
    found = pairs(progress=lambda *report: calls.append(report))
    assert [pair.eids for pair in found] == list(pairwise(subject.eids))
    where = {"one": subject.one_dir, "roicat_root": subject.roicat_root}
    matched = consecutive_pairs(subject.subject, min_trials=100, **where)
    for pair, neurons in zip(found, matched, strict=True):
        assert pair.run.path.parent == tmp_path / "decoding" / "pair_summaries" / subject.subject / "res"
        assert pair.figure == pair.run.path.parents[1] / "imgs" / f"{pair.run.path.stem}.png"
        assert pair.figure.read_bytes().startswith(b"\x89PNG")
        assert pair.reason == ""
        np.testing.assert_array_equal(pair.run.tracked()["roi"], neurons["roi"])
        # the same as that pair alone
        alone = neuron_dropping_curves(list(pair.eids), client=client, cache_dir=tmp_path, **where,
                                       **{n: v for n, v in SMALL.items() if n != "min_trials"})  # fmt: skip
        assert alone.path.name == pair.run.path.name
        xr.testing.assert_equal(alone.scores("choice"), pair.run.scores("choice"))
    # one bar for both pairs
    assert next(total for stage, _, total in calls if stage == "curves: choice") == 2 * 2 * 2 * 2 * 6
    assert calls[-1] == ("curves: choice", 96, 96)


def test_pairs_go_on_and_grow(pairs: Pairs, submitted: list[runner.Task]) -> None:
    first = pairs()
    assert n_scores(submitted) == 96
    drawn = [pair.figure.stat().st_mtime_ns for pair in first]
    submitted.clear()
    again = pairs()
    assert submitted == []
    assert [pair.figure.stat().st_mtime_ns for pair in again] == drawn
    more = pairs(R=3, trial_mask={})
    assert n_scores(submitted) == 2 * 2 * 2 * 6
    assert [pair.run.path for pair in more] == [pair.run.path for pair in first]
    assert all(pair.figure.stat().st_mtime_ns > before for pair, before in zip(more, drawn, strict=True))


def test_a_pair_that_cannot_be_decoded_harms_no_other(pairs: Pairs, subject: SimulatedSubject) -> None:
    few = np.zeros(240, dtype=bool)
    few[:5] = True
    masks = dict.fromkeys(subject.eids[:2], few)
    found = pairs(trial_mask=masks)
    assert "no session of any target can be decoded" in found[0].reason
    assert found[0].figure is None
    assert found[0].run.scores("choice")["status"].values.tolist() == ["skipped", "skipped"]
    assert found[1].reason == ""
    assert found[1].run.scores("choice")["status"].values.tolist() == ["skipped", "done"]
    with pytest.raises(NothingToDecodeError, match="no pair of consecutive sessions"):
        pairs(min_per_class=150)


def test_a_session_that_cannot_be_embedded_harms_no_other(copy: SimulatedSubject, client: Client) -> None:
    damaged = next(copy.session_folder(copy.eids[0]).glob("alf/FOV_00/mpci.ROIActivityDeconvolved.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    where = {"one": copy.one_dir, "roicat_root": copy.roicat_root, "client": client}
    found = pairwise_curves(copy.subject, **where, **SMALL)
    assert damaged.name in found[0].reason
    assert found[0].run is None
    assert found[1].reason == ""
    assert found[1].figure is not None


def test_failed_tasks_of_a_pair_leave_the_others_drawn(
    pairs: Pairs, subject: SimulatedSubject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fail_for_a_session(monkeypatch, subject.eids[0])
    with pytest.raises(TasksFailedError, match="no such luck") as caught:
        pairs()
    monkeypatch.undo()
    folder = tmp_path / "decoding" / "pair_summaries" / subject.subject
    assert len(list((folder / "imgs").glob("*.png"))) == 2
    failures = list((folder / "res").glob("*.failures.jsonl"))
    assert len(failures) == 1
    assert str(failures[0]) in str(caught.value)
    statuses = [RunStore(p).scores("choice")["status"].values.tolist() for p in sorted((folder / "res").glob("*.zarr"))]
    assert statuses == [["partial", "done"], ["done", "done"]]
    assert [pair.reason for pair in pairs()] == ["", ""]


def test_what_is_asked_must_fit(pairs: Pairs, subject: SimulatedSubject) -> None:
    with pytest.raises(TrackingError, match="share 5000 neurons"):
        pairs(min_shared=5000)
    with pytest.raises(TrackingError, match="share 1000 neurons"):
        pairs(ks=(1000, 2000))
    with pytest.raises(SettingsError, match="give a mapping"):
        pairs(trial_mask=np.ones(240, dtype=bool))
    with pytest.raises(SessionNotFoundError):
        pairs(trial_mask={"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee": np.ones(240, dtype=bool)})
    with pytest.raises(SettingsError, match="expected 240 booleans"):
        pairs(trial_mask={subject.eids[1]: np.ones(2, dtype=bool)})


def test_the_cost_of_all_pairs(pairs: Pairs, submitted: list[runner.Task], tmp_path: Path) -> None:
    cost = pairs(dry_run=True)
    assert cost.n_scores == 96
    assert "2 pairs" in str(cost)
    assert not (tmp_path / "decoding").exists()
    pairs()
    assert n_scores(submitted) == 96
    assert pairs(R=3, dry_run=True).n_scores == 48


@pytest.mark.usefixtures("pairs")
def test_pairs_on_the_command_line(
    subject: SimulatedSubject, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["pairs", *subject.eids[1:], "--one", subject.one_dir, "--roicat-root", subject.roicat_root,
               "--cache-dir", tmp_path, "--targets", "choice", "--ks", "4", "--resamples", 1, "--shuffles", 0,
               "--min-trials", 100]  # fmt: skip
    assert main([str(a) for a in command]) == 0
    out = capsys.readouterr().out
    assert out.startswith("  ".join(date.isoformat() for date in subject.dates[1:]) + "  ")
    figure = Path(out.split()[-1])
    assert figure.parent == tmp_path / "decoding" / "pair_summaries" / subject.subject / "imgs"
    assert figure.exists()
    capsys.readouterr()
    assert main(["status", "--one", str(subject.one_dir), "--cache-dir", str(tmp_path)]) == 0
    assert figure.stem in capsys.readouterr().out  # runs of pairs are listed, too
