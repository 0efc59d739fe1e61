"""``mesodask config``: write the file of an analysis, and show what one asks for."""

from pathlib import Path

import click

from mesodask.cli.answer import Answer, answers
from mesodask.errors import SettingsError


@click.group()
def config() -> None:
    """Write the settings file of an analysis, or show what one asks for.

    Example: mesodask config init analysis.yaml
    """


@config.command()
@click.argument("path", default="analysis.yaml", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--subject", default="SP072", show_default=True, help="Whose sessions it names.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@answers
def init(path: Path, subject: str, force: bool, answer: Answer) -> None:
    """Write PATH (analysis.yaml; - prints it): every setting with its default and its meaning, to be edited.

    Example: mesodask config init analysis.yaml --subject SP072
    """
    from mesodask.workflow import analysis_template

    text = analysis_template(subject)
    if str(path) == "-":
        answer.say(text.removesuffix("\n"))
        answer.put(text=text)
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{path}: is there already; give another name, or --force to replace it") from None
    answer.tell("analysis", path)
    answer.say(f"edit it, then: mesodask run {path} --dry-run")


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@answers
def show(file: Path, answer: Answer) -> None:
    """Check FILE, and show every setting as it would be taken.

    FILE is an analysis, or a run store that one has made.

    Example: mesodask config show analysis.yaml
    """
    from mesodask.workflow import analysis_text, read_analysis

    analysis = read_analysis(file)
    answer.say(analysis_text(analysis).removesuffix("\n"))
    answer.document = analysis.plain()
