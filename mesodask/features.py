"""Session + selected neurons -> trial features: one z-scored windowed mean a trial and neuron, and the label."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mesodask import schema, selection, sessions
from mesodask.errors import DataError, SettingsError
from mesodask.numerics.kinds import check_target
from mesodask.numerics.labels import binary_labels
from mesodask.numerics.windows import Sampling
from mesodask.targets import TARGETS, Target

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 64  # 64 rows x 20 000 frames of float32 are 5 MB: the windows find them in the processor's cache


def trial_features(
    session: xr.Dataset,
    rows: selection.Narrowing,
    target: str | Target,
    *,
    sampling: Sampling = "hold",
    trial_mask: np.ndarray | None = None,
) -> xr.Dataset:
    """Compute the features of one session and one target.

    For kept trial t and neuron n, ``X[t, n] = (m[t, n] - mean_t m[:, n]) / sd_t m[:, n]`` with m the windowed mean
    (:func:`mesodask.numerics.windows.windowed_means`). A neuron whose mean is the same in all trials gets 0.

    Parameters
    ----------
    session : xarray.Dataset
        Session store (:func:`mesodask.load_or_embed`).
    rows : array, str or sequence of str
        Rows of the store (n_neurons,) int, in the order wanted; or a mask over all its ROIs (n_rois,) bool; or
        Allen acronyms, as in :func:`mesodask.selection.masks`.
    target : str or Target
        One of choice, feedback, stimulus, block, or a definition with another event or window.
    sampling : {"hold", "frames"}
        ``hold`` reads each ROI on its own clock, so that every trial counts; ``frames`` averages the frames within
        the window by the first FOV's clock, as the original scripts did.
    trial_mask : numpy.ndarray, (n_trials,) bool, optional
        Trials of the session that may be used.

    Returns
    -------
    xarray.Dataset
        :data:`mesodask.schema.FEATURES`: ``X(trial, neuron)`` float32, ``y(trial)``, ``trial_index(trial)``. The
        attribute ``dropped`` counts the trials that were left out by reason.

    Raises
    ------
    DataError
        The session has no trials, or they lack a column that the target needs.
    SettingsError
        A row or region does not exist, a mask has another length, no neuron is chosen, or the target is unknown.
    StoreError
        The store is damaged.
    """
    return session_features(session, rows, [target], sampling=sampling, trial_mask=trial_mask)[0]


def session_features(
    session: xr.Dataset,
    rows: selection.Narrowing,
    targets: Sequence[str | Target],
    *,
    sampling: Sampling = "hold",
    trial_mask: np.ndarray | None = None,
) -> list[xr.Dataset]:
    """Compute the features of one session for several targets, reading the activity once.

    Parameters and errors as in :func:`trial_features`; one dataset a target, in their order.
    """
    wanted = [resolve_target(target) for target in targets]
    chosen = selection.rows(
        rows, session.attrs["eid"], session.sizes["roi"], lambda: sessions.values(session, "region")
    )
    table = sessions.trials(session)
    mask = _checked_mask(trial_mask, table.sizes["trial"])
    events = [_event_times(table, target, session) for target in wanted]
    means = _windowed(session, chosen, events, [target.window for target in wanted], sampling)
    return [
        _assemble(session, table, target, event, mean, mask, sampling)
        for target, event, mean in zip(wanted, events, means, strict=True)
    ]


def resolve_target(target: str | Target) -> Target:
    """Look a target up by its name; a definition is given back as it is."""
    if isinstance(target, Target):
        return target
    return TARGETS[check_target(target)]


def performance(session: xr.Dataset) -> float:
    """Share of rewarded trials among those with feedback; NaN if there are none.

    Examples
    --------
    >>> _share_rewarded(np.array([1, -1, 1, np.nan]))
    0.6666666666666666
    """
    return _share_rewarded(sessions.trials(session)["feedbackType"].values)


def _share_rewarded(feedback: np.ndarray) -> float:
    given = feedback[np.isin(feedback, (-1, 1))]
    return float(np.mean(given == 1)) if len(given) else float("nan")


def _checked_mask(trial_mask: np.ndarray | None, n_trials: int) -> np.ndarray:
    if trial_mask is None:
        return np.ones(n_trials, dtype=bool)
    mask = np.asarray(trial_mask)
    if mask.shape != (n_trials,) or mask.dtype != bool:
        raise SettingsError(f"trial_mask: expected {n_trials} booleans, found shape {mask.shape}, dtype {mask.dtype}")
    return mask


def _event_times(table: xr.Dataset, target: Target, session: xr.Dataset) -> np.ndarray:
    if target.event not in table:
        raise DataError(
            f"session {session.attrs['eid']}: the trials have no column {target.event}, which target "
            f"{target.name!r} is aligned to; found {', '.join(sorted(map(str, table.data_vars)))}"
        )
    return np.asarray(table[target.event].values, dtype=np.float64)


def _windowed(
    session: xr.Dataset,
    rows: np.ndarray,
    events: Sequence[np.ndarray],
    windows: Sequence[tuple[float, float]],
    sampling: Sampling,
) -> list[np.ndarray]:
    """Windowed means of all targets, each (n_trials, n_neurons), from one pass over the activity."""
    means = [np.empty((len(event), len(rows)), dtype=np.float32) for event in events]
    for block in sessions.roi_blocks(session, rows, at_once=ROWS_AT_ONCE, first_clock=sampling == "frames"):
        for mean, event, window in zip(means, events, windows, strict=True):
            mean[:, block.places] = block.clock.windowed_means(
                block.signal, event, window, delays=block.delay, sampling=sampling
            )
    return means


def _assemble(
    session: xr.Dataset,
    table: xr.Dataset,
    target: Target,
    event: np.ndarray,
    mean: np.ndarray,
    mask: np.ndarray,
    sampling: Sampling,
) -> xr.Dataset:
    columns = {str(name): column.values for name, column in table.items()}
    labels = binary_labels(columns, target.name)
    kept, dropped = _keep(
        {
            "trial_mask": mask,
            "no label": np.isfinite(labels),
            "no event": np.isfinite(event),
            "no usable window": np.isfinite(mean).any(axis=1),
            "signal not finite": np.isfinite(mean).all(axis=1),
        }
    )
    return schema.conform(
        {"X": zscore(mean[kept]), "y": labels[kept], "trial_index": np.flatnonzero(kept)},
        schema.FEATURES,
        {
            "eid": session.attrs["eid"],
            "target": target.name,
            "event": target.event,
            "window": list(target.window),
            "sampling": sampling,
            "n_session_trials": len(labels),
            "dropped": dropped,
        },
    )


def _keep(conditions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Trials that meet all conditions, and how many each condition was the first to drop."""
    kept = np.ones(len(next(iter(conditions.values()))), dtype=bool)
    dropped = {}
    for reason, met in conditions.items():
        if n := int((kept & ~met).sum()):
            dropped[reason] = n
        kept &= met
    return kept, dropped


def zscore(values: np.ndarray) -> np.ndarray:
    """Standardise each column; a column without variance becomes 0.

    Parameters
    ----------
    values : numpy.ndarray, (n_trials, n_neurons)

    Returns
    -------
    numpy.ndarray, (n_trials, n_neurons) float32

    Examples
    --------
    >>> zscore(np.array([[1.0, 5.0], [3.0, 5.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    if len(values) == 0:
        return values.astype(np.float32)
    values = values.astype(np.float64)
    largest = np.maximum(values.max(axis=0), -values.min(axis=0))
    values -= values.mean(axis=0)
    sd = np.sqrt(np.mean(values * values, axis=0))
    # a constant column has a sd of rounding errors, which must not be blown up to noise of unit size
    flat = sd <= 1e-12 * largest
    values /= np.where(flat, 1.0, sd)
    values[:, flat] = 0.0
    return values.astype(np.float32)
