"""Sparseness: the formula, the windows, what tasks and stores give, against brute force; and its figures."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from runs import Run, held, killed_build, until

from mesodask import (
    load_or_embed,
    plot_k_star,
    plot_sparseness,
    population_sparseness,
    simulate_subject,
    sparseness,
    sparseness_parts,
)
from mesodask import sessions as session_stores
from mesodask.cli import main
from mesodask.compute import runner
from mesodask.errors import DataError, SessionsFailedError, SettingsError, StoreError, TrackingError
from mesodask.event_windows import WINDOWS
from mesodask.io import cache
from mesodask.numerics.sparseness import from_sums, treves_rolls
from mesodask.numerics.windows import windowed_means
from mesodask.simulate import SimulatedSubject
from mesodask.sparseness_parts import timing_of

Compute = Callable[..., xr.Dataset]


# the formula --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([3, 3, 3, 3], 1.0),
        ([7, 0, 0, 0, 0], 0.2),
        ([2, 2, 0, 0], 0.5),
        ([1, 2, 3], 6.0**2 / (3 * 14)),
        ([4], 1.0),
        ([1, np.nan, 1, 0], 2 / 3),
        ([0, 0, 0], np.nan),
        ([np.nan, np.nan], np.nan),
        ([], np.nan),
    ],
)
def test_known_values(rates: list[float], expected: float) -> None:
    assert treves_rolls(rates) == pytest.approx(expected, nan_ok=True)


def test_negative_rates_are_refused() -> None:
    with pytest.raises(DataError, match="rates go down to -1"):
        treves_rolls([1.0, -1.0])


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(1e-3, 1e3))
def test_it_lies_between_one_neuron_and_all_and_has_no_unit(rates: list[float], factor: float) -> None:
    found = float(treves_rolls(rates))
    assert 1 / len(rates) - 1e-12 <= found <= 1 + 1e-12
    assert float(treves_rolls(np.array(rates) * factor)) == pytest.approx(found)


def test_axes_and_parts() -> None:
    rates = np.random.default_rng(0).gamma(0.5, size=(5, 40))
    expected = [np.mean(row) ** 2 / np.mean(row**2) for row in rates]
    np.testing.assert_allclose(treves_rolls(rates, axis=1), expected)
    np.testing.assert_allclose(treves_rolls(rates.T, axis=0), expected)
    parts = rates[:, :11], rates[:, 11:]
    total, squares = (sum((part**power).sum(axis=1) for part in parts) for power in (1, 2))
    np.testing.assert_allclose(from_sums(total, squares, 40), expected)


# the windows --------------------------------------------------------------------------------------------------


def test_windows_choose_the_trials_they_name(sessions: list[xr.Dataset]) -> None:
    table = {str(name): column.values for name, column in session_stores.trials(sessions[0]).items()}
    n = len(table["choice"])
    assert len(WINDOWS) == len({window.name for window in WINDOWS}) == 26

    def deep(i: int) -> bool:
        return i >= 10 and len(set(table["probabilityLeft"][i - 10 : i + 1])) == 1

    block, left = {"L": 0.8, "R": 0.2}, table["contrastLeft"]
    for window in WINDOWS:
        found = np.flatnonzero(window.trials(table)).tolist()
        if crossed := re.fullmatch("(?:stim|s)([LR])b([LR])(c|choice)([LR])", window.name):
            side, favoured, kind, choice = crossed.groups()
            expected = [
                i
                for i in range(n)
                if np.isfinite(left[i]) == (side == "L")
                and table["probabilityLeft"][i] == block[favoured]
                and table["choice"][i] == (1 if choice == "L" else -1)
                and (kind == "choice" or deep(i))
            ]
        else:
            expected = {
                "inter_trial": [
                    i for i in range(n) if i == 0 or table["stimOn_times"][i] - table["intervals_1"][i - 1] > 1.15
                ],
                "blockL": np.flatnonzero(table["probabilityLeft"] == 0.8).tolist(),
                "blockR": np.flatnonzero(table["probabilityLeft"] == 0.2).tolist(),
                "block50": np.flatnonzero(table["probabilityLeft"] == 0.5).tolist(),
                "choiceL": np.flatnonzero(table["choice"] == 1).tolist(),
                "choiceR": np.flatnonzero(table["choice"] == -1).tolist(),
                "fback1": np.flatnonzero(table["feedbackType"] == 1).tolist(),
                "fback0": np.flatnonzero(table["feedbackType"] == -1).tolist(),
            }.get(window.name, list(range(n)))
        assert found == expected, window.name
        assert found


def test_first_trials_are_not_deep_because_the_last_are() -> None:
    """Ten trials back from the first one there is none: not the last of the session."""
    window = next(window for window in WINDOWS if window.name == "stimLbLcL")
    table = {
        "stimOn_times": np.zeros(30), "contrastLeft": np.ones(30), "choice": np.ones(30),
        "probabilityLeft": np.full(30, 0.8),
    }  # fmt: skip
    assert np.flatnonzero(window.trials(table)).tolist() == list(range(10, 30))
    with pytest.raises(DataError, match="no column choice, which event windows need"):
        window.trials({name: values for name, values in table.items() if name != "choice"})


# sessions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def compute(subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path: Path) -> Compute:
    """Computes in a cache of this test, on stores that are embedded already."""
    (tmp_path / "data").mkdir()
    for session in sessions:
        source = Path(session.encoding["source"])
        (tmp_path / "data" / source.name).symlink_to(source)

    def run(n: int = 1, **options: object) -> xr.Dataset:
        arguments = {"one": subject.one_dir, "cache_dir": tmp_path, "client": client} | options
        return sparseness(subject.eids[:n], **arguments)  # type: ignore[arg-type]

    return run


def test_trials_without_a_column_are_told(sessions: list[xr.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = session_stores.trials(sessions[0])
    for column in ("stimOn_times", "feedback_times", "choice"):
        monkeypatch.setattr(session_stores, "trials", lambda _, column=column: whole.drop_vars(column))
        with pytest.raises(DataError, match=f"no column {column}"):
            timing_of(sessions[0], np.arange(10), "hold")


def brute_force(session: xr.Dataset, rows: np.ndarray, scale: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rates of each neuron, and sparseness of each trial, by window: one neuron after the other."""
    table = {str(name): column.values for name, column in session_stores.trials(session).items()}
    found = {}
    for window in WINDOWS:
        means = []
        for roi in rows:
            fov = int(session["fov_index"].values[roi])
            good = ~session["bad_frame"].values[fov]
            trace = session["signal"].values[roi].astype(float)
            mean = windowed_means(
                trace[None], session["frame_times"].values[fov], table[window.event], window.window,
                delays=[float(session["roi_delay"].values[roi])], good=good,
            )[:, 0]  # fmt: skip
            low, high = np.percentile(trace[good], (20, 99)) if scale else (0.0, 1.0)
            means.append(np.maximum((mean - low) / (high - low), 0))
        rates = np.array(means)  # (n_neurons, n_trials)
        counted = window.trials(table) & np.isfinite(rates).all(axis=0)
        per_trial = np.full(rates.shape[1], np.nan)
        for trial in np.flatnonzero(counted):
            per_trial[trial] = rates[:, trial].mean() ** 2 / (rates[:, trial] ** 2).mean()
        mean_rates = rates[:, counted].mean(axis=1) if counted.any() else np.full(len(rates), np.nan)
        found[window.name] = mean_rates, per_trial
    return found


