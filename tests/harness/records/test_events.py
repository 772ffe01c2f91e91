"""Events survive the way through JSON, whatever their numbers are."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from store_examples import a_run, a_trial, done, failed, reported, start

from harness.records.events import (
    FAILURES,
    EpochReported,
    Event,
    Finished,
    from_json,
    to_json,
    utc_now,
)


def there_and_back(event: Event) -> Event:
    return from_json(json.loads(json.dumps(to_json(event), allow_nan=False)))


@pytest.mark.parametrize(
    "event",
    [
        start(a_run(a_trial(3), 7)),
        replace(start(a_run(a_trial(3), 7)), commit=None, dirty=None),
        reported(4, loss=0.1 + 0.2, tiny=5e-324),
        done(val__recall_at_1=1 / 3),
        failed("oom", attempt=2),
        Finished(1, "2026-03-01T12:00:00+00:00", "failed", "timeout"),
    ],
)
def test_an_event_is_equal_after_json(event: Event) -> None:
    assert there_and_back(event) == event


def test_numbers_that_json_lacks_survive() -> None:
    metrics = {"nan": math.nan, "up": math.inf, "down": -math.inf, "one": 1.0}
    back = there_and_back(reported(0, **metrics))
    assert isinstance(back, EpochReported)
    assert math.isnan(back.metrics["nan"])
    assert {name: value for name, value in back.metrics.items() if name != "nan"} == {
        "up": math.inf,
        "down": -math.inf,
        "one": 1.0,
    }
    ended = there_and_back(replace(done(), seconds=math.inf))
    assert isinstance(ended, Finished)
    assert ended.seconds == math.inf


def test_a_run_keeps_its_id_after_json() -> None:
    run = a_run(a_trial(3), 7)
    back = there_and_back(start(run))
    assert back.run.run_id == run.run_id


def test_a_field_of_a_newer_program_is_passed_over() -> None:
    document = to_json(reported(1)) | {"colour": "blue"}
    assert from_json(document) == reported(1)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"event": "party"},
        {"event": "epoch", "attempt": 1},
        {"event": "epoch", "attempt": 1, "time": "", "epoch": 0, "metrics": {"loss": "much"}},
        {"event": "epoch", "attempt": 1, "time": "", "epoch": 0, "metrics": [1]},
        {"event": "started", "attempt": 1, "run": {"seed": 1}},
    ],
)
def test_what_is_no_event_is_refused(document: dict) -> None:
    with pytest.raises(ValueError, match="event"):
        from_json(document)


def test_the_time_is_utc() -> None:
    assert datetime.fromisoformat(utc_now()).utcoffset() == timedelta(0)


def test_every_failure_class_of_the_design_is_known() -> None:
    assert set(FAILURES) == {
        "diverged", "collapsed", "oom", "crash", "timeout", "stalled", "invalid",
    }  # fmt: skip
