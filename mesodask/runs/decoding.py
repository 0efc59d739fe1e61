"""How the neurons of a run are decoded: what every kind of run is told, whatever its sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from mesodask.runs.driver import checked_identity
from mesodask.settings import NdcSettings, S
from mesodask.trial_masks import TrialMask


@dataclass(frozen=True)
class Decoding(Generic[S]):
    """What is done with the neurons of a run.

    Attributes
    ----------
    settings : RunSettings
        All that is hashed by its own name.
    trial_mask : array, mapping or None
        See :func:`mesodask.trial_masks.masks`.
    decoder : object or None
        A user's classifier.
    decoded_by : str or None
        Text that identifies it.
    """

    settings: S
    trial_mask: TrialMask = None
    decoder: Any = None
    decoded_by: str | None = None

    @classmethod
    def of(cls, settings: NdcSettings, trial_mask: TrialMask = None, decoder: Any = None) -> "Decoding[NdcSettings]":
        """Check the decoder of neuron-dropping curves, and find what identifies it."""
        return Decoding(settings, trial_mask, decoder, checked_identity(decoder, settings.metric, settings.C))

    def of_sessions(self, eids: Sequence[str]) -> "Decoding[S]":
        """Take the trial masks of some sessions alone."""
        masks = self.trial_mask
        if not isinstance(masks, Mapping):
            return self
        return replace(self, trial_mask={eid: masks[eid] for eid in eids if eid in masks})
