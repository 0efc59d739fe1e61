"""What stands in a report: a run store and its summary -> plain numbers, texts and tables. No HTML."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr

from mesodask.checked import meanings
from mesodask.figures.palette import session_colors
from mesodask.figures.report import words
from mesodask.figures.report.command import held_settings
from mesodask.io.runstore import RunStore
from mesodask.settings import NdcSettings, PopulationSettings
from mesodask.summary import CURVES, METRIC_NAMES

ON_DARK = (0.3, 1.0)  # of 0..1 on the sessions' map: its dark end would vanish on a dark page
INVALID = "of a null that is not valid for this target"
CURVE_COLUMNS = {
    "mean": "Mean", "low": "Low", "high": "High", "null_mean": "Null mean", "null_low": "Null low",
    "null_high": "Null high", "p": "p", "n_resamples": "Resamples",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is read, and what it is sorted by (None comes last)."""

    text: str
    key: str | float | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: of numbers, of names, or of words, which may take several lines."""

    name: str
    kind: Literal["number", "name", "words"] = "number"


@dataclass(frozen=True)
class Table:
    """A table that a reader can sort."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def curves(summary: xr.Dataset, labels: Sequence[str]) -> dict[str, Any]:
    """Give the numbers that the page's script draws; None is what is not computed."""
    n_sessions = len(labels)
    dark = [mpl.colormaps["viridis"](x) for x in np.linspace(*ON_DARK, max(n_sessions, 2))]
    colors = zip(session_colors(n_sessions), dark, strict=False)
    return {
        "metric": METRIC_NAMES[summary.attrs["metric"]],
        "k": summary["k"].values.tolist(),
        "sessions": [
            {"label": label, "color": _hex(light), "dark": _hex(dark)}
            for label, (light, dark) in zip(labels, colors, strict=True)
        ],
        "targets": [
            {"name": target, "valid": bool(one["null_valid"].item()), "k_star": _plain(one["k_star"].values)}
            | {name: _plain(one[name].values) for name in CURVE_COLUMNS}
            for target, one in ((target, summary.sel(target=target)) for target in summary["target"].values.tolist())
        ],
    }


def _hex(color: Sequence[float]) -> str:
    """Write a colour of 0..1 as HTML does.

    Examples
    --------
    >>> _hex((1.0, 0.5, 0.0, 1.0))
    '#ff8000'
    """
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in color[:3])


def _plain(values: np.ndarray) -> list:
    """Turn an array into lists, and NaN into None."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _text(value: str) -> Cell:
    return Cell(value, value)


def _number(value: float, form: str = ".0f", text: str = "", note: str = "") -> Cell:
    """Give a number's cell; what is not finite is a dash."""
    if not np.isfinite(value):
        return Cell(words.NOTHING)
    return Cell(text or format(value, form), float(value), note)


def results(summary: xr.Dataset, labels: Sequence[str]) -> Table:
    """Ceiling, k* and p-values, a row a target and session."""
    metric = METRIC_NAMES[summary.attrs["metric"]]
    names = ("Trials", "Rewarded", f"Ceiling ({metric})", "k* (95 %)", "p", "p curve", "q", "Shuffles", "Resamples")
    columns = [Column("Target", "name"), Column("Session", "name"), *map(Column, names), Column("State", "name")]
    rows = []
    for target in summary["target"].values.tolist():
        for session, label in enumerate(labels):
            one = summary.sel(target=target).isel(session=session)
            rows.append([_text(target), _text(label), *_result_cells(one), _text(str(one["status"].values))])
    return Table("Ceiling, k* and p-values of every session and target", columns, rows)


def _result_cells(one: xr.Dataset) -> list[Cell]:
    if str(one["status"].values) == "skipped":
        return [Cell(words.NOTHING)] * 9
    star, low, high = (float(one[name]) for name in ("k_star", "k_star_low", "k_star_high"))
    mark, note = ("", "") if one["null_valid"].item() else (" !", INVALID)
    p_values = {name: float(one[name]) for name in ("p_largest", "p_curve", "q")}
    performance = float(one["performance"])
    return [
        _number(float(one["n_trials"])),
        _number(performance, text=f"{performance:.0%}"),
        _number(float(one["ceiling"]), ".3f"),
        _number(star, text=f"{star:.0f} ({low:.0f}\N{EN DASH}{high:.0f}){mark}", note=note),
        *(_number(value, text=f"{value:.2g}{mark}", note=note) for value in p_values.values()),
        _number(float(one["n_shuffles"])),
        _number(float(one["n_resamples"].max())),
    ]


def all_numbers(summary: xr.Dataset, labels: Sequence[str]) -> Table:
    """Every point of the curves."""
    columns = [Column("Target", "name"), Column("Session", "name"), Column("Neurons")]
    columns += [Column(name) for name in CURVE_COLUMNS.values()]
    rows = []
    values = np.stack([summary[name].transpose("target", "session", "k").values for name in CURVE_COLUMNS], axis=-1)
    for target, of_target in zip(summary["target"].values.tolist(), values, strict=True):
        for label, of_session in zip(labels, of_target, strict=True):
            for k, point in zip(summary["k"].values.tolist(), of_session, strict=True):
                if np.isfinite(point[0]):  # the mean
                    cells = [_number(v, _form(name)) for name, v in zip(CURVE_COLUMNS, point, strict=True)]
                    rows.append([_text(target), _text(label), _number(k), *cells])
    return Table("Every point of the curves", columns, rows)


