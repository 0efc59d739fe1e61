"""Populations of any origin, ALF or not, as the sessions of a run: ``features={name: Dataset}``."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mesodask import schema
from mesodask.checked import short_hash
from mesodask.curves.engine import Run
from mesodask.errors import DataError, SettingsError
from mesodask.features import zscore
from mesodask.io import alf, cache
from mesodask.io.runstore import RunStore
from mesodask.runs.driver import checked_identity
from mesodask.settings import NdcSettings, PopulationSettings, RunSettings, resolve_settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TARGET_BY_DEFAULT = "labels"
ONCE_EACH = "call neuron_dropping_curves once for each of them"


@dataclass(frozen=True)
class Population:
    """Features of a user's own: activity, a label a trial, and perhaps blocks.

    Attributes
    ----------
    eid : str
        Its name, which stands where an eid stands in other runs.
    X : numpy.ndarray, (n_trials, n_neurons)
        Activity, finite.
    y : numpy.ndarray, (n_trials,)
        Labels 0 and 1.
    trial_blocks : numpy.ndarray, (n_trials,), or None
        The block of each trial.
    """

    eid: str
    X: np.ndarray
    y: np.ndarray
    trial_blocks: np.ndarray | None

    @property
    def build_id(self) -> str:
        """Fingerprint of everything that a score may depend on."""
        digest = hashlib.blake2b(digest_size=16)
        for values in (self.X, self.y, self.trial_blocks):
            if values is not None:
                digest.update(f"{values.dtype.str}{values.shape}".encode())
                digest.update(_bytes_of(values))
        return digest.hexdigest()

    def features(self, targets: Sequence[str], settings: RunSettings) -> list[xr.Dataset]:
        """Give the features of its one target, z-scored per neuron as those from ALF are."""
        del settings
        data = {"X": zscore(self.X), "y": self.y, "trial_index": np.arange(len(self.y))}
        attrs: dict[str, Any] = {"unusable": "", "dropped": {}, "performance": None}
        return [schema.conform(data, schema.FEATURES, attrs) for _ in targets]

    def trials(self) -> dict[str, np.ndarray]:
        """Give no column: there is no trials table."""
        return {}

    def blocks(self) -> np.ndarray | None:
        """Give the block of every trial."""
        return self.trial_blocks


def check_populations(features: Mapping[str, xr.Dataset]) -> tuple[Population, ...]:
    """Check the datasets of a user.

    Parameters
    ----------
    features : mapping of str to xarray.Dataset
        By name: ``X(trial, neuron)``, ``y(trial)`` of 0 and 1, and ``block(trial)`` where blocks are known. Several of
        them are several days of the same neurons, in the same order.

    Returns
    -------
    tuple of Population
        In the mapping's order.

    Raises
    ------
    DataError
        A variable is missing or has other dims, X is not finite, or y holds something else than 0 and 1.
    SettingsError
        There is none, a name cannot name a run, or they are not of the same neurons.

    Examples
    --------
    >>> data = xr.Dataset({"X": (("trial", "neuron"), [[0.0], [1.0]]), "y": ("trial", [0, 1])})
    >>> check_populations({"odour": data})[0].build_id == check_populations({"cued": data})[0].build_id
    True
    """
    if not features:
        raise SettingsError("features: no population given")
    for name in features:
        if not NAME.fullmatch(str(name)):
            raise SettingsError(
                f"features: {name!r} cannot name a run; take letters, digits, '.', '_' and '-', a letter or digit first"
            )
    populations = tuple(_checked(name, dataset) for name, dataset in features.items())
    counts = {population.eid: population.X.shape[1] for population in populations}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in counts.items())
        raise SettingsError(
            f"features: {listed} neurons, but the curves of one run are of the same neurons in the same order; "
            f"{ONCE_EACH}"
        )
    labelled = {name: d["neuron"].values.tolist() for name, d in features.items() if "neuron" in d.coords}
    first = next(iter(labelled), "")
    for name, neurons in labelled.items():
        if neurons != labelled[first]:
            raise SettingsError(
                f"features: {first} and {name} have other neurons (by their coordinate neuron), but the curves of one "
                f"run are of the same neurons in the same order; sort them, or {ONCE_EACH}"
            )
    return populations


def target_of(features: Mapping[str, xr.Dataset]) -> str:
    """Name what is decoded: the attribute ``target`` of the datasets, or "labels".

    Raises
    ------
    SettingsError
        They have several, or it cannot name a group of the store.
    """
    targets = list(dict.fromkeys(str(d.attrs.get("target", TARGET_BY_DEFAULT)) for d in features.values()))
    if len(targets) > 1:
        raise SettingsError(f"features: populations of several targets ({', '.join(targets)}); {ONCE_EACH}")
    if not NAME.fullmatch(targets[0]) or targets[0] in ("tracked", "features"):
        raise SettingsError(
            f"features: attribute target is {targets[0]!r}; take letters, digits, '.', '_' and '-', and not the "
            "names tracked and features"
        )
    return targets[0]


def as_tracked(populations: Sequence[Population], features: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Give the neurons of populations the form of tracked neurons; a name stands for the date, too."""
    n_neurons = populations[0].X.shape[1]
    names = [population.eid for population in populations]
    subject = next((str(d.attrs["subject"]) for d in features.values() if "subject" in d.attrs), names[0])
    return schema.conform(
        {
            "roi": np.tile(np.arange(n_neurons), (len(names), 1)),
            "session": names,
            "date": names,  # tables and figures name a session by it
            "cluster_uid": [f"{i:06d}" for i in range(n_neurons)],
        },
        schema.TRACKED,
        {"subject": subject},
    )


