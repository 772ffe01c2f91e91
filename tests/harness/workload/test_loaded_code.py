"""A run that would use other code than its version says fails, and leaves no number."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness.engine.dispatch.retry_policy import RETRY_POLICIES, RetryPolicy
from harness.errors import InputError
from harness.executors.interface import ExecutorName
from harness.store.database import query
from harness.workload import load_workload

PACKAGE = {
    "late/__init__.py": "",
    "late/workload.py": """
from pathlib import Path

from late import early


def schema():
    return {}


def check(params):
    return {"x": 1.0, "method": "a"} | dict(params)


def data_fingerprint(params):
    from late import data

    return data.NAME


def run(params, *, seed, workdir, report, test):
    if params["method"] == "a":
        from late.a import value
    elif params["method"] == "guarded":
        try:
            from late.a import value
        except ImportError:
            value = 0.5
    else:
        from late.b import value
    edit = Path(__file__).with_name("edit")
    if seed == 0 and edit.exists():
        name, _, content = edit.read_text().partition("\\n")
        Path(__file__).with_name(name).write_text(content)
        edit.unlink()
    result = {"val/accuracy": value * params["x"] * early.FACTOR}
    report(0, result)
    return result
""",
    "late/early.py": "FACTOR = 1.0\n",
    "late/data.py": "NAME = 'none'\n",
    "late/a.py": "value = 0.25\n",
    "late/b.py": "value = 0.125\n",
}
DECLARED = "\n\ndef code(params):\n    return ['late.a', 'late.data']\n"
GRID = {
    "study": "late",
    "question": "Is it the same code?",
    "workload": "late.workload",
    "metric": "accuracy",
    "seeds": [0, 1],
    "search": {"x": {"grid": [1.0, 2.0]}},
}
SEARCH = GRID | {"study": "search", "search": {"x": {"uniform": [1.0, 2.0]}}} | {
    "sampler": "random",
    "trials": 2,
}  # fmt: skip
ONE = GRID | {"search": {"x": {"grid": [1.0]}}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the package, which is forgotten in the end."""
    for name, content in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(RETRY_POLICIES, "crash", RetryPolicy())  # type: ignore[index] -- no wait for a retry
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "late"]:
        del sys.modules[name]


def edit_while_seed_0_runs(place: Path, name: str, content: str) -> None:
    (place / "late" / "edit").write_text(f"{name}\n{content}", encoding="utf-8")


def scores(results: Path) -> list[float]:
    rows = query(results, "SELECT value FROM score ORDER BY value")
    return [row[0] for row in rows.rows]


@pytest.mark.process
@pytest.mark.parametrize("executor", ["process", "spawn"])
def test_a_file_that_is_edited_before_a_run_imports_it_fails_the_run(
    place: Path, executor: ExecutorName
) -> None:
    edit_while_seed_0_runs(place, "a.py", "value = 0.75\n")
    outcome = harness.run(ONE, results=place / "results", executor=executor, workers=1).outcome
    assert (outcome.done, outcome.failed) == (1, 1)
    rows = query(place / "results", "SELECT failure, message FROM run WHERE state = 'failed'").rows
    assert [row[0] for row in rows] == ["crash"]
    assert "a.py: has changed since this call read it" in rows[0][1]
    assert rows[0][1].endswith("run the same command again")
    assert scores(place / "results") == [0.25]
    outcome = harness.run(ONE, results=place / "results", executor=executor, workers=1).outcome
    assert (outcome.trained, outcome.failed) == (2, 0)


@pytest.mark.process
def test_a_workload_that_hides_the_failed_import_fails_too(place: Path) -> None:
    edit_while_seed_0_runs(place, "a.py", "value = 0.75\n")
    study = ONE | {"base": {"method": "guarded"}}
    outcome = harness.run(study, results=place / "results", workers=1).outcome
    assert (outcome.done, outcome.failed) == (1, 1)


@pytest.mark.process
def test_a_file_that_is_edited_after_it_was_loaded_changes_nothing_for_this_call(
    place: Path,
) -> None:
    edit_while_seed_0_runs(place, "early.py", "FACTOR = 3.0\n")
    outcome = harness.run(ONE, results=place / "results", workers=1).outcome
    assert (outcome.trained, outcome.failed) == (2, 0)
    assert set(scores(place / "results")) == {0.25}
    with pytest.raises(InputError, match=r"early.py: has changed since it was imported; restart P"):
        harness.run(ONE, results=place / "results", workers=1)
    forget()
    assert harness.run(ONE, results=place / "results", workers=1).outcome.trained == 2
    assert 0.75 in scores(place / "results")


@pytest.mark.process
def test_a_comment_that_is_added_meanwhile_fails_nothing(place: Path) -> None:
    edit_while_seed_0_runs(place, "a.py", "# The value.\nvalue = 0.25\n")
    assert harness.run(ONE, results=place / "results", workers=1).outcome.failed == 0
    assert harness.run(ONE, results=place / "results", workers=1).outcome.trained == 0


@pytest.mark.process
def test_a_run_that_imports_what_is_not_declared_fails(place: Path) -> None:
    path = place / "late" / "workload.py"
    path.write_text(path.read_text(encoding="utf-8") + DECLARED, encoding="utf-8")
    assert harness.run(ONE, results=place / "results", workers=1).outcome.failed == 0
    study = ONE | {"base": {"method": "b"}, "study": "other"}
    assert harness.run(study, results=place / "results", workers=1).outcome.failed == 2
    found = query(place / "results", "SELECT message FROM run WHERE state = 'failed'").rows[0][0]
    assert "b.py: this run imports it, but the run's code version does not cover it" in found
    assert "name 'late.b' in the workload's code()" in found


def test_a_module_is_made_from_its_source_and_not_from_a_stale_copy(place: Path) -> None:
    path = place / "late" / "early.py"
    py_compile.compile(str(path))
    status = path.stat()
    path.write_text("FACTOR = 9.0\n", encoding="utf-8")  # as long as before
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    load_workload("late.workload")
    assert sys.modules["late.early"].FACTOR == 9.0


def codes_of(place: Path, study: dict[str, object], *, after: str = "pass") -> set[str]:
    """The versions of a study's runs, as a process tells them that has first done something."""
    script = (
        f"import sys; sys.path[:0] = [{str(place)!r}]; {after}\n"
        "from pathlib import Path\n"
        "from harness.engine.study_state import load_study_state\n"
        f"found = load_study_state({study!r}, (), Path({str(place / 'none')!r}))\n"
        "print(*{task.run.code for task in found.schedule.tasks.values()})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(harness.__file__).parents[1])},
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.process
def test_a_search_and_a_grid_have_one_version_whatever_was_loaded_before(place: Path) -> None:
    (code,) = codes_of(place, GRID)
    assert codes_of(place, SEARCH) == {code}
    assert codes_of(place, GRID, after="import late.a, late.b, late.data") == {code}


@pytest.mark.process
def test_a_late_import_counts(place: Path) -> None:
    before = codes_of(place, GRID)
    (place / "late" / "a.py").write_text("value = 0.5\n", encoding="utf-8")
    assert codes_of(place, GRID) != before
