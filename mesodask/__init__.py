"""mesodask: how well populations of neurons decode behaviour, across days, on Dask.

The way of the data, one direction and no way back::

    ALF files --ONE--> session store --> tracked neurons --> trial features --> Dask tasks
      (io)              (sessions)        (tracking)          (features)          (ndc)
                                                  --> run store --> summary --> figures
                                                        (io)

============================  ==========================================================================
load_or_embed                 ALF files of a session -> its Zarr store, opened lazily
track_neurons                 the same neurons across sessions, by ROICaT cluster UID
tracking_table                which days hold together: presence, and neurons shared by each pair
best_session_subsets          for every number of sessions, those that share the most neurons
consecutive_pairs             the neurons of each two sessions that follow each other
trial_features                session + rows -> one z-scored windowed mean a trial and neuron
neuron_dropping_curves        score against number of neurons, with a null for every score
pairwise_curves               the same for each two sessions that follow each other
cross_session                 a decoder trained on the first session, tested on the later ones
cross_session_table           what came of it as a tidy table
run_status                    what of a run is done, failed, skipped and left, and how fast it goes
summarize, k_star             means, intervals, p-values and k* of a run
summary_table, write_csv      the same as tidy tables, and as CSV files
plot_ndc                      the curves of a run
plot_cross_session            a cross-session run by date; plot_generalization_matrix where each was trained on
plot_k_star                   k* over days
sparseness, plot_sparseness   how sparse a population's activity is, by event window and by trial
plot_raster                   a session's activity in Rastermap order, with the wheel
plot_xyz                      where its cells lie
plot_tracking                 a tracking table as a heat map, and against the days between sessions
write_report                  a run as one HTML page that a person opens and understands
run_analysis                  a whole analysis from one settings file, from ALF files to such a page
start_cluster                 Dask workers: on this machine, on SLURM, or some that run already
original_cache                a session as the dictionary that the original scripts cached
import_session_cache          such a dictionary -> a session store
import_original               any file of the original scripts -> a store
imported_summary              curves of such files in the form of a summary
simulate_subject              a synthetic subject in true ALF layout, with its ground truth
============================  ==========================================================================

Names are imported when they are first used, so that ``import mesodask`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME_OF = {
    "load_or_embed": "sessions",
    "track_neurons": "tracking",
    "tracking_table": "tracking",
    "best_session_subsets": "session_choice",
    "consecutive_pairs": "session_choice",
    "trial_features": "features",
    "neuron_dropping_curves": "ndc",
    "pairwise_curves": "pairs",
    "cross_session": "generalization",
    "cross_session_table": "cross.summary",
    "summarize": "summary",
    "k_star": "summary",
    "summary_table": "summary_tables",
    "write_csv": "summary_tables",
    "run_analysis": "workflow",
    "run_status": "status",
    "plot_k_star": "figures",
    "plot_ndc": "figures",
    "plot_raster": "figures",
    "plot_cross_session": "figures",
    "plot_generalization_matrix": "figures",
    "plot_tracking": "figures",
    "start_cluster": "compute.cluster",
    "plot_sparseness": "figures",
    "plot_xyz": "figures",
    "original_cache": "originals.sessions",
    "import_session_cache": "originals.sessions",
    "import_original": "originals.results",
    "imported_summary": "originals.views",
    "write_report": "figures.report",
    "simulate_subject": "simulate",
    "sparseness": "population_sparseness",
}

__all__ = [
    "best_session_subsets",
    "consecutive_pairs",
    "cross_session",
    "cross_session_table",
    "import_original",
    "import_session_cache",
    "imported_summary",
    "k_star",
    "load_or_embed",
    "neuron_dropping_curves",
    "original_cache",
    "pairwise_curves",
    "plot_cross_session",
    "plot_generalization_matrix",
    "plot_k_star",
    "plot_ndc",
    "plot_raster",
    "plot_sparseness",
    "plot_tracking",
    "plot_xyz",
    "run_analysis",
    "run_status",
    "simulate_subject",
    "sparseness",
    "start_cluster",
    "summarize",
    "summary_table",
    "track_neurons",
    "tracking_table",
    "trial_features",
    "write_csv",
    "write_report",
]

if TYPE_CHECKING:
    from mesodask.compute.cluster import start_cluster
    from mesodask.cross.summary import cross_session_table
    from mesodask.features import trial_features
    from mesodask.figures import (
        plot_cross_session,
        plot_generalization_matrix,
        plot_k_star,
        plot_ndc,
        plot_raster,
        plot_sparseness,
        plot_tracking,
        plot_xyz,
    )
    from mesodask.figures.report import write_report
    from mesodask.generalization import cross_session
    from mesodask.ndc import neuron_dropping_curves
    from mesodask.originals.results import import_original
    from mesodask.originals.sessions import import_session_cache, original_cache
    from mesodask.originals.views import imported_summary
    from mesodask.pairs import pairwise_curves
    from mesodask.population_sparseness import sparseness
    from mesodask.session_choice import best_session_subsets, consecutive_pairs
    from mesodask.sessions import load_or_embed
    from mesodask.simulate import simulate_subject
    from mesodask.status import run_status
    from mesodask.summary import k_star, summarize
    from mesodask.summary_tables import summary_table, write_csv
    from mesodask.tracking import track_neurons, tracking_table
    from mesodask.workflow import run_analysis


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"mesodask.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'mesodask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
