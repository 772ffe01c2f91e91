"""Rows as text for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import datetime
from decimal import Decimal

from harness.cli.row_formats import format_rows

COLUMNS = ("name", "value", "when")
ROWS = [
    ("a, b", 0.1234567, datetime(2025, 1, 2, 3, 4)),
    ("two\nlines", None, None),
    ("whole", 12, None),
]


def test_a_table_is_aligned_and_numbers_stand_to_the_right() -> None:
    assert format_rows(COLUMNS, ROWS, "table").splitlines() == [
        "name          value  when",
        "---------  --------  -------------------",
        "a, b       0.123457  2025-01-02 03:04:00",
        "two lines",
        "whole            12",
    ]


def test_a_table_and_markdown_show_what_a_terminal_would_obey() -> None:
    rows = [("\x1b[2J\x9b\x1c",)]
    assert format_rows(("a\x1b",), rows, "table").splitlines()[::2] == [
        r"a\x1b",
        r"\x1b[2J\x9b\x1c",
    ]
    assert not set("\x1b\x9b\x1c") & set(format_rows(("a\x1b",), rows, "markdown"))


def test_a_table_without_rows_keeps_its_heading() -> None:
    assert format_rows(("a", "bcd"), [], "table") == "a  bcd\n-  ---"


def test_a_table_shortens_what_is_long_and_csv_does_not() -> None:
    long = "x" * 500
    assert max(map(len, format_rows(("a",), [(long,)], "table").splitlines())) == 60
    assert long in format_rows(("a",), [(long,)], "csv")


def test_csv_is_read_back_as_it_was() -> None:
    text = format_rows(COLUMNS, ROWS, "csv")
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "value", "when"],
        ["a, b", "0.1234567", "2025-01-02 03:04:00"],
        ["two\nlines", "", ""],
        ["whole", "12", ""],
    ]


def test_json_has_numbers_nulls_and_nested_values() -> None:
    row = (Decimal("1.5"), math.nan, True, {"k": [1, math.inf]}, "ü")
    text = format_rows(("a", "b", "c", "d", "e"), [row], "json")
    assert json.loads(text) == [{"a": 1.5, "b": None, "c": True, "d": {"k": [1, None]}, "e": "ü"}]
    assert "ü" in text
    assert json.loads(format_rows(("a",), [], "json")) == []


def test_markdown_is_rounded_but_not_shortened() -> None:
    row = (0.123456789, None, "x" * 100, {"k": 1})
    assert format_rows(("a", "b", "c", "d"), [row], "markdown").splitlines()[2].split() == (
        f'| 0.123457 | | {"x" * 100} | {{"k": 1}} |'.split()
    )
    assert format_rows(("a",), [], "markdown") == "| a   |\n| --- |"
