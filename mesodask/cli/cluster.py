"""``mesodask cluster``: workers that stay, for several commands and notebooks; and the batch script of one."""

import threading

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.errors import SettingsError


@click.command()
@options.cluster_options
@click.option("--job-script", is_flag=True, help="Print the batch script of a SLURM job; start and submit nothing.")
@answers
def cluster(cluster: options.Cluster, job_script: bool, answer: Answer) -> None:
    """Start workers that stay until Ctrl-C, for other commands and notebooks of yours.

    \b
    Examples: mesodask cluster --cluster slurm --workers 0-40
              mesodask cluster --cluster slurm --walltime 01:00:00 --job-script
    """  # noqa: D301
    if job_script:
        script = _script(cluster)
        answer.say(script.removesuffix("\n"))
        answer.put(job_script=script)
        return
    from mesodask.compute.cluster import how_to_watch, scheduler_file

    with cluster.start() as client:
        path = scheduler_file(client)
        if path is None or client.cluster is None:
            raise SettingsError(f"the cluster {cluster.kind} was started by somebody else; use it by that name")
        watch = how_to_watch(client)
        answer.say("\n".join(watch))
        answer.say(f"use them with --cluster {path}, or start_cluster({str(path)!r}) in Python; end them with Ctrl-C")
        answer.put(scheduler_file=path, watch=watch)
        answer.close()  # whoever reads it must not wait for the end
        try:
            threading.Event().wait()
        except KeyboardInterrupt as interrupt:
            if type(interrupt) is not KeyboardInterrupt:  # SIGTERM has a status of its own
                raise


def _script(cluster: options.Cluster) -> str:
    from dataclasses import asdict

    from mesodask.compute import jobs
    from mesodask.compute.cluster import is_slurm, slurm_plan

    wanted = asdict(cluster)
    kind = wanted.pop("kind") or "slurm"
    if not is_slurm(kind):
        raise click.UsageError(f"--job-script: {kind} has no batch jobs; name slurm, or a block of jobqueue's")
    return jobs.job_script(slurm_plan(kind, **wanted))
