"""The truth of a simulated subject, stored beside its data: ``truth.zarr``.

One group a session, named by its eid, and the group ``neurons``. It is written under another name and renamed
when it is whole, so a truth store means that the simulation has finished.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mesodask.errors import DataError
from mesodask.simulate.activity import code_values
from mesodask.simulate.alf_writer import FovFrames
from mesodask.simulate.anatomy import line_delays
from mesodask.simulate.behavior import Behavior
from mesodask.simulate.neurons import FovRows, join
from mesodask.simulate.recipe import TARGETS

TRUTH_NAME = "truth.zarr"
PARTIAL_NAME = "truth.zarr.partial"


def session_truth(behavior: Behavior, frames: list[FovFrames], rows: list[FovRows]) -> xr.Dataset:
    """Gather the truth of one session, its rows being all ROIs, FOVs in name order.

    Parameters
    ----------
    behavior : Behavior
        The trials, and the movements behind them.
    frames : list of FovFrames
        Clock of each field of view.
    rows : list of FovRows
        ROIs of each field of view.

    Returns
    -------
    xarray.Dataset
        ``neuron, tracked, is_cell, fov_index, roi_in_fov, roi_delay (roi)``, ``frame_times, bad_frame
        (fov, time)``, ``side, movement_times (trial)``, and ``code(trial, target)``: what each code held,
        whose sign is the label.
    """
    sizes = [len(fov) for fov in rows]
    lines = np.concatenate([fov.stack_pos[:, 0] for fov in rows])
    codes = code_values(behavior)
    return xr.Dataset(
        {
            "neuron": ("roi", np.concatenate([fov.neurons.neuron_id for fov in rows])),
            "tracked": ("roi", np.concatenate([fov.tracked for fov in rows])),
            "is_cell": ("roi", np.concatenate([fov.is_cell for fov in rows])),
            "fov_index": ("roi", np.repeat(np.arange(len(rows), dtype=np.int32), sizes)),
            "roi_in_fov": ("roi", np.concatenate([np.arange(n, dtype=np.int32) for n in sizes])),
            "roi_delay": ("roi", line_delays()[lines], {"units": "s"}),
            "frame_times": (("fov", "time"), np.stack([fov.times for fov in frames]), {"units": "s"}),
            "bad_frame": (("fov", "time"), np.stack([fov.bad for fov in frames])),
            "side": ("trial", behavior.side),
            "movement_times": ("trial", behavior.movement_times, {"units": "s"}),
            "code": (("trial", "target"), np.column_stack([codes[target] for target in TARGETS])),
        },
        coords={
            "fov": ("fov", np.array([f"FOV_{i:02d}" for i in range(len(rows))], dtype=object)),
            "target": ("target", np.array(TARGETS, dtype=object)),
        },
    )


def neurons_truth(rows: list[FovRows]) -> xr.Dataset:
    """Gather the neurons that appear on any day, in the order of their numbers.

    Parameters
    ----------
    rows : list of FovRows
        ROIs of every field of view of every session.

    Returns
    -------
    xarray.Dataset
        ``cluster_uid, rate (neuron)``, ``weight(neuron, target)``, those of the first day that shows the neuron;
        coordinate ``neuron``.
    """
    everyone = join([fov.neurons for fov in rows])
    _, first = np.unique(everyone.neuron_id, return_index=True)
    neurons = everyone.take(first)
    return xr.Dataset(
        {
            "cluster_uid": ("neuron", neurons.cluster_uid),
            "rate": ("neuron", neurons.rate, {"units": "1/s"}),
            "weight": (("neuron", "target"), neurons.weight),
        },
        coords={"neuron": neurons.neuron_id, "target": ("target", np.array(TARGETS, dtype=object))},
    )


def write_truth(folder: Path, groups: Mapping[str, xr.Dataset], attributes: Mapping[str, Any]) -> None:
    """Write the truth of a subject.

    Parameters
    ----------
    folder : pathlib.Path
        The subject's folder.
    groups : mapping of str to xarray.Dataset
        Datasets by name of group.
    attributes : mapping of str to Any
        Attributes of the root: what the subject was made from, and its sessions.
    """
    partial = folder / PARTIAL_NAME
    xr.Dataset(attrs=dict(attributes)).to_zarr(partial, zarr_format=3, consolidated=False, mode="w")
    for name, group in groups.items():
        group.to_zarr(partial, group=name, zarr_format=3, consolidated=False, mode="a")
    partial.rename(folder / TRUTH_NAME)


def read_truth(folder: Path, group: str | None = None) -> xr.Dataset:
    """Read one group of a subject's truth into memory; None is the root, which has attributes only.

    Raises
    ------
    DataError
        There is no truth in the folder, or it has no such group.
    """
    path = Path(folder) / TRUTH_NAME
    if not path.is_dir():
        raise DataError("no simulated subject here; make one with simulate_subject(folder)", path)
    try:
        with xr.open_zarr(path, group=group, consolidated=False, chunks=None) as dataset:
            return dataset.load()
    except (FileNotFoundError, KeyError) as error:
        raise DataError(f"no group {group!r}; expected 'neurons' or the eid of a session", path) from error
