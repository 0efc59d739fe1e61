"""Clusters on this machine and elsewhere: who is let in, what they are told, what is left of them."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import psutil
import pytest
import yaml
from distributed import Client, LocalCluster

from mesodask import start_cluster
from mesodask.cli.main import main
from mesodask.compute import security
from mesodask.compute.cluster import DEFAULTS, how_to_watch, scheduler_file, slurm_plan
from mesodask.compute.processes import SINGLE_THREAD, available_cores
from mesodask.errors import ClusterError, SettingsError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the run folders of these tests lie, as Dask's configuration says."""
    folder = tmp_path_factory.mktemp("shared")
    with dask.config.set({"mesodask.cluster.shared-folder": str(folder), "mesodask.cluster.dashboard-port": 0}):
        yield folder


@pytest.fixture(scope="module")
def local(shared: Path) -> Iterator[Client]:
    with start_cluster("local", n_workers=1, memory="900 MiB") as client:
        yield client


# who is let in ----------------------------------------------------------------------------------------------------


def test_a_client_without_the_certificate_is_refused(local: Client, tmp_path: Path) -> None:
    address = local.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    with pytest.raises(OSError, match=r"Timed out|reset|closed"):
        Client(address.replace("tls", "tcp"), timeout=2)
    other = security.security_of(security.make_run_folder(tmp_path))
    with pytest.raises(OSError, match="TLS certificate does not match"):
        Client(address, security=other, timeout=2)
    with Client(address, security=local.security, timeout=10) as same:
        assert same.submit(sum, [1, 2]).result() == 3


def test_workers_refuse_strangers_too(local: Client) -> None:
    """A worker runs what it is sent, as the scheduler does; so does its nanny."""
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    scheduler = local.cluster.scheduler
    (worker,) = scheduler.workers.values()
    for address in (worker.address, worker.nanny):
        assert address.startswith("tls://")
        host, port = address.removeprefix("tls://").split(":")
        plain = socket.create_connection((host, int(port)), timeout=10)
        with pytest.raises((ssl.SSLError, ConnectionError)), stranger.wrap_socket(plain) as encrypted:  # noqa: PT012
            encrypted.sendall(bytes(64))
            if encrypted.recv(1) == b"":
                raise ConnectionError("it has hung up")


def test_nothing_listens_but_on_loopback(local: Client) -> None:
    driver = psutil.Process()
    family = [driver, *driver.children(recursive=True)]
    listening = {c.laddr.ip for process in family for c in process.net_connections("tcp") if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


def test_the_certificate_is_this_users_alone(local: Client, shared: Path) -> None:
    file = scheduler_file(local)
    assert file is not None
    assert file.parent.parent == shared
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}


def test_closing_deletes_the_certificate_and_ends_the_workers(shared: Path) -> None:
    before = set(shared.iterdir())
    client = start_cluster("local", n_workers=1)
    (pid,) = client.run(os.getpid).values()
    assert len(set(shared.iterdir()) - before) == 1
    client.close()
    assert set(shared.iterdir()) == before
    assert not psutil.pid_exists(pid)


def test_a_home_that_is_nobodys_is_told() -> None:
    with (
        dask.config.set({"mesodask.cluster.shared-folder": "~nobody-of-this-name/x"}),
        pytest.raises(SettingsError, match="nobody of this name has a home folder"),
    ):
        start_cluster("local", n_workers=1)


