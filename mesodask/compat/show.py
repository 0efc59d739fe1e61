"""Figures of mesodask, which belong to no window, shown as the original scripts showed theirs."""

import logging
from pathlib import Path

from matplotlib.figure import Figure

from mesodask.io.folders import expanded

logger = logging.getLogger(__name__)


def show_figure(figure: Figure) -> None:
    """Show a figure in a window, or below a notebook's cell; where there is neither, a log line says so.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        One that was not made by pyplot.
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    if plt.get_backend().lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        logger.info("no display: the figure is not shown")
        return
    window = plt.figure().canvas.manager
    if window is None:
        return
    figure.set_canvas(window.canvas)
    window.canvas.figure = figure
    plt.show()


def save_figure(figure: Figure, file: str | Path) -> Path:
    """Save a figure, making the folder that it goes to."""
    path = expanded(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=300)
    return path
