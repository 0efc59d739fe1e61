"""What a run would cost, in words; and what is known of workers and stores of every kind of run."""

from dataclasses import dataclass

WORKER_BYTES = 350e6  # a worker with everything imported (benchmarks/bench_ndc.py), before it has read features
COPIES = 3  # of the features that are at work: as they are read, a subset, and that subset standardised
FILES_PER_FEATURES, FILES_PER_TARGET, FILES_PER_RUN = 11, 20, 20  # metadata and small arrays
FEATURES_COMPRESSED = 0.6  # of decoded trials; of deconvolved activity many values are the same
HOURS_TO_WAIT = 1.0  # as many workers are suggested as bring the run to its end in about this time


@dataclass(frozen=True)
class RunCost:
    """What a run would cost.

    Attributes
    ----------
    n_scores, n_tasks : int
        Scores that are missing, the null's among them, and the tasks that compute them.
    core_seconds : float
        Time of one core for all of them, on this machine.
    worker_bytes : float
        Memory of a worker.
    store_bytes : float
        Size of the stores when they are finished.
    store_files : int
        Number of their files.
    n_workers : int
        Suggested number of workers.
    notes : tuple of str
        What the numbers rest on.

    Examples
    --------
    >>> print(RunCost(5050, 12, 7200.0, 3e8, 2e6, 140, 2, ("timed here",)))
    5 050 scores in 12 tasks of 600 s
    core hours          2.0
    workers suggested   2, for 1.0 h
    memory of a worker  0.3 GB
    store               2 MB in 140 files
    timed here
    """

    n_scores: int
    n_tasks: int
    core_seconds: float
    worker_bytes: float
    store_bytes: float
    store_files: int
    n_workers: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.n_scores:
            return "\n".join(["nothing to compute: all scores are stored", *self.notes])
        hours = self.core_seconds / 3600
        mean = f" of {self.core_seconds / self.n_tasks:.3g} s" if self.n_tasks else ""
        return "\n".join(
            [
                f"{self.n_scores:,} scores in {self.n_tasks:,} tasks{mean}".replace(",", " "),
                f"core hours          {hours:,.1f}".replace(",", " ") if hours >= 0.1
                else f"core minutes        {60 * hours:.1f}",
                f"workers suggested   {self.n_workers}, for {_duration(self.core_seconds / self.n_workers)}",
                f"memory of a worker  {self.worker_bytes / 1e9:.1f} GB",
                f"store               {_size(self.store_bytes)} in {self.store_files:,} files".replace(",", " "),
                *self.notes,
            ]
        )  # fmt: skip


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(seconds, 1) / 60:.1f} min"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