def test_a_script_that_forgets_to_close_leaves_nothing(shared: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from mesodask import start_cluster\n"
        "if __name__ == '__main__':\n"
        "    client = start_cluster('local', n_workers=1)\n"
        "    print(client.submit(sum, [1, 2]).result())\n"
    )
    home = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True,
        env=os.environ | {"XDG_CACHE_HOME": str(home), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "3\n"
    assert done.stderr == ""
    assert list((home / "mesodask" / "clusters").iterdir()) == []


def killed_process() -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


def test_folders_of_runs_that_are_gone_are_swept(tmp_path: Path) -> None:
    """Of this machine's processes it is known; of others' only after a day of silence. The living stay."""

    def made(silence: float, **changes: object) -> Path:
        folder = security.make_run_folder(tmp_path, "job")
        owner = folder / security.OWNER
        owner.write_text(json.dumps(json.loads(owner.read_text()) | changes))
        os.utime(owner, (time.time() - silence, time.time() - silence))
        return folder

    gone = killed_process().pid
    alive = made(600)
    young = made(60, pid=gone)
    elsewhere = made(3600, host="another", pid=gone)
    orphans = [made(600, pid=gone), made(600, started=1.0), made(2 * 86400, host="another")]
    foreign = tmp_path / "other"
    foreign.mkdir()
    (foreign / "file").touch()
    ended: list[str] = []
    expected = {security.job_name_of(folder) for folder in orphans}
    assert security.sweep(tmp_path) == []  # as local runs do, which cannot cancel their jobs
    assert set(security.sweep(tmp_path, ended.append)) == set(orphans)
    assert set(ended) == expected
    assert set(tmp_path.iterdir()) == {alive, young, elsewhere, foreign}


# what there is ----------------------------------------------------------------------------------------------------


def threads_and_memory(dask_worker: object) -> tuple[int, int, set[str | None]]:
    return (
        dask_worker.state.nthreads,  # type: ignore[attr-defined]
        dask_worker.memory_manager.memory_limit,  # type: ignore[attr-defined]
        {os.environ.get(name) for name in SINGLE_THREAD},
    )


def test_local_workers_have_one_thread_and_the_memory_asked_for(local: Client) -> None:
    assert list(local.run(threads_and_memory).values()) == [(1, 900 * 2**20, {"1"})]


def test_workers_by_cores_and_free_memory(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory().available
    with start_cluster("local", memory=f"{int(free / 1.5)} B") as client:
        assert len(client.nthreads()) == 1
    monkeypatch.setattr("mesodask.compute.cluster.available_cores", lambda: 2)
    with start_cluster("local") as client:
        assert len(client.nthreads()) == 2
    assert available_cores() <= (os.cpu_count() or 1)


def test_a_worker_that_replaces_another_is_let_in(local: Client) -> None:
    (first,) = local.run(os.getpid).values()
    os.kill(first, signal.SIGKILL)
    assert local.submit(os.getpid, pure=False).result(timeout=120) != first


def test_a_taken_dashboard_port_is_no_matter(shared: Path) -> None:
    """Another one is taken without a warning, and told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            dask.config.set({"mesodask.cluster.dashboard-port": port}),
            warnings.catch_warnings(),
            start_cluster("local", n_workers=1) as client,
        ):
            (line,) = how_to_watch(client)
            assert line.startswith("watch the workers at http://127.0.0.1:")
            assert f":{port}/" not in line
            assert line.split()[-1] == client.dashboard_link


def test_how_to_watch_from_elsewhere(local: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    monkeypatch.setenv("LOGNAME", "me")
    host = socket.gethostname()
    watch, ssh = how_to_watch(local, page="mesodask")
    port = watch.removesuffix("/mesodask").rsplit(":", 1)[1]
    assert ssh == f"from your own machine first: ssh -N -L {port}:127.0.0.1:{port} me@{host}"
    monkeypatch.setenv("SLURM_SUBMIT_HOST", "login1")
    assert how_to_watch(local)[1].endswith(f":{port} -J me@login1 me@{host}")
    with start_cluster(str(scheduler_file(local))) as other:
        assert how_to_watch(other)[1].endswith(f" me@{host}")
        monkeypatch.delenv("SSH_CONNECTION")
        assert len(how_to_watch(other)) == 1  # it is on this very machine


# clusters that run already ----------------------------------------------------------------------------------------


def test_a_scheduler_file_lets_other_processes_of_this_user_in(local: Client) -> None:
    file = scheduler_file(local)
    with start_cluster(str(file)) as other:
        assert other.submit(sum, [1, 3]).result() == 4
    assert local.submit(sum, [1, 4]).result() == 5


def test_an_address_is_connected_to_and_left_as_it_is(local: Client) -> None:
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster:
        with start_cluster(cluster.scheduler_address) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        assert cluster.status.name == "running"
    keys = local.security.get_tls_config_for_role("client")
    tls = {"ca-file": keys["ca_file"], "client": {"cert": keys["cert"], "key": keys["key"]}}
    settings = dask.config.merge(dask.config.get("distributed.comm.tls"), tls)
    with dask.config.set({"distributed.comm.tls": settings}), start_cluster(local.scheduler.address) as client:
        assert client.submit(sum, [1, 5]).result() == 6


def test_clusters_that_are_not_there_are_told(local: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesodask.compute.cluster.ANSWER_WITHIN", "1s")
    with pytest.raises(ClusterError, match=r"no Dask scheduler lets us in at tcp://127.0.0.1:9 "):
        start_cluster("tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"give its scheduler file, or set distributed.comm.tls"):
        start_cluster(local.scheduler.address)
    with pytest.raises(ClusterError, match=r"gone.json: there is no such scheduler file; is its cluster closed"):
        start_cluster(tmp_path / "gone.json")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(ClusterError, match=r"bad.json: is no scheduler file"):
        start_cluster(tmp_path / "bad.json")


# what is asked for ------------------------------------------------------------------------------------------------


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], shared: Path, monkeypatch: pytest.MonkeyPatch):
    """Prints the batch script of a job by the command line."""
    monkeypatch.setenv("PATH", "/nowhere")  # nothing can be submitted

    def printed(*arguments: str) -> list[str]:
        assert main(["cluster", "--job-script", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return printed


def test_a_named_block_is_read_over_slurm_and_options_over_both(script, shared: Path) -> None:
    user = {"jobqueue.slurm.account": "ours", "jobqueue.lab": {"queue": "short", "memory": "2 GiB", "walltime": "60"}}
    with dask.config.set(user):
        lines = script("--cluster", "lab", "--walltime", "01:30:00", "--job-extra=--qos=long", "--job-extra=-C avx2")
    assert lines[0] == "#!/usr/bin/env bash"
    assert set(lines) >= {
        "#SBATCH -p short", "#SBATCH -A ours", "#SBATCH --mem=2G", "#SBATCH -t 01:30:00", "#SBATCH --qos=long",
        "#SBATCH -C avx2", "#SBATCH --cpus-per-task=1", "#SBATCH -J mesodask-RUN", "export NUMBA_NUM_THREADS=1",
    }  # fmt: skip
    (command,) = [line for line in lines if "dask_worker" in line]
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker tls://")
    # of 90 minutes the worker lives 70 to 80
    for part in ("--nthreads 1", "--lifetime 4500s", "--lifetime-stagger 300s", f"--tls-key {shared}/RUN/key.pem"):
        assert part in command


def test_what_the_user_configured_is_over_our_defaults_and_these_over_dask_jobqueues(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({"jobqueue": {"slurm": {"memory": "9 GiB"}}, "mesodask": {"cluster": {"dashboard-port": 9999}}})
    )
    code = (
        "import dask; from mesodask.compute.cluster import slurm_plan\n"
        "plan = slurm_plan('slurm')\n"
        "print(plan.job['memory'], plan.job['walltime'], plan.n_workers, plan.scheduler['dashboard_address'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"DASK_CONFIG": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "9 GiB 04:00:00 8 127.0.0.1:9999"


EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_configurations_are_complete(path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block gives jobs, and what slurm.yaml and local.yaml call defaults are defaults."""
    monkeypatch.setenv("USER", "me")
    content = yaml.safe_load(path.read_text())
    for name, block in content.get("jobqueue", {}).items():
        with dask.config.set({f"jobqueue.{name}": block}):
            plan = slurm_plan(name, memory=None)
        assert plan.job["queue"] == block["queue"]
        assert plan.job["memory"] == block["memory"]
        assert (plan.adaptive is None) == (block.get("adaptive") is None)
    if path.stem in ("slurm", "local"):
        mine = content["mesodask"]["cluster"]
        assert mine == {key: DEFAULTS["mesodask"]["cluster"][key] for key in mine}
        jobs = content.get("jobqueue", {}).get("slurm", {})
        reconfigured = dask.config.get("jobqueue.slurm", {})
        assert {key: reconfigured[key] for key in jobs} == jobs


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("no-such", {}, r"cluster 'no-such'; expected local, slurm, tcp://HOST:PORT.*\(lab, odd\)"),
        ("pbs", {}, "cluster 'pbs'; expected local, slurm"),
        ("local", {"queue": "short", "job_extra": ["-x"]}, "queue, job_extra: has no meaning for local workers"),
        ("tcp://127.0.0.1:1", {"n_workers": 2}, "n_workers: has no meaning for the cluster at tcp://127.0.0.1:1"),
        ("local", {"n_workers": 0}, "n_workers=0; expected at least 1"),
        ("lab", {"memory": "lots"}, "memory: 'lots'; expected a size such as '8 GiB'"),
        ("local", {"memory": "lots"}, "memory: 'lots'; expected a size such as '8 GiB'"),
        ("lab", {"walltime": "soon"}, "walltime: 'soon'; expected e.g. 04:00:00"),
        ("lab", {"adaptive": (3, 2)}, r"adaptive=\(3, 2\) with cores: 1; expected the fewest and the most"),
        ("odd", {}, "jobqueue: gpus is no setting of SLURM jobs; there are account, adaptive"),
        ("lab", {"adaptive": 40}, r"adaptive=40; expected the fewest and the most workers, such as \[0, 40\]"),
    ],
)
def test_wrong_arguments_are_told(kind: str, options: dict, message: str) -> None:
    blocks = {"jobqueue.lab": {"queue": "short"}, "jobqueue.odd": {"gpus": 2}}
    with dask.config.set(blocks), pytest.raises(SettingsError, match=message):
        start_cluster(kind, **options)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("walltime: 12:00:00", r'walltime: found the number 43200; write it in quotes, as "04:00:00"'),
        ("cores: two", "cores: expected a whole number, found 'two'"),
        ("n-workers: many", "n-workers: expected a whole number, found 'many'"),
        ("adaptive: [0, many]", r"adaptive=\[0, 'many'\]; expected the fewest and the most workers"),
        ("check-every: soon", "check-every: expected a time such as 15s, found 'soon'"),
        ("job-script-prologue: 7", "job-script-prologue: expected a list of texts, found 7"),
    ],
)
def test_wrong_values_of_a_block_are_told(block: str, message: str) -> None:
    with dask.config.set({"jobqueue.lab": yaml.safe_load(block)}), pytest.raises(SettingsError, match=message):
        start_cluster("lab")


