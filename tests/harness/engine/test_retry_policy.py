"""What follows a failure, by its class."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from driver_place import GRID, Place, Witness

from harness.engine.dispatch import retry_policy
from harness.engine.dispatch.retry_policy import FINAL_FAILURES, RETRY_POLICIES, next_retry
from harness.engine.dispatch.run_states import RunTable
from harness.engine.dispatch.store_writer import StoreWriter
from harness.engine.run_options import RunOptions
from harness.engine.run_study import run_study
from harness.records.event_log import read_spool
from harness.records.events import FAILURES, Finished
from harness.records.trial import Run, Trial
from harness.search.scheduler import ScheduledRun


def test_every_class_has_a_rule() -> None:
    assert set(RETRY_POLICIES) == set(FAILURES)
    assert {"diverged", "collapsed", "invalid"} == FINAL_FAILURES


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        ("oom", [0.0, 0.0]),
        ("crash", [2.0, 4.0]),
        ("timeout", [0.0]),
        ("stalled", [0.0]),
        ("diverged", []),
        ("collapsed", []),
        ("invalid", []),
    ],
)
def test_a_class_has_so_many_retries_after_such_waits(failure: str, waits: list[float]) -> None:
    follows = [next_retry(failure, failed) for failed in range(1, len(waits) + 2)]
    assert [retry.wait_s for retry in follows[:-1] if retry] == waits
    assert follows[-1] is None


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_table(folder: Path, *names: str) -> RunTable:
    """Runs of which nothing is spooled yet."""
    trial = cast("Trial", SimpleNamespace(role="trial", label="t"))
    run = Run("w", {}, 0, False, "", "")
    table = RunTable(folder, StoreWriter(folder), clock=Clock())
    table.load(ScheduledRun(trial, run, name, (0, 0, 0)) for name in names)
    return table


def test_a_run_is_taken_up_when_its_back_off_is_over_and_not_before(tmp_path: Path) -> None:
    table = make_table(tmp_path, "late", "early")
    clock = table.clock
    assert isinstance(clock, Clock)
    late, early = table["late"], table["early"]
    assert table.wait_s == math.inf
    table.retry("late", "crash", active=4)  # 2 s
    assert table.take_own() is None
    assert table.wait_s == 2.0
    table.retry("early", "timeout", active=4)
    assert table.waiting == [early, late]
    assert table.take_own() is early
    assert (early.status, late.status) == ("leased", "waiting")
    table.finish("early")
    clock.now += 1.9
    assert table.take_own() is None
    clock.now += 0.1
    assert table.take_own() is late
    table.retry("late", "crash", active=4)  # 4 s
    clock.now += 3.9
    assert table.take_own() is None
    clock.now += 0.1
    assert table.take_own() is late
    assert not table.has("waiting")


def test_what_starts_again_goes_before_retries_in_the_order_in_which_it_ended(
    tmp_path: Path,
) -> None:
    table = make_table(tmp_path, "a", "b", "c")
    table.retry("a", "timeout", active=4)
    table.set_status("c", "leased")
    table.set_status("b", "leased")
    taken = []
    while (row := table.take_own()) is not None:
        taken.append(row.task.run_id)
        table.finish(row.task.run_id, is_trained=True)
    assert taken == ["c", "b", "a"]
    assert (table.unfinished, len(table.finished), table.counts.finished) == (0, 3, 3)
    assert [row.task.run_id for row in table.trained] == taken


def test_running_out_of_memory_takes_a_slot_until_one_is_left(tmp_path: Path) -> None:
    table = make_table(tmp_path, "a", "b")
    table.retry("a", "oom", active=3)
    assert table.most_active == 2
    table.retry("b", "crash", active=2)
    assert table.most_active == 2
    table.retry("a", "oom", active=2)
    table.retry("b", "oom", active=1)
    assert table.most_active == 1


def test_classes_of_one_run_share_its_attempts(tmp_path: Path) -> None:
    table = make_table(tmp_path, "a", "b")
    assert table.retry("a", "crash", active=4)
    assert table.retry("a", "timeout", active=4) is None  # its second failure
    assert table.retry("b", "timeout", active=4)


def test_a_run_that_recovers_is_done_and_its_failures_stay_in_the_spool(place: Place) -> None:
    witness = Witness()
    witness.at_say = lambda text: (place.folder / "mended").touch()
    text = GRID.replace("epochs: 1", "epochs: 1, fail: crash, only_seeds: [1], mended_by: mended")
    outcome = place.run(text, watcher=witness)
    assert (outcome.exit_status, outcome.done, outcome.failed, outcome.trained) == (0, 8, 0, 8)
    (line,) = witness.said
    assert line == (
        "raw pixels, seed 1: crash: RuntimeError: this run was told to crash; retry 1 of 2"
    )
    assert place.ask("SELECT max(attempts), any_value(failure) FROM run") == [(2, None)]
    ends = [
        event.failure
        for path in place.results.glob("runs/*/spool.jsonl")
        for event in read_spool(path)
        if isinstance(event, Finished)
    ]
    assert sorted(ends, key=str) == [None] * 8 + ["crash"]


def test_a_back_off_holds_no_other_run_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        retry_policy.RETRY_POLICIES, "crash", retry_policy.RetryPolicy(retries=1, back_off_s=0.3)
    )
    witness = Witness()
    text = GRID.replace("epochs: 1", "epochs: 1, fail: crash, only_seeds: [0]")
    outcome = place.run(text, watcher=witness)
    assert outcome.failed == 4
    trained = [line.seed for line in witness.ended_lines]
    assert trained == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.process
def test_out_of_memory_is_tried_again_with_one_run_less_at_once(place: Place) -> None:
    witness = Witness()
    text = GRID.replace("epochs: 1", "epochs: 1, fail: memory, only_seeds: [1]")
    outcome = place.run(text, executor="process", workers=3, watcher=witness)
    assert (outcome.done, outcome.failed) == (4, 4)
    assert witness.said[0].endswith("; retry 1 of 2, with at most 2 at once from now on")
    # Which of the two that are left fails next is not fixed: it may be the first one again.
    assert witness.said[1].endswith(" of 2, with at most 1 at once from now on")
    last = witness.snapshots[-10:]
    assert max(len(snapshot.running) for snapshot in last) == 1


def again(place: Place, text: str, *classes: str) -> tuple[int, int]:
    options = RunOptions(place.results, "local", threads=1, again=frozenset(classes))
    outcome = run_study(place.write(text), (), options, Witness())
    return outcome.trained, outcome.failed


def test_final_failures_are_trained_again_only_when_asked_for(place: Place) -> None:
    text = GRID.replace("epochs: 1", "epochs: 2, fail: diverge, only_seeds: [0]")
    text = text.replace("grid: [0.2, 0.5]", "grid: [0.2, 0.5, 0.7]")
    assert place.run(text).failed == 3
    assert again(place, text, "oom", "crash") == (0, 3)
    assert again(place, text, "oom", "diverged") == (3, 3)
    assert place.ask("SELECT attempts, count(*) FROM run GROUP BY ALL ORDER BY ALL") == [
        (1, 7),
        (2, 3),
    ]
    assert again(place, text) == (0, 3)
