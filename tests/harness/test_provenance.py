"""The code version follows what the code does, not how it is written down."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.provenance import (
    code_version,
    git_state,
    host_name,
    library_versions,
)

Version = Callable[[str], str]

SOURCE = '''"""A workload."""
import math


def area(radius):
    """The area of a disc."""
    return math.pi * radius**2  # in square metres


class Disc:
    """Round."""

    async def roll(self):
        """Forward."""
'''


@pytest.fixture
def version_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Version]:
    """Writes a module, imports it and tells its code version, as a fresh process would."""
    monkeypatch.syspath_prepend(tmp_path)

    def version(source: str) -> str:
        (tmp_path / "discs.py").write_text(source, encoding="utf-8")
        forget()
        importlib.import_module("discs")
        return code_version("discs")

    yield version
    forget()


def forget() -> None:
    code_version.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("discs", "balls")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in square metres", "in acres"),
        ('"""A workload."""', '"""Another text."""'),
        ('"""The area of a disc."""', '"""Its area,\n\n    in two lines.\n    """'),
        ('"""The area of a disc."""\n', "\n"),
        ('"""Round."""', '"""Flat."""'),
        ('"""Forward."""', '"""Backward."""'),
        ("math.pi * radius**2", "(math.pi   *   (radius ** 2))"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(
    version_of: Version, old: str, new: str
) -> None:
    assert old in SOURCE
    assert version_of(SOURCE) == version_of(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("radius**2", "radius**3"),
        ("math.pi", "3.14"),
        ("def area", "def surface"),
        ("import math", "import math, os"),
        ("    return", '    "not the docstring"\n    return'),
    ],
)
def test_code_counts(version_of: Version, old: str, new: str) -> None:
    assert version_of(SOURCE) != version_of(SOURCE.replace(old, new))


def test_the_modules_that_a_package_has_loaded_count_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "balls"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "workload.py").write_text("from balls import size\n")
    (package / "size.py").write_text("SIZE = 1\n")
    (package / "unused.py").write_text("COLOUR = 1\n")

    def version() -> str:
        forget()
        importlib.invalidate_caches()
        importlib.import_module("balls.workload")
        return code_version("balls.workload")

    before = version()
    (package / "unused.py").write_text("COLOUR = 2\n")
    assert version() == before
    (package / "size.py").write_text("SIZE = 22\n")
    assert version() != before
    forget()


def test_what_this_process_has_loaded_counts_not_what_is_edited_later(
    version_of: Version, tmp_path: Path
) -> None:
    before = version_of(SOURCE)
    (tmp_path / "discs.py").write_text("area = None")
    assert code_version("discs") == before


def test_code_that_is_not_loaded_is_refused() -> None:
    forget()
    with pytest.raises(InputError, match="no source file of it is loaded"):
        code_version("balls.workload")


def test_code_that_does_not_parse_names_the_file(version_of: Version, tmp_path: Path) -> None:
    version_of(SOURCE)
    code_version.cache_clear()
    (tmp_path / "discs.py").write_text("def (:")
    with pytest.raises(InputError, match=r"discs\.py: cannot fingerprint the code") as caught:
        code_version("discs")
    assert "\n" not in str(caught.value)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_told_and_whether_tracked_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    file = tmp_path / "a.py"
    file.write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("untracked")
    assert git_state(tmp_path) == (commit, False)
    file.write_text("2")
    assert git_state(tmp_path) == (commit, True)


def test_without_a_repository_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == (None, None)
    assert git_state(tmp_path / "missing") == (None, None)


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(__file__).parent) == (None, None)


def test_versions_are_those_of_the_libraries_that_make_the_numbers() -> None:
    versions = library_versions()
    assert {"python", "numpy", "duckdb", "torch"} <= versions.keys()
    assert "pytest" not in versions
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_versions_are_told_without_an_installed_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.provenance._DISTRIBUTION", "no-such-distribution")
    assert {"python", "numpy", "duckdb"} <= library_versions().keys()


def test_the_machine_has_a_name() -> None:
    assert host_name()
