"""What a module must offer, and what it gets where it offers less."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.workload import load_workload

SMALL = """
def schema(): return {}
def check(params): return dict(params)
def run(params, *, seed, workdir, report, test): return {"val/score": 1.0}
"""


def test_three_functions_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small_workload.py").write_text(SMALL)
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_workload("small_workload")
    assert loaded.check({"a": 1}) == {"a": 1}
    assert loaded.controls() == {}
    assert loaded.data_fingerprint({"a": 1}) == loaded.data_fingerprint({"a": 2})
    assert loaded.epochs({}) is None
    assert loaded.together({"a": 1}) is None
    called: list[str] = []
    loaded.run_together([lambda: called.append("one"), lambda: called.append("two")])
    assert called == ["one", "two"]


def test_a_missing_function_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mute_workload.py").write_text(SMALL.replace("def run", "def walk"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="the module lacks run; see"):
        load_workload("mute_workload")


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no such module"):
        load_workload("no.such.workload")