@pytest.mark.parametrize("scale", [True, False])
def test_tasks_give_what_brute_force_does(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: bool
) -> None:
    """With bad frames, a gap into which trials fall, and one that only the first FOV has."""
    monkeypatch.setattr(population_sparseness, "NEURONS_A_TASK", 13)  # tasks within and across FOVs
    subject = simulate_subject(
        tmp_path / "gappy", n_days=1, n_trials=140, rois_per_fov=(20, 15), gap=8.0, bad_frames=0.02, seed=2
    )
    file = subject.session_folder(subject.eids[0]) / "alf" / "FOV_00" / "mpci.badFrames.npy"
    bad = np.load(file)
    bad[500:540] = True
    np.save(file, bad)
    result = sparseness(subject.eids, one=subject.one_dir, client=client, scale=scale).isel(session=0)
    session = load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False)
    rows = session_stores.neurons(session)
    np.testing.assert_array_equal(result["roi"].values, rows)
    lost = 0
    for name, (rates, per_trial) in brute_force(session, rows, scale).items():
        one = result.sel(window=name)
        np.testing.assert_allclose(one["rate"].values, rates, rtol=1e-4, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(one["trial_sparseness"].values, per_trial, rtol=1e-4, err_msg=name)
        assert int(one["n_trials"]) == np.isfinite(per_trial).sum()
        lost += name == "quiescence" and int(np.isnan(per_trial).sum())
        expected = np.mean(rates) ** 2 / np.mean(rates**2) if np.isfinite(rates).all() else np.nan
        np.testing.assert_allclose(one["sparseness"], expected, rtol=1e-4)
    assert lost  # the gap took some trials, the same for all neurons


def test_whole_recording_and_its_parts(compute: Compute, sessions: list[xr.Dataset]) -> None:
    whole = compute().isel(session=0).sel(window="full_session")
    session = sessions[0]
    rows = session_stores.neurons(session)
    good = ~session["bad_frame"].values[session["fov_index"].values[rows]]
    signal = session["signal"].values[rows].astype(float)
    rates = []
    for trace, usable in zip(signal, good, strict=True):
        low, high = np.percentile(trace[usable], (20, 99))
        rates.append(max((trace[usable].mean() - low) / (high - low), 0))
    np.testing.assert_allclose(whole["rate"].values, rates, rtol=1e-4)
    assert float(whole["mean_rate"]) == pytest.approx(np.mean(rates), rel=1e-4)
    parts = whole["trial_sparseness"].values
    assert np.isfinite(parts).all()
    assert len(parts) == session_stores.trials(session).sizes["trial"]
    assert float(whole["duration"]) == pytest.approx(np.ptp(session["frame_times"].values), abs=0.5)


def test_what_is_stored_is_not_computed_again(
    compute: Compute, submitted: list[runner.Task], subject: SimulatedSubject, tmp_path: Path
) -> None:
    first = compute(1)
    assert len(submitted) == 1
    both = compute(2)
    assert len(submitted) == 2  # the second session alone
    xr.testing.assert_equal(both["sparseness"].isel(session=0), first["sparseness"].isel(session=0))
    compute(2)
    assert len(submitted) == 2
    compute(1, neurons="VISp")
    compute(1, scale=False)
    compute(1, neurons_only=False)
    assert len(submitted) == 5
    assert len(list((tmp_path / "sparseness").iterdir())) == 5
    compute(1, rerun=True)
    assert len(submitted) == 6


def test_results_of_another_build_or_damaged_ones_are_computed_again(
    compute: Compute, submitted: list[runner.Task], tmp_path: Path, sessions: list[xr.Dataset]
) -> None:
    before = compute()
    store = Path(before.attrs["stores"][0])
    (store / "rate" / "c" / "0" / "0").write_bytes(b"")
    xr.testing.assert_identical(compute(), before)
    shutil.rmtree(store / "sparseness")
    xr.testing.assert_identical(compute(), before)
    assert len(submitted) == 3
    link = tmp_path / "data" / Path(sessions[0].encoding["source"]).name
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)
    about = json.loads((link / "zarr.json").read_text())
    about["attributes"]["build_id"] = "another"
    (link / "zarr.json").write_text(json.dumps(about))
    from mesodask.io import stores

    stores.seal(link)
    compute()
    assert len(submitted) == 4


