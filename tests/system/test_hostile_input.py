"""Whatever is wrong with files and words: a line that says what, where and what to do about it."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from hostile_row import HostileRow
from roots import FIXTURES

from harness.cli import commands

MODULES = sorted(path.stem for path in (FIXTURES / "hostile").glob("*_rows.py"))
ROWS: list[HostileRow] = [row for name in MODULES for row in importlib.import_module(name).ROWS]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_one_line_and_no_traceback(
    row: HostileRow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOY_WORKLOAD_FOLDER", str(tmp_path))
    arguments = list(row.prepare(folder))
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as exit_:
        commands.main()
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    for pattern in row.says:
        assert re.search(pattern, said.out + said.err), (
            f"{pattern!r} is not in:\n{said.out}{said.err}"
        )
    assert (exit_.value.code or 0) == row.status
    if row.lines is not None:
        assert said.err.count("\n") == row.lines, said.err
