"""Adaptive searches: what a proposal sees, and that interruptions change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_workload
from driver_place import RECALL, SEARCH, Place, Witness, interrupt

from harness import search
from harness.driver import preview
from harness.errors import InputError
from harness.events import EpochReported
from harness.search import Told
from harness.spool import read_events, read_study_records
from harness.workload import JsonValue


def trials_of(results: Path) -> list[dict[str, JsonValue]]:
    (record,) = read_study_records(results)
    return [dict(trial.varied) for trial in record.trials if trial.role != "control"]


def test_a_search_sees_no_test_classes_and_counts_its_baseline(place: Place) -> None:
    text = SEARCH.replace("tpe", "random").replace("trials: 14", "trials: 4")
    witness = Witness()
    outcome = place.run(text, watcher=witness)
    assert (outcome.total, outcome.done) == (12, 12)
    assert trials_of(place.results)[0] == {}
    assert place.ask("SELECT DISTINCT split FROM recall") == [("val",)]
    # At random all trials are known at once, so that every trial gets its first seed first.
    assert [line.seed for line in witness.started_lines][4:] == [0] * 4 + [1] * 4


def test_a_search_does_not_depend_on_timing_or_interruptions(place: Place) -> None:
    place.run(SEARCH)
    broken, parallel = place.folder / "broken", place.folder / "parallel"
    assert place.run(SEARCH, watcher=Witness(interrupt(17)), results=broken).exit_status == 130
    assert len(trials_of(broken)) < 14
    assert preview(place.write(SEARCH), (), broken).proposed_later > 0
    assert place.run(SEARCH, results=broken).exit_status == 0
    place.run(SEARCH, executor="process", workers=3, results=parallel)
    assert len(trials_of(place.results)) == 14
    for other in (broken, parallel):
        assert trials_of(other) == trials_of(place.results)
        assert place.ask(RECALL, other) == place.ask(RECALL)


def test_a_proposal_sees_trials_that_are_far_enough_back_and_no_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[int]] = {}
    propose = search.Search.propose

    def spy(self: search.Search, number: int, history: Sequence[Told]) -> object:
        seen[number] = [told.number for told in history if told.value is not None]
        return propose(self, number, history)

    monkeypatch.setattr(search.Search, "propose", spy)
    place.run(SEARCH, "trials=6", "parallel_trials=3")
    assert seen == {1: [], 2: [], 3: [0], 4: [0, 1], 5: [0, 1, 2]}


def test_a_trial_with_a_failed_seed_has_no_value(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[float | None] = []

    def propose(self: search.Search, number: int, history: Sequence[Told]) -> dict[str, JsonValue]:
        values.extend(told.value for told in history if told.number == number - 1)
        return {"quality": 0.5 + number / 100}

    monkeypatch.setattr(search.Search, "propose", propose)
    text = SEARCH.replace("epochs: 1", "epochs: 1, fail: invalid, only_seeds: [1]")
    assert place.run(text, "trials=3", "parallel_trials=1").failed == 3 * 1 + 2
    assert values == [None, None]


def test_other_words_for_the_baseline_are_not_trained_twice(place: Place) -> None:
    text = SEARCH.replace("uniform: [0.0, 1.0]", "choice: [0.1, 0.2, 0.3, 0.4]").replace(
        "  method.teacher_momentum: {choice: [0.0, 0.5]}\n", ""
    )
    outcome = place.run(text)
    assert (outcome.total, outcome.done) == (12, 12)  # four trials, two controls
    baseline, *others = trials_of(place.results)
    assert baseline == {}
    assert sorted(map(str, others)) == [str({"quality": value}) for value in (0.2, 0.3, 0.4)]


def test_a_search_without_validation_classes_ends_before_it_trains(place: Place) -> None:
    text = SEARCH.replace("epochs: 1", "epochs: 1, has_validation: false")
    with pytest.raises(InputError, match=r"sampler: a search is scored on validation classes"):
        place.run(text)
    assert {line["quality"] for line in toy_workload.calls(place.folder)} == {0.1}
    spools = [read_events(path).events for path in place.results.glob("runs/*/spool.jsonl")]
    trained = [e for events in spools for e in events if isinstance(e, EpochReported)]
    assert trained == []  # the controls come first


def test_the_ends_of_an_axis_must_fit_the_data(place: Place) -> None:
    text = SEARCH.replace(
        "  quality: {uniform: [0.0, 1.0]}\n", "  data: {choice: [toy, missing]}\n"
    )
    with pytest.raises(InputError, match=r"study\.yaml:\d+:\d+: data: no images there"):
        place.run(text)
    assert not toy_workload.calls(place.folder)
