"""The original ``compute_sparseness``: population sparseness by event window, as a dictionary."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from mesodask import population_sparseness, sessions
from mesodask.compat import rows
from mesodask.compat.decode import SAMPLING
from mesodask.compat.keywords import original
from mesodask.compute.script import unseen_by_workers
from mesodask.io import alf

if TYPE_CHECKING:
    from distributed import Client


@original()
def compute_sparseness(
    eid: str,
    scaling: bool = True,
    restrict: ArrayLike | None = None,
    per_trial: bool = False,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    client: "Client | None" = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Compute how sparse the activity of a session's cells is, in each event window or on each trial.

    Different from the originals: a neuron's rate in a window is the mean over trials, not over all frames of all
    trials; what is below 0 after scaling counts as 0, as the measure is one of rates; windows without a frame, or that
    reach beyond the recording, do not count; windows are those of :func:`mesodask.compat.win_times.get_win_times`.

    Parameters
    ----------
    eid : str
        The session.
    scaling : bool
        Scale each trace between its 20th and 99th percentile.
    restrict : array_like of int or bool, optional
        Rows of ``load_or_embed(eid)["roi_signal"]``; all of them by default.
    per_trial : bool
        A value for each trial, and for as many equal parts of the recording as there are trials.
    one, cache_dir, client, progress
        As for :func:`mesodask.sparseness`, which stores what it computes.

    Returns
    -------
    dict of str to dict
        By window, the last one ``full_session``: ``n_trials, n_time_bins, firing_rates`` (n_neurons,) and
        ``sparseness``; or, per trial, ``n_trials, n_time_bins_per_trial`` and ``sparseness_per_trial``, of the whole
        recording ``chunk_bounds_idx, n_time_bins_per_chunk`` and ``sparseness_per_chunk``. Numbers of time bins are
        times divided by the median frame period.

    Raises
    ------
    SettingsError
        `restrict` does not fit the session.
    DataError
        The session has no trials.

    Examples
    --------
    >>> compute_sparseness(eid)["choiceL"]["sparseness"]  # doctest: +SKIP
    0.37
    """
    one = alf.connect(one)
    session = sessions.load_or_embed(eid, one=one, cache_dir=cache_dir, rastermap=False)
    chosen = rows.session_rows(session, restrict, filter_neurons=True)
    with unseen_by_workers():
        found = population_sparseness.sparseness(
            eid, one=one, cache_dir=cache_dir, neurons=np.unique(chosen), scale=scaling, sampling=SAMPLING,
            client=client, progress=progress,
        ).isel(session=0)  # fmt: skip
    period = float(np.median(np.diff(session["frame_times"].values[0])))
    if per_trial:
        return _per_trial(found, period, session.sizes["time"])
    order = np.searchsorted(found["roi"].values, chosen)
    windows = {str(name): _window(found.sel(window=name), period, order) for name in found["window"].values}
    windows[population_sparseness.WHOLE]["n_time_bins"] = session.sizes["time"]
    return windows


def _window(window: xr.Dataset, period: float, order: np.ndarray) -> dict[str, Any]:
    return {
        "n_trials": int(window["n_trials"]),
        "n_time_bins": round(float(window["duration"]) / period),
        "firing_rates": window["rate"].values[order],
        "sparseness": float(window["sparseness"]),
    }


def _per_trial(found: xr.Dataset, period: float, n_frames: int) -> dict[str, dict[str, Any]]:
    windows: dict[str, dict[str, Any]] = {}
    for name in found["window"].values.tolist():
        window = found.sel(window=name)
        values = window["trial_sparseness"].values
        n_trials = int(window["n_trials"])
        if name == population_sparseness.WHOLE:
            bounds = np.linspace(0, n_frames, len(values) + 1, dtype=int)
            windows[name] = {
                "n_trials": len(values),
                "chunk_bounds_idx": bounds.tolist(),
                "n_time_bins_per_chunk": np.diff(bounds).tolist(),
                "sparseness_per_chunk": values,
            }
            continue
        length = float(window["duration"]) / n_trials if n_trials else 0.0
        windows[name] = {
            "n_trials": n_trials,
            "n_time_bins_per_trial": [round(length / period)] * n_trials,
            "sparseness_per_trial": values[np.isfinite(values)],
        }
    return windows
