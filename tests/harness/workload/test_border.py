"""What a module must offer, and what it gets where it offers less."""

from __future__ import annotations

import sys
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


def test_what_a_workload_raises_is_a_line_with_its_place_and_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rash_workload.py").write_text(
        SMALL
        + "def together(params):\n    return {}['key']\n"
        + "def data_fingerprint(params):\n    raise ValueError('data: none there; name some')\n"
        + "def epochs(params):\n    raise KeyboardInterrupt\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_workload("rash_workload")
    with pytest.raises(InputError, match=r"together failed: KeyError: 'key' \(.*:6\); ") as caught:
        loaded.together({})
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ValueError, match=r"^data: none there; name some$"):
        loaded.data_fingerprint({})
    with pytest.raises(KeyboardInterrupt):
        loaded.epochs({})


@pytest.mark.parametrize("answer", ["7", "('key', 'many')", "('key', True)", "('key',)"])
def test_an_answer_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.delitem(sys.modules, "vague_workload", raising=False)
    (tmp_path / "vague_workload.py").write_text(f"{SMALL}def together(params): return {answer}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="vague_workload': together: a key and a number of runs"):
        load_workload("vague_workload").together({})


def test_a_module_whose_import_fails_is_named_and_no_part_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quitting_workload.py").write_text("import sys\nsys.exit('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match=r"SystemExit: not today \(.*quitting_.*:2\)"):
            load_workload("quitting_workload")
