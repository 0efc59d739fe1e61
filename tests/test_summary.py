"""The summary against plain NumPy on scores that are known, and the figure against the summary."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from mesodask import k_star, plot_ndc, schema, summarize
from mesodask.cli.tables import print_summary
from mesodask.errors import StoreError
from mesodask.io.runstore import RunStore
from mesodask.settings import NdcSettings
from mesodask.summary import MIN_SHUFFLES

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
    assert [row.count("!") for row in rows["block"]] == [3, 3, 0]  # the last is skipped
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
