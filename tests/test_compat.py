"""The original names: what they answer, and the five examples of the original README, as a user runs them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mesodask import simulate_subject
from mesodask.simulate import SimulatedSubject

# what a person who has the original README before them types: its calls, with the import lines changed and the eids
# filled in. They stand on the top level of a script, without any guard, as they do there.
EXAMPLES = '''
from one.api import ONE

one = ONE()
print("sessions", len(one.search()))

from mesodask.compat import load_or_embed, plot_raster

eid = {eids!r}[0]
rr = load_or_embed(eid)
print("signal", *rr["roi_signal"].shape, *rr["isort"].shape, *rr["xyz"].shape)
{raster}

from pathlib import Path
from mesodask.compat import match_tracked_indices_across_sessions

eids = {eids!r}
idx_map = match_tracked_indices_across_sessions(one, eids[0], eids[1:], roicat_root=Path.home() / "chronic_csv")
print("shared", len(idx_map), *set(map(len, idx_map.values())))

from mesodask.compat import neuron_dropping_curves_cached

out = neuron_dropping_curves_cached(
    eids=eids,
    targets=("choice", "feedback", "stimulus", "block"),
    cache_dir=Path.home() / "FlatIron/meso/decoding",
    ks={ks},
    R={R},
    metric="auc",
    cv_splits=5,
    n_label_shuffles={shuffles},
    equalize_trials=True,
)
print("curves", len(out), *sorted(set(target for _, target in out)))
print("run", *set(about["run"] for about in out.values()))

from mesodask.compat import run_cross_session_train_first_test_rest, plot_cross_session_train_first_test_rest

payload = run_cross_session_train_first_test_rest(
    subject="SP072",
    min_sessions=10,
    min_k_shared=1000,
    targets=("choice", "feedback", "stimulus", "block"),
    dimreduce="pca",
    dim_k={dim_k},
    n_shuffle={n_shuffle},
)
print("payload", payload["n_shared"], *[len(payload["results"][target]) for target in payload["targets"]])
{cross}
'''
SIZES = {"ks": "(8, 1024)", "R": 1, "shuffles": 4, "dim_k": 16, "n_shuffle": 9}
FULL_SIZES = {"ks": "(8, 16, 32, 64, 128, 256, 512, 1024, 2048)", "R": 50, "shuffles": 100, "dim_k": 512, "n_shuffle": 200}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulatedSubject]:
    """A user's home: ten sessions of SP072, a ROICaT tree, and a default ONE whose server is not to be reached."""
    folder = tmp_path_factory.mktemp("home")
    subject = simulate_subject(
        folder / "sim", n_days=10, rois_per_fov=(520, 520), n_trials=400, frame_period=0.5, persistence=1.0,
        untracked=0.0, non_cells=0.02, signals=("deconvolved",), seed=3,
    )  # fmt: skip
    (folder / "chronic_csv").symlink_to(subject.roicat_root)
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    return folder, subject


def set_up_one(home: Path, url: str, one_dir: Path) -> None:
    pass
