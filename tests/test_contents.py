"""What a cache folder holds, and what may be removed of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from distributed import Client

from mesodask import load_or_embed, neuron_dropping_curves, sparseness
from mesodask.cli import main
from mesodask.io import cache, cache_contents, stores
from mesodask.io.lock import Lock
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject

SMALL = {"targets": ("choice",), "ks": (8,), "R": 2, "n_label_shuffles": 0}


@pytest.fixture(scope="module")
def filled(subject: SimulatedSubject, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with two sessions, one of them in a second signal, the sparseness of one, and a run."""
    folder = tmp_path_factory.mktemp("cache")
    where = {"one": subject.one_dir, "cache_dir": folder}
    load_or_embed(subject.eids[1], signal="fluorescence", rastermap=False, **where)
    neuron_dropping_curves(subject.eids[:2], roicat_root=subject.roicat_root, client=client, **where, **SMALL)
    sparseness(subject.eids[0], client=client, **where)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def mesodask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_sessions_are_listed_by_date_with_their_size(
    subject: SimulatedSubject, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = cache.session_folder(folder) / "broken.zarr"
    broken.mkdir()
    (broken / "zarr.json").write_text("{")
    found = cache_contents.list_sessions(folder)
    dates = [date.isoformat() for date in subject.dates]
    assert [(one.eid, one.date) for one in found if not one.problem] == [
        (subject.eids[0], dates[0]), (subject.eids[1], dates[1]), (subject.eids[1], dates[1])
    ]  # fmt: skip
    for one in found:
        assert one.n_bytes == sum(f.stat().st_size for f in one.path.rglob("*") if f.is_file())
    assert [one.path for one in found if one.problem] == [broken]
    status, out, _ = mesodask(capsys, "list", "sessions", "--cache-dir", folder)
    assert status == 0
    assert f"{subject.eids[0]}  {subject.subject}/{dates[0]}/001" in out
    assert "  fluorescence\n" in out
    assert str(broken) in out
    listed = json.loads(mesodask(capsys, "list", "sessions", "--cache-dir", folder, "--json")[1])
    assert [entry["eid"] for entry in listed] == [one.eid for one in found]
    assert "no sessions" in mesodask(capsys, "list", "sessions", "--cache-dir", folder / "nowhere")[1]
    only = cache_contents.list_sessions(folder, "SP999")
    assert [one.path for one in only] == [broken]


def test_runs_are_listed_as_status_lists_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = mesodask(capsys, "list", "runs", "--cache-dir", folder)
    assert listed == mesodask(capsys, "status", "--cache-dir", folder)
    assert "finished   100%" in listed[1]


def answering(answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mesodask", *arguments]
    return subprocess.run(command, input=answer, capture_output=True, text=True, check=True)


def test_a_session_goes_with_all_its_stores_and_nothing_else_does(subject: SimulatedSubject, folder: Path) -> None:
    before = files(folder)
    told = answering("n\n", "rm", subject.eids[1], "--cache-dir", str(folder))
    assert (told.stdout.strip(), files(folder)) == ("", before)  # click 8.3 lets a space through
    assert "Remove these 2?" in told.stderr
    assert "Nothing was removed." in told.stderr
    told = answering("y\n", "rm", subject.eids[1], "--cache-dir", str(folder))
    assert told.stdout.count("removed") == 2
    assert files(folder) == {path for path in before if subject.eids[1] not in str(path) or "data" not in path.parts}


def test_one_of_a_sessions_stores_goes_alone_by_its_own_name(
    subject: SimulatedSubject, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{subject.eids[1]}_fluorescence"
    assert mesodask(capsys, "rm", name, "--cache-dir", folder, "--yes")[0] == 0
    left = {path.stem for path in cache.session_folder(folder).glob("*.zarr")}
    assert left == {*subject.eids[:2]}


def test_a_run_goes_with_what_belongs_to_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decoding = cache.decoding_folder(folder)
    pair = cache.pairs_folder(folder, "SP072") / "res" / "pair.zarr"
    run = next(decoding.glob("*.zarr"))
    shutil.copytree(run, pair)
    figure = pair.parents[1] / "imgs" / "pair.png"
    beside = [RunStore(run).failures_file, run.with_suffix(".html"), run.with_suffix(".png")]
    another = decoding / "another.html"
    figure.parent.mkdir()
    for file in (*beside, figure, another):
        file.write_text("{}\n")
    listed = mesodask(capsys, "list", "runs", "--cache-dir", folder)[1].splitlines()
    assert [line.split("scores")[1].split() for line in listed] == [["report", "figure"], ["figure"]]
    documents = json.loads(mesodask(capsys, "list", "runs", "--cache-dir", folder, "--json")[1])
    assert [document["files"] for document in documents] == [list(map(str, beside)), [str(figure)]]
    for path, gone in ((run, beside), (pair, [figure])):
        status, out, err = mesodask(capsys, "rm", path.stem[:12], "--cache-dir", folder, "--yes")
        assert (status, out.split("\n")) == (0, [*(f"removed  {one}" for one in (path, *gone)), ""])
        assert [line.split()[-1] for line in err.splitlines()] == [str(one) for one in (path, *gone)]
    assert {file for file in decoding.rglob("*") if file.is_file()} == {another}


def test_other_results_are_listed_and_removed_by_their_names(
    subject: SimulatedSubject, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = cache.imported_folder(folder) / "trainFirst_x.zarr"
    about = {"kind": "imported_cross_session", "subject": "SP9", "sources": {"trainFirst_x.pkl": {}}}
    stores.write_group(imported, "", xr.Dataset(attrs=about))
    broken = cache.imported_folder(folder) / "broken.zarr"
    stores.write_group(broken, "", xr.Dataset())
    record = cache.decoding_folder(folder) / "SP072_x.analysis.yaml"
    record.write_text("a: 1\n")
    (drawn := record.with_suffix("")).mkdir()
    (drawn / "curves.png").write_text("x")
    (sparse,) = cache.sparseness_folder(folder).iterdir()

    def listed(kind: str) -> tuple[str, list[dict]]:
        words = mesodask(capsys, "list", kind, "--cache-dir", folder)[1]
        return words, json.loads(mesodask(capsys, "list", kind, "--cache-dir", folder, "--json")[1])

    words, (one,) = listed("sparseness")
    assert words.split()[-1] == sparse.stem.split("_")[1]
    assert (one["path"], one["eid"], one["date"]) == (str(sparse), subject.eids[0], subject.dates[0].isoformat())
    words, found = listed("imports")
    assert "imported_cross_session  SP9  from trainFirst_x.pkl" in words
    assert [(one["path"], bool(one["problem"])) for one in found] == [(str(broken), True), (str(imported), False)]
    words, (one,) = listed("analyses")
    assert words == f"{record.name}  figures in {drawn.name}\n"
    assert (one["path"], one["files"], one["n_bytes"]) == (str(record), [str(drawn)], 5)
    words, (one,) = listed("subjects")
    size = sum(entry.n_bytes for entry in cache_contents.list_sessions(folder))
    first, last = (date.isoformat() for date in subject.dates[:2])
    assert one == {"subject": subject.subject, "n_sessions": 2, "first": first, "last": last, "n_runs": 1,
                   "n_bytes": size}  # fmt: skip
    assert f"sessions   2  {first} to {last}" in words
    assert mesodask(capsys, "rm", "SP072_x.anal", "--cache-dir", folder, "--yes")[0] == 2
    before = files(folder)
    for name in (sparse.stem, imported.name, broken, record.name):
        assert mesodask(capsys, "rm", name, "--cache-dir", folder, "--yes")[0] == 0
    gone = {path.relative_to(folder) for path in (sparse, imported, broken, record, drawn)}
    assert files(folder) == {path for path in before if gone.isdisjoint((path, *path.parents))}


def test_what_is_being_written_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(cache.decoding_folder(folder).glob("*.zarr"))
    with Lock(RunStore(run).lock_file, "the run"):
        status, _, err = mesodask(capsys, "rm", run.stem, "--cache-dir", folder, "--yes")
    assert status != 0
    assert f"process {os.getpid()} " in err
    assert run.is_dir()


def test_nothing_outside_the_cache_is_removed(
    subject: SimulatedSubject, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(cache.decoding_folder(folder).glob("*.zarr"))
    outside = Path(shutil.copytree(run, tmp_path / "outside.zarr"))
    linked = cache.decoding_folder(folder) / "linked.zarr"
    linked.symlink_to(outside)
    (folder / "elsewhere").symlink_to(tmp_path)
    before = files(tmp_path)
    through = folder / "decoding" / ".." / ".." / "outside.zarr"
    for name in (outside, "linked", folder / "elsewhere" / "outside.zarr", through):
        status, _, err = mesodask(capsys, "rm", name, "--cache-dir", folder, "--yes")
        assert status == 2, name
        assert "link" in err or "does not lie in the cache folder" in err
    for name in ("*", "?" * 36, "[0-9a-f]" * 36, "", subject.eids[0][:4], "nothing"):
        assert mesodask(capsys, "rm", name, "--cache-dir", folder, "--yes")[0] == 2
    assert files(tmp_path) == before
    # a link within a store is removed, and not what it leads to
    (run / "link").symlink_to(outside)
    assert mesodask(capsys, "rm", run.stem, "--cache-dir", folder, "--yes")[0] == 0
    assert not run.exists()
    assert {path for path in files(tmp_path) if path.parts[0] == "outside.zarr"} == {
        path for path in before if path.parts[0] == "outside.zarr"
    }
