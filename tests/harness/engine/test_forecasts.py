"""The forecast that a study's first runs make, and what the runs took."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import held
import pytest
from driver_place import GRID, Place, Witness

from harness.cli.output import forecast_line
from harness.engine.forecast.run_costs import Cost, total_time
from harness.engine.forecast.step_times import StepTimes, step_times
from harness.engine.progress import Snapshot
from harness.records.events import Entry, EpochReported, Finished, Started
from harness.records.studies.forecasts import NotedForecast, closed, merged_forecasts
from harness.records.studies.study_record import read_study_record
from harness.records.trial import Run
from harness.store.rebuild import rebuild

HELD = """
study: held
question: How long does it take?
workload: held
base: {epochs: 12}
search: {x: {grid: [1.0, 2.0]}}
seeds: 2
metric: height
"""
FORECASTS = "SELECT runs, low_hours, high_hours, took_hours, has_held FROM forecasts ORDER BY ALL"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def events(*reports: float, ended: float | None = None) -> Sequence[Entry]:
    run = Run("toy", {}, 0, test=False, code="c", data="d")
    found: list[Entry] = [Started(1, at(0), run, "host", 1, 1, None, None, {})]
    found += [EpochReported(1, at(s), epoch, {}) for epoch, s in enumerate(reports, 1)]
    if ended is not None:
        found.append(Finished(1, at(ended), "done", seconds=ended))
    return found


def test_three_steps_after_the_first_make_a_range() -> None:
    found = step_times(events(10, 12, 15, 17, 90))
    assert found == StepTimes(start_s=10 - 2, fastest_s=2, slowest_s=3)
    assert (found.low(100), found.high(100)) == (208, 308)


def test_fewer_steps_wait_for_more_unless_the_run_has_ended() -> None:
    assert step_times(events(10, 12, 15)) is None
    assert step_times(events(10, 12, ended=13)) == StepTimes(8, 2, 2)
    assert step_times(events(10, ended=11)) == StepTimes(0, 11, 11)


def test_a_total_is_no_shorter_than_its_longest_run() -> None:
    runs = [Cost(1, 2, 0), Cost(1, 2, 0), Cost(10, 20, 0)]
    assert total_time(runs, 1) == (12, 24)
    assert total_time(runs, 2) == (10, 20)
    assert total_time(runs[:2], 8) == (1, 2)


@pytest.mark.process
def test_the_first_epochs_make_a_forecast_before_any_run_has_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "epochs", lambda params: 12, raising=False)
    hold = place.results.parent / "hold"
    hold.write_text("6")  # the start and five epochs of the first run
    found: list[tuple[str, int]] = []

    def goes_on_once_forecast(_: Snapshot) -> None:
        if hold.exists() and (record := read_study_record(place.results, "held")):
            states = place.ask("SELECT count(*) FROM run WHERE state = 'done'")
            found.extend((str(each.planned_at), states[0][0]) for each in record.forecasts)  # type: ignore[misc]
            if record.forecasts:
                hold.unlink()

    witness = Witness()
    monkeypatch.setattr(witness, "tick", goes_on_once_forecast)
    outcome = place.run(HELD, watcher=witness, executor="process", workers=1)
    ((_, done),) = found
    assert done == 0
    forecast = outcome.forecast
    assert forecast is not None
    assert (forecast.runs, forecast.low_s > 0) == (4, True)
    assert forecast.low_s <= forecast.high_s
    assert forecast.took_s is not None
    ((runs, low, high, took, has_held),) = place.ask(FORECASTS)
    assert (runs, has_held) == (4, low <= took <= high)  # type: ignore[operator]
    assert took == pytest.approx(forecast.took_s / 3600)


def test_a_study_of_short_runs_is_forecast_from_the_first_that_ends(place: Place) -> None:
    place.run()
    ((runs, low, high, took, _),) = place.ask(FORECASTS)
    assert 0 < runs < 8  # type: ignore[operator]
    assert 0 <= low <= high  # type: ignore[operator]
    assert took is not None


def test_a_study_that_is_done_or_unchanged_gets_no_other_forecast(place: Place) -> None:
    place.run()
    before = place.ask(FORECASTS)
    again = place.run()
    assert again.forecast is None
    assert place.ask(FORECASTS) == before


def test_more_seeds_are_another_forecast_from_the_runs_before(place: Place) -> None:
    place.run()
    outcome = place.run(GRID, "seeds=3", extend=True)
    rows = place.ask("SELECT runs, took_hours FROM forecasts ORDER BY planned_at")
    assert len(rows) == 2
    assert rows[1][0] == 4  # at once: two trials and two controls
    assert outcome.forecast is not None
    assert outcome.forecast.took_s == pytest.approx(3600 * float(rows[1][1]))  # type: ignore[arg-type]


def test_an_interrupted_study_keeps_its_forecast_and_closes_it_later(place: Place) -> None:
    from signal import SIGINT, raise_signal

    def interrupt(ended: int) -> None:
        if ended == 6:
            raise_signal(SIGINT)

    stopped = place.run(watcher=Witness(interrupt))
    assert stopped.signal is not None
    assert stopped.forecast is None
    ((runs, _, _, took, held),) = place.ask(FORECASTS)
    assert (took, held) == (None, None)
    done = place.run()
    assert done.forecast is not None
    assert done.forecast.runs == runs
    ((_, _, _, took, _),) = place.ask(FORECASTS)
    assert took == pytest.approx((done.forecast.took_s or 0) / 3600)


def test_a_rebuilt_database_has_the_forecasts(place: Place) -> None:
    place.run()
    before = place.ask("FROM forecasts")
    (place.results / "results.duckdb").unlink()
    rebuild(place.results)
    assert place.ask("FROM forecasts") == before


def noted(planned: float, took_s: float | None = None) -> NotedForecast:
    return NotedForecast(at(planned), 8, 6, 60.0, 90.0, 5.0, took_s)


def test_two_drivers_keep_both_forecasts_and_what_either_knows() -> None:
    one, other = noted(0), noted(1)
    assert merged_forecasts([other], [one]) == (one, other)
    assert merged_forecasts([noted(0, 70.0)], [one]) == (noted(0, 70.0),)
    assert merged_forecasts([one], [noted(0, 70.0)]) == (noted(0, 70.0),)


def test_only_the_newest_open_forecast_is_closed() -> None:
    forecasts, last = closed((noted(0), noted(1)), 75.0)
    assert last == noted(1, 70.0)
    assert forecasts == (noted(0), last)
    assert closed(forecasts, 80.0) == (forecasts, None)
    assert closed((), 80.0) == ((), None)


def test_the_terminal_compares_the_forecast_with_what_it_took() -> None:
    line = forecast_line(dataclasses.replace(noted(0, 84.0), low_s=14400, high_s=21600))
    assert line == "time: 1 min 24 s for 6 runs; the forecast was 4 to 6 h"


def test_records_without_forecasts_are_read(place: Place, tmp_path: Path) -> None:
    place.run()
    record = read_study_record(place.results, "quality")
    assert record is not None
    assert dataclasses.replace(record, forecasts=()).forecasts == ()
