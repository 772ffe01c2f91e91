"""Define the commands that read results: tables, reports, the database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    REPORTS,
    RESULTS,
    AnswerFormat,
    ExportChoice,
    FormatChoice,
    Host,
    Port,
    Reports,
    Results,
    StudyName,
    TextOrJson,
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
    form: AnswerFormat = "text",
) -> None:
    """Print a study's table and write its report from the finished runs."""
    from harness.errors import InputError

    if (study is None) is not every:
        raise InputError("report: give either a study, by its file or its name, or --all")
    if study is None:
        _report_all(results, reports, form)
        return
    from harness.answers.of_results import reported
    from harness.cli.output import result_lines, show_answer
    from harness.study.loading import study_name

    found = reported(results, study_name(study), reports)
    show_answer(form, found, lambda: result_lines(found))


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
    form: AnswerFormat = "text",
) -> None:
    """Print the path of a study's best model, chosen on validation images, or copy it."""
    from harness.answers.of_results import model
    from harness.cli.output import describe_model, show_answer
    from harness.export.best_model import find_model, take_model
    from harness.study.loading import study_name

    name = study_name(study)
    found = find_model(results, name, trial) if to is None else take_model(results, name, to, trial)
    answer = model(found)
    show_answer(form, answer, lambda: [describe_model(answer)])


def _report_all(results: Path, reports: Path, form: TextOrJson) -> None:
    """Write all pages; those that fail are named, and make the exit status 1."""
    from harness.answers.of_results import all_reported
    from harness.cli.output import show_answer
    from harness.report.index_page import write_all

    written = write_all(results, reports)
    for problem in written.problems:
        say(f"{problem.study}: no report: {problem.reason}")
    pages = [f"report: {page}" for page in written.pages]
    show_answer(form, all_reported(written), lambda: [*pages, f"index: {written.path}"])
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
    form: AnswerFormat = "text",
) -> None:
    """Write a page that compares trials of several studies."""
    from harness.answers.documents import Compared
    from harness.answers.of_studies import text_of
    from harness.cli.output import show_answer
    from harness.report.comparison_page import write_comparison
    from harness.study.loading import study_name

    names = [study_name(study) for study in studies]
    page = write_comparison(results, names, reports, baseline=baseline)
    answer = Compared(studies=tuple(dict.fromkeys(names)), page=text_of(page))
    show_answer(form, answer, lambda: [f"report: {page}"])


@app.command()
def watch(
    study: StudyName,
    results: Results = RESULTS,
    host: Host = "127.0.0.1",
    port: Port = 0,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between updates.")] = 2.0,
    form: AnswerFormat = "text",
) -> None:
    """Serve a study's page to a local browser while the study runs; Ctrl-C ends it."""
    import os
    import signal
    import threading
    from contextlib import suppress

    from harness.answers.documents import Watched
    from harness.cli.output import show_answer
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
        words = f"watching {name}: {server.url} (Ctrl-C ends it)"
        show_answer(form, Watched(study=name, url=server.url), lambda: [words])
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
    answer: Annotated[
        TextOrJson, typer.Option("--answer", help="text, or a JSON document for programs.")
    ] = "text",
) -> None:
    """Export a study to other tools: its rows, its table for a paper, its runs."""
    from harness.answers.documents import Exported, as_json
    from harness.export.export_study import export_study
    from harness.study.loading import study_name

    name = study_name(study)
    said = export_study(results, name, form, to, force=force)
    if answer == "json":
        show_data(as_json(Exported(study=name, form=form, said=said)))
    else:
        show_data(said)


@app.command()
def claims(
    study: StudyName,
    results: Results = RESULTS,
    form: AnswerFormat = "text",
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML, for CI.")
    ] = None,
) -> None:
    """Test a study's claims; exit status 0: all held, 1: one refuted, 3: one undecided."""
    from harness.answers.of_results import tested
    from harness.cli.output import show_answer
    from harness.export.junit import write_junit
    from harness.report.findings.claim_lines import claim_line, exit_status, registration
    from harness.report.study_claims import read_study_claims

    told = read_study_claims(results, study, on_wait=say)
    if junit is not None:
        write_junit(junit, told.study, told.found)
    lines = [*map(claim_line, told.found), *filter(None, [registration(told.found)])]
    show_answer(form, tested(told), lambda: lines)
    raise typer.Exit(exit_status(told.found))


@app.command("ls")
def list_all(results: Results = RESULTS, form: AnswerFormat = "text") -> None:
    """List the studies of a results folder."""
    from harness.answers.of_results import listed
    from harness.cli.output import list_lines, show_answer
    from harness.store.database import connect
    from harness.store.studies import list_studies

    with connect(results, read_only=True, wait_s=10.0, on_wait=say) as con:
        lines = list_studies(con)
    show_answer(form, listed(lines), lambda: list_lines(lines))


@app.command()
def rebuild(
    results: Results = RESULTS,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; list damaged files, exit status 1 if any."),
    ] = False,
    form: AnswerFormat = "text",
) -> None:
    """Rebuild the database from the spools, which hold everything in it."""
    if check:
        _check(results, form)
        return
    from harness.answers.documents import Rebuilt
    from harness.answers.of_studies import text_of
    from harness.cli.output import show_answer
    from harness.engine.database_repair import rebuild_results

    made = rebuild_results(results, on_wait=say)
    for notice in made.notices:
        say(notice)
    words = f"{results}: rebuilt from {made.studies} studies and {made.runs} runs"
    answer = Rebuilt(results=text_of(results), **made._asdict())
    show_answer(form, answer, lambda: [words])


def _check(results: Path, form: TextOrJson) -> None:
    """List what is damaged in a results folder."""
    from harness.answers.documents import Inspected
    from harness.answers.of_studies import text_of
    from harness.cli.output import show_answer
    from harness.store.inspection import inspect_results

    found = inspect_results(results)
    what = f"{len(found.problems)} damaged files" if found.problems else "nothing is damaged"
    words = f"{results}: {found.studies} studies and {found.runs} runs: {what}"
    answer = Inspected(results=text_of(results), **found._asdict())
    show_answer(form, answer, lambda: [*found.problems, words])
    if found.problems:
        raise typer.Exit(1)
