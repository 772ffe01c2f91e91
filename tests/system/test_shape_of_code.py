"""Names and first sentences that tell a reader where a thing is; see CONTRIBUTING.md."""

from __future__ import annotations

import ast
from pathlib import Path

from roots import ROOT

PACKAGES = ("harness", "gcudml")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "tools"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_name_is_vague() -> None:
    assert len(SOURCES) > 200
    assert [
        shown(path)
        for path in SOURCES
        if VAGUE_NAMES & {path.stem, *path.relative_to(ROOT).parent.parts}
    ] == []


def test_every_file_and_room_opens_with_a_sentence() -> None:
    silent = []
    for path in SOURCES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if not docstring.partition("\n\n")[0].rstrip().endswith((".", ":")):
            silent.append(shown(path))
    assert silent == []


def test_what_is_public_says_what_it_does() -> None:
    silent = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_room_has_a_room_of_tests() -> None:
    rooms = {path.relative_to(ROOT).parts[:2] for path in SOURCES if len(path.parts) > 2}
    missing = [
        "/".join(room)
        for room in rooms
        if (ROOT.joinpath(*room)).is_dir() and not (ROOT / "tests").joinpath(*room).is_dir()
    ]
    assert sorted(missing) == []


def test_no_module_is_both_a_file_and_a_room() -> None:
    assert [shown(path) for path in SOURCES if path.with_suffix("").is_dir()] == []
