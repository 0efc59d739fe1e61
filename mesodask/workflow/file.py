"""An analysis as a file: read, with the line of whatever is wrong, and written, so that it can be run again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mesodask.errors import SettingsError, StoreError
from mesodask.io.folders import expanded
from mesodask.io.settings_file import Source, parse_settings, read_settings
from mesodask.workflow.analysis import Analysis

EXAMPLE = "data: {subject: SP072}"
ATTRIBUTE = "analysis"  # of a run store: the record of the analysis that it is part of
PLACES = {"data": ("one", "cache_dir", "roicat_root"), "figures": ("folder",), "report": ("path",)}
HEADER = """\
# What was run: every setting, all sessions by their eids. It runs again, and computes only what is missing, by
#   mesodask run {name}
"""


def read_analysis(path: str | Path) -> Analysis:
    """Read an analysis from its file, or from a run store that an analysis made.

    Parameters
    ----------
    path : path-like
        A YAML file, as ``mesodask config init`` writes one, in which relative paths start at its own folder; or a run
        store, which keeps the record of the analysis that it is part of.

    Returns
    -------
    Analysis
        All paths in it are absolute.

    Raises
    ------
    SettingsError
        The file cannot be read, or a key or value is not allowed: each fault has its line, what is allowed, and the
        nearest right name.
    StoreError
        The run store cannot be read, or it was not made by an analysis.

    Examples
    --------
    >>> read_analysis("analysis.yaml").ndc.R  # doctest: +SKIP
    50
    """
    path = expanded(path)
    if path.suffix == ".zarr":
        return parse_analysis(_record_of(path), f"{path}, its attribute {ATTRIBUTE!r}", path.parent)
    return _checked(*read_settings(path, EXAMPLE), path.absolute().parent)


def parse_analysis(text: str | bytes, name: str = "analysis", folder: str | Path = ".") -> Analysis:
    r"""Read an analysis from the text of its file.

    Parameters
    ----------
    text : str or bytes
        YAML.
    name : str
        What messages call it.
    folder : path-like
        Where relative paths start.

    Raises
    ------
    SettingsError
        As for :func:`read_analysis`.

    Examples
    --------
    >>> parse_analysis("data: {subject: SP072}\nndc: {ks: [8, 0]}")
    Traceback (most recent call last):
    mesodask.errors.SettingsError: analysis, line 2: ndc.ks.1: Input should be greater than or equal to 1, found 0
    """
    return _checked(*parse_settings(text, name, EXAMPLE), Path(folder).absolute())


def analysis_text(analysis: Analysis, comments: Mapping[str, str] | None = None, header: str = "") -> str:
    """Write an analysis as the text of a file, with every setting.

    Parameters
    ----------
    analysis : Analysis
        The analysis.
    comments : mapping of str to str, optional
        What is said of sessions, by eid.
    header : str
        Stands above it.

    Examples
    --------
    >>> analysis = Analysis(data={"subject": "SP072"}, ndc={"R": 10})
    >>> parse_analysis(analysis_text(analysis)) == analysis
    True
    """
    comments = comments or {}
    plain = analysis.plain()
    text = _dumped(plain, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # what YAML takes for an end of a line, it must escape
        text = _dumped(plain, allow_unicode=False)
    lines = []
    for line in text.rstrip("\n").split("\n"):
        if line and not line.startswith(" ") and line.endswith(":"):
            lines.append("")
        eid = line.strip().removeprefix("- ")
        lines.append(f"{line}  # {comments[eid]}" if eid in comments else line)
    return header + "\n".join(lines) + "\n"


def _dumped(plain: Any, *, allow_unicode: bool) -> str:
    # no line is folded: a path is easier to copy from one line
    how: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 1 << 20}
    return str(yaml.dump(plain, Dumper=_Dumper, allow_unicode=allow_unicode, **how))


class _Dumper(yaml.SafeDumper):
    """Writes names of sessions one below the other, and other lists in a line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        for name, value in node.value:
            if name.value == "sessions" and value.value:
                value.flow_style = False
            elif isinstance(value, yaml.MappingNode) and value.value:
                value.flow_style = name.value in ("windows", "events")
        return node


def _record_of(store: Path) -> str:
    from mesodask.io.crossstore import open_run

    run = open_run(store)
    run.check_exists()
    text = run.attrs.get(ATTRIBUTE)
    if not isinstance(text, str):
        raise StoreError(
            f"{store}: was not made by an analysis file; its report (mesodask report) tells the command that made it"
        )
    return text


def _checked(content: dict[str, Any], source: Source, folder: Path) -> Analysis:
    # nothing below the name of a stage is no setting, which are then all as usual
    filled = {
        n: True if value is None and n in (*Analysis.stages, "decoding") else value for n, value in content.items()
    }
    try:
        analysis = Analysis.model_validate(filled)
    except ValidationError as error:
        raise source.faults(error, Analysis) from None
    return at_places(analysis, lambda section, name, place: _absolute(source, (section, name), folder, place))


def _absolute(source: Source, key: tuple[str, str], folder: Path, place: Path) -> Path:
    try:
        return folder / expanded(place)
    except SettingsError as error:
        raise SettingsError(source.fault(key, str(error))) from None


def at_places(analysis: Analysis, change: Callable[[str, str, Path], Path]) -> Analysis:
    """Change the paths of an analysis; ``change(section, name, path)`` gives the new one."""
    changed = {}
    for section, names in PLACES.items():
        table = getattr(analysis, section)
        given: Sequence[str] = [name for name in names if table is not None and getattr(table, name) is not None]
        if given:
            new = {name: change(section, name, getattr(table, name)) for name in given}
            changed[section] = table.model_copy(update=new)
    return analysis.model_copy(update=changed)
