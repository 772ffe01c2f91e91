"""Commands that read what studies have left: tables, reports, the database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.options import (
    REPORTS,
    RESULTS,
    ExportChoice,
    FormatChoice,
    Reports,
    Results,
    say,
)

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
        typer.Option("--file", "-f", metavar="FILE", help="Of a query; - is standard input."),
    ] = None,
    results: Results = RESULTS,
    form: Annotated[FormatChoice, typer.Option("--format", help="How to print the rows.")] = (
        FormatChoice.TABLE
    ),
) -> None:
    """Ask the database; waits a moment while a run is writing to it."""
    from harness import sql_prompt
    from harness.formats import format_rows
    from harness.store import query

    if question is not None and file is not None:
        raise InputError("a query and --file are given; give one of them")
    if question is None and file is None and sys.stdin.isatty():
        known = sql_prompt.words(results)
        say(".help says how to ask, .tables what can be asked")
        ask = sql_prompt.terminal(known, sql_prompt.history_file())
        sql_prompt.converse(results, form.value, ask, print)
        return
    text = sql_prompt.read_query(file) if question is None else question
    table = query(results, text, wait_s=10.0, on_wait=say)
    print(format_rows(table.columns, table.rows, form.value))


@app.command()
def report(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml|NAME", help="File or name.")],
    results: Results = RESULTS,
    reports: Reports = REPORTS,
) -> None:
    """Print a study's table and write its report from what is finished."""
    from harness.driver import study_name
    from harness.printing import print_results

    print_results(results, study_name(study), reports)


@app.command()
def export(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml|NAME", help="File or name.")],
    form: Annotated[ExportChoice, typer.Option("--format", help="For whom or what.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="File or folder, for MLflow also a URI [default: below exports; a table is "
            "printed].",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what an earlier export has written.")
    ] = False,
    results: Results = RESULTS,
) -> None:
    """Write a study for other tools: its rows, its table for a paper, its runs."""
    from harness.driver import study_name
    from harness.export import export_study

    print(export_study(results, study_name(study), form.value, to, force=force))


@app.command("ls")
def list_all(results: Results = RESULTS) -> None:
    """List the studies of a results folder."""
    from harness.formats import format_rows
    from harness.store import connect, list_studies

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
    print(format_rows(columns, rows, "table"))


@app.command()
def rebuild(results: Results = RESULTS) -> None:
    """Make the database anew from the spools, which hold all of it."""
    from harness.driver import rebuild_results

    made = rebuild_results(results, on_wait=say)
    for notice in made.notices:
        say(notice)
    print(f"{results}: made anew from {made.studies} studies and {made.runs} runs")
