"""How long SLURM's jobs may run, and how long workers in them should."""

import re

from mesodask.errors import SettingsError

MARGIN = 600  # s at most between the end of a worker and that of its job
UNLIMITED = {"infinite", "unlimited", "partition_limit"}
FORMS = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def seconds_of(walltime: str) -> int | None:
    """Read a time limit as SLURM does: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Returns
    -------
    int, optional
        Seconds; None if there is no limit.

    Raises
    ------
    SettingsError
        It is none.

    Examples
    --------
    >>> seconds_of("30"), seconds_of("04:00:00"), seconds_of("1-12"), seconds_of("90:00")
    (1800, 14400, 129600, 5400)
    """
    text = str(walltime).strip().lower()
    if text in UNLIMITED:
        return None
    found = FORMS.fullmatch(text)
    if found is None:
        raise SettingsError(f"walltime: {walltime!r}; expected e.g. 04:00:00, 1-12:00:00 or 90, in minutes")
    parts = [int(found[name]) for name in ("first", "second", "third") if found[name] is not None]
    days = found["days"]
    # after days hours come first; else minutes do, unless there are three
    units = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
    return int(days or 0) * 86400 + sum(part * unit for part, unit in zip(parts, units, strict=False))


def lifetime(walltime: str | None) -> tuple[int, int] | None:
    """Tell when a worker should end in good order, so that SLURM need not end it.

    A quarter of the walltime, ten minutes at most, is kept for the last task and for handing results over. Workers
    that began together do not end together: they are spread over as long again.

    Returns
    -------
    tuple of int, optional
        Lifetime and stagger (s): each worker draws its own from lifetime - stagger to lifetime + stagger.

    Examples
    --------
    >>> lifetime("04:00:00"), lifetime("1"), lifetime("UNLIMITED")
    ((13500, 300), (37, 7), None)
    """
    limit = None if walltime is None else seconds_of(walltime)
    if limit is None:
        return None
    margin = min(MARGIN, limit // 4)
    return limit - margin - margin // 2 - margin % 2, margin // 2
