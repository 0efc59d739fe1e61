"""Sessions of a subject as a run of neuron-dropping curves. Nothing is computed or written."""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from mesodask.curves.engine import Run
from mesodask.io.runstore import RunStore
from mesodask.runs.decoding import Decoding
from mesodask.runs.naming import sources_and_prefix
from mesodask.settings import NdcSettings


def session_run(tracked: xr.Dataset, paths: Mapping[str, Path], decoding: Decoding[NdcSettings], folder: Path) -> Run:
    """Describe the run of curves of some embedded sessions: nothing is computed or written.

    Parameters
    ----------
    tracked : xarray.Dataset
        Its neurons.
    paths : mapping of str to pathlib.Path
        Session stores by eid.
    decoding : Decoding
        What is done with them; its trial masks name none but these sessions.
    folder : pathlib.Path
        Where its store goes.
    """
    sources, prefix = sources_and_prefix(tracked, paths, decoding)
    store = RunStore(folder / f"{prefix}.zarr")
    return Run(store, tracked, sources, decoding.settings, decoding.decoder, decoding.decoded_by)
