"""Acronyms and colours of Allen CCF 2017 ids, and back; the only module that imports ``iblatlas``."""

import logging
from functools import lru_cache

import numpy as np

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # the region table ships with iblatlas; AllenAtlas() would download volumes
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    order = np.argsort(regions.id, kind="stable")
    return regions.id[order], np.asarray(regions.acronym)[order], np.asarray(regions.rgb)[order]


def describe_regions(region_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the acronym and the colour of each Allen id.

    Parameters
    ----------
    region_id : numpy.ndarray, (n_rois,) int
        Allen CCF 2017 ids; negative ids are the right hemisphere, as iblatlas has it.

    Returns
    -------
    acronym : numpy.ndarray, (n_rois,) object
        E.g. "VISp"; "void" for ids the atlas does not know (a log line counts them).
    color : numpy.ndarray, (n_rois,) object
        "#rrggbb".

    Examples
    --------
    >>> acronym, color = describe_regions(np.array([385, -385]))
    >>> acronym.tolist(), color.tolist()
    (['VISp', 'VISp'], ['#08858c', '#08858c'])
    """
    ids, acronyms, rgb = _table()
    where = np.searchsorted(ids, region_id).clip(max=len(ids) - 1)
    known = ids[where] == region_id
    if not known.all():
        strangers = sorted(set(np.asarray(region_id)[~known].tolist()))
        logger.warning("%d ROIs have Allen ids that the atlas does not know (%s): set to void",
                       int((~known).sum()), ", ".join(map(str, strangers[:5])))  # fmt: skip
        where = np.where(known, where, np.searchsorted(ids, 0))
    color = np.array([f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb.astype(int)], dtype=object)
    return acronyms[where].astype(object), color[where]


def ids_of_acronyms(acronym: np.ndarray) -> np.ndarray:
    """Give the Allen id of each acronym.

    Parameters
    ----------
    acronym : numpy.ndarray, (n_rois,) str or object
        Allen CCF 2017 acronyms, in the atlas's capitals.

    Returns
    -------
    region_id : numpy.ndarray, (n_rois,) int64
        As the atlas numbers the left hemisphere, without sign; 0 (void) for acronyms that it does not know (a log line
        counts them).

    Examples
    --------
    >>> ids_of_acronyms(np.array(["VISp", "void", "MOs"])).tolist()
    [385, 0, 993]
    """
    ids, acronyms, _ = _table()
    # both hemispheres have the same acronyms: each stands once for an id and once for its negative
    id_of = {name: value for name, value in zip(acronyms.tolist(), ids.tolist(), strict=True) if value >= 0}
    names = np.asarray(acronym).tolist()
    strangers = [name for name in names if name not in id_of]
    if strangers:
        logger.warning("%d ROIs have acronyms that the atlas does not know (%s): set to void",
                       len(strangers), ", ".join(map(str, sorted(set(strangers))[:5])))  # fmt: skip
    return np.array([id_of.get(name, 0) for name in names], dtype=np.int64)
