"""Datasets -> matplotlib figures. Nothing is shown, and nothing is saved unless asked."""

from mesodask.figures.ndc import plot_ndc

__all__ = ["plot_ndc"]
