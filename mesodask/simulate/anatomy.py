"""Where fields of view and ROIs lie: pixels, scan lines, bregma coordinates, Allen areas."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

N_LINES = 512  # lines of a field of view, and pixels of a line
LINE_PERIOD = 4.16e-5  # s
PIXEL_SIZE = 660.0 / N_LINES  # um
_MARGIN = 8  # pixels at the edge of the field without ROIs
_TILT = 0.25  # um deeper per um further from the midline

ALLEN_IDS = {
    "VISp": 385,
    "MOs": 993,
    "MOp": 985,
    "RSPd": 879,
    "SSp-bfd": 329,
    "VISam": 394,
    "ACAd": 39,
    "VISa": 312782546,
}


class Site(NamedTuple):
    """A place in cortex on which a field of view is centred.

    Attributes
    ----------
    ml, ap, dv : float
        Centre from bregma, um: +right, +anterior, +dorsal.
    medial, lateral : str
        Allen acronyms of the area towards the midline and away from it; the border runs through the centre.
    """

    ml: float
    ap: float
    dv: float
    medial: str
    lateral: str


_SITES = (
    Site(2500.0, -3600.0, -450.0, "VISp", "VISp"),
    Site(1250.0, 1500.0, -900.0, "MOs", "MOp"),
    Site(1000.0, -2600.0, -350.0, "RSPd", "VISam"),
    Site(2900.0, -1200.0, -900.0, "SSp-bfd", "SSp-bfd"),
    Site(1700.0, -2000.0, -400.0, "VISa", "VISa"),
    Site(400.0, 800.0, -700.0, "ACAd", "MOs"),
    Site(-2500.0, -3600.0, -450.0, "VISp", "VISp"),
    Site(-1250.0, 1500.0, -900.0, "MOs", "MOp"),
)


def site(index: int) -> Site:
    """Place of the n-th field of view; beyond the eighth they repeat, 400 um deeper each round.

    Examples
    --------
    >>> site(0).medial, site(8).dv - site(0).dv
    ('VISp', -400.0)
    """
    base = _SITES[index % len(_SITES)]
    return base._replace(dv=base.dv - 400.0 * (index // len(_SITES)))


def draw_pixels(n_rois: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ROI positions, uniform over the field of view.

    Returns
    -------
    ndarray of int64, shape (n_rois, 2)
        Columns y (line) and x, in pixels.

    Examples
    --------
    >>> draw_pixels(3, np.random.default_rng(0)).shape
    (3, 2)
    """
    return rng.integers(_MARGIN, N_LINES - _MARGIN, (n_rois, 2))


def bregma_coordinates(pixels: NDArray[np.int64], centre: Site) -> NDArray[np.float64]:
    """Place pixels in the brain: a flat field of 660 um, tilted with the surface, its first line anterior.

    Parameters
    ----------
    pixels : ndarray of int64, shape (n_rois, 2)
        Columns y (line) and x.
    centre : Site
        Where the field of view lies.

    Returns
    -------
    ndarray of float64, shape (n_rois, 3)
        ML, AP, DV from bregma, um.

    Examples
    --------
    >>> bregma_coordinates(np.array([[0, 256]]), site(0)).round(1).tolist()
    [[2500.0, -3270.0, -450.0]]
    """
    down, right = ((pixels - N_LINES / 2) * PIXEL_SIZE).T
    lateral = right * np.sign(centre.ml)
    return np.column_stack([centre.ml + right, centre.ap - down, centre.dv - _TILT * lateral])


def region_ids(mlapdv: NDArray[np.float64], centre: Site) -> NDArray[np.int64]:
    """Allen CCF 2017 ids of ROIs: the site's lateral area beyond its centre, else its medial one.

    Parameters
    ----------
    mlapdv : ndarray of float64, shape (n_rois, 3)
        Coordinates from bregma, um.
    centre : Site
        Where the field of view lies.

    Returns
    -------
    ndarray of int64, shape (n_rois,)

    Examples
    --------
    >>> region_ids(np.array([[1200.0, 1500, -900], [1300, 1500, -900]]), site(1)).tolist()
    [993, 985]
    """
    beyond = np.abs(mlapdv[:, 0]) > abs(centre.ml)
    return np.where(beyond, ALLEN_IDS[centre.lateral], ALLEN_IDS[centre.medial])


def line_delays() -> NDArray[np.float64]:
    """Delay of each scan line against the frame time, s, shape (512,).

    Examples
    --------
    >>> float(line_delays()[-1].round(4))
    0.0213
    """
    return np.arange(N_LINES, dtype=np.float64) * LINE_PERIOD
