"""Datasets -> matplotlib figures. Nothing is shown, and nothing is saved unless asked."""

from mesodask.figures.cross_session import plot_cross_session, plot_generalization_matrix
from mesodask.figures.k_star import plot_k_star
from mesodask.figures.ndc import plot_ndc
from mesodask.figures.raster import plot_raster
from mesodask.figures.space import plot_xyz
from mesodask.figures.sparseness import plot_sparseness
from mesodask.figures.tracking import plot_tracking

__all__ = [
    "plot_cross_session",
    "plot_generalization_matrix",
    "plot_k_star",
    "plot_ndc",
    "plot_raster",
    "plot_sparseness",
    "plot_tracking",
    "plot_xyz",
]
