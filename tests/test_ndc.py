"""Neuron-dropping curves on real workers: right, the same however they are computed, and never computed twice."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster
from runs import SMALL, Run, n_scores, pieces

from mesodask import load_or_embed, neuron_dropping_curves, simulate_subject, summarize
from mesodask.compute import runner
from mesodask.curves import engine
from mesodask.curves.plan import Piece
from mesodask.curves.scores import Block, score_block
from mesodask.errors import NothingToDecodeError, SettingsError, StoreError, TasksFailedError, TrackingError
from mesodask.io.runstore import RunStore
from mesodask.numerics import seeds
from mesodask.numerics.crossval import cross_val_scores
from mesodask.numerics.nulls import null_labels
from mesodask.runs import features as run_features
from mesodask.settings import NdcSettings
from mesodask.simulate import SimulatedSubject

SCORES = ("score", "null_score")
ALL = 3 * 3 * 12 * (1 + 19)  # scores of one target: sessions x ks (n_shared is one) x resamples x label vectors


def test_scores_are_those_of_the_definition(run: Run, subject: SimulatedSubject) -> None:
    """A few scores again, from the stored features: the data alone, the null in its whole batch, to the bit."""
    store = run(targets=("choice", "block"))
    settings = NdcSettings(**SMALL)
    n_shared = store.tracked().sizes["neuron"]
    for target in ("choice", "block"):
        scores = store.scores(target)
        assert scores["k"].values.tolist() == [4, 16, n_shared]
        features = store.features(target, subject.eids[1])
        decoded = features["decoded"].values
        X, y = features["X"].values[decoded], features["y"].values[decoded]
        for resample in (0, 11):
            order = seeds.generator(0, "neurons", resample).permutation(n_shared)
            fold_seed = seeds.integer_seed(0, "folds", subject.eids[1], target, resample)
            labels = features["null_label"].values[: run_features.NULL_BATCH, decoded]
            for k in (4, n_shared):
                subset = X[:, order[:k]]
                one = scores.isel(session=1, resample=resample).sel(k=k)
                assert float(one["score"]) == cross_val_scores(subset, y[:, None], seed=fold_seed)[0]
                by_hand = cross_val_scores(subset, np.column_stack([y, labels.T]), seed=fold_seed)[1:]
                null = one["null_score"].values
                np.testing.assert_array_equal(null, by_hand[: len(null)].astype(np.float32))
    assert scores.sizes["resample"] == settings.R


def test_decoded_trials_are_balanced_equalised_and_in_order(run: Run, subject: SimulatedSubject) -> None:
    store = run()
    for target in store.targets():
        counts = []
        for eid in subject.eids:
            features = store.features(target, eid)
            y = features["y"].values[features["decoded"].values]
            counts.append((y.sum(), len(y) - y.sum()))
            assert (np.diff(features["trial_index"].values) > 0).all()
        assert len(set(counts)) == 1
        assert counts[0][0] == counts[0][1]
        smallest = min(np.bincount(store.features(target, eid)["y"].values).min() for eid in subject.eids)
        assert counts[0][0] == smallest


def test_circular_null_keeps_the_labels_sequence(run: Run, subject: SimulatedSubject) -> None:
    features = run(targets="choice").features("choice", subject.eids[0])
    decoded = features["decoded"].values
    y, labels = features["y"].values[decoded], features["null_label"].values[:, decoded]
    doubled = np.concatenate([y, y])
    shifts = {next(s for s in range(len(y)) if (doubled[s : s + len(y)] == row).all()) for row in labels}
    assert len(shifts) == len(labels)
    assert 0 not in shifts
    again = null_labels("circular", y, range(5), key=(0, "null", subject.eids[0], "choice"))
    np.testing.assert_array_equal(labels[:5], again.T)


def test_coded_targets_rise_and_are_significant(run: Run) -> None:
    summary = summarize(run(n_label_shuffles=99))
    assert (summary["status"] == "done").all()
    rise = summary["mean"].isel(k=-1) - summary["mean"].isel(k=0)
    assert (rise > 0.05).all()
    np.testing.assert_allclose(summary["p_largest"], 1 / 100)
    assert (summary["ceiling"] > summary["null_high"].isel(k=-1)).all()
    assert np.isfinite(summary["k_star"]).all()


def test_finished_run_submits_nothing(run: Run, submitted: list[runner.Task]) -> None:
    calls: list[tuple[str, int, int]] = []
    first = run(targets="choice", progress=lambda *report: calls.append(report))
    assert n_scores(submitted) == ALL
    done = [(done, total) for stage, done, total in calls if stage == "curves: choice"]
    assert done[0] == (0, ALL)
    assert done[-1] == (ALL, ALL)
    assert done == sorted(done)
    submitted.clear()
    stored = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    began = time.process_time()
    second = run(targets="choice")
    assert time.process_time() - began < 2
    assert submitted == []
    assert second.path == first.path
    # and writes no score
    later = {path: path.stat().st_mtime_ns for path in first.path.rglob("score/c/**/*")}
    assert later == {path: mtime for path, mtime in stored.items() if path in later}


def same_scores(one: RunStore, other: RunStore, targets: tuple[str, ...]) -> None:
    for target in targets:
        a, b = one.scores(target), other.scores(target)
        for name in ("score", "null_score"):
            np.testing.assert_array_equal(a[name].values, b[name].values)


def test_growing_computes_the_missing_and_nothing_else(run: Run, submitted: list[runner.Task], tmp_path: Path) -> None:
    store = run(targets="choice")
    for options, expected in (
        ({"targets": ("choice", "block")}, ALL),
        ({"targets": ("choice", "block"), "ks": (4, 8, 16)}, 2 * 3 * 12 * 20),
        ({"targets": ("choice", "block"), "ks": (4, 8, 16), "R": 14}, 2 * 3 * 4 * 2 * 20),
        # a batch of 100 is computed whole: its first 19 again, with 81 more, and 20 of the next
        ({"targets": ("choice", "block"), "ks": (4, 8, 16), "R": 14, "n_label_shuffles": 120}, 2 * 3 * 4 * 14 * 120),
        ({"targets": ("choice", "block"), "ks": (4, 8, 16), "R": 14, "n_label_shuffles": 130}, 2 * 3 * 4 * 14 * 30),
    ):
        submitted.clear()
        run(**options)
        assert n_scores(submitted) == expected
    kept = tmp_path / "grown.zarr"
    shutil.move(store.path, kept)
    fresh = run(targets=("choice", "block"), ks=(4, 8, 16), R=14, n_label_shuffles=130)
    same_scores(RunStore(kept), fresh, ("choice", "block"))


def test_same_numbers_however_computed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = run(targets=("choice", "block"))
    kept = tmp_path / "kept.zarr"
    shutil.move(processes.path, kept)
    with (
        LocalCluster(n_workers=1, threads_per_worker=3, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as threads,
    ):
        original = runner.run_tasks
        monkeypatch.setattr(
            runner, "run_tasks", lambda client, plan, *a, **o: original(client, list(plan)[::-1], *a, **o)
        )
        reversed_in_threads = run(targets=("choice", "block"), client=threads)
    same_scores(RunStore(kept), reversed_in_threads, ("choice", "block"))


@contextmanager
def interrupted_after(n_blocks: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C when a run wants to write its next block after so many; the block must end by it."""
    done = 0
    original = RunStore.write_scores

    def stop(self: RunStore, *args: object) -> None:
        nonlocal done
        if done == n_blocks:
            raise KeyboardInterrupt
        done += 1
        original(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "write_scores", stop)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_a_run_goes_on_where_it_stopped(
    run: Run, submitted: list[runner.Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with interrupted_after(5, monkeypatch):
        run(targets="choice")
    stopped = next(iter(tmp_path.glob("decoding/*.zarr")))
    stored = sum(int(np.isfinite(zarr.open_array(stopped / "choice" / n, mode="r")[:]).sum()) for n in SCORES)
    assert 0 < stored < ALL
    submitted.clear()
    store = run(targets="choice")
    assert store.scores("choice")["finished"].all()
    assert n_scores(submitted) == ALL - stored


def test_a_larger_run_that_stopped_is_told_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(targets="choice", R=10)
    # sessions are computed one after the other: of the last one nothing is there
    with interrupted_after(1, monkeypatch):
        run(targets="choice", R=20)
    status = run(targets="choice", R=10).scores("choice")["status"].values.tolist()
    assert status == ["partial"] * 3
    assert set(run(targets="choice", R=20).scores("choice")["status"].values) == {"done"}


def test_rerun_forgets_the_targets_asked_for_and_no_others(run: Run, submitted: list[runner.Task]) -> None:
    before = run(targets=("choice", "block")).scores("block")
    submitted.clear()
    store = run(targets="choice", rerun=True)
    assert n_scores(submitted) == ALL
    xr.testing.assert_equal(store.scores("block"), before)


def test_delta_of_the_last_call_counts(run: Run) -> None:
    options = {"targets": "choice", "n_label_shuffles": 0}
    strict = summarize(run(**options, delta=0.0))
    loose = summarize(run(**options, delta=0.5))
    assert (loose["k_star"] == 4).all()
    assert (strict["k_star"] > 4).all()


def hits(piece: Piece) -> bool:
    return piece.k == 16 and 7 in piece.resamples


def fail_at_16_neurons_of_resample_7(block: Block, settings: NdcSettings) -> object:
    if any(hits(piece) for piece in block.pieces):
        raise RuntimeError("no such luck")
    return score_block(block, settings)


def test_failed_tasks_are_told_and_the_rest_is_kept(
    run: Run, submitted: list[runner.Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = engine._task
    monkeypatch.setattr(
        engine,
        "_task",
        lambda block, settings: runner.Task(
            original(block, settings).key, fail_at_16_neurons_of_resample_7, (block, settings), {"target": block.target}
        ),
    )
    with pytest.raises(TasksFailedError, match=r"3 tasks failed.*no such luck") as caught:
        run(targets="choice")
    assert caught.value.exit_status == 1
    monkeypatch.undo()
    store = RunStore(next((tmp_path / "decoding").glob("*.zarr")))
    assert store.failures_file.read_text().count("\n") == 3
    scores = store.scores("choice")
    failed = [task for task in submitted if any(hits(piece) for piece in task.arguments[0].pieces)]
    lost = sum(len(piece.resamples) for _, piece in pieces(failed))
    assert int((~scores["finished"]).sum()) == lost
    assert not scores["finished"].values[:, 1, 7].any()
    assert scores["status"].values.tolist() == ["partial"] * 3
    assert run(targets="choice").scores("choice")["status"].values.tolist() == ["done"] * 3
    assert not store.failures_file.exists()


def test_settings_that_change_a_score_make_another_run(run: Run) -> None:
    paths = {
        run(targets="choice", R=2, n_label_shuffles=0, **options).path
        for options in ({}, {"seed": 1}, {"metric": "accuracy"}, {"C": 0.1}, {"folds": "contiguous"},
                        {"sampling": "frames"}, {"equalize_trials": False}, {"cv_splits": 4}, {"null": "permute"})
    }  # fmt: skip
    assert len(paths) == 9
    assert run(targets="choice", R=3, ks=(8,), n_label_shuffles=2).path in paths


def test_rebuilt_session_of_the_same_data_keeps_the_scores(
    copy: SimulatedSubject, client: Client, submitted: list[runner.Task]
) -> None:
    options = SMALL | {"one": copy.one_dir, "roicat_root": copy.roicat_root, "client": client, "targets": "choice"}
    neuron_dropping_curves(copy.eids, **options)
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False, rerun=True)
    submitted.clear()
    neuron_dropping_curves(copy.eids, **options)
    assert submitted == []
    path = copy.session_folder(copy.eids[0]) / "alf" / "FOV_00" / "mpci.ROIActivityDeconvolved.npy"
    np.save(path, np.load(path)[::-1])
    load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False, rerun=True)
    with pytest.raises(StoreError, match="rerun=True"):
        neuron_dropping_curves(copy.eids, **options)
    neuron_dropping_curves(copy.eids, rerun=True, **options)
    assert n_scores(submitted) == ALL


def test_one_session_alone(run: Run, subject: SimulatedSubject) -> None:
    store = run(eids=subject.eids[:1], targets="choice", R=2, n_label_shuffles=0)
    assert store.tracked().sizes["session"] == 1
    assert store.tracked().sizes["neuron"] > 100


def test_skips_have_their_reasons(run: Run, subject: SimulatedSubject) -> None:
    few = {"targets": ("feedback", "choice"), "R": 2, "n_label_shuffles": 5}
    features = [run(**few).features("feedback", eid) for eid in subject.eids]
    counts = [np.bincount(dataset["y"].values, minlength=2).min() for dataset in features]
    needed = int(np.sort(counts)[1])
    store = run(**few, min_per_class=needed)
    feedback = store.scores("feedback")
    expected = ["skipped" if n < needed else "done" for n in counts]
    assert "skipped" in expected
    assert feedback["status"].values.tolist() == expected
    for status, reason in zip(expected, feedback["reason"].values, strict=True):
        assert bool(reason) == (status == "skipped")
    assert f"at least {needed} of each needed" in feedback["reason"].values[expected.index("skipped")]
    assert summarize(store)["status"].sel(target="feedback").values.tolist() == expected


def test_nothing_to_decode_is_an_error_with_all_reasons(run: Run) -> None:
    with pytest.raises(NothingToDecodeError) as caught:
        run(targets=("choice", "block"), min_per_class=150)
    assert str(caught.value).count("at least 150") == 6


def test_session_without_trials_is_skipped(copy: SimulatedSubject, client: Client) -> None:
    from mesodask.io.alf import write_one_tables

    for path in copy.session_folder(copy.eids[1]).rglob("_ibl_trials*"):
        path.unlink()
    write_one_tables(copy.one_dir)
    store = neuron_dropping_curves(
        copy.eids, one=copy.one_dir, roicat_root=copy.roicat_root, client=client, **SMALL, targets="choice"
    )
    assert store.scores("choice")["status"].values.tolist() == ["done", "skipped", "done"]
    assert "has no trials" in store.scores("choice")["reason"].values[1]


def test_no_shared_neuron_and_wrong_arguments(tmp_path: Path, run: Run, tracked: xr.Dataset) -> None:
    lonely = simulate_subject(tmp_path / "lonely", n_days=2, n_trials=30, persistence=0.0)
    with pytest.raises(TrackingError, match="share no neuron"):
        neuron_dropping_curves(lonely.eids, one=lonely.one_dir, roicat_root=lonely.roicat_root)
    with pytest.raises(TrackingError, match="no session"):
        run(eids=())
    with pytest.raises(TrackingError, match="differ in sessions"):
        run(tracked=tracked.isel(session=[0, 1]))
    with pytest.raises(SettingsError, match="did you mean 'n_label_shuffles'"):
        run(n_label_shufles=3)
    with pytest.raises(SettingsError, match="both settings= and"):
        run(settings=NdcSettings(R=2))
    with pytest.raises(SettingsError, match="ks"):
        run(ks=(0, 8))


def test_given_neurons_are_taken(run: Run, tracked: xr.Dataset) -> None:
    store = run(tracked=tracked.isel(neuron=slice(0, 10)), targets="choice", R=2, n_label_shuffles=0)
    assert store.scores("choice")["k"].values.tolist() == [4, 10]


def test_whole_batches_are_stored(run: Run, subject: SimulatedSubject) -> None:
    store = run(targets="block", R=1, n_label_shuffles=3)
    assert store.features("block", subject.eids[0]).sizes["shuffle"] == run_features.NULL_BATCH
    assert store.scores("block")["null_score"].sizes["shuffle"] == 3
