"""The summary against plain NumPy on scores that are known, and the figure against the summary."""

import os
import re
import shutil
import stat
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from matplotlib.figure import Figure

from mesodask import k_star, plot_k_star, plot_ndc, schema, summarize, summary_table, write_csv
from mesodask.cli import main
from mesodask.cli.tables import print_summary
from mesodask.errors import SettingsError, StoreError
from mesodask.io.runstore import UNDEFINED, RunStore
from mesodask.numerics.decoder_identity import decoder_identity
from mesodask.settings import NdcSettings
from mesodask.summary import COUNTS, CURVES, MIN_SHUFFLES, SESSIONS, TARGET_NOTES, decoder_name

KS, R, SHUFFLES = [2, 4, 8, 16], 20, 40
EIDS = ["e1", "e2", "e3"]


@pytest.fixture(scope="module")
def known() -> dict[str, np.ndarray]:
    """Session e1 codes and saturates at k = 8; e2 does not code; e3 is skipped."""
    rng = np.random.default_rng(0)
    rise = np.array([0.6, 0.7, 0.795, 0.8])
    score = np.stack([rise[:, None] + rng.normal(0, 0.01, (4, R)), 0.5 + rng.normal(0, 0.01, (4, R))])
    null = (0.5 + rng.normal(0, 0.02, (2, 4, 1, SHUFFLES)) + rng.normal(0, 0.005, (2, 4, R, SHUFFLES))).astype("f4")
    return {"score": score, "null": null}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, known: dict[str, np.ndarray]) -> RunStore:
    tracked = schema.conform(
        {
            "roi": np.zeros((3, 16)),
            "session": EIDS,
            "date": ["2025-01-01", "2025-01-02", "2025-01-05"],
            "cluster_uid": [f"u{i:02d}" for i in range(16)],
        },
        schema.TRACKED,
        {"subject": "S1"},
    )
    run = RunStore(tmp_path_factory.mktemp("runs") / "run.zarr")
    run.create(tracked)
    run.update_attributes({"subject": "S1", "settings": NdcSettings().model_dump(mode="json")})
    for target in ("block", "choice"):
        run.reserve(target, EIDS, KS, R, SHUFFLES, "d")
        for session in (0, 1):
            for first in (0, 10):
                block = slice(first, first + 10)
                run.write_scores(
                    target, session, first, KS, known["score"][session][:, block], known["null"][session][:, block]
                )
            run.write_session(target, session, n_trials=100, performance=0.75, status="done", reason="")
        run.write_session(target, 2, n_trials=0, performance=np.nan, status="skipped", reason="too few trials")
    return run


@pytest.fixture(scope="module")
def summary(store: RunStore) -> xr.Dataset:
    return summarize(store.path)


def test_targets_stand_in_the_usual_order(summary: xr.Dataset) -> None:
    assert summary["target"].values.tolist() == ["choice", "block"]


def test_means_and_intervals(summary: xr.Dataset, known: dict[str, np.ndarray]) -> None:
    one = summary.sel(target="choice").isel(session=[0, 1])
    np.testing.assert_allclose(one["mean"].values, known["score"].mean(axis=2))
    np.testing.assert_allclose(one["sd"].values, known["score"].std(axis=2))
    np.testing.assert_allclose(one["low"].values, np.quantile(known["score"], 0.025, axis=2))
    np.testing.assert_allclose(one["high"].values, np.quantile(known["score"], 0.975, axis=2))
    null_means = known["null"].astype(float).mean(axis=2)
    np.testing.assert_allclose(one["null_mean"].values, null_means.mean(axis=2))
    np.testing.assert_allclose(one["null_high"].values, np.quantile(null_means, 0.975, axis=2))


def test_p_values(summary: xr.Dataset, known: dict[str, np.ndarray]) -> None:
    one = summary.sel(target="choice").isel(session=[0, 1])
    null_means = known["null"].astype(float).mean(axis=2)
    beaten = (null_means >= known["score"].mean(axis=2)[..., None]).sum(axis=2)
    np.testing.assert_allclose(one["p"].values, (1 + beaten) / (1 + SHUFFLES))
    np.testing.assert_array_equal(one["p_largest"].values, one["p"].values[:, -1])
    assert float(one["p_curve"][0]) == pytest.approx(1 / (1 + SHUFFLES))
    assert float(one["p_curve"][1]) > 0.05


