"""What all figures share, and cells in space: what is drawn, and what a saved file says of itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image
from runs import Run

import mesodask
from mesodask import plot_ndc, plot_raster, plot_tracking, plot_xyz
from mesodask.embedding.raster_order import store_order
from mesodask.errors import SettingsError
from mesodask.figures.palette import DISTINCT, region_colors, region_handles
from mesodask.figures.saving import save_figure
from mesodask.numerics.outline import outline
from mesodask.simulate import SimulatedSubject

MM = 1e-3


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Two FOVs of 60 ROIs in three areas, in an order of their own."""
    subject = mesodask.simulate_subject(
        tmp_path_factory.mktemp("space"), n_days=1, n_trials=20, signals=("deconvolved",), seed=4
    )
    session = mesodask.load_or_embed(subject.eids[0], one=subject.one_dir, rastermap=False)
    store_order(Path(session.encoding["source"]), np.random.default_rng(1).permutation(120))
    return session


def order(session: xr.Dataset) -> np.ndarray:
    return mesodask.sessions.order(session)


# cells in space -----------------------------------------------------------------------------------------------


def test_cells_lie_where_they_are_in_mm(session: xr.Dataset) -> None:
    figure = plot_xyz(session, view="top")
    panel = figure.axes[0]
    xyz = session["xyz"].values * MM
    np.testing.assert_allclose(panel.collections[0].get_offsets(), xyz[:, :2])
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("ML (mm, right +)", "AP (mm, anterior +)")
    deep = plot_xyz(session, rows=[3, 4, 110]).axes[0]
    np.testing.assert_allclose(np.stack(deep.collections[0]._offsets3d, axis=1), xyz[[3, 4, 110]])
    assert deep.get_zlabel() == "DV (mm, dorsal +)"


def test_cells_have_the_colours_of_their_regions(session: xr.Dataset) -> None:
    figure = plot_xyz(session, view="top")
    regions = session["region"].values.tolist()
    chosen = region_colors(regions, session["region_color"].values.tolist())
    np.testing.assert_allclose(
        figure.axes[0].collections[0].get_facecolors()[:, :3], [chosen[region] for region in regions]
    )
    names = {text.get_text().split(" ")[0] for text in figure.axes[0].get_legend().get_texts()}
    assert names == set(regions)


def test_cells_have_the_colours_of_their_ranks_or_values(session: xr.Dataset) -> None:
    rank = np.empty(120)
    rank[order(session)] = np.arange(120)
    figure = plot_xyz(session, color="order", view="top", rows="VISp")
    is_visual = session["region"].values == "VISp"
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), rank[is_visual])
    assert figure.axes[1].get_ylabel() == "rank in the Rastermap order"
    values = np.where(np.arange(120) % 4, np.linspace(-1, 3, 120), np.nan)
    for color in (values, values[is_visual]):  # of all, or of those that are drawn
        figure = plot_xyz(session, color=color, label="weight (1/sd)", view="top", rows="VISp", vmax=2)
        nowhere, dots = figure.axes[0].collections[:2]
        assert len(nowhere.get_offsets()) == np.isnan(values[is_visual]).sum()
        np.testing.assert_array_equal(dots.get_array(), values[is_visual][np.isfinite(values[is_visual])])
        assert dots.get_clim()[1] == 2
        assert figure.axes[1].get_ylabel() == "weight (1/sd)"


def test_values_of_both_signs_have_zero_in_the_middle(session: xr.Dataset) -> None:
    dots = plot_xyz(session, color=np.linspace(-1, 3, 120), label="weight", view="top").axes[0].collections[0]
    low, high = dots.get_clim()
    assert low == -high
    assert dots.get_cmap().name == "PuOr"


def test_areas_with_many_cells_are_outlined_and_named(session: xr.Dataset) -> None:
    figure = plot_xyz(session, view="top")
    counts = {name: int((session["region"] == name).sum()) for name in np.unique(session["region"].values)}
    named = [text.get_text() for text in figure.axes[0].texts]
    assert set(named) == {name for name, n in counts.items() if n >= 20}
    visual = session["xyz"].values[session["region"].values == "VISp"][:, :2] * MM
    (drawn,) = [lines for lines in figure.axes[0].collections if lines.get_label() == "VISp"]
    corners = drawn.get_segments()[0]
    assert {tuple(corner) for corner in corners.round(9)} <= {tuple(point) for point in visual.round(9)}
    few = plot_xyz(session, view="top", rows=np.flatnonzero(session["region"].values == "VISp")[:19])
    assert not few.axes[0].texts


