"""The results database ``results.duckdb``: opening it, asking it, making it anew.

DuckDB lets one process write or many read, never both at once. So it is held for moments only:
the driver for one transaction a tick, a reader for one question; whoever finds it held waits.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from harness.comparisons import refresh_comparisons, refresh_comparisons_of_runs
from harness.errors import InputError, StoreBusyError, StoreError
from harness.event_log import read_spool
from harness.ingest import ingest, ingest_all, write_study
from harness.migrations import is_older, migrate, refuse_newer, schema_version
from harness.plain_file import refuse_link, unwritable
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

OnWait = Callable[[str], None]

_POLL_S = 0.02
_RUNS_A_TRANSACTION = 200
# A commit that finds the disk full is wrapped into a TransactionException.
_UNUSABLE = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
)
_Settings = dict[str, str | bool | int | float | list[str]]
_READER: _Settings = {
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
        StoreError: damaged, of a newer version, not writable, or the disk is full.
    """
    path = database_path(results)
    _check_place(results, read_only)
    settings: _Settings = _READER if read_only and not may_copy else {}
    con = _open_patiently(path, read_only, wait_s, on_wait, settings)
    if read_only and is_older(con):
        con.close()
        with connect(results, read_only=False, wait_s=wait_s, on_wait=on_wait):
            pass  # writing brings it to the newest schema
        con = _open_patiently(path, read_only, wait_s, on_wait, settings)
    try:
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
    except _UNUSABLE as error:
        raise StoreError(
            f"{path}: {_first_line(error)}; free space or mend access, then run the same "
            "command again"
        ) from None
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
        StoreError: damaged or of a newer version.
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
            raise InputError(f"SQL: {_refusal(error)}{_first_line(error)}") from None


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
    interrupted rebuild changes nothing. A damaged or newer database is replaced as well.

    Raises:
        InputError: the folder holds no results.
        StoreBusyError: the database is still in use after ``wait_s``.
        StoreError: the disk is full.
    """
    _check_place(results, read_only=False)
    notices: list[str] = []
    records = read_study_records(results, notices)
    run_ids = sorted(path.parent.name for path in results.glob("runs/*/spool.jsonl"))
    if not (records or run_ids or notices):
        raise InputError(_nothing_yet(results))
    path = database_path(results)
    if path.exists():  # nobody may be at work on it; that it is unusable is no obstacle
        try:
            _open_patiently(path, False, wait_s, on_wait, {}).close()
        except StoreBusyError:
            raise
        except StoreError:
            pass
    beside = results / ".rebuild"
    _remove_database(beside)
    with connect(beside, read_only=False) as con:
        for record in records:
            write_study(con, record)
    for start in range(0, len(run_ids), _RUNS_A_TRANSACTION):
        with connect(beside, read_only=False) as con:
            spools = {}
            for run_id in run_ids[start : start + _RUNS_A_TRANSACTION]:
                try:
                    spools[run_id] = read_spool(spool_path(results / "runs" / run_id))
                except StoreError as error:
                    notices.append(f"{error}; the run is left out")
            notices += ingest_all(con, results, spools)
    with connect(beside, read_only=False) as con:
        for record in records:
            refresh_comparisons(con, record.study)
    # The old log goes first: it must never be applied to the new file.
    _log_of(path).unlink(missing_ok=True)
    database_path(beside).replace(path)
    _remove_database(beside)
    return Rebuilt(len(records), len(run_ids), tuple(notices))


def _check_place(results: Path, read_only: bool) -> None:
    """Refuse a results folder that is none, and make one to write to."""
    for path in (database_path(results), _log_of(database_path(results))):
        refuse_link(path)
    if results.exists() and not results.is_dir():
        raise InputError(f"{results}: a file, not a results folder; choose another with --results")
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


def _open_patiently(
    path: Path, read_only: bool, wait_s: float, on_wait: OnWait | None, settings: _Settings
) -> duckdb.DuckDBPyConnection:
    """Open the file, trying again for up to ``wait_s`` while another process holds it."""
    deadline = time.monotonic() + wait_s
    has_waited = False
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=settings)
        except duckdb.Error as error:
            holder = _holder(error)
            if holder is None:
                raise StoreError(_unusable(path, error)) from None
            if time.monotonic() >= deadline:
                raise StoreBusyError(
                    f"{path}: in use by {holder}; try again when that is done"
                ) from None
            if on_wait is not None and not has_waited:
                on_wait(f"waiting for {path}, in use by {holder}")
            has_waited = True
            time.sleep(_POLL_S)


def _holder(error: duckdb.Error) -> str | None:
    """Who holds the file, where that is why it could not be opened; else None."""
    text = str(error)
    if "different configuration" in text:  # open in this process, in the other mode
        return "this process itself"
    if "lock" not in text:
        return None
    found = re.search(r"PID (\d+)", text)
    if found is None:
        return "another process"
    try:
        name = Path(f"/proc/{found[1]}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return f"process {found[1]}"
    return f"{name} (process {found[1]})"


def _unusable(path: Path, error: duckdb.Error) -> str:
    """The line to show for a file that cannot be opened."""
    text = _first_line(error)
    if "not a valid DuckDB" in text:
        return f"{path}: not a DuckDB database; move it away, or `harness rebuild` replaces it"
    if "version number" in text:
        return (
            f"{path}: written by another version of DuckDB ({text}); update duckdb, or "
            "make the file anew with `harness rebuild`"
        )
    if "No space left" in text:
        return f"{path}: cannot write: the disk is full; free some space, then run it again"
    return f"{path}: cannot open: {text}; give access, or make it anew with `harness rebuild`"


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


def _log_of(path: Path) -> Path:
    """DuckDB's write-ahead log of a database file."""
    return path.with_name(path.name + ".wal")


def _remove_database(folder: Path) -> None:
    """Remove a folder that holds at most a database."""
    for path in (database_path(folder), _log_of(database_path(folder))):
        path.unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()


def _refusal(error: duckdb.Error) -> str:
    """What to say before DuckDB's own words, where the SQL wants more than to read."""
    is_refused = isinstance(error, duckdb.PermissionException) or re.search(
        r"read-only|configuration has been locked|requires the extension|but it exists in the",
        str(error),
    )
    return "a query reads the database and nothing else: " if is_refused else ""


def _first_line(error: duckdb.Error) -> str:
    """DuckDB's message without its excerpt of the SQL, with the near name it may suggest."""
    lines = str(error).splitlines() or [type(error).__name__]
    hints = [line.strip() for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))]
    return " ".join([lines[0].strip(), *hints[:1]])