def _form(name: str) -> str:
    return {"score": ".4f", "1": ".2g"}.get(CURVES[name].unit, ".0f")


def across(table: pd.DataFrame) -> Table:
    """Lay out how decoders carry over to other sessions (:func:`mesodask.cross_session_table`)."""
    columns = [Column(name, "name") for name in ("Target", "Trained on", "Tested on")]
    columns += map(Column, ("Days", "Trials", "Accuracy", "Null 95 %", "Balanced", "AUC", "p", "q"))
    rows = []
    for row in table.to_dict("records"):
        names = [_text(str(row[name])) for name in ("target", "train_date", "date")]
        state = row["status"] + (f": {row['reason']}" if row["reason"] else "")
        rows.append([*names, *_across_cells(row), _text(state)])
    return Table("Accuracy across sessions", [*columns, Column("State", "words")], rows)


def _across_cells(row: Mapping[Hashable, Any]) -> list[Cell]:
    if row["status"] == "skipped":
        return [_number(row["days"]), *[Cell(words.NOTHING)] * 7]
    null = f"{row['null_low']:.3f} to {row['null_high']:.3f}"
    mark, note = ("", "") if row["null_valid"] else (" !", INVALID)
    return [
        _number(row["days"]),
        _number(row["n_trials"]),
        _number(row["accuracy"], ".3f"),
        _number(row["null_low"], text=null),
        _number(row["balanced_accuracy"], ".3f"),
        _number(row["auc"], ".3f"),
        *(_number(row[name], text=f"{row[name]:.2g}{mark}", note=note) for name in ("p", "q")),
    ]


def trials(store: RunStore, targets: Sequence[str], eids: Sequence[str], labels: Sequence[str]) -> Table:
    """Trials kept, decoded and dropped, a row a target and session."""
    columns = [Column("Target", "name"), Column("Session", "name"), Column("Trials in all"), Column("Kept"),
               Column("Decoded"), Column("Dropped, and why", "words")]  # fmt: skip
    rows = []
    for target in targets:
        for eid, label in zip(eids, labels, strict=True):
            attrs = store.feature_attributes(target, eid)
            reasons = attrs.get("dropped", {})
            in_all = attrs.get("n_session_trials", np.nan)
            why = [words.dropped(reasons, target), f"skipped: {attrs['skipped']}" if attrs.get("skipped") else ""]
            rows.append(
                [
                    _text(target),
                    _text(label),
                    _number(in_all),
                    _number(in_all - sum(reasons.values())),
                    _number(attrs.get("n_decoded", np.nan)),
                    _text("; ".join(filter(None, why)) or "none"),
                ]
            )
    return Table("Trials of every session and target", columns, rows)


def sessions(tracked: xr.Dataset, labels: Sequence[str]) -> Table:
    """Say which sessions these are, and what is to be known of their neurons."""
    columns = [Column("Session", "name"), Column("Id", "name"), Column("Neurons not tracked", "words")]
    rows = []
    for session, label in enumerate(labels):
        one = tracked.isel(session=session)
        known = []
        if "untracked_fovs" in one and (fovs := str(one["untracked_fovs"].values)):
            known.append(f"all of {fovs.replace(',', ', ')}, which {'have' if ',' in fovs else 'has'} no cluster UIDs")
        if "repeated" in one and (n := int(one["repeated"])):
            known.append(f"{words.count(n, 'ROI')} whose cluster UID another ROI of the session has")
        rows.append([_text(label), _text(str(one["session"].values)), _text("; ".join(known) or words.NOTHING)])
    return Table("Sessions", columns, rows)


def targets(store: RunStore, names: Sequence[str], eids: Sequence[str], summary: xr.Dataset) -> Table:
    """Say what is decoded, around which event, and against which null."""
    columns = [Column("Target", "name"), Column("What is told apart", "words")]
    columns += [Column(name, "name") for name in ("Event", "Window", "Null")]
    rows = []
    for name in names:
        attrs = next((a for eid in eids if "event" in (a := store.feature_attributes(name, eid))), {})
        window = f"{attrs['window'][0]:g} to {attrs['window'][1]:g} s" if attrs else words.NOTHING
        told = words.LABELS.get(name, "label 1 or 0")
        null = str(summary["null_kind"].sel(target=name).item())
        rows.append([_text(text) for text in (name, told, attrs.get("event", words.NOTHING), window, null)])
    return Table("Targets", columns, rows)


def settings(store: RunStore) -> Table:
    """Give all settings with their values and meanings, and those that are not the default."""
    kind = NdcSettings if "neurons_only" in store.tracked().attrs else PopulationSettings  # from ALF, or features=
    defaults = kind().model_dump(mode="json")
    known = meanings(NdcSettings)
    rows = []
    for name, value in held_settings(store).items():
        changed = "" if name in defaults and defaults[name] == value else "set for this run"
        rows.append([_text(text) for text in (name, words.setting_value(name, value), changed, known.get(name, ""))])
    columns = [Column("Setting", "name"), *(Column(name, "words") for name in ("Value", "Changed", "Meaning"))]
    return Table("Settings", columns, rows)
