"""A summary as tidy tables, and as CSV files that any program reads."""

from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import xarray as xr

from mesodask.errors import SettingsError
from mesodask.io import stores
from mesodask.summary import CURVES, SESSIONS, TARGET_NOTES

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
    temporary = stores.partial_of(path)
    try:
        frame.to_csv(temporary, index=False, lineterminator="\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
