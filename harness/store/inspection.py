"""Looking through a results folder for files that are not any more what was written there."""

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
from harness.records.study_record import read_study_records
from harness.store.database import connect, database_path, nothing_yet
from harness.store.database_file import read_all


class Inspected(NamedTuple):
    """What was looked through."""

    studies: int
    runs: int
    problems: tuple[str, ...]
    """A line for each file that is damaged: which, and what is done about it."""


def inspect_results(results: Path) -> Inspected:
    """Look through all files of a results folder that a number can come from; change nothing.

    Raises:
        InputError: there is nothing to look through.
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
    """What reading every block of the database brings up; nothing where there is none yet."""
    if not database_path(results).exists():
        return
    try:
        with connect(results, read_only=True) as con:
            read_all(con)
    except StoreBusyError as error:
        yield f"not looked through: {error}"
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
        "a later attempt has started anew, so nothing is lost"
        if state.damage is None
        else "the run counts as unfinished, and the next run of its study trains it anew"
    )
    for entry in entries:
        if isinstance(entry, Damaged):
            yield f"{path}:{entry.line}: a damaged line; {remedy}"
    left = Left(work_dir(directory), state.files)
    for name in state.files:
        if (damage := damage_of(left, name)) is not None:
            yield (
                f"{left.directory / name}: {damage}; it is not used; remove {directory} and run "
                "its study again to have it back"
            )
