"""A synthetic subject in true ALF layout, with its ground truth.

:func:`mesodask.simulate_subject` does everything; the modules below are its parts, in the order of the work:
``recipe`` (settings), ``behavior`` and ``wheel``, ``anatomy`` and ``neurons``, ``activity``, ``alf_writer``,
``truth``.
"""

from mesodask.simulate.recipe import REAL_FOV_SIZES, REAL_N_FRAMES, REAL_N_TRIALS, TARGETS
from mesodask.simulate.subject import SimulatedSubject, simulate_subject

__all__ = [
    "REAL_FOV_SIZES",
    "REAL_N_FRAMES",
    "REAL_N_TRIALS",
    "TARGETS",
    "SimulatedSubject",
    "simulate_subject",
]
