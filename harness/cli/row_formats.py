"""Format rows: aligned columns to read, Markdown to paste, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from decimal import Decimal

from harness.cli.options import FormatChoice
from harness.cli.terminal import visible
from harness.report.findings.tables.text_table import justified, markdown_table, no_formula
from harness.store.typed_rows import named_rows, plain
from harness.units import shortened

_WIDEST = 60


def format_rows(
    columns: Sequence[str], rows: Sequence[Sequence[object]], form: FormatChoice
) -> str:
    """Format the rows as text without a final newline.

    Args:
        columns: Column names.
        rows: One value per column.
        form: ``table`` shortens long values, and rounds numbers as ``markdown`` does; ``json``
            keeps them, and so does ``csv``, except for text that a spreadsheet would evaluate.
    """
    if form == "json":
        return json.dumps(named_rows(columns, rows), indent=1, ensure_ascii=False)
    if form == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([no_formula(name) for name in columns])
        writer.writerows([[_cell(value) for value in row] for row in rows])
        return stream.getvalue().rstrip("\n")
    if form == "markdown":
        cells = [[_rounded(value) for value in row] for row in rows]
        return markdown_table([visible(name) for name in columns], cells).rstrip("\n")
    return _aligned(columns, rows)


def _cell(value: object) -> str:
    """Format a value for CSV."""
    return no_formula(value) if isinstance(value, str) else "" if value is None else _text(value)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align columns, numbers to the right."""
    to_right = [
        any(_is_number(row[at]) for row in rows)
        and all(row[at] is None or _is_number(row[at]) for row in rows)
        for at in range(len(columns))
    ]
    head, *shown = justified(
        [[_short(value) for value in line] for line in (columns, *rows)], to_right
    )
    lines = [head, ["-" * len(cell) for cell in head], *shown]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _rounded(value: object) -> str:
    """Format a value for reading."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else visible(_text(value))


def _short(value: object) -> str:
    """Format a value for a table."""
    one_line = re.sub(r"[ \t\n]+", " ", value) if isinstance(value, str) else value
    return shortened(_rounded(one_line), _WIDEST)


def _text(value: object) -> str:
    """Format a value in full."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list | tuple):
        return json.dumps(plain(value), ensure_ascii=False)
    return str(value)
