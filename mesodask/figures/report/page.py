"""The page itself: content -> HTML -> one file, whole or not at all."""

import datetime
import importlib.metadata
import platform
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import xarray as xr

from mesodask.cross.summary import cross_session_table
from mesodask.errors import SettingsError
from mesodask.figures.report import content, pictures, words
from mesodask.figures.report.command import recipe
from mesodask.io.crossstore import CrossSessionStore, checked_run
from mesodask.io.runstore import RunStore
from mesodask.io.whole_files import written_whole
from mesodask.selection import GIVEN_BY_ARRAYS
from mesodask.status import run_status
from mesodask.summary import METRIC_NAMES, summarize
from mesodask.summary_tables import caveats
from mesodask.tracking import session_labels

ENDINGS = (".html", ".htm")
PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "xarray", "zarr", "dask", "distributed", "matplotlib")


def write_report(
    run: RunStore | str | Path,
    path: str | Path | None = None,
    *,
    delta: float | None = None,
    cross_session: CrossSessionStore | str | Path | None = None,
    tracking: xr.Dataset | None = None,
    sessions: Sequence[xr.Dataset | str | Path] = (),
    one: str | Path | None = None,
    roicat_root: str | Path | None = None,
) -> Path:
    """Write a run as one HTML file that a person opens and understands, without a network.

    It has what was run (settings, sessions, neurons, trials kept and dropped with reasons), the curves, with numbers
    where one points and sessions that can be switched on and off, ceiling, k* and p-values in a table that can be
    sorted, what the numbers mean, and how to do it again: the command and the call that give a run of the same name.
    A run may be under way; the page says so.

    Parameters
    ----------
    run : RunStore or path-like
        What :func:`mesodask.neuron_dropping_curves` gave, or its path.
    path : path-like, optional
        The file; by default it stands beside the run's store and is called like it. A file of that name is replaced.
    delta : float, optional
        As in :func:`mesodask.summarize`.
    cross_session : CrossSessionStore or path-like, optional
        What :func:`mesodask.cross_session` gave: its figure and its table stand in the page, too.
    tracking : xarray.Dataset, optional
        From :func:`mesodask.tracking_table`: is drawn by :func:`mesodask.plot_tracking`.
    sessions : sequence of xarray.Dataset or path-like
        Session stores, of which a minute is drawn by :func:`mesodask.plot_raster`.
    one, roicat_root : path-like, optional
        Folders of the ONE tables and of the ROICaT tree, to be named in the command. They are not read.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SettingsError
        Its name does not end in .html, or its folder does not exist.
    StoreError
        There is no such run, it is of the other kind, nothing of it has been computed, or a part of it is damaged; or
        the page cannot be written, and what was there before still is.

    Examples
    --------
    >>> write_report(run, "report.html")  # doctest: +SKIP
    """
    store = checked_run(run, RunStore)
    across = None if cross_session is None else checked_run(cross_session, CrossSessionStore)
    file = checked_page(store.path.with_suffix(".html") if path is None else path)
    places = {"one": one, "roicat_root": roicat_root}
    values = _of_run(store, delta, places)
    values |= {
        "cross_session": None if across is None else _across(across, places),
        "tracking": [] if tracking is None else [pictures.tracking_map(tracking)],
        "rasters": pictures.rasters(sessions),
    }
    page = _render(values | {"sections": _sections(values)} | _versions(store))
    with written_whole(file) as whole:
        whole.write_text(page, encoding="utf-8")
    return file


def checked_page(path: str | Path) -> Path:
    """Make sure that a page can be written under this name.

    Raises
    ------
    SettingsError
        Its folder does not exist, or it does not end in .html.
    """
    file = Path(path)
    if file.suffix.lower() not in ENDINGS:
        raise SettingsError(f"{file}: a report's name ends in one of {', '.join(ENDINGS)}")
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"{file}: the folder {file.absolute().parent} does not exist")
    return file


def _render(values: dict[str, Any]) -> str:
    room = resources.files(__package__)
    # every text is escaped, but for what this package has written as code
    code = {name: markupsafe.Markup((room / f"page.{ending}").read_text("utf-8"))
            for name, ending in (("css", "css"), ("script", "js"))}  # fmt: skip
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((room / "page.html").read_text("utf-8")).render(values | code)


