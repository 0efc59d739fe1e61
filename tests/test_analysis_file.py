"""Files of settings: what is wrong with one is told by its line, and nothing that stands in one does any harm."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how_often
from hypothesis import strategies as st

from mesodask.checked import names_of, short_hash, table_at
from mesodask.cli import main
from mesodask.errors import SettingsError
from mesodask.settings import CrossSessionSettings, NdcSettings, PopulationSettings, RunSettings
from mesodask.workflow import Analysis, analysis_template, analysis_text, read_analysis
from mesodask.workflow.analysis import AcrossSettings, ClusterSettings, DataSettings, PairsSettings
from mesodask.workflow.file import parse_analysis

EVERYTHING = Analysis(data={"subject": "SP072"}, **dict.fromkeys(Analysis.stages, True), cluster={})
SWITCHED_OFF = re.compile(r"^( *)#(?=\w+:)", re.MULTILINE)

# the file that is written ----------------------------------------------------------------------------------------


def test_the_template_says_the_defaults() -> None:
    written = parse_analysis(analysis_template())
    switched_on = parse_analysis(SWITCHED_OFF.sub(r"\1", analysis_template()))
    assert switched_on == EVERYTHING
    assert switched_on.model_copy(update={"cluster": None}) == written
    assert written.ndc == NdcSettings()
    assert written.pairs == PairsSettings()
    assert written.cross_session == AcrossSettings()
    assert written.decoding == RunSettings()


def test_every_setting_of_every_class_is_in_the_template_with_its_meaning() -> None:
    sections = dict(re.findall(r"^#?(\w+):\n((?:(?:  .*)?\n)+)", analysis_template(), flags=re.MULTILINE))
    assert set(sections) == set(Analysis.model_fields) - {"mesodask_version"}
    for section, text in sections.items():
        lines = text.splitlines()
        told = {match[1]: n for n, line in enumerate(lines) if (match := re.match(r"  #?(\w+): \S", line))}
        above = {name for parent in Analysis.inherits.get(section, ()) for name in _names(parent)}
        assert set(told) == set(_names(section)) - above, section
        assert all(re.match(r"  # \S", lines[n - 1]) for n in told.values())
    assert max(map(len, analysis_template().splitlines())) <= 120
    assert ":func:" not in analysis_template()


def _names(section: str) -> list[str]:
    return names_of(table_at(Analysis, (section,)))


def test_the_template_tells_limits_as_they_are() -> None:
    text = analysis_template()
    assert "One of auc, accuracy." in text
    assert re.search(r"At least 0, below 1\.\n  #delta: 0\.02", text)
    assert re.search(r"At least 1\.\n  #R: 50", text)


def test_config_init_keeps_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    assert main(["config", "init", str(path), "--subject", "SP001"]) == 0
    assert read_analysis(path).data.subject == "SP001"
    path.write_text("mine")
    assert main(["config", "init", str(path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["config", "init", str(path), "--force"]) == 0
    capsys.readouterr()
    assert main(["config", "init", "-"]) == 0
    assert capsys.readouterr().out == path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


def test_config_show_fills_in_every_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("data: {subject: SP072, one: data/one}\nndc:\npairs: {R: 7}\n")
    assert main(["config", "show", str(tmp_path / "a.yaml")]) == 0
    shown = parse_analysis(capsys.readouterr().out)
    assert shown.data.one == tmp_path / "data" / "one"
    assert (shown.ndc, shown.pairs, shown.report) == (NdcSettings(), PairsSettings(R=7), None)
    assert main(["config", "show", str(tmp_path / "a.yaml"), "--json"]) == 0
    assert '"n_label_shuffles": 100' in capsys.readouterr().out


# what it means ---------------------------------------------------------------------------------------------------


def test_stages_take_over_what_they_are_not_given() -> None:
    text = """
