"""A study from its file to the store: what is trained, what is not, and what ends a call."""

from __future__ import annotations

import json
import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
from driver_place import GRID, RECALL, Place, Witness, interrupt

from harness.engine import run_study as run_study_module
from harness.engine.database_repair import rebuild_results
from harness.engine.dispatch.run_states import RunTable
from harness.engine.dispatch.store_writer import StoreWriter
from harness.engine.preview import preview
from harness.engine.run_options import RunOptions
from harness.engine.run_study import Outcome, run_study
from harness.engine.study_state import RunIdentity, plan_of
from harness.errors import InputError, StoreBusyError, StoreError
from harness.executors.interface import ExecutorName
from harness.records.event_log import Entries, read_spool
from harness.records.events import Finished, Started
from harness.records.studies.study_record import read_study_records
from harness.report.study_page import write_report
from harness.search.scheduler import Scheduler
from harness.store.database import connect, database_path
from harness.store.results_lock import alone
from harness.study.loading import load_study, study_name


@pytest.mark.parametrize("executor", ["local", pytest.param("process", marks=pytest.mark.process)])
def test_a_study_ends_with_every_run_in_the_store(place: Place, executor: ExecutorName) -> None:
    outcome = place.run(executor=executor, workers=2)
    assert outcome._replace(forecast=None) == Outcome("quality", 8, 8, 0, 8, None, True)
    assert outcome.exit_status == 0
    assert place.calls() == 8
    assert place.ask("SELECT count(*), min(state), max(state) FROM run") == [(8, "done", "done")]
    rows = place.ask("SELECT trial, n FROM summary WHERE k = 1 AND split = 'test' ORDER BY number")
    assert rows == [("quality=0.2", 2), ("quality=0.5", 2), ("raw pixels", 2), ("untrained", 2)]
    assert place.ask("SELECT count(*) FROM comparison") != [(0,)]
    assert place.ask("SELECT count(*) FROM clusters") == [(16,)]


def test_a_second_call_trains_nothing(place: Place) -> None:
    place.have_run()
    before = place.ask(RECALL)
    outcome = place.run()
    assert (outcome.trained, outcome.done, place.calls()) == (0, 8, 8)
    assert place.ask(RECALL) == before


def test_more_seeds_train_only_what_is_new(place: Place) -> None:
    place.have_run()
    outcome = place.run(GRID, "seeds=3", extend=True)
    assert (outcome.trained, outcome.done, place.calls()) == (4, 12, 12)


def test_a_lost_database_is_filled_from_the_spools(place: Place) -> None:
    place.have_run()
    before = place.ask(RECALL)
    database_path(place.results).unlink()
    assert place.run().trained == 0
    assert place.ask(RECALL) == before


def test_studies_share_equal_runs(place: Place) -> None:
    place.have_run()
    outcome = place.run(GRID.replace("study: quality", "study: again"))
    assert (outcome.trained, place.calls()) == (0, 8)
    assert place.ask("SELECT DISTINCT study FROM summary ORDER BY 1") == [("again",), ("quality",)]
    told = "of 8 runs were trained earlier for another study and reused"
    assert f"8 {told}" in write_report(place.results, "again", place.folder).read_text()
    assert told not in write_report(place.results, "quality", place.folder).read_text()


def test_finished_runs_can_be_trained_anew_and_are_compared(place: Place) -> None:
    place.have_run()
    before, witness = place.ask(RECALL), Witness()
    options = RunOptions(place.results, "local", threads=1, reuse=False)
    outcome = run_study(place.write(GRID), (), options, witness)
    assert (outcome.trained, outcome.done, place.calls()) == (8, 8, 16)
    assert place.ask(RECALL) == before
    assert witness.said == [
        "8 finished runs were trained again: 8 with identical results, 0 with different ones"
    ]
    assert place.ask("SELECT DISTINCT attempts FROM run") == [(2,)]
    assert place.run().trained == 0


def test_controls_come_first_and_then_seed_by_seed(place: Place) -> None:
    witness = Witness()
    place.run(watcher=witness)
    assert [(line.trial, line.seed) for line in witness.started_lines] == [
        ("raw pixels", 0),
        ("untrained", 0),
        ("raw pixels", 1),
        ("untrained", 1),
        ("quality=0.2", 0),
        ("quality=0.5", 0),
        ("quality=0.2", 1),
        ("quality=0.5", 1),
    ]


def test_a_variant_that_is_a_control_is_trained_once(place: Place) -> None:
    text = GRID.replace(
        "search:\n  quality: {grid: [0.2, 0.5]}", "variants:\n  full: {}\n  none:"
    ) + ("    method: {name: untrained}\n")
    text = text.replace("seeds: 2\n", "") + "seeds: 2\n"
    outcome = place.run(text)
    assert (outcome.total, place.calls()) == (6, 6)
    labels = place.ask("SELECT label, role FROM trial ORDER BY number")
    assert labels == [("full", "baseline"), ("none", "trial"), ("raw pixels", "control")]


