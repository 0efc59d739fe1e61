"""The file that ``mesodask config init`` writes: every setting with its default, what it means, and what is allowed.

It is made from the classes of the settings, so that it says what they are.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mesodask.checked import meanings, table_at
from mesodask.workflow.analysis import Analysis

WIDTH = 100
HEAD = """\
# An analysis with mesodask {version}: one file, from ALF files to a report.
#
#   mesodask run analysis.yaml --dry-run     what it would cost
#   mesodask run analysis.yaml               all of it; once more computes nothing again
#   mesodask config show analysis.yaml       every setting as it would be taken
#   mesodask submit -- run analysis.yaml     as a batch job
#
# Every setting stands here with its default, switched off by a "#" right before its name: take the "#" away and
# write another value. A stage is left out by taking its block away, or by false in place of it ("pairs: false").
# Relative paths start at the folder of this file.
"""
TITLES = {
    "data": "Which sessions, which of their neurons, and where all of it is.",
    "decoding": "What is decoded. It holds for ndc, pairs and cross_session, each of which may say otherwise.",
    "embed": "Stage: session stores from ALF files, and the order of their rows in a raster.",
    "ndc": "Stage: neuron-dropping curves of all sessions, from the neurons that they share.",
    "pairs": "Stage: the same for each two sessions that follow each other.",
    "cross_session": "Stage: a decoder that is trained on the first session and tested on the others.",
    "sparseness": "Stage: population sparseness (Treves-Rolls) by event window and by trial.",
    "figures": "Stage: a figure of each of these stages.",
    "report": "Stage: one HTML page with the curves of ndc, and what goes with them.",
    "cluster": "Where it is computed; without it, by processes on this machine. Options of mesodask run override it.",
}
INHERITED = {
    "ndc": "Also every setting of decoding, to differ from it here.",
    "pairs": "Also every setting of ndc and decoding, to differ from them here.",
    "cross_session": "Also every setting of decoding, to differ from it here.",
}
LIMITS = {"ge": "At least {}", "gt": "Above {}", "le": "At most {}", "lt": "Below {}"}
OFF = ("cluster",)  # sections that are not asked for


def analysis_template(subject: str = "SP072") -> str:
    """Write an analysis file with every setting, each in a comment, and all stages.

    Parameters
    ----------
    subject : str
        Whose sessions it names.

    Examples
    --------
    >>> from mesodask.workflow.file import parse_analysis
    >>> parse_analysis(analysis_template("SP072")).wanted
    ['embed', 'ndc', 'pairs', 'cross_session', 'sparseness', 'figures', 'report']
    """
    from mesodask import __version__

    parts = [HEAD.format(version=__version__)]
    for section, title in TITLES.items():
        off = "#" if section in OFF else ""
        rule = f"# {section} ".ljust(WIDTH, "-")
        lines = [rule, *_comment(title, "")]
        if section in INHERITED:
            lines += _comment(INHERITED[section], "")
        lines.append(f"{off}{section}:")
        parts.append("\n".join([*lines, *_settings(section, subject), ""]))
    return "\n".join(parts)


def _settings(section: str, subject: str) -> Iterator[str]:
    """Give the lines of a section's settings."""
    model = table_at(Analysis, (section,))
    meaning = meanings(model)
    for number, (field_name, field) in enumerate(_own_fields(model).items()):
        name = field.alias or field_name
        if number:
            yield ""
        text = " ".join([meaning[name], *_allowed(field)])
        yield from _comment(text, "  ")
        if (section, name) == ("data", "subject"):
            yield f"  {name}: {_value(subject)}"
        else:
            yield f"  #{name}: {_value(field.get_default(call_default_factory=True))}"


def _own_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Give the fields that a section does not take from another one."""
    section = next(n for n in TITLES if table_at(Analysis, (n,)) is model)
    above = [table_at(Analysis, (parent,)) for parent in Analysis.inherits.get(section, ())]
    return {n: field for n, field in model.model_fields.items() if not any(n in other.model_fields for other in above)}


def _allowed(field: FieldInfo) -> list[str]:
    """Say which values a setting takes."""
    said = []
    choices = next((get_args(kind) for kind in _parts(field.annotation) if get_origin(kind) is Literal), ())
    if choices:
        said.append(f"One of {', '.join(map(str, choices))}.")
    limits: dict[str, float] = {}
    for data in (*field.metadata, *_constraints(field.annotation)):
        limits |= {name: getattr(data, name) for name in LIMITS if getattr(data, name, None) is not None}
    if limits:
        words = [LIMITS[name].format(f"{limit:g}") for name, limit in limits.items()]
        said.append(f"{', '.join([words[0], *(word.lower() for word in words[1:])])}.")
    return said


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _constraints(annotation: Any) -> Iterator[Any]:
    for part in _parts(annotation):
        for data in getattr(part, "__metadata__", ()):
            yield from getattr(data, "metadata", [data])


def _value(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def _comment(text: str, indent: str) -> list[str]:
    plain = re.sub(r"\bNone\b", "null", text.replace("`", ""))
    return textwrap.wrap(plain, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
