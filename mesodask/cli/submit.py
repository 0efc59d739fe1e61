"""``mesodask submit`` puts a driver into a batch job; ``mesodask drive`` is what runs there."""

import logging
import sys
from pathlib import Path
from typing import Any

import click

from mesodask.cli import options
from mesodask.cli.answer import Answer, answers
from mesodask.errors import SettingsError

asked = options.many(
    click.option("--walltime", help="Of each job of the driver, e.g. 1-00:00:00."),
    click.option("--memory", help="Of the driver's job, e.g. '4 GiB'."),
    click.option("--cores", type=int, help="Of the driver's job; 1, or as many as workers that are to be in it."),
    click.option("--queue", help="SLURM's partition for the driver."),
    click.option("--account", help="Who is charged."),
    click.option("--job-extra", multiple=True, help="A further option of sbatch; may be given several times."),
    click.option("--margin", type=int, help="Seconds before its end at which a job hands over."),
    click.option("--most-jobs", type=int, help="How many jobs the run may take."),
)


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="CONFIG | -- COMMAND [OPTION]...", type=click.UNPROCESSED)
@asked
@click.option("--jobs-dir", type=options.FOLDER, help="For script and logs; CONFIG without its ending, plus .jobs.")
@click.option("--print", "only_print", is_flag=True, help="Print the job's script; write and submit nothing.")
@answers
@click.pass_context
def submit(
    context: click.Context,
    what: tuple[str, ...],
    jobs_dir: Path | None,
    only_print: bool,
    answer: Answer,
    **driver: Any,
) -> None:
    """Submit a command's driver as a SLURM batch job.

    When its walltime nears, the job ends in good order and submits the next one, until the command is finished. No job
    follows one that failed, was cancelled or stored nothing. The options here are those of the driver's job; those of
    the workers' jobs belong to the command.

    Example: mesodask submit --walltime 1-12 -- ndc --subject SP072 --one ~/one

    \b
    CONFIG is a YAML file that says the same:
        command: ndc
        options: {subject: SP072, one: ~/one, targets: [choice, block]}
        driver: {walltime: 1-00:00:00, memory: 4 GiB, queue: long}
        cluster: {kind: slurm, workers: 20, walltime: 04:00:00}
    """  # noqa: D301
    from mesodask.cli.submission import check_command, check_driver, read_submission
    from mesodask.compute import batch

    group = context.find_root().command
    assert isinstance(group, click.Group)
    given = {name: value for name, value in driver.items() if value not in (None, ())}
    if len(what) == 1 and what[0].endswith((".yaml", ".yml")):
        command, settings = read_submission(Path(what[0]), given, group)
        folder = Path(what[0]).with_suffix(".jobs")
    elif len(what) == 1 and what[0] not in group.commands:
        raise SettingsError(f"{what[0]}: expected a file *.yaml, or -- and a command with its options")
    else:
        command, settings = list(what), check_driver(given)
        check_command(command, group)
        folder = Path(f"mesodask-{command[0]}.jobs")
    folder = (jobs_dir or folder).absolute()
    if only_print:
        script = batch.job_script(settings, command, folder)
        answer.say(script.removesuffix("\n"))
        answer.put(job_script=script)
        return
    job = batch.start_chain(settings, command, folder)
    answer.say(f"job      {job} ({batch.job_name(command)})")
    answer.put(job=job, name=batch.job_name(command))
    answer.tell("log", batch.log_file(folder, command, job))
    answer.tell("stop it", f"scancel --name={batch.job_name(command)}", "stop")


@click.command(hidden=True)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--script", required=True, type=click.Path(path_type=Path))
@click.option("--number", required=True, type=int)
@click.option("--most", required=True, type=int)
@click.option("--margin", required=True, type=float)
def drive(command: tuple[str, ...], **how: Any) -> None:
    """Run a command within a batch job, and submit the next job when the walltime nears."""
    from mesodask.compute import batch

    logging.getLogger(batch.__name__).setLevel(logging.INFO)
    status = batch.drive([sys.executable, "-m", "mesodask", *command], **how)
    if status:
        raise SystemExit(status)
