"""Studies that stop by themselves: interruptions, workers and drivers change nothing."""

from __future__ import annotations

import pytest
from driver_place import RECALL, Place, Witness, interrupt
from undisturbed import assert_survives_a_kill, assert_undisturbed

from harness.engine.preview import preview
from harness.errors import InputError
from harness.report.findings.tables.final_table import final_table
from harness.report.study_page import write_report

STOPPING = """
study: enough
question: How many seeds are enough?
workload: toy_workload
base: {epochs: 2, clusters: 2, quality: 0.3}
search:
  method.teacher_momentum: {grid: [0.0, 0.05, 0.9]}
baseline: {method.teacher_momentum: 0.0}
stop: {effect: 0.02, margin: 0.012, most_seeds: 12}
"""
MEMBERS = "SELECT trial_id, seed, run_id FROM member ORDER BY ALL"
EVIDENCE = "SELECT * FROM evidence ORDER BY number, seeds"


QUERIES = (MEMBERS, RECALL, EVIDENCE)


def test_a_clear_difference_needs_few_seeds(place: Place) -> None:
    outcome = place.run(STOPPING)
    rows = place.ask(
        "SELECT trial, seeds, most_seeds, decision FROM evidence WHERE is_last ORDER BY number"
    )
    assert [row[::2] for row in rows] == [
        ("teacher_momentum=0.05", 12),
        ("teacher_momentum=0.9", 12),
    ]
    assert rows[1][1::2] == (9, "better")
    seeds = dict(
        place.ask("SELECT label, count(*) FROM trial JOIN member USING (trial_id) GROUP BY 1")
    )
    assert seeds["teacher_momentum=0.9"] == 9
    assert seeds["teacher_momentum=0"] == seeds["raw pixels"] == max(seeds.values())
    assert outcome.total == outcome.done == sum(seeds.values())  # type: ignore[call-overload]
    # What each look found can be followed.
    looks = place.ask(
        "SELECT seeds, statistic >= boundary, decision = 'goes on', low > 0 FROM evidence "
        "WHERE trial = 'teacher_momentum=0.9' ORDER BY seeds"
    )
    assert looks == [
        (6, None, True, None),
        (7, None, True, None),
        (8, None, True, None),
        (9, True, False, True),
    ]


def test_a_run_without_its_seeds_is_previewed(place: Place) -> None:
    place.run(STOPPING, watcher=Witness(interrupt(25)))
    planned = preview(place.write(STOPPING), (), place.results)
    assert planned.later_seeds > 0 == planned.proposed_later
    place.run(STOPPING)
    planned = preview(place.write(STOPPING), (), place.results)
    assert planned.later_seeds == 0
    assert all(run.state == "done" for run in planned.runs)


@pytest.mark.process
@pytest.mark.timeout(120)
def test_workers_and_interruptions_change_nothing(place: Place) -> None:
    assert_undisturbed(place, STOPPING, QUERIES, interruptions=(7, 30, 3))


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_killed_driver_and_two_at_once_change_nothing(place: Place) -> None:
    text = STOPPING.replace("epochs: 2", "epochs: 2, sleep_s: 0.02")
    assert_survives_a_kill(place, text, QUERIES, runs=20)


def test_a_failed_seed_leaves_its_look_out(place: Place) -> None:
    text = STOPPING.replace("quality: 0.3", "quality: 0.3, fail: invalid, only_seeds: [2]")
    assert place.run(text).exit_status == 1
    (row,) = place.ask(
        "SELECT seeds, decision, round(difference, 9) FROM evidence WHERE is_last AND number = 2"
    )
    values = "SELECT value FROM results WHERE split = 'test' AND name = 'recall@1' AND seed < 10"
    means = [
        [float(str(value)) for (value,) in place.ask(f"{values} AND number = {number}")]
        for number in (2, 0)
    ]
    assert [len(each) for each in means] == [9, 9]
    assert row == (10, "better", round((sum(means[0]) - sum(means[1])) / 9, 9))


def test_the_terminal_says_what_was_decided(place: Place) -> None:
    place.run(STOPPING)
    said = final_table(place.results, "enough").decisions
    assert said[1] == "teacher_momentum=0.9: better, decided after 9 of 12 seeds"
    assert len(said) == 2


def test_seeds_cannot_be_added_to_a_study_that_has_stopped(place: Place) -> None:
    place.run(STOPPING)
    with pytest.raises(InputError, match=r"stop.most_seeds: 12 -> 14"):
        place.run(STOPPING.replace("most_seeds: 12", "most_seeds: 14"), extend=True)


def test_the_page_says_what_was_decided_and_how(place: Place) -> None:
    place.run(STOPPING)
    page = write_report(place.results, "enough", place.folder).read_text(encoding="utf-8")
    assert "better, decided after 9 of 12 seeds" in page
    assert "after looks at every seed from 6 to 12 seeds" in page
    assert "more seeds would settle it" not in page
    assert "Holm p =" not in page
    assert "Holm p &lt;" not in page
