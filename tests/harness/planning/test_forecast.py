"""What is foretold of a study: runs, time, disk and power, and that nothing is left of it."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import toy_workload
from driver_place import GRID, SEARCH, Place
from pydantic import JsonValue
from scipy.stats import chi2

from harness.cli.plan_output import describe
from harness.engine.forecast.run_costs import Probed
from harness.engine.forecast.step_times import StepTimes
from harness.engine.run_options import RunOptions
from harness.errors import InputError
from harness.planning import forecast as forecast_module
from harness.planning.forecast import Forecast, make_forecast
from harness.planning.kept_forecasts import KeptForecast
from harness.planning.pilot_run import PilotRun
from harness.stats.paired import t_interval

SLOW = GRID.replace("epochs: 1", "epochs: 40, sleep_s: 0.1, checkpoints: true")


def epochs(params: Mapping[str, JsonValue]) -> int:
    settings = toy_workload.Params.model_validate(params)
    return settings.epochs if settings.method.name == "toy" else 1


@pytest.fixture(autouse=True)
def _knows_its_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_workload, "epochs", epochs, raising=False)


def plan(place: Place, text: str = GRID, *overrides: str, may_probe: bool = False) -> Forecast:
    options = RunOptions(place.results, workers=2, threads=1)
    return make_forecast(place.write(text), overrides, options, may_probe=may_probe)


def test_runs_are_counted_without_those_that_are_done(place: Place) -> None:
    first = plan(place)
    assert (first.trials, first.controls, first.seeds) == (2, 2, 2)
    assert (first.runs, first.done, first.to_do, first.expense) == (8, 0, 8, None)
    assert not place.results.exists()
    place.run(GRID, "study=other", "seeds=1")
    assert (plan(place).done, plan(place).to_do) == (4, 4)  # by a study of another name
    place.run()
    last = plan(place)
    assert (last.done, last.to_do, last.expense) == (8, 0, None)
    assert "8 done, 0 to do" in describe(last)[1]


def test_a_confirmation_is_counted_and_its_family_is_what_is_tested(place: Place) -> None:
    found = plan(place, SEARCH + "confirm: {top: 3, seeds: 6}\n")
    assert found.runs == found.to_do == 14 * 2 + (3 + 1 + 2) * 6
    assert found.power is not None
    assert (found.power.seeds, found.power.comparisons, found.power.effect) == (6, 3, None)
    assert plan(place, SEARCH).power is None


@pytest.mark.process
def test_a_probe_tells_the_time_of_trials_and_controls(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    found = plan(place, SLOW, may_probe=True)
    assert found.expense is not None
    assert found.expense.basis == "a probe"
    assert found.expense.run_s >= 40 * 0.1
    # Two trials of 40 epochs and two controls of one, two seeds each, on two workers.
    assert found.expense.total_s == pytest.approx(2 * found.expense.run_s, rel=0.3)
    assert 0 < found.expense.needed_mib < 1 < found.expense.free_mib
    assert not place.results.exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert place.calls() == 1


def test_earlier_runs_tell_better_than_a_probe(place: Place) -> None:
    place.run(GRID, "seeds=1")
    calls = place.calls()
    found = plan(place, GRID, "seeds=3", may_probe=True)
    assert found.expense is not None
    assert (found.expense.basis, place.calls()) == ("earlier runs", calls)
    assert found.changes == ("seeds: 1 -> 3",)


def test_the_plan_shows_ranges_devices_and_energy(place: Place) -> None:
    place.run(GRID, "seeds=1")
    found = plan(place, GRID, "seeds=3")
    assert found.expense is not None
    told = dataclasses.replace(
        found.expense,
        run_low_s=90,
        run_high_s=130,
        low_s=4 * 3600,
        high_s=6 * 3600,
        gpus=2,
        watts=200.0,
        low_kwh=0.8,
        high_kwh=2.4,
    )
    lines = describe(dataclasses.replace(found, expense=told, kept=()))
    assert lines[3:7] == [
        "time: 4 to 6 h on 2 workers, 1.5 to 2.2 min per run (from earlier runs)",
        lines[4],
        "GPUs: 8 to 12 GPU-hours on 2 GPUs",
        "energy: 0.8 to 2.4 kWh, from the 200 W that the probe took",
    ]


def test_power_measured_by_the_probe_is_between_one_run_at_a_time_and_all_by_themselves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = Probed(StepTimes(0.0, 60.0, 90.0))
    monkeypatch.setattr(
        "harness.planning.cost_estimate.run_pilot", lambda *_, **__: PilotRun(probed, 500.0)
    )
    found = plan(place, GRID, may_probe=True).expense
    assert found is not None
    # Eight runs of an epoch on two workers.
    assert (found.low_s, found.high_s) == (4 * 60, 4 * 90)
    assert found.low_kwh == pytest.approx(500 * 4 * 60 / 3.6e6)
    assert found.high_kwh == pytest.approx(500 * 8 * 90 / 3.6e6)


def test_earlier_forecasts_are_shown_with_what_the_runs_took(place: Place) -> None:
    place.run()
    found = plan(place, GRID, "seeds=3")
    assert [each.study for each in found.kept] == ["quality"]
    (line,) = (line for line in describe(found) if line.startswith("earlier forecasts"))
    assert line.startswith("earlier forecasts of this study: ")
    kept = KeptForecast("quality", "2026-01-01", 8, 4.0, 6.0, 5.0)
    other = dataclasses.replace(kept, study="other", took_hours=7.0)
    lines = describe(dataclasses.replace(found, study="new", kept=(kept, other)))
    assert (
        "earlier forecasts of other studies: 1 of 2 held; the last said 4 to 6 h, and it took "
        "7 h 00 min"
    ) in lines


def test_a_spread_of_three_seeds_is_an_upper_bound(place: Place) -> None:
    place.run(GRID, "seeds=3")
    found = plan(place, GRID, "seeds=10")
    assert found.power is not None
    spread = found.power.spread
    assert spread is not None
    assert spread.is_bound
    assert spread.sd == pytest.approx(spread.measured * (2 / chi2.ppf(0.2, 2)) ** 0.5)
    assert f"the upper 80 % bound, since few seeds gave {spread.measured:.4f}" in "".join(
        describe(found)
    )


@pytest.mark.process
def test_a_probe_that_fails_says_why(place: Place) -> None:
    with pytest.raises(InputError, match=r"probe .* failed \(crash: RuntimeError: .*--no-probe"):
        plan(place, GRID, "fail=crash", may_probe=True)


def test_too_few_seeds_are_said_with_the_number_that_is_needed(place: Place) -> None:
    (warning,) = plan(place, GRID.replace("[0.2, 0.5]", "[0.2, 0.3, 0.4, 0.5]")).warnings
    assert warning == (
        "with 2 seeds no difference can be significant: the smallest p is 3 x 2/2^2 = 1, not below "
        "0.05; use at least 7 seeds"
    )
    assert plan(place, GRID, "seeds=6").warnings == ()


@pytest.mark.parametrize("name", ["quality", "another"])
def test_the_spread_of_earlier_runs_gives_the_difference_its_unit(place: Place, name: str) -> None:
    place.run(GRID, "seeds=6", f"study={name}")
    found = plan(place, GRID, "seeds=10")
    assert found.power is not None
    assert found.power.spread is not None
    values = {
        trial: dict(rows)
        for trial in ("quality=0.2", "quality=0.5")
        if (
            rows := place.ask(
                "SELECT seed, value FROM results "
                f"WHERE split = 'test' AND name = 'recall@1' AND trial = '{trial}'"
            )
        )
    }
    differences = [float(values["quality=0.5"][s] - values["quality=0.2"][s]) for s in range(6)]  # type: ignore[operator]
    assert found.power.spread.sd == pytest.approx(t_interval(differences).sd, rel=1e-6)
    assert found.power.spread.where == ("this study" if name == "quality" else "other studies")
    assert found.power.effect is not None
    assert found.power.difference == pytest.approx(found.power.effect * found.power.spread.sd)


STOPPING = GRID.replace("[0.2, 0.5]", "[0.2, 0.5, 0.6, 0.7, 0.8, 0.25, 0.26, 0.27]").replace(
    "seeds: 2", "stop: {effect: 0.02, margin: 0.004, most_seeds: 20}"
)


def test_a_study_that_stops_says_when_it_could_show_something(place: Place) -> None:
    found = plan(place, STOPPING)
    assert found.stopping is not None
    assert (found.stopping.first_seeds, found.stopping.most_seeds) == (12, 20)
    assert found.runs == 10 * 20
    assert describe(found)[1].startswith("runs: 8 trials and 2 controls x at most 20 seeds = 200;")
    (line,) = (line for line in describe(found) if line.startswith("stop: "))
    assert line == (
        "stop: a difference can be shown from 12 of 20 seeds on (7 comparisons); equality with a "
        "margin of about 0.75 standard deviations of paired differences or more"
    )


def test_a_margin_that_cannot_be_shown_is_said(place: Place) -> None:
    few = ("stop.most_seeds=9", "search.quality={grid: [0.2, 0.5, 0.6]}")
    place.run(STOPPING, *few)
    found = plan(place, STOPPING, *few)
    assert found.stopping is not None
    assert found.stopping.spread is not None
    least = found.stopping.smallest_margin
    assert least is not None
    assert least == pytest.approx(found.stopping.spread.sd * 2.24 / (9 - 2.24**2) ** 0.5, rel=0.01)
    assert f"the smallest is about {least:.2g}; raise stop.margin" in describe(found)[-1]
    assert not plan(place, STOPPING, *few, f"stop.margin={least * 1.01}").warnings


def test_a_disk_that_is_too_small_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.run(GRID, "seeds=1")
    full = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(forecast_module.shutil, "disk_usage", lambda path: full)
    assert any("choose another folder" in text for text in plan(place).warnings)


def test_the_command_line_prints_text_or_json(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.cli import commands

    path = place.write(GRID)
    printed = []
    for more in ([], ["--format", "json"]):
        arguments = ["harness", "plan", str(path), "--results", str(place.results), "--no-probe"]
        monkeypatch.setattr("sys.argv", [*arguments, *more])
        with pytest.raises(SystemExit) as caught:
            commands.main()
        assert caught.value.code == 0
        printed.append(capsys.readouterr().out)
    assert "runs: 2 trials and 2 controls x 2 seeds = 8; 0 done, 8 to do" in printed[0]
    assert "time and disk: unknown without a probe" in printed[0]
    document = json.loads(printed[1])
    assert (document["to_do"], document["power"]["seeds_needed"]) == (8, 6)
    assert not place.results.exists()
