"""Tables for the terminal."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console
from rich.table import Table

from mesodask.cli.answer import rows_of
from mesodask.numerics.inference import MAX_P
from mesodask.summary import null_claim
from mesodask.summary_tables import caveats, summary_table


def print_summary(summary: xr.Dataset) -> None:
    """Print ceiling, k*, and p-values of every session and target on stdout; a ! marks those of an invalid null."""
    # eighty columns hold all of it, as on a terminal nobody has made wider; the marks take the room between columns
    table = Table(box=None, padding=(0, 2 if summary["null_valid"].all() else 1, 0, 0))
    table.add_column("target", no_wrap=True)
    table.add_column("session", no_wrap=True)
    for name in ("trials", "ceiling", "k* (95 %)", "p", "p curve", "q"):
        table.add_column(name, justify="right", no_wrap=True)
    remarks: list[str] = []
    for target in summary["target"].values:
        for session in range(summary.sizes["session"]):
            one = summary.sel(target=target).isel(session=session)
            table.add_row(str(target), str(one["date"].values), *_cells(one))
            if str(one["status"].values) == "skipped":
                remarks.append(f"{target}, {one['date'].values}, is skipped: {one['reason'].values}")
            elif str(one["status"].values) == "partial":
                remarks.append(f"{target}, {one['date'].values}, is not finished: call again to go on")
        table.add_row()
    attrs = summary.attrs
    console = Console()
    decoder = f", decoder {attrs['decoder']}" if attrs["decoder"] else ""
    title = f"{attrs['subject']}: {attrs['n_shared']} shared neurons, {attrs['metric']}{decoder}"
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)
    for line in remarks + caveats(summary):
        console.print(line, highlight=False, soft_wrap=True)


def summary_rows(summary: xr.Dataset) -> list[dict[str, Any]]:
    """Give ceiling, k* and p-values of every session and target, for JSON."""
    return rows_of(summary_table(summary, "k_star"))


def _cells(one: xr.Dataset) -> list[str]:
    if str(one["status"].values) == "skipped":
        return ["skipped"]
    low, high = float(one["k_star_low"]), float(one["k_star_high"])
    mark = "" if one["null_valid"].item() else "!"
    p_values = [number(float(one[name]), ".2g") for name in ("p_largest", "p_curve", "q")]
    return [
        str(int(one["n_trials"])),
        number(float(one["ceiling"]), ".3f"),
        f"{float(one['k_star']):.0f} ({low:.0f}-{high:.0f})" if np.isfinite(low) else "-",
        *(p if p == "-" else p + mark for p in p_values),
    ]


def number(value: float, form: str) -> str:
    """Format a number, and NaN as a dash.

    Examples
    --------
    >>> number(0.12345, ".2f"), number(float("nan"), ".2f")
    ('0.12', '-')
    """
    return format(value, form) if np.isfinite(value) else "-"


def print_cross_session(table: pd.DataFrame, n_shared: int) -> None:
    """Print a cross-session table: a row a session, or of a whole matrix a row a training session."""
    console = Console()
    subject, decoder = (table[name].iloc[0] if len(table) else "" for name in ("subject", "decoder"))
    title = f"{subject}: {n_shared} shared neurons, accuracy" + (f", decoder {decoder}" if decoder else "")
    console.print(title, highlight=False, soft_wrap=True)
    by_matrix = table.groupby("target")["train_session"].nunique().max() > 1
    console.print(_matrix_rows(table) if by_matrix else _session_rows(table))
    for line in _cross_remarks(table):
        console.print(line, highlight=False, soft_wrap=True)


def _cross_table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))  # eighty columns hold all of it
    for name in ("target", "session"):
        table.add_column(name, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _session_rows(table: pd.DataFrame) -> Table:
    shown = _cross_table("days", "trials", "accuracy", "null 95 %", "balanced", "AUC", "p")
    for target, rows in table.groupby("target", sort=False):
        for row in rows.to_dict("records"):
            cells = ["skipped"] if row["status"] == "skipped" else _session_cells(row)
            shown.add_row(str(target), row["date"], str(row["days"]), *cells)
        shown.add_row()
    return shown


def _session_cells(row: dict[Hashable, Any]) -> list[str]:
    null = "home" if row["session"] == row["train_session"] else "-"
    if np.isfinite(row["null_low"]):
        null = f"{row['null_low']:.3f}-{row['null_high']:.3f}"
    mark = "" if row["null_valid"] or np.isnan(row["p"]) else "!"
    accuracy, balanced, auc = (number(row[name], ".3f") for name in ("accuracy", "balanced_accuracy", "auc"))
    return [str(row["n_trials"]), accuracy, null, balanced, auc, number(row["p"], ".2g") + mark]


def _matrix_rows(table: pd.DataFrame) -> Table:
    shown = _cross_table("trials", "at home", "elsewhere", "lowest", "highest", f"p <= {MAX_P:g}")
    for (target, _), rows in table.groupby(["target", "train_session"], sort=False):
        home = rows[rows["session"] == rows["train_session"]].iloc[0]
        cells = ["skipped"]
        if home["status"] != "skipped":
            abroad = rows[(rows["session"] != rows["train_session"]) & rows["accuracy"].notna()]
            parts = [abroad["accuracy"].mean(), abroad["accuracy"].min(), abroad["accuracy"].max()]
            mark = "" if home["null_valid"] else "!"
            found = f"{int((abroad['p'] <= MAX_P).sum())} of {int(abroad['p'].notna().sum())}{mark}"
            cells = [str(home["n_trials"]), number(home["accuracy"], ".3f"),
                     *(number(part, ".3f") for part in parts), found]  # fmt: skip
        shown.add_row(str(target), str(home["date"]), *cells)
    return shown


def _cross_remarks(table: pd.DataFrame) -> list[str]:
    """Say who was skipped, what is not finished, and what is known against the null."""
    lines = []
    for row in table.drop_duplicates(["target", "session"]).to_dict("records"):
        if row["status"] == "skipped":
            lines.append(f"{row['target']}, {row['date']}, is skipped: {row['reason']}")
        elif row["status"] == "partial":
            lines.append(f"{row['target']}, {row['date']}, is not finished: call again to go on")
    for row in table.drop_duplicates("target").to_dict("records"):
        kind, target = row["null_kind"], row["target"]
        valid, note = null_claim(target, kind)
        if note:
            lines.append(
                f"null {kind} of {target}: {note}" if valid else f"! null {kind} is invalid for {target}: {note}"
            )
    return lines
