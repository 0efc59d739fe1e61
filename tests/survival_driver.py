"""A driver of a run, to be killed: computes the curves of a simulated subject, and notes all work that is done.

Usage: survival_driver.py SUBJECT_FOLDER CACHE_DIR LOG SETTINGS_AS_JSON [ANALYSIS]
"""

import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

import mesodask
from mesodask.compute import runner
from mesodask.simulate import SimulatedSubject

PAUSE = 0.1  # s that every task takes longer, so that a kill meets some


def noted(log: str, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task, and note that it is begun, and at its end how many scores it has computed."""
    note(log, f"begun {key}")
    time.sleep(PAUSE)
    result = function(*arguments)
    note(log, f"done {n_scores(result)}")
    return result


def note(log: str, line: str) -> None:
    """Append a line to a file that many processes write to."""
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def n_scores(result: Any) -> int:
    """Count the numbers in all arrays of a result."""
    if isinstance(result, np.ndarray):
        return result.size
    parts = result if isinstance(result, (tuple, list)) else getattr(result, "__dict__", {}).values()
    return sum(map(n_scores, parts))


@contextmanager
def noting(log: Path) -> Iterator[None]:
    """Let every task note that it is begun."""
    original = runner.run_tasks

    def run_tasks(client: Client, tasks: Iterable[runner.Task], *arguments: Any, **options: Any) -> Any:
        told = (
            dataclasses.replace(task, function=functools.partial(noted, str(log), task.key, task.function))
            for task in tasks
        )
        return original(client, told, *arguments, **options)

    runner.run_tasks = run_tasks
    try:
        yield
    finally:
        runner.run_tasks = original


def main(folder: str, cache_dir: str, log: str, settings: str, analysis: str = "neuron_dropping_curves") -> None:
    subject = SimulatedSubject.open(Path(folder))
    with noting(Path(log)):
        getattr(mesodask, analysis)(
            subject.eids, one=subject.one_dir, roicat_root=subject.roicat_root, cache_dir=cache_dir,
            **json.loads(settings),
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
