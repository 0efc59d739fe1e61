"""The names, keywords and answers of the original scripts, over the functions of mesodask.

A script that was written for them runs when its import lines are changed::

    from mesodask.compat import load_or_embed, plot_raster                          # was: from meso import ...
    from mesodask.compat import match_tracked_indices_across_sessions               # was: from meso_chronic import ...
    from mesodask.compat import neuron_dropping_curves_cached                       # was: from meso_decode import ...

Windows are read as they were (``sampling="frames"``), and the answers have the form they had: dictionaries, index
arrays, plain payloads. Indices count the rows of ``load_or_embed(eid)["roi_signal"]``, that is, cells alone;
:func:`mesodask.compat.rows.store_rows` turns them into rows of a session store for the functions of mesodask itself.
What was a fault of the originals is not kept: each docstring says what is different and why. A keyword that no longer
has a meaning is taken, and a log line tells why; one that never was is an error that names the nearest.

In addition every function that reads data takes ``one=`` (a ONE, a folder, or nothing for the user's default).
"""

from mesodask.compat.chronic import (
    best_eid_subsets_for_animal,
    match_tracked_indices_across_sessions,
    pairwise_shared_indices_for_animal,
)
from mesodask.compat.cross_session import (
    plot_cross_session_train_first_test_rest,
    run_cross_session_train_first_test_rest,
)
from mesodask.compat.curve import NDCResult, neuron_dropping_curve
from mesodask.compat.decode import build_trial_features, neuron_dropping_curves_cached
from mesodask.compat.meso import load_or_embed, plot_raster, plot_xyz
from mesodask.compat.rows import store_rows
from mesodask.compat.sparseness import compute_sparseness
from mesodask.compat.win_times import get_win_times

__all__ = [
    "NDCResult",
    "best_eid_subsets_for_animal",
    "build_trial_features",
    "compute_sparseness",
    "get_win_times",
    "load_or_embed",
    "match_tracked_indices_across_sessions",
    "neuron_dropping_curve",
    "neuron_dropping_curves_cached",
    "pairwise_shared_indices_for_animal",
    "plot_cross_session_train_first_test_rest",
    "plot_raster",
    "plot_xyz",
    "run_cross_session_train_first_test_rest",
    "store_rows",
]
