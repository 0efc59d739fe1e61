"""The outline of scattered points, which may lie in several groups and need not be convex."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

SMALLEST = 0.25  # of the longest outline's length: shorter ones are splinters at its edge
REACH = 4.0  # typical distances between neighbours that an outline bridges
TYPICAL = 95.0  # percentile of the distances to the nearest neighbour: that of the sparser parts


def outline(points: NDArray[np.float64], reach: float = REACH) -> list[NDArray[np.float64]]:
    """Outline the groups of points that lie close together.

    Of the Delaunay triangulation those triangles are kept whose sides are at most `reach` times as long as the 95th
    percentile of the distances between a point and its nearest neighbour; what bounds them is the outline (an alpha
    shape, with the longest side in place of the circumradius; after Edelsbrunner, Kirkpatrick and Seidel 1983, "On the
    shape of a set of points in the plane").

    Parameters
    ----------
    points : numpy.ndarray, (n_points, 2)
        In any unit; rows with NaN are left out.
    reach : float
        Larger gives fewer and smoother outlines.

    Returns
    -------
    list of numpy.ndarray, each (n_corners + 1, 2)
        Closed outlines, the longest first, without holes and those shorter than a quarter of it; none if the points lie
        on a line or all by themselves.

    Examples
    --------
    >>> grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0)), axis=-1).reshape(-1, 2)
    >>> outlines = outline(np.concatenate([grid, grid + 50]))  # two groups
    >>> [part.min(axis=0).tolist() + part.max(axis=0).tolist() for part in outlines]
    [[0.0, 0.0, 3.0, 2.0], [50.0, 50.0, 53.0, 52.0]]
    """
    points = np.unique(points[np.isfinite(points).all(axis=1)], axis=0)
    if len(points) < 3:
        return []
    try:
        triangles = Delaunay(points).simplices
    except QhullError:  # all on a line
        return []
    sides = triangles[:, [[0, 1], [1, 2], [2, 0]]]  # (n_triangles, 3, 2)
    length = np.linalg.norm(points[sides[..., 0]] - points[sides[..., 1]], axis=-1)
    nearest = np.full(len(points), np.inf)
    np.minimum.at(nearest, sides[..., 0], length)
    np.minimum.at(nearest, sides[..., 1], length)
    longest = reach * np.percentile(nearest, TYPICAL)
    kept = sides[(length <= longest).all(axis=1)].reshape(-1, 2)
    edges, counts = np.unique(np.sort(kept, axis=1), axis=0, return_counts=True)
    rings = _rings(edges[counts == 1])
    closed = [points[ring] for ring in rings]
    closed.sort(key=lambda ring: (-_perimeter(ring), *ring[0]))
    return _without_holes([ring for ring in closed if _perimeter(ring) >= SMALLEST * _perimeter(closed[0])])


def _rings(edges: NDArray[np.intp]) -> list[list[int]]:
    """Follow edges, each between two points, to closed rings."""
    after: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        after.setdefault(a, []).append(b)
        after.setdefault(b, []).append(a)
    rings = []
    for start in sorted(after):
        while after[start]:
            ring = [start]
            while len(ring) == 1 or ring[-1] != start:
                here = ring[-1]
                there = after[here].pop()
                after[there].remove(here)
                ring.append(there)
            rings.append(ring)
    return rings


def _perimeter(ring: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(ring, axis=0), axis=1).sum())


def _without_holes(rings: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Leave out rings that lie within a longer one."""
    kept: list[NDArray[np.float64]] = []
    for ring in rings:
        middle = ring[:2].mean(axis=0)
        if not any(_is_inside(middle, other) for other in kept):
            kept.append(ring)
    return kept


def _is_inside(point: NDArray[np.float64], ring: NDArray[np.float64]) -> bool:
    """Count how often a ray from the point to the right crosses the ring."""
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    crosses = (y0 > point[1]) != (y1 > point[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (point[1] - y0) / (y1 - y0) * (x1 - x0)
    return bool(np.count_nonzero(crosses & (at > point[0])) % 2)