data: {subject: SP072}
decoding: {seed: 3, targets: choice, null: permute}
ndc: {ks: [4], seed: 5}
pairs: {R: 2, min_trials: 10}
cross_session: {null: circular}
"""
    found = parse_analysis(text)
    assert found.ndc == NdcSettings(ks=(4,), seed=5, targets="choice", null="permute")
    assert found.pairs == PairsSettings(ks=(4,), seed=5, targets="choice", null="permute", R=2, min_trials=10)
    assert found.cross_session == AcrossSettings(seed=3, targets="choice", null="circular")


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("true", True), ("{}", True), ("false", False)])
def test_a_stage_is_run_or_not(value: str, wanted: bool) -> None:
    found = parse_analysis(f"data: {{subject: S}}\npairs: {value}\n")
    assert found.wanted == ["pairs"] * wanted


def test_a_cluster_says_the_same_as_its_options() -> None:
    found = parse_analysis("data: {subject: S}\ncluster: {kind: slurm, workers: 0-40, walltime: 04:00:00}").cluster
    assert found == ClusterSettings(kind="slurm", workers="0-40", walltime="04:00:00")
    assert found.arguments()["adaptive"] == (0, 40)
    assert ClusterSettings(workers=3).arguments()["n_workers"] == 3


def test_targets_can_be_defined_otherwise_and_usual_runs_keep_their_names() -> None:
    """The first four are names as runs had them before windows could be set."""
    usual = (NdcSettings(), NdcSettings(R=3, null="permute"), CrossSessionSettings(), PopulationSettings())
    assert [short_hash(one.score_identity()) for one in usual] == ["dbff687e", "8f0c4c13", "2c56c99d", "9d4206fd"]
    assert [one.definition(one.targets[0]) for one in usual] == ["6899f09f"] * 3 + ["a50db55f"]
    same = NdcSettings(windows={"choice": (-0.1, 0)}, events={"block": "stimOn_times"})
    assert same.score_identity() == NdcSettings().score_identity()
    for other in (NdcSettings(windows={"choice": (-0.2, 0)}), NdcSettings(events={"choice": "stimOn_times"})):
        assert other.score_identity() != NdcSettings().score_identity()
        assert other.definition("choice") != NdcSettings().definition("choice")
        assert other.definition("block") == NdcSettings().definition("block")
    with pytest.raises(SettingsError, match="windows and events are of ALF sessions"):
        PopulationSettings(windows={"choice": (-0.2, 0)})


# what is wrong with it -------------------------------------------------------------------------------------------

FILE = """\
data:
  subject: SP072
  from: 2025-01-13
  to: 2025-02-13
decoding:
  targets: [choice, block]
  windows:
    choice: [-0.2, 0.0]
ndc:
  ks: [8, 16]
  R: 10
  metric: auc
  C: 1.0
pairs:
  min_trials: 100
cross_session:
  outer_cv: 3
report:
  path: report.html
