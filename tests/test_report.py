"""The report of a run as a person meets it: opened in a real browser, without a network."""

import itertools
import json
import re
import resource
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import browser
import numpy as np
import pytest
import xarray as xr
import zarr
from browser import Browser
from distributed import Client

from mesodask import (
    cross_session,
    cross_session_table,
    k_star,
    neuron_dropping_curves,
    plot_cross_session,
    plot_k_star,
    plot_ndc,
    summarize,
    tracking_table,
    write_report,
)
from mesodask.cli import main
from mesodask.compute import runner
from mesodask.errors import SettingsError, StoreError
from mesodask.figures import plot_generalization_matrix
from mesodask.figures.report import words
from mesodask.figures.report.command import held_settings, recipe
from mesodask.io.crossstore import CrossSessionStore
from mesodask.io.runstore import RunStore
from mesodask.runs.counts import TargetStatus
from mesodask.sessions import trials
from mesodask.simulate import SimulatedSubject
from mesodask.status import RunStatus

DASH = "\N{EN DASH}"
CURVES = ("mean", "low", "high", "null_mean", "null_low", "null_high", "p", "n_resamples")
SIZES = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
HARM = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>&amp;</style>\"'"


@pytest.fixture(scope="module")
def cache(sessions: list[xr.Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of this file's runs, with the subject's session stores."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "data").mkdir()
    for session in sessions:
        source = Path(session.encoding["source"])
        (folder / "data" / source.name).symlink_to(source)
    return folder


@pytest.fixture(scope="module")
def finished(subject: SimulatedSubject, cache: Path, client: Client) -> RunStore:
    """Three sessions and three targets, with a null that is invalid for one, and a session that is skipped in it."""
    # blocks begin after ninety trials
    mask = np.arange(240) < 90
    return neuron_dropping_curves(
        subject.eids, one=subject.one_dir, cache_dir=cache, roicat_root=subject.roicat_root, client=client,
        targets=("choice", "stimulus", "block"), ks=(2, 4, 8, 16, 32), R=6, n_label_shuffles=19, null="permute",
        trial_mask={subject.eids[1]: mask}, equalize_trials=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def summary(finished: RunStore) -> xr.Dataset:
    return summarize(finished)


@pytest.fixture(scope="module")
def across(subject: SimulatedSubject, cache: Path, client: Client) -> CrossSessionStore:
    return cross_session(
        subject.eids, one=subject.one_dir, cache_dir=cache, roicat_root=subject.roicat_root, client=client,
        targets="choice", min_sessions=3, min_k_shared=10, n_shuffle=19, C=(0.1, 1.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(
    finished: RunStore, across: CrossSessionStore, subject: SimulatedSubject, sessions: list[xr.Dataset],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    table = tracking_table(subject.subject, one=subject.one_dir, roicat_root=subject.roicat_root)
    file = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(finished, file, cross_session=across, tracking=table, sessions=sessions[:2])


@pytest.fixture(scope="module")
def window(lacking: Callable[[str, str], NoReturn]) -> Iterator[Browser]:
    if browser.missing():
        lacking("chromium", browser.missing())
    with browser.chromium() as window:
        yield window


def look(window: Browser, page: Path, width: int = 1280, scheme: str = "light") -> Browser:
    """Open a page as wide as this, and wait until it is drawn."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    window.resize(width, 900)
    window.open(page.as_uri())
    window.wait_for(lambda: window.run("return document.querySelectorAll('.plot svg').length"))
    return window


@pytest.fixture
def opened(window: Browser, page: Path) -> Browser:
    return look(window, page)


def at(summary: xr.Dataset, target: str, session: int, k: int) -> dict[str, float]:
    one = summary.sel(target=target, k=k).isel(session=session)
    return {name: float(one[name]) for name in CURVES}


# what it says -------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_summary(page: Path, summary: xr.Dataset) -> None:
    """To the last bit in what is drawn."""
    text = re.search(r'id="curves-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert text
    drawn = json.loads(text[1])
    assert drawn["k"] == summary["k"].values.tolist()
    assert [session["label"] for session in drawn["sessions"]] == summary["date"].values.tolist()
    assert [target["name"] for target in drawn["targets"]] == summary["target"].values.tolist()
    for target in drawn["targets"]:
        one = summary.sel(target=target["name"])
        for name in (*CURVES, "k_star"):
            np.testing.assert_array_equal(np.array(target[name], dtype=float), one[name].values)


def cells(window: Browser, table: str) -> list[list[str]]:
    return window.run(
        f"return [...document.getElementById('{table}').tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent))"
    )


def test_results_are_those_of_the_summary(opened: Browser, summary: xr.Dataset) -> None:
    rows = iter(cells(opened, "results-table"))
    for target in summary["target"].values.tolist():
        for session in range(3):
            one = summary.sel(target=target).isel(session=session)
            found = next(rows)
            assert found[:2] == [target, one["date"].item()]
            if one["status"].item() == "skipped":
                assert found[2:] == [DASH] * 9 + ["skipped"]
                continue
            star = one["k_star"].item()
            mark = " !" if target == "block" else ""
            assert found[2] == str(one["n_trials"].item())
            assert found[4] == f"{one['ceiling'].item():.3f}"
            assert found[5] == (DASH if np.isnan(star) else f"{star:.0f} ({one['k_star_low'].item():.0f}{DASH}"
                                f"{one['k_star_high'].item():.0f}){mark}")  # fmt: skip
            assert found[6] == f"{one['p_largest'].item():.2g}{mark}"
            assert found[8] == (DASH if target == "block" else f"{one['q'].item():.2g}")
            assert found[9:11] == ["19", "6"]
    assert next(rows, None) is None


def test_what_is_to_be_kept_in_mind_stands_where_it_belongs(opened: Browser, summary: xr.Dataset) -> None:
    remarks = opened.run("return document.getElementById('caveats').textContent")
    assert "null permute is invalid for block" in remarks
    assert "shuffled folds leak slow drift" in remarks
    cards = opened.run("return [...document.querySelectorAll('.card')].map(c => c.textContent)")
    assert "Not tested: the null (permute) is not valid for block." in cards[2]
    above = int((summary["q"].sel(target="choice") <= 0.05).sum())
    assert f"Above chance in {above} of 3 sessions" in cards[0]
    notes = opened.run("return [...document.querySelectorAll('.panel')].map(c => c.textContent)")
    assert "Skipped: " in notes[2]
    assert "Skipped: " not in notes[0]
    assert not opened.run("return document.getElementById('state') !== null")


def test_trials_are_counted_by_reason(
    opened: Browser, sessions: list[xr.Dataset], finished: RunStore, summary: xr.Dataset
) -> None:
    """Against the trials tables themselves."""
    rows = {(row[0], row[1]): row[2:] for row in cells(opened, "trials-table")}
    for session, dataset in enumerate(sessions):
        table = trials(dataset)
        date = str(summary["date"].values[session])
        outside = table["probabilityLeft"].values == 0.5
        n_trials = table.sizes["trial"]
        kept = int((~outside).sum())
        if session != 1:
            decoded = 2 * min((table["probabilityLeft"].values == side).sum() for side in (0.2, 0.8))
            assert rows["block", date] == [
                str(n_trials), str(kept), str(decoded), f"{outside.sum()}: outside the biased blocks"
            ]  # fmt: skip
        else:
            assert rows["block", date][:3] == [str(n_trials), "0", "0"]
            assert rows["block", date][3].startswith(
                f"{n_trials - 90}: left out by trial_mask; 90: outside the biased blocks; skipped: "
            )
            assert rows["choice", date][3].startswith(f"{n_trials - 90}: left out by trial_mask")


def test_across_sessions(opened: Browser, across: CrossSessionStore) -> None:
    """Against the run's dataset; p by counting."""
    dataset, rows = across.dataset("choice"), cells(opened, "across-table")
    assert [row[2] for row in rows] == dataset["date"].values.tolist()
    for row, accuracy, null in zip(rows, dataset["accuracy"].values, dataset["null_accuracy"].values, strict=True):
        assert row[5] == f"{accuracy:.3f}"
        at_home = np.isnan(null).all()
        assert row[9] == (DASH if at_home else f"{(1 + (null >= accuracy).sum()) / 20:.2g}")
    assert rows[1][10] == f"{cross_session_table(across)['q'][1]:.2g}"
    assert opened.run("return document.querySelectorAll('#across img').length") == 1


def test_rasters_of_the_sessions_that_were_given(opened: Browser, sessions: list[xr.Dataset]) -> None:
    alts = opened.run("return [...document.querySelectorAll('#activity img')].map(i => i.alt)")
    assert [session.attrs["date"] in alt for session, alt in zip(sessions[:2], alts, strict=True)] == [True, True]
    assert "120 ROIs, in the order of the store" in alts[0]  # these stores have no Rastermap order
    assert opened.run("return [...document.images].every(i => i.complete && i.naturalWidth > 300)")


def test_settings_and_targets(opened: Browser, finished: RunStore) -> None:
    table = {row[0]: row[1:] for row in cells(opened, "settings-table")}
    assert set(table) == set(finished.attrs["settings"])
    assert table["ks"] == ["2, 4, 8, 16, 32", "set for this run", table["ks"][2]]
    assert table["cv_splits"] == ["5", "", "Number of folds."]
    assert all(row[2] for row in table.values())
    assert cells(opened, "targets-table")[0] == [
        "choice", "mouse reports left (1) or right (0)", "firstMovement_times", "-0.1 to 0 s", "permute"
    ]  # fmt: skip


def test_a_run_that_is_not_finished_says_so(
    subject: SimulatedSubject, run: Callable[..., RunStore], tmp_path: Path
) -> None:
    store = run(targets="choice", R=6)
    assert 'id="state"' not in write_report(store).read_text()
    with store.writing():
        store.reserve("choice", subject.eids, (4, 16), 12, 19, definition=store.sessions("choice").attrs["definition"])
    page = write_report(store)
    assert page == store.path.with_suffix(".html")
    assert "This run is not finished: 50% of" in page.read_text()


def test_what_is_not_finished_is_not_100_percent() -> None:
    status = RunStatus(Path("run.zarr"), "S1", (TargetStatus("choice", total=1000, done=999, left=1),), None)
    assert "This run is not finished: 99% of" in words.state(status)


# what it does in a browser ------------------------------------------------------------------------------------------


def keys(texts: list[str], kind: str) -> list[Any]:
    """What a reader sorts a column by: numbers by the first in the text; None for a dash."""
    if kind != "number":
        return [text.lower() for text in texts]
    return [None if text == DASH else float(re.match(r"[\d.]+(e-\d+)?", text)[0]) for text in texts]  # type: ignore[index]


@pytest.mark.parametrize("table", ["results-table", "points-table", "across-table", "trials-table", "settings-table"])
def test_tables_sort_by_every_column(opened: Browser, table: str) -> None:
    opened.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    kinds = opened.run(f"return [...document.querySelectorAll('#{table} th')].map(h => h.className)")
    before = cells(opened, table)
    for column, kind in enumerate(kinds):
        for down in (False, True):
            head = f"document.querySelectorAll('#{table} th')[{column}]"
            opened.run(f"{head}.querySelector('button').click()")
            assert opened.run(f"return {head}.ariaSort") == ("descending" if down else "ascending")
            after = cells(opened, table)
            assert sorted(after) == sorted(before)  # whole rows move
            if kind == "words":
                continue
            found = keys([row[column] for row in after], kind)
            there = [key for key in found if key is not None]
            assert found == sorted(there, reverse=down) + [None] * (len(found) - len(there)), column


def shown(window: Browser) -> list[list[int]]:
    """Sessions that each panel shows."""
    return window.run(
        "return [...document.querySelectorAll('.plot')].map(p => [...p.querySelectorAll('.session')]"
        ".filter(g => g.querySelector('.mean')?.getClientRects().length).map(g => Number(g.dataset.session)))"
    )


def press(window: Browser, name: str) -> None:
    window.run(f"[...document.querySelectorAll('.legend button')].find(b => b.textContent == '{name}').click()")


def test_sessions_switch_on_and_off(opened: Browser, summary: xr.Dataset) -> None:
    first, second, _ = summary["date"].values.tolist()
    assert shown(opened) == [[0, 1, 2], [0, 1, 2], [0, 2]]  # the second is skipped in block
    press(opened, first)
    assert shown(opened) == [[1, 2], [1, 2], [2]]
    pressed = "return [...document.querySelectorAll('.legend button')].map(b => b.ariaPressed)"
    assert opened.run(pressed)[:3] == ["false", "true", "true"]
    press(opened, "none")
    assert shown(opened) == [[], [], []]
    press(opened, second)
    assert shown(opened) == [[1], [1], []]
    press(opened, "all")
    assert shown(opened) == [[0, 1, 2], [0, 1, 2], [0, 2]]


def tip(window: Browser, target: int) -> list[str]:
    found = window.run(
        f"const tip = document.querySelectorAll('.plot')[{target}].querySelector('.tip');"
        "return tip.hidden ? [] : [...tip.children].map(c => c.textContent)"
    )
    return found or []


def lines(summary: xr.Dataset, target: str, session: int, k: int) -> list[str]:
    """What a person should read of a point."""
    one = at(summary, target, session, k)
    star = summary["k_star"].sel(target=target).isel(session=session).item()
    return [
        str(summary["date"].values[session]),
        f"{k} neurons" + (" (k*)" if k == star else ""),
        f"AUC {one['mean']:.3f}",
        f"95 % of resamples {one['low']:.3f} to {one['high']:.3f}",
        f"95 % of null means {one['null_low']:.3f} to {one['null_high']:.3f}",
        f"p {one['p']:.2g}" + (", null not valid" if target == "block" else ""),
        f"{one['n_resamples']:.0f} resamples",
    ]


def move_mouse(window: Browser, x: float, y: float) -> None:
    window.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})


def test_pointing_at_a_line_tells_its_numbers(opened: Browser, summary: xr.Dataset) -> None:
    ks = summary["k"].values.tolist()
    for target, session in ((0, 0), (1, 2), (2, 2)):
        press(opened, "none")
        press(opened, str(summary["date"].values[session]))
        for k in (ks[0], ks[2], ks[-1]):
            x, y = opened.run(
                f"const plot = document.querySelectorAll('.plot')[{target}]; plot.scrollIntoView({{block: 'center'}});"
                f"const marks = plot.querySelectorAll('.session')[{session}].querySelectorAll('circle');"
                f"const box = marks[{ks.index(k)}].getBoundingClientRect();"
                "return [box.x + box.width / 2, box.y + box.height / 2]"
            )
            move_mouse(opened, x + 1, y - 2)
            name = str(summary["target"].values[target])
            assert tip(opened, target) == lines(summary, name, session, k)
    move_mouse(opened, 1, 1)
    assert tip(opened, 2) == []


def test_pointing_chooses_the_nearest_line(opened: Browser, summary: xr.Dataset) -> None:
    means = summary["mean"].sel(target="choice", k=2).values
    highest = int(means.argmax())
    x, y = opened.run(
        "const plot = document.querySelector('.plot'); plot.scrollIntoView({block: 'center'});"
        f"const box = plot.querySelectorAll('.session')[{highest}].querySelector('circle').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]"
    )
    move_mouse(opened, x, y - 3)
    assert tip(opened, 0)[0] == str(summary["date"].values[highest])


def test_keys_read_the_curves(opened: Browser, summary: xr.Dataset) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    ks = summary["k"].values.tolist()
    plot = opened.driver.find_elements(By.CSS_SELECTOR, ".plot")[2]
    plot.send_keys(Keys.ARROW_RIGHT)
    assert tip(opened, 2) == lines(summary, "block", 0, ks[-1])
    plot.send_keys(Keys.ARROW_DOWN)  # the second session is skipped
    assert tip(opened, 2) == lines(summary, "block", 2, ks[-1])
    plot.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert tip(opened, 2) == lines(summary, "block", 2, ks[-3])
    plot.send_keys(Keys.ESCAPE)
    assert tip(opened, 2) == []


VISIBLE = """
const texts = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode, element = node.parentElement;
  const unseen = 'script, style, noscript, .unseen, [hidden], details:not([open]) > :not(summary)';
  if (!node.data.trim() || element.closest(unseen)) continue;
  const range = document.createRange(); range.selectNodeContents(node);
  const clip = element.closest('.scroll, pre')?.getBoundingClientRect();
  for (const box of range.getClientRects()) {
    const right = clip ? Math.min(box.right, clip.right) : box.right;
    const {left, top, bottom} = box;
    if (box.width && right > left) texts.push({text: node.data.trim(), element, left, right, top, bottom});
  }
}
"""
SMALLEST = VISIBLE + "return Math.min(...texts.map(t => parseFloat(getComputedStyle(t.element).fontSize)))"
OVERLAPPING = (
    VISIBLE
    + """
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
const found = [];
texts.forEach((a, i) => texts.slice(i + 1).forEach(b => { if (meet(a, b)) found.push([a.text, b.text]); }));
return found"""
)
OUTSIDE = VISIBLE + "return texts.filter(t => t.right > innerWidth + 1 || t.left < -1).map(t => t.text)"
CONTRAST = (
    VISIBLE
    + """
const channels = text => text.match(/[\\d.]+/g).map(Number);
const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = channels(getComputedStyle(e).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const ratio = t => {
  const style = getComputedStyle(t.element);
  const ink = light(channels(t.element.namespaceURI.endsWith('svg') ? style.fill : style.color));
  const paper = light(behind(t.element));
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
};
return texts.map(t => [ratio(t), t.text]).reduce((a, b) => a[0] < b[0] ? a : b)"""
)


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_legible(window: Browser, page: Path, width: int, scheme: str) -> None:
    """Nothing too small, too pale, upon each other or outside, and no page that must be scrolled sideways."""
    look(window, page, width, scheme)
    assert window.run("return document.documentElement.scrollWidth") <= width
    assert window.run(SMALLEST) >= 12
    assert window.run(OVERLAPPING) == []
    assert window.run(OUTSIDE) == []
    contrast, text = window.run(CONTRAST)
    assert contrast >= 4.5, text


@pytest.mark.parametrize("width", [1280, 400])
def test_the_tip_stays_within_the_page(window: Browser, page: Path, width: int) -> None:
    look(window, page, width)
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        window.run(f"document.querySelector('.plot').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
        left, right = window.run(
            "const b = document.querySelector('.tip').getBoundingClientRect(); return [b.left, b.right]"
        )
        assert left >= 0
        assert right <= width


def test_accessible_to_who_cannot_see_it(opened: Browser) -> None:
    assert opened.run("return [...document.images].every(i => i.alt.length > 20)")
    assert opened.run("return document.images.length") >= 1
    assert opened.run("return [...document.querySelectorAll('th')].every(h => h.scope == 'col')")
    assert opened.run("return [...document.querySelectorAll('table')].every(t => t.caption.textContent)")
    assert opened.run(
        "return [...document.querySelectorAll('.plot, .scroll')].every(p => p.ariaLabel && p.tabIndex == 0)"
    )
    levels = opened.run("return [...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = opened.run("return [...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash) !== null)")
    assert all(ids)


def test_printed_on_white_and_whole(window: Browser, page: Path) -> None:
    look(window, page, 718, "dark")  # a sheet of A4, without its margins
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})  # fmt: skip
    assert window.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert window.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    assert window.run("return document.documentElement.scrollWidth") <= 718
    assert window.run("return getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_texts_do_no_harm(window: Browser, cache: Path, client: Client) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    data = xr.Dataset(
        {"X": (("trial", "neuron"), rng.normal(size=(60, 4)) + y[:, None]), "y": ("trial", y)}, attrs={"subject": HARM}
    )
    run = neuron_dropping_curves(
        features={"day1": data, "day2": data}, cache_dir=cache, client=client, ks=(2,), R=2, n_label_shuffles=3
    )
    page = write_report(run)
    look(window, page)
    assert window.run("return window.harmed === undefined && document.images.length") == 0
    assert window.run("return document.querySelector('h1').textContent") == f"Neuron-dropping curves of {HARM}"
    assert window.run("return document.title") == f"Neuron-dropping curves of {HARM}"
    script = window.run("return document.getElementById('script').textContent")
    assert "features=..." in script
    assert not window.run("return document.getElementById('command') !== null")


def test_the_browser_met_no_error_and_asked_for_nothing(window: Browser) -> None:
    """Last: it looks back at all that was opened before."""
    assert window.console_errors() == []
    files = {url for url in window.requests() if not url.startswith("data:")}
    assert all(url.startswith("file:///") and url.endswith(".html") for url in files), files


# how to do it again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"neurons": ["VISp", "MOs"], "neurons_only": False, "equalize_trials": False, "metric": "accuracy"},
        {"folds": "contiguous", "gap": 1, "C": 0.25, "shuffle_resamples": 2, "null": "permute", "seed": 3},
    ],
)
def test_the_command_gives_the_same_run(
    run: Callable[..., RunStore], subject: SimulatedSubject, submitted: list[runner.Task],
    capsys: pytest.CaptureFixture[str], options: dict[str, Any],
) -> None:  # fmt: skip
    """Typed again, command and script find the run and compute nothing: settings and all else are the same."""
    store = run(targets=("choice", "feedback"), ks=(4,), R=3, n_label_shuffles=4, **options)
    before, settings = len(submitted), store.attrs["settings"]
    found = recipe(store, subject.one_dir, subject.roicat_root)
    arguments = shlex.split(found.command.replace("\\\n", " "))
    assert arguments[0] == "mesodask"
    assert main(arguments[1:]) == 0
    assert f"run      {store.path}" in capsys.readouterr().out
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(found.python, names)
    assert names["run"].path == store.path
    assert store.attrs["settings"] == settings
    assert len(submitted) == before
    assert found.remarks == []
    assert [path for path in store.path.parent.glob("*.zarr") if path != store.path] == []


def test_a_number_of_neurons_that_was_asked_for_stays_if_it_is_that_of_all(run: Callable[..., RunStore]) -> None:
    n_all = run(targets="choice", ks=(4,), R=2, n_label_shuffles=0).tracked().sizes["neuron"]
    store = run(targets="choice", ks=(4, n_all), R=2, n_label_shuffles=0, C=0.5)
    assert held_settings(store)["ks"] == [4, n_all]


def test_the_command_asks_for_all_that_the_run_holds(run: Callable[..., RunStore], subject: SimulatedSubject) -> None:
    """Of several calls what they asked for together, not what the last one did."""
    run(targets="choice", ks=(4, 16), R=4, n_label_shuffles=5)
    store = run(targets="feedback", ks=(2,), R=2, n_label_shuffles=3)
    found = recipe(store, subject.one_dir, subject.roicat_root).command
    for option in ("--targets choice,feedback", "--ks 2,4,16", "--resamples 4", "--shuffles 5"):
        assert f"{option} \\\n" in found
    assert "--shuffle-resamples" not in found


def test_the_command_gives_the_same_run_across_sessions(
    across: CrossSessionStore, subject: SimulatedSubject, submitted: list[runner.Task],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = recipe(across, subject.one_dir, subject.roicat_root)
    assert main(shlex.split(found.command.replace("\\\n", " "))[1:]) == 0
    assert f"run      {across.path}" in capsys.readouterr().out
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(found.python, names)
    assert names["run"].path == across.path
    assert submitted == []


def test_what_a_command_cannot_say_is_said(finished: RunStore, page: Path) -> None:
    found = recipe(finished)
    assert found.command == ""
    assert "trial_mask=...," in found.python
    assert any("trial_mask" in line for line in found.remarks)
    assert any("roicat_root" in line for line in found.remarks)
    assert finished.path.stem in page.read_text()


# the file -----------------------------------------------------------------------------------------------------------


def test_whole_or_not_at_all(finished: RunStore, tmp_path: Path) -> None:
    """A disk that is full in the middle leaves the page that was there, and nothing else."""
    page = tmp_path / "page.html"
    page.write_text("the old page")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"page\.html: File too large; it is not written"):
            write_report(finished, page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [page]
    assert page.read_text() == "the old page"


def test_errors_are_words(finished: RunStore, across: CrossSessionStore, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ends in one of"):
        write_report(finished, tmp_path / "report.pdf")
    with pytest.raises(SettingsError, match="does not exist"):
        write_report(finished, tmp_path / "nowhere" / "report.html")
    with pytest.raises(StoreError, match="no run store here"):
        write_report(tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given_as", [Path, CrossSessionStore, RunStore])
def test_the_other_kind_of_run_is_told(
    finished: RunStore, across: CrossSessionStore, given_as: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for take in (summarize, k_star, plot_ndc, plot_k_star, write_report):
        with pytest.raises(StoreError, match=r"found a run across sessions; cross_session_table, .* take it"):
            take(given_as(across.path))
    for take in (cross_session_table, plot_cross_session, plot_generalization_matrix):
        with pytest.raises(StoreError, match=r"found a run of neuron-dropping curves; summarize, .* take it"):
            take(given_as(finished.path))
    assert plot_cross_session(given_as(across.path)).axes[0].get_title() == "choice"
    with pytest.raises(StoreError, match="found a run of neuron-dropping curves"):
        write_report(finished, cross_session=CrossSessionStore(finished.path))
    with pytest.raises(SettingsError, match="run is a Dataset; expected a run, or the path of its store"):
        summarize(finished.tracked())
    assert main(["report", str(finished.path), "--cross-session", str(finished.path)]) == 2
    assert "found a run of neuron-dropping curves" in capsys.readouterr().err
    assert main(["plot", "k-star", str(across.path), "--save", "k.png"]) == 2
    assert "found a run across sessions" in capsys.readouterr().err


def test_on_the_command_line(
    finished: RunStore, across: CrossSessionStore, subject: SimulatedSubject, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    page = tmp_path / "page.html"
    where = ["--one", str(subject.one_dir), "--roicat-root", str(subject.roicat_root)]
    what = ["--tracking", "--rasters", "--cross-session", str(across.path)]
    assert main(["report", str(finished.path), *where, *what, "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"report   {page}\n"
    assert "Heat map of the neurons" in page.read_text()
    assert page.read_text().count("Activity of a minute") == 3
    assert 'id="across"' in page.read_text()
    assert main(["report", str(tmp_path / "none.zarr"), "-o", str(page)]) == 2
    assert "no run store here" in capsys.readouterr().err


@pytest.mark.parametrize("neurons", ["MOs,VISp", "given"])
def test_the_tracking_is_of_the_runs_neurons(
    finished: RunStore, subject: SimulatedSubject, tmp_path: Path, caplog: pytest.LogCaptureFixture, neurons: str
) -> None:
    path = Path(shutil.copytree(finished.path, tmp_path / "run.zarr"))
    zarr.open_group(path / "tracked", mode="r+").attrs.update({"neurons": neurons, "neurons_only": False})
    where = {"one": subject.one_dir, "roicat_root": subject.roicat_root}
    typed = ["--one", str(subject.one_dir), "--roicat-root", str(subject.roicat_root)]
    assert main(["report", str(path), *typed, "--tracking"]) == 0
    narrowed = None if neurons == "given" else neurons.split(",")
    expected = tracking_table(subject.eids, **where, neurons_only=False, neurons=narrowed)
    assert expected.sizes["neuron"] != tracking_table(subject.eids, **where).sizes["neuron"]
    assert f"{expected.sizes['neuron']} neurons were found in any" in path.with_suffix(".html").read_text()
    assert ("masks or rows" in caplog.text) == (neurons == "given")
