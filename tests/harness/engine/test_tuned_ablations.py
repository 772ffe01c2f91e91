"""Ablations whose cells are tuned first: what is chosen, on which classes, and what is said."""

from __future__ import annotations

import pytest
from driver_place import RECALL, Place
from undisturbed import assert_undisturbed

from harness.engine.preview import preview
from harness.errors import InputError
from harness.report.study_page import write_report

TUNED = """
study: fair
question: What is each part worth, at its own settings?
workload: toy_workload
base: {epochs: 1, clusters: 4, method: {teacher_momentum: 0.1}}
ablate:
  design: leave_one_out
  components:
    quality: {quality: 0.3}
    clusters: {clusters: 2}
  tune:
    trials: 3
    search: {method.teacher_momentum: {choice: [0.1, 0.5, 0.9]}}
seeds: 6
"""
MEMBERS = "SELECT trial_id, seed, run_id FROM member ORDER BY ALL"
EFFECTS = "SELECT * FROM effects ORDER BY ALL"
TRIALS = """
    SELECT trial.label, phase, role, varied ->> '$."method.teacher_momentum"', count(*),
        bool_or(run.test)
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    GROUP BY ALL ORDER BY min(number)
"""


QUERIES = (MEMBERS, RECALL, EFFECTS)


def test_each_cell_is_trained_with_its_best_setting_on_fresh_seeds(place: Place) -> None:
    outcome = place.run(TUNED)
    rows = place.ask(TRIALS)
    search, confirmed = rows[:9], rows[9:]
    settings = [row[3] for row in search[:3]]
    assert settings[0] == "0.1"
    assert set(settings) == {"0.1", "0.5", "0.9"}
    assert [row[3] for row in search] == 3 * settings
    assert all(row[1] == "search" and row[4:] == (1, False) for row in search)
    assert [row[:3] for row in confirmed] == [
        ("full", "confirm", "baseline"),
        ("no quality", "confirm", "trial"),
        ("no clusters", "confirm", "trial"),
        ("raw pixels", "confirm", "control"),
        ("untrained", "confirm", "control"),
    ]
    assert all(row[4:] == (6, True) for row in confirmed)
    best = dict(
        place.ask(
            "SELECT split_part(trial.label, ', teacher', 1), "
            "arg_max(varied ->> '$.\"method.teacher_momentum\"', value) "
            "FROM trial JOIN results USING (trial_id) WHERE trial.phase = 'search' "
            "AND split = 'val' AND name = 'recall@1' GROUP BY 1"
        )
    )
    assert {row[0]: row[3] for row in confirmed[:3]} == best
    assert outcome.total == outcome.done == 9 + 5 * 6
    first = place.ask("SELECT min(opened) FROM openings")[0][0]
    assert place.ask(f"SELECT count(*) FROM run WHERE NOT test AND finished > '{first}'") == [(0,)]


def test_effects_compare_the_tuned_cells(place: Place) -> None:
    place.run(TUNED)
    means = dict(
        place.ask(
            "SELECT trial, avg(value) FROM results WHERE split = 'test' AND name = 'recall@1' "
            "GROUP BY 1"
        )
    )
    found = place.ask(
        "SELECT term, estimate, n FROM effects WHERE split = 'test' AND metric = 'recall@1'"
    )
    assert [(row[0], row[2]) for row in found] == [("quality", 6), ("clusters", 6)]
    for term, estimate, _ in found:
        expected = float(str(means["full"])) - float(str(means[f"no {term}"]))
        assert float(str(estimate)) == pytest.approx(expected)


def test_a_cell_without_any_value_keeps_the_base_and_shows_its_failures(place: Place) -> None:
    broken = TUNED.replace("{quality: 0.3}", "{quality: 0.3, fail: invalid}")
    assert place.run(broken).exit_status == 1
    rows = {row[0]: row[3] for row in place.ask(TRIALS) if row[1] == "confirm"}
    assert rows["no quality"] == "0.1"
    assert place.ask("SELECT DISTINCT term FROM effects") == [("clusters",)]


@pytest.mark.process
@pytest.mark.timeout(120)
def test_workers_and_interruptions_change_nothing(place: Place) -> None:
    assert_undisturbed(place, TUNED, QUERIES, interruptions=(4, 6, 9))


def test_more_seeds_leave_the_choice_alone_and_more_settings_are_refused(place: Place) -> None:
    place.run(TUNED)
    before = set(place.ask(MEMBERS))
    place.run(TUNED.replace("seeds: 6", "seeds: 7"), extend=True)
    assert before < set(place.ask(MEMBERS))
    with pytest.raises(InputError, match="what it trains was chosen with the old ones"):
        place.run(TUNED.replace("trials: 3", "trials: 2"), extend=True)


def test_a_preview_counts_the_cells_that_follow(place: Place) -> None:
    planned = preview(place.write(TUNED), (), place.results)
    assert (len(planned.runs), planned.confirmed_later, planned.raced_later) == (9, 30, 0)


def test_a_claim_is_about_a_tuned_cell(place: Place) -> None:
    claim = "claims: [{trial: full, better_than: no quality, metric: recall@1}]\n"
    place.run(TUNED + claim)
    (row,) = place.ask("SELECT n, verdict FROM claims")
    assert row == (6, "held")


def test_the_page_names_the_chosen_settings_of_each_cell(place: Place) -> None:
    place.run(TUNED)
    page = write_report(place.results, "fair", place.folder).read_text(encoding="utf-8")
    _, _, part = page.partition('<section id="tuning">')
    part = part.partition("</section>")[0]
    assert '<th scope="col">method.teacher_momentum</th>' in part
    first, _, every = part.partition("Every setting")
    assert first.count("chosen</td>") == 3 == every.count("chosen</td>")
    assert every.count("<tr") == 1 + 9
    assert "For every combination of components, the same settings of" in page
