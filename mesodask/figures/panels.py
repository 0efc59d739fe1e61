"""Figures of one panel a target: where the panels stand, and the title above them."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mesodask.errors import SettingsError
from mesodask.figures.saving import figure_of

LETTERS_AN_INCH = 14  # of a title


def target_panels(
    n_targets: int,
    axes: Sequence[Axes] | None,
    figsize: tuple[float, float] | None,
    panel: tuple[float, float],
    below: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Give a panel for each target: those that are there already, or two a row of a new figure.

    Parameters
    ----------
    n_targets : int
        How many there must be.
    axes : sequence of matplotlib.axes.Axes, or None
        Those that are there; more than needed are left alone.
    figsize : (float, float), or None
        Of a new figure, inches; None for what `panel` and `below` need.
    panel : (float, float)
        Of a panel, inches.
    below : float
        Room below the panels, inches.

    Returns
    -------
    matplotlib.figure.Figure
    list of matplotlib.axes.Axes

    Raises
    ------
    SettingsError
        There are fewer axes than targets.
    """
    if axes is not None:
        given = list(np.ravel(np.asarray(axes, dtype=object)))
        if len(given) < n_targets:
            raise SettingsError(f"axes: {len(given)} for {n_targets} targets; give one for each")
        return figure_of(given[0]), given
    n_columns, n_rows = grid(n_targets)
    size = figsize or (panel[0] * n_columns, panel[1] * n_rows + below)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
    for spare in panels[n_targets:]:
        spare.set_axis_off()
    return figure, panels


def grid(n_targets: int) -> tuple[int, int]:
    """Tell how many panels stand beside each other, and how many below.

    Examples
    --------
    >>> grid(1), grid(3)
    ((1, 1), (2, 2))
    """
    n_columns = min(2, n_targets)
    return n_columns, -(-n_targets // n_columns)


def set_title(figure: Figure, *lines: str) -> None:
    """Write a title above a new figure, its lines broken where the figure ends."""
    letters = max(int(LETTERS_AN_INCH * figure.get_figwidth()), 1)
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in lines), fontsize="small")
