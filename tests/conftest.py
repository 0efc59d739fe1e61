"""What many tests share: one small simulated subject, its sessions embedded, and one set of workers."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import xarray as xr
from distributed import Client
from runs import SMALL, Run

from mesodask import load_or_embed, neuron_dropping_curves, simulate_subject, track_neurons
from mesodask.compute import runner
from mesodask.compute.cluster import local_client
from mesodask.io.alf import write_one_tables
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject

SLURM_BOX = Path(__file__).resolve().parents[1] / "cluster" / "slurm-in-a-box.sh"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "real"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")
    parser.addoption(
        "--damages", type=int, default=40, metavar="N", help="how many random damages test_damage.py tries"
    )
    parser.addoption(
        "--require",
        default="",
        metavar="TOOL,...",
        help="tools whose absence is an error, where it would skip what needs them: slurm, chromium",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="run with --slow"))


@pytest.fixture(scope="session")
def lacking(pytestconfig: pytest.Config) -> Callable[[str, str], NoReturn]:
    """Call with a tool's name and a reason: skips what needs the tool, or fails it if --require names the tool."""
    required = pytestconfig.getoption("--require").split(",")

    def lack(tool: str, reason: str) -> NoReturn:
        if tool in required:
            pytest.fail(f"--require names {tool}, but {reason}")
        pytest.skip(reason)

    return lack


@pytest.fixture(scope="session")
def slurm(lacking: Callable[[str, str], NoReturn]) -> Iterator[Path]:
    """A SLURM of two processors, which all its commands mean; gives the path of its slurm.conf."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    missing = [tool for tool in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(tool, path=path) is None]
    if missing:
        lacking("slurm", f"there is no {', '.join(missing)} here (apt-get install slurm-wlm munge)")
    as_root = ["sudo", "-n"] if os.geteuid() else []
    if as_root and (not shutil.which("sudo") or subprocess.run([*as_root, "true"], check=False).returncode):
        lacking("slurm", "SLURM's daemons must be started as root")
    # not pytest's own folder, which may be deep: a socket's path is short
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    started = subprocess.run([*as_root, SLURM_BOX, "start", folder], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield folder / "slurm.conf"
    subprocess.run([*as_root, SLURM_BOX, "stop", folder], check=True)


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """Three days of 2 FOVs x 60 ROIs that code all four targets; never to be written to."""
    return simulate_subject(tmp_path_factory.mktemp("subject"), n_days=3, n_trials=240, seed=11)


@pytest.fixture(scope="session")
def sessions(subject: SimulatedSubject) -> list[xr.Dataset]:
    """The subject's session stores, in date order."""
    return [load_or_embed(eid, one=subject.one_dir, rastermap=False) for eid in subject.eids]


@pytest.fixture(scope="session")
def tracked(subject: SimulatedSubject) -> xr.Dataset:
    """The neurons of all three days."""
    return track_neurons(subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root)


@pytest.fixture
def copy(subject: SimulatedSubject, tmp_path: Path) -> SimulatedSubject:
    """A copy of the subject that a test may damage."""
    target = tmp_path / "subject"
    shutil.copytree(subject.folder, target, ignore=shutil.ignore_patterns("meso"))
    return SimulatedSubject.open(target)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Two workers, for all tests that do not care which."""
    with local_client(2) as client:
        yield client


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A writable ONE folder with the real motor cortex recording; skips, and says so, where it is absent."""
    source = SHARED / "m1" / "one"
    if not source.is_dir():
        pytest.skip("the real recordings (../shared/real) are not on this machine")
    folder = tmp_path_factory.mktemp("m1") / "one"
    shutil.copytree(source, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    write_one_tables(folder)
    return folder


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[runner.Task]:
    """Every task that the runner takes, as it takes it: the plan stays as lazy as it is."""
    tasks: list[runner.Task] = []
    original = runner.run_tasks

    def noted(plan: Iterable[runner.Task]) -> Iterator[runner.Task]:
        for task in plan:
            tasks.append(task)
            yield task

    def count(client: Client, plan: Iterable[runner.Task], *args: object, **options: object) -> object:
        return original(client, noted(plan), *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_tasks", count)
    return tasks


@pytest.fixture
def run(subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path: Path) -> Run:
    """Runs curves of the shared subject in a cache of this test, on stores that are embedded already."""
    data = tmp_path / "data"
    data.mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        (data / source.name).symlink_to(source)

    def compute(**options: object) -> RunStore:
        settings = SMALL | {"eids": subject.eids, "client": client} | options
        return neuron_dropping_curves(
            one=subject.one_dir, cache_dir=tmp_path, roicat_root=subject.roicat_root, **settings
        )

    return compute
