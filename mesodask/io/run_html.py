"""What a run shows of itself in a notebook: who, which sessions, how many neurons, and what became of each session."""

from html import escape
from typing import TYPE_CHECKING, Any

import xarray as xr

from mesodask.errors import StoreError

if TYPE_CHECKING:
    from mesodask.io.runbase import RunBase


def one_line(run: "RunBase[Any]") -> str:
    """Tell of a run in a line; where it cannot be read, why not."""
    kind = type(run).__name__
    try:
        tracked = run.tracked()
        subject = run.attrs.get("subject") or "a population"
    except StoreError as error:
        return f"<{kind} that cannot be read: {error}>"
    sessions, neurons = tracked.sizes["session"], tracked.sizes["neuron"]
    return f"<{kind} of {subject}: sessions {sessions}, neurons {neurons}, targets {len(run.targets())}, {run.path}>"


def table(run: "RunBase[Any]") -> str:
    """Write a run as an HTML table: a row a session, a column a target, in each the number of trials decoded.

    A session that is skipped has its reason there.
    """
    try:
        tracked = run.tracked()
        columns = {target: run.sessions(target) for target in run.targets()}
    except StoreError as error:
        return f"<p><code>{escape(one_line(run))}</code></p><p>{escape(str(error))}</p>"
    heads = "".join(f"<th>{escape(target)}</th>" for target in columns)
    rows = [f"<tr><th>session</th>{heads}</tr>"]
    for place, date in enumerate(tracked["date"].values.tolist()):
        cells = "".join(f"<td>{_cell(column, place)}</td>" for column in columns.values())
        rows.append(f"<tr><th>{escape(str(date))}</th>{cells}</tr>")
    return (
        f"<p><code>{escape(one_line(run))}</code></p><table>{''.join(rows)}</table>"
        "<p>trials decoded; mesodask.run_status(run) tells how far the scores are</p>"
    )


def _cell(column: xr.Dataset, place: int) -> str:
    if column["status"].values[place] == "skipped":
        return f"skipped: {escape(str(column['reason'].values[place]))}"
    return str(int(column["n_trials"].values[place]))
