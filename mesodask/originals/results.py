"""Results of the original scripts -> stores.

The originals kept statistics where a run keeps every score: so these are stores of their own,
``decoding/imported/<name>.zarr``, which say in their attributes where they come from and what they lack. No run grows
from one, and there is no p-value in them.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from mesodask import schema
from mesodask.checked import short_hash
from mesodask.errors import DataError, StoreError
from mesodask.io import alf, cache, locked, partials, sources, stores, upstream, upstream_results
from mesodask.io.folders import expanded
from mesodask.io.upstream_results import StoredCrossSession, StoredCurves, StoredScores
from mesodask.originals import sessions
from mesodask.summary import settings_order

logger = logging.getLogger(__name__)

EXPECTED = "<eid>.npy, <eid>_filter_True|False.npy, <prefix>_<target>.pkl, or trainFirst_*.pkl or .json"
KIND_CURVES, KIND_CROSS_SESSION = "imported_curves", "imported_cross_session"
LOST_SCORES = "the single scores (no interval of k*, no p-value)"
LOST_NULL = "the single null scores (no p-value)"
NULL_OF_ITS_OWN = "null and data do not share neurons and folds"
ROUNDED = "half precision: scores are right to about 0.0005"
LOST_ACCURACIES = "the single accuracies with null labels, but for their mean (no p-value)"
LOST_MEASURES = "balanced accuracy, AUC and weights"
NO_HOME_NULL = "a null of the session that was trained on"


class Imported(NamedTuple):
    """What has become of a file.

    Attributes
    ----------
    store : pathlib.Path
        The store that holds it.
    is_new : bool
        Whether it was made now; else it was there.
    """

    store: Path
    is_new: bool


def import_original(
    path: str | Path,
    *,
    one: Any = None,
    cache_dir: str | Path | None = None,
    xyz_unit: upstream.XyzUnit = "um",
    rerun: bool = False,
) -> Imported:
    """Make a store of one file of the original scripts, whichever of their kinds it is.

    Parameters
    ----------
    path : path-like
        A session cache, ``<eid>.npy`` or ``<eid>_filter_True|False.npy`` (see
        :func:`mesodask.originals.sessions.import_session_cache`); curves, ``<prefix>_<target>.pkl``; or a cross-session
        analysis, ``trainFirst_*.pkl`` or ``.json``. Nothing in it is run.
    one : One, path-like or None
        A ONE, a folder with ONE tables, or None for the user's default. Results need one only if there is no
        `cache_dir`.
    cache_dir : path-like, optional
        Folder of all stores; ``<ONE.cache_dir>/meso`` by default.
    xyz_unit : {"um", "mm", "m"}
        Unit of the positions in a session cache.
    rerun : bool
        Make the store again even if there is one.

    Returns
    -------
    Imported
        ``store``, and whether it ``is_new``. The same results are imported once, from whichever file.

    Raises
    ------
    DataError
        The file has another name, asks for more than arrays and plain containers, is damaged, or is not what its name
        says; nothing is written.
    StoreError
        There is a store of this name already that holds something else.
    SessionNotFoundError
        ONE does not know the session of a cache.

    Examples
    --------
    >>> import_original("~/FlatIron/meso/decoding/3c7_4a4_choice.pkl")  # doctest: +SKIP
    Imported(store=PosixPath('.../meso/decoding/imported/3c7_4a4_choice.zarr'), is_new=True)
    """
    path = expanded(path)
    kind = kind_of(path)
    if kind == "session":
        return _import_session(path, one, cache_dir, xyz_unit, rerun)
    folder = cache.cache_folder(cache_dir, alf.connect(one) if cache_dir is None else None)
    place = cache.imported_folder(folder) / f"{path.stem}.zarr"
    if kind == "curves":
        curves = upstream_results.read_curves(path)
        return _store(place, path, {"": curves_dataset(curves)}, about_curves(curves), rerun)
    if kind == "cross_session":
        found = upstream_results.read_cross_session(path)
        return _store(place, path, cross_session_datasets(found), about_cross_session(found), rerun)
    raise DataError(f"is none of the original scripts' files: expected {EXPECTED}", path)


def kind_of(path: Path) -> str:
    """Tell by its name what a file of the original scripts is: session, curves, cross_session; empty for another.

    Examples
    --------
    >>> kind_of(Path("3c7_4a4_choice.pkl")), kind_of(Path("trainFirst_stream_3c7_4a4.json")), kind_of(Path("a.pkl"))
    ('curves', 'cross_session', '')
    """
    if upstream_results.CROSS_NAME.fullmatch(path.name):
        return "cross_session"
    if upstream_results.CURVES_NAME.fullmatch(path.name):
        return "curves"
    try:
        upstream.cache_name(path)
    except DataError:
        return ""
    return "" if path.parent.name == "sparseness" else "session"  # where results have the names of caches


def find_originals(folder: Path) -> list[Path]:
    """List the files of the original scripts in a folder and below it, sorted; stores and links are not entered."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(".zarr")]
        found += [Path(parent, name) for name in names if kind_of(Path(parent, name))]
    return sorted(found)


