"""Every command with wrong, missing and hostile arguments: done, or words and status 1 or 2; nothing else is touched.

The commands are those that there are: whatever is added is walked over, too. What a command needs besides the argument
that is hostile comes from ``GOOD`` and ``BESIDES``, by name.
"""

import io
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from damage_kinds import remove
from distributed import Client

from mesodask import load_or_embed, neuron_dropping_curves, simulate_subject
from mesodask.cli import main
from mesodask.cli.main import group

HUGE = str(10**20)
# numbers of these are settings, which tests of their own look after
OF_SETTINGS = {"ndc", "pairs", "cross-session", "run"}
NUMBERS = ("nan", "inf", "-1", "0", "1e400", "-inf", "", "x", "9" * 5000, HUGE, "1,2", "0x10")
TEXTS = (
    "", " ", "*", "..", "../../outside", "a/b", "SP*", "[", "séance 日本", "a\nb", "a\0b", "-x", "x" * 300, "\udcff",
    "not-an-eid", "00000000-0000-0000-0000-000000000000", "{0}%s$HOME", "nan", "-1", "1e400", ",", "1,,2", "local",
)  # fmt: skip
# below the sandbox; what may well be a new folder or file is written to, and only there
PATHS = (
    "here/../beyond/x", "a b/c d", "séance/日本", "a\nb/c", "-dash", "a\0b", "x" * 300, "a file", "a folder",
    "a file/below", "dangling", "dangling/below", "loop", "loop/below", "/proc/nowhere", "/dev/full", "/dev/null/x",
    "", "\udcff", "~nobody-of-this-name/x", "a folder/*", "x/" * 2500,
)  # fmt: skip
# a value that a command could well work with makes these ones work for minutes, or wait for ever
ONLY_IMPOSSIBLE = {"demo", "drive"}
IMPOSSIBLE = ("a\0b", "a file", "a file/below", "loop", "loop/below", "/proc/nowhere", "/dev/null/x", "x" * 300)
# options that many commands share are tried on one of them
SHARED = dict.fromkeys(("kind", "n_workers", "memory", "walltime", "queue", "account", "job_extra"), "cluster")
# what keeps a command from hours of work, or from the network
BESIDES = {
    "ndc": ["--dry-run"], "pairs": ["--dry-run"], "cross-session": ["--dry-run"], "run": ["--dry-run"],
    "cluster": ["--job-script"], "submit": ["--print"], "mirror": ["--retries=0"], "rm": ["--yes"],
    "embed": ["--rastermap=none"], "simulate": ["--days=1", "--rois=5", "--trials=10"],
}  # fmt: skip
N_VALUES = 3  # tried of each argument; all of them with --damages 500
SLOW = {"drive": 1}  # starts a process for each
# where workers' files and matplotlib's go by default
DEFAULT_PLACES = ("home/.cache", "home/.config/matplotlib")


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands that do something, by what is typed."""
    if isinstance(command, click.Group):
        for part, child in command.commands.items():
            yield from leaves(child, f"{name} {part}".strip())
    else:
        yield name, command


COMMANDS = dict(leaves(group))


@dataclass
class Sandbox:
    """A folder in which everything happens, with a subject, its cache and what hostile paths lead to."""

    root: Path
    good: dict[str, list[str]]

    def places(self) -> list[str]:
        """Where a right command line may write."""
        return [value for key in (*WHERE, "save", "folder") for value in self.good[key]] + list(DEFAULT_PLACES)

    def contents(self) -> dict[str, tuple[int, int]]:
        """Everything there is, with what tells whether a file has changed."""
        found = {}
        for path in self.root.rglob("*"):
            stat = path.lstat()
            found[str(path)] = (0, 0) if path.is_dir() and not path.is_symlink() else (stat.st_size, stat.st_mtime_ns)
        return found


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    root = tmp_path_factory.mktemp("sandbox")
    made = simulate_subject(
        root / "sim", n_days=2, n_trials=60, rois_per_fov=(12, 12), signals=("deconvolved",), seed=3
    )
    for name in ("home", "here", "a folder"):
        (root / name).mkdir()
    (root / "a file").write_text("x")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    cache = root / "cache"
    load_or_embed(list(made.eids), one=made.one_dir, cache_dir=cache)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        run = neuron_dropping_curves(
            made.eids, one=made.one_dir, cache_dir=cache, roicat_root=made.roicat_root, client=client,
            targets=("choice",), ks=(4,), R=2, n_label_shuffles=3,
        )  # fmt: skip
    good = {
        "eids": list(made.eids), "session": [made.eids[0]], "run": [str(run.path)], "names": ["no-store-of-this-name"],
        "one": [str(made.one_dir)], "cache_dir": [str(cache)], "roicat_root": [str(made.roicat_root)],
        "save": [str(root / "out.png")], "folder": [str(root / "new")], "path": [str(root / "a folder")],
        "subject": [made.subject], "url": ["http://127.0.0.1:9"], "to": [str(root / "to")],
        "what": ["list", "runs"], "command": ["list", "runs", "--cache-dir", str(root / "a file")],
        "script": [str(root / "a file")], "number": ["1"], "most": ["1"], "margin": ["1"],
        "config": [str(root / "a file")], "settings": [str(root / "a file")],
    }  # fmt: skip
    return Sandbox(root, good)


@pytest.fixture(autouse=True)
def within(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a working folder in the sandbox, and nobody who answers questions."""
    monkeypatch.chdir(sandbox.root)
    monkeypatch.setenv("HOME", str(sandbox.root / "home"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def values_for(parameter: click.Parameter, name: str) -> tuple[str, ...]:
    """Hostile values of an argument or option, by what it takes."""
    if isinstance(parameter.type, click.Path):
        return IMPOSSIBLE if name in ONLY_IMPOSSIBLE else PATHS
    if not isinstance(parameter.type, (click.types.IntParamType, click.types.FloatParamType)):
        return TEXTS
    return tuple(number for number in NUMBERS if number != HUGE or name not in OF_SETTINGS)


def typed(sandbox: Sandbox, name: str, hostile: click.Parameter | None, value: str | None) -> list[str]:
    """A command line that is right but for one argument; without a value, this argument is missing."""
    command = COMMANDS[name]
    options, arguments = [*BESIDES.get(name, [])], []
    for parameter in command.params:
        wanted = sandbox.good.get(str(parameter.name), [])
        if parameter is hostile:
            wanted = [] if value is None else [value]
        elif isinstance(parameter, click.Option) and not parameter.required and parameter.name not in WHERE:
            continue
        if hostile is not None and hostile.name == "subject" and parameter.name == "eids":
            continue  # one way or the other
        if isinstance(parameter, click.Argument):
            arguments += wanted
        else:
            options = [o for o in options if not o.startswith(f"{parameter.opts[0]}=")]
            options += [f"{parameter.opts[-1]}={one}" for one in wanted]
    return [*name.split(), *options, "--", *arguments]


WHERE = ("one", "cache_dir", "roicat_root", "to")


def faults_of(sandbox: Sandbox, capfd: pytest.CaptureFixture[str], words: list[str], places: list[str]) -> list[str]:
    """Run a command line; say what is wrong with how it ends and with what it has touched."""
    before = sandbox.contents()
    try:
        status: object = main(words)
    except SystemExit as end:  # of a command that ends as another one did
        status = end.code
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        status = f"{error!r:.200} at {frame.filename}:{frame.lineno}"
    out, err = capfd.readouterr()
    faults = []
    if status not in (0, 1, 2) or "Traceback" in out + err or (status != 0 and not err.strip()):
        faults.append(f"ends with {status}: {err[-300:]}")
    after = sandbox.contents()
    changed = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    allowed = [os.path.realpath(place) for place in places if "\0" not in place and len(place) < 4000]
    if outside := [path for path in changed if not any(_is_beside(path, place) for place in allowed)]:
        faults.append(f"touches {outside}")
    for path in sorted(set(after) - set(before)):
        if os.path.lexists(path):
            remove(Path(path))
    return [f"mesodask {' '.join(map(ascii, words))[:400]}: {fault}" for fault in faults]


def _is_beside(path: str, place: str) -> bool:
    """Tell whether a path is a place, below it or above it."""
    real = os.path.realpath(path)
    return f"{real}/".startswith(f"{place}/") or place.startswith(f"{real}/")


@pytest.mark.timeout(1800)  # with all values it takes minutes on a busy machine
@pytest.mark.parametrize("name", COMMANDS)
def test_hostile_arguments_end_in_words(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], pytestconfig: pytest.Config, name: str
) -> None:
    rng = np.random.default_rng(len(name))
    faults: list[str] = []
    every = pytestconfig.getoption("--damages") >= 500
    given = sandbox.places()
    for parameter in COMMANDS[name].params:
        if getattr(parameter, "is_flag", False) or SHARED.get(str(parameter.name), name) != name:
            continue
        values = values_for(parameter, name)
        chosen = (
            values if every else rng.choice(np.array(values, dtype=object), SLOW.get(name, N_VALUES), replace=False)
        )
        for value in chosen:
            faults += faults_of(sandbox, capfd, typed(sandbox, name, parameter, value), [*given, value])
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_and_unknown_arguments_end_in_words(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    given = sandbox.places()
    faults = faults_of(sandbox, capfd, [*name.split(), "--no-such-option"], given)
    for parameter in COMMANDS[name].params:
        if parameter.required:
            faults += faults_of(sandbox, capfd, typed(sandbox, name, parameter, None), given)
    assert not faults, "\n".join(faults)


def test_the_right_command_lines_are_right(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """Else everything above might fail for another reason than the hostile argument."""
    for name in ("embed", "track", "ndc", "status", "summary", "plot ndc", "plot raster",
                 "list runs", "list sessions", "simulate"):  # fmt: skip
        status = main(typed(sandbox, name, None, None))
        assert status == 0, capfd.readouterr().err
