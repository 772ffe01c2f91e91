"""The command line: it parses, calls and prints, and decides nothing.

Imports that cost time stand inside the commands, so that ``harness --help`` is quick.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.driver import Preview

app = typer.Typer(
    help="Ablation studies: one file asks a question, paired seeds answer it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class ExecutorChoice(StrEnum):
    """Where runs are executed."""

    PROCESS = "process"
    SPAWN = "spawn"
    LOCAL = "local"
    RAY = "ray"


class FormatChoice(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


Study = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Results = Annotated[Path, typer.Option(help="Folder of spools and database.", metavar="DIR")]
Reports = Annotated[Path, typer.Option(help="Folder of pages.", metavar="DIR")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A field of the study (seeds=2), else a parameter of its base (train.epochs=2).",
    ),
]
_RESULTS = Path("results")
_REPORTS = Path("reports")


def main() -> None:
    """Run the command line and exit: 0, 1 (a run failed), 2 (wrong input), 130 (interrupted)."""
    try:
        app(prog_name="harness")
    except HarnessError as error:
        _fail(str(error), error.exit_status)
    except BrokenPipeError:  # whoever read along, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}the disk is full; free some space, then run the same command again", 2)


def _fail(message: str, status: int) -> NoReturn:
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(f"harness {version('gcudml-harness')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Ablation studies: one file asks a question, paired seeds answer it."""


@app.command()
def run(
    study: Study,
    results: Results = _RESULTS,
    reports: Reports = _REPORTS,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Most runs at once [default: one a GPU, else a core, at most 8]."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each run [default: cores / workers].")
    ] = None,
    executor: Annotated[
        ExecutorChoice,
        typer.Option(help="A process a run, all in this process to debug, or a Ray cluster."),
    ] = ExecutorChoice.PROCESS,
    runs_per_gpu: Annotated[int, typer.Option(min=1, help="Runs at once on one GPU.")] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster [default: a cluster of this machine alone]."),
    ] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List trials and runs; train and write nothing.")
    ] = False,
) -> None:
    """Train what is missing of a study, then print its table and write its report."""
    from harness.display import open_display
    from harness.driver import RunOptions, preview, run_study

    given = tuple(overrides or ())
    if dry_run:
        _print_preview(preview(study, given, results))
        return
    command = shlex.join(["harness", *sys.argv[1:]])
    options = RunOptions(results, executor.value, workers, threads, command, runs_per_gpu, address)
    with open_display(sys.stdout) as display:
        outcome = run_study(study, given, options, display)
    if outcome.is_stored:
        _print_results(results, outcome.study, reports)
    if outcome.signal is not None:
        print("interrupted; the same command goes on with what is missing", file=sys.stderr)
    raise typer.Exit(outcome.exit_status)


def _print_preview(planned: Preview) -> None:
    from harness.formats import format_rows

    print(f"study {planned.study}: {planned.question}")
    columns = ("trial", "seed", "run", "state")
    print(format_rows(columns, planned.runs, "table"))
    done = sum(each.state == "done" for each in planned.runs)
    print(f"{len(planned.runs)} runs, {done} done")
    if planned.proposed_later:
        print(f"and up to {planned.proposed_later} trials that the search has still to propose")


def _print_results(results: Path, study: str, reports: Path) -> None:
    from harness.formats import format_rows
    from harness.report.page import write_report
    from harness.report.tables import final_table

    table = final_table(results, study)
    page = write_report(results, study, reports)
    rows = [
        (
            f"{row.trial} (baseline)" if row.is_baseline else row.trial,
            *("" if value is None else f"{value:.4f}" for value in (row.mean, row.sd)),
            "" if row.low is None else f"[{row.low:.4f}, {row.high:.4f}]",
            f"{row.n}/{row.planned}",
        )
        for row in table.rows
    ]
    heading = f"{table.metric} ({table.split})"
    print(format_rows(("trial", heading, "sd", "95 % interval", "seeds"), rows, "table"))
    print(f"report: {page}")


@app.command()
def check(study: Study, overrides: Overrides = None) -> None:
    """Say whether a study file is right, and how many runs it makes; nothing is read but it."""
    from harness.plan import make_plan
    from harness.spec import load_study
    from harness.workload import load_workload

    loaded = load_study(study, tuple(overrides or ()))
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    trials = len(plan.fixed) if plan.spec.is_fixed else plan.spec.trials or 0
    seeds, confirm = len(plan.spec.seed_list), plan.spec.confirm
    controls = f" and {len(plan.controls)} controls"
    if confirm is None:
        runs = (trials + len(plan.controls)) * seeds
        print(f"{study}: fine: {trials} trials{controls} x {seeds} seeds = {runs} runs")
        return
    fresh = len(plan.spec.confirm_seed_list)
    runs = trials * seeds + (confirm.top + 1 + len(plan.controls)) * fresh
    print(
        f"{study}: fine: {trials} trials x {seeds} seeds, then the best {confirm.top}, the "
        f"baseline{controls} x {fresh} fresh seeds = {runs} runs"
    )


@app.command()
def schema(
    workload: Annotated[
        str, typer.Option(help="Whose parameters to describe.", metavar="MODULE")
    ] = "gcudml.workload",
) -> None:
    """Print the JSON Schema of study files, for editors."""
    import json

    from harness.schema import study_schema
    from harness.workload import load_workload

    print(json.dumps(study_schema(load_workload(workload).schema()), indent=2))


@app.command()
def sql(
    question: Annotated[str, typer.Argument(metavar="QUERY", help="SQL, read-only.")],
    results: Results = _RESULTS,
    form: Annotated[FormatChoice, typer.Option("--format", help="How to print the rows.")] = (
        FormatChoice.TABLE
    ),
) -> None:
    """Ask the database; waits a moment while a run is writing to it."""
    from harness.formats import format_rows
    from harness.store import query

    table = query(results, question, wait_s=10.0, on_wait=_say)
    print(format_rows(table.columns, table.rows, form.value))


@app.command()
def report(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml|NAME", help="File or name.")],
    results: Results = _RESULTS,
    reports: Reports = _REPORTS,
) -> None:
    """Print a study's table and write its report from what is finished."""
    from harness.driver import study_name

    _print_results(results, study_name(study), reports)


@app.command("ls")
def list_all(results: Results = _RESULTS) -> None:
    """List the studies of a results folder."""
    from harness.formats import format_rows
    from harness.store import connect, list_studies

    with connect(results, read_only=True, wait_s=10.0, on_wait=_say) as con:
        lines = list_studies(con)
    columns = ("study", "trials", "runs", "done", "failed", "updated (UTC)", "question")
    rows = [
        (
            line.study,
            line.trials,
            line.runs,
            line.done,
            line.failed,
            f"{line.updated:%Y-%m-%d %H:%M}",
            line.question,
        )
        for line in lines
    ]
    print(format_rows(columns, rows, "table"))


@app.command()
def rebuild(results: Results = _RESULTS) -> None:
    """Make the database anew from the spools, which hold all of it."""
    from harness.driver import rebuild_results

    made = rebuild_results(results, on_wait=_say)
    for notice in made.notices:
        _say(notice)
    print(f"{results}: made anew from {made.studies} studies and {made.runs} runs")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