def test_names_do_not_overlap(session: xr.Dataset) -> None:
    figure = plot_xyz(session, view="top")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 1
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_outline_of_a_bent_area_is_bent() -> None:
    """A horseshoe: its convex hull would have its mouth inside."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0.3, 2 * np.pi - 0.3, 800), rng.uniform(0.8, 1.0, 800)
    (ring,) = outline(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    x, y = ring.T
    enclosed = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert enclosed == pytest.approx((1 - 0.8**2) * (np.pi - 0.3), rel=0.15)
    np.testing.assert_array_equal(ring[0], ring[-1])


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.zeros((9, 2)), np.stack([np.arange(9.0)] * 2, axis=1)])
def test_points_without_an_area_have_no_outline(points: np.ndarray) -> None:
    assert outline(points) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "regions"}, "color: 'regions'; expected"),
        ({"color": np.zeros(5)}, r"color: values of shape \(5,\); expected one for each of 120"),
        ({"view": "side"}, "view: 'side'; expected"),
        ({"axes": Figure().subplots(), "view": "3d"}, "axes: of the projection 'rectilinear'"),
        ({"rows": [500]}, "row 500 is not in session"),
    ],
)
def test_what_cannot_be_drawn_is_said(session: xr.Dataset, options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plot_xyz(session, **options)


# colours ------------------------------------------------------------------------------------------------------


def test_regions_are_told_apart_as_long_as_colours_last() -> None:
    regions = [f"R{i}" for i in range(30)] + ["void"]
    chosen = region_colors(regions, ["#000000"] * 31)
    assert len({chosen[region] for region in regions[:30]}) == 30
    assert len(DISTINCT) == len(set(DISTINCT))
    handles = region_handles(regions * 2, chosen, most=5)
    assert [handle.get_label() for handle in handles] == ["R0 (2)", "R1 (2)", "R2 (2)", "R3 (2)", "and 27 more (54)"]


# files --------------------------------------------------------------------------------------------------------


def description(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".svg":
        import html

        return html.unescape(content.decode().split("<dc:description>")[1].split("</dc:description>")[0])
    with Image.open(path) as image:
        if path.suffix == ".png":
            return image.text["Description"]
        if path.suffix == ".jpg":
            return image.info["comment"].decode()
        return (image.tag_v2[270]) if path.suffix == ".tif" else image.getexif()[270]


@pytest.mark.parametrize("ending", ["png", "svg", "jpg", "tif", "webp"])
def test_files_tell_what_made_them(session: xr.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cells.{ending}"
    plot_xyz(session, save=path, rows="VISp", dpi=40)
    about = json.loads(description(path))
    assert about["eid"] == session.attrs["eid"]
    assert about["figure"] == "xyz"
    assert about["mesodask_version"] == mesodask.__version__
    plot_raster(session, save=path, interval=(20, 30), dpi=40)
    about = json.loads(description(path))
    assert (about["figure"], about["start"], about["stop"], about["sorted"]) == ("raster", 20, 30, 1)


def test_pdf_tells_it_too_and_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        save_figure(Figure(), tmp_path / name, {"seed": 5})
    assert b'"seed": 5' in (tmp_path / "a.pdf").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()


@pytest.mark.parametrize("name", ["x.eps", "x.ps", "x.svgz", "x.pgf", "x.raw", "x.JPEG", "x.rgba"])
def test_every_format_can_be_saved(tmp_path: Path, name: str) -> None:
    save_figure(Figure(figsize=(1, 1)), tmp_path / name, {"a": np.int64(1), "b": np.arange(3)})
    assert (tmp_path / name).stat().st_size


# curves and tables on given axes ------------------------------------------------------------------------------


def test_curves_and_tables_are_drawn_where_one_wants(run: Run, tracked_table: xr.Dataset, tmp_path: Path) -> None:
    store = run(targets=("choice", "block"), ks=(4,), R=3)
    figure = Figure(figsize=(8, 3))
    panels = figure.subplots(1, 4)
    assert plot_ndc(store, axes=panels[:2]) is figure
    assert [panel.get_title() for panel in panels] == ["choice", "block", "", ""]
    assert plot_tracking(tracked_table, axes=panels[2:]) is figure
    assert len(panels[2].images) == 1
    assert not figure.get_suptitle()
    with pytest.raises(SettingsError, match="axes: 1 for 2 targets"):
        plot_ndc(store, axes=panels[:1])
    assert plot_ndc(store, figsize=(5, 2), save=tmp_path / "ndc.png", dpi=50).get_size_inches().tolist() == [5, 2]
    about = json.loads(description(tmp_path / "ndc.png"))
    assert about["run"] == str(store.path)
    assert about["settings"]["R"] == 3
    plot_tracking(tracked_table, figsize=(6, 3), save=tmp_path / "days.png", dpi=50)
    assert json.loads(description(tmp_path / "days.png"))["sessions"] == tracked_table["session"].values.tolist()


@pytest.fixture
def tracked_table(subject: SimulatedSubject) -> xr.Dataset:
    return mesodask.tracking_table(subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root)
