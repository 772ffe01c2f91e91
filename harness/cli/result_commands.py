"""Define the commands that read results: tables, reports, the database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    REPORTS,
    RESULTS,
    ExportChoice,
    FormatChoice,
    Host,
    PlanFormat,
    Port,
    Reports,
    Results,
    StudyName,
)
from harness.cli.terminal import say, show, show_data
from harness.errors import InputError

app = typer.Typer()


@app.command()
def sql(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY", help="SQL, read-only [default: a prompt, or standard input]."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="File with the query; - is standard input."
        ),
    ] = None,
    results: Results = RESULTS,
    form: Annotated[FormatChoice, typer.Option("--format", help="Output format.")] = "table",
) -> None:
    """Query the database; waits a moment while a run is writing to it."""
    from harness.cli import sql_prompt
    from harness.cli.row_formats import format_rows
    from harness.store.database import query

    if question is not None and file is not None:
        raise InputError("give either a query or --file, not both")
    if question is None and file is None and sys.stdin.isatty():
        known = sql_prompt.words(results)
        say(".help explains the prompt, .tables lists what can be queried")
        ask = sql_prompt.terminal(known, sql_prompt.history_file())
        sql_prompt.converse(results, form, ask, show)
        return
    text = sql_prompt.read_query(file) if question is None else question
    table = query(results, text, wait_s=10.0, on_wait=say)
    show_data(format_rows(table.columns, table.rows, form))


@app.command()
def report(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY.yaml|NAME", help="File or name.")
    ] = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    every: Annotated[
        bool, typer.Option("--all", help="Write the pages of all studies, and an index.")
    ] = False,
) -> None:
    """Print a study's table and write its report from the finished runs."""
    from harness.errors import InputError

    if (study is None) is not every:
        raise InputError("report: give either a study, by its file or its name, or --all")
    if study is None:
        _report_all(results, reports)
        return
    from harness.cli.output import print_results
    from harness.study.loading import study_name

    print_results(results, study_name(study), reports)


@app.command()
def best(
    study: StudyName,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for a copy of the model.")
    ] = None,
    trial: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Trial to take [default: the best].")
    ] = None,
    results: Results = RESULTS,
) -> None:
    """Print the path of a study's best model, chosen on validation images, or copy it."""
    from harness.cli.output import describe_model
    from harness.export.best_model import find_model, take_model
    from harness.study.loading import study_name

    name = study_name(study)
    if to is None:
        show(describe_model(find_model(results, name, trial)))
    else:
        show(describe_model(take_model(results, name, to, trial)))


def _report_all(results: Path, reports: Path) -> None:
    """Write all pages; those that fail are named, and make the exit status 1."""
    from harness.report.index_page import write_all

    written = write_all(results, reports)
    for problem in written.problems:
        say(f"{problem.study}: no report: {problem.reason}")
    for page in written.pages:
        show(f"report: {page}")
    show(f"index: {written.path}")
    if written.problems:
        raise typer.Exit(1)


@app.command()
def compare(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY STUDY...", help="Files or names, two or more.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY/TRIAL", help="The reference [default: the first study's baseline]."
        ),
    ] = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
) -> None:
    """Write a page that compares trials of several studies."""
    from harness.report.comparison_page import write_comparison
    from harness.study.loading import study_name

    names = [study_name(study) for study in studies]
    show(f"report: {write_comparison(results, names, reports, baseline=baseline)}")


@app.command()
def watch(
    study: StudyName,
    results: Results = RESULTS,
    host: Host = "127.0.0.1",
    port: Port = 0,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between updates.")] = 2.0,
) -> None:
    """Serve a study's page to a local browser while the study runs; Ctrl-C ends it."""
    import os
    import signal
    import threading
    from contextlib import suppress

    from harness.study.loading import study_name
    from harness.watch.live_page import Watch, serve
    from harness.watch.page_server import is_loopback

    name = study_name(study)
    os.nice(10)  # leave the CPU to the runs
    # Shells make background commands ignore Ctrl-C, but `kill -INT` must still end this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watched = Watch(results, name, every_s=every)
    with serve(watched, host, port) as server, suppress(KeyboardInterrupt):
        if not is_loopback(host):
            say(f"warning: anyone who can reach {host} can read the results of {name}")
        show(f"watching {name}: {server.url} (Ctrl-C ends it)")
        sys.stdout.flush()
        watched.start()
        threading.Event().wait()
    watched.stop()


@app.command()
def export(
    study: StudyName,
    form: Annotated[ExportChoice, typer.Option("--format", help="Format of the export.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="File or folder, or a URI for MLflow [default: below exports; a table is "
            "printed].",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    results: Results = RESULTS,
) -> None:
    """Export a study to other tools: its rows, its table for a paper, its runs."""
    from harness.export.export_study import export_study
    from harness.study.loading import study_name

    show_data(export_study(results, study_name(study), form, to, force=force))


@app.command()
def claims(
    study: StudyName,
    results: Results = RESULTS,
    form: Annotated[PlanFormat, typer.Option("--format", help="Output format.")] = "text",
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML, for CI.")
    ] = None,
) -> None:
    """Test a study's claims; exit status 0: all held, 1: one refuted, 3: one undecided."""
    import json

    from harness.export.junit import write_junit
    from harness.report.findings.claim_lines import claim_line, exit_status, registration
    from harness.report.study_claims import claim_document, read_study_claims

    told = read_study_claims(results, study, on_wait=say)
    if junit is not None:
        write_junit(junit, told.study, told.found)
    if form == "json":
        show_data(json.dumps(claim_document(told), indent=2, ensure_ascii=False))
    else:
        for each in told.found:
            show(claim_line(each))
        if said := registration(told.found):
            show(said)
    raise typer.Exit(exit_status(told.found))


@app.command("ls")
def list_all(results: Results = RESULTS) -> None:
    """List the studies of a results folder."""
    from harness.cli.row_formats import format_rows
    from harness.store.database import connect
    from harness.store.studies import list_studies

    with connect(results, read_only=True, wait_s=10.0, on_wait=say) as con:
        lines = list_studies(con)
    columns = ("study", "trials", "runs", "done", "failed", "pruned", "updated (UTC)", "question")
    rows = [
        (
            line.study,
            line.trials,
            line.runs,
            line.done,
            line.failed,
            line.pruned,
            f"{line.updated:%Y-%m-%d %H:%M}",
            line.question,
        )
        for line in lines
    ]
    show(format_rows(columns, rows, "table"))


@app.command()
def rebuild(
    results: Results = RESULTS,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; list damaged files, exit status 1 if any."),
    ] = False,
) -> None:
    """Rebuild the database from the spools, which hold everything in it."""
    if check:
        _check(results)
        return
    from harness.engine.database_repair import rebuild_results

    made = rebuild_results(results, on_wait=say)
    for notice in made.notices:
        say(notice)
    show(f"{results}: rebuilt from {made.studies} studies and {made.runs} runs")


def _check(results: Path) -> None:
    """List what is damaged in a results folder."""
    from harness.store.inspection import inspect_results

    found = inspect_results(results)
    for problem in found.problems:
        show(problem)
    what = f"{len(found.problems)} damaged files" if found.problems else "nothing is damaged"
    show(f"{results}: {found.studies} studies and {found.runs} runs: {what}")
    if found.problems:
        raise typer.Exit(1)