def _import_session(
    path: Path, one: Any, cache_dir: str | Path | None, xyz_unit: upstream.XyzUnit, rerun: bool
) -> Imported:
    one = alf.connect(one)
    eid, _ = upstream.cache_name(path)
    store = cache.session_store(cache.cache_folder(cache_dir, one), eid, sessions.IMPORTED)
    before = None
    with contextlib.suppress(StoreError) if rerun else contextlib.nullcontext():
        before = stores.attributes(store).get("build_id")
    session = sessions.import_session_cache(path, one=one, cache_dir=cache_dir, xyz_unit=xyz_unit, rerun=rerun)
    return Imported(store, session.attrs["build_id"] != before)


def _store(place: Path, path: Path, groups: Mapping[str, xr.Dataset], about: dict[str, Any], rerun: bool) -> Imported:
    """Write datasets as the groups of a store, unless it is there."""
    from mesodask import __version__

    identity = {name: value for name, value in about.items() if name != "saved_at"}  # the originals saved pairs twice
    content = short_hash([identity, {name: _digest(dataset) for name, dataset in groups.items()}])
    described = {"sources": {path.name: sources.describe(path)}, "content": content, "mesodask_version": __version__}
    root = groups.get("", xr.Dataset()).assign_attrs(about | described)
    partials.remove_partial(place.parent, place.name)
    if not rerun and _has_content(place, content):
        return Imported(place, is_new=False)
    with locked.alone(place):
        if not rerun and _has_content(place, content):  # another process has imported the same meanwhile
            return Imported(place, is_new=False)
        if place.exists() and not rerun:
            logger.warning("%s: is damaged; it is made again", place)
        _write(place, root, groups)
    return Imported(place, is_new=True)


def _has_content(place: Path, content: str) -> bool:
    """Tell whether a store is there, whole and with this content; another content raises :class:`StoreError`."""
    if not place.exists():
        return False
    attrs = stores.attributes(place)
    if attrs.get("content") != content:
        was = ", ".join(attrs.get("sources", {"another file": None}))
        raise StoreError(f"{place}: holds other results, from {was}; move it away, or use rerun=True to replace it")
    try:
        open_imported(place)
    except StoreError:
        return False
    return True


def _write(place: Path, root: xr.Dataset, groups: Mapping[str, xr.Dataset]) -> None:
    with partials.building(place) as temporary:
        stores.write_group(temporary, "", root)
        for name, dataset in groups.items():
            if name:
                stores.write_group(temporary, name, dataset)
        stores.seal(temporary)


def _digest(dataset: xr.Dataset) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].values
        digest.update(name.encode() + repr(values.shape).encode())
        digest.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return digest.hexdigest()


# curves -----------------------------------------------------------------------------------------------------------


def curves_dataset(stored: StoredCurves) -> xr.Dataset:
    """Lay stored curves out as :data:`mesodask.schema.IMPORTED_CURVES`."""
    ks = sorted({k for curve in stored.curves for k in curve.scores})
    column = {k: j for j, k in enumerate(ks)}
    shape = (len(stored.curves), len(ks))
    variables: dict[str, Any] = {
        name: np.zeros(shape, dtype=np.int64) if name.startswith("n_") else np.full(shape, np.nan)
        for name in ("mean", "sd", "n_resamples", "null_mean", "null_sd", "n_shuffles")
    }
    for i, curve in enumerate(stored.curves):
        for names, scores in ((("mean", "sd", "n_resamples"), curve.scores),
                              (("null_mean", "null_sd", "n_shuffles"), curve.null)):  # fmt: skip
            for k, one in scores.items():
                for name, value in zip(names, (one.mean, one.sd, one.n), strict=True):
                    variables[name][i, column[k]] = value
    stored_scores = {"score": [c.scores for c in stored.curves], "null_score": [c.null for c in stored.curves]}
    for name, of_sessions in stored_scores.items():
        single = _single_values(of_sessions, column)
        if single is not None:
            variables[name] = single
    for name, attribute in (("session", "eid"), ("date", "date"), ("ceiling", "ceiling"), ("n_trials", "n_trials"),
                            ("performance", "performance")):  # fmt: skip
        variables[name] = [getattr(curve, attribute) for curve in stored.curves]
    return schema.conform(variables | {"k": ks}, schema.IMPORTED_CURVES)


