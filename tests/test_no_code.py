"""A population without any code stays within its null: p-values are uniform."""

from pathlib import Path

import numpy as np
from distributed import Client
from scipy.stats import binom, kstest

from mesodask import neuron_dropping_curves, simulate_subject, summarize

N_SEEDS, N_DAYS = 5, 10  # x 4 targets = 200 analyses


def test_p_values_are_uniform_without_a_code(tmp_path: Path, client: Client) -> None:
    p_values = []
    for seed in range(N_SEEDS):
        subject = simulate_subject(
            tmp_path / str(seed),
            n_days=N_DAYS,
            rois_per_fov=(15, 15),
            n_trials=220,
            fractions={},
            persistence=1.0,
            untracked=0.0,
            non_cells=0.0,
            signals=("deconvolved",),
            seed=100 + seed,
        )
        run = neuron_dropping_curves(
            subject.eids,
            one=subject.one_dir,
            roicat_root=subject.roicat_root,
            client=client,
            ks=(10,),
            R=3,
            n_label_shuffles=39,
            seed=seed,
        )
        p_values.append(summarize(run)["p_largest"].values.ravel())
    p = np.concatenate(p_values)
    p = p[np.isfinite(p)]
    assert len(p) > 0.8 * N_SEEDS * N_DAYS * 4  # the others are skipped, with their reasons
    assert kstest(p, "uniform").pvalue > 1e-3
    assert (p <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)
    print(f"{len(p)} p-values, {np.mean(p <= 0.05):.3f} at or below 0.05, mean {p.mean():.3f}")
