"""What is asked for by name: the targets of the IBL task, and the kinds of null labels."""

from typing import Literal, get_args

from mesodask.errors import SettingsError, nearest, short

TargetName = Literal["choice", "feedback", "stimulus", "block"]
NullKind = Literal["permute", "circular", "blockwise", "pseudosession"]


def check_target(name: str) -> TargetName:
    """Check that a target is one of the four of the IBL task, and give its name back.

    Raises
    ------
    SettingsError
        There is no such target.

    Examples
    --------
    >>> check_target("block")
    'block'
    """
    known = get_args(TargetName)
    for target in known:
        if name == target:
            return target
    raise SettingsError(f"{short(name)} is no target{nearest(str(name), known)} ({', '.join(known)})")
