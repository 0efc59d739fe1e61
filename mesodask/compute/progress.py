"""A sign for whoever started this process that it has stored something."""

import functools
import os
from pathlib import Path

VARIABLE = "MESODASK_PROGRESS_FILE"


@functools.cache  # once is enough, and costs the driver nothing after that
def note_progress() -> None:
    """Make the file that the environment names, if it names one.

    A run that a chain of batch jobs computes goes on as long as each of them stores something
    (:func:`mesodask.compute.batch.drive`).
    """
    file = os.environ.get(VARIABLE)
    if file:
        Path(file).touch()
