"""Open the file of the results database, and diagnose a file that cannot be used.

A file held by another process is busy; a file that DuckDB cannot read is damaged. Only a busy file
is worth waiting for. A damaged one is moved aside and rebuilt from the spools, which hold all data.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import duckdb

from harness.errors import StoreBusyError, StoreDamagedError, StoreError

OnWait: TypeAlias = Callable[[str], None]
Settings: TypeAlias = dict[str, str | bool | int | float | list[str]]

_POLL_S = 0.02
_LOCKED = re.compile(r"lock is (already )?held|used by another process")
_NO_DAMAGE = re.compile(
    r"No space left|Permission denied|Read-only file system|Too many open files|Input/output error"
)
_DAMAGE = {
    r"replaying WAL": "its log (.wal) cannot be applied",
    r"Could not read (enough|all) bytes": "it is cut short",
    r"not a valid DuckDB": "it is not a DuckDB database",
    r"Is a directory": "it is a folder",
    r"corrupt|checksum|deserialize": None,  # DuckDB's message is the best description
}
"""Pattern in DuckDB's message about a damaged file -> our description."""
# Exact types that report damage; invalid SQL never raises one with text that matches `_DAMAGE`.
# Subclasses do not count: a failed checksum is a plain Error, invalid SQL a subclass of Error.
_OF_THE_FILE = frozenset(
    {
        duckdb.Error,
        duckdb.IOException,
        duckdb.FatalException,
        duckdb.InternalException,
        duckdb.SerializationException,
        duckdb.TransactionException,
    }
)


def open_patiently(
    path: Path,
    *,
    read_only: bool,
    wait_s: float = 0.0,
    on_wait: OnWait | None = None,
    settings: Settings | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open the file, retrying for up to ``wait_s`` while another process holds it.

    Raises:
        StoreBusyError: the file is still in use after ``wait_s``; the message names the holder.
        StoreDamagedError: the file is damaged or not a DuckDB database.
        StoreError: the file is of another version of DuckDB, or not accessible.
    """
    deadline = time.monotonic() + wait_s
    has_waited = False
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=settings or {})
        except duckdb.Error as error:
            holder = _holder(error)
            if holder is None:
                raise damage(path, error) or StoreError(_inaccessible(path, error)) from None
            if time.monotonic() >= deadline:
                raise StoreBusyError(
                    f"{path}: in use by {holder}; try again when it has finished"
                ) from None
            if on_wait is not None and not has_waited:
                on_wait(f"waiting for {path}, in use by {holder}")
            has_waited = True
            time.sleep(_POLL_S)


def damage(path: Path, error: duckdb.Error) -> StoreDamagedError | None:
    """Return the error to raise if DuckDB's error means a damaged file; None otherwise.

    DuckDB verifies a block's checksum when it reads the block, so damage may come to light in a
    query rather than when the file is opened.
    """
    if type(error) not in _OF_THE_FILE:
        return None
    text = re.sub(r'"[^"]*"', "", str(error))  # a quoted path may contain any text
    if _NO_DAMAGE.search(text):
        return None
    for words, said in _DAMAGE.items():
        if re.search(words, text, re.IGNORECASE):
            return StoreDamagedError(
                f"{path}: the database is damaged: {said or first_line(error)}; "
                f"`{rebuild_command(path.parent)}` recreates it from the spools, which hold all "
                "its data"
            )
    return None


def is_unusable(path: Path, *, wait_s: float = 0.0, on_wait: OnWait | None = None) -> bool:
    """Whether an existing file cannot be opened or cannot be read completely.

    Raises:
        StoreBusyError: the file is still in use after ``wait_s``.
    """
    try:
        # Open for writing to exclude all other processes.
        with closing(open_patiently(path, read_only=False, wait_s=wait_s, on_wait=on_wait)) as con:
            read_all(con)
    except StoreBusyError:
        raise
    except (StoreError, duckdb.Error):
        return True
    return False


def read_all(con: duckdb.DuckDBPyConnection) -> None:
    """Read every block of every table; DuckDB raises an error on a damaged one."""
    names = con.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
    for schema, table in names:
        con.execute(f'SELECT max(hash(t)) FROM "{schema}"."{table}" AS t').fetchall()


def set_aside(path: Path) -> Path:
    """Rename a database and its log, if they exist, to an unused name, and return that path."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    number = 0
    while True:
        aside = path.with_name(f"{path.name}.damaged-{stamp}{f'-{number}' if number else ''}")
        if not (_exists(aside) or _exists(log_of(aside))):
            break
        number += 1
    # Move the log first: it must never be applied to the new database.
    for old, new in ((log_of(path), log_of(aside)), (path, aside)):
        if _exists(old):
            old.rename(new)
    return aside


def log_of(path: Path) -> Path:
    """Return the path of DuckDB's write-ahead log of a database file."""
    return path.with_name(path.name + ".wal")


def rebuild_command(results: Path) -> str:
    """Return the command line that rebuilds the database of ``results``."""
    return "harness rebuild" + (
        "" if results == Path("results") else f" --results {shlex.quote(str(results))}"
    )


def first_line(error: duckdb.Error) -> str:
    """Return DuckDB's message without the SQL excerpt, but with the name it suggests, if any."""
    lines = str(error).splitlines() or [type(error).__name__]
    hints = [line.strip() for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))]
    return " ".join([lines[0].strip(), *hints[:1]])


def _exists(path: Path) -> bool:
    """Whether a path exists, even as a broken symbolic link."""
    return path.exists() or path.is_symlink()


def _holder(error: duckdb.Error) -> str | None:
    """Name the process that holds the file, if that is why it could not be opened; else None."""
    text = str(error)
    if "different configuration" in text:  # already open in this process, in the other mode
        return "this process itself"
    if not _LOCKED.search(text):
        return None
    found = re.search(r"PID (\d+)", text)
    if found is None or found[1] == "0":  # a process in another container
        return "another process"
    try:
        name = Path(f"/proc/{found[1]}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return f"process {found[1]}"
    return f"{name} (process {found[1]})"


def _inaccessible(path: Path, error: duckdb.Error) -> str:
    """Return the message for a file that cannot be opened but is not damaged."""
    text = first_line(error)
    if "version number" in text:
        return (
            f"{path}: written by another version of DuckDB ({text}); update duckdb, or "
            f"recreate the file with `{rebuild_command(path.parent)}`"
        )
    if "No space left" in text:
        return f"{path}: cannot write: the disk is full; free some space, then try again"
    return (
        f"{path}: cannot open: {text}; fix its permissions, or recreate it with "
        f"`{rebuild_command(path.parent)}`"
    )
