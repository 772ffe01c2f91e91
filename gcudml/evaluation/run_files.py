"""What a run leaves in its folder for whoever keeps its results: tables and facts."""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from gcudml.runtime.files import replacing


def append_rows(
    workdir: Path, table: str, rows: Iterable[Mapping[str, int | float | None]]
) -> None:
    """Add rows to a table, a JSON object a line."""
    lines = [json.dumps(row) + "\n" for row in rows]
    if lines:
        path = _table(workdir, table)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.writelines(lines)


def write_rows(workdir: Path, table: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Write a whole table in place of the one that may be there."""
    path = _table(workdir, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


class TableState(NamedTuple):
    """What a table was when a checkpoint was written."""

    size: int
    """Bytes."""
    checksum: int


def state_of_table(workdir: Path, name: str, size: int | None = None) -> TableState:
    """What a table is by now, or what its first ``size`` bytes are."""
    path = _table(workdir, name)
    content = path.read_bytes()[:size] if path.exists() else b""
    return TableState(len(content), zlib.crc32(content))


def cut_table(workdir: Path, name: str, size: int) -> None:
    """Take away the rows that an attempt wrote after its last checkpoint."""
    path = _table(workdir, name)
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def begin_facts(workdir: Path, **facts: object) -> None:
    """Write ``facts.json`` anew: that of an earlier attempt is not needed, and may be damaged."""
    workdir.mkdir(parents=True, exist_ok=True)
    with replacing(workdir / "facts.json") as draft:  # a run that is killed here must go on
        draft.write_text(json.dumps(facts), encoding="utf-8")


def write_facts(workdir: Path, **facts: object) -> None:
    """Add facts to ``facts.json``."""
    path = workdir / "facts.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    begin_facts(workdir, **known | facts)


def _table(workdir: Path, name: str) -> Path:
    """The file of a table's rows."""
    return workdir / "tables" / f"{name}.jsonl"
