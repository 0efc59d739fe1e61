"""Datasets -> matplotlib figures. Nothing is shown, and nothing is saved unless asked."""

from mesodask.figures.cross_session import plot_cross_session, plot_generalization_matrix
from mesodask.figures.ndc import plot_ndc
from mesodask.figures.tracking import plot_tracking

__all__ = ["plot_cross_session", "plot_generalization_matrix", "plot_ndc", "plot_tracking"]
