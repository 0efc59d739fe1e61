"""The command that copies cluster-UID files from a server, and the prompt for its credentials."""

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.cli.progress import Stages
from mesodask.errors import AccessError, TasksFailedError

if TYPE_CHECKING:
    from mesodask.io.mirror import MirrorSummary

MOST_LINES = 20  # of one kind, on a terminal; --json gives all


@click.command()
@click.argument("subject")
@click.option("--url", required=True, help="Address of the folder that holds the ROICaT folder.")
@click.option(
    "--roicat-root", "--to", "to", type=options.FOLDER, help="Gets the ROICaT tree; ~/chronic_csv if not given."
)
@click.option("--again", "refresh", is_flag=True, help="Download what is here already, too.")
@click.option("--workers", "n_workers", default=8, show_default=True, help="Most requests at a time.")
@click.option("--retries", default=4, show_default=True, help="How often a failure that may pass is tried again.")
@answers
def mirror(subject: str, to: Path | None, answer: Answer, **settings: Any) -> None:
    """Copy the cluster UIDs of SUBJECT from a web server.

    What is here already and has not changed is kept. User name and password are taken from MESODASK_MIRROR_USER and
    MESODASK_MIRROR_PASSWORD in the environment, else from ~/.netrc, else asked for.

    Example: mesodask mirror SP072 --url https://lab.example/data --roicat-root ~/chronic_csv
    """
    from mesodask.io.roicat import DEFAULT_ROOT

    settings["to"] = to or DEFAULT_ROOT
    try:
        summary = _mirror(subject, settings)
    except AccessError as error:
        if error.status != 401 or not sys.stdin.isatty():
            raise
        settings["auth"] = _ask(settings["url"])
        summary = _mirror(subject, settings)
    answer.say(_in_words(summary))
    answer.put(**_plain(summary))
    if summary.failed:
        raise TasksFailedError(
            f"failed: {len(summary.failed)}. Nothing of that is kept; the same command tries it again, and keeps what "
            "was copied"
        )


def _mirror(subject: str, settings: dict[str, Any]) -> "MirrorSummary":
    from mesodask.io.mirror import mirror_cluster_uids

    with Stages() as stages:
        return mirror_cluster_uids(subject, progress=stages.report, **settings)


def _ask(url: str) -> tuple[str, str]:
    click.echo(f"{url} wants a user name and a password.", err=True)
    return click.prompt("User name", err=True), click.prompt("Password", hide_input=True, err=True)


def _plain(summary: "MirrorSummary") -> dict[str, Any]:
    failed = [failure._asdict() for failure in summary.failed]
    return dataclasses.asdict(summary) | {"folder": str(summary.folder), "failed": failed}


def _in_words(summary: "MirrorSummary") -> str:
    lines = [
        str(summary.folder),
        f"found    {summary.found} fields of view",
        f"copied   {summary.copied} ({summary.n_bytes / 1e6:.1f} MB)",
        f"kept     {summary.kept}",
        f"missing  {len(summary.missing)}",
        *_shortened(f"{name}: no file on the server, so its ROIs count as untracked" for name in summary.missing),
        *([f"empty    {len(summary.empty)}"] if summary.empty else []),
        *_shortened(f"{name}: no field of view in this folder" for name in summary.empty),
        f"failed   {len(summary.failed)}",
        *_shortened(f"{failure.url}: {failure.reason}" for failure in summary.failed),
    ]
    return "\n".join(lines)


def _shortened(lines: Iterable[str]) -> list[str]:
    indented = [f"  {line}" for line in lines]
    rest = len(indented) - MOST_LINES
    return indented[:MOST_LINES] + ([f"  ... and {rest} more (--json lists all)"] if rest > 0 else [])
