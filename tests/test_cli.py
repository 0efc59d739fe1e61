"""The command line as a user meets it: what it prints, and how it ends."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesodask import simulate_subject, track_neurons
from mesodask.cli import main
from mesodask.simulate import SimulatedSubject

README = Path(__file__).resolve().parents[1] / "README.md"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_demo_and_again(tmp_path: Path) -> None:
    """In processes of its own, as a user runs it."""
    command = [sys.executable, "-m", "mesodask", "demo", "--dir", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "http://127.0.0.1" in first.stderr
    assert (tmp_path / "demo_ndc.png").stat().st_size > 50_000
    rows = [line for line in first.stdout.splitlines() if re.match(r"(choice|feedback|stimulus|block) ", line)]
    assert len(rows) == 4 * 4
    assert all("0.0099" in row for row in rows)
    assert "nothing was computed again" not in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "nothing was computed again" in second.stdout
    assert [line for line in second.stdout.splitlines() if re.match(r"(choice|feedback|stimulus|block) ", line)] == rows


def test_demo_that_lost_its_run_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mesodask import demo
    from mesodask.settings import NdcSettings

    monkeypatch.setattr(demo, "CURVES", NdcSettings(ks=(8,), R=2, n_label_shuffles=0))
    said: list[str] = []
    first = demo.run_demo(tmp_path, progress=lambda *_: None, announce=said.append)
    shutil.rmtree(first.run.path)
    again = demo.run_demo(tmp_path, progress=lambda *_: None, announce=said.append)
    assert [first.reused, again.reused] == [False, False]
    assert [line.startswith("watch the workers") for line in said] == [True, True]
    assert demo.run_demo(tmp_path, progress=lambda *_: None, announce=said.append).reused
    assert "found a finished demo" in said[-1]


def test_skipped_sessions_leave_the_table_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import xarray as xr

    from mesodask.cli.tables import print_summary

    monkeypatch.setenv("COLUMNS", "80")
    per_session = {n: (("target", "session"), [[0.9, np.nan]]) for n in
                   ("ceiling", "k_star", "k_star_low", "k_star_high", "p_largest", "p_curve", "q")}  # fmt: skip
    reason = "3 trials of class 1 and 40 of class 0, at least 10 of each needed; 200 dropped: no label"
    summary = xr.Dataset(
        per_session
        | {
            "n_trials": (("target", "session"), [[100, 0]]),
            "status": (("target", "session"), [["partial", "skipped"]]),
            "reason": (("target", "session"), [["", reason]]),
            "n_shuffles": (("target", "session"), [[100, 0]]),
            "n_shuffles_possible": (("target", "session"), [[100, 0]]),
            "n_shuffles_asked": ("target", [100]),
            "n_resamples": (("target", "session", "k"), [[[50], [0]]]),
            "n_null_resamples": (("target", "session", "k"), [[[50], [0]]]),
            "null_kind": ("target", ["circular"]),
            "null_valid": ("target", [True]),
            "null_note": ("target", [""]),
            "folds_note": ("target", [""]),
        },
        coords={"target": ["feedback"], "date": ("session", ["2025-01-13", "2025-01-14"])},
        attrs={"subject": "S1", "n_shared": 3, "metric": "auc", "decoder": ""},
    )
    print_summary(summary)
    out = capsys.readouterr().out
    assert re.search(r"feedback +2025-01-13 +100 +0.900 +1 \(1-1\) +0.9 +0.9 +0.9", out)
    assert re.search(r"feedback +2025-01-14 +skipped", out)
    assert f"2025-01-14, is skipped: {reason}" in out
    assert "2025-01-13, is not finished" in out


def test_interrupt_of_a_terminal_is_calm(subject: SimulatedSubject, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole process group, workers included."""
    command = [
        sys.executable, "-m", "mesodask", "ndc", "--subject", "SP072", "--one", str(subject.one_dir),
        "--roicat-root", str(subject.roicat_root), "--cache-dir", str(tmp_path), "--resamples", "2000",
    ]  # fmt: skip
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.time() + 120
    while not list(tmp_path.glob("decoding/*.zarr/choice/score/c/**/0")):
        assert time.time() < deadline
        assert running.poll() is None
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "goes on from there" in err
    assert f"run      {next(tmp_path.glob('decoding/*.zarr'))}" in err
    assert "Traceback" not in err


