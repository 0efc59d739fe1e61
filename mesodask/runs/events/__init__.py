"""What a driver tells the live page of its runs, as they go on (:mod:`mesodask.compute.live_runs` has the format)."""

from mesodask.runs.events.teller import Teller, telling

__all__ = ["Teller", "telling"]
