"""What the figures of cross-session runs draw."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from mesodask.errors import DataError, SettingsError
from mesodask.figures import plot_cross_session, plot_generalization_matrix

DATES = ["2025-01-03", "2025-01-04", "2025-01-08", "2025-01-08", "2025-01-20"]
NUMBERS = [1, 1, 1, 2, 1]
NAMES = ["2025-01-03", "2025-01-04", "2025-01-08/001", "2025-01-08/002", "2025-01-20"]
DAYS = [0.0, 1.0, 5.0, 5.3, 17.0]
ACCURACY = [0.9, 0.85, np.nan, 0.7, 0.52]
P = [np.nan, 0.01, np.nan, 0.05, 0.051]
N_TRIALS = [300, 210, 90, 401, 222]
TARGETS = ("choice", "feedback", "stimulus", "block")


def run(seed: int = 0) -> xr.Dataset:
    null = 0.5 + 0.05 * np.random.default_rng(seed).normal(size=(5, 200))
    null[[0, 2]] = np.nan
    return xr.Dataset(
        {
            "accuracy": ("session", ACCURACY),
            "p_value": ("session", P),
            "null_accuracy": (("session", "shuffle"), null),
            "n_trials": ("session", N_TRIALS),
            "fold_accuracy": ("fold", [0.88, 0.9, 0.92]),
        },
        {"session": list("abcde"), "date": ("session", DATES), "number": ("session", NUMBERS)},
        {"subject": "S1", "target": "choice", "picked_fold": 1},
    )


def matrix(n_sessions: int = 4) -> xr.Dataset:
    dims = ("train_session", "test_session")
    accuracy = 0.6 + np.arange(n_sessions**2).reshape(n_sessions, n_sessions) / (3 * n_sessions**2)
    accuracy[1, 2] = np.nan
    p = np.full(accuracy.shape, 0.5)
    p[0, 1] = p[3, 0] = 0.05
    dates = [f"2025-01-{day + 1:02d}" for day in range(n_sessions)]
    return xr.Dataset(
        {"accuracy": (dims, accuracy), "p_value": (dims, p)}, {"date": ("session", dates)}, {"subject": "S1"}
    )


def stars(panel: Axes) -> list[tuple[float, float]]:
    return [text.xy for text in panel.texts if text.get_text() == "*"]  # type: ignore[attr-defined]


def overlapping(texts: Sequence) -> list[tuple[str, str]]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [(a, b) for i, (a, first) in enumerate(boxes) for b, second in boxes[:i] if first.overlaps(second)]


@pytest.mark.parametrize(("x", "places"), [("date", [0, 1, 2, 3, 4]), ("days", DAYS)])
def test_what_is_drawn(x: str, places: list[float]) -> None:
    datasets = {target: run(i) for i, target in enumerate(TARGETS)}
    figure = plot_cross_session(datasets, x=x)  # type: ignore[arg-type]
    assert isinstance(figure, Figure)
    assert [panel.get_title() for panel in figure.axes] == list(TARGETS)
    for panel, dataset in zip(figure.axes, datasets.values(), strict=True):
        by_marker = {line.get_marker(): line for line in panel.get_lines()}
        home, abroad, folds, chance = (by_marker[marker] for marker in ("D", "o", "_", "None"))
        np.testing.assert_array_equal(home.get_xydata(), [[places[0], 0.9]])
        np.testing.assert_array_equal(abroad.get_xdata(), places[1:])
        np.testing.assert_array_equal(abroad.get_ydata(), ACCURACY[1:])
        np.testing.assert_array_equal(folds.get_ydata(), [0.88, 0.9, 0.92])
        assert set(chance.get_ydata()) == {0.5}
        # the least that 19 shuffles can give counts, as in every table, and the home session has no p-value
        assert stars(panel) == [(places[1], 0.85), (places[3], 0.7)]
        (band,) = (c for c in panel.collections if isinstance(c, PolyCollection))
        low, high = np.quantile(dataset["null_accuracy"].values[[1, 3, 4]], [0.025, 0.975], axis=1)
        corners = band.get_paths()[0].vertices
        for place, bottom, top in zip(np.array(places)[[1, 3, 4]], low, high, strict=True):
            at_place = corners[corners[:, 0] == place, 1]
            assert at_place.min() == pytest.approx(bottom)
            assert at_place.max() == pytest.approx(top)
        assert "no score: 2025-01-08/001" in [text.get_text() for text in panel.texts]
        assert panel.get_ylabel() == "accuracy"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "p \u2264 0.05" in labels
    assert "95 % of the null" in labels
    assert figure.get_suptitle() == "S1: 5 sessions, 2025-01-03 to 2025-01-20; trained on 2025-01-03"


def test_what_a_null_that_tests_nothing_finds_is_not_marked() -> None:
    by_kind = {kind: run().assign_attrs(null_kind=kind) for kind in ("permute", "pseudosession")}
    for kind, title, n_stars in (("permute", "block (null invalid: permute)", 0), ("pseudosession", "block", 2)):
        (panel,) = plot_cross_session({"block": by_kind[kind]}).axes
        assert (panel.get_title(), len(stars(panel))) == (title, n_stars)
    figure = plot_generalization_matrix({"block": matrix().assign_attrs(null_kind="permute")})
    assert figure.axes[0].get_title() == "block (null invalid: permute)"
    assert not [text.get_text() for text in figure.axes[0].texts if "*" in text.get_text()]


def test_trials_stand_with_the_dates_or_above_the_days() -> None:
    panel = plot_cross_session({"choice": run()}).axes[0]
    expected = [f"{day} ({n})" for day, n in zip(NAMES, N_TRIALS, strict=True)]
    assert [label.get_text() for label in panel.get_xticklabels()] == expected
    panel = plot_cross_session({"choice": run()}, x="days").axes[0]
    counts = [text for text in panel.texts if text.get_text().isdigit()]
    assert [int(text.get_text()) for text in counts] == N_TRIALS
    assert panel.get_xlabel() == "days since the home session"


@pytest.mark.parametrize("x", ["date", "days"])
@pytest.mark.parametrize("n_repeats", [1, 8])
def test_nothing_that_is_written_overlaps(x: str, n_repeats: int) -> None:
    many = xr.concat(
        [run()] * n_repeats, "session", data_vars="minimal", coords="minimal", compat="override", join="outer"
    )
    figure = plot_cross_session(dict.fromkeys(TARGETS, many.sortby("date")), x=x)  # type: ignore[arg-type]
    FigureCanvasAgg(figure).draw()
    for panel in figure.axes:
        counts = [text for text in panel.texts if text.get_text().isdigit()]
        assert overlapping(counts) == []
        assert overlapping(panel.get_xticklabels()) == []
        edges = panel.get_window_extent()
        assert all(edges.x0 <= text.get_window_extent().x0 <= edges.x1 for text in counts)


def test_sessions_of_one_day_have_names_of_their_own_in_the_matrix() -> None:
    dates = {"date": ("session", DATES[:4]), "number": ("session", NUMBERS[:4])}
    panel = plot_generalization_matrix({"choice": matrix().assign_coords(dates)}).axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == NAMES[:4]


def test_a_single_session_abroad_has_a_band() -> None:
    panel = plot_cross_session(run().isel(session=[0, 1])).axes[0]
    (band,) = panel.collections
    assert np.ptp(band.get_paths()[0].vertices[:, 0]) > 0.5  # type: ignore[index]
    assert panel.get_title() == "choice"


def test_before_any_null_there_is_no_band() -> None:
    unfinished = run()
    unfinished["null_accuracy"][:] = np.nan
    panel = plot_cross_session({"choice": unfinished}).axes[0]
    assert not panel.collections


def test_given_axes_are_drawn_on() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert plot_cross_session({"choice": run(), "block": run()}, axes=axes) is figure
    assert [panel.get_title() for panel in axes] == ["choice", "block"]
    with pytest.raises(SettingsError, match="axes: 1 for 2 targets; give one for each"):
        plot_cross_session({"choice": run(), "block": run()}, axes=axes[:1])


@pytest.mark.parametrize("n_sessions", [4, 60])
def test_the_matrix(n_sessions: int) -> None:
    dataset = matrix(n_sessions)
    figure = plot_generalization_matrix({"choice": dataset, "block": dataset})
    for panel in figure.axes[:2]:
        (image,) = panel.get_images()
        np.testing.assert_array_equal(np.asarray(image.get_array().filled(np.nan)), dataset["accuracy"].values)
        assert image.get_clim() == (0.5, pytest.approx(dataset["accuracy"].max().item()))
        assert len(panel.patches) == n_sessions
        texts = {(text.get_position()[::-1]): text.get_text() for text in panel.texts}
        if n_sessions == 4:
            assert texts[(0, 1)] == f"{100 * dataset['accuracy'].values[0, 1]:.0f}*"
            assert texts[(0, 2)] == f"{100 * dataset['accuracy'].values[0, 2]:.0f}"
            assert (1, 2) not in texts
            assert [label.get_text() for label in panel.get_yticklabels()] == dataset["date"].values.tolist()
        else:
            assert texts == {(0, 1): ".", (3, 0): "."}
        assert (panel.get_ylabel(), panel.get_xlabel()) == ("session trained on", "decoded session")
    assert "trained on each session" in figure.get_suptitle()


def test_figures_are_saved_where_asked_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plot_cross_session(run())
    plot_generalization_matrix({"choice": matrix()})
    assert list(tmp_path.iterdir()) == []
    plot_cross_session(run(), save=tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    plot_generalization_matrix({"choice": matrix()}, save=tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        about = json.loads(image.text["Description"])  # type: ignore[attr-defined]
    assert about["figure"] == "generalization_matrix"
    assert about["targets"] == {"choice": {"subject": "S1"}}
    assert '"picked_fold": 1' in html.unescape((tmp_path / "a.svg").read_text())


def test_a_name_that_cannot_be_saved_is_said_before_anything_is_read(tmp_path: Path) -> None:
    for plot in (plot_cross_session, plot_generalization_matrix):
        with pytest.raises(SettingsError, match="a figure's name ends in"):
            plot({}, save=tmp_path / "a.doc")


@pytest.mark.parametrize("x", ["date", "days"])
def test_a_figure_is_as_large_as_asked(tmp_path: Path, x: str) -> None:
    plot_cross_session(dict.fromkeys(TARGETS, run()), x=x, figsize=(4, 5), dpi=50, save=tmp_path / "a.png")  # type: ignore[arg-type]
    plot_generalization_matrix(dict.fromkeys(TARGETS, matrix()), figsize=(4, 5), dpi=50, save=tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (200, 250)


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(SettingsError, match="x is 'week', expected 'date' or 'days'"):
        plot_cross_session(run(), x="week")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no target to plot"):
        plot_cross_session({})
    with pytest.raises(DataError, match="trained on each session; plot it with plot_generalization_matrix"):
        plot_cross_session({"choice": matrix()})
    with pytest.raises(DataError, match="trained on the first session alone; plot it with plot_cross_session"):
        plot_generalization_matrix({"choice": run()})
