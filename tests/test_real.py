"""The whole road on a real recording, against what the original definitions give on it (shared/real/README.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from distributed import Client

from mesodask import load_or_embed, neuron_dropping_curves, summarize, track_neurons, trial_features
from mesodask.io.alf import connect
from mesodask.io.alf_sessions import subject_sessions

DATES = ("2011-01-01", "2011-01-02")


@pytest.fixture(scope="module")
def expected(real: Path) -> dict:
    return json.loads((SHARED / "m1" / "expected.json").read_text())


@pytest.fixture(scope="module")
def eids(real: Path) -> list[str]:
    return [info.eid for info in subject_sessions(connect(real), "M1S")]


def test_tracked_rows(real: Path, eids: list[str], expected: dict) -> None:
    tracked = track_neurons(eids[::-1], one=real)
    assert tracked["date"].values.tolist() == list(DATES)
    for date, rows in zip(DATES, tracked["roi"].values, strict=True):
        assert rows.tolist() == expected["eids"][date]["tracked_rows"]


def test_features(real: Path, eids: list[str], expected: dict) -> None:
    for date, eid in zip(DATES, eids, strict=True):
        session = load_or_embed(eid, one=real, rastermap=False)
        rows = np.array(expected["eids"][date]["tracked_rows"])
        features = trial_features(session, rows, "choice", sampling="frames")
        with np.load(SHARED / "m1" / f"features_choice_{date}.npz") as known:
            np.testing.assert_array_equal(features["y"].values, known["y"])
            # the known values are float32 throughout: at their largest, 15, that is 3e-5 of rounding
            np.testing.assert_allclose(features["X"].values, known["X"], rtol=1e-5, atol=1e-5)


def test_curve(real: Path, eids: list[str], expected: dict, client: Client) -> None:
    resamples = 50
    days = [expected["eids"][date] for date in DATES]
    run = neuron_dropping_curves(
        eids,
        one=real,
        client=client,
        targets="choice",
        ks=days[0]["ks"],
        R=resamples,
        n_label_shuffles=0,
        sampling="frames",
    )
    summary = summarize(run).sel(target="choice")
    assert summary["k"].values.tolist() == days[0]["ks"]
    for session, day in enumerate(days):
        assert int(summary["n_trials"][session]) == day["n_trials"]
        tolerance = 4 * np.array(day["auc_sd"]) / np.sqrt(resamples) + 0.01
        error = np.abs(summary["mean"].values[session] - np.array(day["auc_mean"]))
        assert (error < tolerance).all(), f"{error} against {tolerance}"


def test_order_and_regions(real: Path, eids: list[str]) -> None:
    from mesodask.sessions import order

    session = load_or_embed(eids[0], one=real)
    assert sorted(order(session)) == list(range(session.sizes["roi"]))
    assert set(session["region"].values) == {"MOp"}
