"""Datasets -> matplotlib figures. Nothing is shown, and nothing is saved unless asked."""

from mesodask.figures.ndc import plot_ndc
from mesodask.figures.tracking import plot_tracking

__all__ = ["plot_ndc", "plot_tracking"]
