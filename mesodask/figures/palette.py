"""Colours: of regions, of sessions in date order, and of a few things to be told apart."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from mesodask.errors import SettingsError, nearest

Color = tuple[float, ...]
RegionColors = Literal["distinct", "allen"]

# of 0..1 on a map that goes from dark to light: the lightest end would vanish on white paper
COLOR_RANGE = (0.0, 0.82)
# the first eight are told apart by the colour-blind (Okabe and Ito 2008), the others by their lightness, too
DISTINCT = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#332288",
    "#882255", "#44aa99", "#999933", "#aa4499", "#ddcc77", "#117733", "#cc6677", "#6699cc",
)  # fmt: skip
NOWHERE = ("void", "root", "")  # acronyms of ROIs outside the atlas's regions
NOWHERE_COLOR = "0.75"
_LAYER = re.compile(r"(?!CA\d)(.*[A-Za-z])(1|2/3|2|4|5|6a|6b|6)")


def session_colors(n_sessions: int, cmap: str = "viridis") -> list[Color]:
    """Colours of sessions in date order, dark to light.

    Raises
    ------
    SettingsError
        There is no such colour map.
    """
    if cmap not in mpl.colormaps:
        raise SettingsError(f"cmap: {cmap!r} is none of matplotlib's colour maps{nearest(cmap, mpl.colormaps)}")
    return [mpl.colormaps[cmap](x) for x in np.linspace(*COLOR_RANGE, max(n_sessions, 2))][:n_sessions]


def area(acronym: str) -> str:
    """Give the area of an acronym: that of a cortical layer without the layer, any other as it is.

    Examples
    --------
    >>> [area(acronym) for acronym in ("VISp2/3", "MOs6a", "VISp", "CA1", "SSp-bfd4")]
    ['VISp', 'MOs', 'VISp', 'CA1', 'SSp-bfd']
    """
    layer = _LAYER.fullmatch(acronym)
    return layer[1] if layer else acronym


def region_colors(
    regions: Sequence[str], allen: Sequence[str], colors: RegionColors = "distinct"
) -> dict[str, tuple[float, float, float]]:
    """Choose a colour for each region, the one with the most ROIs first.

    Parameters
    ----------
    regions : sequence of str, (n_rois,)
        Acronyms.
    allen : sequence of str, (n_rois,)
        Their colours in the Allen atlas; cortical areas beside each other have nearly the same.
    colors : {"distinct", "allen"}
        Well-separated colours, or the atlas's.

    Returns
    -------
    dict of str to (red, green, blue)
        Grey where an ROI lies in no region. Beyond the sixteenth region, distinct colours come again, lighter,
        and once more; beyond the 48th they are as those before.

    Raises
    ------
    SettingsError
        There are no such colours.

    Examples
    --------
    >>> region_colors(["MOs", "VISp", "VISp"], ["#1f9d5a", "#08858c", "#08858c"], "allen")["MOs"] == to_rgb("#1f9d5a")
    True
    """
    if colors not in ("distinct", "allen"):
        raise SettingsError(f"colors: {colors!r}; expected 'distinct' or 'allen'")
    names = [name for name, _ in Counter(regions).most_common()]
    if colors == "allen":
        of_region = dict(zip(regions, allen, strict=True))
        return {name: to_rgb(of_region[name]) for name in names}
    chosen: dict[str, tuple[float, float, float]] = {}
    for name in names:
        turn, i = divmod(sum(other not in NOWHERE for other in chosen), len(DISTINCT))
        chosen[name] = to_rgb(NOWHERE_COLOR) if name in NOWHERE else _lighter(DISTINCT[i], 0.45 * min(turn, 2))
    return chosen


def _lighter(color: str, share: float) -> tuple[float, float, float]:
    red, green, blue = ((1 - share) * part + share for part in to_rgb(color))
    return red, green, blue


def region_handles(
    regions: Sequence[str], colors: dict[str, tuple[float, float, float]], *, most: int, alpha: float | None = None
) -> list[Patch]:
    """Make legend entries "region (ROIs)", the largest regions first; what is beyond `most` is counted in the last."""
    counts = Counter(regions).most_common()
    if len(counts) > most:
        counts, rest = counts[: most - 1], counts[most - 1 :]
    else:
        rest = []
    handles = [Patch(facecolor=colors[name], alpha=alpha, label=f"{name} ({n})") for name, n in counts]
    if rest:
        handles.append(Patch(alpha=0, label=f"and {len(rest)} more ({sum(n for _, n in rest)})"))
    return handles
