"""Sizes and names that keep the code readable; see the README's section on carrying the code on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from roots import ROOT

SOURCES = sorted([*(ROOT / "harness").rglob("*.py"), *(ROOT / "gcudml").rglob("*.py")])
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_ARGUMENTS = 7
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the arguments are options of the command line: the user names them, no caller."""
    return any(ast.unparse(each).startswith("app.command(") for each in function.decorator_list)


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_has_one_subject(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES_OF_A_FILE, f"{lines} lines: a second subject is in it"
    assert not {path.stem, *path.parent.parts} & VAGUE_NAMES
    long = {
        f.name: f.end_lineno - f.lineno + 1
        for f in functions(path)
        if f.end_lineno and f.end_lineno - f.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }
    assert not long
    many = {
        f.name: count
        for f in functions(path)
        if (count := len(f.args.posonlyargs + f.args.args + f.args.kwonlyargs)) > MOST_ARGUMENTS + 1
        and not is_command(f)
    }
    assert not many  # one more than the aim: self counts


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_public_says_what_it_does(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a file opens with a sentence that says what it holds"
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent
