"""The driver as a batch job, on a real SLURM: it succeeds itself, ends as it is told, and leaves nothing behind."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
import yaml
from distributed import Client

from mesodask import doctor, neuron_dropping_curves
from mesodask.cli import main
from mesodask.compute import batch
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject

# what is submitted ----------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert main(["submit", "--print", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


FILE = """\
command: ndc
options:
  subject: SP072
  one: ~/one
  targets: [choice, block]
  ks: [8, 16]
  C: 0.5
  equalize_trials: false
  rerun: true
  figure: null
driver:
  walltime: 12:00:00
  memory: 8 GB
  queue: long
  job_extra: ["--constraint=avx2", "--nice"]
"""


def test_a_file_and_a_command_line_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "analysis.yaml").write_text(FILE)
    of_file = printed(capsys, "analysis.yaml")
    command = ["ndc", "--subject=SP072", "--one=/home/me/one", "--targets=choice,block", "--ks=8,16", "--C=0.5",
               "--no-equalize-trials", "--rerun"]  # fmt: skip
    by_hand = printed(capsys, "--walltime", "12:00:00", "--memory", "8 GB", "--queue", "long", "--job-extra",
                      "--constraint=avx2", "--job-extra=--nice", "--jobs-dir", tmp_path / "analysis.jobs", "--",
                      *command)  # fmt: skip
    assert of_file == by_hand
    assert of_file[-1].endswith(f'--number="${{1:-1}}" -- {" ".join(command)}')
    asked = {line.removeprefix("#SBATCH --") for line in of_file if line.startswith("#SBATCH")}
    assert {"time=12:00:00", "signal=B:USR1@300", "partition=long", "mem=7630M", "cpus-per-task=1", "nice",
            "constraint=avx2", f"chdir={tmp_path}", "requeue"} <= asked  # fmt: skip
    assert list(tmp_path.iterdir()) == [tmp_path / "analysis.yaml"]
    shorter = printed(capsys, "analysis.yaml", "--walltime=10")
    assert "#SBATCH --time=10" in shorter
    assert "#SBATCH --signal=B:USR1@150" in shorter


def test_the_help_shows_a_file_that_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert main(["submit", "--help"]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "shown.yaml").write_text(textwrap.dedent(shown.split("says the same:\n")[1].split("\n\n")[0]))
    *asked, last = printed(capsys, tmp_path / "shown.yaml")
    assert last.endswith("-- ndc --subject=SP072 --one=/home/me/one --targets=choice,block --cluster=slurm "
                         "--workers=20 --walltime=04:00:00")  # fmt: skip
    assert "#SBATCH --time=1-00:00:00" in asked
    example = next(line for line in shown.splitlines() if "Example: mesodask" in line)
    assert printed(capsys, *shlex.split(example.split("submit ")[1]))[0] == "#!/bin/bash"


def test_arguments_stand_behind_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("command: embed\noptions: {eids: [a, b], rastermap: none, rerun: false}\n")
    assert printed(capsys, tmp_path / "a.yaml")[-1].endswith(" -- embed --rastermap=none a b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("command: ndc", "comand: ndc"), "line 1: comand: no such key; did you mean 'command'?"),
        (("command: ndc", "options2: {}"), "analysis.yaml: command: Field required"),
        (("command: ndc", "command: ncd"), "line 1: command: ncd: no such key; did you mean 'ndc'?"),
        (("command: ndc", "command: submit"), "line 1: command: submit: no such key"),
        (("subject:", "subjet:"), "line 3: options.subjet: no such key; did you mean 'subject'?"),
        (("ks: [8, 16]", "ks: [8, x]"), "is no comma-separated list"),
        (("ks: [8, 16]", "ks: {8: 16}"), "line 6: options.ks: expected a value or a list of values, found {'8': 16}"),
        (("[choice, block]", "choise"), "did you mean 'choice'?"),
        (("rerun: true", "rerun: 3"), "line 9: options.rerun: expected true or false, found 3"),
        (("walltime: 12:00:00", "waltime: 12:00:00"), "line 12: driver.waltime: no such key; did you mean 'walltime'?"),
        (
            ("walltime: 12:00:00", "walltime: four"),
            "line 12: driver.walltime: walltime: 'four'; expected e.g. 04:00:00",
        ),
        (("memory: 8 GB", "memory: much"), "line 13: driver.memory: expected an amount such as '4 GiB', found 'much'"),
        (
            ("queue: long", "margin: 50000"),
            "line 11: driver: a margin of 50000 s, and 60 s by which SLURM may be early, leave nothing",
        ),
        (("queue: long", "cores: 0"), "line 14: driver.cores: Input should be greater than or equal to 1, found 0"),
        (('"--nice"', '"nice"'), "line 15: driver.job_extra: 'nice' is no option of sbatch"),
        (("driver:", "cluster: {kindd: slurm}\ndriver:"), "line 11: cluster.kindd: no such key"),
        (("queue: long", "memory: 9 GB"), "line 14: driver.memory is there already, in line 13"),
        (("command: ndc", "command: [ndc"), "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], words: str
) -> None:
    path = tmp_path / "analysis.yaml"
    assert change[0] in FILE
    path.write_text(FILE.replace(*change))
    assert main(["submit", str(path)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["analysis"], "expected a file *.yaml, or -- and a command"),
        (["--", "ncd", "--subject=x"], "did you mean 'ndc'?"),
        (["--", "ndc", "--what"], "No such option"),
        (["--", "ndc", "--metric=aux"], "metric: "),
        (["--", "ndc", "--gap=5", "--subject=A"], "a gap needs folds='contiguous'"),
        (["--", "ndc"], "name the sessions either by their eids or by --subject"),
        (["--", "ndc", "--subject=A", "b"], "name the sessions either by their eids or by --subject"),
        (["--", "ndc", "--subject=A", "--figure=a.xyz"], "a.xyz"),
        (["--memory=1e999", "--", "ndc", "--subject=A"], "expected an amount such as '4 GiB', found '1e999'"),
        (["--walltime=soon", "--", "ndc", "--subject=A"], "expected e.g. 04:00:00"),
        ([], "Missing argument"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["submit", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_no_slurm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "--", "ndc", "--subject=SP072"]) == 1
    assert "there is no sbatch, squeue, scancel" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# the chain's rules ----------------------------------------------------------------------------------------------

SHORT = "import os, pathlib, signal, sys, time\ndef stop(*_):\n    {}\n    sys.exit({})\nsignal.signal(15, stop)\n"
STORE = "pathlib.Path(os.environ['MESODASK_PROGRESS_FILE']).touch()\n"


def driven(program: str, notice: signal.Signals | None, tmp_path: Path, *, number: int = 1, sbatch: str = "echo 77",
           margin: float = 20.0) -> tuple[int, str]:  # fmt: skip
    """Status of a driver whose command is a small program, which gets a notice, and what was submitted."""
    for name, script in {"sbatch": f'echo "$@" >> {tmp_path}/submitted\n{sbatch}',
                         "scancel": f'echo cancelled "$@" >> {tmp_path}/submitted'}.items():  # fmt: skip
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    started = tmp_path / "started"
    started.unlink(missing_ok=True)
    program += f"pathlib.Path({str(started)!r}).touch()\ntime.sleep({60 if notice else 0})\n"

    def tell() -> None:
        while not started.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), notice)  # type: ignore[arg-type]

    if notice:
        threading.Thread(target=tell, daemon=True).start()
    status = batch.drive([sys.executable, "-c", program], script=Path("job.sh"), number=number, most=3, margin=margin)
    submitted = tmp_path / "submitted"
    return status, submitted.read_text() if submitted.exists() else ""


@pytest.mark.parametrize(
    ("program", "notice", "expected"),
    [
        (SHORT.format("", 143) + STORE, signal.SIGUSR1, (0, "--parsable --dependency=afterany:7 job.sh 2\n")),
        (SHORT.format("", 143), signal.SIGUSR1, (1, "")),  # it has stored nothing
        (SHORT.format("", 0) + STORE, signal.SIGUSR1, (0, "")),  # finished just then
        (SHORT.format("", 2) + STORE, signal.SIGUSR1, (2, "")),
        (SHORT.format("", 143) + STORE, signal.SIGTERM, (143, "")),  # scancel
        (SHORT.format("os.kill(os.getppid(), 15)", 143) + STORE, signal.SIGUSR1, (1, "")),  # scancel after the notice
        ("import pathlib, os, time, sys\n" + STORE, None, (0, "")),
        ("import pathlib, os, time, sys\n" + STORE + "sys.exit(1)\n", None, (1, "")),
        ("import pathlib, os, time, sys\n" + STORE + "os.kill(os.getpid(), 9)\n", None, (137, "")),
    ],
    ids=["hands over", "no progress", "finished", "refused", "cancelled", "cancelled late", "done", "failed", "killed"],
)
def test_who_is_succeeded(
    program: str, notice: signal.Signals | None, expected: tuple[int, str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert driven(program, notice, tmp_path) == expected


def test_the_last_job_a_refused_one_a_cancelled_one_and_a_deaf_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(batch, "PAUSE", 0.05)
    caplog.set_level("INFO", logger=batch.__name__)
    handing_over = SHORT.format("", 143) + STORE
    assert driven(handing_over, signal.SIGUSR1, tmp_path, number=3) == (1, "")
    assert "the last job allowed" in caplog.text
    status, submitted = driven(handing_over, signal.SIGUSR1, tmp_path, sbatch="echo no such account >&2; exit 1")
    assert (status, submitted.count("job.sh 2\n")) == (1, batch.TRIES)
    assert "no such account" in caplog.text
    (tmp_path / "submitted").unlink()
    scancel_meanwhile = "kill -TERM $PPID; sleep 0.5; echo 77"
    status, submitted = driven(handing_over, signal.SIGUSR1, tmp_path, sbatch=scancel_meanwhile)
    assert (status, submitted.splitlines()[1:]) == (1, ["cancelled 77"])
    deaf = SHORT.format("time.sleep(60)", 0) + STORE
    assert driven(deaf, signal.SIGUSR1, tmp_path, margin=2.0)[0] == 0
    assert "the command does not end; it is killed" in caplog.text


# on a real SLURM ------------------------------------------------------------------------------------------------


@pytest.fixture
def box(slurm: Path) -> Iterator[None]:
    """A SLURM of two processors; a test leaves nothing in its queue."""
    yield
    left = squeue()
    if left:  # by a test that failed: it must not be in the way of the next one
        subprocess.run(["scancel", *left], check=True)
    assert left == []


def test_doctor_sees_the_queues(box: None) -> None:
    (check,) = doctor.check_slurm()
    assert check.status == "ok"
    assert "main* (up, at most infinite, 1 nodes)" in check.found


CURVES = {"targets": ("choice",), "ks": (8, 16), "n_label_shuffles": 20, "R": 40}
OPTIONS = {"targets": ["choice"], "ks": [8, 16], "shuffles": 20, "resamples": 40}
# of Dask's configuration: workers on the box
BLOCK = {"interface": "lo", "memory": "1 GiB", "walltime": "10", "check-every": "1s"}


def squeue(form: str = "%A") -> list[str]:
    return subprocess.run(["squeue", "-h", "-o", form], capture_output=True, text=True, check=True).stdout.split()


def wait_for(condition: Callable[[], bool], folder: Path, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("\n".join([f"in vain; in the queue: {squeue('%A:%j:%T:%r')}", *logs(folder)]))
        time.sleep(0.2)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Everything that runs in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            pass
    return found


@pytest.fixture
def analysis(
    subject: SimulatedSubject, sessions: list[xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Writes a submission file, in a folder of its own in which sessions are embedded already."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "meso" / "data"
    data.mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        (data / source.name).symlink_to(source)

    (tmp_path / "dask").mkdir()
    settings = {"jobqueue": {"box": BLOCK}, "mesodask": {"cluster": {"shared-folder": str(tmp_path / "shared")}}}
    (tmp_path / "dask" / "box.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))

    def write(cluster: dict[str, object], driver: dict[str, object], **options: object) -> Path:
        content = {
            "command": "ndc",
            "options": OPTIONS | {"subject": subject.subject, "one": str(subject.one_dir), "cache-dir": "meso",
                                  "roicat-root": str(subject.roicat_root)} | options,
            "driver": {"memory": "2 GiB"} | driver,
            "cluster": cluster,
        }  # fmt: skip
        path = tmp_path / "analysis.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def logs(folder: Path) -> list[str]:
    """Logs of a chain, in the order of its jobs."""
    paths = (folder / "analysis.jobs").glob("*.log")
    return [path.read_text() for path in sorted(paths, key=lambda path: int(path.stem.rsplit("-", 1)[1]))]


def scores_there(folder: Path) -> set[Path]:
    return set(folder.glob("meso/decoding/*.zarr/choice/score/c/*/*/*"))


@pytest.fixture(scope="module")
def local(
    subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path_factory: pytest.TempPathFactory
) -> xr.Dataset:
    """Scores of the run as two workers of this machine compute them, undisturbed."""
    cache = tmp_path_factory.mktemp("local")
    (cache / "data").symlink_to(Path(sessions[0].encoding["source"]).parent)
    run = neuron_dropping_curves(
        subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root, cache_dir=cache, client=client, **CURVES
    )
    return run.scores("choice")


@pytest.mark.parametrize(
    ("cluster", "cores"), [({}, 2), ({"kind": "box", "workers": 1}, 1)], ids=["workers in the job", "workers on SLURM"]
)
def test_a_run_that_two_jobs_share(
    box: None, analysis: Callable[..., Path], local: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    cluster: dict[str, object], cores: int,
) -> None:  # fmt: skip
    """SLURM's notice comes when some scores are stored; the next job computes the rest."""
    assert main(["submit", str(analysis(cluster, {"walltime": "1:00:00", "cores": cores}))]) == 0
    out = capsys.readouterr().out
    (job,) = squeue()
    assert out.startswith(f"job      {job} (mesodask-ndc-")
    assert f"log      {tmp_path}/analysis.jobs/mesodask-ndc-" in out
    assert main(["submit", "analysis.yaml"]) == 1  # while it waits or runs
    assert f"in the queue already (job {job} " in capsys.readouterr().err
    wait_for(lambda: bool(scores_there(tmp_path)), tmp_path)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    wait_for(lambda: not squeue(), tmp_path)
    first, second = logs(tmp_path)
    print(first, second, sep="\n----\n")
    assert "the walltime nears; the command ends in good order" in first
    assert " goes on from here" in first
    assert "number 2 of at most 50" in second
    assert "no job follows: the command is finished" in second
    assert processes_of(tmp_path) == []
    (path,) = (tmp_path / "meso" / "decoding").iterdir()  # no lock, no failures
    found = RunStore(path).scores("choice")
    assert set(found["status"].values) == {"done"}
    for name in ("score", "null_score"):
        np.testing.assert_array_equal(found[name].values, local[name].values)


