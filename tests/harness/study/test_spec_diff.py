"""A study that is run with another content than the one its results have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from driver_place import GRID, RECALL, SEARCH, Place

from harness.engine.preview import preview
from harness.errors import InputError
from harness.records.studies.study_record import read_study_records
from harness.study.loading import load_study
from harness.study.spec_diff import diff_specs

CONFIRMED = SEARCH.replace("tpe", "random").replace("trials: 14", "trials: 4") + (
    "confirm: {top: 1, seeds: [7, 8]}\n"
)


def refusal(place: Place, text: str, *overrides: str, extend: bool = False) -> list[str]:
    """The lines of the refusal without the place and the last line's remedy."""
    before = place.calls()
    with pytest.raises(InputError) as caught:
        place.run(text, *overrides, extend=extend)
    assert place.calls() == before
    first, *changes, remedy = str(caught.value).split("\n")
    assert "study.yaml:2:1: study " in first
    return [*(change.strip() for change in changes), remedy]


def test_a_changed_study_is_refused_with_the_difference(place: Place) -> None:
    place.have_run()
    record = read_study_records(place.results)
    changed = GRID.replace("clusters: 2}", "clusters: 3, says: hi}").replace("seeds: 2", "seeds: 1")
    assert refusal(place, changed) == [
        "base.clusters: 2 -> 3",
        "seeds: 2 -> 1",
        'base.says: not set -> "hi"',
        "give the changed study another name (in the file, or with --set study=NAME); --extend "
        "accepts new trials and seeds, but trial 'quality=0.2' would be gone",
    ]
    assert read_study_records(place.results) == record


@pytest.mark.parametrize(
    ("text", "override", "change"),
    [
        (GRID, "seeds=3", "seeds: 2 -> 3"),
        (GRID, "seeds=[0, 5, 1]", "seeds: 2 -> [0, 5, 1]"),
        (
            GRID.replace("[0.2, 0.5]", "[0.2, 0.5, 0.7]"),
            "seeds=2",
            "search.quality.grid: [0.2, 0.5] -> [0.2, 0.5, 0.7]",
        ),
    ],
)
def test_a_study_that_only_grows_is_accepted_when_that_is_said(
    place: Place, text: str, override: str, change: str
) -> None:
    place.have_run()
    *changes, remedy = refusal(place, text, override)
    assert changes == [change]
    assert remedy.startswith("it only adds trials or seeds: accept that with --extend, or ")
    before = {tuple(row) for row in place.ask(RECALL)}
    outcome = place.run(text, override, extend=True)
    assert (outcome.exit_status, outcome.trained) == (0, outcome.total - 8)
    assert before < {tuple(row) for row in place.ask(RECALL)}
    assert place.run(text, override).trained == 0  # it is the study now
    assert refusal(place, GRID, extend=True)[-1].endswith("would be gone")


def test_a_new_axis_is_growth_where_the_old_trials_stay(place: Place) -> None:
    place.have_run()
    wider = GRID.replace("search:\n", "search:\n  clusters: {grid: [2, 4]}\n")
    assert place.run(wider, extend=True).trained == 4
    assert len(read_study_records(place.results)[0].trials) == 6


@pytest.mark.parametrize(
    ("override", "obstacle"),
    [
        ("seeds=1", "seed 1 would be gone"),
        ("seeds=[0, 2, 3]", "seed 1 would be gone"),
        ("metric=nmi", "metric has changed"),
        ("epochs=2", "trial 'quality=0.2' would be gone"),
        ("baseline={quality: 0.5}", "the baseline would be 'quality=0.5', not 'quality=0.2'"),
    ],
)
def test_what_is_no_extension_stays_refused(place: Place, override: str, obstacle: str) -> None:
    place.have_run()
    assert refusal(place, GRID, override, extend=True)[-1].endswith(obstacle)


def test_what_changes_no_result_may_change(place: Place) -> None:
    place.have_run()
    same = GRID.replace("Does quality matter?", "Does it?").replace("seeds: 2", "seeds: [1, 0]")
    assert place.run(same).trained == 0
    assert read_study_records(place.results)[0].question == "Does it?"


def test_the_order_of_trials_is_content(place: Place) -> None:
    variants = "variants:\n  a: {quality: 0.2}\n  b: {quality: 0.5}\n"
    text = GRID[: GRID.index("search:")] + variants + "seeds: 1\n"
    place.run(text)
    lines = variants.splitlines(keepends=True)
    other = text.replace(variants, "".join([lines[0], lines[2], lines[1]]))
    assert refusal(place, other, extend=True) == [
        'variants (order): ["a", "b"] -> ["b", "a"]',
        "give the changed study another name (in the file, or with --set study=NAME); --extend "
        "accepts new trials and seeds, but the baseline would be 'b', not 'a'",
    ]


def test_a_search_can_have_more_trials_and_nothing_else(place: Place) -> None:
    short = SEARCH.replace("trials: 14", "trials: 4")
    place.run(short)
    before = [trial.varied for trial in read_study_records(place.results)[0].trials[:4]]
    assert refusal(place, short, "seeds=3", extend=True)[-1].endswith(
        "seeds has changed, and the proposals of a search depend on it"
    )
    assert refusal(place, short, "trials=3", extend=True)[-1].endswith("fewer trials")
    assert place.run(short, "trials=6", extend=True).trained == 4
    whole = place.run(short, "trials=6", results=Path(place.folder / "whole"))
    assert whole.done == 16
    trials = read_study_records(place.results)[0].trials
    assert [trial.varied for trial in trials[:4]] == before
    assert trials == read_study_records(place.folder / "whole")[0].trials


def test_a_confirmed_search_takes_fresh_seeds_but_no_new_trials(place: Place) -> None:
    place.run(CONFIRMED)
    assert refusal(place, CONFIRMED, "trials=5", extend=True)[-1].endswith(
        "its winners have been confirmed on the test classes, and they could change"
    )
    assert refusal(place, CONFIRMED, "confirm={top: 1, seeds: [7]}", extend=True)[-1].endswith(
        "seed 8 would be gone"
    )
    more = place.run(CONFIRMED, "confirm={top: 2, seeds: [7, 8, 9]}", extend=True)
    assert more.trained == 4 * 1 + 1 * 3  # baseline, winner, two controls; the second winner
    assert more.failed == 0


def test_a_preview_names_what_has_changed_and_refuses_nothing(place: Place) -> None:
    place.have_run()
    path = place.write(GRID)
    assert preview(path, (), place.results).changes == ()
    planned = preview(path, ("seeds=3",), place.results)
    assert planned.changes == ("seeds: 2 -> 3",)
    assert sorted(run.state for run in planned.runs) == ["done"] * 8 + ["to do"] * 4


def test_a_field_that_is_newer_than_the_record_has_its_default_there(place: Place) -> None:
    spec = load_study(place.write(GRID)).spec
    old = json.loads(json.dumps(spec.model_dump(mode="json")))
    del old["parallel_trials"]
    assert diff_specs(old, spec) == ()
    old["abolished"] = 3
    assert [str(change) for change in diff_specs(old, spec)] == [
        "abolished: 3 -> not set",
        "parallel_trials: not set -> 2",
    ]
