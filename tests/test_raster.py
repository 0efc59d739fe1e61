"""Rasters: what is binned, against brute force; what is drawn; and the wheel, against its filter's formula."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mesodask import load_or_embed, plot_raster, raster, sessions, simulate_subject
from mesodask.errors import SettingsError, StoreError
from mesodask.figures.palette import region_colors
from mesodask.figures.raster import band_colors
from mesodask.numerics import wheel
from mesodask.numerics.raster import frames_of_columns
from mesodask.numerics.scaling import percentile_scale
from mesodask.numerics.windows import FrameClock


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Two FOVs with bad frames and a gap, in Rastermap order."""
    subject = simulate_subject(
        tmp_path_factory.mktemp("raster"),
        n_days=1,
        n_trials=90,
        rois_per_fov=(30, 25),
        gap=6.0,
        bad_frames=0.03,
        seed=3,
    )  # fmt: skip
    return load_or_embed(subject.eids[0], one=subject.one_dir)


def scaled(trace: NDArray) -> NDArray:
    low, high = np.percentile(trace, (20, 99))
    return (trace - low) / (high - low)


def brute_force(session: xr.Dataset, image: xr.Dataset) -> NDArray:
    """Look every pixel's frames up, one ROI after the other."""
    edges = image["edges"].values
    n_bands, n_columns = image["activity"].shape
    pixels: list[list[list[float]]] = [[[] for _ in range(n_columns)] for _ in range(n_bands)]
    fov_index, all_delays = session["fov_index"].values, session["roi_delay"].values
    for roi, band in zip(image["roi"].values, image["band"].values, strict=True):
        fov = fov_index[roi]
        good = ~session["bad_frame"].values[fov]
        delay = np.median([all_delays[other] for other in image["roi"].values if fov_index[other] == fov])
        times = session["frame_times"].values[fov]
        period = np.median(np.diff(times))
        times = times[good] + delay
        trace = session["signal"].values[roi][good].astype(float)
        trace = scaled(trace)
        for column in range(n_columns):
            start, stop = edges[column : column + 2]
            inside = (times >= start) & (times < stop)
            if inside.any():
                pixels[band][column].append(trace[inside].mean())
                continue
            before = np.flatnonzero(times <= (start + stop) / 2)
            if not len(before):
                continue
            last = before[-1]
            end = times[last + 1] if last + 1 < len(times) else times[last] + period
            if end - times[last] <= 2.2 * period and (start + stop) / 2 < end:
                pixels[band][column].append(trace[last])
    return np.array([[np.mean(values) if values else np.nan for values in row] for row in pixels])


@pytest.mark.parametrize("size", [(7, 40), (55, 900)], ids=["coarse", "finer than frames"])
@pytest.mark.parametrize("whole", [True, False])
def test_pixels_are_means_over_their_rois_and_frames(session: xr.Dataset, size: tuple[int, int], whole: bool) -> None:
    gap = session.attrs["gaps_s"]["FOV_00"][0]
    interval = "session" if whole else (gap[0] - 12.3, gap[1] + 7.9)
    image = raster.raster_image(session, interval=interval, n_bands=size[0], n_columns=size[1])
    expected = brute_force(session, image)
    assert np.isnan(expected).any() or (whole and size[1] == 40)
    np.testing.assert_allclose(image["activity"].values, expected, atol=1e-5)
    assert image["roi"].values.tolist() == sessions.order(session).tolist()


def test_rows_keep_their_rastermap_rank(session: xr.Dataset) -> None:
    rows = np.array([50, 3, 17, 29, 31])
    image = raster.raster_image(session, rows=rows, n_bands=100, n_columns=20)
    order = sessions.order(session).tolist()
    assert image["roi"].values.tolist() == sorted(rows.tolist(), key=order.index)
    assert image.sizes["band"] == 5  # a band an ROI, however many dots there are
    unsorted = raster.raster_image(session, rows=rows, n_bands=100, n_columns=20, sort=False)
    assert unsorted["roi"].values.tolist() == rows.tolist()
    by_roi = {
        int(roi): image["activity"].values[band]
        for roi, band in zip(image["roi"].values, image["band"].values, strict=True)
    }
    for band, roi in enumerate(rows):
        np.testing.assert_array_equal(unsorted["activity"].values[band], by_roi[roi])


def test_rate_is_the_mean_activity_of_a_band(session: xr.Dataset) -> None:
    image = raster.raster_image(session, interval=(60.0, 120.0), n_bands=5, n_columns=3000)
    times = session["frame_times"].values
    signal = session["signal"].values
    inside = [(t >= 60) & (t < 120) for t in times]
    mean = np.array([signal[roi, inside[fov]].mean() for roi, fov in enumerate(session["fov_index"].values)])
    expected = [mean[image["roi"].values[image["band"].values == band]].mean() for band in range(5)]
    np.testing.assert_allclose(image["rate"].values, expected, rtol=0.03)  # of half a frame at each end


