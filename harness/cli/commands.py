"""Define the command line, which parses, calls and prints, and decides nothing.

Slow imports are inside the commands, so that ``harness --help`` is quick.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Unpack, cast

import typer

from harness.cli import result_commands
from harness.cli.options import (
    REPORTS,
    RESULTS,
    Address,
    AnswerFormat,
    ExecutorOption,
    FailureChoice,
    Overrides,
    Reports,
    Results,
    RunsPerGpu,
    SchemaSubject,
    Study,
    TextOrJson,
    Threads,
    Workers,
)
from harness.cli.terminal import notice, say, say_error, show, show_data, speaking
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
    with speaking(sys.argv[1:]) as is_json:
        try:
            # Typer itself would describe wrong options in sentences for people.
            status = app(prog_name="harness", standalone_mode=not is_json)
        except _WRONG_OPTION as error:
            _fail(error.format_message(), error.exit_code)
        except HarnessError as error:
            if os.environ.get("HARNESS_TRACEBACK"):
                traceback.print_exception(error)
            _fail(str(error), error.exit_status)
        except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"{where}the disk is full; free some space, then run the same command again", 2)
    sys.exit(status or 0)


_WRONG_OPTION = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])
"""Any error that Typer finds in the command line; it does not export the name of the class."""


def _fail(message: str, status: int) -> NoReturn:
    say_error(message, status)
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
    form: AnswerFormat = "text",
) -> None:
    """Train a study's missing runs, then print its table and write its report."""
    from harness.answers.of_studies import previewed
    from harness.cli.output import preview_lines, show_answer
    from harness.engine.preview import preview

    given = tuple(overrides or ())
    if dry_run:
        planned = preview(study, given, results)
        show_answer(form, previewed(planned), lambda: preview_lines(planned))
        return
    _run_and_print(
        study,
        given,
        reports,
        form,
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
    form: AnswerFormat = "text",
) -> None:
    """Retry a study's failed runs, including those that `run` leaves alone, then run the rest."""
    _run_and_print(
        study,
        tuple(overrides or ()),
        reports,
        form,
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
    form: TextOrJson,
    *,
    results: Path,
    **options: Unpack[Options],
) -> NoReturn:
    import harness
    from harness.answers.of_results import reported
    from harness.answers.of_studies import ran
    from harness.cli.output import forecast_line, result_lines, show_answer
    from harness.cli.progress_display import PlainDisplay, open_display

    options["command"] = shlex.join(["harness", *sys.argv[1:]])
    # Standard output belongs to the answer.
    quiet = nullcontext(PlainDisplay(sys.stderr, notice))
    with open_display(sys.stdout) if form == "text" else quiet as display:
        outcome, _ = harness.run(
            study, results=results, overrides=overrides, watcher=display, **options
        )
    found = reported(results, outcome.study, reports) if outcome.is_stored else None
    if outcome.forecast is not None and form == "text":
        show(forecast_line(outcome.forecast))
    show_answer(form, ran(outcome, found), lambda: result_lines(found) if found else [])
    if outcome.budget_message is not None and form == "text":
        show(outcome.budget_message)
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
    form: AnswerFormat = "text",
) -> None:
    """Estimate what a study will take and what difference it could detect; write nothing."""
    from harness.answers.documents import Planned
    from harness.cli.output import show_answer
    from harness.cli.plan_output import describe
    from harness.engine.run_options import RunOptions
    from harness.planning.forecast import make_forecast

    options = RunOptions(results, workers=workers, threads=threads)
    found = make_forecast(study, tuple(overrides or ()), options, may_probe=not no_probe)
    show_answer(form, Planned(found), lambda: describe(found))


@app.command()
def verify(
    study: Study,
    kills: Annotated[int, typer.Option(min=1, help="Number of kills.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of what is killed, and when.")] = 0,
    workers: Workers = None,
    threads: Threads = None,
    overrides: Overrides = None,
    results: Results = RESULTS,
    form: AnswerFormat = "text",
) -> None:
    """Kill a study at random, resume it, and compare its tables with an uninterrupted run."""
    from harness.answers.of_studies import verified
    from harness.cli.output import show_answer
    from harness.study.loading import load_study
    from harness.verify import Verification, describe, keep_outcome

    given = tuple(overrides or ())
    spec = load_study(study, given).spec
    found = Verification(study, given, kills, seed, workers, threads, say).run()
    keep_outcome(results, spec, found)
    show_answer(form, verified(spec.study, found), lambda: describe(found))
    raise typer.Exit(0 if found.is_equal else 1)


@app.command()
def check(study: Study, overrides: Overrides = None, form: AnswerFormat = "text") -> None:
    """Check a study file and print how many runs it makes; no data is read."""
    from harness.answers.of_studies import checked
    from harness.cli.output import show_answer, size_text
    from harness.study.loading import load_study

    found = checked(load_study(study, tuple(overrides or ())))
    show_answer(form, found, lambda: [f"{study}: valid: {size_text(found)}"])


@app.command()
def schema(
    workload: Annotated[
        str, typer.Option(help="Workload whose parameters to describe.", metavar="MODULE")
    ] = "gcudml.workload",
    subject: Annotated[
        SchemaSubject, typer.Option("--of", help="Study files, or the answers with --format json.")
    ] = "study",
) -> None:
    """Print the JSON Schema of study files, for editors, or of answers, for programs."""
    import json

    from harness.study.json_schema import study_schema
    from harness.workload import load_workload

    if subject == "results":
        from harness.answers import answers_schema

        show_data(json.dumps(answers_schema(), indent=2))
        return
    parameters = load_workload(workload).schema()
    try:
        document = study_schema(parameters)
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError(
            f"workload {workload!r}: schema: not a JSON Schema: {error}; fix it"
        ) from error
    show_data(json.dumps(document, indent=2))


@app.command()
def mcp(
    workloads: Annotated[
        list[str],
        typer.Option("--workload", metavar="MODULE", help="Workload of studies; repeatable."),
    ],
    results: Results = RESULTS,
    studies: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study files.")] = Path(
        "studies"
    ),
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder that studies may read; repeatable."),
    ] = None,
) -> None:
    """Serve tools to an agent (MCP, over standard input and output), without shut test scores."""
    from harness.agents.admission import Admission
    from harness.agents.server import serve

    serve(Admission(results, studies, tuple(workloads), tuple(data or ())))
