"""Files as the original scripts left them, written as they wrote them, and imported."""

import json
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from runs import held, killed_build, until

from mesodask import import_original, imported_summary, load_or_embed, original_cache, plot_ndc, summary_table
from mesodask.cli import main
from mesodask.errors import DataError, SessionNotFoundError, StoreError
from mesodask.io import cache
from mesodask.io.upstream_results import check_cross_session, read_cross_session, read_curves
from mesodask.originals.results import open_imported
from mesodask.simulate import SimulatedSubject

EIDS = ("3c7c0a11-1111-4111-8111-000000000001", "4a4f0a22-2222-4222-8222-000000000002")
KS = (8, 16, 53)


@dataclass
class NDCResult:
    """The originals' result class; pickled by the name of whichever module it was defined in."""

    ks: np.ndarray
    scores: dict[int, Any]
    metric: str
    ceiling: float
    shuffled: dict[int, Any] | None = None


@pytest.fixture(params=["meso_decode", "__main__"])
def result_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[NDCResult]:
    """The result class, as it is called where the scripts were imported, and where they were run."""
    module = sys.modules.get(request.param) or ModuleType(request.param)
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.setattr(module, "NDCResult", NDCResult, raising=False)
    monkeypatch.setattr(NDCResult, "__module__", request.param)
    return NDCResult


def statistics(values: np.ndarray) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "n": len(values)}


def replicates(seed: int, n: int, top: float) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: (0.5 + (top - 0.5) * k / 53 + 0.02 * rng.normal(size=n)).astype(np.float16) for k in KS}


def curves_payload(
    kind: type[NDCResult], *, target: str = "choice", compact: bool = True, with_null: bool = True, **changes: Any
) -> dict[str, Any]:
    """What the originals pickled as ``3c7_4a4_choice.pkl``."""
    keep: Callable[[np.ndarray], Any] = statistics if compact else lambda values: values
    sessions = {}
    for i, eid in enumerate(EIDS):
        scores, null = replicates(i, 50, 0.9), replicates(9 + i, 100, 0.5)
        result = kind(
            ks=np.array(KS),
            scores={k: keep(v) for k, v in scores.items()},
            metric="auc",
            ceiling=float(np.mean(scores[53].astype(float))),
            shuffled={k: keep(v) for k, v in null.items()} if with_null else None,
        )
        meta = {
            "eid": eid, "target": target, "date": f"2025-01-1{3 + i}", "n_shared": 53, "ks_max": 53, "trials": 180 + i,
            "performance": 0.8, "event": "firstMovement_times", "win": (-0.1, 0.0), "equalize_trials": True,
            "prefix": "3c7_4a4", "all_eids": list(EIDS), "subject": "SP072",
        }  # fmt: skip
        sessions[eid] = {"result": result, "meta": meta}
    group = {"all_eids": list(EIDS), "n_shared": 53, "prefix": "3c7_4a4"}
    payload = {"prefix": "3c7_4a4", "target": target, "group_meta": group, "sessions": sessions}
    return payload | {"saved_at": "2025-02-01T10:00:00Z"} | changes


def write_pickle(path: Path, payload: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL))
    return path


def cross_payload(**changes: Any) -> dict[str, Any]:
    """What the originals stored as ``trainFirst_stream_3c7_4a4``, as pickle and as JSON."""
    home = {"eid": EIDS[0], "date": "2025-01-13", "which": "train_session_cv", "n_trials": 180, "acc": 0.81,
            "acc_shuffle": float("nan"), "k": 53, "picked_fold": 2}  # fmt: skip
    abroad = {"eid": EIDS[1], "date": "2025-01-14", "which": "test", "n_trials": 170, "acc": 0.74, "acc_shuffle": 0.503,
              "k": 53, "from_fold": 2}  # fmt: skip
    return {
        "subject": "SP072", "eids": list(EIDS), "train_eid": EIDS[0], "dates": ["2025-01-13", "2025-01-14"],
        "n_shared": 53, "targets": ["choice", "block"], "results": {"choice": [home, abroad], "block": []},
        "first_session_cv": {"choice": {"mean_acc": 0.81, "fold_accs": [0.8, 0.82, 0.81], "picked_fold": 2},
                             "block": {"mean_acc": float("nan"), "fold_accs": [], "picked_fold": -1}},
        "protocol": "trainFirst_streamed_outer3fold_keepMedianFold", "dimreduce": "pca", "dim_k": 128,
        "use_elasticnet": False, "Cs": [0.03, 0.3, 1.0], "l1_ratio_grid": [0.0, 0.5], "inner_cv_splits": 3, "seed": 0,
    } | changes  # fmt: skip


# curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [True, False])
def test_curves(tmp_path: Path, result_class: type[NDCResult], compact: bool) -> None:
    """Statistics, and the single scores of early files, are those that were pickled."""
    path = write_pickle(tmp_path / "3c7_4a4_choice.pkl", curves_payload(result_class, compact=compact))
    made = import_original(path, cache_dir=tmp_path / "meso")
    assert made.store == tmp_path / "meso" / "decoding" / "imported" / "3c7_4a4_choice.zarr"
    assert made.is_new
    found = open_imported(made.store)
    assert isinstance(found, xr.Dataset)
    assert found["session"].values.tolist() == list(EIDS)
    assert found["k"].values.tolist() == list(KS)
    for i in range(2):
        scores, null = replicates(i, 50, 0.9), replicates(9 + i, 100, 0.5)
        for j, k in enumerate(KS):
            expected = statistics(scores[k]) if compact else statistics(scores[k].astype(float))
            at = found.isel(session=i, k=j)
            assert (float(at["mean"]), float(at["sd"]), int(at["n_resamples"])) == tuple(expected.values())
            assert float(at["null_mean"]) == pytest.approx(np.mean(null[k].astype(float)), abs=1e-3)
            assert int(at["n_shuffles"]) == 100
            if not compact:
                np.testing.assert_array_equal(at["score"].values, scores[k].astype(float))
                np.testing.assert_array_equal(at["null_score"].values, null[k].astype(float))
    assert ("score" in found) != compact
    assert any("single scores" in lack for lack in found.attrs["missing"]) == compact
    assert found.attrs["sources"]["3c7_4a4_choice.pkl"]["size"] == path.stat().st_size
    assert found.attrs["settings"][EIDS[0]]["win"] == [-0.1, 0.0]


def test_curves_are_drawn_and_tabulated_as_those_of_a_run(tmp_path: Path, result_class: type[NDCResult]) -> None:
    imported = []
    for target in ("block", "choice"):
        payload = curves_payload(result_class, target=target, with_null=target == "choice")
        path = write_pickle(tmp_path / f"3c7_4a4_{target}.pkl", payload)
        imported.append(import_original(path, cache_dir=tmp_path).store)
    summary = imported_summary(*imported)
    assert summary["target"].values.tolist() == ["choice", "block"]
    choice = summary.sel(target="choice").isel(session=0)
    scores = {k: v.astype(float) for k, v in replicates(0, 50, 0.9).items()}
    near = [k for k in KS if scores[k].mean() >= scores[53].mean() - 0.02]
    assert float(choice["k_star"]) == min(near)
    width = (choice["high"] - choice["low"]).values
    np.testing.assert_allclose(width, [2 * 1.96 * scores[k].std(ddof=1) for k in KS], rtol=0.02)
    assert np.isnan(summary["p"]).all()
    assert np.isnan(summary.sel(target="block")["null_mean"]).all()
    panels = plot_ndc(summary).axes
    assert [panel.get_title() for panel in panels] == ["choice", "block"]
    lines = [line for line in panels[0].lines if len(line.get_xdata()) == len(KS)]
    np.testing.assert_allclose(lines[0].get_ydata(), choice["mean"].values)
    table = summary_table(summary)
    assert len(table) == 2 * 2 * 3
    assert set(table["date"]) == {"2025-01-13", "2025-01-14"}


