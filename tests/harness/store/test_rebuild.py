"""The database can be rebuilt from the files beside it, with the same content."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from store_examples import (
    CLUSTER,
    LIFE,
    TRIAL,
    a_record,
    a_run,
    a_trial,
    everything,
    failed,
    held,
    ingest,
    put,
    reported,
    start,
    write,
)

from harness.errors import InputError, StoreBusyError, StoreError
from harness.records.event_log import append
from harness.records.events import Event
from harness.records.folders import run_dir, spool_path
from harness.records.studies.study_record import write_study_record
from harness.store import database, rebuild
from harness.store.tables.computed.comparisons import refresh_comparisons
from harness.store.tables.ingest import write_study


def a_full_folder(results: Path) -> None:
    """Two studies, runs in all states, retried runs and workload tables, ingested piece by piece."""
    trials = [TRIAL, a_trial(1), a_trial(2, "control")]
    write(results, trials, {0: [0.5, 0.6, 0.55], 1: [0.7, 0.6, 0.65], 2: [0.1, 0.1, 0.1]})
    write(results, [a_trial(0, "baseline", "search", "t")], {0: [0.3, 0.35]}, metric="map@r")
    more = a_trial(9, study="u")
    record = a_record([more], range(4))
    write_study_record(results, record)
    lives: list[list[Event]] = [
        [LIFE[0], *LIFE[1:]],
        [start(a_run(more, 1)), reported(0), failed("diverged")],
        [start(a_run(more, 2)), reported(0)],
    ]
    for seed, life in enumerate(lives):
        run_id = a_run(more, seed).run_id
        put(results, "tables/clusters.jsonl", CLUSTER, run_id)
        put(results, "tables/finds.jsonl", f'{{"query": {seed}, "near": [{seed / 2}]}}\n', run_id)
        put(results, "facts.json", '{"device": "cpu"}', run_id)
        for event in life:
            append(spool_path(run_dir(results, run_id)), event)
            ingest(results, event, run_id=run_id)
    with database.connect(results, read_only=False) as con:
        write_study(con, record)
        refresh_comparisons(con, "u")


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied by each test: it takes many synced writes."""
    results = tmp_path_factory.mktemp("full") / "results"
    a_full_folder(results)
    return results


@pytest.fixture
def full(full_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(full_folder, tmp_path / "results")


def test_a_rebuilt_database_equals_the_one_built_along_the_way(full: Path) -> None:
    before = everything(full)
    assert len(before["comparison"]) == 1 + 2 * 2
    for missing in (False, True):
        if missing:
            database.database_path(full).unlink()
        assert rebuild.rebuild(full) == (3, 14, ())
        assert everything(full) == before
    assert sorted(path.name for path in full.iterdir()) == ["results.duckdb", "runs", "studies"]


def test_a_rebuild_replaces_a_damaged_or_newer_file_and_its_log(full: Path) -> None:
    before = everything(full)
    database.database_path(full).write_text("damaged")
    (full / "results.duckdb.wal").write_text("old log")
    (full / ".rebuild").mkdir()
    (full / ".rebuild" / "results.duckdb").write_text("left by a crash")
    rebuild.rebuild(full)
    assert everything(full) == before
    with duckdb.connect(str(database.database_path(full))) as con:
        con.execute("UPDATE meta SET value = '99'")
    rebuild.rebuild(full)
    assert everything(full) == before


def test_a_rebuild_that_fails_leaves_the_old_database(
    full: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(full)

    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(rebuild, "refresh_comparisons", fail)
    with pytest.raises(StoreError, match="disk is full"):
        rebuild.rebuild(full)
    assert everything(full) == before


@pytest.mark.process
def test_a_rebuild_waits_for_who_is_at_work(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    with held(tmp_path), pytest.raises(StoreBusyError, match="in use"):
        rebuild.rebuild(tmp_path)


def test_a_rebuild_needs_something_to_build_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results in"):
        rebuild.rebuild(tmp_path)
    assert not database.database_path(tmp_path).exists()
