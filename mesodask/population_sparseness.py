"""How sparse a population's activity is: in each event window, on each trial, and over the whole recording.

A session is cut into blocks of its neurons, each a task. What sparseness needs of them, a sum and a sum of squares for
each trial, adds up; so no task and no driver ever holds the activity of a session.
"""

import contextlib
import hashlib
import logging
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mesodask import schema, selection, sessions
from mesodask.checked import short_hash
from mesodask.errors import MesodaskError, SessionsFailedError, SettingsError, StoreError, TasksFailedError
from mesodask.event_windows import WINDOWS
from mesodask.io import alf, cache, locked, partials, stores
from mesodask.numerics.sparseness import from_sums, treves_rolls
from mesodask.numerics.windows import Sampling
from mesodask.runs.driver import Progress, silent, workers
from mesodask.runs.sessions import embed_each
from mesodask.sparseness_parts import Part, Timing, compute_part, timing_of

if TYPE_CHECKING:
    from mesodask.compute.runner import AnyClient, Failure, Task

logger = logging.getLogger(__name__)

ALGORITHM_VERSION = 1  # raise it when a change of the code changes any value
WHOLE = "full_session"
NEURONS_A_TASK = 4096  # 2 to 4 s


def sparseness(
    eids: Sequence[str] | str,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    neurons_only: bool = True,
    neurons: selection.Narrowing = None,
    scale: bool = True,
    sampling: Sampling = "hold",
    rerun: bool = False,
    client: "AnyClient | None" = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Compute the population sparseness of sessions, by event window (:mod:`mesodask.event_windows`) and by trial.

    The rate of a neuron on a trial is its windowed mean (:func:`mesodask.numerics.windows.windowed_means`), each trace
    scaled between its 20th and 99th percentile (:func:`mesodask.numerics.scaling.percentile_scale`) and what is below
    0 set to 0. Its rate in a window is the mean over the trials of the window. Sparseness is that of these rates
    (:func:`mesodask.numerics.sparseness.treves_rolls`). A trial counts if its window is usable for every neuron: the
    same trials count for all. The last window, ``full_session``, is the whole recording; its trials are as many equal
    parts of the recording as there are trials.

    What is stored is opened, and computed again only if the session's store was built again.

    Parameters
    ----------
    eids : str or sequence of str
        Sessions of one subject.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default. Results lie in ``sparseness/`` below it.
    neurons_only : bool
        Leave out, before anything else, the ROIs that are not flagged as cells.
    neurons : optional
        Narrows to a mask, rows or regions, see :func:`mesodask.selection.masks`.
    scale : bool
        Whether traces are scaled; else rates are in the signal's unit.
    sampling : {"hold", "frames"}
        How windows are read, see :func:`mesodask.trial_features`.
    rerun : bool
        Compute again what is stored.
    client : distributed.Client or callable() -> distributed.Client, optional
        Its workers compute; by default some are started on this machine, if anything is missing. A callable is asked
        for its client only then.
    progress : callable(stage, done, total), optional
        Called as the work goes on.

    Returns
    -------
    xarray.Dataset
        The variables of :data:`mesodask.schema.SPARSENESS` with a first dim session, in the order of (date, number),
        and ``date, number, n_neurons (session)``. Where a session has fewer neurons or trials than another, floats are
        NaN and rows -1. The attribute ``stores`` has the path of each session's own.

    Raises
    ------
    TrackingError
        No session is given, one is given twice, or they are of several subjects.
    SettingsError
        An argument has a value that is not allowed, or no neuron is left.
    DataError
        A session has no trials, or they lack a column.
    TasksFailedError
        The tasks of a session failed.
    StoreError
        The store of a session is damaged, or what was computed cannot be written.
    SessionsFailedError
        Of several sessions some failed, in one of these ways or since they cannot be embedded; the others are stored,
        and are the error's ``result``.
    """
    eids = [eids] if isinstance(eids, str) else list(eids)
    if sampling not in ("hold", "frames"):
        raise SettingsError(f"sampling: {sampling!r}; expected 'hold' or 'frames'")
    one = alf.connect(one)
    folder = cache.cache_folder(cache_dir, one)
    report = progress or silent
    paths, errors = embed_each(eids, one, folder, client, report)
    opened = _opened(paths, errors)
    if not opened:
        raise _failure(errors, len(eids), None)
    chosen = _chosen_rows(opened, errors, neurons_only, neurons)
    jobs = [
        _Job(session, chosen[eid], scale, sampling, cache.sparseness_folder(folder), rerun)
        for eid, session in opened.items()
    ]
    for job in jobs:
        partials.remove_partial(job.path.parent, job.path.name)
    missing = [job for job in jobs if rerun or not job.is_stored()]
    if missing:
        errors |= _compute(missing, client, report)
    whole = [job for job in jobs if job.eid not in errors]
    if errors:
        raise _failure(errors, len(eids), _read(whole) if whole else None)
    return _read(whole)


def _failure(errors: dict[str, MesodaskError], n_sessions: int, result: xr.Dataset | None) -> MesodaskError:
    """Put together why sessions failed, with the result of the others."""
    error = SessionsFailedError(errors, n_sessions) if n_sessions > 1 else next(iter(errors.values()))
    error.result = result
    return error


def _opened(paths: Mapping[str, Path], errors: dict[str, MesodaskError]) -> dict[str, xr.Dataset]:
    """Open sessions, and try what chooses their neurons; what is wrong with one is noted in `errors`."""
    opened = {}
    for eid, path in paths.items():
        try:
            session = sessions.open_session(path)
            for name in {"is_neuron", "region"} & set(session.variables):
                sessions.values(session, str(name))
            opened[eid] = session
        except StoreError as error:
            errors[eid] = error
    return opened


def _chosen_rows(
    opened: Mapping[str, xr.Dataset], failed: Collection[str], neurons_only: bool, neurons: selection.Narrowing
) -> dict[str, np.ndarray]:
    """Rows of each session that take part; those that have failed may be narrowed, too."""
    n_rois = dict.fromkeys(failed, 0) | {eid: session.sizes["roi"] for eid, session in opened.items()}
    if isinstance(neurons, Mapping):
        neurons = {eid: choice for eid, choice in neurons.items() if eid not in failed}
    none = np.zeros(0, dtype=object)
    narrowed = selection.masks(
        neurons, n_rois, lambda eid: sessions.values(opened[eid], "region") if eid in opened else none
    )
    rows = {}
    for eid, session in opened.items():
        mask = narrowed.get(eid, np.ones(n_rois[eid], dtype=bool))
        if neurons_only:
            mask = mask & sessions.values(session, "is_neuron")
        if not mask.any():
            raise SettingsError(f"neurons: none of the {n_rois[eid]} ROIs of session {eid} is left; expected some")
        rows[eid] = np.flatnonzero(mask)
    return rows


@dataclass(frozen=True)
class _Job:
    """One session of which sparseness is asked."""

    session: xr.Dataset
    rows: np.ndarray
    scale: bool
    sampling: Sampling
    folder: Path
    rerun: bool

    @property
    def eid(self) -> str:
        return str(self.session.attrs["eid"])

    @property
    def source(self) -> Path:
        return Path(self.session.encoding["source"])

    def settings(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "sampling": self.sampling,
            "neurons": hashlib.blake2b(self.rows.astype("<i8").tobytes(), digest_size=8).hexdigest(),
            "windows": [window.definition() for window in WINDOWS],
            "algorithm": ALGORITHM_VERSION,
        }

    @property
    def path(self) -> Path:
        return self.folder / f"{self.eid}_{short_hash(self.settings())}.zarr"

    def is_stored(self) -> bool:
        """Tell whether there is a whole result of this build of the session."""
        if not self.path.exists():
            return False
        try:
            return self._is_whole()
        except StoreError as error:
            logger.warning("%s; it is computed again", error)
            return False

    def _is_whole(self) -> bool:
        stores.check_seal(self.path)
        stores.check_chunks(self.path)
        with stores.reading(self.path):
            stores.open_group(self.path, schema=schema.SPARSENESS).load()
        return bool(stores.attributes(self.path)["build_id"] == self.session.attrs["build_id"])

    def store(self, timing: Timing, parts: Sequence[Part]) -> None:
        """Put the parts together and write the result, whole or not at all."""
        result = self._result(timing, parts)
        names = ("eid", "subject", "date", "number", "signal_kind", "build_id", "mesodask_version")
        attrs = {name: self.session.attrs[name] for name in names if name in self.session.attrs}
        dataset = schema.conform(result, schema.SPARSENESS, attrs | {"settings": self.settings()})
        with locked.alone(self.path):
            with contextlib.suppress(StoreError):
                if not self.rerun and self._is_whole():  # of another process, which may be reading it by now
                    return
            with partials.building(self.path) as temporary:
                stores.write_group(temporary, "", dataset)
                stores.seal(temporary)

    def _result(self, timing: Timing, parts: Sequence[Part]) -> dict[str, Any]:
        """Put the parts together: the variables of :data:`mesodask.schema.SPARSENESS`."""
        rate = np.concatenate([part.rate for part in parts], axis=1)
        total, squares = (sum(getattr(part, name) for part in parts) for name in ("total", "squares"))
        n_neurons = sum(part.n_neurons for part in parts)
        counted, reading = timing.counted, list(timing.reading)
        per_trial = from_sums(total, squares, np.full(timing.events.shape, n_neurons))[reading]
        lengths = np.array([stop - start for start, stop in timing.windows])[reading]
        finite = np.isfinite(rate)
        n_finite = finite.sum(axis=1)
        mean_rate = np.full(len(rate), np.nan)
        np.divide(np.where(finite, rate, 0).sum(axis=1, dtype=float), n_finite, out=mean_rate, where=n_finite > 0)
        return {
            "window": [window.name for window in WINDOWS] + [WHOLE],
            "sparseness": treves_rolls(rate, axis=1),
            "mean_rate": mean_rate,
            "n_trials": counted.sum(axis=1),
            "duration": counted.sum(axis=1) * lengths,
            "rate": rate,
            "trial_sparseness": np.where(counted, per_trial, np.nan),
            "roi": self.rows,
        }


# all of them --------------------------------------------------------------------------------------------------


def _read(jobs: Sequence[_Job]) -> xr.Dataset:
    """Read what is stored of sessions."""
    results = [stores.open_group(job.path, schema=schema.SPARSENESS).load() for job in jobs]
    return together(results).assign_attrs(stores=[str(job.path) for job in jobs])


def _compute(jobs: Sequence[_Job], client: "AnyClient | None", report: Progress) -> dict[str, MesodaskError]:
    """Compute sessions as one plan on one cluster; each is stored when the last of its parts is there.

    Why some could not be is given, by eid.
    """
    from mesodask.compute import runner

    plan = _Plan(jobs, report)
    with workers(client) as give_client:
        runner.run_tasks(give_client(), plan.tasks(), plan.on_result, on_failure=plan.on_failure)
    return plan.errors


class _Plan:
    """The tasks of all sessions, and what has become of them."""

    def __init__(self, jobs: Sequence[_Job], report: Progress) -> None:
        self.errors: dict[str, MesodaskError] = {}
        self._jobs = {job.eid: job for job in jobs}
        self._timings: dict[str, Timing] = {}
        self._starts = {job.eid: range(0, len(job.rows), NEURONS_A_TASK) for job in jobs}
        self._parts: dict[str, dict[int, Part]] = {eid: {} for eid in self._jobs}
        self._n_done, self._n_parts = 0, sum(map(len, self._starts.values()))
        self._report = report
        report("sparseness", 0, self._n_parts)

    def tasks(self) -> "Iterator[Task]":
        """Enumerate the blocks of one session after the other; what is wrong with one costs no other."""
        from mesodask.compute import runner

        for eid, job in self._jobs.items():
            try:
                timing = self._timings[eid] = timing_of(job.session, job.rows, job.sampling)
            except MesodaskError as error:
                self.errors[eid] = error
                continue
            for start in self._starts[eid]:
                if eid in self.errors:  # one of its blocks has failed
                    break
                rows = job.rows[start : start + NEURONS_A_TASK]
                # a result that is computed again is other work
                key = f"sparseness-{job.path.stem}-{start}-{secrets.token_hex(4)}"
                arguments = (str(job.source.absolute()), rows, timing, job.scale, job.sampling)
                yield runner.Task(key, compute_part, arguments, {"eid": eid, "start": start})

    def on_result(self, task: "Task", part: Part) -> None:
        """Keep a part; the last one of a session completes it."""
        eid = task.label["eid"]
        self._n_done += 1
        self._report("sparseness", self._n_done, self._n_parts)
        if eid in self.errors:
            return
        self._parts[eid][task.label["start"]] = part
        if len(self._parts[eid]) == len(self._starts[eid]):
            parts, job = self._parts.pop(eid), self._jobs[eid]
            try:
                job.store(self._timings.pop(eid), [parts[start] for start in self._starts[eid]])
            except StoreError as error:
                self.errors[eid] = error

    def on_failure(self, failure: "Failure") -> None:
        """Note why a session cannot be whole."""
        eid = failure.task.label["eid"]
        self.errors[eid] = TasksFailedError(failure.error)
        self._parts.pop(eid, None)


def together(results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Put the results of sessions together: a first dim session, and what is missing NaN or -1."""
    sizes = {dim: max(result.sizes[dim] for result in results) for dim in ("window", "neuron", "trial")}
    variables = {}
    for name in ("sparseness", "mean_rate", "n_trials", "duration", "rate", "trial_sparseness", "roi"):
        first = results[0][name]
        missing = np.nan if first.dtype.kind == "f" else -1
        stacked = np.full((len(results), *(sizes[str(dim)] for dim in first.dims)), missing, dtype=first.dtype)
        for i, result in enumerate(results):
            one = result[name].values
            stacked[i][tuple(map(slice, one.shape))] = one
        variables[name] = ("session", *first.dims), stacked, first.attrs
    attrs = {name: results[0].attrs[name] for name in ("subject", "signal_kind", "mesodask_version")}
    attrs["settings"] = {name: value for name, value in results[0].attrs["settings"].items() if name != "neurons"}
    per_session = {name: ("session", [one.attrs[name] for one in results]) for name in ("date", "number")}
    return xr.Dataset(
        variables | {"n_neurons": ("session", [one.sizes["neuron"] for one in results])},
        {"session": [one.attrs["eid"] for one in results], "window": results[0]["window"].values,
         "label": ("window", [window.label for window in WINDOWS] + ["whole recording"]), **per_session},
        attrs,
    )  # fmt: skip
