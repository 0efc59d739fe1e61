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

FOUND: list[Spec] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(metafunc.config.getoption("--damages")))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        yield Bench.build(tmp_path_factory.mktemp("damage"), client)


@pytest.mark.timeout(120)
def test_damage_is_told_or_harmless(bench: Bench, number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    spec = draw(number, bench.templates, bench.names)
    print(spec)
    ended = bench.check(spec, tmp_path / "case")
    for stage, error in ended.errors.items():
        print(f"  {stage}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("spec", FOUND, ids=str)
def test_what_was_found_stays_mended(bench: Bench, spec: Spec, tmp_path: Path) -> None:
    bench.check(spec, tmp_path / "case")