def test_the_same_results_are_imported_once_and_others_are_refused(
    tmp_path: Path, result_class: type[NDCResult]
) -> None:
    """The originals wrote the curves of pairs to two places; and two analyses whose eids begin alike to one name."""
    payload = curves_payload(result_class)
    first = write_pickle(tmp_path / "old" / "3c7_4a4_choice.pkl", payload)
    again = write_pickle(
        tmp_path / "old" / "pair_summaries" / "SP072" / "res" / "3c7_4a4_choice.pkl", payload | {"saved_at": "later"}
    )
    made = import_original(first, cache_dir=tmp_path)
    assert import_original(again, cache_dir=tmp_path) == (made.store, False)
    other = write_pickle(tmp_path / "3c7_4a4_choice.pkl", payload | {"group_meta": {"n_shared": 54, "prefix": "x"}})
    with pytest.raises(StoreError, match=r"3c7_4a4_choice\.zarr: holds other results.*rerun=True"):
        import_original(other, cache_dir=tmp_path)
    assert import_original(other, cache_dir=tmp_path, rerun=True) == (made.store, True)
    assert open_imported(made.store).attrs["n_shared"] == 54  # type: ignore[union-attr]


def test_another_process_is_waited_for_and_what_a_killed_one_left_is_swept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = write_pickle(tmp_path / "trainFirst_x.pkl", cross_payload())
    store = import_original(old, cache_dir=tmp_path).store
    aside = store.rename(tmp_path / "aside")
    killed_build(store)
    caplog.set_level("INFO")
    with ThreadPoolExecutor() as pool, held(cache.build_lock(store)):
        made = pool.submit(import_original, old, cache_dir=tmp_path)
        until(lambda: "waiting for process" in caplog.text)
        assert not store.exists()
        aside.rename(store)  # so the other process has done the same work
    assert made.result() == (store, False)
    assert list(store.parent.iterdir()) == [store]


def test_what_does_not_belong_together_is_not_summarised(tmp_path: Path, result_class: type[NDCResult]) -> None:
    choice = import_original(
        write_pickle(tmp_path / "3c7_4a4_choice.pkl", curves_payload(result_class)), cache_dir=tmp_path
    ).store
    group = {"all_eids": [EIDS[0]], "n_shared": 53, "prefix": "3c7"}
    payload = curves_payload(result_class, target="block", group_meta=group)
    block = import_original(write_pickle(tmp_path / "3c7_block.pkl", payload), cache_dir=tmp_path).store
    with pytest.raises(DataError, match="all_eids"):
        imported_summary(choice, block)
    with pytest.raises(DataError, match="twice"):
        imported_summary(choice, choice)
    cross = write_pickle(tmp_path / "trainFirst_x.pkl", cross_payload())
    with pytest.raises(StoreError, match="cross-session"):
        imported_summary(import_original(cross, cache_dir=tmp_path).store)
    with pytest.raises(StoreError, match="no store of imported results"):
        open_imported(tmp_path)


def test_a_damaged_store_is_told(tmp_path: Path, result_class: type[NDCResult]) -> None:
    path = write_pickle(tmp_path / "3c7_4a4_choice.pkl", curves_payload(result_class))
    store = import_original(path, cache_dir=tmp_path).store
    (store / "n_resamples" / "c" / "0" / "0").unlink()  # whole numbers that are lost would read 0
    with pytest.raises(StoreError, match="lost"):
        open_imported(store)
    assert import_original(path, cache_dir=tmp_path) == (store, True)
    assert import_original(path, cache_dir=tmp_path) == (store, False)


WRONG_CURVES = {
    "another target": ({"target": "block"}, "target: 'block'"),
    "no sessions": ({"sessions": {}}, "sessions: 0"),
    "no eid": ({"sessions": {"3c7": {}}}, "is no eid"),
    "a list": ({"sessions": []}, "sessions is list of length 0"),
    "no group": ({"group_meta": None}, "group_meta is None"),
    "negative": ({"group_meta": {"n_shared": -1}}, "n_shared'?]?: -1"),
}


