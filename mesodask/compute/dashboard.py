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
NO_DASHBOARD = "this scheduler runs without a dashboard"


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
        problem = client.run_on_scheduler(_add_page)
    except Exception as error:  # of a scheduler without mesodask, of another Dask, or of one that is gone
        problem = repr(error)
    if not problem:
        return str(client.dashboard_link).removesuffix("status") + PAGE
    level = logging.INFO if problem == NO_DASHBOARD else logging.WARNING
    logger.log(level, "no live page /%s on the scheduler's dashboard (%s); all else goes on", PAGE, problem)
    return None


class _LivePage(SchedulerPlugin):
    """Keeps what events tell."""

    def __init__(self, scheduler: Any) -> None:
        self.board = Board()
        self._scheduler = scheduler

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


def _add_page(dask_scheduler: Any) -> str:
    """Add the page on the scheduler, if it is not there yet; tell what is not as expected, and add nothing then."""
    if PLUGIN in dask_scheduler.plugins:
        return ""
    plugin = _LivePage(dask_scheduler)
    try:
        from bokeh.server.tornado import BokehTornado

        applications = dask_scheduler.http_application.applications
        dashboards = [application for application in applications if isinstance(application, BokehTornado)]
        if not dashboards:
            return NO_DASHBOARD
        page, tabs = _made_page(dask_scheduler, plugin.board, dashboards[0].prefix)
        add_plugin, add_application = dask_scheduler.add_plugin, dask_scheduler.http_application.add_application
    except Exception as error:  # whatever an unknown Dask or Bokeh raises
        return repr(error)
    add_plugin(plugin, name=PLUGIN)
    add_application(page)
    if PAGE not in tabs:
        tabs.append(PAGE)
    return ""


def _made_page(scheduler: Any, board: Board, prefix: str) -> tuple[Any, list[str]]:
    """Make the page as a web application; give it, and the list of tabs that all pages share."""
    from bokeh.document import Document
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    from mesodask.compute.live_page import show

    variables = template_variables(scheduler)
    tabs: list[str] = variables["pages"]
    show(board, scheduler, variables, Document())  # what cannot be built is found here, and not by a reader
    page = BokehApplication({f"/{PAGE}": partial(show, board)}, scheduler, prefix=prefix, template_variables=variables)
    page.initialize(IOLoop.current())
    page.start()
    return page, tabs