def _of_run(store: RunStore, delta: float | None, places: dict[str, Any]) -> dict[str, Any]:
    """Gather all that the run itself has to tell."""
    summary, tracked = summarize(store, delta=delta), store.tracked()
    labels, eids = session_labels(tracked), tracked["session"].values.tolist()
    targets = summary["target"].values.tolist()
    attrs = summary.attrs
    return {
        "title": f"Neuron-dropping curves of {attrs['subject']}",
        "subtitle": _subtitle(summary, labels),
        "state": words.state(run_status(store)),
        "metric": METRIC_NAMES[attrs["metric"]],
        "cards": [_card(summary.sel(target=target), labels) for target in targets],
        "caveats": caveats(summary),
        "any_invalid": not summary["null_valid"].all(),
        "curves": content.curves(summary, labels),
        "still": pictures.curves(summary),
        "results": content.results(summary, labels),
        "all_numbers": content.all_numbers(summary, labels),
        "sessions": content.sessions(tracked, labels),
        "neurons": _neurons(tracked),
        "trials": content.trials(store, targets, eids, labels),
        "equalized": _equalized(store.attrs["settings"]),
        "targets": content.targets(store, targets, eids, summary),
        "settings": content.settings(store),
        "glossary": words.glossary(attrs["metric"], attrs["delta"]),
        "recipe": recipe(store, **places),
        "run_name": store.path.stem,
        "decoder": attrs["decoder_identity"],
    }


def _across(store: CrossSessionStore, places: dict[str, Any]) -> dict[str, Any]:
    table = cross_session_table(store)
    again = recipe(store, **places)
    return {"table": content.across(table), "pictures": [pictures.across(store)], "notes": words.across(table),
            "recipe": again, "run_name": store.path.stem}  # fmt: skip


def _sections(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Name the sections that there are, by their ids."""
    every = {
        "short": "In short", "curves": "Curves", "results": "Results", "across": "Across sessions",
        "trials": "Sessions and trials", "tracking": "Tracking", "activity": "Activity", "settings": "What was run",
        "meaning": "What the numbers mean", "again": "How to do it again",
    }  # fmt: skip
    there = {"across": values["cross_session"], "tracking": values["tracking"], "activity": values["rasters"]}
    return [(name, text) for name, text in every.items() if there.get(name, True)]


def _subtitle(summary: xr.Dataset, labels: Sequence[str]) -> str:
    parts = [words.count(len(labels), "session")]
    parts[0] += f", {labels[0]}" if len(labels) == 1 else f", {labels[0]} to {labels[-1]}"
    shared = "neuron" if len(labels) == 1 else "shared neuron"
    parts += [words.count(summary.attrs["n_shared"], shared), words.count(summary.attrs["n_resamples"], "resample")]
    if summary.attrs["decoder"]:
        parts.append(f"decoder {summary.attrs['decoder']}")
    return "; ".join(parts)


def _card(one: xr.Dataset, labels: Sequence[str]) -> dict[str, str]:
    """Say in short how a target came out, and below its curves what to keep in mind of them."""
    skipped = [label for label, status in zip(labels, one["status"].values, strict=True) if status == "skipped"]
    notes = [f"Skipped: {', '.join(skipped)}."] if skipped else []
    if not one["null_valid"].item():
        notes.append(f"The null ({one['null_kind'].item()}) is not valid here: {one['null_note'].item()}.")
    if note := one["folds_note"].item():
        notes.append(f"Careful: {note}.")
    return {"target": one["target"].item(), "notes": " ".join(notes), **words.verdict(one)}


def _neurons(tracked: xr.Dataset) -> str:
    n, attrs = tracked.sizes["neuron"], tracked.attrs
    if "neurons_only" not in attrs:
        return f"{words.count(n, 'neuron')}, as given in features=."
    cells = "flagged as cells" if attrs["neurons_only"] else "flagged as cells or not"
    where = {"": "", GIVEN_BY_ARRAYS: ", narrowed by masks or rows"}.get(
        attrs.get("neurons", ""), f", in {attrs.get('neurons', '')}"
    )
    found = "of the session" if tracked.sizes["session"] == 1 else "that were found in every session by ROICaT"
    return f"Decoded from the {words.count(n, 'neuron')} {found}, {cells}{where}."


def _equalized(settings: dict[str, Any]) -> str:
    return ", and as many in every session as in the one that has the fewest" if settings["equalize_trials"] else ""


def _versions(store: RunStore) -> dict[str, Any]:
    from mesodask import __version__

    made = store.attrs["mesodask_version"]
    note = f"The run was last computed by mesodask {made}. On the machine where this page was written there are:"
    return {
        "report_version": __version__,
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions_note": note,
        "versions": [("Python", platform.python_version())]
        + [(name, importlib.metadata.version(name)) for name in PACKAGES],
    }
