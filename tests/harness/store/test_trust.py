"""What the database shows is what the spools say: after damage, removal and training anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from store_examples import (
    CLUSTER,
    ID,
    RUN,
    TIME,
    ask,
    done,
    everything,
    ingest_into,
    put,
    reported,
    start,
)

from harness.records.event_log import append, read_spool
from harness.records.events import Finished, Started
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_files import digests_below
from harness.records.run_state import replay
from harness.store import database

LATER = "2026-03-02T12:00:00.250000+00:00"
FACTS = '{"device": "cpu"}'


def restarted(attempt: int = 1) -> Started:
    return Started(attempt, LATER, RUN, "host", 42, 2, "abc", False, {"numpy": "2"})


def spool(results: Path, *events: Started | Finished | object) -> None:
    for event in events:
        append(spool_path(run_dir(results, ID)), event)


def take_over(results: Path) -> tuple[str, ...]:
    with database.connect(results, read_only=False) as con:
        return ingest_into(con, results, ID, read_spool(spool_path(run_dir(results, ID))))


def ended(results: Path, **scores: float) -> Finished:
    """The end of a run that has left a table and facts."""
    put(results, "tables/clusters.jsonl", CLUSTER)
    put(results, "facts.json", FACTS)
    found = done(**scores)
    files = digests_below(work_dir(run_dir(results, ID)))
    return Finished(1, TIME, "done", seconds=2.5, results=found.results, files=files)


def change(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_a_run_that_was_removed_and_trained_again_has_its_new_numbers(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), reported(0, old=1.0), start(RUN, 2), reported(1, 2, old=2.0))
    spool(tmp_path, done(2, val__recall_at_1=0.5, val__nmi=0.1))
    put(tmp_path, "tables/clusters.jsonl", CLUSTER)
    take_over(tmp_path)
    assert ask(tmp_path, "SELECT recall FROM recall") == [(0.5,)]
    shutil.rmtree(run_dir(tmp_path, ID))
    spool(tmp_path, restarted(), reported(0, new=3.0), done(1, val__recall_at_1=0.75))
    assert take_over(tmp_path) == ()
    assert ask(tmp_path, "SELECT recall FROM recall") == [(0.75,)]
    assert ask(tmp_path, "SELECT epoch, name, value FROM epoch") == [(0, "new", 3.0)]
    assert ask(tmp_path, "SELECT count(*) FROM clusters UNION ALL SELECT count(*) FROM score") == [
        (0,),
        (0,),
    ]
    assert ask(tmp_path, "SELECT attempts, state FROM run") == [(1, "done")]


def test_what_a_slower_driver_read_earlier_takes_nothing_back(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), reported(0))
    early = read_spool(spool_path(run_dir(tmp_path, ID)))
    spool(tmp_path, restarted(2), reported(1, 2), done(2, val__recall_at_1=0.5))
    take_over(tmp_path)
    before = everything(tmp_path)
    with database.connect(tmp_path, read_only=False) as con:
        assert ingest_into(con, tmp_path, ID, early) == ()
    assert everything(tmp_path) == before


def test_a_damaged_line_makes_a_finished_run_unfinished_and_is_named(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), reported(0), reported(1), ended(tmp_path, val__recall_at_1=0.5))
    assert take_over(tmp_path) == ()
    path = spool_path(run_dir(tmp_path, ID))
    change(path, b'"loss":0.5', b'"loss":0.4')
    (notice,) = take_over(tmp_path)
    assert notice == (
        f"{path}:3: a damaged line; the run counts as unfinished and is trained again when "
        "its study is next run"
    )
    assert ask(tmp_path, "SELECT state, finished FROM run") == [("running", None)]
    for table in ("recall", "score", "clusters"):
        assert ask(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert ask(tmp_path, "SELECT epoch FROM epoch") == [(0,)]


def test_an_end_after_damage_does_not_count_either(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), reported(0), reported(1))
    take_over(tmp_path)
    change(spool_path(run_dir(tmp_path, ID)), b'"epoch":0', b'"epoch":7')
    end = done(val__recall_at_1=0.5)
    spool(tmp_path, end)
    with database.connect(tmp_path, read_only=False) as con:
        (notice,) = ingest_into(con, tmp_path, ID, [end])
    assert ":2: a damaged line" in notice
    assert ask(tmp_path, "SELECT state FROM run") == [("running",)]
    assert ask(tmp_path, "SELECT count(*) FROM recall") == [(0,)]


def test_an_attempt_without_its_start_counts_no_more_than_for_the_engine(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), reported(0), done(2, val__recall_at_1=0.5))
    (notice,) = take_over(tmp_path)
    assert "the start of attempt 2 is missing; the run counts as unfinished" in notice
    assert replay(read_spool(spool_path(run_dir(tmp_path, ID)))).state == "running"
    assert ask(tmp_path, "SELECT state FROM run") == [("running",)]
    assert ask(tmp_path, "SELECT count(*) FROM recall") == [(0,)]


def test_a_run_that_starts_anew_after_damage_counts_again(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), reported(0), reported(1), done(val__recall_at_1=0.5))
    change(spool_path(run_dir(tmp_path, ID)), b'"epoch":0', b'"epoch":7')
    take_over(tmp_path)
    spool(tmp_path, start(RUN, 2, is_anew=True), reported(0, 2, loss=0.25))
    spool(tmp_path, done(2, val__recall_at_1=0.5))
    assert take_over(tmp_path) == ()
    assert ask(tmp_path, "SELECT state, attempts FROM run") == [("done", 2)]
    assert ask(tmp_path, "SELECT epoch, value FROM epoch") == [(0, 0.25)]


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_table_that_is_not_what_the_run_wrote_is_left_out_and_named(
    tmp_path: Path, how: str
) -> None:
    spool(tmp_path, start(RUN), ended(tmp_path, val__recall_at_1=0.5))
    path = work_dir(run_dir(tmp_path, ID)) / "tables" / "clusters.jsonl"
    if how == "changed":
        change(path, b'"size": 30', b'"size": 31')
    else:
        path.unlink()
    (notice,) = take_over(tmp_path)
    assert str(path) in notice
    assert ("is damaged" if how == "changed" else "is gone") in notice
    assert f"; to recreate it, remove {run_dir(tmp_path, ID)} and run its study again" in notice
    assert ask(tmp_path, "SELECT count(*) FROM clusters") == [(0,)]
    assert ask(tmp_path, "SELECT recall FROM recall") == [(0.5,)]


def test_facts_that_are_not_what_the_run_wrote_are_left_out_and_named(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), ended(tmp_path))
    change(work_dir(run_dir(tmp_path, ID)) / "facts.json", b"cpu", b"gpu")
    (notice,) = take_over(tmp_path)
    assert "facts.json: is damaged: not what the run wrote; left out" in notice
    assert ask(tmp_path, "SELECT facts FROM run") == [(None,)]


def test_a_table_that_no_run_wrote_is_left_out(tmp_path: Path) -> None:
    spool(tmp_path, start(RUN), ended(tmp_path))
    put(tmp_path, "tables/more.jsonl", '{"a": 1}\n')
    (notice,) = take_over(tmp_path)
    assert "more.jsonl: is not from the run that ended here; left out" in notice