def test_another_process_is_waited_for_and_what_a_killed_one_left_is_swept(
    compute: Compute, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = compute()
    store = Path(before.attrs["stores"][0])
    aside = store.rename(tmp_path / "aside")
    killed_build(store)
    caplog.set_level("INFO")
    with ThreadPoolExecutor() as pool, held(cache.build_lock(store)):
        found = pool.submit(compute)
        until(lambda: "waiting for process" in caplog.text)
        assert not store.exists()
        aside.rename(store)  # so the other process has done the same work
        built = store.stat().st_ino
    xr.testing.assert_identical(found.result(), before)
    assert store.stat().st_ino == built
    killed_build(store)
    compute()
    assert list(store.parent.iterdir()) == [store]


@pytest.mark.parametrize("chunk", ["signal/c/0/0", "is_neuron/c/0"])
def test_a_failure_costs_its_session_alone(
    chunk: str, compute: Compute, tmp_path: Path, sessions: list[xr.Dataset]
) -> None:
    link = tmp_path / "data" / Path(sessions[1].encoding["source"]).name
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)
    content = link / chunk
    whole = bytearray(content.read_bytes())
    whole[len(whole) // 2] ^= 0xFF  # its size and its end are as they were written: only reading it tells
    content.write_bytes(bytes(whole))
    message = r"1 of 3 sessions failed, the others are stored:\s+[0-9a-f-]+: .*(damaged|cannot be read)"
    with pytest.raises(SessionsFailedError, match=message) as caught:
        compute(3, neurons={session.attrs["eid"]: "VISp" for session in sessions})
    assert caught.value.result["session"].values.tolist() == [sessions[0].attrs["eid"], sessions[2].attrs["eid"]]
    names = sorted(path.name.split("_")[0] for path in (tmp_path / "sparseness").iterdir())
    assert names == sorted(session.attrs["eid"] for session in (sessions[0], sessions[2]))


def test_of_a_session_that_has_failed_no_more_is_asked(
    sessions: list[xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(population_sparseness, "NEURONS_A_TASK", 8)
    jobs = [
        population_sparseness._Job(session, np.arange(24), True, "hold", tmp_path, False) for session in sessions[:2]
    ]
    plan = population_sparseness._Plan(jobs, lambda *_: None)
    tasks = plan.tasks()
    plan.on_failure(runner.Failure(next(tasks), "no such luck", ""))
    assert [(task.label["eid"], task.label["start"]) for task in tasks] == [(jobs[1].eid, s) for s in (0, 8, 16)]


def test_a_result_that_cannot_be_written_names_the_file(compute: Compute, tmp_path: Path) -> None:
    (tmp_path / "sparseness").touch()
    with pytest.raises(StoreError, match=rf"{tmp_path}/sparseness.*cannot be written \(File exists\)"):
        compute()


def test_traces_that_are_not_finite_take_no_part() -> None:
    """Nor do they cost the others their trials."""
    clock_times = np.arange(100) * 0.2
    signal = np.random.default_rng(0).random((3, 100)).astype(np.float32)
    signal[1, 50] = np.nan
    session = xr.Dataset(
        {"signal": (("roi", "time"), signal), "frame_times": (("fov", "time"), clock_times[None]),
         "fov_index": ("roi", np.zeros(3, dtype=np.int32))}
    )  # fmt: skip
    events = np.array([[5.0, 10.0]])
    every = np.ones((2, 2), dtype=bool)
    events, windows = np.concatenate([events, events]), ((0.0, 0.3), (0.0, 0.3))
    timing = sparseness_parts.Timing(events, windows, every, (0, 1), every)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_stores, "open_session", lambda _: session)
        patch.setattr(session_stores.stores, "reading", lambda *_: contextlib.nullcontext())
        session.encoding["source"] = "nowhere"
        part = sparseness_parts.compute_part("nowhere", np.arange(3), timing, True, "hold")
    assert part.n_neurons == 2
    assert np.isnan(part.rate[:, 1]).all()
    assert np.isfinite(part.rate[:, [0, 2]]).all()


def test_sessions_of_different_sizes_are_padded(compute: Compute, subject: SimulatedSubject) -> None:
    result = compute(3, neurons={subject.eids[1]: np.arange(10)}, neurons_only=False)
    assert result["n_neurons"].values.tolist() == [120, 10, 120]
    assert result["roi"].values[1, :12].tolist() == [*range(10), -1, -1]
    assert np.isnan(result["rate"].values[1, :, 10:]).all()
    assert result["date"].values.tolist() == sorted(result["date"].values.tolist())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, TrackingError, "no session given"),
        ({"sampling": "linear"}, SettingsError, "sampling: 'linear'; expected"),
        ({"neurons": "VISx"}, SettingsError, "no ROI is in 'VISx'"),
        ({"neurons": np.zeros(120, dtype=bool)}, SettingsError, "none of the 120 ROIs .* is left"),
    ],
)
def test_what_cannot_be_computed_is_said(compute: Compute, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        compute(**options)


# figures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client) -> xr.Dataset:
    return sparseness(subject.eids, one=subject.one_dir, client=client)


def test_windows_of_several_sessions_are_dots(result: xr.Dataset) -> None:
    figure = plot_sparseness(result)
    for panel, name in zip(figure.axes, ("n_trials", "duration", "mean_rate", "sparseness"), strict=True):
        assert len(panel.lines) == 3
        for i, line in enumerate(panel.lines):
            np.testing.assert_allclose(line.get_ydata(), result[name].values[i])
    labels = [text.get_text() for text in figure.axes[3].get_xticklabels()]
    assert labels == result["label"].values.tolist()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == result["date"].values.tolist()


def test_windows_of_one_session_are_bars(result: xr.Dataset) -> None:
    eid = str(result["session"].values[1])
    figure = plot_sparseness(result, session=eid)
    heights = [bar.get_height() for bar in figure.axes[3].patches]
    np.testing.assert_allclose(heights, result["sparseness"].sel(session=eid).values)


def test_trials_are_rows_in_their_order(result: xr.Dataset, tmp_path: Path) -> None:
    eid = str(result["session"].values[0])
    figure = plot_sparseness(result, kind="trials", session=eid, save=tmp_path / "trials.svg")
    one = result.sel(session=eid)
    rows = [line for line in figure.axes[0].lines if len(line.get_xdata()) != 2 or line.get_marker() == "o"]
    assert len(rows) == 27
    for row, values in zip(rows, one["trial_sparseness"].values, strict=True):
        trials = np.flatnonzero(np.isfinite(values))
        np.testing.assert_array_equal(row.get_xdata(), trials)
        if len(trials) > 2:
            assert np.corrcoef(row.get_ydata(), values[trials])[0, 1] == pytest.approx(1)
    name = figure.axes[0].get_yticklabels()[4].get_text()
    values = one["trial_sparseness"].sel(window="quiescence").values
    assert name == f"quiescence: {np.nanmean(values):.2f} ({np.isfinite(values).sum()})"
    assert eid in (tmp_path / "trials.svg").read_text()


def test_distributions_count_all_trials_and_cells(result: xr.Dataset) -> None:
    figure = plot_sparseness(result, kind="distributions", window="quiescence")
    by_trial, by_cell = figure.axes
    assert len(by_trial.patches) == len(by_cell.patches) == 3
    for patch in by_trial.patches:
        assert patch.get_data().values.sum() == pytest.approx(1)
    for i, patch in enumerate(by_cell.patches):
        rates = result["rate"].sel(window="quiescence").values[i]
        rates = rates[np.isfinite(rates)]
        shares, edges = patch.get_data().values, patch.get_data().edges
        assert shares.sum() == pytest.approx(np.mean(rates >= edges[0]), abs=1e-3)
        middle = (edges[10], edges[20])
        assert shares[10:20].sum() == pytest.approx(np.mean((rates >= middle[0]) & (rates < middle[1])), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "bars"}, "kind: 'bars' is none of windows"),
        ({"kind": "trials"}, "trials are drawn of one session; name one of"),
        ({"window": "lunch"}, "window: 'lunch' is none of inter_trial"),
        ({"session": "abc"}, "session: 'abc' is none of"),
        ({"axes": [Figure().subplots()]}, "axes: 1 given; kind='windows' takes 4"),
    ],
)
def test_what_cannot_be_drawn_is_said(result: xr.Dataset, options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plot_sparseness(result, **options)


# k* over days -------------------------------------------------------------------------------------------------


def test_k_star_over_days(tmp_path: Path) -> None:
    star = np.array([[4, np.nan, 16], [8, 8, 32]])
    summary = xr.Dataset(
        {
            "k_star": (("target", "session"), star),
            "k_star_low": (("target", "session"), star * 0.5),
            "k_star_high": (("target", "session"), star * 2.0),
            "status": (("target", "session"), [["done"] * 3, ["done"] * 3]),
            "null_valid": ("target", [True, False]),
        },
        {"target": ["choice", "block"], "date": ("session", ["2025-01-13", "2025-01-14", "2025-01-15"])},
        {"subject": "S1", "n_shared": 64, "delta": 0.02, "run": "S1.zarr", "settings": {"R": 12}},
    )
    figure = plot_k_star(summary, save=tmp_path / "k.pdf")
    panel = figure.axes[0]
    legend = panel.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["choice", "block (null invalid)", "no k*"]
    line, _, (bars,) = panel.containers[0]
    np.testing.assert_array_equal(line.get_ydata(), [4, 16])
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], [[2, 8], [8, 32]])
    assert np.diff(line.get_xdata()) == pytest.approx([2])  # days
    crosses = [line for line in panel.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert len(crosses[0].get_xdata()) == 1
    assert panel.get_xlabel() == "day of the session"
    assert panel.get_ylabel() == "k* (neurons)"
    assert b'"settings": {"R": 12}' in (tmp_path / "k.pdf").read_bytes()


# the command line ---------------------------------------------------------------------------------------------


def test_commands(
    subject: SimulatedSubject, result: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, figure = str(subject.one_dir), tmp_path / "figure.png"
    status = main(["sparseness", *subject.eids, "--one", one, "--figure", str(figure)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert f"{float(result['sparseness'].sel(window='quiescence')[0]):.3f}" in captured.out
    assert f"figure   {figure}" in captured.out
    store = load_or_embed(subject.eids[0], one=one, rastermap=False).encoding["source"]
    commands = [
        ["raster", store, "--unsorted", "--start", "30", "--stop", "40", "--events", "stimulus", "--size", "4,3"],
        ["raster", subject.eids[0], "--one", one, "--unsorted", "--whole", "--bg", "none", "--neurons", "VISp"],
        ["xyz", subject.eids[0], "--one", one, "--view", "top", "--colors", "allen"],
    ]
    for command in commands:
        figure.unlink()
        assert main(["plot", *command, "--save", str(figure), "--dpi", "50"]) == 0, capsys.readouterr().err
        assert figure.stat().st_size > 5000


def test_plots_of_runs(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = run(targets=("choice",), ks=(4,), R=3, n_label_shuffles=19)
    path, figure = str(store.path), str(tmp_path / "x.png")
    for command in ([path, figure], ["ndc", path, "--save", figure], ["k-star", path, "--save", figure]):
        assert main(["plot", *command]) == 0, capsys.readouterr().err
        assert f"figure   {figure}" in capsys.readouterr().out
        Path(figure).unlink()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("raster {store} --save nowhere/x.png", "does not exist"),
        ("raster {store} --save {tmp}/x.png --whole --start 3", "--whole does not go with --start"),
        ("xyz {store} --save {tmp}/x.png --size 3", "--size: 1 numbers"),
        ("raster {store} --save {tmp}/x.png --unsorted --events reward", "events: 'reward' is none of"),
        ("pictures", "No such command"),
    ],
)
def test_wrong_usage_is_said(
    sessions: list[xr.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    words = command.format(store=sessions[0].encoding["source"], tmp=tmp_path).split()
    assert main(["plot", *words]) == 2
    assert message in capsys.readouterr().err