def test_a_block_may_be_empty_and_a_list_of_one_stand_without_brackets(
    script: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHOSE", "mine")
    block = {
        "job-script-prologue": "module load python", "job-extra-directives": "--qos=long",
        "worker-extra-args": "--no-nanny", "log-directory": f"{tmp_path}/$WHOSE/logs",
    }  # fmt: skip
    with dask.config.set({"jobqueue.lab": block, "jobqueue.empty": None}):
        lines = script("--cluster", "lab")
        assert len(script("--cluster", "empty")) > 5
    assert "module load python" in lines
    assert "#SBATCH --qos=long" in lines
    assert " --no-nanny" in lines[-1]
    assert f"#SBATCH -e {tmp_path}/mine/logs/" in " ".join(lines)


def test_options_that_do_not_go_together_are_told_as_they_were_typed(capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--workers", "0-4"], "--workers: has no meaning for local workers; leave it out"),
        (["--queue", "short", "--walltime", "1:00:00"], "--queue: has no meaning for local workers; leave it out"),
        (["--job-script", "--cluster", "local"], "--job-script: local has no batch jobs; name slurm, or a block"),
    ):
        assert main(["cluster", *options]) == 2
        assert message in capsys.readouterr().err


def test_without_slurm_it_is_said(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match="there is no sbatch, squeue, scancel on this machine"):
        start_cluster("slurm")


def test_importing_dask_jobqueue_leaves_the_interrupt_alone() -> None:
    """By itself it makes Ctrl-C a silent success."""
    code = "import signal; import mesodask.compute.jobs; print(signal.getsignal(2) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


# the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ended_by", "expected"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_cluster_that_stays_for_other_commands(
    tmp_path: Path, ended_by: signal.Signals, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = subprocess.Popen(
        [sys.executable, "-m", "mesodask", "cluster", "--workers", "1"], stdout=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        assert command.stdout is not None
        watch, use = command.stdout.readline(), command.stdout.readline()
        assert watch.startswith("watch the workers at http://127.0.0.1:")
        file = Path(use.split("--cluster ")[1].split(",")[0])
        with start_cluster(file) as client:
            assert client.submit(sum, [2, 2]).result(timeout=60) == 4
        assert main(["cluster", "--cluster", str(file)]) == 2
        assert f"the cluster {file} was started by somebody else" in capsys.readouterr().err
    finally:
        os.killpg(command.pid, ended_by)
        status = command.wait(timeout=60)
    assert status == expected
    assert not file.parent.exists()


@pytest.mark.parametrize("workers", ["none", "3-1", "0", "1-2-3"])
def test_wrong_numbers_of_workers_are_told(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "--job-script", "--workers", workers]) == 2
    assert "expected a number such as 8, or a range such as 0-40" in capsys.readouterr().err


def test_every_computing_command_takes_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("embed", "ndc", "pairs", "demo", "cluster"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        for option in ("cluster", "workers", "memory", "walltime", "queue", "account", "job-extra"):
            assert f"--{option}" in text
