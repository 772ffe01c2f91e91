"""What several test files of the harness start from."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from functools import wraps
from pathlib import Path

import duckdb
import pytest
import report_fixtures
import toy_workload
from command_line import Harness, Said
from driver_place import Place

from harness.cli import commands
from harness.engine.dispatch import retry_policy
from harness.store import database


@pytest.fixture(scope="session", autouse=True)
def new_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Create the empty database once and copy it: most of a small test went into its schema.

    What creates one is tested in test_migrations.py and by every test that starts a process. To
    DuckDB copies are the same database: a test that needs two creates one of the files itself.
    """
    folder = tmp_path_factory.mktemp("empty_database")
    with database.connect(folder, read_only=False):
        pass
    template = database.database_path(folder)
    really_open = database.open_patiently

    @wraps(really_open)
    def open_copy(path: Path, *, read_only: bool, **options: object) -> duckdb.DuckDBPyConnection:
        if not (read_only or path.exists()):
            shutil.copyfile(template, path)
        return really_open(path, read_only=read_only, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "open_patiently", open_copy)
        yield


@pytest.fixture(autouse=True, scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Many tests of pages and exports start from the same few studies: make each once."""
    report_fixtures.originals.append(tmp_path_factory.mktemp("originals"))
    yield
    report_fixtures.originals.clear()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setitem(
        retry_policy.RETRY_POLICIES, "crash", retry_policy.RetryPolicy(retries=2)
    )  # no test waits for one
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    return Place(tmp_path)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Harness:
    """The command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as exit_:
            commands.main()
        captured = capsys.readouterr()
        return Said(int(exit_.value.code or 0), captured.out, captured.err)

    return call
