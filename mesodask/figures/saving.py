"""Saved figures: names that can be saved, and files that say what they show and what made them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from mesodask.errors import SettingsError

DPI = 200
MOST_DOTS = 1 << 16  # along a side, as matplotlib draws
_TIFF_DESCRIPTION, _EXIF_DESCRIPTION = 270, 0x010E  # both are the tag ImageDescription


def checked_file(file: str | Path) -> Path:
    """Make sure that a figure can be saved under this name.

    Raises
    ------
    SettingsError
        Its folder does not exist, or matplotlib writes no format of its ending.
    """
    path = Path(file)
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in known:
        raise SettingsError(f"{path}: a figure's name ends in one of {', '.join('.' + ending for ending in known)}")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{path}: the folder {path.absolute().parent} does not exist")
    return path


def figure_of(axes: Axes) -> Figure:
    """Give the figure that axes are of, also where they are those of a subfigure."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def save_figure(figure: Figure, file: str | Path, settings: Mapping[str, Any], dpi: float = DPI) -> Path:
    """Save a figure, with what it shows in the file's metadata.

    The settings, and the version of mesodask, are JSON in the entry that a format has for a description: Description
    in PNG and SVG, Subject in PDF, ImageDescription in TIFF and WebP, the comment in JPEG. PS, EPS and PGF have no
    such entry. No date is written, so that the same figure gives the same file.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        To be saved.
    file : path-like
        Its ending decides the format.
    settings : mapping
        What the figure shows, and the settings that gave it.
    dpi : float
        Dots an inch, of formats that have dots.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SettingsError
        The figure cannot be saved under this name.
    """
    from mesodask import __version__

    path = checked_file(file)
    about = json.dumps({"mesodask_version": __version__, **settings}, default=_plain, sort_keys=True)
    width, height = figure.get_size_inches() * dpi
    if not max(width, height) < MOST_DOTS:
        raise SettingsError(f"{path}: {width:.3g} by {height:.3g} dots ({dpi:g} an inch); expected below {MOST_DOTS}")
    options = _options(path.suffix.removeprefix(".").lower(), about, f"mesodask {__version__}")
    figure.savefig(path, dpi=dpi, **options)
    return path


def _options(ending: str, about: str, creator: str) -> dict[str, Any]:
    """How matplotlib is told of a description, by format."""
    if ending == "png":
        return {"metadata": {"Description": about, "Software": creator}}
    if ending in ("svg", "svgz"):
        return {"metadata": {"Description": about, "Creator": creator, "Date": None}}
    if ending == "pdf":
        return {"metadata": {"Subject": about, "Creator": creator, "CreationDate": None}}
    if ending in ("ps", "eps"):
        return {"metadata": {"Creator": creator}}
    if ending in ("jpg", "jpeg"):
        return {"pil_kwargs": {"comment": about.encode()}}
    if ending in ("tif", "tiff"):
        return {"pil_kwargs": {"tiffinfo": {_TIFF_DESCRIPTION: about}}}
    if ending == "webp":
        return {"pil_kwargs": {"exif": _exif(about)}}
    return {}


def _exif(about: str) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[_EXIF_DESCRIPTION] = about
    return exif.tobytes()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
