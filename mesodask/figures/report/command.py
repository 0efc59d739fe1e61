"""How to do a run again: the line for a shell and the call in Python that give a run of the same name."""

import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesodask.io import cache
from mesodask.io.crossstore import CrossSessionStore
from mesodask.io.folders import expanded
from mesodask.io.runbase import RunBase
from mesodask.io.runstore import RunStore
from mesodask.selection import GIVEN_BY_ARRAYS
from mesodask.settings import CrossSessionSettings, NdcSettings, RunSettings
from mesodask.summary import settings_order

# options that are not called like their setting
OPTION_NAMES = {"R": "--resamples", "n_label_shuffles": "--shuffles", "n_shuffle": "--shuffles"}
OPTIONS_OFF = {"use_elasticnet": "--no-elasticnet"}
ONE_TABLES = "sessions.pqt"
LONGEST_LINE = 90


@dataclass(frozen=True)
class Kind:
    """A kind of run, as it is asked for: command, function, its first argument, and its settings."""

    command: str
    function: str
    first: str
    settings: type[RunSettings]


KINDS = {
    "neuron_dropping_curves": Kind("ndc", "neuron_dropping_curves", "eids", NdcSettings),
    "cross_session": Kind("cross-session", "cross_session", "subject", CrossSessionSettings),
}


@dataclass(frozen=True)
class Recipe:
    """How to do a run again.

    Attributes
    ----------
    command : str
        For a shell; empty where a command line cannot say it.
    python : str
        A script.
    remarks : list of str
        What the reader has to fill in, or to know.
    """

    command: str
    python: str
    remarks: list[str]


def recipe(store: RunBase[Any], one: str | Path | None = None, roicat_root: str | Path | None = None) -> Recipe:
    """Tell how to do a run again, from its store alone.

    Parameters
    ----------
    store : RunStore or CrossSessionStore
        The run.
    one, roicat_root : path-like, optional
        Folders to be named in it. Without `one`, the folder that holds the default cache the run lies in.
    """
    tracked, attrs = store.tracked(), store.attrs
    kind = KINDS[attrs["kind"]]
    settings = {name: value for name, value in held_settings(store).items() if value not in (None, {})}
    eids = tracked["session"].values.tolist()
    places = _places(store.path, one, roicat_root)
    by_hand = _by_hand(store, attrs, eids)
    if "neurons_only" not in tracked.attrs:
        by_hand["features"] = f"the populations {', '.join(eids)}, as a mapping of name to dataset"
        places.pop("one", None)
        settings.pop("targets")
        script = _script(kind.function, dict.fromkeys(by_hand, _Code("...")) | places | settings)
        return Recipe("", script, _to_fill_in(by_hand))
    how, remarks = _narrowing(tracked.attrs)
    if how.get("neurons") == GIVEN_BY_ARRAYS:
        by_hand["neurons"] = "its neurons were given as masks or rows"
        del how["neurons"]
    if "decoder" in by_hand:  # which takes the place of some settings, that must not be named beside it
        defaults = kind.settings().model_dump(mode="json")
        settings = {name: value for name, value in settings.items() if value != defaults[name]}
    script = _script(kind.function, {kind.first: eids} | places | how | dict.fromkeys(by_hand, _Code("...")) | settings)
    remarks += _to_fill_in(by_hand)
    if "one" not in places:
        remarks.append("Add the folder of your ONE tables as one (--one) if it is not your default ONE.")
    if "roicat_root" not in places and len(eids) > 1:
        remarks.append("Add the folder of your ROICaT tree as roicat_root (--roicat-root) if it is not ~/chronic_csv.")
    return Recipe("" if by_hand else _command(kind.command, eids, places, how, settings), script, remarks)


def held_settings(store: RunBase[Any]) -> dict[str, Any]:
    """Give the settings that a run's scores are of: of more than one call, all that they asked for together."""
    settings, targets = dict(store.attrs["settings"]), settings_order(store.targets())
    settings["targets"] = targets or settings["targets"]
    if isinstance(store, CrossSessionStore):
        settings["n_shuffle"] = max((store.target(name).n_shuffles for name in targets), default=settings["n_shuffle"])
    elif isinstance(store, RunStore) and targets:
        ks, resamples, shuffles = zip(*(store.extent(name) for name in targets), strict=True)
        n_shared = store.tracked().sizes["neuron"]  # is always among them, asked for or not
        with_null = max(store.null_resamples(name) for name in targets)
        settings["ks"] = sorted({*settings["ks"]} | ({*itertools.chain(*ks)} - {n_shared}))
        settings["R"], settings["n_label_shuffles"] = max(resamples), max(shuffles)
        settings["shuffle_resamples"] = with_null if 0 < with_null < settings["R"] else None
    return settings