def test_a_walltime_that_ends_and_a_chain_that_is_cancelled(
    box: None, analysis: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SLURM itself gives notice, a minute or so after the start; scancel then stops the chain."""
    assert main(["submit", str(analysis({}, {"walltime": 2, "margin": 30, "cores": 2}, resamples=4000))]) == 0
    name = capsys.readouterr().out.split("scancel ")[1].split()[0]
    wait_for(lambda: len(logs(tmp_path)) == 2, tmp_path)
    stored = scores_there(tmp_path)
    assert stored
    assert "goes on from here" in logs(tmp_path)[0]
    wait_for(lambda: scores_there(tmp_path) > stored, tmp_path)
    subprocess.run(["scancel", name], check=True)
    wait_for(lambda: not squeue() and not processes_of(tmp_path), tmp_path, seconds=60)
    assert len(logs(tmp_path)) == 2
    print(*logs(tmp_path), sep="\n----\n")
    (path,) = (tmp_path / "meso" / "decoding").glob("*.zarr")
    assert np.isfinite(RunStore(path).scores("choice")["score"].values).sum() >= len(stored)


def test_a_cancelled_driver_leaves_no_worker_in_the_queue(
    box: None, analysis: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = analysis({"kind": "box", "workers": 2}, {"walltime": "1:00:00"}, resamples=4000)
    assert main(["submit", str(path)]) == 0
    name = capsys.readouterr().out.split("scancel ")[1].split()[0]
    wait_for(lambda: bool(scores_there(tmp_path)), tmp_path)
    assert len(squeue()) == 3  # the driver, a worker, and one that waits for a free processor
    subprocess.run(["scancel", name], check=True)
    wait_for(lambda: not squeue() and not processes_of(tmp_path), tmp_path, seconds=120)
    print(*logs(tmp_path))
    assert len(logs(tmp_path)) == 1
