"""Rebuild the database from the study records and spools."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError, StoreError
from harness.records.event_log import read_spool
from harness.records.folders import spool_path
from harness.records.plain_file import names_in, writing
from harness.records.studies.study_record import read_study_records
from harness.records.studies.verifications import read_verifications
from harness.store.database import check_place, connect, database_path, nothing_yet
from harness.store.database_file import OnWait, is_unusable, log_of, set_aside
from harness.store.tables.computed.comparisons import refresh_comparisons
from harness.store.tables.computed.importance import refresh_importance
from harness.store.tables.ingest import ingest_all, write_study
from harness.store.tables.verifications import replace_verifications

_RUNS_A_TRANSACTION = 200


class Rebuilt(NamedTuple):
    """What a database was rebuilt from."""

    studies: int
    runs: int
    notices: tuple[str, ...]
    """What could not be ingested: damaged study records and the notices of ``ingest_all``."""


def rebuild(results: Path, *, wait_s: float = 0.0, on_wait: OnWait | None = None) -> Rebuilt:
    """Rebuild the database from study records and spools, with the same content as before.

    The new database is built in a separate folder and replaces the old one once it is complete, so
    an interrupted rebuild changes nothing. A database with a newer schema is replaced too. A
    damaged one, or anything else in its place, is kept under another name, given in a notice.

    Raises:
        InputError: the folder holds no results.
        StoreBusyError: the database is still in use after ``wait_s``.
        StoreError: the disk is full.
    """
    check_place(results, read_only=False)
    notices: list[str] = []
    records = read_study_records(results, notices)
    run_ids = names_in(results / "runs")
    path = database_path(results)
    is_bad = path.exists() and is_unusable(path, wait_s=wait_s, on_wait=on_wait)
    if not (records or run_ids or notices or is_bad):
        raise InputError(nothing_yet(results))
    beside = results / ".rebuild"
    with writing(beside):
        _clear(beside)
    with connect(beside, read_only=False) as con:
        for record in records:
            write_study(con, record)
    runs = 0
    for start in range(0, len(run_ids), _RUNS_A_TRANSACTION):
        with connect(beside, read_only=False) as con:
            spools = {}
            for run_id in run_ids[start : start + _RUNS_A_TRANSACTION]:
                try:
                    if entries := read_spool(spool_path(results / "runs" / run_id)):
                        spools[run_id] = entries
                except StoreError as error:
                    notices.append(f"{error}; the run is left out")
            notices += ingest_all(con, results, spools)
            runs += len(spools)
    with connect(beside, read_only=False) as con:
        for record in records:
            refresh_comparisons(con, record.study)
            refresh_importance(con, record.study)
        replace_verifications(con, read_verifications(results, notices))
    with writing(path):
        if is_bad or log_of(path).exists():
            aside = set_aside(path)
            notices.append(f"{path}: was damaged; it is kept as {aside.name}, which can be deleted")
        database_path(beside).replace(path)
        _clear(beside)
    return Rebuilt(len(records), runs, tuple(notices))


def _clear(path: Path) -> None:
    """Remove what an interrupted rebuild left behind, or anything else at this path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
