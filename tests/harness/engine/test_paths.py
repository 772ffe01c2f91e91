"""Paths of ablations: interruptions, workers and drivers change nothing; what is said of them."""

from __future__ import annotations

import itertools

import pytest
from driver_place import RECALL, Place, Witness, interrupt
from undisturbed import assert_survives_a_kill, assert_undisturbed

from harness.engine.preview import preview
from harness.errors import InputError
from harness.report.findings.tables.final_table import final_table
from harness.report.study_page import write_report

PATH = """
study: way
question: What is each part worth?
workload: toy_workload
base: {epochs: 1, quality: 0.5, clusters: 4}
ablate:
  design: path
  bare: untrained
  race: {seeds: 5}
  components:
    quality: {quality: 0.3}
    momentum: {method.teacher_momentum: 0.5}
    clusters: {without: {clusters: 2}, needs: [momentum]}
seeds: 6
"""
MEMBERS = "SELECT trial_id, seed, run_id FROM member ORDER BY ALL"
EFFECTS = "SELECT * FROM effects ORDER BY ALL"
STEPS = """
    SELECT term, round(estimate, 2), n, p_holm FROM effects
    WHERE kind = 'path' AND split = 'test' AND metric = 'recall@1'
"""


QUERIES = (MEMBERS, RECALL, EFFECTS)


def test_nodes_are_scored_on_test_classes_and_races_on_validation(place: Place) -> None:
    outcome = place.run(PATH)
    rows = place.ask(
        "SELECT trial.label, phase, role, bool_or(run.test), count(*) FROM trial "
        "JOIN member USING (trial_id) JOIN run USING (run_id) GROUP BY ALL ORDER BY min(number)"
    )
    assert [row[:4] for row in rows] == [
        ("no quality", "search", "trial", False),
        ("no clusters", "search", "trial", False),
        ("full", "confirm", "baseline", True),
        ("no quality", "confirm", "trial", True),
        ("only momentum", "confirm", "trial", True),
        ("raw pixels", "confirm", "control", True),
        ("untrained", "confirm", "control", True),
    ]
    assert [row[4] for row in rows] == [3, 3, 6, 6, 6, 6, 6]
    assert outcome.total == outcome.done == 36
    seeds = place.ask(
        "SELECT count(*) FROM member JOIN trial USING (trial_id) "
        "JOIN member AS other ON other.seed = member.seed JOIN trial AS race "
        "ON race.trial_id = other.trial_id WHERE trial.phase <> race.phase"
    )
    assert seeds == [(0,)]  # fresh ones
    first = place.ask("SELECT min(opened) FROM openings")[0][0]
    assert place.ask(f"SELECT count(*) FROM run WHERE NOT test AND finished > '{first}'") == [(0,)]


def test_effects_are_the_steps_of_the_path(place: Place) -> None:
    place.run(PATH)
    values = {
        (trial, seed): float(str(value))
        for trial, seed, value in place.ask(
            "SELECT trial, seed, value FROM results WHERE split = 'test' AND name = 'recall@1'"
        )
    }
    nodes = ["full", "no quality", "only momentum", "untrained"]
    expected = [
        round(sum(values[one, seed] - values[other, seed] for seed in range(6)) / 6, 2)
        for one, other in itertools.pairwise(nodes)
    ]
    found = place.ask(STEPS)
    assert [row[:3] for row in found] == [
        (name, size, 6)
        for name, size in zip(["quality", "clusters", "momentum"], expected, strict=True)
    ]
    assert found[0][3] == found[2][3] == 3 * 2 / 2**6  # Holm over the steps


def test_a_path_from_bare_switches_on(place: Place) -> None:
    place.run(PATH.replace("design: path", "design: path\n  start: bare"))
    found = place.ask(STEPS)
    assert [row[0] for row in found] == ["quality", "momentum", "clusters"]
    assert float(str(found[0][1])) > 0.3  # more than untrained


def test_a_preview_counts_what_is_not_known_yet(place: Place) -> None:
    planned = preview(place.write(PATH), (), place.results)
    assert len(planned.runs) == 6
    assert planned.raced_later > 0 == planned.proposed_later == planned.confirmed_later
    place.run(PATH)
    planned = preview(place.write(PATH), (), place.results)
    assert planned.raced_later == 0
    assert all(run.state == "done" for run in planned.runs)


@pytest.mark.process
@pytest.mark.timeout(120)
def test_workers_and_interruptions_change_nothing(place: Place) -> None:
    assert_undisturbed(place, PATH, QUERIES, interruptions=(2, 5, 7))


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_killed_driver_and_two_at_once_change_nothing(place: Place) -> None:
    text = PATH.replace("epochs: 1", "epochs: 1, sleep_s: 0.05")
    assert_survives_a_kill(place, text, QUERIES, runs=6)


def test_more_seeds_only_extend_the_nodes(place: Place) -> None:
    place.run(PATH)
    before = set(place.ask(MEMBERS))
    with pytest.raises(InputError, match="accept that with --extend"):
        place.run(PATH.replace("seeds: 6", "seeds: 8"))
    place.run(PATH.replace("seeds: 6", "seeds: 8"), extend=True)
    assert before < set(place.ask(MEMBERS))
    assert [row[2] for row in place.ask(STEPS)] == [8, 8, 8]
    with pytest.raises(InputError, match="what it trains was chosen with the old ones"):
        place.run(PATH.replace("seeds: 5", "seeds: 7"), extend=True)


def test_terminal_and_page_tell_the_path(place: Place) -> None:
    place.run(PATH)
    said = final_table(place.results, "way").claim
    assert "The path from full to bare switches off, one by one, quality (+20." in said
    page = write_report(place.results, "way", place.folder).read_text(encoding="utf-8")
    assert "by the steps of the path" in page
    assert '<section id="races">' in page
    assert page.count("next node") == 1
    assert "A path from full to bare was found by races on validation classes only" in page


def test_an_unfinished_path_claims_nothing(place: Place) -> None:
    place.run(PATH, watcher=Witness(interrupt(4)))
    assert place.ask(STEPS) == []
    page = write_report(place.results, "way", place.folder).read_text(encoding="utf-8")
    assert "What to train is still being chosen on validation images" in page


def test_a_budget_of_runs_must_cover_the_longest_races(place: Place) -> None:
    with pytest.raises(InputError, match=r"budget.runs: what this ablation .* can need 55 runs"):
        place.run(PATH + "budget: {runs: 54}")
    assert place.run(PATH + "budget: {runs: 55}").done == 36