def test_q_is_over_sessions_and_targets(summary: xr.Dataset) -> None:
    from scipy.stats import false_discovery_control

    p = summary["p_largest"].values
    there = np.isfinite(p)
    assert there.sum() == 4
    np.testing.assert_allclose(summary["q"].values[there], false_discovery_control(p[there]))


def test_k_star(store: RunStore, summary: xr.Dataset) -> None:
    one = summary.sel(target="choice")
    assert one["k_star"].values[0] == 8
    assert np.isnan(one["k_star"].values[1:]).all()  # one is not significant, one was skipped
    assert float(one["ceiling"][0]) == pytest.approx(0.8, abs=0.01)
    assert summarize(store, delta=0.15)["k_star"].sel(target="choice").values[0] == 4
    table = k_star(store)
    assert table[table["target"] == "choice"]["k_star"].tolist()[0] == 8
    assert table["date"].tolist()[:3] == ["2025-01-01", "2025-01-02", "2025-01-05"]


def test_skipped_session_is_nan_with_its_reason(summary: xr.Dataset) -> None:
    skipped = summary.sel(target="choice").isel(session=2)
    assert str(skipped["reason"].values) == "too few trials"
    assert np.isnan(skipped["mean"].values).all()


def test_unfinished_largest_k_gives_no_ceiling(store: RunStore, tmp_path: Path, known: dict[str, np.ndarray]) -> None:
    run = RunStore(tmp_path / "half.zarr")
    run.create(store.tracked().load())
    run.update_attributes(store.attrs)
    run.reserve("choice", EIDS, KS, R, SHUFFLES, "d")
    run.write_scores("choice", 0, 0, KS[:3], known["score"][0][:3, :10], known["null"][0][:3, :10])
    one = summarize(run).sel(target="choice").isel(session=0)
    assert one["n_resamples"].values.tolist() == [10, 10, 10, 0]
    assert np.isnan(float(one["ceiling"]))
    assert np.isnan(float(one["k_star"]))
    np.testing.assert_allclose(one["mean"].values[:3], known["score"][0][:3, :10].mean(axis=1))


def test_undefined_scores_are_left_out_and_unfinished_shuffles_wait(
    store: RunStore, tmp_path: Path, known: dict[str, np.ndarray]
) -> None:
    run = RunStore(tmp_path / "odd.zarr")
    run.create(store.tracked().load())
    run.update_attributes(store.attrs)
    run.reserve("choice", EIDS, KS, R, SHUFFLES, "d")
    score, null = known["score"][0].copy(), known["null"][0]
    score[3, 4] = np.nan
    run.write_scores("choice", 0, 0, KS, score[:, :10], null[:, :10])
    run.write_scores("choice", 0, 10, KS, score[:, 10:], null[:, 10:, :30])  # ten shuffles stand for half of it only
    one = summarize(run).sel(target="choice").isel(session=0)
    kept = np.delete(np.arange(R), 4)
    assert float(one["ceiling"]) == pytest.approx(score[3, kept].mean())
    np.testing.assert_allclose(one["mean"].values[3], score[3, kept].mean())
    np.testing.assert_allclose(one["null_mean"].values[3], null[3][kept, :30].astype(float).mean(), rtol=1e-6)
    assert float(one["p_largest"]) == pytest.approx(1 / 31)
    assert int(one["n_shuffles"]) == 30


