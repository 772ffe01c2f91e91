"""The file of the results database: opening it, and what is wrong where it cannot be used.

A file that another process holds is busy and a file that DuckDB cannot read is damaged: only the
first is worth a wait. What a damaged one held is in the spools, so it is moved aside and made anew.
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
    r"not a valid DuckDB": "it is no DuckDB database",
    r"Is a directory": "it is a folder",
    r"corrupt|checksum|deserialize": None,  # DuckDB's own words say it best
}
"""What DuckDB says of a damaged file -> in our words."""
# Whatever SQL somebody writes, it makes none of these say what `_DAMAGE` looks for. Not subclasses:
# a failed checksum is a plain Error, and every wrong SQL an error derived from it.
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
    """Open the file, trying again for up to ``wait_s`` while another process holds it.

    Raises:
        StoreBusyError: still held after ``wait_s``; the message names the holder.
        StoreDamagedError: it is no whole database.
        StoreError: of another version of DuckDB, or not accessible.
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
                    f"{path}: in use by {holder}; try again when that is done"
                ) from None
            if on_wait is not None and not has_waited:
                on_wait(f"waiting for {path}, in use by {holder}")
            has_waited = True
            time.sleep(_POLL_S)


def damage(path: Path, error: duckdb.Error) -> StoreDamagedError | None:
    """The error to raise where DuckDB's is one of a damaged file, whenever it finds it; else None.

    DuckDB has a checksum for every block and compares it whenever it reads one, so that damage is
    found by the query that needs the block, and not when the file is opened.
    """
    if type(error) not in _OF_THE_FILE:
        return None
    text = re.sub(r'"[^"]*"', "", str(error))  # a path can be called anything
    if _NO_DAMAGE.search(text):
        return None
    for words, said in _DAMAGE.items():
        if re.search(words, text, re.IGNORECASE):
            return StoreDamagedError(
                f"{path}: the database is damaged: {said or first_line(error)}; "
                f"`{rebuild_command(path.parent)}` makes it anew from the spools, which hold all "
                "of it"
            )
    return None


def is_unusable(path: Path, *, wait_s: float = 0.0, on_wait: OnWait | None = None) -> bool:
    """Whether a file that is there cannot be opened, or not be read to its end.

    Raises:
        StoreBusyError: still held after ``wait_s``.
    """
    try:
        # To write, so that nobody else is at work on it.
        with closing(open_patiently(path, read_only=False, wait_s=wait_s, on_wait=on_wait)) as con:
            read_all(con)
    except StoreBusyError:
        raise
    except (StoreError, duckdb.Error):
        return True
    return False


def read_all(con: duckdb.DuckDBPyConnection) -> None:
    """Read every block of every table, so that any damage is raised."""
    names = con.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
    for schema, table in names:
        con.execute(f'SELECT max(hash(t)) FROM "{schema}"."{table}" AS t').fetchall()


def set_aside(path: Path) -> Path:
    """Rename a database and its log, as far as they exist, to a name that nothing has."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    number = 0
    while True:
        aside = path.with_name(f"{path.name}.damaged-{stamp}{f'-{number}' if number else ''}")
        if not (_exists(aside) or _exists(log_of(aside))):
            break
        number += 1
    # The log goes first: it must never be applied to the file that takes the place.
    for old, new in ((log_of(path), log_of(aside)), (path, aside)):
        if _exists(old):
            old.rename(new)
    return aside


def log_of(path: Path) -> Path:
    """DuckDB's write-ahead log of a database file."""
    return path.with_name(path.name + ".wal")


def rebuild_command(results: Path) -> str:
    """What the user has to type to make the database of ``results`` anew."""
    return "harness rebuild" + (
        "" if results == Path("results") else f" --results {shlex.quote(str(results))}"
    )


def first_line(error: duckdb.Error) -> str:
    """DuckDB's message without its excerpt of the SQL, with the near name it may suggest."""
    lines = str(error).splitlines() or [type(error).__name__]
    hints = [line.strip() for line in lines[1:] if line.startswith(("Did you mean", "Candidate"))]
    return " ".join([lines[0].strip(), *hints[:1]])


def _exists(path: Path) -> bool:
    """Whether a name is taken, be it by a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def _holder(error: duckdb.Error) -> str | None:
    """Who holds the file, where that is why it could not be opened; else None."""
    text = str(error)
    if "different configuration" in text:  # open in this process, in the other mode
        return "this process itself"
    if not _LOCKED.search(text):
        return None
    found = re.search(r"PID (\d+)", text)
    if found is None or found[1] == "0":  # of another container
        return "another process"
    try:
        name = Path(f"/proc/{found[1]}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return f"process {found[1]}"
    return f"{name} (process {found[1]})"


def _inaccessible(path: Path, error: duckdb.Error) -> str:
    """The line to show for a file that is not damaged and cannot be opened."""
    text = first_line(error)
    if "version number" in text:
        return (
            f"{path}: written by another version of DuckDB ({text}); update duckdb, or "
            f"make the file anew with `{rebuild_command(path.parent)}`"
        )
    if "No space left" in text:
        return f"{path}: cannot write: the disk is full; free some space, then run it again"
    return (
        f"{path}: cannot open: {text}; give access, or make it anew with "
        f"`{rebuild_command(path.parent)}`"
    )
