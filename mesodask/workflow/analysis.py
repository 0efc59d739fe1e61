"""What an analysis is asked: which sessions, what is done with them, and where it goes. Nothing is read or computed."""

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mesodask.checked import Checked
from mesodask.errors import short
from mesodask.settings import MIN_TRIALS, CrossSessionSettings, NdcSettings, PositiveInt, RunSettings

PAGES = (".html", ".htm")
Count = Annotated[int, Field(ge=0)]


class DataSettings(Checked):
    """Which sessions, which of their neurons, and where all of it is.

    Attributes
    ----------
    one : path or None
        Folder with ONE tables; null takes the ONE that is set up on this machine.
    cache_dir : path or None
        Folder of all stores; null takes meso in the folder of the ONE.
    roicat_root : path or None
        Folder that holds the ROICaT tree; null takes ~/chronic_csv.
    subject : str or None
        All sessions of this subject.
    from : date or None
        Of the subject's sessions those on this day or later, as 2025-01-13.
    to : date or None
        Of the subject's sessions those on this day or earlier.
    sessions : tuple of str
        In place of a subject: eids, or sessions as subject/date/number.
    neurons_only : bool
        Leave out, before anything else, the ROIs that are not flagged as cells.
    neurons : tuple of str or None
        Only ROIs in these regions, e.g. [VISp, MOs], named as in the session stores; null takes all.
    """

    model_config = ConfigDict(populate_by_name=True)

    one: Path | None = None
    cache_dir: Path | None = None
    roicat_root: Path | None = None
    subject: str | None = None
    first: datetime.date | None = Field(default=None, alias="from")
    last: datetime.date | None = Field(default=None, alias="to")
    sessions: tuple[str, ...] = ()
    neurons_only: bool = True
    neurons: tuple[str, ...] | None = None

    @field_validator("sessions", "neurons", mode="before")
    @classmethod
    def _one_is_a_list(cls, names: Any) -> Any:
        return (names,) if isinstance(names, str) else names

    @field_validator("last")
    @classmethod
    def _ends_after_it_starts(cls, last: datetime.date | None, info: Any) -> datetime.date | None:
        first = info.data.get("first")
        if first is not None and last is not None and last < first:
            raise ValueError(f"{last} is before {first}, the day to start from")
        return last

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.subject is None) == (not self.sessions):
            raise ValueError("name the sessions either by subject or by a list of sessions")
        if self.sessions and (self.first or self.last):
            raise ValueError("from and to choose from the sessions of a subject; leave them out of a list of sessions")
        return self


class EmbedSettings(Checked):
    """Session stores, built from the ALF files, and the order of their rows in a raster.

    Attributes
    ----------
    rastermap : {"all", "neurons", "none"}
        Which ROIs Rastermap sorts: all, those flagged as cells, or none.
    collection : str or None
        Where the trials lie, e.g. alf/task_00, if several folders of a session hold some.
    """

    rastermap: Literal["all", "neurons", "none"] = "all"
    collection: str | None = None


class PairsSettings(NdcSettings):
    """Neuron-dropping curves of each two sessions that follow each other.

    Attributes
    ----------
    min_trials : int
        Sessions with fewer trials are left out.
    min_shared : int or None
        Fewest neurons of a pair; null takes the smallest of the ks.
    """

    min_trials: Count = MIN_TRIALS
    min_shared: PositiveInt | None = None


class AcrossSettings(CrossSessionSettings):
    """A decoder that is trained on the first session, or on each, and tested on the others.

    Attributes
    ----------
    choose : bool
        Take as many of the sessions as share min_k_shared neurons; false takes them all.
    min_trials : int
        Sessions with fewer trials are not chosen.
    """

    choose: bool = True
    min_trials: Count = MIN_TRIALS


class SparsenessSettings(Checked):
    """Population sparseness (Treves-Rolls) by event window and by trial.

    Attributes
    ----------
    scale : bool
        Scale each trace between its 20th and 99th percentile; false takes traces as they are.
    sampling : {"hold", "frames"}
        How windows are read.
    """

    scale: bool = True
    sampling: Literal["hold", "frames"] = "hold"


class FigureSettings(Checked):
    """Figures of what the stages give, each a file.

    Attributes
    ----------
    folder : path or None
        Where they go; null takes a folder beside the record of the analysis, called like it.
    format : {"png", "pdf", "svg"}
        Format of the files.
    rasters : bool
        Draw a minute of each session, too.
    """

    folder: Path | None = None
    format: Literal["png", "pdf", "svg"] = "png"
    rasters: bool = False


