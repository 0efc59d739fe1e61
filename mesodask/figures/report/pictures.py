"""Pictures of a report: figures drawn by this package, as images that the page holds itself."""

import base64
import io
from dataclasses import dataclass

from matplotlib.figure import Figure

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