def test_default_is_a_minute_from_a_third_on(session: xr.Dataset) -> None:
    times = session["frame_times"].values
    start, stop = raster.resolve_interval(session)
    assert start == pytest.approx(times.min() + np.ptp(times) / 3)
    assert stop == pytest.approx(start + 60)
    assert raster.resolve_interval(session, "session") == (times.min(), times.max())
    assert raster.resolve_interval(session, (-5.0, 30.0)) == (times.min(), 30.0)


@pytest.mark.parametrize("interval", [(30, 30), (1e6, 2e6), "all", 5, (1, 2, 3)])
def test_impossible_intervals_are_refused(session: xr.Dataset, interval: object) -> None:
    with pytest.raises(SettingsError, match=r"interval: .*expected"):
        raster.resolve_interval(session, interval)  # type: ignore[arg-type]


def test_scaling_of_awkward_traces() -> None:
    rng = np.random.default_rng(0)
    dense, sparse = rng.normal(size=500), np.where(rng.random(500) < 0.1, rng.random(500), 0.0)
    rare = np.zeros(500)
    rare[7] = 3.0
    holed = np.where(rng.random(500) < 0.2, np.nan, dense)
    traces = np.stack([dense, sparse, holed, rare, np.full(500, 2.0), np.full(500, np.nan)]).astype(np.float32)
    offset, gain = percentile_scale(traces)
    low, high = np.nanpercentile(traces[:3].astype(float), (20, 99), axis=1)
    np.testing.assert_allclose(offset[:3], low, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(1 / gain[:3], high - low, rtol=1e-6)
    assert (offset[3], gain[3]) == (0.0, pytest.approx(1 / 3))  # active in less than 1 %: its largest sample is 1
    assert (offset[4], gain[4]) == (2.0, 0.0)
    assert np.isnan([offset[5], gain[5]]).all()
    some = np.arange(0, 500, 3)
    np.testing.assert_allclose(percentile_scale(traces, some), percentile_scale(traces[:, some]))


def test_columns_before_and_after_the_recording_are_empty() -> None:
    clock = FrameClock.of(np.arange(10) * 0.2)
    first, stop = frames_of_columns(clock, np.array([-1.0, -0.5, 0.0, 1.8, 1.9, 2.0, 2.2]))
    assert (stop - first).tolist() == [0, 0, 9, 1, 1, 0]


# the wheel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [2.0, 15.0, 20.0, 30.0])
def test_velocity_is_the_filters(frequency: float) -> None:
    """A Butterworth filter of order 8, both ways, has the gain 1 / (1 + (w / wc)^16), w warped by the bilinear map."""
    fs = 250.0
    t = np.arange(5000) / fs
    found = wheel.velocity_filtered(np.sin(2 * np.pi * frequency * t), fs)[1000:4000]
    warped = np.tan(np.pi * frequency / fs) / np.tan(np.pi * 20 / fs)
    gain = 1 / (1 + warped**16)
    # the difference of neighbours lies half a sample before the later one
    expected = (
        gain * 2 * fs * np.sin(np.pi * frequency / fs) * np.cos(2 * np.pi * frequency * (t - 0.5 / fs))[1000:4000]
    )
    np.testing.assert_allclose(found, expected, atol=1e-6 * 2 * np.pi * frequency)


def test_brainbox_gives_the_same(session: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ibllib is installed (``pip install mesodask[brainbox]``, with pandas below 3)."""
    theirs = pytest.importorskip("brainbox.behavior.wheel", reason="ibllib is not installed", exc_type=ImportError)
    assert raster.behavior.brainbox_wheel() is theirs
    with_brainbox = raster.wheel_velocity(session, "session")
    monkeypatch.setattr(raster.behavior, "brainbox_wheel", lambda: None)
    xr.testing.assert_allclose(with_brainbox, raster.wheel_velocity(session, "session"), rtol=0, atol=1e-9)


def test_velocity_of_a_session_follows_its_wheel(session: xr.Dataset) -> None:
    """Integrated, it gives the way back that the wheel went."""
    velocity = raster.wheel_velocity(session, "session")
    assert velocity is not None
    samples = sessions.wheel(session)
    assert samples is not None
    times, position = samples["times"].values, samples["position"].values
    way = np.cumsum(velocity.values) / raster.WHEEL_FREQUENCY
    at = velocity["time"].values
    expected = np.interp(at, times, position) - np.interp(at[0], times, position)
    np.testing.assert_allclose(way, expected, atol=0.05)  # an edge of a movement is rounded by the filter
    part = raster.wheel_velocity(session, (100.0, 130.0))
    assert part is not None
    xr.testing.assert_equal(part, velocity.sel(time=slice(100.0, 130.0)))


# the figure ---------------------------------------------------------------------------------------------------


def images(figure: Figure) -> list[NDArray]:
    return [np.asarray(image.get_array()) for image in figure.axes[1].images]


def test_figure_shows_activity_wheel_and_regions(session: xr.Dataset, tmp_path: Path) -> None:
    figure = plot_raster(session, interval=(60, 110), events=("stimulus", "feedback"), save=tmp_path / "raster.png")
    wheel_panel, panel = figure.axes[:2]
    background, activity = images(figure)
    image = raster.raster_image(session, interval=(60, 110), n_bands=activity.shape[0], n_columns=activity.shape[1])
    np.testing.assert_array_equal(activity, image["activity"].values)
    assert activity.shape[0] == session.sizes["roi"]  # fewer than dots
    # one image for all bands, each the colour of its ROI's region
    chosen = region_colors(image["region"].values.tolist(), image["region_color"].values.tolist())
    np.testing.assert_allclose(background[:, 0], [chosen[region] for region in image["region"].values])
    assert not panel.patches
    legend = panel.get_legend()
    assert legend is not None
    counts = {name: int((session["region"] == name).sum()) for name in np.unique(session["region"].values)}
    assert {text.get_text() for text in legend.get_texts()} == {f"{name} ({n})" for name, n in counts.items()}
    velocity = raster.wheel_velocity(session, (60, 110))
    assert velocity is not None
    np.testing.assert_array_equal(wheel_panel.lines[0].get_xydata(), np.stack([velocity["time"], velocity], axis=1))
    assert panel.get_xlim() == wheel_panel.get_xlim() == (60, 110)
    assert panel.get_xlabel() == "time (s)"
    assert "rad/s" in wheel_panel.get_ylabel()
    stimuli, feedbacks = panel.collections
    table = sessions.trials(session)
    for marks, column in ((stimuli, "stimOn_times"), (feedbacks, "feedback_times")):
        times = table[column].values
        found = [segment[0, 0] for segment in marks.get_segments()]
        assert found == times[(times >= 60) & (times <= 110)].tolist()
    assert (tmp_path / "raster.png").read_bytes().startswith(b"\x89PNG")


def test_bands_mix_the_colours_of_their_rois(session: xr.Dataset) -> None:
    image = raster.raster_image(session, n_bands=4, n_columns=5)
    colors = {name: (float(i == 0), float(i == 1), float(i >= 2)) for i, name in enumerate(set(image["region"].values))}
    mixed = band_colors(image, colors)
    assert mixed.shape == (4, 1, 3)
    for band in range(4):
        names = image["region"].values[image["band"].values == band]
        np.testing.assert_allclose(mixed[band, 0], np.mean([colors[name] for name in names], axis=0))


def test_background_of_mean_activity_has_a_colour_bar(session: xr.Dataset) -> None:
    figure = plot_raster(session, bg="firing_rate", rows=[1, 5, 9])
    background, activity = images(figure)
    image = raster.raster_image(session, rows=[1, 5, 9], n_bands=3, n_columns=activity.shape[1])
    np.testing.assert_array_equal(background[:, 0], image["rate"].values)
    assert [axes.get_ylabel() for axes in figure.axes if "a.u." in axes.get_ylabel()] == [
        "mean deconvolved activity in the interval (a.u.)"
    ]
    assert figure.axes[1].get_legend() is None
    assert len(images(plot_raster(session, bg=None))) == 1


def test_given_axes_are_drawn_on(session: xr.Dataset) -> None:
    figure = Figure(figsize=(6, 4))
    wheel_panel, panel = figure.subplots(2, 1)
    assert plot_raster(session, axes=(wheel_panel, panel), colors="allen", bg="regions") is figure
    assert len(panel.images) == 2
    chosen = region_colors(["MOs"], ["#123456"], "allen")
    assert chosen == {"MOs": (0x12 / 255, 0x34 / 255, 0x56 / 255)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bg": "region"}, "bg: 'region'; expected"),
        ({"events": ("reward",)}, "events: 'reward' is none of stimulus"),
        ({"colors": "pink"}, "colors: 'pink'; expected"),
        ({"rows": "VISx"}, "no ROI is in 'VISx'"),
        ({"save": "nowhere/x.png"}, "does not exist"),
    ],
)
def test_what_cannot_be_drawn_is_said(session: xr.Dataset, options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plot_raster(session, **options)


def test_no_order_is_said_and_not_made_up(subject: object, sessions: list[xr.Dataset]) -> None:
    with pytest.raises(StoreError, match="order"):
        plot_raster(sessions[0])
    figure = plot_raster(sessions[0].encoding["source"], sort=False)
    assert figure.axes[1].get_ylabel() == "ROIs, as they are given"
