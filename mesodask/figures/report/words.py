"""What a report says in words: what a target is, how it came out, why trials were dropped, what a number means."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from mesodask.numerics.inference import MAX_P
from mesodask.percent import whole_percent
from mesodask.status import RunStatus
from mesodask.summary import METRIC_NAMES, null_claim

NOTHING = "\N{EN DASH}"

# label 1 / label 0
LABELS = {
    "choice": "mouse reports left (1) or right (0)",
    "feedback": "rewarded (1) or not (0)",
    "stimulus": "stimulus on the right (1) or on the left (0)",
    "block": "stimuli on the left in 80 % (1) or in 20 % (0) of the block's trials",
}
NO_LABEL = {
    "choice": "no choice was made",
    "feedback": "no feedback was given",
    "stimulus": "a contrast on neither or both sides",
    "block": "outside the biased blocks",
}
DROPPED = {
    "trial_mask": "left out by trial_mask",
    "no label": "no label",
    "no event": "the event was not found",
    "no usable window": "window outside the recording, or touching a gap",
    "signal not finite": "signal missing in one of the neurons",
}
NOT_SET = {"null": "each target's own", "shuffle_resamples": "all", "windows": "as usual", "events": "as usual"}
GLOSSARY = (
    ("Score", "How well a decoder tells the two labels of a target apart, in trials it was not trained on: "
              "cross-validated {metric}. 0.5 is chance, 1 is without fault."),
    ("Resample", "One random order of the shared neurons, and one set of folds. The first k of the order are decoded "
                 "together, for every k."),
    ("Line and coloured band", "Mean over resamples, and the 95 % interval of single resamples. It shows the spread of "
                               "neurons and folds, not of trials: it is no confidence interval of the mean."),
    ("Null, grey band", "The same neurons and folds with labels that have no tie to them. The band holds 95 % of the "
                        "null's means. circular: the labels, shifted in time; permute: put in random order; "
                        "blockwise: permuted within blocks; pseudosession: whole simulated sessions of the task."),
    ("p", "Share of null means at or above the observed mean, with the observed one counted in: "
          "(1 + shuffles at or above) / (1 + shuffles). With all neurons; \N{LEFT DOUBLE QUOTATION MARK}p "
          "curve\N{RIGHT DOUBLE QUOTATION MARK} is over all numbers of neurons at once."),
    ("q", "p, corrected for the number of sessions and targets that are tested (Benjamini-Hochberg)."),
    ("Ceiling", "Mean score of all neurons that the sessions share."),
    ("k*", "The smallest number of neurons whose mean score is within {delta:g} of the ceiling, with its 95 % interval "
           "by bootstrap over resamples. There is none where p is above {max_p:g}, or while scores are missing."),
)  # fmt: skip


def shown(value: float, form: str) -> str:
    """Format a number, and NaN as a dash.

    Examples
    --------
    >>> shown(0.12345, ".2f"), shown(float("nan"), ".2f") == NOTHING
    ('0.12', True)
    """
    return format(value, form) if np.isfinite(value) else NOTHING


def span(values: np.ndarray, form: str) -> str:
    """Give the range of some numbers.

    Examples
    --------
    >>> span(np.array([0.91, 0.84, np.nan]), ".2f"), span(np.array([16.0, 16.0]), ".0f")
    ('0.84 to 0.91', '16')
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return NOTHING
    low, high = format(there.min(), form), format(there.max(), form)
    return low if low == high else f"{low} to {high}"


def count(n: int, what: str) -> str:
    r"""Count things.

    Examples
    --------
    >>> count(1, "session"), count(3, "session"), count(12000, "score")
    ('1 session', '3 sessions', '12\xa0000 scores')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}".replace(",", "\N{NO-BREAK SPACE}")


def verdict(one: xr.Dataset) -> dict[str, str]:
    """Say how a target came out, from its summary: ``sessions``, ``ceiling`` and ``k_star``."""
    ceiling, q, star = (one[name].values for name in ("ceiling", "q", "k_star"))
    decoded = np.isfinite(ceiling)
    tested = np.isfinite(q)
    if not decoded.any():
        sessions = "Not decoded yet." if (one["status"].values != "skipped").any() else "Every session was skipped."
    elif not one["null_valid"].item():
        sessions = f"Not tested: the null ({one['null_kind'].item()}) is not valid for {one['target'].item()}."
    elif not tested.any():
        sessions = "Not tested: there are no shuffles of all neurons."
    else:
        above, limit = int((q[tested] <= MAX_P).sum()), f"q \u2264 {MAX_P:g}".replace(" ", "\N{NO-BREAK SPACE}")
        sessions = f"Above chance in {above} of {count(int(tested.sum()), 'session')} ({limit})"
    told = span(star, ".0f") if one["null_valid"].item() else NOTHING
    return {"sessions": sessions, "ceiling": span(ceiling, ".2f"), "k_star": told}


def state(status: RunStatus) -> str:
    """Say that a run is not finished, and what follows from it; empty for a finished one."""
    if status.state == "finished":
        return ""
    share = (
        f"{whole_percent(status.done, status.total)}% of {count(status.total, 'score')}" if status.total else "no score"
    )
    what = {
        "running": f"This run is under way: {share} are computed.",
        "stopped": f"This run is not finished: {share} are computed. Call the same analysis again to go on from there.",
        "failed": f"This run has failed in part: {count(status.failed, 'score')} of {status.total} could not be "
        f"computed. The tracebacks are in {status.failures_file.name}.",
    }.get(status.state, "Nothing of this run has been computed.")
    return f"{what} All that follows is of what was stored when this page was written."


def dropped(reasons: dict[str, int], target: str) -> str:
    """Say how many trials were dropped, and why; a trial counts under the first reason that holds.

    Examples
    --------
    >>> dropped({"no label": 90, "no event": 2}, "block")
    '90: outside the biased blocks; 2: the event was not found'
    """
    words = DROPPED | ({"no label": NO_LABEL[target]} if target in NO_LABEL else {})
    return "; ".join(f"{n}: {words.get(reason, reason)}" for reason, n in reasons.items())


def across(table: pd.DataFrame) -> list[str]:
    """Say how to read a cross-session table, and what is known against its nulls."""
    lines = [
        "A decoder that is trained on one session reads the others, from the same neurons. Accuracy is the share of "
        "trials that it gets right; the training session itself is cross-validated and has no p. p is the share of "
        "null accuracies at or above the observed one, with that one counted in."
    ]
    for target, kind in table[["target", "null_kind"]].drop_duplicates().itertuples(index=False):
        valid, note = null_claim(target, kind)
        if note:
            lines.append(f"The null ({kind}) of {target}{'' if valid else ' is not valid'}: {note}.")
    if (table["status"] == "partial").any():
        lines.append("This run across sessions is not finished.")
    return lines


def glossary(metric: str, delta: float) -> list[tuple[str, str]]:
    """Give the words of a report, each with what it means."""
    return [(word, text.format(metric=METRIC_NAMES[metric], delta=delta, max_p=MAX_P)) for word, text in GLOSSARY]


def setting_value(name: str, value: Any) -> str:
    """Write the value of a setting.

    Examples
    --------
    >>> setting_value("ks", [8, 16]), setting_value("equalize_trials", True), setting_value("null", None)
    ('8, 16', 'yes', "each target's own")
    """
    if value is None or value == {}:
        return NOT_SET.get(name, NOTHING)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{target}: {setting_value(name, one)}" for target, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
