"""Settings of an analysis: every default in one place, checked, frozen, and hashed.

What changes a single score is part of the hash that names a run store; what only asks for more of the same (ks,
resamples, shuffles, targets) is not.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mesodask.errors import SettingsError

ALGORITHM_VERSION = 3  # raise it when a change of the code changes any score
NullKind = Literal["permute", "circular", "blockwise", "pseudosession"]
SESSION_TARGETS = ("choice", "feedback", "stimulus", "block")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_in_words(error, type(self))) from None


class Target(_Frozen):
    """What is decoded: the event that its window lies around, and its null.

    Attributes
    ----------
    name : str
        Name of the target; :func:`mesodask.numerics.labels.binary_labels` has its labels.
    event : str
        Column of the trials table.
    window : (float, float)
        Start and end of the window relative to the event, s.
    null : str
        Kind of null labels.
    """

    name: str
    event: str
    window: tuple[float, float]
    null: NullKind

    @field_validator("window")
    @classmethod
    def _ends_after_it_starts(cls, window: tuple[float, float]) -> tuple[float, float]:
        if not window[0] < window[1]:
            raise ValueError(f"the window {window} ends before it starts")
        return window

    def definition(self) -> str:
        """Eight hex digits that change when the event or the window do."""
        return short_hash([self.name, self.event, list(self.window)])


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(name="choice", event="firstMovement_times", window=(-0.10, 0.0), null="circular"),
        Target(name="feedback", event="feedback_times", window=(0.0, 0.20), null="circular"),
        Target(name="stimulus", event="stimOn_times", window=(0.0, 0.10), null="circular"),
        Target(name="block", event="stimOn_times", window=(-0.40, -0.10), null="pseudosession"),
    )
}

PositiveInt = Annotated[int, Field(ge=1)]


class NdcSettings(_Frozen):
    """Settings of neuron-dropping curves.

    Attributes
    ----------
    targets : tuple of str
        Which of choice, feedback, stimulus, block are decoded.
    ks : tuple of int
        Numbers of neurons; those above the number of shared neurons are left out and that number itself is added.
    R : int
        Number of resamples: random subsets of neurons, each with folds of its own.
    n_label_shuffles : int
        Number of null label vectors; 0 for no null.
    shuffle_resamples : int or None
        The null is evaluated on the first so many resamples alone; None for all of them.
    null : str or None
        Kind of null for all targets; None takes each target's own.
    metric : {"auc", "accuracy"}
        Area under the ROC curve, or balanced accuracy.
    cv_splits : int
        Number of folds.
    folds : {"shuffled", "contiguous"}
        Stratified and shuffled, or blocks of consecutive trials.
    gap : int
        Trials left out around a contiguous test block.
    C : float
        Inverse strength of the L2 penalty.
    sampling : {"hold", "frames"}
        How a window is averaged (see :func:`mesodask.numerics.windows.windowed_means`).
    equalize_trials : bool
        Same number of trials in all sessions of a target.
    min_per_class : int
        Sessions with fewer trials of a class are skipped.
    delta : float
        k* is the smallest k whose mean score is within delta of the ceiling.
    seed : int
        Key of all random draws.

    Examples
    --------
    >>> NdcSettings(R=10).ks[:3]
    (8, 16, 32)
    >>> NdcSettings(targets=("choise",))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mesodask.errors.SettingsError: targets: 'choise' is no target; did you mean 'choice'? (choice, ...
    """

    targets: tuple[str, ...] = SESSION_TARGETS
    ks: tuple[PositiveInt, ...] = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    R: PositiveInt = 50
    n_label_shuffles: Annotated[int, Field(ge=0)] = 100
    shuffle_resamples: PositiveInt | None = None
    null: NullKind | None = None
    metric: Literal["auc", "accuracy"] = "auc"
    cv_splits: Annotated[int, Field(ge=2)] = 5
    folds: Literal["shuffled", "contiguous"] = "shuffled"
    gap: Annotated[int, Field(ge=0)] = 0
    C: Annotated[float, Field(gt=0)] = 1.0
    sampling: Literal["hold", "frames"] = "hold"
    equalize_trials: bool = True
    min_per_class: Annotated[int, Field(ge=2)] = 10
    delta: Annotated[float, Field(ge=0, lt=1)] = 0.02
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("targets", mode="before")
    @classmethod
    def _known_targets(cls, targets: str | Sequence[str]) -> tuple[str, ...]:
        names = (targets,) if isinstance(targets, str) else tuple(targets)
        for name in names:
            if name not in TARGETS:
                raise ValueError(f"{name!r} is no target{_nearest(name, TARGETS)} ({', '.join(TARGETS)})")
        if not names:
            raise ValueError(f"no target; choose from {', '.join(TARGETS)}")
        return tuple(name for name in TARGETS if name in names)

    @field_validator("ks")
    @classmethod
    def _ascending(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks:
            raise ValueError("no number of neurons")
        return tuple(sorted(set(ks)))

    @model_validator(mode="after")
    def _blockwise_keeps_blocks(self) -> "NdcSettings":
        if self.null == "blockwise" and "block" in self.targets:
            raise ValueError("null 'blockwise' keeps every block's labels and cannot be a null for target 'block'")
        return self

    def null_of(self, target: str) -> NullKind:
        """Kind of null labels of a target."""
        return self.null or TARGETS[target].null

    @property
    def null_resamples(self) -> int:
        """Number of resamples on which the null is evaluated."""
        return self.R if self.shuffle_resamples is None else min(self.R, self.shuffle_resamples)

    def definition(self, target: str) -> str:
        """Eight hex digits that change when the definition of a target does."""
        return TARGETS[target].definition()

    def score_identity(self) -> dict[str, Any]:
        """Give all settings that change a single score."""
        more_of_the_same = {"targets", "ks", "R", "n_label_shuffles", "shuffle_resamples", "delta"}
        return self.model_dump(exclude=more_of_the_same) | {"algorithm": ALGORITHM_VERSION}


class PopulationSettings(NdcSettings):
    """Settings of curves of populations that did not come from ALF: one target, of any name, and no trials table.

    Examples
    --------
    >>> PopulationSettings(targets="odour").null_of("odour")
    'circular'
    """

    targets: tuple[str, ...] = ("labels",)
    null: NullKind = "circular"

    @field_validator("targets", mode="before")
    @classmethod
    def _known_targets(cls, targets: str | Sequence[str]) -> tuple[str, ...]:
        return (targets,) if isinstance(targets, str) else tuple(targets)

    @model_validator(mode="after")
    def _no_task(self) -> "PopulationSettings":
        if self.null == "pseudosession":
            raise ValueError(
                "null 'pseudosession' simulates sessions of the IBL task, which features= knows nothing of; "
                "take circular, permute or blockwise"
            )
        return self

    def definition(self, target: str) -> str:
        """Eight hex digits that change when the definition of a target does."""
        return short_hash(["features", target])


def resolve_settings(settings: NdcSettings | None, options: Mapping[str, Any]) -> NdcSettings:
    """Take settings as one object or by name, not both.

    Examples
    --------
    >>> resolve_settings(None, {"R": 10}) == resolve_settings(NdcSettings(R=10), {})
    True
    """
    if settings is not None and options:
        raise SettingsError(f"both settings= and {', '.join(options)} are given; give all settings in one way")
    return settings or NdcSettings(**options)


def short_hash(content: Any) -> str:
    """Eight hex digits of the blake2b hash of a JSON-able value.

    Examples
    --------
    >>> short_hash({"b": 1, "a": [2.0]}) == short_hash({"a": [2.0], "b": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=4).hexdigest()


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """Say every fault of a settings object in one line each."""
    lines = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = list(model.model_fields)
            lines.append(f"{key}: no such setting{_nearest(key, known)} (there are {', '.join(known)})")
            continue
        message = fault["msg"].removeprefix("Value error, ")
        found = "" if fault["type"] == "value_error" else f", found {_short(fault['input'])}"
        lines.append(f"{key}: {message}{found}" if key else message)
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
