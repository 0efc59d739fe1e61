"""What a raster shows of a session: activity binned to a picture's pixels, the wheel's velocity, and events.

The signal is read in blocks, so that memory holds the picture and not the recording.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from mesodask import selection, sessions
from mesodask.errors import DataError, SettingsError
from mesodask.io import behavior
from mesodask.numerics import wheel
from mesodask.numerics.raster import Image, add_traces, frames_of_columns
from mesodask.numerics.scaling import percentile_scale

Interval = tuple[float, float] | Literal["session"] | None

DEFAULT_LENGTH = 60.0  # s
ROWS_AT_ONCE = 256  # of 20 000 frames: 20 MB
WHEEL_FREQUENCY = 250.0  # Hz
EVENTS = {"stimulus": "stimOn_times", "movement": "firstMovement_times", "feedback": "feedback_times"}


def opened(session: xr.Dataset | str | Path) -> xr.Dataset:
    """Open a session store, if it is not an opened one already.

    Raises
    ------
    StoreError
        There is no store, or it is damaged.
    """
    return session if isinstance(session, xr.Dataset) else sessions.open_session(Path(session))


def resolve_interval(session: xr.Dataset, interval: Interval = None) -> tuple[float, float]:
    """Say which part of a recording is meant, in s on the session's clock.

    Parameters
    ----------
    session : xarray.Dataset
        Session store.
    interval : (float, float), "session" or None
        Start and end, cut to the recording; the whole recording; or, by default, one minute from a third of it on.

    Raises
    ------
    SettingsError
        The interval is none, or has nothing of the recording.
    """
    times = sessions.values(session, "frame_times")
    begin, end = float(times.min()), float(times.max())
    if interval is None:
        start = begin + (end - begin) / 3
        return start, min(start + DEFAULT_LENGTH, end)
    if isinstance(interval, str):
        if interval != "session":
            raise SettingsError(f"interval: {interval!r}; expected (start, end) in s, 'session' or None")
        return begin, end
    try:
        start, stop = map(float, interval)
    except (TypeError, ValueError):
        raise SettingsError(f"interval: {interval!r}; expected (start, end) in s, 'session' or None") from None
    if not start < stop or not (start < end and stop > begin):
        raise SettingsError(
            f"interval: {start:g} to {stop:g} s; expected a part of the recording, {begin:.1f} to {end:.1f} s"
        )
    return max(start, begin), min(stop, end)


def raster_image(
    session: xr.Dataset | str | Path,
    *,
    rows: selection.Narrowing = None,
    interval: Interval = None,
    n_bands: int = 1000,
    n_columns: int = 1200,
    sort: bool = True,
) -> xr.Dataset:
    """Bin a session's activity to the pixels of a picture.

    Each trace is scaled between its 20th and 99th percentile over the whole recording
    (:func:`mesodask.numerics.scaling.percentile_scale`). A pixel is the mean over the ROIs of its band of their means
    over the frames of its column (:func:`mesodask.numerics.raster.frames_of_columns`), read by the clock of each FOV,
    with the median delay of ROIs that lie beside each other in the store.

    Parameters
    ----------
    session : xarray.Dataset or path-like
        Session store (:func:`mesodask.load_or_embed`).
    rows : optional
        A mask over the ROIs (n_rois,), rows of the store, or Allen acronyms, as in :func:`mesodask.selection.masks`;
        all ROIs by default.
    interval : (float, float), "session" or None
        See :func:`mesodask.raster.resolve_interval`.
    n_bands, n_columns : int
        Size of the picture; there are no more bands than ROIs.
    sort : bool
        Whether ROIs come in the session's Rastermap order; else as they are given.

    Returns
    -------
    xarray.Dataset
        ``activity(band, column)``, scaled, NaN where nothing was recorded; ``rate(band)``, mean unscaled activity in
        the interval; ``roi(rank)``, rows of the store from the first band to the last, with their ``region(rank)`` and
        ``region_color(rank)``; ``band(rank)``, where each is; ``edges(edge)``, borders of the columns in s.

    Raises
    ------
    SettingsError
        A row or region does not exist, no ROI is chosen, or the interval is not in the recording.
    StoreError
        The store is damaged, or has no Rastermap order.
    """
    session = opened(session)
    start, stop = resolve_interval(session, interval)
    n_rois = session.sizes["roi"]
    chosen = np.arange(n_rois)
    if rows is not None:
        chosen = selection.rows(rows, session.attrs["eid"], n_rois, lambda: sessions.values(session, "region"))
    if sort:
        rank = np.argsort(sessions.order(session))
        chosen = chosen[np.argsort(rank[chosen], kind="stable")]
    n_bands = min(n_bands, len(chosen))
    band = np.arange(len(chosen)) * n_bands // len(chosen)
    edges = np.linspace(start, stop, n_columns + 1)
    image = Image(n_bands, n_columns)
    _fill(image, session, chosen, band, edges)
    return xr.Dataset(
        {
            "activity": (("band", "column"), image.activity()),
            "rate": ("band", image.rate()),
            "roi": ("rank", chosen),
            "band": ("rank", band),
            "region": ("rank", sessions.values(session, "region")[chosen].astype(object)),
            "region_color": ("rank", sessions.values(session, "region_color")[chosen].astype(object)),
            "edges": ("edge", edges, {"units": "s"}),
        },
        attrs=describe(session) | {"start": start, "stop": stop, "sorted": int(sort)},
    )


def describe(session: xr.Dataset) -> dict[str, Any]:
    """Say which session a picture is of."""
    names = ("eid", "subject", "date", "number", "signal_kind", "build_id")
    return {name: session.attrs[name] for name in names if name in session.attrs}


def _fill(image: Image, session: xr.Dataset, rows: np.ndarray, band: np.ndarray, edges: np.ndarray) -> None:
    for block in sessions.roi_blocks(session, rows, at_once=ROWS_AT_ONCE):
        columns = frames_of_columns(block.clock, edges, float(np.median(block.delay)))
        scale = percentile_scale(block.signal, block.clock.frames)
        add_traces(block.signal, block.clock, columns, scale, band[block.places], image)


def wheel_velocity(session: xr.Dataset | str | Path, interval: Interval = None) -> xr.DataArray | None:
    """Wheel velocity in an interval: position sampled at 250 Hz, low-passed below 20 Hz, and differentiated.

    brainbox does it where it is installed, else :mod:`mesodask.numerics.wheel`, which is the same.

    Parameters
    ----------
    session : xarray.Dataset or path-like
        Session store.
    interval : (float, float), "session" or None
        See :func:`mesodask.raster.resolve_interval`.

    Returns
    -------
    xarray.DataArray or None
        (time,) in rad/s, counter-clockwise positive, with the times in s as coordinate; None if the session has no
        wheel, or one of less than a moment.
    """
    session = opened(session)
    start, stop = resolve_interval(session, interval)
    samples = sessions.wheel(session)
    if samples is None or samples.sizes["sample"] == 0:
        return None
    times, position = samples["times"].values, samples["position"].values
    last = np.append(np.diff(times) > 0, True)  # of samples at the same time
    times, position = times[last], position[last]
    if (times[-1] - times[0]) * WHEEL_FREQUENCY <= wheel.SHORTEST:
        return None
    functions = behavior.brainbox_wheel() or wheel
    even, even_times = functions.interpolate_position(times, position, freq=WHEEL_FREQUENCY)
    velocity = functions.velocity_filtered(even, WHEEL_FREQUENCY)
    velocity = velocity[0] if isinstance(velocity, tuple) else velocity  # brainbox gives the acceleration, too
    inside = (even_times >= start) & (even_times <= stop)
    return xr.DataArray(velocity[inside], {"time": even_times[inside]}, attrs={"units": "rad/s"})


def event_times(
    session: xr.Dataset | str | Path, events: Sequence[str], interval: Interval = None
) -> dict[str, np.ndarray]:
    """Find the times in s of the stimuli, first movements or feedbacks that fall into an interval.

    Parameters
    ----------
    session : xarray.Dataset or path-like
        Session store.
    events : sequence of str
        Of stimulus, movement, feedback.
    interval : (float, float), "session" or None
        See :func:`mesodask.raster.resolve_interval`.

    Raises
    ------
    SettingsError
        There is no such event.
    DataError
        The session has no trials, or they lack the event's column.
    """
    unknown = [event for event in events if event not in EVENTS]
    if unknown:
        raise SettingsError(f"events: {unknown[0]!r} is none of {', '.join(EVENTS)}")
    if not events:
        return {}
    session = opened(session)
    start, stop = resolve_interval(session, interval)
    table = sessions.trials(session)
    found = {}
    for event in events:
        if EVENTS[event] not in table:
            raise DataError(f"session {session.attrs['eid']}: the trials have no column {EVENTS[event]}")
        times = table[EVENTS[event]].values.astype(float)
        found[event] = times[(times >= start) & (times <= stop)]
    return found
