"""What runs show of themselves in a notebook."""

import html.parser
from pathlib import Path

import numpy as np

from mesodask.io.crossstore import CrossSessionStore
from mesodask.io.runstore import RunStore
from mesodask.schema import TRACKED, conform


class Cells(html.parser.HTMLParser):
    """The texts of a table's cells, and all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def run_of(path: Path) -> RunStore:
    tracked = {
        "session": ["e1", "e2"],
        "date": ["2025-01-01", "2025-01-02"],
        "roi": np.arange(6).reshape(2, 3),
        "cluster_uid": ["a", "b", "c"],
    }
    run = RunStore(path)
    with run.writing():
        run.create(conform(tracked, TRACKED, {"subject": "S<1>"}))
        run.update_attributes({"subject": "S<1>"})
        for target in ("choice", "block"):
            run.reserve(target, ["e1", "e2"], [2, 3], 2, 0, "x")
        run.write_session("choice", 0, n_trials=120, status="done", reason="")
        run.write_session("choice", 1, n_trials=110, status="done", reason="")
        run.write_session("block", 0, n_trials=80, status="done", reason="")
        run.write_session("block", 1, n_trials=0, status="skipped", reason="<b>no</b> block")
    return run


def test_a_run_shows_sessions_and_targets(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run.zarr")
    assert repr(run) == f"<RunStore of S<1>: sessions 2, neurons 3, targets 2, {run.path}>"
    shown = Cells(run._repr_html_())
    first, *rows = shown.rows
    assert first == ["session", "block", "choice"]
    assert rows[0] == ["2025-01-01", "80", "120"]
    assert rows[1][1] == "skipped: <b>no</b> block"
    assert shown.tags == {"p", "code", "table", "tr", "th", "td"}  # what stands in the store is text, no markup


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    run = RunStore(tmp_path / "nowhere.zarr")
    assert repr(run).startswith("<RunStore that cannot be read: ")
    assert "nowhere.zarr" in run._repr_html_()
    assert repr(CrossSessionStore(tmp_path / "x")).startswith("<CrossSessionStore that cannot be read: ")
    whole = run_of(tmp_path / "run.zarr")
    (whole.path / "choice" / "zarr.json").write_text("{")
    assert f"{whole.path}/choice" in whole._repr_html_()