@pytest.mark.parametrize("case", WRONG_CURVES)
def test_wrong_curves_are_named(tmp_path: Path, result_class: type[NDCResult], case: str) -> None:
    changes, message = WRONG_CURVES[case]
    path = write_pickle(tmp_path / "3c7_4a4_choice.pkl", curves_payload(result_class, **changes))
    with pytest.raises(DataError, match=message) as error:
        read_curves(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.scores.pop(8), r"scores'\]: 2 numbers of neurons; expected those of ks"),
        (lambda r: r.scores.update({8: {"mean": "high", "sd": 0.0, "n": 1}}), r"mean'\]: str of length 4"),
        (lambda r: r.scores.update({8: {"mean": 0.5, "sd": 0.0, "n": 1.5}}), r"n'\]: float; expected a whole number"),
        (lambda r: setattr(r, "ks", np.array([8, 8, 53])), r"ks'\]: an array"),
        (lambda r: setattr(r, "ceiling", float("inf")), "ceiling"),
        (lambda r: setattr(r, "metric", "f1"), "'f1'; expected auc or accuracy"),
        (lambda r: setattr(r, "metric", 3), "metric"),
    ],
)
def test_wrong_results_are_named(
    tmp_path: Path, result_class: type[NDCResult], change: Callable[[NDCResult], Any], message: str
) -> None:
    payload = curves_payload(result_class)
    change(payload["sessions"][EIDS[1]]["result"])
    path = write_pickle(tmp_path / "3c7_4a4_choice.pkl", payload)
    with pytest.raises(DataError, match=message):
        import_original(path, cache_dir=tmp_path)
    assert not (tmp_path / "decoding").exists()


def test_one_array_that_is_meant_many_times_takes_no_memory(tmp_path: Path, result_class: type[NDCResult]) -> None:
    payload = curves_payload(result_class, with_null=False)
    one = payload["sessions"][EIDS[0]]["result"]
    one.ks = np.arange(1, 20_001)
    one.scores = dict.fromkeys(range(1, 20_001), np.zeros(50_000))  # 8 GB, if each were copied
    path = write_pickle(tmp_path / "3c7_4a4_choice.pkl", payload)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError, match="more items than bytes"):
        read_curves(path)


# across sessions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["pkl", "json"])
def test_cross_session(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"trainFirst_stream_3c7_4a4.{ending}"
    if ending == "pkl":
        write_pickle(path, cross_payload())
    else:
        path.write_text(json.dumps(cross_payload(), indent=2))
    made = import_original(path, cache_dir=tmp_path)
    assert made.store.name == "trainFirst_stream_3c7_4a4.zarr"
    found = open_imported(made.store)
    assert isinstance(found, dict)
    assert list(found) == ["choice", "block"]
    choice = found["choice"]
    assert choice["accuracy"].values.tolist() == [0.81, 0.74]
    np.testing.assert_array_equal(choice["null_mean"].values, [np.nan, 0.503])
    assert choice["n_trials"].values.tolist() == [180, 170]
    assert choice["fold_accuracy"].values.tolist() == [0.8, 0.82, 0.81]
    assert choice.attrs["picked_fold"] == 2
    assert choice.attrs["settings"]["Cs"] == [0.03, 0.3, 1.0]
    assert np.isnan(found["block"]["accuracy"]).all()
    assert any("p-value" in lack for lack in choice.attrs["missing"])


def test_pickle_and_json_of_one_analysis_are_one_store(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "trainFirst_stream_a.pkl", cross_payload())
    (tmp_path / "trainFirst_stream_a.json").write_text(json.dumps(cross_payload()))
    assert import_original(path, cache_dir=tmp_path).is_new
    assert not import_original(path.with_suffix(".json"), cache_dir=tmp_path).is_new


def test_the_older_form_of_the_payload_is_read(tmp_path: Path) -> None:
    """Before it had folds, and a null of the session that was trained on."""
    payload = cross_payload()
    for key in ("first_session_cv", "protocol", "train_eid"):
        del payload[key]
    payload["results"]["choice"][0] |= {"which": "train", "acc_shuffle": 0.51}
    stored = read_cross_session(write_pickle(tmp_path / "trainFirst_old.pkl", payload))
    assert [test.trained for test in stored.tests["choice"]] == [True, False]
    assert stored.tests["choice"][0].null_mean == 0.51
    assert stored.folds == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eids": [EIDS[0], EIDS[0]]}, "eids: 2 eids, 1 of them different"),
        ({"eids": ["../../etc"]}, "no eid"),
        ({"dates": ["2025-01-13"]}, "dates: 1 dates; expected one for each of 2"),
        ({"results": {"odour": []}}, "results: a target str"),
        ({"results": {"choice": [{"eid": EIDS[0]}]}}, "no results"),
        ({"results": {"choice": [3]}}, r"\[0\] is int"),
        ({"n_shared": 10**400}, "n_shared: int; expected a whole number"),
        ({"subject": "a\nb"}, "subject: str"),
        ({"subject": None}, "subject: None"),
        ({"Cs": {"a": 1}}, "Cs: dict"),
        ({"seed": float("nan")}, "seed: float"),
    ],
)
def test_wrong_payloads_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_cross_session(cross_payload(**changes))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "{", "\udcff", "[1]", "9" * 10_000])
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trainFirst_a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"trainFirst_a\.json"):
        import_original(path, cache_dir=tmp_path)


