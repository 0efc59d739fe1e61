"""Each kind of fault is made really, found, and told with what mends it; nothing is left behind."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dask
import pytest

from mesodask import doctor
from mesodask.cli import main
from mesodask.compute.processes import available_cores
from mesodask.doctor import Check, check_machine
from mesodask.io import alf
from mesodask.simulate import SimulatedSubject


def status(checks: Iterator[Check] | list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


def the(name: str, checks: Iterator[Check]) -> Check:
    return only(check for check in checks if check.name == name)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has set up nothing."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


# the whole ------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_ready(copy: SimulatedSubject, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(copy.folder)
    arguments = ["doctor", "--one", str(copy.one_dir), "--roicat-root", str(copy.roicat_root)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f"{copy.one_dir}: sessions 3, subjects 1" in out
    assert f"{copy.roicat_root}/ROICaT: subjects 1" in out
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is True
    assert {check["name"] for check in told["checks"]} == {
        "python", "packages", "ONE folder", "ROICaT tree", "cache folder: space", "cache folder: write",
        "cache folder: rename", "cache folder: lock", "BLAS", "SLURM", "dashboard", "brainbox", "ONE login",
    }  # fmt: skip
    assert all(check["mend"] for check in told["checks"] if check["status"] != "ok")
    assert tree(copy.folder) == before
    assert tree(home) == []


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    assert "Example: mesodask doctor --one ~/one" in capsys.readouterr().out


def test_an_error_is_status_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--cache-dir", str(home)]) == 1
    captured = capsys.readouterr()
    assert "error    ONE folder" in captured.out
    assert "-> give --one FOLDER, or run one.api.ONE.setup()" in captured.out
    assert "1 of 13 checks failed" in captured.err
    assert main(["doctor", "--cache-dir", str(home), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ready"] is False
    assert tree(home) == []


def test_a_check_that_breaks_costs_no_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> Iterator[Check]:
        yield Check("BLAS", "ok", "the first half")
        raise RuntimeError("broken")

    def hangs() -> Iterator[Check]:
        stop.wait()
        yield Check("SLURM", "ok", "")

    stop = threading.Event()
    monkeypatch.setattr(doctor, "check_blas", breaks)
    monkeypatch.setattr(doctor, "check_slurm", hangs)
    checks = check_machine(cache_dir=home, patience=2.0)
    stop.set()
    found = [(check.status, check.found) for check in checks if check.name in ("BLAS", "SLURM", "dashboard")]
    assert found[:3] == [
        ("ok", "the first half"),
        ("error", "the check failed (RuntimeError: broken)"),
        ("error", "no answer within 2 s"),
    ]
    assert found[3][0] in ("ok", "warning")


# python and packages --------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first where packages are looked for."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    return site


def install(site: Path, name: str, version: str, *metadata: str) -> None:
    """Let a distribution be installed, as far as its metadata tell."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata])
    )
    importlib.invalidate_caches()


def test_versions(site: Path) -> None:
    assert only(doctor.check_python()).status == "ok"
    assert "numpy" in the("packages", doctor.check_packages()).found
    install(site, "mesodask", "0.1", "Requires-Python: >=4.2", "Requires-Dist: numpy>=2.0",
            "Requires-Dist: zarr>=3.1.3", "Requires-Dist: no-such-package>=1.5",
            'Requires-Dist: not-asked-for>=1; extra == "test"',
            'Requires-Dist: nor-this>=1; python_version < "3"')  # fmt: skip
    install(site, "numpy", "1.26.4")
    python = only(doctor.check_python())
    assert (python.status, python.mend) == ("error", "install Python >=4.2")
    old, absent, good = doctor.check_packages()
    assert (old.status, old.found) == ("error", "numpy 1.26.4 is installed; >=2.0 needed")
    assert (absent.found, absent.mend) == (
        "no-such-package is not installed; >=1.5 needed",
        "pip install 'no-such-package>=1.5'",
    )
    assert good.found.startswith("1 as needed: zarr ")


def package(site: Path, *files: str) -> None:
    for file in files:
        path = site / "brainbox" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise RuntimeError('imported')")
    importlib.invalidate_caches()


# as in the wheels of brainbox 0.0.9 and of ibllib 4.1.0
OTHER = ("__init__.py", "transforms.py", "neural/__init__.py", "spiking/__init__.py", "tuning/fit.py")
IBL = ("__init__.py", "core.py", "behavior/__init__.py", "behavior/wheel.py", "io/one.py")


def test_the_wrong_brainbox(site: Path) -> None:
    package(site, *OTHER)
    check = only(doctor.check_brainbox())
    assert check.status == "error"
    assert f"{site}/brainbox is the wrong brainbox" in check.found
    assert check.mend.startswith("pip uninstall brainbox")
    assert "brainbox" not in sys.modules


def test_the_wrong_brainbox_over_the_right_one(site: Path) -> None:
    package(site, *IBL, *OTHER)
    install(site, "ibllib", "4.1.0")
    install(site, "brainbox", "0.0.9")
    check = only(doctor.check_brainbox())
    assert check.status == "error"
    assert "wrong brainbox (0.0.9, another project) is installed over IBL's" in check.found


