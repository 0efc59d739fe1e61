"""How much of something is done, as every page, report and terminal says it."""

import math


def whole_percent(done: float, total: float) -> int:
    """Give a share in whole percent; only what is whole is 100.

    Examples
    --------
    >>> whole_percent(9999, 10000), whole_percent(3, 3), whole_percent(29, 100), whole_percent(0, 0)
    (99, 100, 29, 100)
    """
    return math.floor(100 * done / total) if total else 100