@pytest.mark.parametrize(
    ("fail", "failure", "attempts"),
    [("crash", "crash", 3), ("memory", "oom", 3), ("invalid", "invalid", 1)],
)
def test_a_failed_run_does_not_end_the_study(
    place: Place, fail: str, failure: str, attempts: int
) -> None:
    text = GRID.replace("epochs: 1", f"epochs: 2, fail: {fail}, only_seeds: [1]")
    outcome = place.run(text)
    assert (outcome.exit_status, outcome.done, outcome.failed) == (1, 4, 4)
    assert place.ask("SELECT DISTINCT failure FROM failures") == [(failure,)]
    assert place.calls() == 4 + 4 * attempts
    again = place.run(text)
    assert again.exit_status == 1
    attempts *= 2 if attempts > 1 else 1  # a new call is a fresh chance where there was one
    assert place.calls() == 4 + 4 * attempts
    assert place.ask("SELECT max(attempts) FROM run") == [(attempts,)]


def test_a_diverged_run_stays_diverged(place: Place) -> None:
    text = GRID.replace("epochs: 1", "epochs: 2, fail: diverge, only_seeds: [0]")
    assert place.run(text).failed == 2
    assert place.ask("SELECT DISTINCT failure, message FROM failures") == [
        ("diverged", "loss is nan in epoch 1")
    ]
    again = place.run(text)
    assert (again.trained, again.failed) == (0, 2)


@pytest.mark.process
def test_a_worker_that_dies_gets_an_end_from_the_driver(place: Place) -> None:
    text = GRID.replace("epochs: 1", "epochs: 1, fail: kill, only_seeds: [0]")
    outcome = place.run(text, executor="process", workers=2)
    assert (outcome.done, outcome.failed, outcome.exit_status) == (4, 4, 1)
    assert place.ask("SELECT DISTINCT failure FROM failures") == [("oom",)]


FULL_DISK = """
import resource
def check(params): return dict(params)
def schema(): return {}
def controls(): return {}
def data_fingerprint(params): return "none"
def run(params, **_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from here on every write fails
    return {"val/recall@1": 0.5}
"""


@pytest.mark.process
def test_a_disk_that_is_full_ends_the_call_and_not_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.folder / "full_disk_workload.py").write_text(FULL_DISK)
    monkeypatch.syspath_prepend(place.folder)
    text = "study: full\nquestion: x\nworkload: full_disk_workload\nseeds: 1\n"
    with pytest.raises(StoreError, match="a worker cannot write its results there; free some"):
        place.run(text, executor="process")
    assert place.ask("SELECT state, failure FROM run") == [("running", None)]


def test_an_unknown_metric_ends_the_call_at_the_first_finished_run(place: Place) -> None:
    witness = Witness()
    with pytest.raises(InputError, match=r"study.yaml:9:1: metric: .*val/map or test/map.* nmi"):
        place.run(GRID + "metric: map\n", watcher=witness)
    assert len(witness.ended_lines) == 5  # four controls and one run
    assert place.ask("SELECT count(*) FROM run WHERE state = 'done'") == [(5,)]


def test_missing_data_are_an_error_at_their_place_and_leave_nothing(place: Place) -> None:
    with pytest.raises(InputError, match=r"study.yaml:5:8: data: no images there; name a folder"):
        place.run(GRID.replace("epochs: 1", "data: missing"))
    assert not place.results.exists()
    with pytest.raises(InputError, match=r"study.yaml:7:3: data: no images there"):
        place.run(GRID.replace("quality: {grid: [0.2, 0.5]}", "data: {grid: [toy, missing]}"))


def test_a_driver_is_told_who_makes_the_database_anew(place: Place) -> None:
    with (
        alone(place.results),
        pytest.raises(InputError, match=f"process {os.getpid()} is writing"),
    ):
        place.run()
    assert place.run().exit_status == 0


def held_open(results: Path) -> AbstractContextManager[object]:
    return connect(results, read_only=True)


def test_a_reader_delays_the_store_and_not_the_training(place: Place) -> None:
    place.run(GRID, "seeds=1")
    reader = held_open(place.results)
    reader.__enter__()
    witness = Witness()

    def release(text: str) -> None:
        assert place.calls() == 8
        reader.__exit__(None, None, None)

    witness.at_say = release
    outcome = place.run(watcher=witness, extend=True)
    assert (outcome.exit_status, outcome.is_stored) == (0, True)
    assert [text for text in witness.said if "in use by this process" in text]
    assert place.ask("SELECT count(*) FROM run WHERE state = 'done'") == [(8,)]


def test_the_database_is_left_alone_when_nothing_has_changed(place: Place) -> None:
    place.have_run()
    plan = plan_of(load_study(place.write(GRID)))
    store = StoreWriter(place.results)
    runs = RunTable(place.results, store)
    with held_open(place.results), pytest.raises(StoreBusyError):
        store.sync(compare="quality")
    runs.load(Scheduler(plan, RunIdentity(plan)).tasks.values())
    with held_open(place.results):
        assert store.sync() == ()  # all of it was there already
    assert len(runs.finished) == 8
    assert (runs.counts.done, runs.unfinished, runs.trained) == (8, 0, [])