# hostile pickles --------------------------------------------------------------------------------------------------


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple:
        return self._call


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def called(module: str, name: str, *args: bytes) -> bytes:
    return b"\x80\x04" + text(module) + text(name) + pickle.STACK_GLOBAL + b"(" + b"".join(args) + b"tR."


def inside(value: Any) -> bytes:
    """An honest payload, but for one score."""
    payload = curves_payload(NDCResult)
    payload["sessions"][EIDS[0]]["result"].scores[8] = value
    return pickle.dumps(payload)


CLASS = r"asks for meso_decode\.NDCResult"  # which no cross-session analysis has
HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "system": (lambda m: called("posix", "system", text(f"touch {m}")), r"posix\.system"),
    "eval": (lambda m: called("builtins", "eval", text(f"open({str(m)!r}, 'w')")), r"builtins\.eval"),
    "exec within a score": (lambda m: inside(Call(exec, f"open({str(m)!r}, 'w')")), rf"builtins\.exec|{CLASS}"),
    "getattr": (lambda _: called("builtins", "getattr", text("x"), text("__class__")), r"builtins\.getattr"),
    "dotted name": (lambda _: called("numpy", "core.os.system", text("true")), r"numpy\.core\.os\.system"),
    "numpy's loader": (lambda _: called("numpy", "load", text("evil.npy")), r"numpy\.load"),
    "method of the result class": (lambda _: called("meso_decode", "NDCResult.__init__"), r"NDCResult\.__init__"),
    "call of the result class": (lambda _: called("meso_decode", "NDCResult"), rf"calls meso_decode\.|{CLASS}"),
    "class of the originals": (lambda _: called("meso_decode", "OnlineStats"), r"meso_decode\.OnlineStats"),
    "persistent id": (lambda _: b"\x80\x04" + text("x") + b"Q.", "BINPERSID"),
    "extension code": (lambda _: b"\x80\x04\x82\x01.", "EXT1"),
    "nesting": (lambda _: b"\x80\x04]" + b"\x85" * 5000 + b".", "nests"),
    "memory": (lambda _: b"\x80\x04]" + b"r\xff\xff\xff\x7f" + b".", "list of length 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["3c7_4a4_choice.pkl", "trainFirst_stream_3c7_4a4.pkl"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str, name: str
) -> None:
    module = ModuleType("meso_decode")
    monkeypatch.setitem(sys.modules, "meso_decode", module)
    monkeypatch.setattr(module, "NDCResult", NDCResult, raising=False)
    monkeypatch.setattr(NDCResult, "__module__", "meso_decode")
    make, message = HOSTILE[case]
    marker = tmp_path / "marker"
    path = tmp_path / name
    path.write_bytes(make(marker))
    with pytest.raises(DataError, match=message):
        import_original(path, cache_dir=tmp_path / "meso")
    assert main(["import", str(path), "--cache-dir", str(tmp_path / "meso")]) == 2
    assert name in capsys.readouterr().err
    assert not marker.exists()
    assert not (tmp_path / "meso").exists()


