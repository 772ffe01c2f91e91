"""The results database ``results.duckdb``: opening it, asking it, making it anew.

DuckDB lets one process write or many read, never both at once. So it is held for moments only:
the driver for one transaction a tick, a reader for one question; whoever finds it held waits.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb

from harness.comparisons import refresh_comparisons, refresh_comparisons_of_runs
from harness.database_file import (
    OnWait,
    Settings,
    damage,
    first_line,
    is_unusable,
    log_of,
    open_patiently,
    set_aside,
)
from harness.errors import InputError, StoreError
from harness.event_log import read_spool
from harness.ingest import ingest, ingest_all, write_study
from harness.migrations import is_older, migrate, refuse_newer, schema_version
from harness.places import folder
from harness.plain_file import names_in, refuse_link, unwritable
from harness.query_interrupt import ended_by_ctrl_c
from harness.spool import spool_path
from harness.study_record import read_study_records

__all__ = [
    "Rebuilt",
    "StudyLine",
    "Table",
    "answered",
    "connect",
    "database_path",
    "ingest",
    "ingest_all",
    "list_studies",
    "query",
    "rebuild",
    "refresh_comparisons",
    "refresh_comparisons_of_runs",
    "write_study",
]

_RUNS_A_TRANSACTION = 200
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


class StudyLine(NamedTuple):
    """A study in a list of studies."""

    study: str
    question: str
    metric: str
    sampler: str
    trials: int
    runs: int
    """Planned so far."""
    done: int
    failed: int
    pruned: int
    """Stopped early, or spared because their trial was given up."""
    updated: datetime
    """UTC, without a time zone."""


class Rebuilt(NamedTuple):
    """What a rebuilt database was made from."""

    studies: int
    runs: int
    notices: tuple[str, ...]
    """What could not be taken over: damaged records of studies, and see ``ingest_all``."""


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
    can be reached, and no setting changed; an older schema is brought up to date first.

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
    _check_place(results, read_only)
    settings = _READER if read_only and not may_copy else {}
    reach = partial(open_patiently, path, wait_s=wait_s, on_wait=on_wait, settings=settings)
    con = reach(read_only=read_only)
    try:
        if read_only and is_older(con):
            con.close()
            with connect(results, read_only=False, wait_s=wait_s, on_wait=on_wait):
                pass  # writing brings it to the newest schema
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


def list_studies(con: duckdb.DuckDBPyConnection) -> list[StudyLine]:
    """All studies, by name."""
    rows = con.execute(
        """
        SELECT
            study, any_value(question), any_value(metric), any_value(sampler),
            count(DISTINCT trial_id), count(member.run_id),
            count(*) FILTER (run.state = 'done' AND NOT is_pruned),
            count(*) FILTER (run.state = 'failed' AND NOT is_pruned),
            count(*) FILTER (is_pruned),
            any_value(updated)
        FROM study
        LEFT JOIN trial USING (study)
        LEFT JOIN member USING (trial_id)
        LEFT JOIN run USING (run_id)
        GROUP BY study
        ORDER BY study
        """
    ).fetchall()
    return [StudyLine(*row) for row in rows]


def rebuild(results: Path, *, wait_s: float = 0.0, on_wait: OnWait | None = None) -> Rebuilt:
    """Make the database anew from study records and spools; its content is the same as before.

    The new one is made beside the old one and takes its place when it is complete, so that an
    interrupted rebuild changes nothing. A newer database is replaced as well; a damaged one, or
    whatever is in its place, is kept under another name, as a notice says.

    Raises:
        InputError: the folder holds no results.
        StoreBusyError: the database is still in use after ``wait_s``.
        StoreError: the disk is full.
    """
    _check_place(results, read_only=False)
    notices: list[str] = []
    records = read_study_records(results, notices)
    run_ids = names_in(results / "runs")
    path = database_path(results)
    is_bad = path.exists() and is_unusable(path, wait_s=wait_s, on_wait=on_wait)
    if not (records or run_ids or notices or is_bad):
        raise InputError(_nothing_yet(results))
    beside = results / ".rebuild"
    with _writable(beside):
        _clear(beside)
    with connect(beside, read_only=False) as con:
        for record in records:
            write_study(con, record)
    runs = 0
    for start in range(0, len(run_ids), _RUNS_A_TRANSACTION):
        with connect(beside, read_only=False) as con:
            spools = {}
            for run_id in run_ids[start : start + _RUNS_A_TRANSACTION]:
                try:
                    if entries := read_spool(spool_path(results / "runs" / run_id)):
                        spools[run_id] = entries
                except StoreError as error:
                    notices.append(f"{error}; the run is left out")
            notices += ingest_all(con, results, spools)
            runs += len(spools)
    with connect(beside, read_only=False) as con:
        for record in records:
            refresh_comparisons(con, record.study)
    with _writable(path):
        if is_bad or log_of(path).exists():
            aside = set_aside(path)
            notices.append(f"{path}: was damaged; it is kept as {aside.name}, which nothing needs")
        database_path(beside).replace(path)
        _clear(beside)
    return Rebuilt(len(records), runs, tuple(notices))


def _check_place(results: Path, read_only: bool) -> None:
    """Refuse a results folder that is none, and make one to write to."""
    for path in (database_path(results), log_of(database_path(results))):
        refuse_link(path)
    folder(results, "results")
    if read_only:
        if not database_path(results).exists():
            raise InputError(_nothing_yet(results))
        return
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(results, error) from None


def _nothing_yet(results: Path) -> str:
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
        raise InputError(_nothing_yet(path.parent))


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Say in a line that ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from None


def _clear(path: Path) -> None:
    """Remove what an interrupted rebuild has left, and whatever else is in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refusal(error: duckdb.Error) -> str:
    """What to say before DuckDB's own words, where the SQL wants more than to read."""
    is_refused = isinstance(error, duckdb.PermissionException) or re.search(
        r"read-only|configuration has been locked|requires the extension|but it exists in the",
        str(error),
    )
    return "a query reads the database and nothing else: " if is_refused else ""
