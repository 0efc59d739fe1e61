"""What is used of dask-jobqueue, imported so that Ctrl-C stays what it was.

Its module ``runner``, which comes with any import of it, would make Ctrl-C a quiet exit with status 0 in the whole
program, and cannot be imported outside the main thread for that reason.
"""

import signal
from unittest import mock

with mock.patch.object(signal, "signal"):
    from dask_jobqueue import SLURMCluster
    from dask_jobqueue.config import reconfigure
    from dask_jobqueue.slurm import SLURMJob

__all__ = ["SLURMCluster", "SLURMJob", "reconfigure"]
