"""Arguments and options that several commands share, and their defaults."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.records.folders import folder

# Written out: importing them from where they are used would slow `harness --help` down.
ExecutorChoice = Literal["process", "spawn", "local", "ray"]
FormatChoice = Literal["table", "csv", "json", "markdown"]
ExportChoice = Literal["csv", "parquet", "latex", "markdown", "optuna", "tensorboard", "mlflow"]
TextOrJson = Literal["text", "json"]
SchemaSubject = Literal["study", "results"]


class FailureChoice(StrEnum):
    """Failure classes; Typer takes no list of a Literal."""

    DIVERGED = "diverged"
    COLLAPSED = "collapsed"
    OOM = "oom"
    CRASH = "crash"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    INVALID = "invalid"


def _results(given: str) -> Path:
    return folder(given, "results")


def _reports(given: str) -> Path:
    return folder(given, "reports")


Study = Annotated[
    # readable=True, the default, would take four lines for an error that our loader puts in one.
    Path, typer.Argument(metavar="STUDY.yaml", help="The study file.", readable=False)
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY.yaml|NAME", help="File or name.")]
Results = Annotated[
    Path, typer.Option(help="Folder of spools and database.", metavar="DIR", parser=_results)
]
Reports = Annotated[Path, typer.Option(help="Folder for pages.", metavar="DIR", parser=_reports)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a field of the study (seeds=2), an axis (search.KEY={choice: [1, 2]}) or a "
        "parameter of its base (train.epochs=2).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Maximum number of runs at once [default: one per GPU, else per core, at most 8].",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads per run [default: cores / workers].")
]
ExecutorOption = Annotated[
    ExecutorChoice,
    typer.Option(
        help="One process per run, everything in this process (to debug), or a Ray cluster."
    ),
]
RunsPerGpu = Annotated[int, typer.Option(min=1, help="Number of runs at once per GPU.")]
Address = Annotated[
    str | None,
    typer.Option(help="Address of the Ray cluster [default: a cluster on this machine only]."),
]
Host = Annotated[
    str,
    typer.Option(help="Address to listen on; other machines can reach any but a loopback address."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")]
AnswerFormat = Annotated[
    TextOrJson, typer.Option("--format", help="text, or a JSON document for programs.")
]
RESULTS = Path("results")
REPORTS = Path("reports")
