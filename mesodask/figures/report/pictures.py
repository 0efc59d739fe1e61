"""Pictures of a report: figures drawn by this package, as images that the page holds itself."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from mesodask.figures import plot_cross_session, plot_generalization_matrix, plot_ndc, plot_raster, plot_tracking
from mesodask.figures.report import words
from mesodask.io import stores
from mesodask.io.crossstore import CrossSessionStore
from mesodask.numerics.inference import MAX_P
from mesodask.raster import opened

DPI = 110


@dataclass(frozen=True)
class Picture:
    """An image with its words.

    Attributes
    ----------
    title : str
        Above it.
    source : str
        Data URI.
    alt : str
        What it shows, for who cannot see it.
    caption : str
        Below it.
    """

    title: str
    source: str
    alt: str
    caption: str = ""


def picture(figure: Figure, title: str, alt: str, caption: str = "") -> Picture:
    """Draw a figure into a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Picture(title, "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), alt, caption)


def curves(summary: xr.Dataset) -> Picture:
    """Draw the curves of a run, for who lets no script run."""
    return picture(plot_ndc(summary), "", f"Curves of {', '.join(summary['target'].values)}, a line a session.")


def tracking_map(table: xr.Dataset) -> Picture:
    """Draw a tracking table."""
    shared = table["shared"].values[np.triu_indices(table.sizes["session"], k=1)]
    alt = (
        f"Heat map of the neurons that each two of {table.sizes['session']} sessions share, {shared.min()} to "
        f"{shared.max()}, and the same against the days between them."
    )
    caption = f"{words.count(table.sizes['neuron'], 'neuron')} were found in any of these sessions."
    return picture(plot_tracking(table), "", alt, caption)


def across(run: CrossSessionStore) -> Picture:
    """Draw a cross-session run: accuracy by date, or the matrix where every session was trained on."""
    datasets = run.datasets()
    alt = f"Accuracy of {', '.join(datasets)} in each session, by a decoder trained on another; numbers in the table."
    if any("train_session" in dataset.dims for dataset in datasets.values()):
        caption = "A row is the session trained on, a column the session decoded; the diagonal is cross-validated."
        return picture(plot_generalization_matrix(datasets), "", alt, caption)
    caption = (
        "The diamond is the training session, cross-validated; circles are the others, with a star where p is at most "
        f"{MAX_P:g}. The grey band holds 95 % of the null."
    )
    return picture(plot_cross_session(datasets), "", alt, caption)


def rasters(sessions: Iterable[xr.Dataset | str | Path]) -> list[Picture]:
    """Draw a minute of each session; one without an order of its rows is drawn as it is stored, which is said."""
    found = []
    for session in map(opened, sessions):
        is_sorted = stores.has_group(Path(session.encoding["source"]), "order")
        name = f"{session.attrs['date']}, {words.count(session.sizes['roi'], 'ROI')}"
        order = "in Rastermap order" if is_sorted else "in the order of the store, which has no Rastermap order"
        alt = f"Activity of a minute of {name}, {order}; the wheel's velocity above."
        caption = (
            f"A minute from a third of the session on; rows {order}, each scaled between its 20th and 99th percentile."
        )
        found.append(picture(plot_raster(session, sort=is_sorted, dpi=DPI), name, alt, caption))
    return found
