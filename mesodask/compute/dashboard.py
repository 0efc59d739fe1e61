"""The live page of runs, ``/mesodask``, on the dashboard of a Dask scheduler: put there, and fed with events.

It goes onto any scheduler, our own or one that runs already, as a scheduler plugin; nothing of it is needed when the
scheduler starts. That asks for parts of Dask that are not promised to stay as they are: whatever is not as expected,
the page is absent, the log says so, and nothing else changes.
"""

import contextlib
import logging
from functools import partial
from typing import Any

from distributed import Client
from distributed.diagnostics.plugin import SchedulerPlugin

from mesodask.compute.live_runs import TOPIC, Board

logger = logging.getLogger(__name__)

PAGE = "mesodask"
PLUGIN = "mesodask-live-page"


class NoDashboardError(RuntimeError):
    """The scheduler has no dashboard that a page could be added to."""


def install(client: Client) -> str | None:
    """Put the live page onto a client's scheduler, if it is not there yet.

    Parameters
    ----------
    client : distributed.Client
        Its scheduler must be able to import mesodask.

    Returns
    -------
    str or None
        The page's address; None if it cannot be there, which the log explains. This never raises.

    Examples
    --------
    >>> from distributed import Client, LocalCluster
    >>> with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster:
    ...     with Client(cluster) as client:
    ...         install(client) == cluster.dashboard_link.replace("/status", "/mesodask")
    True
    """
    try:
        client.register_plugin(_LivePage(), name=PLUGIN)
        return str(client.dashboard_link).removesuffix("status") + PAGE
    except NoDashboardError as error:
        logger.info("no live page: %s", error)
    except Exception as error:  # of a scheduler without mesodask, of another Dask, or of one that is gone
        logger.warning("no live page /%s on the scheduler's dashboard (%r); all else goes on", PAGE, error)
    return None


class _LivePage(SchedulerPlugin):
    """Adds the page, and keeps what events tell."""

    idempotent = True  # a scheduler that has it keeps it, with what it knows

    def __init__(self) -> None:
        self.board = Board()
        self._scheduler: Any = None

    async def start(self, scheduler: Any) -> None:
        """Add the page; what is not as expected raises, and then the plugin is not added either."""
        self._scheduler = scheduler
        _add_page(scheduler, self.board)

    def log_event(self, topic: str, msg: Any) -> None:
        """Take in an event."""
        if topic != TOPIC:
            return
        self.board.receive(msg)
        # the board knows all; Dask would keep the last thousand events as well
        with contextlib.suppress(Exception):
            self._scheduler._broker.truncate(TOPIC)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Note that a client is gone."""
        del scheduler
        self.board.client_left(client)


def _add_page(scheduler: Any, board: Board) -> None:
    from bokeh.document import Document
    from bokeh.server.tornado import BokehTornado
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    from mesodask.compute.live_page import show

    dashboards = [app for app in scheduler.http_application.applications if isinstance(app, BokehTornado)]
    if not dashboards:
        raise NoDashboardError("this scheduler runs without a dashboard")
    variables = template_variables(scheduler)
    tabs: list[str] = variables["pages"]  # all pages share this list
    show(board, scheduler, variables, Document())  # what cannot be built is found here, and not by a reader
    page = BokehApplication(
        {f"/{PAGE}": partial(show, board)}, scheduler, prefix=dashboards[0].prefix, template_variables=variables
    )
    page.initialize(IOLoop.current())
    page.start()
    scheduler.http_application.add_application(page)
    if PAGE not in tabs:
        tabs.append(PAGE)
