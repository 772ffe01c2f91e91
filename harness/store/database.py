"""Open and query the results database ``results.duckdb``, and keep its schema up to date.

DuckDB allows either one writing process or several reading ones. So each process holds the file
only briefly: the driver for one transaction per tick, a reader for one answer; the others wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import duckdb

from harness.errors import InputError, StoreError
from harness.records.folders import folder
from harness.records.plain_file import refuse_link, writing
from harness.store.database_file import OnWait, Settings, damage, first_line, log_of, open_patiently
from harness.store.query_interrupt import ended_after, ended_by_ctrl_c
from harness.store.tables.migrations import is_outdated, migrate, refuse_newer, schema_version

Connection: TypeAlias = duckdb.DuckDBPyConnection
"""An open database, so that no other room needs to import DuckDB for its type."""
# DuckDB raises a TransactionException when the disk is full at commit.
_UNUSABLE = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
    duckdb.InternalException,
    duckdb.SerializationException,
)
_FREE_SPACE = "free some space or fix the permissions, then run the same command again"
_READER: Settings = {
    "enable_external_access": "false",  # no files, no network
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
}


class Table(NamedTuple):
    """Result of a query."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def database_path(results: Path) -> Path:
    """Return the path of the database file in a results folder."""
    return results / "results.duckdb"


@contextmanager
def connect(
    results: Path,
    *,
    read_only: bool,
    wait_s: float = 0.0,
    on_wait: OnWait | None = None,
    may_copy: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database of a results folder for a ``with`` block.

    Writing: the file is created and migrated to the newest schema if necessary. The block is one
    transaction, rolled back on an exception; at the end it is committed and checkpointed, so that
    a copy of the file alone is complete. Do not begin or commit inside the block. Reading: queries
    cannot reach anything outside the database or change settings. An older schema, or views that
    differ from those of this program, are updated first.

    Args:
        results: The results folder.
        read_only: Whether to open for reading only.
        wait_s: How long to keep trying while another process holds the file.
        on_wait: Called once when the wait begins, with a message that names the holder.
        may_copy: Whether a reader may copy rows into files. Never set it for SQL from the user.

    Raises:
        InputError: there is nothing to read yet, or ``results`` is a file.
        StoreBusyError: the file is still in use after ``wait_s``; the message names the holder.
        StoreDamagedError: the file is damaged; also raised when the block finds the damage.
        StoreError: the schema is newer, the file is not writable, or the disk is full.
    """
    path = database_path(results)
    check_place(results, read_only)
    settings = _READER if read_only and not may_copy else {}
    reach = partial(open_patiently, path, wait_s=wait_s, on_wait=on_wait, settings=settings)
    con = reach(read_only=read_only)
    try:
        if read_only and is_outdated(con):
            con.close()
            with connect(results, read_only=False, wait_s=wait_s, on_wait=on_wait):
                pass  # opening for writing updates the schema
            con = reach(read_only=True)
        _prepare(con, path, read_only)
        if not read_only:
            con.begin()
        try:
            yield con
        except BaseException:
            if not read_only:
                with suppress(duckdb.Error):  # a fatal error has already ended the transaction
                    con.rollback()
            raise
        if not read_only:
            con.commit()
            con.execute("CHECKPOINT")
    except duckdb.Error as error:
        if (found := damage(path, error)) is not None:
            raise found from None
        if not isinstance(error, _UNUSABLE):
            raise
        raise StoreError(f"{path}: {first_line(error)}; {_FREE_SPACE}") from None
    finally:
        con.close()


def query(
    results: Path,
    sql: str,
    params: Sequence[object] | Mapping[str, object] | None = None,
    *,
    wait_s: float = 10.0,
    on_wait: OnWait | None = None,
    limit_s: float | None = None,
) -> Table:
    """Run ``sql``, which can only read the database, and return its result.

    Args:
        results: The results folder.
        sql: One or more statements; the result of the last one is returned.
        params: Values for ``?`` or ``$1`` (a sequence) or ``$name`` (a mapping).
        wait_s: As for ``connect``.
        on_wait: As for ``connect``.
        limit_s: How long the query may take; None for as long as it needs.

    Raises:
        InputError: there is nothing to read yet, the SQL is invalid or tries to write, or the
            query takes too long.
        StoreBusyError: the file is still in use after ``wait_s``.
        StoreDamagedError: the file is damaged.
        StoreError: the schema is newer, or the file is not accessible.
    """
    with answered(results, sql, params, wait_s=wait_s, on_wait=on_wait, limit_s=limit_s) as con:
        columns = tuple(column[0] for column in con.description or ())
        return Table(columns, con.fetchall() if columns else [])


@contextmanager
def reading(
    results: Path, *, wait_s: float = 10.0, on_wait: OnWait | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database for the queries of a ``with`` block, which Ctrl-C interrupts.

    Opening costs more CPU time than most queries: what reads much opens it once.

    Raises:
        InputError: there is nothing to read yet.
        StoreError: as for ``connect``.
    """
    with (
        connect(results, read_only=True, wait_s=wait_s, on_wait=on_wait) as con,
        ended_by_ctrl_c(con.interrupt),
    ):
        yield con


@contextmanager
def answered(
    results: Path,
    sql: str,
    params: Sequence[object] | Mapping[str, object] | None = None,
    *,
    wait_s: float,
    on_wait: OnWait | None = None,
    limit_s: float | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Run a query like ``query``, but leave the result to be fetched from the connection."""
    with (
        reading(results, wait_s=wait_s, on_wait=on_wait) as con,
        ended_after(con.interrupt, limit_s),
    ):
        try:
            con.execute(sql, params)
            yield con
        except duckdb.Error as error:
            if (found := damage(database_path(results), error)) is not None:
                raise found from None
            raise InputError(f"SQL: {_refusal(error)}{first_line(error)}") from None


def check_place(results: Path, read_only: bool) -> None:
    """Reject a path that cannot be a results folder; create the folder if it is to be written."""
    for path in (database_path(results), log_of(database_path(results))):
        refuse_link(path)
    folder(results, "results")
    if read_only:
        if not database_path(results).exists():
            raise InputError(nothing_yet(results))
        return
    with writing(results):
        results.mkdir(parents=True, exist_ok=True)


def nothing_yet(results: Path) -> str:
    """Return the message for a results folder without results."""
    return f"no results in {results} yet; run a study first"


def _prepare(con: duckdb.DuckDBPyConnection, path: Path, read_only: bool) -> None:
    """Update the schema when writing; reject an unreadable one when reading."""
    try:
        if not read_only:
            migrate(con)
            return
        version = schema_version(con)
        refuse_newer(version)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    if version == 0:
        raise InputError(nothing_yet(path.parent))


def _refusal(error: duckdb.Error) -> str:
    """Return a prefix for DuckDB's message if the SQL tried to do more than read."""
    is_refused = isinstance(error, duckdb.PermissionException) or re.search(
        r"read-only|configuration has been locked|requires the extension|but it exists in the",
        str(error),
    )
    return "a query can only read the database: " if is_refused else ""
