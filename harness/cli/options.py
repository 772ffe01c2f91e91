"""Arguments and options that commands of the command line share, and their defaults."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.records.folders import folder


class ExecutorChoice(StrEnum):
    """Where runs are executed."""

    PROCESS = "process"
    SPAWN = "spawn"
    LOCAL = "local"
    RAY = "ray"


class FailureChoice(StrEnum):
    """Classes of failure."""

    DIVERGED = "diverged"
    COLLAPSED = "collapsed"
    OOM = "oom"
    CRASH = "crash"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    INVALID = "invalid"


class FormatChoice(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


class ExportChoice(StrEnum):
    """What a study can be exported for."""

    CSV = "csv"
    PARQUET = "parquet"
    LATEX = "latex"
    MARKDOWN = "markdown"
    OPTUNA = "optuna"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


class PlanFormat(StrEnum):
    """How a forecast is printed."""

    TEXT = "text"
    JSON = "json"


def _results(given: str) -> Path:
    return folder(given, "results")


def _reports(given: str) -> Path:
    return folder(given, "reports")


Study = Annotated[
    # Not readable=True, the default, which says in four lines what the reader says in one.
    Path, typer.Argument(metavar="STUDY.yaml", help="The study file.", readable=False)
]
Results = Annotated[
    Path, typer.Option(help="Folder of spools and database.", metavar="DIR", parser=_results)
]
Reports = Annotated[Path, typer.Option(help="Folder of pages.", metavar="DIR", parser=_reports)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A field of the study (seeds=2), an axis (search.KEY={choice: [1, 2]}), else a "
        "parameter of its base (train.epochs=2).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Most runs at once [default: one a GPU, else a core, at most 8]."),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of each run [default: cores / workers].")
]
ExecutorOption = Annotated[
    ExecutorChoice,
    typer.Option(help="A process a run, all in this process to debug, or a Ray cluster."),
]
RunsPerGpu = Annotated[int, typer.Option(min=1, help="Runs at once on one GPU.")]
Address = Annotated[
    str | None,
    typer.Option(help="Of the Ray cluster [default: a cluster of this machine alone]."),
]
Host = Annotated[
    str, typer.Option(help="Where to listen; any other than this machine's own can be reached.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")]
RESULTS = Path("results")
REPORTS = Path("reports")
