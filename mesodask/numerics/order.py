"""An order of ROIs in which those that are active together lie together; the only module that imports ``rastermap``."""

import logging
import warnings

import numpy as np


def rastermap_order(signal: np.ndarray) -> tuple[np.ndarray, str]:
    """Sort ROIs so that those that are active together lie together (Rastermap, Stringer et al. 2025).

    Parameters
    ----------
    signal : numpy.ndarray, (n_rois, n_frames) float32
        Activity. ROIs without variance, or with NaN, come last.

    Returns
    -------
    isort : numpy.ndarray, (n_rois,) int64
        A permutation of the rows.
    reason : str
        Why the parameters are not the usual ones or there is no order; empty if all went as usual.
    """
    usable = np.isfinite(signal).all(axis=1)
    usable[usable] &= signal[usable].std(axis=1) > 0
    rows = np.flatnonzero(usable)
    identity = np.arange(len(signal), dtype=np.int64)
    smallest = min(len(rows), signal.shape[1])
    if smallest < 10:
        return identity, f"{len(rows)} active ROIs and {signal.shape[1]} frames are too few to sort"
    n_pcs, n_clusters = min(100, smallest - 1), min(30, len(rows) // 2)
    try:
        inner = _fit_rastermap(signal[rows], n_pcs, n_clusters)
    except Exception as error:  # rastermap raises many kinds on recordings it cannot sort
        return identity, f"rastermap failed: {error}"
    if not np.array_equal(np.sort(inner), np.arange(len(rows))):
        return identity, "rastermap gave no permutation"
    usual = (n_pcs, n_clusters) == (100, 30)
    reason = "" if usual else f"small recording: n_PCs={n_pcs}, n_clusters={n_clusters}"
    return np.concatenate([rows[inner], np.flatnonzero(~usable)]).astype(np.int64), reason


def _fit_rastermap(signal: np.ndarray, n_pcs: int, n_clusters: int) -> np.ndarray:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    from rastermap import Rastermap

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = Rastermap(
                n_PCs=n_pcs, n_clusters=n_clusters, locality=0.75, time_lag_window=5, bin_size=1, verbose=False
            )
            # one ROI a bin of 1 sample each: rastermap's own raster is not needed
            return np.asarray(model.fit(signal.astype(np.float32), compute_X_embedding=False).isort)
    finally:
        # rastermap configures the root logger to print on stdout
        root.handlers[:], root.level = before