def _places(run: Path, one: str | Path | None, roicat_root: str | Path | None) -> dict[str, str]:
    """Folders that a run is computed from and goes to; the cache folder is left out where it is ONE's own."""
    folder = cache.folder_of_run(run)
    if one is None and folder is not None and folder.name == "meso" and (folder.parent / ONE_TABLES).exists():
        one = folder.parent
    places = {} if one is None else {"one": str(expanded(one).absolute())}
    if folder is not None and (one is None or folder != Path(places["one"]) / "meso"):
        places["cache_dir"] = str(folder)
    if roicat_root is not None:
        places["roicat_root"] = str(expanded(roicat_root).absolute())
    return places


def _narrowing(attrs: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    how = {} if attrs["neurons_only"] else {"neurons_only": False}
    if "neurons" not in attrs:
        return how, ["The store does not tell whether neurons= was given; if so, give it again."]
    return how | ({"neurons": attrs["neurons"]} if attrs["neurons"] else {}), []


def _by_hand(store: RunBase[Any], attrs: Mapping[str, Any], eids: list[str]) -> dict[str, str]:
    """Arguments that a store knows of and does not hold, each with the reason for which it knows."""
    found = {}
    dropped = (store.feature_attributes(target, eid).get("dropped", {}) for target in store.targets() for eid in eids)
    if any("trial_mask" in reasons for reasons in dropped):
        found["trial_mask"] = "trials were left out by masks"
    if attrs.get("decoder"):
        found["decoder"] = "it was decoded by a classifier of your own"
    return found


def _to_fill_in(by_hand: Mapping[str, str]) -> list[str]:
    return [f"Fill in {name}=: {why}. A command line cannot say it." for name, why in by_hand.items()]


def _command(
    command: str, eids: list[str], places: dict[str, str], how: dict[str, Any], settings: dict[str, Any]
) -> str:
    lines = [" ".join([f"mesodask {command}", *eids[:1]]), *eids[1:]]
    lines += [f"--{name.replace('_', '-')} {shlex.quote(place)}" for name, place in places.items()]
    if "neurons_only" in how:
        lines.append("--all-rois")
    if "neurons" in how:
        lines.append(f"--neurons {shlex.quote(how['neurons'])}")
    lines += [_option(name, value) for name, value in settings.items()]
    return " \\\n    ".join(lines)


def _option(name: str, value: Any) -> str:
    """Write a setting as an option.

    Examples
    --------
    >>> _option("ks", [8, 16]), _option("equalize_trials", False), _option("R", 50)
    ('--ks 8,16', '--no-equalize-trials', '--resamples 50')
    """
    flag = OPTION_NAMES.get(name, f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return flag if value else OPTIONS_OFF.get(name, flag.replace("--", "--no-", 1))
    return f"{flag} {shlex.quote(_text(value))}"


def _text(value: Any) -> str:
    """Write what an option takes.

    Examples
    --------
    >>> _text({"choice": [-0.2, 0.0], "block": [-0.4, 0.0]})
    'choice=-0.2:0.0,block=-0.4:0.0'
    """
    if isinstance(value, dict):
        parts = {name: one if isinstance(one, str) else ":".join(map(str, one)) for name, one in value.items()}
        return ",".join(f"{name}={part}" for name, part in parts.items())
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


class _Code(str):
    """Text that stands in a script as it is."""

    def __repr__(self) -> str:
        return str(self)


def _script(function: str, arguments: Mapping[str, Any]) -> str:
    if "neurons" in arguments and not isinstance(arguments["neurons"], _Code):
        arguments = {**arguments, "neurons": arguments["neurons"].split(",")}
    given = "".join(f"        {name}={_literal(value)},\n" for name, value in arguments.items())
    return (
        f"from mesodask import {function}\n\n"
        'if __name__ == "__main__":  # the workers are processes, which import this file\n'
        f"    run = {function}(\n{given}    )\n"
    )


def _literal(value: Any) -> str:
    """Write a value as Python does, names of sessions in lines of their own."""
    if isinstance(value, list) and len(repr(value)) > LONGEST_LINE:
        return "[\n" + "".join(f"            {part!r},\n" for part in value) + "        ]"
    return repr(value)