def test_the_right_brainbox(site: Path) -> None:
    package(site, *IBL)
    install(site, "ibllib", "4.1.0")
    check = only(doctor.check_brainbox())
    assert (check.status, check.found) == ("ok", f"IBL's, of ibllib 4.1.0, in {site}/brainbox")
    assert "brainbox" not in sys.modules


# folders --------------------------------------------------------------------------------------------------------


def test_one_folder(copy: SimulatedSubject, tmp_path: Path, home: Path) -> None:
    assert only(doctor.check_one_folder(alf.connect(copy.one_dir))).status == "ok"
    gone = next(copy.one_dir.glob("*/Subjects/*/*/*"))
    shutil.rmtree(gone)
    check = only(doctor.check_one_folder(copy.one_dir))
    assert check.status == "warning"
    assert f"1 of 3 are not on disk, e.g. {copy.subject}/{gone.parent.name}/{gone.name}" in check.found
    (copy.one_dir / "sessions.pqt").write_bytes(b"PAR1 and no more")
    check = only(doctor.check_one_folder(copy.one_dir))
    assert check.status == "error"
    assert "the ONE tables cannot be read" in check.found
    for folder, words in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "no ONE tables here")):
        check = only(doctor.check_one_folder(folder))
        assert check.status == "error"
        assert words in check.found


def test_roicat_tree(copy: SimulatedSubject, tmp_path: Path, home: Path) -> None:
    check = only(doctor.check_roicat_tree())  # the default one is not there
    assert (check.status, "mesodask mirror" in check.mend) == ("warning", True)
    (checked,) = doctor.answered("ROICaT tree", lambda: doctor.check_roicat_tree(tmp_path / "nowhere"), 5.0)
    assert checked.status == "error"
    assert "no such folder" in checked.found
    for file in copy.roicat_root.rglob("mpciROIs.clusterUIDs.csv"):
        file.unlink()
    check = only(doctor.check_roicat_tree(copy.roicat_root))
    assert check.status == "warning"
    assert f"clusterUIDs.csv of {copy.subject}" in check.found
    shutil.rmtree(copy.roicat_root / "ROICaT" / copy.subject)
    assert "is empty" in only(doctor.check_roicat_tree(copy.roicat_root)).found


def test_cache_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    checks = list(doctor.check_cache_folder(tmp_path / "a" / "b"))
    assert {check.status for check in checks if not check.name.endswith("space")} == {"ok"}
    assert f"{tmp_path}: " in checks[0].found
    assert tree(tmp_path) == []


def test_a_file_in_place_of_the_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checked = doctor.answered("cache folder", lambda: doctor.check_cache_folder(tmp_path / "file"), 5.0)
    assert [(check.status, "is a file" in check.found) for check in checked] == [("error", True)]
    check = only(doctor.check_cache_folder(tmp_path / "file" / "below"))
    assert (check.status, check.found) == ("error", f"{tmp_path}/file is a file; expected a folder")
    assert tree(tmp_path) == ["file"]


def test_a_folder_that_takes_nothing() -> None:
    """As root is let into every folder of a disk, it is one of the kernel's."""
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    check = the("cache folder: write", doctor.check_cache_folder("/proc/self"))
    assert check.status == "error"
    assert "a folder in it cannot be made" in check.found


FULL = """
import json, subprocess, sys
from pathlib import Path
from mesodask import doctor
place = Path(sys.argv[1])
def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)], check=True)
def look():
    checks = [(check.name, check.status, check.found) for check in doctor.check_cache_folder(place)]
    assert list(place.glob(".mesodask*")) == [], list(place.iterdir())
    return checks
found = []
mount("size=200k")
found.append(look())
mount("size=8g", "nr_inodes=100")
found.append(look())
mount("size=1g", "ro")
found.append(look())
print(json.dumps(found))
"""


def test_a_full_disk_one_without_inodes_and_one_that_is_read_only(tmp_path: Path) -> None:
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"no file system can be mounted here: {probe.stderr.decode().strip()}")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    full, few, read_only = ({name: (state, words) for name, state, words in part} for part in json.loads(done.stdout))
    assert full["cache folder: space"][0] == "error"
    assert full["cache folder: write"][0] == "error"
    assert "No space left on device" in full["cache folder: write"][1]
    assert full["cache folder: lock"][0] in ("ok", "error")  # the last page may be left
    assert few["cache folder: space"][0] == "warning"
    assert "files only" in few["cache folder: space"][1]
    assert few["cache folder: lock"][0] == "ok"
    assert read_only["cache folder: write"][0] == "error"
    assert "Read-only file system" in read_only["cache folder: write"][1]


