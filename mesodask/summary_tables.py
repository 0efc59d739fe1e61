"""A summary as tidy tables, as CSV files that any program reads, and what to keep in mind when reading it."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from mesodask.errors import SettingsError
from mesodask.io.whole_files import written_whole
from mesodask.summary import CURVES, MIN_SHUFFLES, SESSIONS, TARGET_NOTES

TableKind = Literal["curves", "k_star"]
NUMBERS = ("resamples", "shuffles", "trials", "neurons")  # units that are counted, so that values are whole


def summary_table(summary: xr.Dataset, table: TableKind = "curves") -> pd.DataFrame:
    """Lay a summary out as a tidy table.

    Parameters
    ----------
    summary : xarray.Dataset
        What :func:`mesodask.summarize` gave.
    table : {"curves", "k_star"}
        One row a target, session and number of neurons, or one a target and session.

    Returns
    -------
    pandas.DataFrame
        Every row names its ``subject, metric, decoder`` (empty for the package's own), ``target, session`` (eid) and
        ``date``. Curves go on with ``k`` and :data:`mesodask.summary.CURVES`, the other table with
        :data:`mesodask.summary.SESSIONS` and :data:`mesodask.summary.TARGET_NOTES`, which have the meaning and the
        unit of every column. Scores have the unit of the metric, p-values and shares are between 0 and 1, all else is
        counted. What is not computed is missing.

    Raises
    ------
    SettingsError
        There is no such table.
    """
    if table not in get_args(TableKind):
        raise SettingsError(f"table is {table!r}; expected one of {', '.join(get_args(TableKind))}")
    columns = CURVES if table == "curves" else SESSIONS | TARGET_NOTES
    dims = ["target", "session", *(["k"] if table == "curves" else [])]
    frame = summary[list(columns)].to_dataframe(dim_order=dims).reset_index()
    for name, column in columns.items():
        if column.unit in NUMBERS:
            frame[name] = frame[name].astype("Int64")
    for place, name in enumerate(("subject", "metric", "decoder")):
        frame.insert(place, name, summary.attrs[name])
    return frame[["subject", "metric", "decoder", "target", "session", "date", *dims[2:], *columns]]


def write_csv(summary: xr.Dataset, file: str | Path, table: TableKind = "curves") -> Path:
    """Write a table of a summary as a CSV file, whole or not at all.

    Numbers are written with as many digits as give the same number again, to the last bit; pandas before version 3.1
    reads them so by ``pandas.read_csv(file, float_precision="round_trip")``. What is missing is an empty field. A file
    of that name is replaced.

    Parameters
    ----------
    summary : xarray.Dataset
        What :func:`mesodask.summarize` gave.
    file : path-like
        The file; its folder must exist.
    table : {"curves", "k_star"}
        See :func:`summary_table`, which has the columns.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SettingsError
        There is no such table, or no such folder.
    StoreError
        The disk is full, or the file cannot be written; what was there before still is.

    Examples
    --------
    >>> write_csv(summarize(run), "curves.csv")  # doctest: +SKIP
    >>> write_csv(summarize(run), "k_star.csv", table="k_star")  # doctest: +SKIP
    """
    return write_table(summary_table(summary, table), file)


def write_table(frame: pd.DataFrame, file: str | Path) -> Path:
    """Write a tidy table as :func:`write_csv` does; its folder must exist."""
    path = Path(file)
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{path}: the folder {path.absolute().parent} does not exist")
    with written_whole(path) as file:
        frame.to_csv(file, index=False, lineterminator="\n", encoding="utf-8")
    return path


def caveats(summary: xr.Dataset) -> list[str]:
    """Say in a line each what is to be kept in mind about nulls, folds and the number of shuffles."""
    alike: dict[tuple[str, str], list[str]] = {}  # what holds of several targets is said once
    for target in summary["target"].values.tolist():
        one = summary.sel(target=target)
        kind, note = one["null_kind"].item(), one["null_note"].item()
        if note:
            subject = f"null {kind} of" if one["null_valid"].item() else f"! null {kind} is invalid for"
            alike.setdefault((subject, note), []).append(target)
        if note := one["folds_note"].item():
            alike.setdefault(("folds of", note), []).append(target)
        if note := _capped(one):
            alike.setdefault((f"null {kind} of", note), []).append(target)
    lines = [f"{subject} {', '.join(targets)}: {note}" for (subject, note), targets in alike.items()]
    return lines + _few_shuffles(summary) + _few_resamples(summary)


def _capped(one: xr.Dataset) -> str:
    """Say how many shuffles a target's null gives where that is fewer than were asked for; else nothing."""
    asked = int(one["n_shuffles_asked"])
    possible = one["n_shuffles_possible"].values[one["status"].values != "skipped"]
    if not len(possible) or possible.min() >= asked:
        return ""
    fewest, most = int(possible.min()), int(possible.max())
    given = str(fewest) if fewest == most else f"{fewest} to {most}"
    why = ", one less than trials" if one["null_kind"].item() == "circular" else ""
    return f"it gives no more than {given} of the {asked} shuffles asked for{why}"


def _few_shuffles(summary: xr.Dataset) -> list[str]:
    """Say that no k* can be found with so few shuffles, and what helps."""
    counted = np.where(summary["status"] == "done", summary["n_shuffles"], 0)
    few = (counted > 0) & (counted < MIN_SHUFFLES)
    if not few.any():
        return []
    fewest = int(counted[few].min())
    capped = (summary["n_shuffles_possible"] < summary["n_shuffles_asked"]).transpose(*summary["status"].dims).values
    helps = "the null gives no more" if capped[few].all() else f"call again with {MIN_SHUFFLES} shuffles or more"
    return [f"{fewest} shuffles: no p can be below {1 / (1 + fewest):.2g}, so that there is no k*; {helps}"]


def _few_resamples(summary: xr.Dataset) -> list[str]:
    """Say on how many resamples the null is computed where that is not on all."""
    largest = summary[["n_resamples", "n_null_resamples"]].where(summary["status"] == "done", 0).max()
    with_null, finished = int(largest["n_null_resamples"]), int(largest["n_resamples"])
    if not 0 < with_null < finished:
        return []
    return [f"p and null: over {with_null} of {finished} resamples, those that have a null; all else over all"]
