"""Searches of whole studies: that a model learns, and that a search ends by the rules it began with."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from driver_place import Place, Witness, interrupt

from harness.engine.preview import preview
from harness.engine.study_state import load_study_state
from harness.errors import InputError
from harness.records.studies.study_record import (
    StudyRecord,
    read_study_records,
    record_path,
    write_study_record,
)
from harness.search import history
from harness.search.rules import FIRST_RULES, NEWEST_RULES
from harness.workload import JsonValue

HILL = """
study: hill
question: Where is the top?
workload: quadratic
search: {x: {uniform: [-1, 1]}, y: {uniform: [-1, 1]}}
metric: height
sampler: cmaes
trials: 18
seeds: 1
"""
PRUNED = (
    HILL.replace("cmaes", "random").replace("seeds: 1", "seeds: 7")
    + "parallel_trials: 1\npruner: wilcoxon\n"
)
FEW = PRUNED.replace("seeds: 7", "seeds: 5")
pytestmark = pytest.mark.timeout(60)  # whole searches


def record(results: Path) -> StudyRecord:
    (found,) = read_study_records(results)
    return found


def forget_rules(results: Path) -> None:
    """Make a record what a version wrote that knew the first rules only."""
    path = record_path(results, "hill")
    document = json.loads(path.read_text())
    for key in ("checksum", "version", "rules"):
        del document[key]
    path.write_text(json.dumps(document))


def of_search(place: Place, results: Path) -> tuple[list[dict[str, JsonValue]], dict[str, str]]:
    found = record(results)
    return [dict(trial.varied) for trial in found.trials], dict(found.pruned)


@pytest.mark.parametrize(
    ("sampler", "trials"), [("cmaes", 40), pytest.param("gp", 16, marks=pytest.mark.slow)]
)
def test_a_model_climbs_in_a_study_whose_baseline_names_no_axis(
    place: Place, sampler: str, trials: int
) -> None:
    place.run(HILL, f"sampler={sampler}", f"trials={trials}")
    rows = place.ask("SELECT number, mean FROM trials WHERE role = 'trial' ORDER BY number")
    heights = [float(str(mean)) for _, mean in rows]
    assert len(heights) == trials - 1
    assert statistics.median(heights[-5:]) > 0.85  # the top is at 0.94; at random it is 0.1


@pytest.mark.parametrize(
    "text",
    [HILL, pytest.param(PRUNED, marks=pytest.mark.slow), pytest.param(FEW, marks=pytest.mark.slow)],
)
def test_a_search_ends_by_the_rules_it_began_with(
    place: Place, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    whole, broken = place.folder / "whole", place.folder / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(history, "NEWEST_RULES", FIRST_RULES)
        place.run(text, results=whole)
        place.run(text, watcher=Witness(interrupt(15)), results=broken)
    forget_rules(broken)
    assert record(broken).rules == FIRST_RULES
    place.run(text, results=broken)
    assert of_search(place, broken) == of_search(place, whole)
    planned = preview(place.write(text), (), broken)
    assert {run.state for run in planned.runs} <= {"done", "pruned"}
    assert planned.proposed_later == 0
    more = place.run(text, "trials=20", extend=True, results=broken)
    assert more.trained > 0
    assert record(broken).rules == FIRST_RULES
    if text == FEW:
        return
    place.run(text)
    assert record(place.results).rules == NEWEST_RULES
    assert of_search(place, place.results) != of_search(place, whole)


def test_a_new_search_by_seeds_needs_one_more_than_an_old_one(place: Place) -> None:
    with pytest.raises(
        InputError, match=r"study\.yaml:\d+:1: pruner: wilcoxon needs at least 6 seeds"
    ):
        place.run(FEW)
    with pytest.raises(InputError, match=r"pruner: wilcoxon needs at least 6 seeds"):
        load_study_state(place.write(FEW), (), place.results)
    assert not list(place.results.glob("studies/*"))


def test_a_search_of_a_newer_version_is_refused(place: Place) -> None:
    place.run(HILL, "trials=3")
    write_study_record(place.results, replace(record(place.results), rules=99))
    with pytest.raises(InputError, match=r"began in a newer version of this program \(rules 99"):
        place.run(HILL, "trials=3")
