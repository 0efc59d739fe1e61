"""What a run of sessions, or of populations, would ask: known before anything is embedded, from trials tables alone."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from mesodask.curves.cost import Load, estimate
from mesodask.curves.engine import Run
from mesodask.curves.plan import Extent, actual_ks, grain_of, missing_pieces, resample_chunk_of
from mesodask.curves.populations import Population
from mesodask.curves.sessions import session_run
from mesodask.errors import NothingToDecodeError
from mesodask.io import cache
from mesodask.io.runstore import RunStore
from mesodask.numerics import nulls
from mesodask.runs.cost import RunCost
from mesodask.runs.decoding import Decoding
from mesodask.runs.matching import Matching
from mesodask.runs.trial_counts import Counts, count_trials, trials_of
from mesodask.settings import NdcSettings


def cost_of_sessions(matching: Matching, decoding: Decoding, *, rerun: bool = False) -> RunCost:
    """Estimate the cost of a run of sessions, embedded or not."""
    loads, notes = loads_of_sessions(matching, decoding, cache.decoding_folder(matching.folder), rerun=rerun)
    return estimate(loads, decoding.settings, decoding.decoder, notes)


def loads_of_sessions(
    matching: Matching, decoding: Decoding, folder: Path, *, rerun: bool = False
) -> tuple[list[Load], list[str]]:
    """Tell what a run of sessions, embedded or not, would ask, and what is to be said about it.

    Parameters
    ----------
    matching : Matching
        Which sessions and neurons.
    decoding : Decoding
        What is done with them.
    folder : pathlib.Path
        Where the run's store is, or shall be.
    rerun : bool
        Whether what is stored already would be forgotten.
    """
    counts = count_trials(
        trials_of(matching.infos, matching.one, matching.folder), decoding.settings, decoding.trial_mask
    )
    paths = {info.eid: matching.path(info) for info in matching.infos}
    not_there = [eid for eid, path in paths.items() if not path.exists()]
    if not_there:
        note = f"{len(not_there)} of {len(paths)} sessions are not embedded yet, which is not counted here"
        return list(loads_of_trials(counts, matching.count(), decoding.settings).values()), [note]
    tracked = matching.tracked_neurons()
    expected = loads_of_trials(counts, tracked.sizes["neuron"], decoding.settings)
    return _loads_of_run(session_run(tracked, paths, decoding, folder), expected, rerun)


def cost_of_populations(run: Run, *, rerun: bool = False) -> RunCost:
    """Estimate the cost of a run of populations that did not come from ALF."""
    target = run.settings.targets[0]
    counts = {
        (target, source.eid): int(np.bincount(source.y, minlength=2).min())
        for source in run.sources
        if isinstance(source, Population)
    }
    loads, notes = _loads_of_run(run, loads_of_trials(counts, run.tracked.sizes["neuron"], run.settings), rerun)
    return estimate(loads, run.settings, run.decoder, notes)


def loads_of_trials(counts: Counts, n_neurons: int, settings: NdcSettings) -> dict[tuple[str, str], Load]:
    """Turn trials of the smaller class into loads, as a run would balance, equalise and skip.

    Raises
    ------
    NothingToDecodeError
        Every session of every target would be skipped.
    """
    ks = tuple(actual_ks(settings.ks, n_neurons))
    decoded = {key: n for key, n in counts.items() if n >= settings.min_per_class}
    if not decoded:
        listing = "\n".join(f"  {target}, session {eid}: {n} trials" for (target, eid), n in counts.items())
        raise NothingToDecodeError(
            f"no session of any target can be decoded: at least {settings.min_per_class} trials of each class are "
            f"needed, and the smaller class has\n{listing}"
        )
    loads = {}
    for (target, eid), n in decoded.items():
        smallest = min(m for (other, _), m in decoded.items() if other == target)
        n_trials = 2 * (smallest if settings.equalize_trials else n)
        n_null = min(settings.n_label_shuffles, nulls.max_shuffles(settings.null_of(target), n_trials))
        extent = Extent(ks, settings.R, settings.null_resamples, n_null)
        loads[target, eid] = Load(target, n_trials, n_neurons, extent)
    return loads


def _loads_of_run(run: Run, expected: Mapping[tuple[str, str], Load], rerun: bool) -> tuple[list[Load], list[str]]:
    """Take into account what the run's store holds already."""
    if rerun or not run.store.exists():
        return list(expected.values()), []
    loads = []
    for target in run.settings.targets:
        for session, eid in enumerate(run.eids):
            attrs = run.store.feature_attributes(target, eid)
            load = expected.get((target, eid))
            if "n_decoded" not in attrs:
                loads += [load] if load is not None else []
            elif attrs["skipped"] == "":
                loads.append(_stored_load(run, target, session, attrs["n_decoded"]))
    return loads, ["what is stored already is not counted"]


def _stored_load(run: Run, target: str, session: int, n_trials: int) -> Load:
    n_null = nulls.max_shuffles(run.settings.null_of(target), n_trials)
    extent = run.extent(n_null)
    store: RunStore = run.store
    grain = grain_of(run.decoder, resample_chunk_of(run.decoder))
    missing = partial(missing_pieces, store, target, session, extent, grain)
    begun = target in store.targets()
    return Load(target, n_trials, run.tracked.sizes["neuron"], extent, missing if begun else None)
