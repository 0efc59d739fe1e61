"""What is decoded: the targets of the IBL task, each with the event its window lies around, and its null."""

from collections.abc import Mapping
from typing import get_args

from pydantic import field_validator

from mesodask.checked import Checked, short_hash
from mesodask.numerics.kinds import NullKind, TargetName

Window = tuple[float, float]
SESSION_TARGETS: tuple[str, ...] = get_args(TargetName)


def checked_window(window: Window) -> Window:
    """Give a window back as it is.

    Raises
    ------
    ValueError
        It ends before it starts.

    Examples
    --------
    >>> checked_window((-0.1, 0.0))
    (-0.1, 0.0)
    """
    if not window[0] < window[1]:
        raise ValueError(
            f"the window {window} ends before it starts; expected start and end relative to the event in s, the start "
            "below the end"
        )
    return window


class Target(Checked):
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
    window: Window
    null: NullKind

    @field_validator("window")
    @classmethod
    def _ends_after_it_starts(cls, window: Window) -> Window:
        return checked_window(window)

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
