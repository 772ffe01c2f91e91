"""A grid with ``confirm`` is sealed: test classes are opened for its winners only, at its end."""

from __future__ import annotations

import pytest
from driver_place import Place, Witness, interrupt

from harness.engine.preview import preview
from harness.errors import InputError
from harness.report.study_page import page_text

SEALED = """
study: sealed
question: Which quality is best?
workload: toy_workload
base: {epochs: 1, clusters: 2}
search:
  quality: {grid: [0.2, 0.4, 0.6, 0.8]}
  method.teacher_momentum: {grid: [0.0, 0.9]}
seeds: 2
confirm: {top: 2, seeds: 3}
"""
SCORED = """
    SELECT trial.phase, trial.role, trial.label, count(*), bool_or(run.test)
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    GROUP BY ALL ORDER BY min(trial.number)
"""


def test_only_winners_and_baseline_are_scored_on_test_classes(place: Place) -> None:
    outcome = place.run(SEALED)
    rows = place.ask(SCORED)
    assert [row[0] for row in rows] == ["search"] * 8 + ["confirm"] * 5
    assert all(row[3:] == (2, False) for row in rows[:8])
    assert all(row[3:] == (3, True) for row in rows[8:])
    assert [row[1:3] for row in rows[8:]] == [
        ("baseline", "quality=0.2, teacher_momentum=0"),
        ("trial", "quality=0.8, teacher_momentum=0.9"),
        ("trial", "quality=0.8, teacher_momentum=0"),
        ("control", "raw pixels"),
        ("control", "untrained"),
    ]
    assert outcome.total == 8 * 2 + 5 * 3 == outcome.done
    seeds = place.ask(
        "SELECT DISTINCT seed FROM member JOIN trial USING (trial_id) WHERE phase = 'confirm' ORDER BY 1"
    )
    assert seeds == [(2,), (3,), (4,)]
    splits = place.ask(
        "SELECT phase, split, count(*) FROM results WHERE name = 'nmi' GROUP BY ALL ORDER BY ALL"
    )
    assert splits == [("confirm", "test", 15), ("confirm", "val", 15), ("search", "val", 16)]


def test_nothing_is_opened_before_the_whole_grid_has_finished(place: Place) -> None:
    place.run(SEALED, watcher=Witness(interrupt(15)))
    assert place.ask("SELECT count(*) FROM openings") == [(0,)]
    assert place.ask("SELECT count(*) FROM results WHERE split = 'test'") == [(0,)]
    place.run(SEALED)
    first = place.ask("SELECT min(opened) FROM openings")[0][0]
    assert place.ask(f"SELECT count(*) FROM run WHERE NOT test AND finished > '{first}'") == [(0,)]
    reasons = place.ask("SELECT DISTINCT reason FROM openings")
    assert reasons == [("a confirmation: chosen among all trials of a grid on validation classes",)]


def test_comparisons_of_the_confirmation_are_with_the_confirmed_baseline(place: Place) -> None:
    place.run(SEALED)
    found = place.ask(
        "SELECT comparisons.trial, comparisons.n FROM comparisons JOIN trials USING (trial_id) "
        "WHERE comparisons.split = 'test' AND comparisons.metric = 'recall@1' AND role = 'trial' ORDER BY comparisons.number"
    )
    assert [row[1] for row in found] == [3, 3]


def test_the_page_has_the_confirmation_as_its_answer_and_the_grid_on_validation(
    place: Place,
) -> None:
    place.run(SEALED)
    page = page_text(place.results, "sealed")
    assert "8 settings of quality, method.teacher_momentum were trained and scored on" in page
    _, _, section = page.partition('<section id="interactions">')
    section = section.partition("</section>")[0]
    assert "all trials of the grid: Recall@1 on validation images" in section
    assert 'class="choice"' not in section  # the page's choice of test classes does not apply
    assert "sampler grid" not in page


def test_a_preview_and_a_plan_count_the_confirmation(place: Place) -> None:
    found = preview(place.write(SEALED), (), place.results)
    assert len(found.runs) == 16
    assert (found.proposed_later, found.confirmed_later) == (0, 15)


def test_a_budget_of_runs_must_cover_the_confirmation(place: Place) -> None:
    with pytest.raises(InputError, match=r"budget.runs: this grid and its confirmation need 31 ru"):
        place.run(SEALED + "budget: {runs: 30}")
    assert place.run(SEALED + "budget: {runs: 31}").done == 31


def test_a_confirmed_grid_takes_no_more_trials(place: Place) -> None:
    more = SEALED.replace("0.6, 0.8]", "0.6, 0.8, 0.9]")
    place.run(SEALED, watcher=Witness(interrupt(3)))
    place.run(more, extend=True, watcher=Witness(interrupt(3)))
    place.run(more)
    with pytest.raises(InputError, match="its winners have been confirmed on the test classes"):
        place.run(SEALED.replace("0.8]", "0.8, 0.9, 1.0]"), extend=True)


def test_a_sealed_grid_needs_validation_classes(place: Place) -> None:
    text = SEALED.replace("epochs: 1,", "epochs: 1, has_validation: false,")
    with pytest.raises(InputError, match="metric: no run reports val/recall@1"):
        place.run(text)
    assert place.ask("SELECT count(*) FROM openings") == [(0,)]
