"""What may become of a damaged case, and whether it did: a right result, or an error that names what is damaged.

Right is what an independent reading of the same files gives (NumPy, pandas and a dozen lines, nothing of mesodask), and
for scores what the undamaged subject gives wherever all that they rest on is as it was.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from damage import Names, Spec, apply
from damage_kinds import remove
from distributed import Client

from mesodask import load_or_embed, neuron_dropping_curves, simulate_subject, track_neurons
from mesodask import sessions as session_stores
from mesodask.errors import DataError, MesodaskError, NothingToDecodeError, SessionNotFoundError, TrackingError
from mesodask.io import stores
from mesodask.io.alf import write_one_tables
from mesodask.io.runstore import RunStore
from mesodask.simulate import SimulatedSubject

SUBJECT = {"n_days": 2, "n_trials": 120, "rois_per_fov": (40, 40), "signals": ("deconvolved",), "seed": 3}
ASKED = {"targets": ("choice",), "ks": (4, 16), "R": 2, "n_label_shuffles": 5}
HALF = ASKED | {"ks": (4,), "R": 1}
SCORES = ("score", "null_score", "k", "n_trials", "status")
Values = dict[str, np.ndarray]


@dataclass
class Ending:
    """How the three stages of an analysis ended: what they gave, or the error that they raised."""

    values: dict[str, Values] = field(default_factory=dict)
    errors: dict[str, MesodaskError] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """Everything that is made once: the subject, the case folder of each state, and the right results."""

    client: Client
    subject: SimulatedSubject
    templates: dict[str, Path]
    names: Names
    clean: dict[str, Values]

    @classmethod
    def build(cls, folder: Path, client: Client) -> "Bench":
        subject = simulate_subject(folder / "simulated", **SUBJECT)  # type: ignore[arg-type]
        templates = {state: folder / state for state in ("fresh", "embedded", "half", "finished")}
        for root in templates.values():
            root.mkdir()
            for part in ("one", "chronic_csv"):
                shutil.copytree(subject.folder / part, root / part, copy_function=os.link)
            (root / "cache").mkdir()
        bench = cls(client, subject, templates, Names({}), {})
        bench.embed(templates["embedded"])
        bench.decode(templates["half"], **HALF)
        bench.decode(templates["finished"])
        run = next((templates["finished"] / "cache" / "decoding").glob("*.zarr")).relative_to(templates["finished"])
        names = {"RUN": run.as_posix()}
        for day, eid in enumerate(subject.eids):
            session = subject.session_folder(eid)
            tree = Path("chronic_csv/ROICaT", subject.subject, *session.parts[-2:])
            names |= {f"STORE{day}": f"cache/data/{eid}.zarr", f"DAY{day}": str(session.relative_to(subject.folder)),
                      f"TREE{day}": str(tree), f"EID{day}": eid}  # fmt: skip
        ended = bench.attempt(templates["finished"])
        assert not ended.errors
        return cls(client, subject, templates, Names(names), ended.values)

    # the analysis ---------------------------------------------------------------------------------------------------

    def embed(self, root: Path, rerun: bool = False) -> Values:
        opened = load_or_embed(
            list(self.subject.eids), one=root / "one", cache_dir=root / "cache", rastermap=False, rerun=rerun
        )
        return {k: v for day, session in enumerate(opened) for k, v in read_session(session, f"{day}/").items()}

    def track(self, root: Path) -> Values:
        tracked = track_neurons(self.subject.eids, one=root / "one", roicat_root=root / "chronic_csv")
        return {name: tracked[name].values for name in ("roi", "cluster_uid", "session", "date")}

    def decode(self, root: Path, rerun: bool = False, **asked: Any) -> Values:
        run = neuron_dropping_curves(
            self.subject.eids, one=root / "one", cache_dir=root / "cache", roicat_root=root / "chronic_csv",
            client=self.client, rerun=rerun, **(asked or ASKED),
        )  # fmt: skip
        return read_run(run)

    def attempt(self, root: Path, rerun: bool = False) -> Ending:
        """Embed, track and decode; what is no error of the family is raised."""
        ended = Ending()
        stages: dict[str, Callable[[], Values]] = {
            "embed": lambda: self.embed(root, rerun),
            "track": lambda: self.track(root),
            "decode": lambda: self.decode(root, rerun),
        }
        for name, stage in stages.items():
            try:
                ended.values[name] = stage()
            except MesodaskError as error:
                ended.errors[name] = error
        return ended

    # a case ---------------------------------------------------------------------------------------------------------

    def check(self, spec: Spec, root: Path) -> Ending:
        """Damage a case and hold what becomes of it against what may; gives how it ended."""
        template = self.templates[spec.state]
        shutil.copytree(template, root, copy_function=os.link)
        touched = apply(spec, root, self.names)
        in_cache = any(path.is_relative_to(root / "cache") for path in touched)
        if spec.reindex:
            touched += self._reindex(root, touched)
        ended = self.attempt(root)
        for error in ended.errors.values():
            self._check_words(error, touched, root)
        if in_cache:
            self._check_equal(ended.values, self.clean)
        else:
            self._check_against_files(ended.values, root, built=spec.state == "fresh")
        left = [p for p in (root / "cache").rglob("*") if p.name.endswith((".partial", ".lock"))]
        assert not left, f"left behind: {left}"
        if ended.errors:  # else all stores were read just now
            self._check_cache(root, in_cache)
        self._check_repaired(root, template, touched, ended, in_cache)
        return ended

    def _reindex(self, root: Path, touched: list[Path]) -> list[Path]:
        tables = [root / "one" / name for name in ("sessions.pqt", "datasets.pqt")]
        for table in tables:
            shutil.copy2(table, table.with_suffix(".new"))  # no longer a link to the template
            table.with_suffix(".new").rename(table)
        try:
            write_one_tables(root / "one")
        except MesodaskError as error:
            self._check_words(error, touched, root)
        return tables

    def _check_words(self, error: MesodaskError, touched: list[Path], root: Path) -> None:
        message = str(error)
        words = {path.name for path in touched} | {path.relative_to(root).as_posix() for path in touched}
        for path in touched:
            # a part of a store is named by its store; what lies in a folder that is gone, by the folder
            words |= {str(parent) for parent in path.parents if parent.suffix == ".zarr"}
            words |= {parent.name for parent in path.parents if parent.name.startswith("FOV_")}
            if path.suffix == ".pqt":
                words |= {"ONE tables", "missing", "ONE knows no file"}
        if isinstance(error, (NothingToDecodeError, TrackingError, SessionNotFoundError)):
            words |= set(self.subject.eids) | {date.isoformat() for date in self.subject.dates}
        assert any(word in message for word in words), f"the message names none of {sorted(words)}: {message}"

    def _check_equal(self, found: dict[str, Values], right: dict[str, Values]) -> None:
        for stage, values in found.items():
            assert values.keys() == right[stage].keys()
            for name, value in values.items():
                np.testing.assert_array_equal(value, right[stage][name], err_msg=f"{stage}: {name}")

    def _check_against_files(self, found: dict[str, Values], root: Path, built: bool) -> None:
        """Hold results of changed files against these files, or, of stores that are older, against the old ones."""
        folders = [root / self.names.long(f"DAY{day}") for day in range(len(self.subject.eids))]
        trees = [root / self.names.long(f"TREE{day}") for day in range(len(self.subject.eids))]
        tracked = None
        if "track" in found:
            tracked = oracle_tracked(folders, trees)
            for name, right in tracked.items():
                np.testing.assert_array_equal(found["track"][name], right, err_msg=name)
        if "embed" in found:
            right = oracle_sessions(folders) if built else self.clean["embed"]
            for name in right:
                np.testing.assert_array_equal(found["embed"][name], right[name], err_msg=name)
        if "decode" in found:
            assert tracked is not None, "decoded neurons that cannot be tracked"
            assert "embed" in found, "decoded sessions that cannot be embedded"
            rests_on = [rests(found["embed"], day, tracked) for day in range(len(folders))]
            rested_on = [rests(self.clean["embed"], day, self.clean["track"]) for day in range(len(folders))]
            if equal([tracked["cluster_uid"], *rests_on], [self.clean["track"]["cluster_uid"], *rested_on]):
                for name in SCORES:
                    np.testing.assert_array_equal(found["decode"][name], self.clean["decode"][name], err_msg=name)
            check_trials(found)

    def _check_cache(self, root: Path, in_cache: bool) -> None:
        """No store is half written: each is right, or told as damaged."""
        for path in (root / "cache").glob("data/*.zarr"):
            with contextlib.suppress(MesodaskError):
                found = read_session(session_stores.open_session(path), "")
                day = self.subject.eids.index(path.stem) if path.stem in self.subject.eids else None
                for name, value in found.items() if in_cache and day is not None else ():
                    np.testing.assert_array_equal(value, self.clean["embed"][f"{day}/{name}"], err_msg=name)
        for path in (root / "cache").glob("decoding/*.zarr"):
            with contextlib.suppress(MesodaskError):
                run = RunStore(path)
                run.tracked()
                scores = run.scores("choice")
                for name in ("score", "null_score"):
                    if in_cache and "k" in scores.coords and scores.sizes["k"] == self.clean["decode"]["k"].size:
                        there = scores[name].values
                        right = self.clean["decode"][name][tuple(slice(n) for n in there.shape)]
                        assert (np.isnan(there) | (there == right)).all(), f"{path}: other scores"

    def _check_repaired(self, root: Path, template: Path, touched: list[Path], ended: Ending, in_cache: bool) -> None:
        """What the message advises, or the file put back, gives the clean result."""
        advised = bool(ended.errors)
        if not in_cache:
            restore(root, template, touched)
            advised = False
        again = self.attempt(root, rerun=advised)
        if in_cache and again.errors:  # the store itself cannot be replaced: it has to be put away by hand
            for error in again.errors.values():
                self._check_words(error, touched, root)
            restore(root, template, touched)
            again = self.attempt(root)
        elif again.errors and not ended.errors:  # stores of the changed files: they say so
            assert all("rerun=True" in str(error) for error in again.errors.values()), again.errors
            again = self.attempt(root, rerun=True)
        assert not again.errors, again.errors
        self._check_equal(again.values, self.clean)


def restore(root: Path, template: Path, touched: list[Path]) -> None:
    """Put back what was damaged."""
    for path in sorted(set(touched)):
        if os.path.lexists(path):
            remove(path)
        original = template / path.relative_to(root)
        if original.is_dir():
            shutil.copytree(original, path, copy_function=os.link)
        elif original.exists():
            path.hardlink_to(original)


# reading through mesodask ---------------------------------------------------------------------------------------------


def read_session(session: Any, prefix: str) -> Values:
    """Every value of a session store."""
    with stores.reading(Path(session.encoding["source"]), *map(str, session.variables)):
        found = {str(name): session[name].values for name in session.variables}
    groups = {"wheel": session_stores.wheel(session)}
    with contextlib.suppress(DataError):  # a session without trials
        groups["trials"] = session_stores.trials(session)
    for group, dataset in groups.items():
        if dataset is not None:
            found |= {f"{group}/{name}": dataset[name].values for name in dataset.variables}
    return {f"{prefix}{name}": value for name, value in found.items()}


def read_run(run: RunStore) -> Values:
    """Every score of a run, with what they were computed from."""
    scores = run.scores("choice")
    found = {str(name): scores[name].values for name in scores.variables}
    for day, eid in enumerate(scores["session"].values.tolist()):
        if scores["status"].values[day] != "skipped":
            features = run.features("choice", eid).load()
            found |= {f"{day}/{name}": features[name].values for name in ("X", "y", "trial_index")}
    return found


# reading on our own ---------------------------------------------------------------------------------------------------


def oracle_sessions(folders: list[Path]) -> Values:
    """What session stores should hold, read from the files by NumPy and pandas alone."""
    found: Values = {}
    for day, folder in enumerate(folders):
        fovs = sorted(p for p in (folder / "alf").glob("FOV_*") if p.name[4:].isdigit())
        columns = [dict(_fov(fov)) for fov in fovs]
        for name in columns[0]:
            by_fov = [column[name] for column in columns]
            joined = np.stack(by_fov) if name in ("frame_times", "bad_frame") else np.concatenate(by_fov)
            found[f"{day}/{name}"] = joined
        found |= {f"{day}/{name}": values for name, values in _trials(folder)}
        wheel = next(iter(sorted((folder / "alf").rglob("_ibl_wheel.position.npy"))), None)
        if wheel is not None:
            found[f"{day}/wheel/position"] = np.load(wheel)
            found[f"{day}/wheel/times"] = np.load(wheel.with_name("_ibl_wheel.timestamps.npy"))
    return found


def _fov(fov: Path) -> Iterator[tuple[str, np.ndarray]]:
    signal = np.load(fov / "mpci.ROIActivityDeconvolved.npy").T
    n_rois, n_frames = signal.shape
    yield "signal", signal
    yield "frame_times", np.load(fov / "mpci.times.npy")[:n_frames]
    bad = fov / "mpci.badFrames.npy"
    yield "bad_frame", np.load(bad)[:n_frames].astype(bool) if bad.is_file() else np.zeros(n_frames, dtype=bool)
    rows = np.load(fov / "mpciROIs.stackPos.npy")[:, 0].astype(int)
    yield "roi_delay", np.load(fov / "mpciStack.timeshift.npy")[rows]
    yield "xyz", np.load(fov / "mpciROIs.mlapdv_estimate.npy")
    yield "region_id", np.load(fov / "mpciROIs.brainLocationIds_ccf_2017_estimate.npy")
    yield "is_neuron", np.load(fov / "mpciROIs.mpciROITypes.npy") == 1
    probability = fov / "mpciROIs.cellClassifier.npy"
    yield "cell_probability", np.load(probability) if probability.is_file() else np.full(n_rois, np.nan)
    uuids = fov / "mpciROIs.uuids.csv"
    yield "uuid", np.array(uuids.read_text().split()[1:] if uuids.is_file() else [""] * n_rois, dtype=object)


def _trials(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    tables = sorted((folder / "alf").rglob("_ibl_trials.table.pqt"))
    if tables:
        table = pd.read_parquet(tables[0])
        for name in table.select_dtypes(["number", "bool"]):
            yield f"trials/{name}", table[name].to_numpy()
    for path in sorted(tables[0].parent.glob("_ibl_trials.*[a-z].npy")) if tables else ():
        yield f"trials/{path.name.split('.')[1]}", np.load(path)


def oracle_tracked(folders: list[Path], trees: list[Path]) -> Values:
    """Rows of the neurons that all days have, read from the files alone."""
    days = []
    for folder, tree in zip(folders, trees, strict=True):
        rows: dict[str, int] = {}
        first = 0
        for fov in sorted(p for p in (folder / "alf").glob("FOV_*") if p.name[4:].isdigit()):
            is_cell = np.load(fov / "mpciROIs.mpciROITypes.npy") == 1
            file = tree / "alf" / fov.name / "mpciROIs.clusterUIDs.csv"
            uids = file.read_text(encoding="utf-8-sig").split("\n") if file.is_file() else []
            for row, (uid, cell) in enumerate(zip(uids, is_cell, strict=False)):
                if uid.strip() and cell:
                    rows.setdefault(uid.strip().lower(), first + row)
            first += len(is_cell)
        days.append(rows)
    shared = sorted(set.intersection(*map(set, days)))
    roi = np.array([[rows[uid] for uid in shared] for rows in days], dtype=np.int64).reshape(len(days), len(shared))
    return {"cluster_uid": np.array(shared, dtype=object), "roi": roi}


def rests(embedded: Values, day: int, tracked: Values) -> list[np.ndarray]:
    """All that the scores of a session rest on, neuron by neuron."""
    rows = tracked["roi"][day]
    fov = embedded[f"{day}/fov_index"][rows]
    return [
        embedded[f"{day}/signal"][rows],
        embedded[f"{day}/roi_delay"][rows],
        embedded[f"{day}/frame_times"][fov],
        embedded[f"{day}/bad_frame"][fov],
        *(embedded.get(f"{day}/trials/{name}", np.zeros(0)) for name in ("choice", "firstMovement_times")),
    ]


def equal(left: list[Any], right: list[Any]) -> bool:
    """Compare arrays within lists of lists."""
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    try:
        np.testing.assert_array_equal(left, right)
    except AssertionError:
        return False
    return True


def check_trials(found: dict[str, Values]) -> None:
    """Trials that were decoded have a choice and a movement, and their label is their choice."""
    for day, n_trials in enumerate(found["decode"]["n_trials"]):
        if not n_trials:
            continue
        rows = found["decode"][f"{day}/trial_index"]
        choice = found["embed"][f"{day}/trials/choice"][rows]
        assert set(choice) <= {-1, 1}
        np.testing.assert_array_equal(found["decode"][f"{day}/y"], choice == 1)
        assert np.isfinite(found["embed"][f"{day}/trials/firstMovement_times"][rows]).all()
        assert np.isfinite(found["decode"][f"{day}/X"]).all()
