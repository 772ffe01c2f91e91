"""What a run leaves in its folder for whoever keeps its results: tables and facts."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gcudml.data.cache import replacing


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


def table_size(workdir: Path, name: str) -> int:
    """Bytes that a table has by now."""
    path = _table(workdir, name)
    return path.stat().st_size if path.exists() else 0


def cut_table(workdir: Path, name: str, size: int) -> None:
    """Take away the rows that an attempt wrote after its last checkpoint."""
    if table_size(workdir, name) > size:
        os.truncate(_table(workdir, name), size)


def note(workdir: Path, **facts: object) -> None:
    """Add facts to ``facts.json``."""
    path = workdir / "facts.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    workdir.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:  # a run that is killed here must be able to go on
        draft.write_text(json.dumps(known | facts), encoding="utf-8")


def _table(workdir: Path, name: str) -> Path:
    """The file of a table's rows."""
    return workdir / "tables" / f"{name}.jsonl"
