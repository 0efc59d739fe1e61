"""Damage of every kind to every file: a right result, or an error that names what is damaged; never anything else.

40 random cases run always, more with ``--damages N``; what was ever found stands in ``FOUND``.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import Spec, draw
from damage_judge import Bench
from distributed import Client

# what was found, by what it did
FOUND = [
    # other numbers without a word: Zarr takes what is no file for a chunk that was never written
    Spec("finished", "STORE0/frame_times/c/0/0", "dangles"),
    Spec("finished", "STORE0/roi_delay/c/0", "dangles"),
    Spec("half", "STORE0/trials/intervals_0/c/0", "becomes folder"),
    Spec("embedded", "STORE1/region/c/0", "becomes folder"),
    Spec("finished", "RUN/features/choice/EID0/X/c/0", "dangles"),
    Spec("finished", "RUN/features/choice/EID1/y/c", "becomes file"),
    # other numbers without a word: chunks that are whole, in the place of others
    Spec("finished", "STORE1/trials/intervals_1/c/0", "swap", 15),
    Spec("half", "STORE0/cell_probability", "another", 43),
    Spec("embedded", "STORE0/signal", "swap", 1),
    Spec("embedded", "STORE1", "another", 351),
    Spec("half", "RUN/features/choice/EID0/X/c/0/0", "swap", 2),
    Spec("finished", "RUN/tracked/number/c/0", "swap", 50),
    Spec("finished", "RUN/choice/score/c/0/0/0", "swap", 1),  # with a text, of which it made billions
    Spec("finished", "RUN/choice/null_score/c/0/1", "another", 3),
    # a store from before there were trials was taken for the session's for ever
    Spec("fresh", "DAY0/alf/task_00", "becomes file", reindex=True),
    # errors of the operating system, of ONE and of Zarr, from deep inside
    Spec("half", "RUN/choice/score/c/0/0/0", "loops"),
    Spec("finished", "RUN/choice/score/c/0", "becomes file"),
    Spec("half", "RUN/choice/n_trials/c/0", "becomes folder"),
    Spec("finished", "STORE1/trials/contrastLeft/c", "loops"),
    Spec("finished", "RUN/features/choice/EID1/decoded/c/0", "words"),
    Spec("finished", "RUN/features/choice/EID0/X/c/0/0", "truncate", 223),
    Spec("finished", "RUN/features/choice/EID0/trial_index/zarr.json", "value of text", 4),
    Spec("finished", "RUN/tracked", "dangles"),
    Spec("finished", "RUN/features/choice/EID0/zarr.json", "no object"),
    Spec("fresh", "one/datasets.pqt", "as pandas writes"),
    Spec("fresh", "one/datasets.pqt", "row dropped", 22),
    Spec("finished", "one/datasets.pqt", "swap"),
    Spec("fresh", "DAY0/alf/FOV_01/mpciROITypes.names.tsv", "loops", reindex=True),
    Spec("fresh", "DAY1/alf", "dangles", reindex=True),
    # which FOVs lack a file of cluster UIDs was not said
    Spec("finished", "TREE1/alf", "becomes file"),
    # a folder in the place of a file that may be missing, once the tables do not list it any more
    Spec("fresh", "DAY1/alf/FOV_00/mpci.badFrames.npy", "becomes folder", 368, reindex=True),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(metafunc.config.getoption("--damages")))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        yield Bench.build(tmp_path_factory.mktemp("damage"), client)


@pytest.mark.timeout(120)
def test_damage_is_told_or_harmless(
    bench: Bench, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    spec = draw(number, bench.templates, bench.names)
    print(spec)
    ended = bench.check(spec, tmp_path / "case")
    for stage, error in ended.errors.items():
        print(f"  {stage}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("spec", FOUND, ids=str)
def test_what_was_found_stays_mended(bench: Bench, spec: Spec, tmp_path: Path) -> None:
    bench.check(spec, tmp_path / "case")