def _bytes_of(values: np.ndarray) -> bytes:
    """Give what an array holds as bytes that are the same in every process."""
    if values.dtype.hasobject:  # its own bytes are addresses
        values = pd.factorize(values.astype(object))[0]  # which trials are of one block is all that counts
    return np.ascontiguousarray(values).tobytes()


def _checked(name: str, dataset: xr.Dataset) -> Population:
    if not isinstance(dataset, xr.Dataset):
        raise SettingsError(f"features: {name} is a {type(dataset).__name__}; expected an xarray.Dataset with X and y")
    for variable, dims in (("X", {"trial", "neuron"}), ("y", {"trial"}), ("block", {"trial"})):
        if variable not in dataset:
            if variable == "block":
                continue
            raise DataError(f"features: {name} has no {variable}({', '.join(sorted(dims, reverse=True))})")
        if set(dataset[variable].dims) != dims:
            found = ", ".join(map(str, dataset[variable].dims))
            expected = ", ".join(sorted(dims, reverse=True))
            raise DataError(f"features: {variable} of {name} has dims ({found}), expected ({expected})")
    X = dataset["X"].transpose("trial", "neuron").values
    if X.dtype.kind not in "fiub" or 0 in X.shape:
        raise DataError(f"features: X of {name} has shape {X.shape} and dtype {X.dtype}; expected numbers")
    finite = np.isfinite(X).all(axis=1)
    if not finite.all():
        raise DataError(
            f"features: X of {name} is not finite in {(~finite).sum()} of {len(X)} trials (the first is "
            f"{np.flatnonzero(~finite)[0]}); drop those trials, or the neurons that cause it"
        )
    y = dataset["y"].values
    if y.dtype.kind not in "fiub" or not np.isin(y, (0, 1)).all():
        raise DataError(f"features: y of {name} must be 0 and 1 alone; drop the trials without a label")
    blocks = dataset["block"].values if "block" in dataset else None
    return Population(str(name), X, y.astype(np.int8), blocks)


# the run ------------------------------------------------------------------------------------------------------


def population_run(
    features: Mapping[str, xr.Dataset],
    cache_dir: str | Path | None,
    one: Any,
    decoder: Any,
    given: NdcSettings | None,
    options: Mapping[str, Any],
) -> Run:
    """Describe the run of populations: nothing is computed or written; arguments as for the curves."""
    populations = check_populations(features)
    settings = _settings(features, given, options)
    without = [population.eid for population in populations if population.trial_blocks is None]
    if settings.null == "blockwise" and without:
        raise SettingsError(f"null: blockwise needs block(trial), which {', '.join(without)} has not")
    decoded_by = checked_identity(decoder, settings.metric, settings.C)
    folder = cache.cache_folder(cache_dir, alf.connect(one) if cache_dir is None else None)
    content: dict[str, Any] = {
        "populations": [[population.eid, population.build_id] for population in populations],
        "target": settings.targets[0],
        "settings": settings.score_identity(),
    }
    if decoded_by is not None:
        content["decoder"] = decoded_by
    more = f"_and_{len(populations) - 1}_more" if len(populations) > 1 else ""
    prefix = f"{populations[0].eid}{more}_{short_hash(content)}"
    store = RunStore(cache.decoding_folder(folder) / f"{prefix}.zarr")
    return Run(store, as_tracked(populations, features), populations, settings, decoder, decoded_by)


def _settings(
    features: Mapping[str, xr.Dataset], settings: NdcSettings | None, options: Mapping[str, Any]
) -> PopulationSettings:
    if settings is not None:
        given = resolve_settings(settings, options, NdcSettings).model_dump(exclude_unset=True)
    else:
        given = dict(options)
    if "targets" in given:
        raise SettingsError("targets: features= is decoded from its own labels; name them by the attribute target")
    given = {name: value for name, value in given.items() if name != "null" or value is not None}
    return PopulationSettings(targets=(target_of(features),), **given)
