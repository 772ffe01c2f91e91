"""Adaptive searches: what a proposal sees, and that interruptions change nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_workload
from driver_place import RECALL, SEARCH, Place, Witness, interrupt

from harness.engine.preview import preview
from harness.errors import InputError
from harness.records.event_log import read_spool
from harness.records.events import EpochReported
from harness.records.studies.study_record import read_study_records
from harness.report.findings.tables.final_table import final_table
from harness.report.study_page import write_report
from harness.search import sampler
from harness.search.history import Observation
from harness.stats.paired import holm
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


def test_a_search_of_one_trial_is_its_baseline(place: Place) -> None:
    outcome = place.run(SEARCH, "trials=1")
    assert (outcome.total, outcome.done) == (6, 6)  # two seeds, and those of two controls
    assert trials_of(place.results) == [{}]


@pytest.mark.process
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
    propose = sampler.Sampler.propose

    def spy(self: sampler.Sampler, number: int, history: Sequence[Observation]) -> object:
        seen[number] = [told.number for told in history if told.value is not None]
        return propose(self, number, history)

    monkeypatch.setattr(sampler.Sampler, "propose", spy)
    place.run(SEARCH, "trials=6", "parallel_trials=3")
    assert seen == {1: [], 2: [], 3: [0], 4: [0, 1], 5: [0, 1, 2]}


def test_a_trial_with_a_failed_seed_has_no_value(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[float | None] = []

    def propose(
        self: sampler.Sampler, number: int, history: Sequence[Observation]
    ) -> dict[str, JsonValue]:
        values.extend(told.value for told in history if told.number == number - 1)
        return {"quality": 0.5 + number / 100}

    monkeypatch.setattr(sampler.Sampler, "propose", propose)
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
    spools = [read_spool(path) for path in place.results.glob("runs/*/spool.jsonl")]
    trained = [e for events in spools for e in events if isinstance(e, EpochReported)]
    assert trained == []  # the controls come first


def test_the_ends_of_an_axis_must_fit_the_data(place: Place) -> None:
    text = SEARCH.replace(
        "  quality: {uniform: [0.0, 1.0]}\n", "  data: {choice: [toy, missing]}\n"
    )
    with pytest.raises(InputError, match=r"study\.yaml:\d+:\d+: data: no images there"):
        place.run(text)
    assert not toy_workload.calls(place.folder)


CONFIRMED = SEARCH + "confirm: {top: 2, seeds: 3}\n"


def test_winners_and_baseline_are_trained_again_on_fresh_seeds_with_open_test_classes(
    place: Place,
) -> None:
    witness = Witness()
    outcome = place.run(CONFIRMED, watcher=witness)
    assert (outcome.total, outcome.done) == (14 * 2 + (2 + 1 + 2) * 3, 14 * 2 + 5 * 3)
    assert {snapshot.total for snapshot in witness.snapshots} == {43}
    assert [line.seed for line in witness.started_lines][-15:].count(4) == 5
    phases = place.ask(
        "SELECT trial.phase, role, count(DISTINCT trial_id), min(member.seed), max(member.seed),"
        " bool_and(run.test), bool_or(run.test) FROM trial JOIN member USING (trial_id)"
        " JOIN run USING (run_id) GROUP BY ALL ORDER BY ALL"
    )
    assert phases == [
        ("confirm", "baseline", 1, 2, 4, True, True),
        ("confirm", "control", 2, 2, 4, True, True),
        ("confirm", "trial", 2, 2, 4, True, True),
        ("search", "baseline", 1, 0, 1, False, False),
        ("search", "trial", 13, 0, 1, False, False),
    ]
    best = place.ask(
        "SELECT label FROM trials JOIN trial USING (trial_id) WHERE trial.phase = 'search'"
        " AND trial.role = 'trial' ORDER BY mean DESC, trial.number LIMIT 2"
    )
    confirmed = place.ask(
        "SELECT label FROM trial WHERE phase = 'confirm' AND role = 'trial' ORDER BY number"
    )
    assert confirmed == best
    tested = place.ask("SELECT DISTINCT phase FROM summary WHERE split = 'test'")
    assert tested == [("confirm",)]


def test_every_opening_of_the_test_classes_is_on_record(place: Place) -> None:
    place.run(CONFIRMED)
    rows = place.ask("SELECT count(*), count(opened), any_value(reason) FROM openings")
    assert rows == [(15, 15, "a confirmation: chosen by a search on validation classes")]
    fixed = place.folder / "fixed"
    place.run(results=fixed)
    assert place.ask("SELECT DISTINCT reason FROM openings", fixed) == [
        ("a fixed study: all its trials were known before any result",)
    ]


def test_confirmed_trials_are_compared_with_the_confirmed_baseline(place: Place) -> None:
    place.run(CONFIRMED)
    compared = place.ask(
        "SELECT trial.phase, comparison.n, count(*) FROM comparison JOIN trial USING (trial_id)"
        " WHERE metric = 'recall@1' AND role = 'trial' GROUP BY ALL ORDER BY ALL"
    )
    assert compared == [("confirm", 3, 4), ("search", 2, 13)]  # test and val; val
    family = place.ask(
        "SELECT p, p_holm FROM comparison JOIN trial USING (trial_id) WHERE phase = 'confirm'"
        " AND role = 'trial' AND split = 'val' AND metric = 'recall@1'"
    )
    p, p_holm = zip(*family, strict=True)
    assert list(p_holm) == pytest.approx(holm(p))  # the 13 of the search do not count


@pytest.mark.parametrize("after", [5, 28, 29, 35])
def test_a_confirmation_that_is_interrupted_ends_in_the_same_table(
    place: Place, after: int
) -> None:
    place.run(CONFIRMED)
    broken = place.folder / "broken"
    assert place.run(CONFIRMED, watcher=Witness(interrupt(after)), results=broken).exit_status
    assert place.run(CONFIRMED, results=broken).exit_status == 0
    assert place.ask(RECALL, broken) == place.ask(RECALL)
    assert trials_of(broken) == trials_of(place.results)


def test_a_search_that_found_nothing_confirms_nothing(place: Place) -> None:
    text = CONFIRMED.replace("epochs: 1", "epochs: 1, fail: invalid")
    outcome = place.run(text, "trials=3")
    assert (outcome.total, outcome.failed) == (6, 6)
    assert place.ask("SELECT DISTINCT phase FROM trial") == [("search",)]


def test_the_page_keeps_the_search_apart_from_what_confirms_it(place: Place) -> None:
    place.run(CONFIRMED)
    page = write_report(place.results, "best", place.folder).read_text()
    head, _, rest = page.partition("<h2>Search</h2>")
    sampler, _, _ = rest.partition("<h2>Training</h2>")
    assert "14 trials were compared on validation images" in sampler
    assert "search: no claim" not in head
    assert head.count("<figure>") == 1  # two winners make no curve over an axis
    assert sampler.count("<tr") > 14
    titles = re.findall("<h3>(.*?)</h3>", sampler)
    assert titles == [
        "Trials in the order proposed",
        "By quality",
        "By teacher_momentum",
        "Importance of each parameter (fANOVA, 13 trials)",
        "Each trial across its parameters to its score",
    ]
    (winner,) = place.ask(
        "SELECT label FROM trial WHERE phase = 'confirm' AND role = 'trial' ORDER BY number LIMIT 1"
    )
    assert winner[0].partition(",")[0] in head
    table = final_table(place.results, "best")
    assert (table.view.split, len(table.rows)) == ("test", 5)
