"""Every command answers as JSON, has an example, calls one thing by one name, and says as much as is asked."""

import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import xarray as xr
from distributed import Client

from mesodask.cli import main
from mesodask.cli.main import group
from mesodask.compute.cluster import scheduler_file
from mesodask.errors import TasksFailedError
from mesodask.io import alf
from mesodask.simulate import SimulatedSubject

FAST = "--targets choice --ks 4,8 --resamples 2 --shuffles 3"
WHERE = "--one {one} --cache-dir {cache} --roicat-root {roicat}"


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """All commands that do something, by their names."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    elif not command.hidden:
        yield " ".join(path), command


COMMANDS = dict(leaves(group))


@pytest.fixture(scope="module")
def places(
    subject: SimulatedSubject, sessions: list[xr.Dataset], client: Client, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A cache with the stores of the sessions and a run of two of them, and what else commands are called with."""
    folder = tmp_path_factory.mktemp("json")
    cache = folder / "cache"
    (cache / "data").mkdir(parents=True)
    for session in sessions:
        source = Path(session.encoding["source"])
        shutil.copytree(source, cache / "data" / source.name)
    (folder / "empty").mkdir()
    found = {"one": subject.one_dir, "roicat": subject.roicat_root, "cache": cache, "folder": folder,
             "empty": folder / "empty", "cluster": scheduler_file(client), "eid": subject.eids[0]}  # fmt: skip
    assert main(filled(f"ndc --subject SP072 --to 2025-01-14 {WHERE} {FAST} --cluster {{cluster}} --quiet", found)) == 0
    (found["run"],) = (cache / "decoding").glob("*.zarr")
    return found


def filled(line: str, places: dict[str, Any]) -> list[str]:
    return shlex.split(line.format(**places))


# what each command is called with, and some of what it must answer; each name of a command must be here
JSON: dict[str, tuple[str, Any]] = {
    "simulate": ("{folder}/sim --days 2 --trials 20 --rois 10", {"one", "roicat_root", "truth", "sessions"}),
    "embed": ("SP072/2025-01-13/1 --no-rastermap --one {one} --cache-dir {cache}", {"stores"}),
    "track": ("--subject SP072 --from 2025-01-14 --one {one} --roicat-root {roicat}", {"session", "date", "subject"}),
    "ndc": (f"--subject SP072 --to 2025-01-14 {WHERE} {FAST} --cluster {{cluster}}", {"run", "rows"}),
    "ndc --dry-run": (f"--subject SP072 --to 2025-01-14 {WHERE} {FAST}", {"dry_run"}),
    "pairs": (f"--subject SP072 --to 2025-01-14 --min-trials 0 {WHERE} {FAST} --cluster {{cluster}}", list),
    "pairs --dry-run": (f"--subject SP072 --min-trials 0 {WHERE} {FAST}", {"dry_run"}),
    "cross-session": (
        f"--subject SP072 --from 2025-01-14 --min-trials 0 --min-sessions 2 --min-k-shared 4 --reduction none "
        f"--no-elasticnet --C 1 --shuffles 3 --targets choice {WHERE} --cluster {{cluster}} --csv {{folder}}/cross.csv",
        {"run", "rows", "table"},
    ),
    "cross-session --dry-run": (
        f"--subject SP072 --min-trials 0 --min-sessions 2 --min-k-shared 4 --reduction none --shuffles 3 {WHERE}",
        {"dry_run"},
    ),
    "sparseness": ("SP072/2025-01-13/001 --one {one} --cache-dir {cache}", {"stores", "rows"}),
    "status": ("{run}", {"state", "total", "done"}),
    "summary": ("{run} --csv {folder}/curves.csv", {"run", "rows", "curves", "csv"}),
    "list sessions": ("--cache-dir {cache}", list),
    "list runs": ("--cache-dir {cache}", list),
    "list subjects": ("--cache-dir {cache}", list),
    "list sparseness": ("--cache-dir {cache}", list),
    "list imports": ("--cache-dir {cache}", list),
    "list analyses": ("--cache-dir {cache}", list),
    "doctor": ("--one {one} --cache-dir {cache} --roicat-root {roicat}", {"ready", "checks"}),
    "import": ("{empty} --cache-dir {cache}", list),
    "plot ndc": ("{run} --save {folder}/ndc.png", {"figure"}),
    "plot k-star": ("{run} --save {folder}/k.png", {"figure"}),
    "plot raster": (
        "SP072/2025-01-13/001 --unsorted --one {one} --cache-dir {cache} --save {folder}/r.png",
        {"figure"},
    ),
    "plot xyz": ("SP072/2025-01-13/1 --view top --one {one} --cache-dir {cache} --save {folder}/x.png", {"figure"}),
    "report": ("{run} -o {folder}/report.html", {"report"}),
    "cluster": ("--job-script --cluster slurm --walltime 01:00:00", {"job_script"}),
    "submit": ("--print --jobs-dir {folder}/jobs -- ndc {eid}", {"job_script"}),
    "config init": ("{folder}/analysis.yaml", {"analysis"}),
    "config show": ("{folder}/analysis.yaml", {"data", "ndc"}),
    "rm": ("SP072/2025-01-15/1 --yes --cache-dir {cache}", {"removed"}),  # the last: it takes a session away
}
ELSEWHERE = {"demo": "below", "mirror": "tests/test_mirror.py", "run": "tests/test_workflow.py"}


