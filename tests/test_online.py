"""An online ONE: what is on disk needs no server, and what is not is downloaded once, by the driver, and told."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alyx_server import Alyx, alyx, set_up_one
from distributed import Client

from mesodask import load_or_embed, track_neurons
from mesodask.cli import main
from mesodask.errors import DataError, SessionNotFoundError
from mesodask.io import alf, alf_sessions, downloads
from mesodask.simulate import SimulatedSubject

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:one")  # of pandas, about tables that ONE puts together


@pytest.fixture
def server(subject: SimulatedSubject) -> Iterator[Alyx]:
    with alyx(subject, page=2) as known:
        yield known


@pytest.fixture
def home(server: Alyx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home whose default ONE is the server's, with an empty folder of data."""
    from one.api import ONE

    set_up_one(tmp_path, server.address, tmp_path / "one")
    (tmp_path / "one").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    ONE.cache_clear()
    yield tmp_path
    ONE.cache_clear()


@pytest.fixture
def online(home: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    one = alf.connect()
    assert capsys.readouterr().out == ""
    assert not one.offline
    return one


def test_a_subject_and_names_are_asked_of_the_server(subject: SimulatedSubject, server: Alyx, online: Any) -> None:
    """A single session that was asked for first does not pass for all of the subject's; pages are all read."""
    assert alf_sessions.session_info(online, subject.eids[1]).relative == "SP072/2025-01-14/001"
    assert [info.eid for info in alf_sessions.find_sessions(online, subject="SP072")] == list(subject.eids)
    (info,) = alf_sessions.find_sessions(online, "SP072/2025-01-15/1")
    assert info.eid == subject.eids[2]
    assert info.path == Path(online.cache_dir) / subject.settings["lab"] / "Subjects" / info.relative
    with pytest.raises(SessionNotFoundError, match="no session of subject 'SP0'"):  # the server finds parts of names
        alf_sessions.find_sessions(online, subject="SP0")
    with pytest.raises(SessionNotFoundError, match="is not in the ONE tables"):
        alf_sessions.session_info(online, "3fa85f64-5717-4562-b3fc-2c963f66afa6")


def test_tables_and_files_on_disk_need_no_server(subject: SimulatedSubject, server: Alyx, home: Path) -> None:
    shutil.copytree(subject.one_dir, home / "one", dirs_exist_ok=True, ignore=shutil.ignore_patterns("meso"))
    one = alf.connect()
    assert not one.offline
    before = len(server.asked)
    assert [info.eid for info in alf_sessions.find_sessions(one, subject="SP072", last="2025-01-14")] == list(
        subject.eids[:2]
    )
    load_or_embed(subject.eids[0], one=one, rastermap=False)
    track_neurons(subject.eids, one=one, roicat_root=subject.roicat_root)
    assert server.asked[before:] == []


def test_files_are_downloaded_once_by_the_driver_and_told(
    subject: SimulatedSubject, sessions: list, server: Alyx, online: Any, client: Client
) -> None:
    told: list[tuple[int, int]] = []
    with downloads.told(lambda done, total: told.append((done, total))):
        opened = load_or_embed(list(subject.eids[:2]), one=online, rastermap=False, client=client)
    for ours, theirs in zip(opened, sessions, strict=False):
        np.testing.assert_array_equal(ours["signal"].values, theirs["signal"].values)
    asked = server.files_asked
    assert len(asked) == len(set(asked)) > 20
    assert not [name for name in asked if "masks" in name.lower() or "ROIActivityF" in name]  # never needed
    half = len(asked) // 2
    assert told == [(done, half) for done in range(half + 1)] + [(done, 2 * half) for done in range(half, 2 * half + 1)]

    load_or_embed(list(subject.eids[:2]), one=online, rastermap=False, rerun=True)
    assert server.files_asked == asked


def test_the_revision_that_the_server_calls_default_is_downloaded(
    copy: SimulatedSubject, server: Alyx, online: Any
) -> None:
    server._root = copy.one_dir
    original = copy.session_folder(copy.eids[0]) / "alf" / "FOV_00" / "mpci.times.npy"
    (original.parent / "#2025-03-01#").mkdir()
    times = np.load(original) + 1e-3
    np.save(original.parent / "#2025-03-01#" / original.name, times)
    opened = load_or_embed(copy.eids[0], one=online, rastermap=False)
    np.testing.assert_array_equal(opened["frame_times"].values[0], times)
    asked = [name for name in server.files_asked if "FOV_00/" in name and name.endswith("mpci.times.npy")]
    assert asked == ["SP072/2025-01-13/001/alf/FOV_00/#2025-03-01#/mpci.times.npy"]


def test_what_is_not_to_be_had_is_named(subject: SimulatedSubject, server: Alyx, online: Any) -> None:
    files = alf.SessionFiles(online, subject.eids[0])
    server._files.clear()  # listed, and gone
    with pytest.raises(DataError, match=r"mpci.times.npy: file is missing: listed in the ONE tables"):
        files.path("alf/FOV_00", "mpci.times.npy")


def test_a_server_that_is_gone_is_named(subject: SimulatedSubject, tmp_path: Path, online: Any) -> None:
    online.alyx._par = online.alyx._par.set("ALYX_URL", "http://127.0.0.1:9")
    online.alyx.base_url = "http://127.0.0.1:9"
    with pytest.raises(SessionNotFoundError, match=r"http://127.0.0.1:9 cannot be asked"):
        alf_sessions.find_sessions(online, subject="SP072")


def test_the_command_line_shows_downloads_on_stderr_alone(
    subject: SimulatedSubject, server: Alyx, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", "SP072/2025-01-13/1", "--no-rastermap", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["stores"][0]["eid"] == subject.eids[0]
    n_files = len(server.files_asked)
    assert f"download {n_files}/{n_files} in" in err
