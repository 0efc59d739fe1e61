"""Settings of an analysis: every default in one place, checked, frozen, and hashed.

What changes a single score is part of the hash that names a run store; what only asks for more of the same (ks,
resamples, shuffles, targets) is not.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from mesodask.checked import Checked, short_hash
from mesodask.errors import SettingsError
from mesodask.numerics.kinds import NullKind, check_target
from mesodask.targets import SESSION_TARGETS, TARGETS, Target, Window, checked_window

ALGORITHM_VERSION = 3  # raise it when a change of the code changes any score
REDEFINITIONS = {"windows", "events"}  # settings that give targets other definitions

MIN_TRIALS = 400  # of a session that is chosen from a subject's

PositiveInt = Annotated[int, Field(ge=1)]
MIN_DIMENSIONS = 2  # that a population is reduced to


class RunSettings(Checked):
    """Settings that every kind of run has: what is decoded, from which trials, against which null.

    Attributes
    ----------
    targets : tuple of str
        Which of choice, feedback, stimulus, block are decoded.
    windows : dict of str to (float, float)
        Other windows for some targets, by name: start and end relative to the target's event, s.
    events : dict of str to str
        Other events for some targets, by name: a column of the trials table in s, such as ``stimOn_times``.
    null : str or None
        Kind of null for all targets; None takes each target's own.
    sampling : {"hold", "frames"}
        How a window is averaged (see :func:`mesodask.numerics.windows.windowed_means`).
    equalize_trials : bool
        Same number of trials in all sessions of a target.
    min_per_class : int
        Sessions with fewer trials of a class are skipped.
    seed : int
        Key of all random draws.
    """

    more_of_the_same: ClassVar[set[str]] = {"targets"}  # settings that change no single score

    targets: tuple[str, ...] = SESSION_TARGETS
    windows: dict[str, Window] = Field(default_factory=dict)
    events: dict[str, str] = Field(default_factory=dict)
    null: NullKind | None = None
    sampling: Literal["hold", "frames"] = "hold"
    equalize_trials: bool = True
    min_per_class: Annotated[int, Field(ge=2)] = 10
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("targets", mode="before")
    @classmethod
    def _one_is_a_list(cls, targets: Any) -> Any:
        return (targets,) if isinstance(targets, str) else targets

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for name in targets:
            check_target(name)
        if not targets:
            raise ValueError(f"no target; choose from {', '.join(TARGETS)}")
        return tuple(name for name in TARGETS if name in targets)

    @field_validator("windows", "events")
    @classmethod
    def _of_known_targets(cls, by_target: dict[str, Any]) -> dict[str, Any]:
        for name in by_target:
            check_target(name)
        return by_target

    @field_validator("windows")
    @classmethod
    def _end_after_they_start(cls, windows: dict[str, Window]) -> dict[str, Window]:
        return {name: checked_window(window) for name, window in windows.items()}

    @model_validator(mode="after")
    def _blockwise_keeps_blocks(self) -> Self:
        if self.null == "blockwise" and "block" in self.targets:
            raise ValueError("null 'blockwise' keeps every block's labels and cannot be a null for target 'block'")
        return self

    @property
    def n_null_labels(self) -> int:
        """Number of null label vectors of a session that are asked for."""
        raise NotImplementedError

    @property
    def null_folds(self) -> int:
        """Number of folds, stratified and shuffled, in which simulated labels must hold both classes; 0 for none."""
        return 0

    def null_of(self, target: str) -> NullKind:
        """Kind of null labels of a target."""
        return self.null or TARGETS[target].null

    def target(self, name: str) -> Target:
        """Give a target with the event and the window that it has here.

        Examples
        --------
        >>> RunSettings(windows={"choice": (-0.2, 0.0)}).target("choice").window
        (-0.2, 0.0)
        """
        usual = TARGETS[name]
        event, window = self.events.get(name, usual.event), self.windows.get(name, usual.window)
        return Target(name=name, event=event, window=window, null=usual.null)

    def definition(self, target: str) -> str:
        """Eight hex digits that change when the definition of a target does."""
        return self.target(target).definition()

    def score_identity(self) -> dict[str, Any]:
        """Give all settings that change a single score; a target leaves its mark if it is not defined as usual."""
        identity = self.model_dump(exclude=self.more_of_the_same | REDEFINITIONS) | {"algorithm": ALGORITHM_VERSION}
        redefined = {name: self.definition(name) for name in TARGETS if self.target(name) != TARGETS[name]}
        return identity | ({"definitions": redefined} if redefined else {})


class NdcSettings(RunSettings):
    """Settings of neuron-dropping curves.

    Attributes
    ----------
    ks : tuple of int
        Numbers of neurons; those above the number of shared neurons are left out and that number itself is added.
    R : int
        Number of resamples: random subsets of neurons, each with folds of its own.
    n_label_shuffles : int
        Number of null label vectors; 0 for no null.
    shuffle_resamples : int or None
        The null is evaluated on the first so many resamples alone; None for all of them.
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
    delta : float
        k* is the smallest k whose mean score is within delta of the ceiling.

    Notes
    -----
    Those of :class:`RunSettings` stand beside them.

    Examples
    --------
    >>> NdcSettings(R=10).ks[:3]
    (8, 16, 32)
    >>> NdcSettings(targets=("choise",))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mesodask.errors.SettingsError: targets: 'choise' is no target; did you mean 'choice'? (choice, ...
    """

    more_of_the_same: ClassVar[set[str]] = {"targets", "ks", "R", "n_label_shuffles", "shuffle_resamples", "delta"}

    ks: tuple[PositiveInt, ...] = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    R: PositiveInt = 50
    n_label_shuffles: Annotated[int, Field(ge=0)] = 100
    shuffle_resamples: PositiveInt | None = None
    metric: Literal["auc", "accuracy"] = "auc"
    cv_splits: Annotated[int, Field(ge=2)] = 5
    folds: Literal["shuffled", "contiguous"] = "shuffled"
    gap: Annotated[int, Field(ge=0)] = 0
    C: Annotated[float, Field(gt=0)] = 1.0
    delta: Annotated[float, Field(ge=0, lt=1)] = 0.02

    @field_validator("ks")
    @classmethod
    def _ascending(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks:
            raise ValueError("no number of neurons")
        return tuple(sorted(set(ks)))

    @model_validator(mode="after")
    def _gap_of_contiguous_folds(self) -> Self:
        if self.gap and self.folds == "shuffled":
            raise ValueError(f"gap is {self.gap} with folds='shuffled'; a gap needs folds='contiguous'")
        return self

    @property
    def n_null_labels(self) -> int:
        """Number of null label vectors of a session that are asked for."""
        return self.n_label_shuffles

    @property
    def null_folds(self) -> int:
        """Number of folds in which simulated labels must hold both classes.

        None of contiguous ones: blocks of trials in time often hold one class, in the data too, and asking more of the
        null than of the data makes it another population, with 15 to 32 % false positives
        (``benchmarks/bench_calibration.py``).
        """
        return self.cv_splits if self.folds == "shuffled" else 0

    @property
    def null_resamples(self) -> int:
        """Number of resamples on which the null is evaluated."""
        return self.R if self.shuffle_resamples is None else min(self.R, self.shuffle_resamples)


class PopulationSettings(NdcSettings):
    """Settings of curves of populations that did not come from ALF: one target, of any name, and no trials table.

    Examples
    --------
    >>> PopulationSettings(targets="odour").null_of("odour")
    'circular'
    """

    targets: tuple[str, ...] = ("labels",)
    null: NullKind = "circular"

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return targets

    @model_validator(mode="after")
    def _no_task(self) -> "PopulationSettings":
        if self.windows or self.events:
            raise ValueError(
                "windows and events are of ALF sessions; features= brings values that are averaged already"
            )
        if self.null == "pseudosession":
            raise ValueError(
                "null 'pseudosession' simulates sessions of the IBL task, which features= knows nothing of; "
                "take circular, permute or blockwise"
            )
        return self

    def definition(self, target: str) -> str:
        """Eight hex digits that change when the definition of a target does."""
        return short_hash(["features", target])


class CrossSessionSettings(RunSettings):
    """Settings of decoders that are trained on one session and tested on others.

    Attributes
    ----------
    train_on : {"first", "each"}
        Train on the first session, or on each of them: the whole matrix of generalisation.
    transfer : {"median_fold", "refit"}
        What is carried to the other sessions: the model of the outer fold whose accuracy is the median, or one that is
        fitted to the whole training session.
    reduction : {"none", "pca", "selectk"}
        What stands between scaler and classifier: nothing, principal components, or the neurons of the largest ANOVA F.
    dim_k : int
        Components, or neurons selected, at most.
    use_elasticnet : bool
        Search `l1_ratio`, too; the penalty is L2 alone otherwise.
    C : tuple of float
        The grid: inverse strengths of the penalty.
    l1_ratio : tuple of float
        The grid: shares of L1 in the penalty, if it is searched.
    outer_cv : int
        Folds of the training session.
    inner_cv : int
        Folds, within each of the outer ones, in which the grid is searched.
    max_iter : int
        Iterations of a fit, at most.
    n_shuffle : int
        Number of null label vectors; 0 for no null.
    null_labels : {"test", "train"}
        Whose labels the null replaces: those of a test session, while the predictions stay as they are; or those of the
        training session, carried through grid, folds and transfer, many times as costly.
    min_sessions : int
        Fewest sessions.
    min_k_shared : int
        Fewest neurons that all sessions share.

    Notes
    -----
    Those of :class:`RunSettings` stand beside them.

    Examples
    --------
    >>> CrossSessionSettings().C
    (0.03, 0.3, 1.0)
    >>> CrossSessionSettings(dim_k=1)
    Traceback (most recent call last):
    mesodask.errors.SettingsError: dim_k: a population is reduced to at least 2 dimensions, found 1
    """

    more_of_the_same: ClassVar[set[str]] = {"targets", "n_shuffle", "min_sessions", "min_k_shared"}

    train_on: Literal["first", "each"] = "first"
    transfer: Literal["median_fold", "refit"] = "median_fold"
    reduction: Literal["none", "pca", "selectk"] = "pca"
    dim_k: int = 128
    use_elasticnet: bool = False
    C: tuple[Annotated[float, Field(gt=0)], ...] = (0.03, 0.3, 1.0)
    l1_ratio: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.5)
    outer_cv: Annotated[int, Field(ge=2)] = 3
    inner_cv: Annotated[int, Field(ge=2)] = 3
    max_iter: PositiveInt = 2000
    n_shuffle: Annotated[int, Field(ge=0)] = 50
    null_labels: Literal["test", "train"] = "test"
    min_sessions: Annotated[int, Field(ge=2)] = 4
    min_k_shared: PositiveInt = 500

    @field_validator("dim_k")
    @classmethod
    def _dimensions(cls, dim_k: int) -> int:
        if dim_k < MIN_DIMENSIONS:
            raise ValueError(f"a population is reduced to at least {MIN_DIMENSIONS} dimensions, found {dim_k}")
        return dim_k

    @field_validator("C", "l1_ratio")
    @classmethod
    def _grid(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values:
            raise ValueError("no value to search")
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _trials_for_folds(self) -> Self:
        needed = 2 * self.outer_cv
        while needed - -(-needed // self.outer_cv) < self.inner_cv:  # what the largest outer fold leaves to train on
            needed += 1
        if self.min_per_class < needed:
            raise ValueError(
                f"min_per_class is {self.min_per_class}, too few for outer_cv={self.outer_cv} with "
                f"inner_cv={self.inner_cv} folds inside each; expected at least {needed}"
            )
        return self

    @property
    def n_null_labels(self) -> int:
        """Number of null label vectors of a session that are asked for."""
        return self.n_shuffle

    @property
    def null_folds(self) -> int:
        """Number of folds in which simulated labels must hold both classes: the outer ones, if they are trained on."""
        return self.outer_cv if self.null_labels == "train" else 0

    def score_identity(self) -> dict[str, Any]:
        """Give all settings that change a single score."""
        unused = {name for name, used in (("l1_ratio", self.use_elasticnet), ("dim_k", self.reduction != "none"))
                  if not used}  # fmt: skip
        return {name: value for name, value in super().score_identity().items() if name not in unused}


S = TypeVar("S", bound=RunSettings)


def resolve_settings(settings: S | None, options: Mapping[str, Any], kind: type[S]) -> S:
    """Take settings as one object or by name, not both.

    Examples
    --------
    >>> resolve_settings(None, {"R": 10}, NdcSettings) == resolve_settings(NdcSettings(R=10), {}, NdcSettings)
    True
    """
    if settings is not None and options:
        raise SettingsError(f"both settings= and {', '.join(options)} are given; give all settings in one way")
    return settings or kind(**options)
