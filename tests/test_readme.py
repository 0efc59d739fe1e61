"""What the README claims is so: its messages are the program's own, its citations those of CITATION.cff."""

import re
import tomllib
from pathlib import Path

import yaml

import mesodask

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_messages_of_the_troubleshooting_are_the_programs_own() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "mesodask").rglob("*.py")))
    whole = re.sub(r'"\s*\n\s*f?"', "", source)  # literals that go on in the next line
    first_cells = [line.split("|")[1] for line in section("When something goes wrong").splitlines() if "|" in line]
    quoted = [text for cell in first_cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) >= 10
    assert [text for text in quoted if text not in whole] == []


def test_citations_are_those_of_the_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    dois = {reference["doi"] for reference in citation["references"]}
    assert set(re.findall(r"\[doi:([^\]]+)\]\(https://doi\.org/\1\)", section("How to cite"))) == dois
    assert mesodask.__version__.startswith(citation["version"])


def test_the_lowest_versions_are_those_that_are_allowed() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    allowed = dict(re.match(r"([\w.-]+)>=([\d.]+)", one).groups() for one in dependencies)
    pinned = dict(line.split("==") for line in (ROOT / ".ci" / "lowest.txt").read_text().splitlines() if "==" in line)
    assert pinned == allowed
