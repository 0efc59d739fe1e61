"""What a driver tells the live page of its runs, as they go on (:mod:`mesodask.compute.live_runs` has the format).

The driver only notes which points of which curves have changed. A thread of its own reads these from the stores, where
an earlier part of the run stands as well, and sends them, at most about once a second and in a small part of the time:
neither the driver nor the scheduler does more for a larger run. Whatever goes wrong here ends the telling, not the run.
"""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from mesodask.runs.events.feed import Asked, Feed

if TYPE_CHECKING:
    from distributed import Client

    from mesodask.compute.runner import Failure, Task

logger = logging.getLogger(__name__)
P = ParamSpec("P")

EVERY = 1.0  # s between two events of a run
READING = 0.1  # s of reading stores at a time
SHARE = 0.1  # of the driver's time that reading stores may take
AT_THE_END = 5.0  # s for all that is still to be said
TRIES = 3  # events that are not taken, one after the other, until no more are sent


@contextlib.contextmanager
def telling(client: "Client", shares: Sequence[Asked], missing: Sequence[int]) -> Iterator["Teller"]:
    """Tell the live page of a client's scheduler of some runs while the block goes on.

    Parameters
    ----------
    client : distributed.Client
        The page is put onto its scheduler, if it is not there yet.
    shares : sequence
        What is asked for, of all runs of a plan.
    missing : sequence of int
        How many scores of each are missing.

    Yields
    ------
    Teller
        To be told of every task.
    """
    teller = Teller(client, shares, missing)
    how = "stopped"
    try:
        yield teller
        how = "finished"
    finally:
        teller.close(how)


def _harmless(
    method: "Callable[Concatenate[Teller, P], None]",
) -> "Callable[Concatenate[Teller, P], None]":
    """Let a method that fails end the telling, and nothing else."""

    @functools.wraps(method)
    def guarded(self: "Teller", *args: P.args, **kwargs: P.kwargs) -> None:
        if self.is_on:
            try:
                method(self, *args, **kwargs)
            except Exception:
                self.is_on = False
                logger.warning("the live page is not told any more; the run goes on", exc_info=True)

    return guarded


class Teller:
    """Notes what becomes of tasks, and sends it; no method of it raises.

    Parameters
    ----------
    client, shares, missing
        As for :func:`telling`.

    Attributes
    ----------
    is_on : bool
        Whether anybody is told.
    """

    def __init__(self, client: "Client", shares: Sequence[Asked], missing: Sequence[int]) -> None:
        self.is_on = True
        self._client = client
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._refused = 0
        self._feeds: dict[str, Feed] = {}
        self._thread = threading.Thread(target=self._send_all, name="live page", daemon=True)
        self._how = "stopped"
        self._begin(shares, missing)

    @_harmless
    def _begin(self, shares: Sequence[Asked], missing: Sequence[int]) -> None:
        from mesodask.compute import dashboard

        if dashboard.install(self._client) is None:
            self.is_on = False
            return
        of_run: dict[str, list[tuple[Asked, int]]] = {}
        for share, n_missing in zip(shares, missing, strict=True):
            of_run.setdefault(str(share.run.store.path), []).append((share, n_missing))
        self._feeds = {path: Feed(parts) for path, parts in of_run.items()}
        self._thread.start()

    @_harmless
    def submitted(self, share: Asked, task: "Task") -> None:
        """Note that a task is under way."""
        with self._lock:
            self._feed(share).submitted(task)

    @_harmless
    def stored(self, share: Asked, task: "Task") -> None:
        """Note that the scores of a task are in the store."""
        with self._lock:
            self._feed(share).stored(share, task)

    @_harmless
    def failed(self, share: Asked, failure: "Failure") -> None:
        """Note that a task failed for good."""
        with self._lock:
            self._feed(share).failed(share, failure)

    @_harmless
    def close(self, how: str) -> None:
        """Say what is still to be said, for some seconds at most, and how it ended: "finished" or "stopped"."""
        self._how = how
        self._stopping.set()
        if self._feeds:
            self._thread.join(AT_THE_END + 1)

    def _feed(self, share: Asked) -> "Feed":
        return self._feeds[str(share.run.store.path)]

    # the thread -----------------------------------------------------------------------------------------------------

    @_harmless
    def _send_all(self) -> None:
        """Send what there is to say, until the end."""
        for feed in self._feeds.values():
            with self._lock:
                event = feed.begin(self._client.id)
            self._send(event)
        pause = 0.0
        while self.is_on and not self._stopping.wait(pause):
            pause = EVERY
            # those that are worked on first; the others are read as well, for what they hold
            for feed in sorted(self._going_on(), key=lambda feed: feed.is_complete):
                pause += self._tell(feed, READING) / SHARE
                if feed.is_complete and not feed.is_behind:
                    self._send(feed.end("finished"))
        deadline = time.perf_counter() + (AT_THE_END if self._how == "finished" else EVERY)
        for feed in self._going_on():
            while self.is_on:
                self._tell(feed, deadline - time.perf_counter())
                if not feed.is_behind or time.perf_counter() > deadline:
                    break
            self._send(feed.end(self._how))

    def _going_on(self) -> "list[Feed]":
        return [feed for feed in self._feeds.values() if not feed.has_ended]

    def _tell(self, feed: "Feed", seconds: float) -> float:
        """Send what is new of a run, after reading its store for some seconds at most; tell how long that took."""
        start = time.thread_time()
        with self._lock:
            changed = feed.take()
        rows, rest = feed.read(changed, time.perf_counter() + seconds)
        with self._lock:
            feed.put_back(rest)
            event = feed.update(rows)
        if event is not None:
            self._send(event)
        return time.thread_time() - start

    def _send(self, event: dict[str, Any]) -> None:
        from mesodask.compute.live_runs import TOPIC

        if not self.is_on:
            return
        try:
            self._client.log_event(TOPIC, event)
            self._refused = 0
        except Exception as error:  # of a scheduler that is gone, or going
            self._refused += 1
            if self._refused >= TRIES or self._stopping.is_set():
                self.is_on = False
                logger.info("the live page is not told any more (%r)", error)
