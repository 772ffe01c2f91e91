"""Check a results folder for files that have changed since they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError, StoreBusyError, StoreError
from harness.records.event_log import read_spool
from harness.records.events import Damaged
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.plain_file import names_in
from harness.records.run_files import Left, damage_of
from harness.records.run_state import replay
from harness.records.studies.study_record import read_study_records
from harness.store.database import connect, database_path, nothing_yet
from harness.store.database_file import read_all


class Inspected(NamedTuple):
    """Result of an inspection."""

    studies: int
    runs: int
    problems: tuple[str, ...]
    """One line per damaged file: its path, and the consequence or remedy."""


def inspect_results(results: Path) -> Inspected:
    """Check every file of a results folder that results come from, without changing any.

    Raises:
        InputError: the folder holds no results.
    """
    run_ids = names_in(results / "runs")
    studies = [name for name in names_in(results / "studies") if name.endswith(".json")]
    if not (run_ids or studies):
        raise InputError(nothing_yet(results))
    problems = [*_problems_of_records(results), *_problems_of_database(results)]
    for run_id in run_ids:
        problems += _problems_of_run(results, run_id)
    return Inspected(len(studies), len(run_ids), tuple(problems))


def _problems_of_records(results: Path) -> Iterator[str]:
    notices: list[str] = []
    read_study_records(results, notices)
    yield from notices


def _problems_of_database(results: Path) -> Iterator[str]:
    """Read every block of the database, if there is one, and yield the problems found."""
    if not database_path(results).exists():
        return
    try:
        with connect(results, read_only=True) as con:
            read_all(con)
    except StoreBusyError as error:
        yield f"not checked: {error}"
    except StoreError as error:
        yield str(error)


def _problems_of_run(results: Path, run_id: str) -> Iterator[str]:
    directory = run_dir(results, run_id)
    path = spool_path(directory)
    try:
        entries = read_spool(path)
    except StoreError as error:
        yield str(error)
        return
    state = replay(entries)
    remedy = (
        "a later attempt started from scratch, so nothing is lost"
        if state.damage is None
        else "the run counts as unfinished and is trained again when its study is next run"
    )
    for entry in entries:
        if isinstance(entry, Damaged):
            yield f"{path}:{entry.line}: a damaged line; {remedy}"
    left = Left(work_dir(directory), state.files)
    for name in state.files:
        if (damage := damage_of(left, name)) is not None:
            yield (
                f"{left.directory / name}: {damage}; it is not used; to recreate it, remove "
                f"{directory} and run its study again"
            )
