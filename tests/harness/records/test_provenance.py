"""Where numbers come from: commit, libraries and machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.provenance import git_state, host_name, library_versions


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
    monkeypatch.setattr("harness.records.provenance._DISTRIBUTION", "no-such-distribution")
    assert {"python", "numpy", "duckdb"} <= library_versions().keys()


def test_the_machine_has_a_name() -> None:
    assert host_name()