def test_simulate_embed_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "simulate", tmp_path / "sim", "--days", 2, "--rois", "20,30", "--trials", 30)
    assert status == 0
    one, roicat = tmp_path / "sim" / "one", tmp_path / "sim" / "chronic_csv"
    assert str(one) in out
    eids = re.findall(r"^[0-9a-f-]{36}", out, re.MULTILINE)
    assert len(eids) == 2
    status, out, _ = run(capsys, "embed", "--subject", "SP072", "--one", one, "--no-rastermap")
    assert status == 0
    assert [Path(line).stem for line in out.splitlines()] == eids
    status, out, _ = run(capsys, "track", *eids, "--one", one, "--roicat-root", roicat)
    assert status == 0
    assert re.search(r"\d+ neurons in all 2 sessions", out)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """Six days, trials enough for blocks of both sides."""
    return simulate_subject(
        tmp_path_factory.mktemp("week"), n_days=6, n_trials=200, rois_per_fov=(20, 20), signals=("deconvolved",), seed=2
    )


def track(capsys: pytest.CaptureFixture[str], week: SimulatedSubject, *options: object) -> str:
    where = ("--subject", week.subject, "--one", week.one_dir, "--roicat-root", week.roicat_root)
    status, out, err = run(capsys, "track", *where, *options)
    assert status == 0, err
    assert all(len(line) <= 80 for line in out.splitlines() if "--json" not in options and "figure" not in line)
    return out


