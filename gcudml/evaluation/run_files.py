"""Files that a run writes to its folder: tables and ``facts.json``."""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from gcudml.runtime.files import replacing


def append_rows(
    workdir: Path, table: str, rows: Iterable[Mapping[str, int | float | str | None]]
) -> None:
    """Append rows to a table, one JSON object per line."""
    lines = [json.dumps(row) + "\n" for row in rows]
    if lines:
        path = _table(workdir, table)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.writelines(lines)


def write_rows(workdir: Path, table: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Write a whole table, replacing any earlier one."""
    path = _table(workdir, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


class TableState(NamedTuple):
    """State of a table when a checkpoint was written."""

    size: int
    """Size in bytes."""
    checksum: int


def state_of_table(workdir: Path, name: str, size: int | None = None) -> TableState:
    """Return the state of a table, or of its first ``size`` bytes."""
    path = _table(workdir, name)
    content = path.read_bytes()[:size] if path.exists() else b""
    return TableState(len(content), zlib.crc32(content))


def cut_table(workdir: Path, name: str, size: int) -> None:
    """Truncate a table to remove the rows written after the last checkpoint."""
    path = _table(workdir, name)
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def begin_facts(workdir: Path, **facts: object) -> None:
    """Write a new ``facts.json``; one of an earlier attempt is discarded, as it may be damaged."""
    workdir.mkdir(parents=True, exist_ok=True)
    with replacing(workdir / "facts.json") as draft:  # a run killed here must be able to resume
        draft.write_text(json.dumps(facts), encoding="utf-8")


def write_facts(workdir: Path, **facts: object) -> None:
    """Add facts to ``facts.json``."""
    path = workdir / "facts.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    begin_facts(workdir, **known | facts)


def _table(workdir: Path, name: str) -> Path:
    """Path of a table's file."""
    return workdir / "tables" / f"{name}.jsonl"
