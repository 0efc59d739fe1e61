"""What tests of runs share: a small run, counting what of it was submitted, and other processes at the same store."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from packaging.version import Version
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from mesodask.compute import runner
from mesodask.curves import engine
from mesodask.curves.plan import Piece
from mesodask.curves.scores import Block, Scores, score_block
from mesodask.io import partials
from mesodask.io.runstore import RunStore
from mesodask.settings import NdcSettings

# scikit-learn before 1.8 minds l1_ratio only if told so, and the later ones warn of being told
ELASTIC_NET = {"solver": "saga"} | ({"penalty": "elasticnet"} if Version(sklearn.__version__) < Version("1.8") else {})
SMALL = {"ks": (4, 16), "R": 12, "n_label_shuffles": 19}
Run = Callable[..., RunStore]


def pieces(tasks: list[runner.Task]) -> list[tuple[Block, Piece]]:
    """What was submitted, piece by piece."""
    return [(task.arguments[0], piece) for task in tasks for piece in task.arguments[0].pieces]


def n_scores(tasks: list[runner.Task]) -> int:
    """How many scores were submitted, and none of them twice."""
    found = pieces(tasks)
    seen: set[tuple] = set()
    for block, piece in found:
        for r in piece.resamples:
            labels = ([-1] if piece.data else []) + list(piece.shuffles)
            one = {(block.store, block.target, block.eid, piece.k, r, label) for label in labels}
            assert not one & seen
            seen |= one
    return len(seen)


def missing_scores(run: RunStore, target: str, session: int, ks: list[int], R: int, n_shuffles: int) -> np.ndarray:
    """Where the score of a (k, resample), or any of its null scores, is not computed."""
    parts = run.missing_by_k(target, session, ks, R, R, n_shuffles)
    return np.array([data | null.any(axis=1) for _, data, null in parts])


def gated(gate: str, number: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task once a file holds a larger number than the task's own."""
    while int(Path(gate).read_text()) <= number:
        time.sleep(0.02)
    return function(*arguments)


HOLD = """
import sys
from pathlib import Path
from mesodask.io.lock import Lock
with Lock(Path(sys.argv[1]), "the store"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Let another process hold a lock."""
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.communicate()


def killed_build(store: Path) -> Path:
    """What a process that was killed has left of a store."""
    killed = subprocess.Popen(["true"])
    killed.wait()
    partial = partials.partial_of(store)
    partial = partial.with_name(partial.name.replace(f"-{os.getpid()}-", f"-{killed.pid}-"))
    partial.mkdir(parents=True)
    return partial


def until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something, not for ever."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class FailsOnSixteen(ClassifierMixin, BaseEstimator):
    """Cannot be fitted to 16 neurons."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "FailsOnSixteen":
        if X.shape[1] == 16:
            raise ValueError("sixteen <b>neurons</b>")
        self.model_ = LogisticRegression().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return self.model_.decision_function(X)


def score_but_for(block: Block, settings: NdcSettings, eid: str) -> list[Scores]:
    if block.eid == eid:
        raise RuntimeError("no such luck")
    return score_block(block, settings)


def fail_for_a_session(monkeypatch: pytest.MonkeyPatch, eid: str) -> None:
    """Let every task of curves of this session fail."""
    original = engine._task

    def bad(block: Block, settings: NdcSettings) -> runner.Task:
        task = original(block, settings)
        return runner.Task(task.key, score_but_for, (block, settings, eid), task.label)

    monkeypatch.setattr(engine, "_task", bad)