def _single_values(of_sessions: Sequence[dict[int, StoredScores]], column: Mapping[int, int]) -> np.ndarray | None:
    """Single scores (session, k, n), NaN where there are fewer; None if statistics alone were kept."""
    kept = [(i, column[k], one.values) for i, scores in enumerate(of_sessions) for k, one in scores.items()]
    longest = max((len(values) for _, _, values in kept if values is not None), default=0)
    if not longest:
        return None
    single = np.full((len(of_sessions), len(column), longest), np.nan)
    for i, k, values in kept:
        if values is not None:
            single[i, k, : len(values)] = values
    return single


def about_curves(stored: StoredCurves) -> dict[str, Any]:
    """Say what stored curves are, and what they lack, as attributes of a store."""
    dataset = curves_dataset(stored)
    subjects = sorted({curve.subject for curve in stored.curves if curve.subject})
    missing = [ROUNDED, NULL_OF_ITS_OWN]
    missing += [] if "score" in dataset else [LOST_SCORES]
    missing += [] if "null_score" in dataset else [LOST_NULL]
    return {
        "kind": KIND_CURVES,
        "subject": subjects[0] if len(subjects) == 1 else "",
        "target": stored.target,
        "metric": stored.metric,
        "prefix": stored.prefix,
        "n_shared": stored.n_shared,
        "all_eids": list(stored.eids),
        "saved_at": stored.saved_at,
        "settings": {curve.eid: curve.about for curve in stored.curves},
        "missing": missing,
    }


# across sessions --------------------------------------------------------------------------------------------------


def cross_session_datasets(stored: StoredCrossSession) -> dict[str, xr.Dataset]:
    """Lay a stored cross-session analysis out, a dataset of :data:`mesodask.schema.IMPORTED_CROSS_SESSION` a target."""
    return {target: _cross_session_dataset(stored, target) for target in settings_order(list(stored.tests))}


def _cross_session_dataset(stored: StoredCrossSession, target: str) -> xr.Dataset:
    tests = {test.eid: test for test in stored.tests[target]}
    n = len(stored.eids)
    n_null = max((len(test.null) for test in tests.values()), default=0)
    accuracy, null_mean, p_value, null = *np.full((3, n), np.nan), np.full((n, n_null), np.nan)
    n_trials = np.zeros(n, dtype=np.int64)
    for i, eid in enumerate(stored.eids):
        if eid in tests:
            test = tests[eid]
            accuracy[i], null_mean[i], n_trials[i] = test.accuracy, test.null_mean, test.n_trials
            null[i, : len(test.null)], p_value[i] = test.null, test.p_value
    variables: dict[str, Any] = {
        "session": stored.eids,
        "date": stored.dates,
        "accuracy": accuracy,
        "null_mean": null_mean,
        "n_trials": n_trials,
    }
    if stored.folds.get(target):
        variables["fold_accuracy"] = stored.folds[target]
    if n_null:
        variables |= {"null_accuracy": null, "p_value": p_value}
    picked = {"target": target, "picked_fold": stored.picked_fold.get(target, -1)}
    return schema.conform(variables, schema.IMPORTED_CROSS_SESSION, picked)


def about_cross_session(stored: StoredCrossSession) -> dict[str, Any]:
    """Say what a stored cross-session analysis is, and what it lacks, as attributes of a store."""
    return {
        "kind": KIND_CROSS_SESSION,
        "subject": stored.subject,
        "n_shared": stored.n_shared,
        "settings": stored.about,
        "missing": [LOST_ACCURACIES, LOST_MEASURES, NO_HOME_NULL],
    }


# what is stored ---------------------------------------------------------------------------------------------------


def open_imported(store: str | Path) -> xr.Dataset | dict[str, xr.Dataset]:
    """Read a store of imported results into memory.

    Parameters
    ----------
    store : path-like
        ``decoding/imported/<name>.zarr``.

    Returns
    -------
    xarray.Dataset, or dict of str to xarray.Dataset
        Curves are :data:`mesodask.schema.IMPORTED_CURVES`. A cross-session analysis is one dataset of
        :data:`mesodask.schema.IMPORTED_CROSS_SESSION` a target. Attributes say where it comes from (``sources``) and
        what it lacks (``missing``).

    Raises
    ------
    StoreError
        There is no such store, it is damaged, or it is one of another kind.
    """
    path = expanded(store)
    kind = stores.attributes(path).get("kind")
    if kind not in (KIND_CURVES, KIND_CROSS_SESSION):
        raise StoreError(f"{path}: no store of imported results; mesodask import makes them of the originals' files")
    stores.check_seal(path)
    stores.check_chunks(path)
    with stores.reading(path):
        if kind == KIND_CURVES:
            return stores.open_group(path, schema=schema.IMPORTED_CURVES).load()
        about = stores.attributes(path)
        names = settings_order([file.parent.name for file in path.glob("*/zarr.json")])
        return {
            name: stores.open_group(path, name, schema.IMPORTED_CROSS_SESSION)
            .load()
            .assign_attrs({key: about[key] for key in ("subject", "n_shared", "settings", "sources", "missing")})
            for name in names
        }
