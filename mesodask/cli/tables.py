"""Tables for the terminal."""

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table


def print_summary(summary: xr.Dataset) -> None:
    """Print ceiling, k*, and p-values of every session and target on stdout."""
    # eighty columns hold all of it, as on a terminal nobody has made wider
    table = Table(box=None, padding=(0, 2, 0, 0))
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
    console.print(f"{attrs['subject']}: {attrs['n_shared']} shared neurons, {attrs['metric']}", highlight=False)
    console.print(table)
    for line in remarks:
        console.print(line, highlight=False, soft_wrap=True)


def _cells(one: xr.Dataset) -> list[str]:
    if str(one["status"].values) == "skipped":
        return ["skipped"]
    low, high = float(one["k_star_low"]), float(one["k_star_high"])
    return [
        str(int(one["n_trials"])),
        number(float(one["ceiling"]), ".3f"),
        f"{float(one['k_star']):.0f} ({low:.0f}-{high:.0f})" if np.isfinite(low) else "-",
        number(float(one["p_largest"]), ".2g"),
        number(float(one["p_curve"]), ".2g"),
        number(float(one["q"]), ".2g"),
    ]


def number(value: float, form: str) -> str:
    """Format a number, and NaN as a dash.

    Examples
    --------
    >>> number(0.12345, ".2f"), number(float("nan"), ".2f")
    ('0.12', '-')
    """
    return format(value, form) if np.isfinite(value) else "-"
