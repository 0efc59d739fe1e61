"""Random damage of a simulated subject and of what was made from it: drawn from a seed, told so that it can be fixed.

A case folder holds ``one/`` (ALF files and ONE tables), ``chronic_csv/`` (the ROICaT tree) and ``cache/`` (stores), as
hard links to a template. Whoever damages a file therefore puts another one in its place and never writes into it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from damage_kinds import ANY, FILE, kinds_of

STATES = ("fresh", "embedded", "half", "finished")
AREAS = {"alf": 0.34, "tables": 0.08, "roicat": 0.13, "session store": 0.2, "run store": 0.25}


@dataclass(frozen=True)
class Spec:
    """One damage.

    Attributes
    ----------
    state : str
        How far the analysis had come: one of ``STATES``.
    place : str
        What is damaged, within the case folder and with the names of :class:`Names`.
    kind : str
        How: one of :func:`damage_kinds.kinds_of`.
    seed : int
        Of what is random about it.
    reindex : bool
        Whether the ONE tables are written anew afterwards.
    """

    state: str
    place: str
    kind: str
    seed: int = 0
    reindex: bool = False

    def __str__(self) -> str:
        again = " reindexed" if self.reindex else ""
        return f"{self.state}: {self.kind} {self.place} ({self.seed}){again}"


class Names:
    """Short names for what is called after ids and hashes, so that a damage can be written down.

    Parameters
    ----------
    names : dict of str to str
        Paths within a case folder, by their short names.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def short(self, path: str) -> str:
        for name, long in self._names.items():
            path = path.replace(long, name)
        return path

    def long(self, place: str) -> str:
        for name, path in self._names.items():
            place = place.replace(name, path)
        return place


def draw(seed: int, templates: dict[str, Path], names: Names) -> Spec:
    """Draw a damage.

    Parameters
    ----------
    seed : int
        Number of the case.
    templates : dict of str to pathlib.Path
        The undamaged case folder of each state.
    names : Names
        Short names.
    """
    rng = np.random.default_rng(seed)
    area = str(rng.choice(list(AREAS), p=list(AREAS.values())))
    if area in ("alf", "tables", "roicat"):
        state = str(rng.choice(["fresh", "finished"], p=[0.75, 0.25]))
    else:
        state = str(rng.choice(["embedded", "half", "finished"] if area == "session store" else ["half", "finished"]))
    root = templates[state]
    below = {
        "alf": root / "one", "tables": root / "one", "roicat": root / "chronic_csv",
        "session store": root / "cache" / "data", "run store": root / "cache" / "decoding",
    }[area]  # fmt: skip
    wants_folder = rng.random() < 0.15 and area != "tables"
    there = sorted(p for p in below.rglob("*") if p.is_dir() == wants_folder)
    if area in ("alf", "tables"):
        there = [p for p in there if (p.parent == below and p.is_file()) == (area == "tables")]
    path = there[rng.integers(len(there))]
    kinds = list(kinds_of(path))
    special = [k for k in kinds if k not in ANY and k not in FILE]
    chosen = special if special and rng.random() < 0.5 else kinds
    reindex = area == "alf" and bool(rng.random() < 0.3)
    place = names.short(path.relative_to(root).as_posix())
    return Spec(state, place, chosen[rng.integers(len(chosen))], seed, reindex)


def apply(spec: Spec, root: Path, names: Names) -> list[Path]:
    """Damage a case folder; gives the paths that are no longer what they were."""
    path = root / names.long(spec.place)
    return kinds_of(path)[spec.kind](path, np.random.default_rng(spec.seed))
