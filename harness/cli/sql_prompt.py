"""Query the database line by line: `harness sql` on a terminal, without a query.

The database is open only while a query is answered, so that a driver that wants to write does not
wait for an idle prompt.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from harness.cli.options import FormatChoice
from harness.cli.row_formats import format_rows
from harness.errors import HarnessError, InputError, nearest
from harness.store import database

_WAIT_S = 10.0
HELP = """\
each line is a query; Tab completes, arrow keys recall earlier lines, Ctrl-D quits
.tables          the tables and views, and what a row of each holds
.schema [NAME]   the columns of one, or of all
.format NAME     table, csv, json or markdown
.quit            quit"""
_KEYWORDS = """
    ALL AND AS ASC BETWEEN BY CASE CAST DESC DESCRIBE DISTINCT ELSE END EXCLUDE EXISTS FALSE FILTER
    FROM GROUP HAVING IN IS JOIN LEFT LIKE LIMIT NOT NULL NULLS OFFSET ON OR ORDER OVER PARTITION
    PIVOT QUALIFY SELECT SUMMARIZE THEN TRUE UNION USING VALUES WHEN WHERE WITH
    arg_max arg_min avg coalesce count isfinite list max median min quantile_cont rank round
    row_number stddev_samp string_agg sum unnest
"""
_OBJECTS = """
    SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables()
    UNION ALL
    SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal
    ORDER BY ALL
"""
_COLUMNS = """
    SELECT table_name AS "in", column_name AS "column", lower(data_type) AS type, comment
    FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index
"""

Ask = Callable[[], str]
"""Returns the next line; EOFError is the end, KeyboardInterrupt drops the line."""


def read_query(file: Path | None) -> str:
    """Read the query from a file; ``-`` and None are standard input.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    is_stdin = file is None or str(file) == "-"
    where = "standard input" if is_stdin else str(file)
    try:
        text = sys.stdin.read() if is_stdin or file is None else file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}; give the path of an SQL file") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text; give the path of an SQL file") from None
    if not text.strip():
        raise InputError(f"{where}: no query in it; give one, such as FROM trials")
    return text


def converse(results: Path, form: FormatChoice, ask: Ask, show: Callable[[str], None]) -> None:
    """Answer line after line until the end; after an error, the prompt continues."""
    while True:
        try:
            line = ask().strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            continue
        command, _, argument = line.partition(" ")
        if command in (".quit", ".exit", ".q"):
            return
        try:
            if command == ".format":
                form = _form(argument.strip())
            elif line:
                show(_answer(results, form, line))
        except HarnessError as error:
            show(f"error: {error}")
        except KeyboardInterrupt:
            show("error: interrupted")


def words(results: Path) -> Mapping[str, str]:
    """Map completions to their meanings: keywords, tables, views, columns and commands.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    found = dict.fromkeys(_KEYWORDS.split(), "")
    for _, column, _, comment in database.query(results, _COLUMNS, wait_s=_WAIT_S).rows:
        known = found.setdefault(str(column), str(comment or ""))
        if known != (comment or ""):
            found[str(column)] = ""  # means something else in another table
    for name, _, comment in database.query(results, _OBJECTS, wait_s=_WAIT_S).rows:
        found[str(name)] = str(comment or "")
    return found | dict.fromkeys((".tables", ".schema", ".format", ".help", ".quit"), "")


def history_file() -> Path:
    """Return the file that keeps earlier lines, per machine and user."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "harness" / "sql_history"


def terminal(completions: Mapping[str, str], history: Path) -> Ask:
    """Return a terminal prompt with completion, and with the history that ``history`` keeps.

    If ``history`` cannot be written, lines are remembered until the end only.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    kept: History
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        history.open("ab").close()
        kept = FileHistory(str(history))
    except OSError:
        kept = InMemoryHistory()
    completer = WordCompleter(
        sorted(completions, key=str.lower),
        ignore_case=True,
        meta_dict=completions,
        pattern=re.compile(r"\w*\.$|\w+"),  # searched backwards from the cursor
    )
    session: PromptSession[str] = PromptSession(
        "harness> ", history=kept, completer=completer, enable_history_search=True
    )
    return session.prompt


def _answer(results: Path, form: FormatChoice, line: str) -> str:
    """Return what to show for a line that is not empty."""
    command, _, argument = line.partition(" ")
    name = argument.strip().rstrip(";")
    if command == ".help":
        return HELP
    if command == ".tables":
        return _formatted(database.query(results, _OBJECTS, wait_s=_WAIT_S), form)
    if command == ".schema":
        return _formatted(_schema(results, name), form)
    if command.startswith("."):
        raise InputError(f"unknown command {command!r}; .help lists them")
    return _formatted(database.query(results, line, wait_s=_WAIT_S), form)


def _schema(results: Path, name: str) -> database.Table:
    """Return the columns of a table or view, or of all."""
    table = database.query(results, _COLUMNS, wait_s=_WAIT_S)
    if not name:
        return table
    rows = [row[1:] for row in table.rows if row[0] == name]
    if not rows:
        known = sorted({str(row[0]) for row in table.rows})
        raise InputError(f"no table or view {name!r}; {nearest(name, known)}")
    return database.Table(table.columns[1:], rows)


def _formatted(table: database.Table, form: FormatChoice) -> str:
    return format_rows(table.columns, table.rows, form)


def _form(name: str) -> FormatChoice:
    """Return the format of that name.

    Raises:
        InputError: there is none.
    """
    for known in get_args(FormatChoice):
        if known == name:
            form: FormatChoice = known
            return form
    raise InputError(f"unknown format {name!r}; known: {', '.join(get_args(FormatChoice))}")