@pytest.mark.parametrize(
    ("changed", "kinds", "valid", "noted", "folds_noted"),
    [
        ({}, ["circular", "pseudosession"], [True, True], [False, False], [False, True]),
        ({"null": "permute"}, ["permute", "permute"], [True, False], [True, True], [False, True]),
        ({"null": "circular", "folds": "contiguous"}, ["circular"] * 2, [True, True], [False, True], [False, False]),
    ],
)
def test_what_null_and_folds_ask_of_the_data(
    store: RunStore,
    tmp_path: Path,
    changed: dict[str, str],
    kinds: list[str],
    valid: list[bool],
    noted: list[bool],
    folds_noted: list[bool],
) -> None:
    copied = Path(shutil.copytree(store.path, tmp_path / "run.zarr"))
    run = RunStore(copied)
    run.update_attributes({"settings": store.attrs["settings"] | changed})
    summary = summarize(copied)
    assert summary["target"].values.tolist() == ["choice", "block"]
    assert summary["null_kind"].values.tolist() == kinds
    assert summary["null_valid"].values.tolist() == valid
    assert [note != "" for note in summary["null_note"].values] == noted
    assert [note != "" for note in summary["folds_note"].values] == folds_noted
    if changed.get("null") == "permute":
        assert "without slow drift" in str(summary["null_note"].values[0])
        assert "drifting populations" in str(summary["null_note"].values[1])
    table = k_star(copied)
    assert table.groupby("target", sort=False)["null_valid"].all().tolist() == valid
    titles = [panel.get_title() for panel in plot_ndc(copied).axes]
    assert titles == ["choice", "block" if valid[1] else "block (null invalid: permute)"]


