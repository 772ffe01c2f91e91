"""Spools lose nothing that was whole, and a record is read as it was written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from store_examples import a_record, a_run, a_trial, done, failed, reported, start

from harness.errors import StoreError
from harness.records.events import Event
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_state import RunState, replay
from harness.records.studies.study_record import write_study_record

RUN = a_run(a_trial(0), 0)


def test_the_layout_is_the_designed_one(tmp_path: Path) -> None:
    directory = run_dir(tmp_path, "abc")
    assert directory == tmp_path / "runs" / "abc"
    assert spool_path(directory) == directory / "spool.jsonl"
    assert work_dir(directory) == directory / "work"


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot write.*file is in the way") as caught:
        write_study_record(tmp_path / "results", a_record([a_trial(0)], [0]))
    assert "\n" not in str(caught.value)


def test_a_run_without_events_is_queued() -> None:
    assert replay([]) == RunState("queued")


def test_a_run_goes_from_running_to_done() -> None:
    running = replay([start(RUN), reported(0), reported(1, loss=0.25)])
    assert (running.state, running.epochs, running.last_metrics) == ("running", 2, {"loss": 0.25})
    assert not running.is_over
    end = replay([done(val__nmi=0.5)], running)
    assert (end.state, end.epochs, end.results, end.seconds) == ("done", 2, {"val/nmi": 0.5}, 2.5)
    assert end.is_over


def test_a_failure_is_forgotten_by_the_next_attempt() -> None:
    once = replay([start(RUN), reported(0), failed("oom")])
    assert (once.state, once.failure, once.message, once.attempts) == (
        "failed",
        "oom",
        "it broke",
        1,
    )
    again = replay([start(RUN, 2)], once)
    assert (again.state, again.failure, again.attempts) == ("running", None, 2)


def test_an_attempt_that_starts_over_counts_its_own_epochs_only() -> None:
    events = [
        start(RUN),
        reported(0),
        reported(1),
        reported(2),
        failed(),
        start(RUN, 2),
        reported(0, 2),
    ]
    assert replay(events).reported == (0,)


def test_an_attempt_that_goes_on_keeps_the_epochs_before() -> None:
    events = [
        start(RUN),
        reported(0),
        reported(1),
        reported(2),
        start(RUN, 2),
        reported(2, 2),
        reported(3, 2),
    ]
    assert replay(events).reported == (0, 1, 2, 3)


@pytest.mark.parametrize("late", [reported(5), failed("stalled"), start(RUN)])
def test_what_follows_the_first_end_changes_nothing(late: Event) -> None:
    end = replay([start(RUN), reported(0), done(val__nmi=0.5)])
    assert replay([late], end) == end


@pytest.mark.parametrize("late", [reported(5), done(val__nmi=0.9)])
def test_a_worker_of_an_older_attempt_changes_nothing(late: Event) -> None:
    second = replay([start(RUN), start(RUN, 2), reported(0, 2)])
    assert replay([late], second) == second


def test_an_end_without_a_start_is_a_failed_attempt() -> None:
    state = replay([failed("crash")])
    assert (state.state, state.attempts) == ("failed", 1)


def test_in_one_go_and_event_by_event_are_the_same() -> None:
    events = [
        start(RUN),
        reported(0),
        failed(),
        start(RUN, 2),
        reported(1, 2),
        done(2, val__nmi=0.1),
    ]
    state = RunState()
    for event in events:
        state = replay([event], state)
    assert state == replay(events)


def test_a_watched_metric_leaves_its_curve() -> None:
    events = [
        start(RUN),
        reported(0, watched=0.1),
        reported(1, other=0.5),
        reported(2, watched=math.nan),
        reported(3, watched=0.3),
        start(RUN, 2),
        reported(3, 2, watched=0.4),
        reported(4, 2, watched=0.2),
    ]
    assert replay(events, watched="watched").curve == {0: 0.1, 3: 0.4, 4: 0.2}
    assert replay(events).curve == {}
    assert replay(
        [*events, start(RUN, 3), reported(0, 3, watched=0.9)], watched="watched"
    ).curve == {0: 0.9}