def test_every_command_is_tried() -> None:
    tried = {name.removesuffix(" --dry-run") for name in JSON} | ELSEWHERE.keys()
    assert tried == set(COMMANDS), "a command that answers has --json, and an entry in JSON"
    for name, command in COMMANDS.items():
        assert "--json" in {option for parameter in command.params for option in parameter.opts}, name


@pytest.mark.parametrize("name", JSON)
def test_json_is_one_document_and_nothing_else(
    name: str, places: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    line, expected = JSON[name]
    words = filled(f"{name} --json {line}", places)
    status = main(words)
    out, err = capfd.readouterr()
    assert status == 0 or (name == "doctor" and status == 1), err
    document = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    if isinstance(expected, set):
        assert expected <= document.keys()
    else:
        assert isinstance(document, expected)


def test_json_says_what_the_words_say(places: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(filled("summary {run}", places)) == 0
    words = capsys.readouterr().out
    assert main(filled("summary {run} --json", places)) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["date"] for row in rows] == ["2025-01-13", "2025-01-14"]
    for row in rows:
        assert re.search(rf"choice +{row['date']} +{row['n_trials']} +{row['ceiling']:.3f} ", words)


def test_demo_answers_as_json(
    places: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mesodask import demo
    from mesodask.settings import NdcSettings

    monkeypatch.setattr(demo, "CURVES", NdcSettings(ks=(8,), R=2, n_label_shuffles=0))
    monkeypatch.setattr(demo, "_sorting", lambda *_: contextlib.nullcontext())  # seconds for what is not asked here
    assert main(filled("demo --dir {folder}/demo --cluster {cluster} --json", places)) == 0
    found = json.loads(capfd.readouterr().out)
    assert Path(found["figure"]).exists()
    assert (found["reused"], len(found["rows"])) == (False, 16)


# days and names of sessions ---------------------------------------------------------------------------------------


def test_days_hold_where_functions_choose_from_a_subject(
    places: dict[str, Any], subject: SimulatedSubject, capsys: pytest.CaptureFixture[str]
) -> None:
    base = "track --one {one} --roicat-root {roicat} --json --subject SP072"
    for mode in ("", "--table", "--best --sizes 2 --min-trials 0", "--pairs --min-trials 0"):
        assert main(filled(f"{base} --from 2025-01-14 {mode}", places)) == 0
        found = json.loads(capsys.readouterr().out)
        chosen = found[0] if isinstance(found, list) else found
        assert chosen["session"] == list(subject.eids[1:]), mode


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("embed SP072/2025-01-13/1 --to 2025-01-14", "--from and --to go with --subject"),
        ("embed --subject SP072 --from 2025-02-30", "--from"),
        ("embed --subject SP072 --from 2025-01-15 --to 2025-01-13", "is after the last"),
        ("pairs --subject SP072 --from 2025-02-01 --min-trials 0", "it has 3, on 2025-01-13"),
        ("cross-session --subject SP072 --to 2025-01-13", "1 session given"),
        ("plot raster SP072/2025-01-19/1 --save x.png", "did you mean SP072/2025-01-1"),
        ("ndc SP072/2025-01-13/1 SP072/2025-01-13/001", "more than once"),
        ("ndc --subject SP072 --quiet --verbose", "--quiet does not go with --verbose"),
    ],
)
def test_wrong_days_and_names_are_status_2(
    places: dict[str, Any], capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert main(filled(f"{line} --one {{one}} --json", places)) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""


def test_what_failed_is_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise TasksFailedError("3 tasks failed")

    monkeypatch.setattr(alf, "connect", fail)
    assert main(["embed", "--subject", "SP072"]) == 1
    assert capsys.readouterr().err == "Error: 3 tasks failed\n"


# how much is said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["--quiet {}", "{} --quiet"])
def test_quiet_says_nothing_but_errors(places: dict[str, Any], capfd: pytest.CaptureFixture[str], line: str) -> None:
    command = "ndc --subject SP072 --to 2025-01-14 " + WHERE + " " + FAST + " --cluster {cluster}"
    assert main(filled(line.replace("{}", command), places)) == 0
    out, err = capfd.readouterr()
    assert (err, "run " in out) == ("", True)
    assert main(filled(command, places)) == 0
    assert "features 2/2" in capfd.readouterr().err
    assert main(filled(line.replace("{}", command.replace("SP072", "SP1")), places)) == 2
    assert capfd.readouterr().err.startswith("Error: no session of subject 'SP1'")


def test_verbose_says_more_and_leaves_nothing_behind(
    places: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().level, logging.getLogger("mesodask").level, list(logging.getLogger().handlers)
    command = "track SP072/2025-01-13/1 SP072/2025-01-14/1 --one {one} --roicat-root {roicat}"
    assert main(filled(f"{command} --verbose", places)) == 0
    assert "2 sessions: SP072/2025-01-13/001, SP072/2025-01-14/001" in capsys.readouterr().err
    assert main(filled(command, places)) == 0
    assert "2 sessions:" not in capsys.readouterr().err
    assert before == (logging.getLogger().level, logging.getLogger("mesodask").level, logging.getLogger().handlers)


# help, names, completion ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_fits_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"Examples?: mesodask {name}", out)
    (example,) = re.findall(rf"Examples?: (mesodask {name}.*?)(?= mesodask | CONFIG | Options:)", out)
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts + parameter.secondary_opts}
    typed = example.split(" -- ")[0].split()
    assert {word for word in typed if word.startswith("-")} <= known


@pytest.mark.parametrize("name", ["", "plot", "list"])
def test_groups_have_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    assert re.search(r"(Example|Try it): mesodask", capsys.readouterr().out)


ONE_NAME_TWO_KINDS = {
    "--workers": "requests at a time, of a mirror",
    "--to": "a folder, of a mirror; it was there first",
    "--C": "one, or several to search",
    "--sampling": "checked with the settings, where there are settings",
}


def test_one_name_of_an_option_is_one_thing() -> None:
    kinds: dict[str, set] = defaultdict(set)
    for command in COMMANDS.values():
        for option in (parameter for parameter in command.params if isinstance(parameter, click.Option)):
            for name in option.opts:
                kinds[name].add((type(option.type), option.multiple, option.is_flag, option.nargs))
    assert {name for name, found in kinds.items() if len(found) > 1} == set(ONE_NAME_TWO_KINDS)


@pytest.mark.parametrize(
    ("typed", "offered"), [("cross", "cross-session"), ("plot ra", "raster"), ("ndc --resam", "--resamples")]
)
def test_a_shell_completes_names(typed: str, offered: str) -> None:
    words = ["mesodask", *typed.split()]
    environment = {"_MESODASK_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words),
                   "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "mesodask"], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert f"plain,{offered}" in done.stdout.splitlines()


def test_lazy_names_are_completed() -> None:
    import mesodask

    assert set(mesodask.__all__) <= set(dir(mesodask))