cluster:
  workers: 4
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ndc:", "ndcc:"), "line 9: ndcc: no such setting; did you mean 'ndc'? (there are mesodask_version, data"),
        (("  R: 10", "  r_: 10"), "line 11: ndc.r_: no such setting"),
        (("  metric:", "  metrics:"), "line 12: ndc.metrics: no such setting; did you mean 'metric'? (there are "),
        (("metric: auc", "metric: acuracy"), "line 12: ndc.metric: Input should be 'auc' or 'accuracy', found "
         "'acuracy'; did you mean 'accuracy'?"),
        (("[8, 16]", "[8, 0]"), "line 10: ndc.ks.1: Input should be greater than or equal to 1, found 0"),
        (("[8, 16]", "[]"), "line 10: ndc.ks: no number of neurons"),
        (("R: 10", "R: ten"), "line 11: ndc.R: expected a whole number, found 'ten'"),
        (("R: 10", "R: yes"), "line 11: ndc.R: expected a number, found True"),
        (("R: 10", "R: 0"), "line 11: ndc.R: Input should be greater than or equal to 1, found 0"),
        (("C: 1.0", "C: .nan"), "line 13: ndc.C: Input should be a finite number, found NaN"),
        (("C: 1.0", "C: -1"), "line 13: ndc.C: Input should be greater than 0, found -1"),
        (("-0.2, 0.0", "0.2, 0.0"), "line 7: decoding.windows: the window (0.2, 0.0) ends before it starts"),
        (("    choice:", "    choise:"), "line 7: decoding.windows: 'choise' is no target; did you mean 'choice'?"),
        (("[choice, block]", "[choise]"), "line 6: decoding.targets: 'choise' is no target; did you mean 'choice'?"),
        (("to: 2025-02-13", "to: 2024-02-13"), "line 4: data.to: 2024-02-13 is before 2025-01-13"),
        (("to: 2025-02-13", "to: 2025-02-31"), "line 4: data.to: '2025-02-31' cannot be read as timestamp"),
        (("  subject: SP072\n", ""), "line 1: data: name the sessions either by subject or by a list of sessions"),
        (("data:\n  subject: SP072\n  from: 2025-01-13\n  to: 2025-02-13\n", ""), ".yaml: data: Field required"),
        (("outer_cv: 3", "outer_cv: 9"), "line 16: cross_session: min_per_class is 10, too few for outer_cv=9"),
        (("ndc:\n", "ndc: false\nembed:\n"), "no such setting"),
        (("report.html", "report.pdf"), "line 19: report.path: a report's name ends in one of .html, .htm"),
        (("workers: 4", "workers: 9-1"), "line 21: cluster.workers: expected a number such as 8, or a range"),
        (("ks: [8, 16]", "ks: 8"), "line 10: ndc.ks: expected a list, found 8"),
        (("cross_session:\n  outer_cv: 3", "cross_session: 3"), "line 16: cross_session: expected a table of settings"),
        (("path: report.html", "tracking: perhaps"), "line 19: report.tracking: expected true or false, found 'per"),
        (("from: 2025-01-13", "from: soon"), "line 3: data.from: expected a day such as 2025-01-13, found 'soon'"),
        (("  R: 10", "  R: 10\n  R: 11"), "line 12: ndc.R is there already, in line 11"),
        (("  R: 10", "\tR: 10"), "line 11: cannot be read as YAML"),
        (("R: 10", "R: &a 10\n  gap: *a"), "line 12: cannot be read as YAML (aliases (*name) are not taken"),
        (("R: 10", "R: !!int x"), "line 11: ndc.R: 'x' cannot be read as int"),
        (("R: 10", "R: !!python/name:os.system x"), "line 11: ndc.R: 'x' cannot be read as"),
        (("R: 10", "R: {a: {b: [1]}}"), "line 11: ndc.R: expected a whole number, found {'a': {'b': [1]}}"),
        (("R: 10", "[1, 2]: 10"), "line 11: expected a name in front of ':', found a table"),
        (("  R: 10", "  null: 10"), "line 11: ndc.null: Input should be 'permute', 'circular'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], words: str
) -> None:
    path = tmp_path / "analysis.yaml"
    assert change[0] in FILE
    parse_analysis(FILE)
    path.write_text(FILE.replace(change[0], change[1], 1))
    assert main(["run", str(path)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_that_stages_share_is_told_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_analysis(FILE.replace("R: 10", "R: 0").replace("[choice, block]", "choise"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["decoding.targets", "ndc.R"]


def test_a_report_needs_curves() -> None:
    with pytest.raises(
        SettingsError, match=r"line 3: report: a report is of neuron-dropping curves; add the stage ndc"
    ):
        parse_analysis("data: {subject: S}\npairs:\nreport:\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\n", b"---\n", b"- a\n- b\n", b"a", b"\x00\x01\x02", b"\xff\xfe\x00d", b"a: 1\n---\nb: 2\n", b"[" * 5000,
        b"{" * 5000, b"a: " * 5000, b"- " * 5000, b"data: {subject: *x}", b"x: &x [*x]", b"%YAML 9.9\n---\na: 1",
        b"\xef\xbb\xbf", b"data: {subject: S}\nndc: {seed: " + b"9" * 5000 + b"}", b"a" * (2 << 20),
        "data: {subject: S}\nndc: {ks: \ud7ff}".encode(), b'data: {subject: S}\n"\\ud800": 1',
        b"!!python/object:os.x {}",
        b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]",
    ],
)  # fmt: skip
def test_no_file_does_any_harm(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "analysis.yaml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match=r"analysis\.yaml"):
        read_analysis(path)


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_analysis(path)
    with pytest.raises(SettingsError, match="nobody of this name has a home folder"):
        read_analysis("~nobody-of-this-name/a.yaml")
    (tmp_path / "a.yaml").write_text("data: {subject: S, one: ~nobody-of-this-name/one}")
    with pytest.raises(SettingsError, match=r"a\.yaml, line 1: data\.one: .*home"):
        read_analysis(tmp_path / "a.yaml")


# damage, drawn at random -----------------------------------------------------------------------------------------

JUNK: list[Any] = [None, True, False, 0, -1, 1, 2**70, 0.5, float("nan"), float("inf"), "", "x", "choice", "auc",
                   "null", "0-40", "\x00", "~", "a/b", [], [0], [[1]], {}, {"a": 1}, {"choice": [1, 0]},
                   {"choice": "x"}]  # fmt: skip
NAMES = sorted({name for section in Analysis.model_fields for name in _names(section)} | set(Analysis.model_fields))
nested = st.recursive(
    st.one_of(st.sampled_from(JUNK), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=8,
)


def taken_or_told(raw: bytes | str) -> Analysis | None:
    """Read it; whatever it is, an analysis comes of it or words that name the file."""
    try:
        found = parse_analysis(raw, "analysis.yaml")
    except SettingsError as error:
        assert all(line.startswith("analysis.yaml") for line in str(error).splitlines())  # noqa: PT017
        return None
    assert parse_analysis(analysis_text(found)) == found
    return found


often = how_often(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@often
@given(data=st.data())
def test_a_damaged_value_is_taken_or_told(data: st.DataObject) -> None:
    """One value of a valid file is replaced, removed, or gets a neighbour that nobody knows."""
    plain = EVERYTHING.plain()
    section = data.draw(st.sampled_from(sorted(set(plain) - {"mesodask_version"})))
    name = data.draw(st.sampled_from([*_names(section), "unknown", ""]))
    value = data.draw(nested)
    damaged = {**plain, section: {**plain[section], name: value} if name else value}
    text = yaml.safe_dump(damaged, sort_keys=False)
    try:
        parse_analysis(text, "analysis.yaml")
    except SettingsError as error:
        first = next(n for n, line in enumerate(text.splitlines(), 1) if line.startswith(section))
        told = [int(line) for line in re.findall(r"^analysis\.yaml, line (\d+)", str(error), flags=re.MULTILINE)]
        assert told
        assert min(told) >= first
    else:
        assert name != "unknown"
    taken_or_told(text)


@often
@given(nested, st.integers(0, 3))
def test_any_tables_are_taken_or_told(tables: Any, depth: int) -> None:
    for _ in range(depth):
        tables = {"data": tables, "ndc": tables}
    taken_or_told(yaml.safe_dump(tables, allow_unicode=True))


@often
@given(data=st.data())
def test_damaged_bytes_are_taken_or_told(data: st.DataObject) -> None:
    raw = SWITCHED_OFF.sub(r"\1", analysis_template()).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        stop = min(len(raw), start + data.draw(st.integers(0, 40)))
        junk = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from(
            [b"\t", b"*a", b"&a ", b"!!int ", b"- ", b"? ", b"{", b"]", b": ", b"\n", b"|\n", b"<<: ", b"--- ", b"\x00"]
        )))  # fmt: skip
        raw = raw[:start] + junk + (raw[start:stop] if data.draw(st.booleans()) else b"") + raw[stop:]
    taken_or_told(raw)


@often
@given(st.text(max_size=60))
def test_any_text_is_taken_or_told(text: str) -> None:
    assert taken_or_told(text) is None


windows = st.tuples(st.floats(-2, 0.9), st.floats(1, 2))
valid = st.builds(
    NdcSettings, ks=st.lists(st.integers(1, 5000), min_size=1, max_size=5), R=st.integers(1, 500), seed=st.integers(0),
    C=st.floats(1e-6, 1e6), folds=st.sampled_from(["shuffled", "contiguous"]), delta=st.floats(0, 0.99),
    null=st.sampled_from([None, "permute", "circular"]), equalize_trials=st.booleans(),
    windows=st.dictionaries(st.sampled_from(["choice", "block"]), windows),
    events=st.dictionaries(st.sampled_from(["choice", "block"]), st.text(max_size=20)),
)  # fmt: skip


@often
@example(NdcSettings(), ["\x85", "a\u2028b", "\u00fc", "data:", "- x", "# y"])  # ends of lines to YAML, and what is not
@given(valid, st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3))
def test_what_is_written_reads_the_same(settings: NdcSettings, names: list[str]) -> None:
    analysis = Analysis(data={"sessions": names}, ndc=settings, cluster={"job_extra": names})
    assert parse_analysis(analysis_text(analysis, dict.fromkeys(names, "a session"))) == analysis


# the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("ndc --resamples 0", "--resamples: Input should be greater than or equal to 1, found 0"),
        ("ndc --shuffles -1", "--shuffles: Input should be"),
        ("ndc --ks 8,0", "--ks.1: Input should be greater than or equal to 1, found 0"),
        ("ndc --metric aux", "--metric: Input should be 'auc' or 'accuracy', found 'aux'; did you mean 'auc'?"),
        ("ndc --windows choice=0.2:0", "--windows: the window (0.2, 0.0) ends before it starts"),
        ("ndc --windows choice", "expected TARGET=..."),
        ("pairs --cv-splits 1", "--cv-splits: "),
        ("cross-session --shuffles -1", "--shuffles: Input should be"),
        ("cross-session --dim-k 1", "--dim-k: a population is reduced to at least 2 dimensions"),
        ("submit -- ndc --resamples 0", "--resamples: Input should be"),
        ("submit -- cross-session --C 0.1,-1", "--C.1: Input should be greater than 0"),
    ],
)
def test_an_error_names_the_option_that_was_typed(
    subject: Any, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    where = [] if arguments.startswith("submit") else [*subject.eids, "--one", str(subject.one_dir)]
    assert main([*arguments.split(), *where]) == 2
    assert words in capsys.readouterr().err


def test_an_analysis_can_be_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("analysis.yaml").write_text(FILE)
    Path("job.yaml").write_text("command: run\noptions: {file: analysis.yaml, rerun: true}\ncluster: {kind: slurm}\n")
    assert main(["submit", "--print", "job.yaml"]) == 0
    of_file = capsys.readouterr().out.splitlines()[-1]
    assert of_file.endswith("-- run --rerun --cluster=slurm analysis.yaml")
    assert main(["submit", "--print", "--", "run", "analysis.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("-- run analysis.yaml")
    Path("analysis.yaml").write_text(FILE.replace("R: 10", "R: 0"))
    assert main(["submit", "--print", "job.yaml"]) == 2
    assert "analysis.yaml, line 11: ndc.R" in capsys.readouterr().err


def test_in_python_days_are_first_and_last() -> None:
    found = DataSettings(subject="S", first="2025-01-13", last="2025-01-14")
    assert found == parse_analysis("data: {subject: S, from: 2025-01-13, to: 2025-01-14}").data
