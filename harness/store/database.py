"""The results database ``results.duckdb``: opening it, asking it, making it anew.

DuckDB lets one process write or many read, never both at once. So it is held for moments only:
the driver for one transaction a tick, a reader for one question; whoever finds it held waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb

from harness.errors import InputError, StoreError
from harness.records.folders import folder
from harness.records.plain_file import refuse_link, unwritable
from harness.store.database_file import OnWait, Settings, damage, first_line, log_of, open_patiently
from harness.store.migrations import is_outdated, migrate, refuse_newer, schema_version
from harness.store.query_interrupt import ended_by_ctrl_c

# A commit that finds the disk full is wrapped into a TransactionException.
_UNUSABLE = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
    duckdb.InternalException,
    duckdb.SerializationException,
)
_FREE_SPACE = "free space or mend access, then run the same command again"
_READER: Settings = {
    "enable_external_access": "false",  # neither files nor the network
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
}


class Table(NamedTuple):
    """An answer to a query."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


def database_path(results: Path) -> Path:
    """The database file in a results folder."""
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
    """The database of a results folder, for the length of a ``with`` block.

    To write: the file is made and brought to the newest schema where needed, and the block is one
    transaction: committed and checkpointed at its end, so that a copy of the file is whole, or
    undone by an exception. Do not begin or commit inside. To read: nothing outside the database
    can be reached, and no setting changed; an older schema, or other views than those of this
    program, are brought up to date first.

    Args:
        results: The results folder.
        read_only: Whether to read or to write.
        wait_s: How long to try again while another process holds the file.
        on_wait: Called once, with a sentence that names the holder, when the wait begins.
        may_copy: Whether a reader may copy rows into files. Never with SQL of the user.

    Raises:
        InputError: nothing to read yet, or ``results`` is a file.
        StoreBusyError: still held after ``wait_s``; the message names the holder.
        StoreDamagedError: the file is damaged, as found now or at any time in the block.
        StoreError: of a newer version, not writable, or the disk is full.
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
                pass  # writing brings it up to date
            con = reach(read_only=True)
        _prepare(con, path, read_only)
        if not read_only:
            con.begin()
        try:
            yield con
        except BaseException:
            if not read_only:
                with suppress(duckdb.Error):  # a fatal one has ended the transaction
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
) -> Table:
    """The answer to ``sql``, which can read the database and nothing else.

    Args:
        results: The results folder.
        sql: One or more statements; the last one's answer is returned.
        params: Values for ``?`` or ``$1`` (a sequence) or ``$name`` (a mapping).
        wait_s: As for ``connect``.
        on_wait: As for ``connect``.

    Raises:
        InputError: nothing to read yet, or the SQL is wrong or tries to write.
        StoreBusyError: still held after ``wait_s``.
        StoreDamagedError: the file is damaged.
        StoreError: of a newer version, or not accessible.
    """
    with answered(results, sql, params, wait_s=wait_s, on_wait=on_wait) as con:
        columns = tuple(column[0] for column in con.description or ())
        return Table(columns, con.fetchall() if columns else [])


@contextmanager
def answered(
    results: Path,
    sql: str,
    params: Sequence[object] | Mapping[str, object] | None = None,
    *,
    wait_s: float,
    on_wait: OnWait | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """``query``, with the answer still to be fetched from the connection."""
    with (
        connect(results, read_only=True, wait_s=wait_s, on_wait=on_wait) as con,
        ended_by_ctrl_c(con.interrupt),
    ):
        try:
            con.execute(sql, params)
            yield con
        except duckdb.Error as error:
            if (found := damage(database_path(results), error)) is not None:
                raise found from None
            raise InputError(f"SQL: {_refusal(error)}{first_line(error)}") from None


def check_place(results: Path, read_only: bool) -> None:
    """Refuse a results folder that is none, and make one to write to."""
    for path in (database_path(results), log_of(database_path(results))):
        refuse_link(path)
    folder(results, "results")
    if read_only:
        if not database_path(results).exists():
            raise InputError(nothing_yet(results))
        return
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(results, error) from None


def nothing_yet(results: Path) -> str:
    """What to say where there is nothing to read."""
    return f"no results in {results} yet; run a study first"


def _prepare(con: duckdb.DuckDBPyConnection, path: Path, read_only: bool) -> None:
    """Bring the schema up to date, or refuse one that cannot be read."""
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
    """What to say before DuckDB's own words, where the SQL wants more than to read."""
    is_refused = isinstance(error, duckdb.PermissionException) or re.search(
        r"read-only|configuration has been locked|requires the extension|but it exists in the",
        str(error),
    )
    return "a query reads the database and nothing else: " if is_refused else ""
