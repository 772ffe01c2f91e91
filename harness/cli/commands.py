"""Define the command line, which parses, calls and prints, and decides nothing.

Slow imports are inside the commands, so that ``harness --help`` is quick.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Unpack

import typer

from harness.cli import result_commands
from harness.cli.options import (
    REPORTS,
    RESULTS,
    Address,
    ExecutorOption,
    FailureChoice,
    Overrides,
    PlanFormat,
    Reports,
    Results,
    RunsPerGpu,
    Study,
    Threads,
    Workers,
)
from harness.cli.terminal import say, show, show_data
from harness.errors import HarnessError, InputError

if TYPE_CHECKING:
    from harness.api import Options


app = typer.Typer(
    help="Ablation studies: one file asks a question, paired seeds answer it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(result_commands.app)


def main() -> None:
    """Run the command line and exit: 0, 1 (a run failed), 2 (wrong input), 130 (interrupted)."""
    try:
        app(prog_name="harness")
    except HarnessError as error:
        if os.environ.get("HARNESS_TRACEBACK"):
            traceback.print_exception(error)
        _fail(str(error), error.exit_status)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}the disk is full; free some space, then run the same command again", 2)


def _fail(message: str, status: int) -> NoReturn:
    for line in message.rstrip("\n").split("\n"):
        say(f"error: {line}")
    sys.exit(status)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        show(f"harness {version('gcudml-harness')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Ablation studies: one file asks a question, paired seeds answer it."""


@app.command()
def run(
    study: Study,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    workers: Workers = None,
    threads: Threads = None,
    executor: ExecutorOption = "process",
    runs_per_gpu: RunsPerGpu = 1,
    address: Address = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List trials and runs without training or writing.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Accept that the study has new trials or seeds.")
    ] = False,
    no_reuse: Annotated[
        bool, typer.Option("--no-reuse", help="Retrain finished runs and compare the results.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record where each trained run spends its time.")
    ] = False,
) -> None:
    """Train a study's missing runs, then print its table and write its report."""
    from harness.cli.output import print_preview
    from harness.engine.preview import preview

    given = tuple(overrides or ())
    if dry_run:
        print_preview(preview(study, given, results))
        return
    _run_and_print(
        study,
        given,
        reports,
        results=results,
        executor=executor,
        workers=workers,
        threads=threads,
        runs_per_gpu=runs_per_gpu,
        address=address,
        extend=extend,
        reuse=not no_reuse,
        profile=profile,
    )


@app.command()
def retry(
    study: Study,
    classes: Annotated[
        list[FailureChoice] | None,
        typer.Option("--class", help="Failure class to retry; repeatable [default: all]."),
    ] = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    workers: Workers = None,
    threads: Threads = None,
    executor: ExecutorOption = "process",
    runs_per_gpu: RunsPerGpu = 1,
    address: Address = None,
    overrides: Overrides = None,
) -> None:
    """Retry a study's failed runs, including those that `run` leaves alone, then run the rest."""
    _run_and_print(
        study,
        tuple(overrides or ()),
        reports,
        results=results,
        executor=executor,
        workers=workers,
        threads=threads,
        runs_per_gpu=runs_per_gpu,
        address=address,
        again=frozenset(each.value for each in classes or FailureChoice),
    )


def _run_and_print(
    study: Path,
    overrides: tuple[str, ...],
    reports: Path,
    *,
    results: Path,
    **options: Unpack[Options],
) -> NoReturn:
    import harness
    from harness.cli.output import forecast_line, print_results
    from harness.cli.progress_display import open_display

    options["command"] = shlex.join(["harness", *sys.argv[1:]])
    with open_display(sys.stdout) as display:
        outcome, _ = harness.run(
            study, results=results, overrides=overrides, watcher=display, **options
        )
    if outcome.is_stored:
        print_results(results, outcome.study, reports)
    if outcome.budget_message is not None:
        show(outcome.budget_message)
    if outcome.forecast is not None:
        show(forecast_line(outcome.forecast))
    if outcome.signal is not None:
        say("interrupted; run the same command again to continue")
    raise typer.Exit(outcome.exit_status)


@app.command()
def plan(
    study: Study,
    results: Results = RESULTS,
    workers: Workers = None,
    threads: Threads = None,
    overrides: Overrides = None,
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="Do not train four epochs to time them.")
    ] = False,
    form: Annotated[PlanFormat, typer.Option("--format", help="Output format.")] = "text",
) -> None:
    """Estimate what a study will take and what difference it could detect; write nothing."""
    import dataclasses
    import json

    from harness.cli.plan_output import describe
    from harness.engine.run_options import RunOptions
    from harness.planning.forecast import make_forecast

    options = RunOptions(results, workers=workers, threads=threads)
    found = make_forecast(study, tuple(overrides or ()), options, may_probe=not no_probe)
    if form == "json":
        show_data(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        show("\n".join(describe(found)))


@app.command()
def verify(
    study: Study,
    kills: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of what is killed, and when.")] = 0,
    workers: Workers = None,
    threads: Threads = None,
    overrides: Overrides = None,
) -> None:
    """Kill a study at random, resume it, and compare its tables with an uninterrupted run."""
    from harness.verify import Verification, describe

    given = tuple(overrides or ())
    verified = Verification(study, given, kills, seed, workers, threads, say).run()
    show("\n".join(describe(verified)))
    raise typer.Exit(0 if verified.is_equal else 1)


@app.command()
def check(study: Study, overrides: Overrides = None) -> None:
    """Check a study file and print how many runs it makes; no data is read."""
    from harness.cli.output import size_of
    from harness.search.rules import NEWEST_RULES, check_rules
    from harness.study.loading import load_study
    from harness.study.trials.plan import make_plan
    from harness.workload import load_workload

    loaded = load_study(study, tuple(overrides or ()))
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    check_rules(loaded, NEWEST_RULES)
    show(f"{study}: valid: {size_of(plan)}")


@app.command()
def schema(
    workload: Annotated[
        str, typer.Option(help="Workload whose parameters to describe.", metavar="MODULE")
    ] = "gcudml.workload",
) -> None:
    """Print the JSON Schema of study files, for editors."""
    import json

    from harness.study.json_schema import study_schema
    from harness.workload import load_workload

    parameters = load_workload(workload).schema()
    try:
        document = study_schema(parameters)
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError(
            f"workload {workload!r}: schema: not a JSON Schema: {error}; fix it"
        ) from error
    show_data(json.dumps(document, indent=2))