# the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(copy: SimulatedSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder such as the originals have left: sessions, results, and what is none of ours."""
    module = ModuleType("meso_decode")
    monkeypatch.setitem(sys.modules, "meso_decode", module)
    monkeypatch.setattr(module, "NDCResult", NDCResult, raising=False)
    monkeypatch.setattr(NDCResult, "__module__", "meso_decode")
    folder = tmp_path / "old"
    session = load_or_embed(copy.eids[0], one=copy.one_dir, rastermap=False)
    cells = session["is_neuron"].values
    cached = {name: values[cells] for name, values in original_cache(session).items() if name != "isort"}
    (folder / "data").mkdir(parents=True)
    (folder / "sparseness").mkdir()
    np.save(folder / "data" / f"{copy.eids[0]}_filter_True.npy", cached, allow_pickle=True)
    np.save(folder / "sparseness" / f"{copy.eids[0]}.npy", {"choiceL": {}}, allow_pickle=True)
    for target in ("choice", "block"):
        write_pickle(folder / "decoding" / f"3c7_4a4_{target}.pkl", curves_payload(NDCResult, target=target))
    write_pickle(folder / "decoding" / "cross_session_trainFirst" / "trainFirst_stream_3c7_4a4.pkl", cross_payload())
    (folder / "decoding" / "index.json").write_text("[]")
    (folder / "decoding" / "3c7_4a4_feedback.pkl").write_bytes(called("posix", "system", text("true")))
    write_pickle(folder / "decoding" / "ours.zarr" / "hidden_choice.pkl", {})
    shutil.rmtree(copy.one_dir / "meso")
    return folder


def test_a_damaged_imported_session_is_made_anew_as_its_error_says(old: Path, copy: SimulatedSubject) -> None:
    file = old / "data" / f"{copy.eids[0]}_filter_True.npy"
    store = import_original(file, one=copy.one_dir).store
    (store / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"zarr.json: cannot be read.*rerun=True"):
        import_original(file, one=copy.one_dir)
    assert import_original(file, one=copy.one_dir, rerun=True) == (store, True)


def test_a_folder_is_imported_whole_but_for_what_fails(
    old: Path, copy: SimulatedSubject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["import", str(old), "--one", str(copy.one_dir), "--figure", str(tmp_path / "old.png")]
    assert main(command) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[0] for line in lines] == ["imported"] * 1 + [
        "imported",
        "imported",
        "failed",
        "imported",
        "figure",
    ]
    assert "posix.system" in lines[3]
    assert lines[3].count("3c7_4a4_feedback.pkl") == 1
    assert "failed: 1 of 5 files" in captured.err
    stores = [Path(line.split(" -> ")[1]) for line in lines if " -> " in line]
    assert all(store.is_relative_to(copy.one_dir / "meso") and store.exists() for store in stores)
    assert (tmp_path / "old.png").stat().st_size > 10_000
    assert main(command[:-2]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "there",
        "there",
        "there",
        "failed",
        "there",
    ]


def test_json_and_a_folder_with_nothing_in_it(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results need no ONE where the cache folder is named."""
    (old / "decoding" / "3c7_4a4_feedback.pkl").unlink()
    cache = tmp_path / "cache"
    assert main(["import", str(old / "decoding"), "--cache-dir", str(cache), "--json"]) == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [one["outcome"] for one in outcomes] == ["imported"] * 3
    assert all(Path(one["store"]).is_relative_to(cache) for one in outcomes)
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty"), "--cache-dir", str(cache)]) == 0
    assert "no file of the original scripts" in capsys.readouterr().out


def test_a_file_of_another_name_and_an_unknown_session(copy: SimulatedSubject, tmp_path: Path) -> None:
    stranger = tmp_path / f"{EIDS[0]}.npy"
    np.save(stranger, {"roi_signal": np.zeros((2, 3))}, allow_pickle=True)
    with pytest.raises(SessionNotFoundError, match="3c7c0a11"):
        import_original(stranger, one=copy.one_dir)
    other = tmp_path / "notes.pkl"
    other.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the original scripts' files: expected <eid>\.npy"):
        import_original(other, one=copy.one_dir)
