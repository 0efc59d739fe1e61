"""``mesodask doctor``: what this machine lacks, and what mends it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers

if TYPE_CHECKING:
    from mesodask.doctor import Check


@click.command()
@options.where
@options.roicat_root
@answers
def doctor(one: Path | None, cache_dir: Path | None, roicat_root: Path | None, answer: Answer) -> None:
    """Look whether this machine is ready, and say how to mend what is not.

    Python and packages, folders, BLAS, SLURM, the dashboard's port, brainbox and ONE's login: each is ok, or has a
    warning or an error and its mend. Writing, renaming and locking are tried in the cache folder. Nothing is asked and
    nothing is left behind. The exit status is 1 if there is an error.

    Example: mesodask doctor --one ~/one
    """
    from mesodask.doctor import check_machine

    checks = check_machine(one, cache_dir, roicat_root)
    counts = Counter(check.status for check in checks)
    answer.say(in_words(checks))
    answer.put(ready=not counts["error"], checks=checks)
    if counts["error"]:
        raise click.ClickException(f"{counts['error']} of {len(checks)} checks failed; each says above what mends it")


def in_words(checks: Sequence["Check"]) -> str:
    """Tell what was found, a line each, with its mend below.

    Examples
    --------
    >>> from mesodask.doctor import Check
    >>> print(in_words([Check("python", "ok", "3.13"), Check("disk", "error", "full", "make space")]))
    ok       python  3.13
    error    disk    full
                     -> make space
    """
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        margin = " " * (9 + width + 2)
        found = f"\n{margin}".join(check.found.splitlines())
        lines.append(f"{check.status:<9}{check.name:<{width}}  {found}")
        if check.mend:
            lines.append(f"{margin}-> {check.mend}")
    return "\n".join(lines)
