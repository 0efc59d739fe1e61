"""Trial features against the windowed mean computed by hand from the ALF files and the simulator's truth."""

import numpy as np
import pytest
import xarray as xr

from mesodask import sessions as session_stores
from mesodask import trial_features
from mesodask.errors import SettingsError
from mesodask.features import zscore
from mesodask.simulate import SimulatedSubject
from mesodask.targets import TARGETS, Target


def held_mean(times: np.ndarray, trace: np.ndarray, start: float, end: float, before: bool) -> float:
    """Mean of the held trace, by looking at many instants of the window one by one."""
    instants = start + (np.arange(20_000) + 0.5) * (end - start) / 20_000
    if before:
        return float(trace[np.searchsorted(times, instants, side="right") - 1].mean())
    return float(trace[np.searchsorted(times, instants, side="left")].mean())


@pytest.mark.parametrize("target", list(TARGETS))
def test_windowed_mean_by_hand(subject: SimulatedSubject, sessions: list[xr.Dataset], target: str) -> None:
    """Three neurons of each FOV, from np.load of the files and the truth's clocks."""
    eid, session = subject.eids[0], sessions[0]
    truth = subject.truth(eid)
    definition = TARGETS[target]
    table = session_stores.trials(session)
    rows = np.array([2, 31, 59, 60, 88, 119])
    features = trial_features(session, rows, target)
    events = table[definition.event].values[features["trial_index"].values]
    for column, row in enumerate(rows):
        fov, local = divmod(int(row), 60)
        folder = subject.session_folder(eid) / "alf" / f"FOV_{fov:02d}"
        trace = np.load(folder / "mpci.ROIActivityDeconvolved.npy")[:, local].astype(float)
        good = ~np.load(folder / "mpci.badFrames.npy")
        clock = truth["frame_times"].values[fov] + truth["roi_delay"].values[row]
        start, end = definition.window
        means = np.array([held_mean(clock[good], trace[good], t + start, t + end, before=end <= 0) for t in events])
        by_hand = (means - means.mean()) / means.std()
        np.testing.assert_allclose(features["X"].values[:, column], by_hand, atol=2e-3)


def test_all_trials_are_accounted_for(sessions: list[xr.Dataset]) -> None:
    for target in TARGETS:
        features = trial_features(sessions[1], np.arange(10), target)
        assert features.sizes["trial"] + sum(features.attrs["dropped"].values()) == 240
        assert features.attrs["n_session_trials"] == 240


def test_order_of_rows_is_kept(sessions: list[xr.Dataset]) -> None:
    rows = np.array([100, 3, 64, 7])
    together = trial_features(sessions[0], rows, "choice")["X"].values
    for column, row in enumerate(rows):
        alone = trial_features(sessions[0], rows[[column]], "choice")["X"].values
        np.testing.assert_array_equal(together[:, [column]], alone)
        assert row == rows[column]


def test_masks_and_regions_choose_rows(sessions: list[xr.Dataset]) -> None:
    region = sessions[0]["region"].values
    wanted = sorted(set(region.tolist()))[:2]
    in_regions = np.array([name in wanted for name in region])
    by_rows = trial_features(sessions[0], np.flatnonzero(in_regions), "choice")
    for choice in (in_regions, sessions[0]["region"].isin(wanted), in_regions.tolist(), wanted):
        xr.testing.assert_identical(trial_features(sessions[0], choice, "choice"), by_rows)
    one = trial_features(sessions[0], wanted[0], "choice")
    assert one.sizes["neuron"] == np.count_nonzero(region == wanted[0])


def test_trial_mask(sessions: list[xr.Dataset]) -> None:
    mask = np.zeros(240, dtype=bool)
    mask[:50] = True
    features = trial_features(sessions[0], np.arange(5), "choice", trial_mask=mask)
    assert features["trial_index"].values.max() < 50
    assert features.attrs["dropped"]["trial_mask"] == 190


def test_own_window(sessions: list[xr.Dataset]) -> None:
    wide = Target(name="choice", event="firstMovement_times", window=(-0.5, 0.5), null="circular")
    assert trial_features(sessions[0], np.arange(5), wide).attrs["window"] == [-0.5, 0.5]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.array([0, 120]), "row 120 is not in session .* 120 rows"),
        (np.array([-1]), "row -1"),
        (np.zeros(120, dtype=bool), "none of the 120 ROIs"),
        (np.ones(119, dtype=bool), "a mask of 119 for the 120 ROIs"),
        (np.array([0.5]), "float64 .* expected a mask"),
        (np.array([], dtype=int), "none of the 120 ROIs"),
        ("VIS", "no ROI is in 'VIS'"),
    ],
)
def test_rows_that_do_not_exist(sessions: list[xr.Dataset], rows: np.ndarray, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        trial_features(sessions[0], rows, "choice")


def test_zscore_against_scipy() -> None:
    from scipy.stats import zscore as oracle

    values = np.random.default_rng(0).gamma(2.0, size=(40, 6)).astype(np.float32)
    np.testing.assert_allclose(zscore(values), oracle(values.astype(float)), rtol=1e-5)


def test_constant_neuron_becomes_zero() -> None:
    values = np.column_stack([np.full(200, 0.1, dtype=np.float32), np.arange(200)])
    assert (zscore(values)[:, 0] == 0).all()
    assert zscore(np.empty((0, 3))).shape == (0, 3)