class ReportSettings(Checked):
    """One HTML page with the curves of `ndc`, and what goes with them.

    Attributes
    ----------
    path : path or None
        The file, ``*.html``; null puts it beside the run of the curves.
    tracking : bool
        Show what each two sessions share.
    rasters : bool
        Show a minute of each session.
    """

    path: Path | None = None
    tracking: bool = True
    rasters: bool = False

    @field_validator("path")
    @classmethod
    def _is_a_page(cls, path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in PAGES:
            raise ValueError(f"a report's name ends in one of {', '.join(PAGES)}, found {str(path)!r}")
        return path


class ClusterSettings(Checked):
    """Where it is computed; the same keys as in a file for `mesodask submit`.

    Attributes
    ----------
    kind : str
        local, slurm, a block of jobqueue in Dask's configuration, tcp:// or tls://HOST:PORT, or a scheduler file.
    workers : int or str or None
        How many workers of one thread each, or e.g. 0-40: as many as there is work for. null takes the default.
    memory : str or None
        Of a worker, e.g. 8 GiB; on SLURM of a job.
    walltime : str or None
        Of a SLURM job, e.g. 04:00:00.
    queue : str or None
        SLURM's partition.
    account : str or None
        Who is charged.
    job_extra : tuple of str
        Further directives of SLURM, e.g. ["--qos=long"].
    """

    kind: str = "local"
    workers: int | str | None = None
    memory: str | None = None
    walltime: str | None = None
    queue: str | None = None
    account: str | None = None
    job_extra: tuple[str, ...] = ()

    @field_validator("workers", mode="before")
    @classmethod
    def _a_number_or_a_range(cls, workers: Any) -> Any:
        numbers = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", str(workers), flags=re.ASCII)
        if workers is None or (numbers and int(numbers[2] or numbers[1]) >= max(1, int(numbers[1]))):
            return workers
        raise ValueError(f"expected a number such as 8, or a range such as 0-40, found {short(workers)}")

    @field_validator("walltime", mode="before")
    @classmethod
    def _minutes(cls, walltime: Any) -> Any:
        return str(walltime) if isinstance(walltime, int) and not isinstance(walltime, bool) else walltime

    def arguments(self) -> dict[str, Any]:
        """Give the arguments of :func:`mesodask.start_cluster`.

        Examples
        --------
        >>> ClusterSettings(kind="slurm", workers="0-40").arguments()["adaptive"]
        (0, 40)
        """
        given = self.model_dump(exclude={"workers"})
        numbers = [] if self.workers is None else [int(number) for number in str(self.workers).split("-")]
        if len(numbers) == 2:
            return given | {"adaptive": tuple(numbers)}
        return given | {"n_workers": numbers[0] if numbers else None}


class Analysis(Checked):
    """A whole analysis. A stage that is left out, or false, is not run; one that is true has all its defaults.

    Attributes
    ----------
    mesodask_version : str or None
        Version that this file was run by; a record has it.
    data : DataSettings
        Which sessions, which of their neurons, and where all of it is.
    decoding : RunSettings
        What ndc, pairs and cross_session decode, unless they say otherwise themselves.
    embed, ndc, pairs, cross_session, sparseness, figures, report : settings of the stage, or None
        What is done.
    cluster : ClusterSettings or None
        Where it is computed; by default on this machine.

    Examples
    --------
    >>> analysis = Analysis(data={"subject": "SP072"}, decoding={"seed": 3}, ndc={"R": 10}, pairs=True)
    >>> analysis.pairs.R, analysis.pairs.seed, analysis.sparseness
    (10, 3, None)
    """

    # where a stage takes from what it is not given itself
    inherits: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ndc": ("decoding",),
        "pairs": ("decoding", "ndc"),
        "cross_session": ("decoding",),
    }
    stages: ClassVar[tuple[str, ...]] = ("embed", "ndc", "pairs", "cross_session", "sparseness", "figures", "report")

    mesodask_version: str | None = None
    data: DataSettings
    decoding: RunSettings = RunSettings()
    embed: EmbedSettings | None = None
    ndc: NdcSettings | None = None
    pairs: PairsSettings | None = None
    cross_session: AcrossSettings | None = None
    sparseness: SparsenessSettings | None = None
    figures: FigureSettings | None = None
    report: ReportSettings | None = None
    cluster: ClusterSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        tables = dict(values)
        for name in (*cls.stages, "cluster", "decoding"):
            if name in tables:
                tables[name] = _table(tables[name])
        given = dict(tables)
        for name, parents in cls.inherits.items():
            if isinstance(given.get(name), dict):
                tables[name] = _inherited(given, [*parents, name])
        return tables

    @field_validator("report")
    @classmethod
    def _of_curves(cls, report: ReportSettings | None, info: Any) -> ReportSettings | None:
        if report is not None and "ndc" in info.data and info.data["ndc"] is None:
            raise ValueError("a report is of neuron-dropping curves; add the stage ndc, or leave report out")
        return report

    @property
    def wanted(self) -> list[str]:
        """Names of the stages that are run, in their order."""
        return [name for name in self.stages if getattr(self, name) is not None]

    def plain(self) -> dict[str, Any]:
        """Give it as plain values, every default filled in, names as in a file, and false for what is not run."""
        values = self.model_dump(mode="json", by_alias=True)
        return {
            name: False if value is None and name != "mesodask_version" else value for name, value in values.items()
        }


MODELS: Mapping[str, type[BaseModel]] = {
    "decoding": RunSettings, "ndc": NdcSettings, "pairs": PairsSettings, "cross_session": AcrossSettings,
}  # fmt: skip


def _table(value: Any) -> Any:
    """Write a stage as a table: true is all defaults, false is None."""
    if value is False:
        return None
    if value is True:
        return {}
    return value.model_dump(exclude_unset=True, by_alias=True) if isinstance(value, BaseModel) else value


def _inherited(tables: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Put tables together, the last one on top; what is wrong in one of them is told there, and not again here."""
    together: dict[str, Any] = {}
    for name in names[:-1]:
        table = tables.get(name)
        if isinstance(table, dict) and _is_valid(MODELS[name], together | table):
            together |= table
    return together | tables[names[-1]]


def _is_valid(model: type[BaseModel], table: Mapping[str, Any]) -> bool:
    try:
        model.model_validate(table)
    except ValidationError:
        return False
    return True


def settings_of_run(stage: RunSettings, kind: type[RunSettings]) -> Any:
    """Take from a stage's settings those of its runs, which name and hash them.

    Examples
    --------
    >>> settings_of_run(PairsSettings(min_trials=5, R=3), NdcSettings) == NdcSettings(R=3)
    True
    """
    return kind(**stage.model_dump(include=set(kind.model_fields)))