def test_a_file_system_that_grants_every_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no disk at hand does: O_EXCL is not heeded."""
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode, **more: real(path, flags & ~os.O_EXCL, *mode, **more))
    check = the("cache folder: lock", doctor.check_cache_folder(tmp_path))
    assert check.status == "error"
    assert "two locks on one file were granted" in check.found


# the machine ----------------------------------------------------------------------------------------------------


def test_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    import threadpoolctl

    assert only(doctor.check_blas()).found.count("openblas") >= 1
    with threadpoolctl.threadpool_limits(available_cores() + 1, user_api="blas"):
        check = only(doctor.check_blas())
    assert check.status == "warning"
    assert f"with {available_cores() + 1} threads" in check.found


def command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds of clusters that one box cannot be; the real one is met in test_submit."""
    place = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(place))
    check = only(doctor.check_slurm())
    assert (check.status, check.found[:13]) == ("ok", "no SLURM here")
    command(place, "sinfo", "echo 'short*|up|1:00:00|4'; echo 'long|inact|7-00:00:00|2'")
    assert only(doctor.check_slurm()).found.startswith("sbatch, squeue, scancel not found")
    for name in doctor.SLURM_COMMANDS[1:]:
        command(place, name, "exit 1")
    check = only(doctor.check_slurm())
    assert check.status == "ok"
    assert "short* (up, at most 1:00:00, 4 nodes), long (inact, at most 7-00:00:00, 2 nodes)" in check.found
    command(place, "sinfo", "echo 'all*|down|infinite|4'")
    assert "no queue is up" in only(doctor.check_slurm()).found
    command(place, "sinfo", "echo 'sinfo: error: first' >&2; echo 'sinfo: fatal: last' >&2; exit 1")
    check = only(doctor.check_slurm())
    assert (check.status, check.found.endswith("does not answer: sinfo: fatal: last")) == ("warning", True)


def test_dashboard_port() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with dask.config.set({"mesodask.cluster.dashboard-port": port}):
            check = only(doctor.check_dashboard())
    assert (check.status, f"port {port} is taken" in check.found) == ("warning", True)
    with dask.config.set({"mesodask.cluster.dashboard-port": port}):
        assert only(doctor.check_dashboard()).status == "ok"


# ONE's login ----------------------------------------------------------------------------------------------------

TOKEN = "0123456789abcdef"


class Alyx(BaseHTTPRequestHandler):
    """Takes one token, and sends everybody else elsewhere, away, or nowhere."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        if self.path.startswith("/slow"):
            time.sleep(1.5)
            return
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
        else:
            self.send_response(200 if self.headers["Authorization"] == f"Token {TOKEN}" else 403)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def alyx() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    handler = type("Handler", (Alyx,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
        server.shutdown()


@pytest.fixture
def set_up(home: Path, copy: SimulatedSubject) -> Callable[..., None]:
    """Sets ONE up with ONE's own functions, for the subject's folder; a token as a login would leave it."""

    def set_up(url: str, token: str = "") -> None:
        import one.params

        one.params.setup(client=url, silent=True, make_default=True, username="me", cache_dir=copy.one_dir)
        if token:
            one.params.save(one.params.get(url, silent=True).set("TOKEN", {"me": {"token": token}}), url)

    return set_up


def test_login(set_up: Callable[..., None], home: Path, copy: SimulatedSubject) -> None:
    with alyx() as (url, asked):
        set_up(url)
        check = only(doctor.check_login())
        assert (check.status, check.found) == ("warning", f"{url} answers, but me is not logged in")
        set_up(url, TOKEN)
        check = only(doctor.check_login())
        assert (check.status, check.found) == ("ok", f"{url} takes me's login")
        assert asked == [("/users/me", None), ("/users/me", f"Token {TOKEN}")]
        set_up(url, "outdated")
        check = only(doctor.check_login())
        assert (check.status, "refuses me's stored login" in check.found) == ("warning", True)
        assert "outdated" not in str(check)
        set_up(f"{url}/moved", TOKEN)
        del asked[:]
        check = only(doctor.check_login())
        assert (check.status, "neither takes nor refuses" in check.found) == ("warning", True)
        assert [path for path, _ in asked] == ["/moved/users/me"]  # the token went nowhere else
        before = tree(home)
        found = status(check_machine())
        assert found["ONE folder"] == "ok"  # that of the default ONE
        assert found["cache folder: lock"] == "ok"
        assert tree(home) == before


def test_offline(set_up: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with alyx() as (url, _):
        set_up(f"{url}/slow", TOKEN)
        monkeypatch.setattr(doctor, "LOGIN_PATIENCE", 0.5)
        begun = time.monotonic()
        assert only(doctor.check_login()).found.startswith(f"offline: {url}/slow does not answer (")
        assert time.monotonic() - begun < 1.4
    check = only(doctor.check_login())  # nobody listens there any more
    assert check.status == "warning"
    assert "Connection refused" in check.found


def test_damaged_parameters_of_one(set_up: Callable[..., None], home: Path) -> None:
    set_up("http://127.0.0.1:9")
    for file in (home / ".one").iterdir():
        file.write_text(file.read_text()[:-20])
    checks = check_machine()
    damaged = {check.name for check in checks if "ONE's parameters" in check.found}
    assert damaged == {"ONE folder", "cache folder", "ONE login"}
    assert status(checks)["BLAS"] == "ok"
