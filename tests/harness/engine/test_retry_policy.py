"""What follows a failure, by its class."""

from __future__ import annotations

import pytest
from driver_place import GRID, Place, Witness

from harness.engine.dispatch import retry_policy
from harness.engine.dispatch.retry_policy import FINAL_FAILURES, RULES, RetryQueue, next_retry
from harness.engine.run_options import RunOptions
from harness.engine.run_study import run_study
from harness.records.event_log import read_spool
from harness.records.events import FAILURES, Finished


def test_every_class_has_a_rule() -> None:
    assert set(RULES) == set(FAILURES)
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


def test_a_run_is_taken_up_when_its_back_off_is_over_and_not_before() -> None:
    clock = Clock()
    retries = RetryQueue(clock)
    retries.note("late", "crash", active=4)
    retries.note("late", "crash", active=4)  # 4 s
    assert retries.take() is None
    assert retries.wait_s == 2.0
    retries.note("early", "timeout", active=4)
    assert retries.waiting[0] == "early"
    assert retries.take() == "early"
    clock.now += 2.0
    assert retries.take() == "late"
    clock.now += 1.9
    assert retries.take() is None
    clock.now += 0.1
    assert retries.take() == "late"
    assert not retries


def test_running_out_of_memory_takes_a_slot_until_one_is_left() -> None:
    retries = RetryQueue(Clock())
    retries.note("a", "oom", active=3)
    assert retries.most_active == 2
    retries.note("b", "crash", active=2)
    assert retries.most_active == 2
    retries.note("a", "oom", active=2)
    retries.note("b", "oom", active=1)
    assert retries.most_active == 1


def test_classes_of_one_run_share_its_attempts() -> None:
    retries = RetryQueue(Clock())
    assert retries.note("a", "crash", active=4)
    assert retries.note("a", "timeout", active=4) is None  # its second failure
    assert retries.note("b", "timeout", active=4)


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
    monkeypatch.setitem(retry_policy.RULES, "crash", retry_policy.Rule(retries=1, back_off_s=0.3))
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
