"""Every stored variable, declared once: dims, dtype, unit, meaning, and whether it may be missing.

:func:`validate` holds a dataset against its declaration and raises where they differ, so that nothing is written or
used that is not as DESIGN says. Numbers that change the layout on disk change ``SCHEMA_VERSION``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from mesodask.errors import StoreError

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Variable:
    """Declaration of one stored variable.

    Attributes
    ----------
    dims : tuple of str
        Names of the dimensions, in order.
    dtype : str
        NumPy dtype name, or ``"str"`` for variable-length strings.
    meaning : str
        What it is, in one line; stored as the attribute ``long_name``.
    unit : str
        Physical unit; empty for pure numbers and labels.
    optional : bool
        Whether a dataset may lack it.
    """

    dims: tuple[str, ...]
    dtype: str
    meaning: str
    unit: str = ""
    optional: bool = False

    def attributes(self) -> dict[str, str]:
        """Attributes that the variable carries on disk."""
        return {"long_name": self.meaning} | ({"units": self.unit} if self.unit else {})


Schema = Mapping[str, Variable]

SESSION: Schema = {
    "signal": Variable(("roi", "time"), "float32", "activity; attribute signal_kind says which", "a.u."),
    "frame_times": Variable(("fov", "time"), "float64", "frame times of each FOV on the session clock", "s"),
    "roi_delay": Variable(("roi",), "float64", "scan-line delay to add to the FOV's frame time", "s", optional=True),
    "bad_frame": Variable(("fov", "time"), "bool", "bad frames of each FOV", optional=True),
    "fov": Variable(("fov",), "str", "names of the fields of view"),
    "fov_index": Variable(("roi",), "int32", "FOV of each ROI, an index into fov"),
    "roi_in_fov": Variable(("roi",), "int32", "row of the ROI within its FOV's files"),
    "xyz": Variable(("roi", "axis"), "float64", "ML (+right), AP (+anterior), DV (+dorsal) from bregma", "um"),
    "axis": Variable(("axis",), "str", "names of the anatomical axes", optional=True),
    "region_id": Variable(("roi",), "int64", "Allen CCF 2017 id"),
    "region": Variable(("roi",), "str", "Allen CCF 2017 acronym"),
    "region_color": Variable(("roi",), "str", "Allen CCF 2017 colour, #rrggbb"),
    "is_neuron": Variable(("roi",), "bool", "flagged as a cell by mpciROITypes"),
    "cell_probability": Variable(("roi",), "float64", "probability of being a cell", optional=True),
    "uuid": Variable(("roi",), "str", "id of the ROI within its session", optional=True),
}

ORDER: Schema = {
    "isort": Variable(("roi",), "int64", "Rastermap order: signal[isort] is sorted"),
}

WHEEL: Schema = {
    "times": Variable(("sample",), "float64", "times of the wheel's samples", "s"),
    "position": Variable(("sample",), "float64", "wheel position, counter-clockwise positive", "rad"),
}

TRACKED: Schema = {
    "roi": Variable(("session", "neuron"), "int64", "row of each session's store, all ROIs counted"),
    "session": Variable(("session",), "str", "eids in the order of (date, number)"),
    "date": Variable(("session",), "str", "day of the session, ISO 8601"),
    "cluster_uid": Variable(("neuron",), "str", "ROICaT cluster UIDs in lexicographic order"),
    "number": Variable(("session",), "int64", "running number of the session within its day", optional=True),
    "repeated": Variable(("session",), "int64", "ROIs whose UID an earlier ROI of the session has", optional=True),
    "untracked_fovs": Variable(("session",), "str", "FOVs without a cluster-UID file, with commas", optional=True),
}

TRACKING_TABLE: Schema = {
    "session": Variable(("session",), "str", "eids in the order of (date, number)"),
    "other": Variable(("other",), "str", "the same eids again"),
    "date": Variable(("session",), "str", "day of the session, ISO 8601"),
    "number": Variable(("session",), "int64", "running number of the session within its day"),
    "cluster_uid": Variable(("neuron",), "str", "UIDs found in any session, in lexicographic order"),
    "presence": Variable(("session", "neuron"), "bool", "whether the neuron was found in the session"),
    "n_neurons": Variable(("session",), "int64", "tracked neurons of the session"),
    "shared": Variable(("session", "other"), "int64", "neurons that both sessions have; their own on the diagonal"),
    "gap_days": Variable(("session", "other"), "int64", "days from one session to the other, 0 or more", "d"),
    "gap": Variable(("gap",), "int64", "days between the sessions of a pair", "d"),
    "gap_pairs": Variable(("gap",), "int64", "pairs of sessions that lie so many days apart"),
    "gap_mean": Variable(("gap",), "float64", "mean over these pairs of the neurons shared"),
    "gap_min": Variable(("gap",), "int64", "fewest neurons shared by any of these pairs"),
    "gap_max": Variable(("gap",), "int64", "most neurons shared by any of these pairs"),
    "repeated": TRACKED["repeated"],
    "untracked_fovs": TRACKED["untracked_fovs"],
}

SESSION_SUBSETS: Schema = {
    "size": Variable(("size",), "int64", "number of sessions in the subset"),
    "session": Variable(("session",), "str", "eids of all sessions, in the order of (date, number)"),
    "date": Variable(("session",), "str", "day of the session, ISO 8601"),
    "number": Variable(("session",), "int64", "running number of the session within its day"),
    "n_trials": Variable(("session",), "int64", "trials of the session"),
    "n_neurons": Variable(("session",), "int64", "tracked neurons of the session"),
    "reason": Variable(("session",), "str", "why the session cannot be in a subset; empty if it can"),
    "member": Variable(("size", "session"), "bool", "whether the session is in the subset"),
    "n_shared": Variable(("size",), "int64", "neurons that all sessions of the subset share"),
    "gap": Variable(("size",), "int64", "how many more another subset could share at the most; 0 is proven best"),
}

FEATURES: Schema = {
    "X": Variable(("trial", "neuron"), "float32", "windowed mean, z-scored per neuron over the kept trials", "sd"),
    "y": Variable(("trial",), "int8", "label of the trial, 1 or 0"),
    "trial_index": Variable(("trial",), "int64", "row of the session's trials table"),
    "decoded": Variable(("trial",), "bool", "part of the balanced set that is decoded", optional=True),
    "null_label": Variable(("shuffle", "trial"), "int8", "labels of the null; -1 where not decoded", optional=True),
}

SPARSENESS: Schema = {
    "window": Variable(("window",), "str", "names of the event windows; the last one is the whole recording"),
    "sparseness": Variable(("window",), "float64", "Treves-Rolls sparseness of the neurons' rates in the window"),
    "mean_rate": Variable(("window",), "float64", "mean of the neurons' rates in the window", "a.u."),
    "n_trials": Variable(("window",), "int64", "trials that the window is usable on; parts of the whole recording"),
    "duration": Variable(("window",), "float64", "time in the window, over all trials", "s"),
    "rate": Variable(("window", "neuron"), "float32", "rate of each neuron in the window, mean over trials", "a.u."),
    "trial_sparseness": Variable(
        ("window", "trial"), "float64", "sparseness of each trial; NaN where the window is not for it or not usable"
    ),
    "roi": Variable(("neuron",), "int64", "row of the session's store"),
}

RUN_TARGET: Schema = {
    "session": Variable(("session",), "str", "eids in the order of (date, number)"),
    "k": Variable(("k",), "int64", "number of neurons"),
    "score": Variable(("session", "k", "resample"), "float64", "cross-validated score of one subset of k neurons"),
    "null_score": Variable(("session", "k", "resample", "shuffle"), "float32", "same subset and folds, null labels"),
    "n_trials": Variable(("session",), "int64", "trials decoded"),
    "performance": Variable(("session",), "float64", "share of rewarded trials among those that can be"),
    "status": Variable(("session",), "str", "done, partial or skipped"),
    "reason": Variable(("session",), "str", "why it was skipped"),
}


def validate(dataset: xr.Dataset, schema: Schema, what: str) -> xr.Dataset:
    """Hold a dataset against a schema.

    Parameters
    ----------
    dataset : xarray.Dataset
        To be checked; variables that the schema does not know are left alone.
    schema : mapping of str to Variable
        One of the declarations of this module.
    what : str
        What the dataset is, for the message (a path, or words).

    Returns
    -------
    xarray.Dataset
        The same dataset.

    Raises
    ------
    StoreError
        A variable is missing, or has other dims or another dtype than declared.

    Examples
    --------
    >>> validate(xr.Dataset({"isort": ("roi", np.arange(3))}), ORDER, "an order").sizes["roi"]
    3
    >>> validate(xr.Dataset({"isort": ("time", np.arange(3))}), ORDER, "an order")
    Traceback (most recent call last):
    mesodask.errors.StoreError: an order: isort has dims (time), expected (roi)
    """
    for name, variable in schema.items():
        if name not in dataset.variables:
            if variable.optional:
                continue
            raise StoreError(f"{what}: variable {name} is missing ({variable.meaning})")
        found = dataset.variables[name]
        if found.dims != variable.dims:
            raise StoreError(f"{what}: {name} has dims ({', '.join(map(str, found.dims))}), "
                             f"expected ({', '.join(variable.dims)})")  # fmt: skip
        if _dtype_name(found.dtype) != variable.dtype:
            raise StoreError(f"{what}: {name} has dtype {found.dtype}, expected {variable.dtype}")
    return dataset


def _dtype_name(dtype: np.dtype) -> str:
    return "str" if dtype.kind in "OTU" else dtype.name


def conform(data: Mapping[str, Any], schema: Schema, attrs: Mapping | None = None) -> xr.Dataset:
    """Build a dataset with the dims, dtypes and attributes of a schema.

    Parameters
    ----------
    data : mapping of str to array
        Values by variable name; optional variables may be absent.
    schema : mapping of str to Variable
        One of the declarations of this module. Variables named like a dim become coordinates.
    attrs : mapping, optional
        Attributes of the dataset.

    Raises
    ------
    StoreError
        As :func:`validate`, or a name that the schema does not know.

    Examples
    --------
    >>> conform({"isort": [2, 0, 1]}, ORDER)["isort"].dtype
    dtype('int64')
    """
    unknown = set(data) - set(schema)
    if unknown:
        raise StoreError(f"variables {sorted(unknown)} are not in the schema")
    variables = {}
    for name, variable in schema.items():
        if name in data:
            dtype = object if variable.dtype == "str" else variable.dtype
            variables[name] = (variable.dims, np.asarray(data[name], dtype=dtype), variable.attributes())
    return xr.Dataset(variables, attrs=dict(attrs or {})).set_coords(
        [name for name in variables if name in ("fov", "axis", "session", "date", "cluster_uid", "k", "number")]
    )