def test_a_reader_that_never_lets_go_costs_no_result(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run(GRID, "seeds=1")
    monkeypatch.setattr(run_study_module, "_SYNC_WAIT_S", 0.0)
    with held_open(place.results), pytest.raises(StoreBusyError, match="`harness rebuild`"):
        place.run(extend=True)
    assert rebuild_results(place.results, on_wait=pytest.fail).runs == 8
    assert place.ask("SELECT count(*) FROM run WHERE state = 'done'") == [(8,)]


def test_a_rebuild_does_not_make_the_folder_it_misses(place: Place) -> None:
    with pytest.raises(InputError, match="no such results folder"):
        rebuild_results(place.results, on_wait=pytest.fail)
    assert not place.results.exists()


@pytest.mark.parametrize("executor", ["local", pytest.param("process", marks=pytest.mark.process)])
def test_ctrl_c_keeps_what_is_done_and_a_second_call_goes_on(
    place: Place, executor: ExecutorName
) -> None:
    outcome = place.run(executor=executor, workers=1, watcher=Witness(interrupt(3)))
    assert outcome.exit_status == 130
    assert 3 <= outcome.done < 8
    assert place.ask("SELECT count(*) FROM run WHERE state = 'done'") == [(outcome.done,)]
    rest = place.run()
    assert (rest.exit_status, rest.done, rest.trained) == (0, 8, 8 - outcome.done)


def test_the_signal_handlers_of_the_caller_come_back(place: Place) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    place.run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_preview_lists_what_is_done_and_writes_nothing(place: Place) -> None:
    path = place.write(GRID)
    planned = preview(path, (), place.results)
    assert [run.state for run in planned.runs] == ["to do"] * 8
    assert planned.proposed_later == 0
    assert not place.results.exists()
    place.run(GRID, "seeds=1")
    again = preview(path, (), place.results)
    assert sorted(run.state for run in again.runs) == ["done"] * 4 + ["to do"] * 4
    assert [run.trial for run in again.runs][:2] == ["raw pixels", "untrained"]


def test_progress_counts_and_foretells(place: Place) -> None:
    witness = Witness()
    place.run(watcher=witness)
    first, last = witness.snapshots[0], witness.snapshots[-1]
    assert (first.total, first.done, first.seconds_left) == (8, 0, None)
    assert (last.total, last.done, last.running) == (8, 8, ())
    assert any(
        each.seconds_left is not None and each.seconds_left > 0 for each in witness.snapshots
    )
    again = Witness()
    place.run(watcher=again)
    assert (again.snapshots[0].reused, again.started_lines) == (8, [])


def test_a_second_attempt_counts_on_from_the_first(place: Place) -> None:
    text = GRID.replace("epochs: 1", "epochs: 1, fail: crash")
    place.run(text)
    for path in place.results.glob("runs/*/spool.jsonl"):
        starts = [event for event in read_spool(path) if isinstance(event, Started)]
        assert [event.attempt for event in starts] == [1, 2, 3]


def test_the_record_says_how_the_study_was_run(place: Place) -> None:
    options = RunOptions(place.results, "local", command="harness run study.yaml")
    run_study(place.write(GRID), (), options, Witness())
    (before,) = read_study_records(place.results)
    run_study(place.write(GRID), (), options, Witness())
    (after,) = read_study_records(place.results)
    assert after.command == "harness run study.yaml"
    assert (after.created, after.members) == (before.created, before.members)
    assert after.updated > before.updated
    assert len(after.members) == 8
    assert json.dumps(after.spec["seeds"]) == "2"


def test_a_study_is_named_by_its_file_or_its_name(place: Place) -> None:
    assert study_name(str(place.write(GRID))) == "quality"
    assert study_name("momentum") == "momentum"
    with pytest.raises(InputError, match="no such file"):
        study_name("nowhere.yaml")


def test_the_store_is_kept_up_to_date_at_a_small_share_of_the_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    synced: list[float] = []

    def sync(self: StoreWriter) -> tuple[str, ...]:
        nonlocal now
        synced.append(now)
        now += cost
        return ("notice",)

    monkeypatch.setattr(
        "harness.engine.dispatch.store_writer.time", SimpleNamespace(monotonic=lambda: now)
    )
    monkeypatch.setattr(StoreWriter, "sync", sync)
    store = StoreWriter(place.results)
    cost = 0.1
    assert store.sync_if_due() == ("notice",)
    now += 2.4  # 25 times 0.1 s are not over
    assert store.sync_if_due() == ()
    now += 0.2
    cost = 5.0
    assert store.sync_if_due() == ("notice",)
    now += 10.1  # however long it took
    assert store.sync_if_due() == ("notice",)
    end = Finished(1, "2026-03-01T12:00:00+00:00", "failed", "crash")
    store.add("r", Entries((end,), True))
    assert store.sync_if_due() == ()
    monkeypatch.setattr("harness.engine.dispatch.store_writer._MOST_PENDING", 0)
    assert store.sync_if_due() == ("notice",)  # too much waits in memory
    assert synced == pytest.approx([100.0, 102.7, 117.8, 122.8])