def test_table_warns_of_nulls_folds_and_few_shuffles(
    summary: xr.Dataset, store: RunStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    print_summary(summary.sel(target=["choice"]))
    assert not re.search(r"!|null|folds|shuffles", capsys.readouterr().out)
    run = RunStore(Path(shutil.copytree(store.path, tmp_path / "run.zarr")))
    run.update_attributes({"settings": store.attrs["settings"] | {"null": "permute"}})
    permuted = summarize(run)
    # as wide as a row can be
    permuted["k_star"][:], permuted["k_star_low"][:], permuted["k_star_high"][:] = 1024, 512, 2048
    permuted["p_largest"][:, 0] = permuted["p_curve"][:, 0] = permuted["q"][:, 0] = 0.0099
    permuted["n_shuffles"][:, 0] = 9
    print_summary(permuted.assign_coords(target=["feedback", "block"]))
    lines = capsys.readouterr().out.splitlines()
    rows = {target: [line for line in lines if line.startswith(f"{target} ")] for target in ("feedback", "block")}
    assert [row.count("!") for row in rows["feedback"]] == [0, 0, 0]
    assert [row.count("!") for row in rows["block"]] == [3, 2, 0]  # no q where there is no test; the last is skipped
    assert re.search(r"1024 \(512-2048\) +0.0099! +0.0099! +0.0099!", rows["block"][0])
    assert lines[-4:] == [
        "null permute of feedback: valid only without slow drift; circular holds with it, too",
        "! null permute is invalid for block: permuting slow labels finds codes in drifting populations without one; "
        "use pseudosession",
        "folds of block: shuffled folds leak slow drift into the score; compare with contiguous ones",
        "9 shuffles: no p can be below 0.1, so that there is no k*; call again with 19 shuffles or more",
    ]


def test_shuffles_are_those_that_p_counts(summary: xr.Dataset) -> None:
    one = summary.sel(target="choice")
    assert one["n_shuffles"].values.tolist() == [SHUFFLES, SHUFFLES, 0]
    # the fewest that allow a p of .05
    assert 1 / (1 + MIN_SHUFFLES) <= 0.05 < 1 / MIN_SHUFFLES


# what compares with the null ----------------------------------------------------------------------------------


def bare_run(path: Path, store: RunStore, ks: list[int], R: int, n_shuffles: int) -> RunStore:
    """A run of one target of which nothing is computed."""
    run = RunStore(path)
    run.create(store.tracked().load())
    run.update_attributes(store.attrs)
    run.reserve("choice", EIDS, ks, R, n_shuffles, "d")
    return run


def put(run: RunStore, score: np.ndarray, null: np.ndarray) -> None:
    """Store what a session's arrays hold on disk, as session 0."""
    group = zarr.open_group(str(run.path), mode="a")["choice"]
    group["score"][0], group["null_score"][0] = score, null
    run.write_session("choice", 0, n_trials=100, performance=0.75, status="done", reason="")


def compared(score: np.ndarray, null: np.ndarray) -> tuple[list[int], list[int]]:
    """Resamples and shuffles that compare, of one k: the rule of summarize, by counting."""
    there = {(r, s) for r, s in np.ndindex(null.shape) if not np.isnan(null[r, s]) and not np.isnan(score[r])}
    any_null = sorted({r for r, _ in there})
    every = sorted({s for _, s in there})
    on_all = [s for s in every if all((r, s) in there for r in any_null)]
    whole = [r for r in any_null if all((r, s) in there for s in every)]
    rows, columns = (any_null, on_all) if len(any_null) * len(on_all) >= len(whole) * len(every) else (whole, every)
    return [r for r in rows if score[r] != UNDEFINED], columns


def counted_p(score: np.ndarray, null: np.ndarray) -> tuple[float, int, list[float]]:
    """p of one k, how many resamples it is over, and the shuffles' means, by loops over single scores."""
    rows, columns = compared(score, null)
    means = []
    for s in columns:
        values = [float(null[r, s]) for r in rows if null[r, s] != UNDEFINED]
        if values:
            means.append(sum(values) / len(values))
    if not rows or not means:
        return float("nan"), len(rows), means
    observed = sum(float(score[r]) for r in rows) / len(rows)
    return (1 + sum(mean >= observed - 1e-6 for mean in means)) / (1 + len(means)), len(rows), means


def some_state(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What a store may hold of 4 ks x 20 resamples x 40 shuffles; scores are coarse, so that many tie."""
    score = np.round(rng.uniform(0.4, 0.7, (4, R)), 1)
    null = np.round(rng.uniform(0.4, 0.6, (4, R, SHUFFLES)), 1).astype("f4")
    score[rng.uniform(size=score.shape) < 0.1] = UNDEFINED
    null[rng.uniform(size=null.shape) < 0.1] = UNDEFINED
    if kind == "first resamples":
        null[:, 7:] = np.nan
    elif kind == "more shuffles":
        null[:, 10:, 15:] = np.nan
    elif kind == "last block has few":
        null[:, 18:, 5:] = np.nan
    elif kind == "blocks":  # whatever order blocks come in
        for k, first in np.ndindex(4, 2):
            if rng.uniform() < 0.4:
                score[k, 10 * first : 10 * first + 10] = np.nan
            if rng.uniform() < 0.4:
                null[k, 10 * first : 10 * first + 10, 20 * first :] = np.nan
    elif kind == "null before its score":
        score[:, 15:], null[:, 15:, 35:] = np.nan, np.nan
    elif kind == "undefined column":
        null[:, :, 3] = UNDEFINED
    return score, null


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kind",
    [
        "whole",
        "first resamples",
        "more shuffles",
        "last block has few",
        "blocks",
        "null before its score",
        "undefined column",
    ],
)
def test_null_is_compared_over_the_same_resamples(store: RunStore, tmp_path: Path, kind: str, seed: int) -> None:
    score, null = some_state(kind, np.random.default_rng(seed))
    run = bare_run(tmp_path / "run.zarr", store, KS, R, SHUFFLES)
    put(run, score, null)
    one = summarize(run).sel(target="choice").isel(session=0)
    for k in range(4):
        p, n_resamples, means = counted_p(score[k], null[k])
        at = one.isel(k=k)
        assert float(at["p"]) == pytest.approx(p, nan_ok=True)
        assert int(at["n_null_resamples"]) == n_resamples
        if means:
            assert float(at["null_mean"]) == pytest.approx(np.mean(means))
            assert float(at["null_low"]) == pytest.approx(np.quantile(means, 0.025))
        else:
            assert np.isnan(float(at["null_mean"]))
        finished = score[k][~np.isnan(score[k])]
        defined = finished[finished != UNDEFINED]
        assert int(at["n_resamples"]) == len(finished)
        assert float(at["mean"]) == pytest.approx(defined.mean() if len(defined) else np.nan, nan_ok=True)
    assert int(one["n_shuffles"]) == len(means)


def test_ceiling_and_k_star_are_over_all_resamples(
    store: RunStore, tmp_path: Path, known: dict[str, np.ndarray]
) -> None:
    score, null = known["score"][0], known["null"][0].copy()
    null[:, 6:] = np.nan  # shuffle_resamples=6
    run = bare_run(tmp_path / "run.zarr", store, KS, R, SHUFFLES)
    put(run, score, null)
    one = summarize(run).sel(target="choice").isel(session=0)
    assert float(one["ceiling"]) == pytest.approx(score[-1].mean())
    assert float(one["k_star"]) == 8
    np.testing.assert_allclose(one["high"], np.quantile(score, 0.975, axis=1))
    np.testing.assert_allclose(one["null_mean"], null[:, :6].astype(float).mean(axis=(1, 2)), rtol=1e-6)


def test_order_of_the_work_changes_nothing(store: RunStore, tmp_path: Path, known: dict[str, np.ndarray]) -> None:
    score, null = known["score"][0], known["null"][0]
    blocks = [(k, first) for k in range(4) for first in (0, 10)]
    made = []
    for name, order in (("there", blocks), ("back", blocks[::-1])):
        run = bare_run(tmp_path / f"{name}.zarr", store, KS, R, SHUFFLES)
        for k, first in order:
            part = slice(first, first + 10)
            run.write_scores("choice", 0, first, [KS[k]], score[[k], part], null[[k], part])
        made.append(summarize(run))
    xr.testing.assert_identical(made[0].drop_attrs(deep=False), made[1].drop_attrs(deep=False))


def test_many_ks_appended_in_any_order(store: RunStore, tmp_path: Path) -> None:
    ks = [64, 8, 2048, 128, 16, 32, 512, 1024, 256, 3000]
    run = bare_run(tmp_path / "run.zarr", store, ks, 10, 0)
    for k in ks:
        run.write_scores("choice", 0, 0, [k], np.full((1, 10), 0.5 + k / 10000), np.empty((1, 10, 0)))
    one = summarize(run).isel(target=0, session=0)
    assert one["k"].values.tolist() == sorted(ks)
    np.testing.assert_allclose(one["mean"], 0.5 + np.array(sorted(ks)) / 10000)


def test_targets_of_other_ks_stand_side_by_side(store: RunStore, tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run.zarr", store, [2, 8], 10, 0)
    run.reserve("block", EIDS, [4, 8], 10, 0, "d")
    for target, ks in (("choice", [2, 8]), ("block", [4, 8])):
        run.write_scores(target, 0, 0, ks, np.full((2, 10), 0.6), np.empty((2, 10, 0)))
    one = summarize(run).isel(session=0)
    assert one["k"].values.tolist() == [2, 4, 8]
    assert np.isfinite(one["mean"].values).tolist() == [[True, False, True], [False, True, True]]
    assert one["n_resamples"].values.tolist() == [[10, 0, 10], [0, 10, 10]]


def test_q_leaves_out_what_is_no_test(store: RunStore, tmp_path: Path) -> None:
    """A permuted null of block is invalid: its p-values are no members of the family."""
    from scipy.stats import false_discovery_control

    run = RunStore(Path(shutil.copytree(store.path, tmp_path / "run.zarr")))
    run.update_attributes({"settings": store.attrs["settings"] | {"null": "permute"}})
    summary = summarize(run)
    p, q = summary["p_largest"].values, summary["q"].values
    assert np.isfinite(p[1, :2]).all()
    assert np.isnan(q[1]).all()
    np.testing.assert_allclose(q[0, :2], false_discovery_control(p[0, :2]))


def test_damaged_chunk_is_named(store: RunStore, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(store.path, tmp_path / "run.zarr"))
    chunk = copied / "choice" / "null_score" / "c" / "1" / "2" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"choice/null_score/c/1/2/0/0: this chunk.*call the same analysis again"):
        summarize(copied)


def test_memory_holds_one_point_of_a_curve(store: RunStore, tmp_path: Path) -> None:
    run = bare_run(tmp_path / "run.zarr", store, [2, 4, 8, 16, 32, 64, 128, 256], 1000, 1000)
    group = zarr.open_group(str(run.path), mode="a")["choice"]
    rng = np.random.default_rng(0)
    point = rng.normal(0.5, 0.1, (1000, 1000)).astype("f4")
    for session, k in np.ndindex(3, 8):
        group["null_score"][session, k] = point  # 96 MB in all
        group["score"][session, k] = rng.uniform(0.6, 0.8, 1000)
    tracemalloc.start()
    summarize(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


# notes --------------------------------------------------------------------------------------------------------


def test_users_decoder_is_named(
    store: RunStore, tmp_path: Path, summary: xr.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    assert (summary.attrs["decoder"], summary.attrs["decoder_identity"]) == ("", "")
    pipeline = make_pipeline(StandardScaler(), "passthrough", LinearDiscriminantAnalysis())
    assert decoder_name(decoder_identity(pipeline)) == "StandardScaler + LinearDiscriminantAnalysis"
    run = RunStore(Path(shutil.copytree(store.path, tmp_path / "run.zarr")))
    run.update_attributes({"decoder": decoder_identity(LinearDiscriminantAnalysis())})
    named = summarize(run)
    assert named.attrs["decoder"] == "LinearDiscriminantAnalysis"
    assert named.attrs["decoder_identity"] == run.attrs["decoder"]
    print_summary(named)
    assert capsys.readouterr().out.startswith("S1: 16 shared neurons, auc, decoder LinearDiscriminantAnalysis\n")
    assert "decoder LinearDiscriminantAnalysis" in plot_ndc(named).get_suptitle()
    assert "decoder" not in plot_ndc(summary).get_suptitle()
    assert set(summary_table(named)["decoder"]) == {"LinearDiscriminantAnalysis"}


def test_fewer_shuffles_than_asked_are_told(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunStore(Path(shutil.copytree(store.path, tmp_path / "run.zarr")))
    empty = {"X": np.zeros((4, 2)), "y": [0, 1, 0, 1], "trial_index": range(4)}
    group = zarr.open_group(str(run.path), mode="a")
    for session, n_null in enumerate((25, 30)):
        run.write_features("choice", EIDS[session], schema.conform(empty, schema.FEATURES, {"n_null": n_null}))
        group["choice/null_score"][session, :, :, n_null:] = np.nan
    capped = summarize(run)
    assert capped["n_shuffles_asked"].values.tolist() == [SHUFFLES, SHUFFLES]
    assert capped["n_shuffles_possible"].values.tolist() == [[25, 30, SHUFFLES], [SHUFFLES] * 3]
    assert capped["n_shuffles"].values.tolist() == [[25, 30, 0], [SHUFFLES, SHUFFLES, 0]]
    print_summary(capped)
    lines = [line for line in capsys.readouterr().out.splitlines() if "shuffles" in line]
    assert lines == [
        "null circular of choice: it gives no more than 25 to 30 of the 40 shuffles asked for, one less than trials"
    ]
    # too few for a k*, and no more to be had
    capped["n_shuffles"][0, 0] = capped["n_shuffles_possible"][0, 0] = 12
    print_summary(capped)
    assert "12 shuffles: no p can be below 0.077, so that there is no k*; the null gives no more" in (
        capsys.readouterr().out.splitlines()
    )


def test_null_on_some_resamples_is_told(
    store: RunStore, tmp_path: Path, summary: xr.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunStore(Path(shutil.copytree(store.path, tmp_path / "run.zarr")))
    for target in ("choice", "block"):
        zarr.open_group(str(run.path), mode="a")[f"{target}/null_score"][:, :, 10:] = np.nan
    some = summarize(run)
    print_summary(some)
    assert "p and null: over 10 of 20 resamples, those that have a null; all else over all" in capsys.readouterr().out
    assert "20 resamples (null and p: 10)" in plot_ndc(some).get_suptitle()
    assert "(null" not in plot_ndc(summary).get_suptitle()


def test_every_variable_has_meaning_and_unit(summary: xr.Dataset) -> None:
    assert set(summary.data_vars) == set(CURVES) | set(SESSIONS) | set(TARGET_NOTES)
    for name, variable in summary.data_vars.items():
        assert variable.attrs["long_name"]
        assert "units" in variable.attrs or variable.dtype.kind in "OTU", name
    assert summary["mean"].attrs["units"] == summary["ceiling"].attrs["units"] == "auc"
    assert summary["k_star"].attrs["units"] == "neurons"
    assert all(summary[name].dtype.kind == "i" for name in COUNTS)


# tables and CSV -----------------------------------------------------------------------------------------------


def read_exactly(file: Path) -> pd.DataFrame:
    """Read a CSV file so that numbers are those that were written, by any pandas."""
    texts = pd.read_csv(file, dtype=str, keep_default_na=False)
    texts_alone = {"subject", "metric", "decoder", "target", "session", "date"} | {
        name for name, column in (SESSIONS | TARGET_NOTES).items() if not column.unit
    }
    for name in set(texts) - texts_alone - {"null_valid"}:
        texts[name] = [float(text) if text else np.nan for text in texts[name]]
    return texts


def test_csv_gives_the_same_numbers_again(summary: xr.Dataset, tmp_path: Path) -> None:
    curves = read_exactly(write_csv(summary, tmp_path / "curves.csv"))
    assert len(curves) == 2 * 3 * 4
    for row in curves.to_dict("records"):
        one = summary.sel(target=row["target"], session=row["session"], k=row["k"])
        assert (row["date"], row["subject"], row["metric"]) == (str(one["date"].values), "S1", "auc")
        for name in CURVES:
            np.testing.assert_array_equal(row[name], one[name].item())  # to the last bit; NaN where NaN
    per_session = read_exactly(write_csv(summary, tmp_path / "k_star.csv", table="k_star"))
    assert len(per_session) == 2 * 3
    for row in per_session.to_dict("records"):
        one = summary.sel(target=row["target"], session=row["session"])
        for name in set(SESSIONS | TARGET_NOTES):
            found = one[name].item()
            np.testing.assert_array_equal(row[name], str(found) if isinstance(found, bool) else found)
    assert ",8,8,8," in (tmp_path / "k_star.csv").read_text()  # numbers of neurons are whole
    plainly = pd.read_csv(tmp_path / "curves.csv")
    np.testing.assert_allclose(plainly["mean"], curves["mean"], rtol=1e-14)


def test_tables_are_those_of_k_star(store: RunStore, summary: xr.Dataset) -> None:
    known, table = k_star(store), summary_table(summary, "k_star")
    for name in ("target", "session", "date", "k_star", "status"):
        assert known[name].dropna().tolist() == table[name].dropna().tolist()
    with pytest.raises(SettingsError, match="curves, k_star"):
        summary_table(summary, "kstar")  # type: ignore[arg-type]


def test_what_is_no_regular_file_is_written_to_and_never_replaced(summary: xr.Dataset, tmp_path: Path) -> None:
    """As root, a rename over /dev/null would take it from everybody."""
    pipe, table = tmp_path / "pipe", tmp_path / "table.csv"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_csv(summary, pipe)
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "link.csv").symlink_to(table)
    write_csv(summary, tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert read == [table.read_text()]
    with pytest.raises(StoreError, match="/dev/full: No space left on device; it is not written"):
        write_csv(summary, "/dev/full")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_csv_is_whole_or_not_there(summary: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "curves.csv"
    file.write_text("old")

    def full_disk(frame: pd.DataFrame, path: Path, **options: object) -> None:
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_csv", full_disk)
        with pytest.raises(StoreError, match=r"curves\.csv: No space left on device; it is not written"):
            write_csv(summary, file)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]
    assert file.read_text() == "old"
    assert write_csv(summary, str(file)) == file
    assert len(file.read_text().splitlines()) == 1 + 2 * 3 * 4
    with pytest.raises(SettingsError, match="does not exist"):
        write_csv(summary, tmp_path / "no" / "curves.csv")


def test_command_prints_and_writes(store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--csv", str(tmp_path / "c.csv"), "--k-star-csv", str(tmp_path / "k.csv")]
    assert main(["summary", str(store.path), *files, "--delta", "0.15"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"choice +2025-01-01 +100 +0\.80\d +4 \(4-4\)", out)
    assert pd.read_csv(tmp_path / "k.csv")["k_star"].tolist()[0] == 4
    assert len(pd.read_csv(tmp_path / "c.csv")) == 24


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run store"):
        summarize(tmp_path)


def test_figure_shows_the_summary(summary: xr.Dataset) -> None:
    figure = plot_ndc(summary)
    assert isinstance(figure, Figure)
    panels = figure.axes
    assert [panel.get_title() for panel in panels] == ["choice", "block"]
    for panel, target in zip(panels, ("choice", "block"), strict=True):
        curves = [line for line in panel.get_lines() if len(line.get_xdata()) == 4]
        assert len(curves) == 2
        for session, line in enumerate(curves):
            np.testing.assert_array_equal(line.get_xdata(), KS)
            np.testing.assert_array_equal(line.get_ydata(), summary["mean"].sel(target=target).values[session])
        stars = [line for line in panel.get_lines() if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in stars] == [8]
        labels = panel.get_legend_handles_labels()[1]
        assert labels == ["2025-01-01, k* = 8, p = 0.024", labels[1]]
        assert "no k*" in labels[1]
        assert len(panel.collections) == 2 * 2  # a band and a null band a session
        texts = [text.get_text() for text in panel.texts]
        assert texts.count("75%") == 2
        assert "skipped: 2025-01-05" in texts
        assert max(panel.get_yticks()) <= 1.001
        assert panel.get_xlabel() == "number of neurons"
        assert panel.get_ylabel() == "AUC"


@pytest.mark.parametrize(
    ("dates", "names", "axis"),
    [
        (["2025-01-01", "2025-01-02", "2025-01-05"], None, "day of the session"),
        (["day1", "may", "3"], None, "session"),  # a user's populations; some are dates to those who guess
        (["", "2025-01-02", "2025-01-05"], ["e1", "2025-01-02", "2025-01-05"], "session"),
    ],
)
def test_k_star_stands_at_dates_or_side_by_side(
    summary: xr.Dataset, dates: list[str], names: list[str] | None, axis: str
) -> None:
    panel = plot_k_star(summary.assign_coords(date=("session", dates))).axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == (names or dates)
    ticks = panel.get_xticks() - panel.get_xticks()[0]
    assert ticks.tolist() == ([0, 1, 4] if axis == "day of the session" else [0, 1, 2])
    assert panel.get_xlabel() == axis


def test_sessions_of_one_day_have_names_of_their_own(summary: xr.Dataset) -> None:
    one_day = {"date": ("session", ["2025-01-01"] * 2 + ["2025-01-05"]), "number": ("session", [1, 3, 1])}
    panel = plot_ndc(summary.assign_coords(one_day)).axes[0]
    names = [label.split(",")[0] for label in panel.get_legend_handles_labels()[1]]
    assert names == ["2025-01-01/001", "2025-01-01/003"]
    ticks = plot_k_star(summary.assign_coords(one_day)).axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["2025-01-01/001", "2025-01-01/003", "2025-01-05"]


def test_end_labels_do_not_overlap(summary: xr.Dataset) -> None:
    figure = plot_ndc(summary)
    figure.draw_without_rendering()
    for panel in figure.axes:
        boxes = [text.get_window_extent() for text in panel.texts if "%" in text.get_text()]
        assert len(boxes) == 2
        assert not boxes[0].overlaps(boxes[1])


def test_figure_is_saved_where_asked_and_nowhere_else(
    summary: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plot_ndc(summary)
    assert list(tmp_path.iterdir()) == []
    plot_ndc(summary, save=tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