def test_track_modes(
    week: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of the tables are those of the functions (tests/test_session_choice.py holds them against the truth)."""
    from mesodask import best_session_subsets, consecutive_pairs, tracking_table
    from mesodask.session_choice import subset_eids

    monkeypatch.setenv("COLUMNS", "80")
    where = {"one": week.one_dir, "roicat_root": week.roicat_root}
    table = tracking_table(week.subject, **where)
    out = track(capsys, week, "--table", "--figure", tmp_path / "days.png")
    shared, n = table["shared"].values, table["n_neurons"].values
    part = f"{shared[3, 2] / min(n[2], n[3]):.0%}"
    assert re.search(rf"^2025-01-16 +{n[3]} +{shared[3, 2]} +{part} +1 *$", out, re.MULTILINE)
    assert re.search(rf"^5 +1 +{shared[0, 5]} +{shared[0, 5]} +{shared[0, 5]} *$", out, re.MULTILINE)
    assert (tmp_path / "days.png").exists()

    best = best_session_subsets(week.subject, min_trials=100, **where)
    out = track(capsys, week, "--best", "--min-trials", 100)
    for size in (5, 6):
        n_shared = int(best["n_shared"].sel(size=size))
        assert re.search(rf"^{size} +{n_shared} +0 +2025-01-1", out, re.MULTILINE)
    assert all(eid in out for eid in subset_eids(best, 6))

    out = track(capsys, week, "--pairs", "--min-trials", 100)
    for pair in consecutive_pairs(week.subject, min_trials=100, **where):
        assert f"{'  '.join(pair['date'].values)}  {pair.sizes['neuron']:>7}" in out


def test_track_json(week: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = {"one": week.one_dir, "roicat_root": week.roicat_root}
    tracked = track_neurons(week.eids, neurons="VISp", **where)
    plain = json.loads(track(capsys, week, "--json", "--neurons", "VISp"))
    assert plain["roi"] == tracked["roi"].values.tolist()
    assert plain["cluster_uid"] == tracked["cluster_uid"].values.tolist()
    assert plain["subject"] == week.subject
    plain = json.loads(track(capsys, week, "--json", "--figure", tmp_path / "days.svg"))
    assert len(plain["shared"]) == 6
    assert "presence" not in plain
    plain = json.loads(track(capsys, week, "--json", "--best", "--sizes", "2,3", "--method", "greedy",
                             "--min-trials", 0))  # fmt: skip
    assert plain["size"] == [2, 3]
    assert [sum(row) for row in plain["member"]] == [2, 3]
    plain = json.loads(track(capsys, week, "--json", "--pairs", "--min-trials", 0))
    assert [pair["session"] for pair in plain] == [list(week.eids[i : i + 2]) for i in range(5)]


def test_ndc_and_plot(subject: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        "ndc", "--subject", "SP072", "--one", subject.one_dir, "--roicat-root", subject.roicat_root,
        "--cache-dir", tmp_path / "meso", "--targets", "choice", "--ks", "4,16", "--resamples", 3, "--shuffles", 9,
    )  # fmt: skip
    status, out, err = run(capsys, *command, "--figure", tmp_path / "a.png")
    assert status == 0, err
    # where nothing is left to be computed no workers are asked for, and this scheduler not missed
    assert run(capsys, *command, "--cluster", "tcp://127.0.0.1:9")[:2] == (
        0,
        out.replace(out.splitlines()[-1] + "\n", ""),
    )
    embed = ("embed", *command[1:5], "--cache-dir", tmp_path / "meso", "--rastermap", "none")
    assert run(capsys, *embed, "--cluster", "tcp://127.0.0.1:9")[0] == 0
    assert out.count("choice  ") == 3
    assert (tmp_path / "a.png").exists()
    store = next((tmp_path / "meso" / "decoding").glob("*.zarr"))
    status, _, _ = run(capsys, "plot", store, tmp_path / "b.pdf")
    assert status == 0
    assert (tmp_path / "b.pdf").read_bytes().startswith(b"%PDF")


MISSING = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSubject:
    """Two sessions that share no neuron."""
    return simulate_subject(
        tmp_path_factory.mktemp("lonely"), n_days=2, n_trials=20, rois_per_fov=(10,), persistence=0.0
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (f"embed {MISSING} --one {{one}}", "not in the ONE tables"),
        ("embed what --one {one}", "is no eid"),
        ("embed --one {one}", "either by their eids or by --subject"),
        (f"embed {MISSING} --subject SP072 --one {{one}}", "either by their eids or by --subject"),
        ("embed --subject SP1 --one {one}", "subjects there: SP072"),
        (f"embed {MISSING} --one {{empty}}", "no ONE tables here"),
        (f"embed {MISSING} --one {{empty}}/nowhere", "no such folder"),
        ("track {eid} --one {one}", "1 session given"),
        ("track {eid} {eid} --one {one}", "more than once"),
        ("track --one {one}", "either by their eids or by --subject"),
        ("track {both} --one {one} --roicat-root {empty}", "no folder ROICaT in it"),
        ("track {both} --one {one} --roicat-root {roicat} --neurons VIS", "did you mean 'VISp'?"),
        ("track {both} --one {one} --min-trials 5", "--min-trials goes with --best or --pairs"),
        ("track {both} --one {one} --pairs --time-limit 5", "--time-limit goes with --best"),
        ("track {both} --one {one} --best --figure x.png", "--figure goes with --table"),
        ("track {both} --one {one} --figure x.xyz", "ends in one of"),
        ("track {both} --one {one} --best --sizes 2,x", "comma-separated"),
        ("track {both} --one {one} --roicat-root {roicat} --best", "20 trials, at least 400 wanted"),
        ("ndc {both} --one {one} --roicat-root {roicat}", "share no neuron"),
        ("ndc --one {one}", "either by their eids or by --subject"),
        ("ndc {eid} --one {one} --ks 8,x", "comma-separated"),
        ("ndc {eid} --one {one} --metric aux", "metric"),
        ("ndc {eid} --one {one} --targets choise", "did you mean 'choice'"),
        ("plot {empty} x.png", "no run store here"),
        ("ndc {eid} --one {one} --figure {empty}/nowhere/x.png", "does not exist"),
        ("ndc {eid} --one {one} --figure x.xyz", "ends in one of"),
        ("embed {eid} --one {one} --cache-dir {eid_file}/sub", "Not a directory"),
        ("nonsense", "No such command"),
        ("ndc --what", "No such option"),
    ],
)
def test_errors_are_words_and_status_2(
    lonely: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    filled = command.format(
        one=lonely.one_dir,
        roicat=lonely.roicat_root,
        empty=tmp_path,
        eid=lonely.eids[0],
        both=" ".join(lonely.eids),
        eid_file=README,
    )
    status, out, err = run(capsys, *shlex.split(filled))
    assert status == 2
    assert words in err
    assert "Traceback" not in err + out


def test_debug_shows_the_traceback(lonely: SimulatedSubject) -> None:
    command = [sys.executable, "-m", "mesodask", "--debug", "embed", MISSING, "--one", str(lonely.one_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "SessionNotFoundError" in done.stderr


@pytest.mark.parametrize("command", ["", "demo", "simulate", "embed", "track", "ndc", "pairs", "plot", "report"])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, _ = run(capsys, *command.split(), "--help")
    assert status == 0
    assert f"mesodask {command}".strip() in out
    if command:
        assert "Example: mesodask" in out


def test_readme_python_runs_as_pasted(tmp_path: Path) -> None:
    code = README.read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "pasted.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.count("done") == 8
    assert (tmp_path / "ndc.png").exists()


def test_readme_map_is_true() -> None:
    """Every room of the map is there, and every module is in the map."""
    block = README.read_text().split("```\nmesodask/\n")[1].split("```")[0]
    named = {line.split()[0].rstrip("/") for line in block.splitlines() if line.strip()}
    package = README.parent / "mesodask"
    there = {p.name for p in package.iterdir() if p.name[0] not in "_." and p.name != "py.typed"}
    assert named == there
