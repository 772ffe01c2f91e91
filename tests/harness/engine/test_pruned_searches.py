"""Searches that give trials up: what is spared, what is stored, and that timing changes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_workload
from driver_place import Place, Witness, interrupt

from harness.engine.database_repair import rebuild_results
from harness.engine.preview import preview
from harness.engine.progress import RunLine, Snapshot
from harness.errors import InputError
from harness.report.data.load import load_tables
from harness.report.findings.tables.final_table import final_table
from harness.report.study_page import write_report
from harness.search import sampler as sampler_module
from harness.search.history import Observation
from harness.store.database import connect
from harness.store.studies import list_studies
from harness.workload import JsonValue

PRUNED = """
study: pruned
question: What is best?
workload: toy_workload
base: {epochs: 9, clusters: 2, quality: 0.5, checkpoints: true}
search:
  quality: {uniform: [0.0, 1.0]}
sampler: random
trials: 16
seeds: 5
pruner: median
"""
PRUNERS = ["median", "hyperband", "wilcoxon"]
TABLES = ("results", "summary", "leaderboard", "curves")


def content_of(place: Place, results: Path | None = None) -> list[object]:
    """All that a study has found out, without what depends on the clock."""
    asked = [
        "SELECT trial_id, number, label, phase, role, pruned FROM trial ORDER BY ALL",
        "FROM member ORDER BY ALL",
        "SELECT run_id, state, message FROM run ORDER BY ALL",
        "SELECT run_id, epoch, name, value FROM epoch ORDER BY ALL",
        *(f"FROM {view} ORDER BY ALL" for view in (*TABLES, "comparisons", "pruned")),
    ]
    return [place.ask(sql, results) for sql in asked]


@pytest.mark.parametrize("pruner", PRUNERS)
def test_pruned_trials_are_stored_and_enter_no_table(place: Place, pruner: str) -> None:
    seeds = 8 if pruner == "wilcoxon" else 5
    given = (f"pruner={pruner}", f"seeds={seeds}")
    outcome = place.run(PRUNED, *given)
    given_up = {str(row[0]) for row in place.ask("SELECT trial_id FROM pruned")}
    assert len(given_up) >= 4
    assert outcome.exit_status == outcome.failed == 0
    assert (outcome.total, outcome.done + outcome.pruned) == (18 * seeds, 18 * seeds)
    assert place.calls() == outcome.trained < outcome.total
    cut = place.ask("SELECT state, count(*) FROM run GROUP BY ALL HAVING state <> 'done'")
    assert cut == ([] if pruner == "wilcoxon" else [("pruned", len(given_up))])
    for table in (*TABLES, "comparison"):
        (shown,) = place.ask(f"SELECT list(DISTINCT trial_id) FROM {table}")
        assert isinstance(shown[0], list)
        assert not given_up & set(shown[0])
    assert place.ask(
        "SELECT count(*) FROM recall JOIN run USING (run_id) WHERE state <> 'done'"
    ) == [(0,)]
    with connect(place.results, read_only=True) as con:
        (line,) = list_studies(con)
    assert (line.runs, line.done, line.failed, line.pruned) == (
        18 * seeds,
        outcome.done,
        0,
        outcome.pruned,
    )
    again = place.run(PRUNED, *given)
    assert (again.trained, again.done, again.pruned) == (0, outcome.done, outcome.pruned)
    planned = preview(place.write(PRUNED), given, place.results)
    assert [run.state for run in planned.runs].count("pruned") == outcome.pruned
    assert {run.state for run in planned.runs} == {"done", "pruned"}


# Every pruner with every sampler, in any order of ends: tests/harness/search/test_scheduler.py.
@pytest.mark.process
@pytest.mark.parametrize(
    ("pruner", "sampler"), [("median", "tpe"), ("hyperband", "random"), ("wilcoxon", "tpe")]
)
@pytest.mark.timeout(60)
def test_what_is_pruned_does_not_depend_on_timing_or_interruptions(
    place: Place, pruner: str, sampler: str
) -> None:
    seeds = 7 if pruner == "wilcoxon" else 2
    given = (f"pruner={pruner}", f"sampler={sampler}", f"seeds={seeds}", "parallel_trials=3")
    assert place.run(PRUNED, *given).pruned > 0
    whole = content_of(place)
    broken, parallel = place.folder / "broken", place.folder / "parallel"
    for number in (13, 9, 1):
        witness = Witness(interrupt(number))
        assert place.run(PRUNED, *given, watcher=witness, results=broken).exit_status == 130
    assert place.run(PRUNED, *given, results=broken).exit_status == 0
    place.run(PRUNED, *given, executor="process", workers=3, results=parallel)
    for other in (broken, parallel):
        assert content_of(place, other) == whole
    rebuild_results(place.results, on_wait=pytest.fail)
    assert content_of(place) == whole


class Closing(Witness):
    """Makes runs wait after their next epoch, and interrupts the call when one does."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(lambda count: self.gate.unlink() if count == number else None)
        self.gate = place.folder / "open"
        self.seen: set[str] = set()
        self.interruptions = 0

    def tick(self, snapshot: Snapshot) -> None:
        super().tick(snapshot)
        if self.gate.exists():
            return
        waiting = {line.run_id for line in snapshot.running if line.state.epochs > 0}
        if self.seen & waiting and self.interruptions < 2:  # the first lets a run finish its epoch
            self.interruptions += 1
            os.kill(os.getpid(), signal.SIGINT)
        self.seen |= waiting


@pytest.mark.process
@pytest.mark.timeout(60)
def test_workers_that_are_killed_in_the_middle_of_runs_change_nothing(place: Place) -> None:
    text = PRUNED.replace("epochs: 9", "epochs: 9, wait_for: open")
    given = ("trials=10", "seeds=2", "parallel_trials=2")
    (place.folder / "open").touch()
    place.run(text, *given)
    broken = place.folder / "broken"
    for number in (9, 4):
        witness = Closing(place, number)
        place.run(text, *given, executor="process", workers=2, watcher=witness, results=broken)
        (place.folder / "open").touch()
    resumed = "SELECT count(*) > 0 FROM run WHERE attempts > 1"
    assert place.run(text, *given, executor="process", workers=2, results=broken).pruned > 0
    assert place.ask(resumed, broken) == [(True,)]
    assert content_of(place, broken) == content_of(place)


@pytest.mark.process
def test_seeds_go_one_after_another_and_keep_other_trials_going(place: Place) -> None:
    running: list[tuple[str, ...]] = []

    class Looking(Witness):
        def started(self, line: RunLine, snapshot: Snapshot) -> None:
            super().started(line, snapshot)
            running.append(tuple(each.trial for each in snapshot.running))

    witness = Looking()
    text = PRUNED.replace("trials: 16", "trials: 7").replace(
        "epochs: 9", "epochs: 9, sleep_s: 0.01"
    )
    place.run(text, "parallel_trials=3", executor="process", workers=3, watcher=witness)
    searched = [names for names in running if all("=" in name for name in names)]
    assert searched
    assert all(len(set(names)) == len(names) for names in searched)
    assert max(map(len, searched)) == 3


def test_progress_reaches_the_total_and_says_what_was_pruned(place: Place) -> None:
    witness = Witness()
    place.run(PRUNED, watcher=witness)
    last = witness.snapshots[-1]
    assert {snapshot.total for snapshot in witness.snapshots} == {90}
    assert last.pruned > 0
    assert last.done + last.pruned == last.total
    ended = [line.state for line in witness.ended_lines if line.state.state == "pruned"]
    assert ended
    assert all("below" in str(state.message) for state in ended)


SHARED = PRUNED.replace(
    "quality: {uniform: [0.0, 1.0]}",
    "quality: {choice: [0.1, 0.2, 0.3, 0.55, 0.6, 0.65, 0.7, 0.8]}",
)
OTHER = SHARED.replace("study: pruned", "study: other").replace("pruner: median\n", "")


def of_study(place: Place, study: str) -> list[object]:
    asked = [
        "SELECT trial_id, number, label, pruned FROM trial WHERE study = '{}' ORDER BY ALL",
        "SELECT member.* FROM member JOIN trial USING (trial_id) WHERE study = '{}' ORDER BY ALL",
        *(f"FROM {view} WHERE study = '{{}}' ORDER BY ALL" for view in (*TABLES, "comparisons")),
    ]
    return [place.ask(sql.format(study)) for sql in asked]


@pytest.mark.slow
def test_what_one_study_has_pruned_another_trains_to_its_end(place: Place) -> None:
    place.run(SHARED, "trials=60")
    (pruned,) = place.ask("SELECT list(run_id) FROM run WHERE state = 'pruned'")
    assert isinstance(pruned[0], list)
    assert len(pruned[0]) >= 2
    before = of_study(place, "pruned")
    assert place.run(OTHER, "trials=60").failed == 0
    states = place.ask("SELECT DISTINCT state FROM run")
    assert states == [("done",)]
    resumed = f"SELECT DISTINCT attempts FROM run WHERE run_id IN {tuple(pruned[0])}"
    assert place.ask(resumed) == [(2,)]
    firsts = f"SELECT min(epoch) FROM epoch WHERE attempt = 2 AND run_id IN {tuple(pruned[0])}"
    assert place.ask(firsts) > [(0,)]  # they went on from where they were stopped
    again = place.run(SHARED, "trials=60")
    assert again.trained == 0
    assert of_study(place, "pruned") == before


@pytest.mark.slow
def test_what_another_study_has_trained_to_its_end_is_pruned_all_the_same(place: Place) -> None:
    place.run(SHARED, "trials=60")
    alone = of_study(place, "pruned")
    place.results = place.folder / "second"
    place.run(OTHER, "trials=60")
    calls = place.calls()
    outcome = place.run(SHARED, "trials=60")
    assert outcome.pruned > 0
    assert of_study(place, "pruned") == alone
    assert place.calls() - calls == outcome.trained


def test_neither_baseline_nor_confirmation_is_pruned(place: Place) -> None:
    text = PRUNED.replace("quality: 0.5", "quality: 0.0") + "confirm: {top: 3, seeds: 2}\n"
    outcome = place.run(text, "pruner=hyperband", "trials=12")
    assert outcome.exit_status == 0
    assert outcome.pruned > 0
    rows = place.ask("SELECT phase, role, count(*) FROM trial WHERE pruned IS NULL GROUP BY ALL")
    assert ("search", "baseline", 1) in rows
    assert ("confirm", "trial", 3) in rows
    labels = "SELECT label FROM trial WHERE phase = 'confirm' AND role = 'trial'"
    pruned = place.ask(f"{labels} AND label IN (SELECT trial FROM pruned)")
    assert pruned == []
    page = write_report(place.results, "pruned", place.folder).read_text()
    assert "<h2>Pruned</h2>" in page
    assert len(final_table(place.results, "pruned").rows) == 3 + 1 + 2


def test_a_report_of_a_search_lists_what_was_given_up_apart(place: Place) -> None:
    place.run(PRUNED)
    given_up = [str(row[0]) for row in place.ask("SELECT trial FROM pruned")]
    shown = [row.trial.label for row in final_table(place.results, "pruned").rows]
    assert len(shown) + len(given_up) == 18
    assert not set(shown) & set(given_up)
    page = write_report(place.results, "pruned", place.folder).read_text()
    head, _, rest = page.partition("<h2>Pruned</h2>")
    assert f"{len(given_up)} trials were pruned" in head
    assert "are not finished" not in head
    assert all(label.partition("=")[2] in rest for label in given_up)


def test_the_sampler_is_told_what_was_pruned_and_where(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, Observation] = {}
    propose = sampler_module.Sampler.propose

    def spy(self: sampler_module.Sampler, number: int, history: Sequence[Observation]) -> object:
        told.update({each.number: each for each in history})
        return propose(self, number, history)

    monkeypatch.setattr(sampler_module.Sampler, "propose", spy)
    place.run(PRUNED, "sampler=tpe")
    rows = place.ask("SELECT number, seeds_done FROM pruned WHERE number < 14")
    pruned = {each.number for each in told.values() if each.until_pruned is not None}
    assert pruned == {number for number, _ in rows}
    for number, seeds_done in rows:
        assert isinstance(number, int)
        assert isinstance(seeds_done, int)
        values = told[number].until_pruned
        assert values is not None
        assert 9 * seeds_done < len(values) <= 9 * (seeds_done + 1)
        assert told[number].value is None


def test_a_rule_over_epochs_that_has_no_epochs_to_go_by_is_refused(place: Place) -> None:
    with pytest.raises(InputError, match=r"yaml:11:1: pruner: no run reports val/recall@1 epoch"):
        place.run(PRUNED.replace("epochs: 9", "epochs: 0"))


def propose_always(
    monkeypatch: pytest.MonkeyPatch, qualities: Sequence[float]
) -> dict[int, float | None]:
    """Make searches propose these qualities, whatever happens; number -> last value told."""
    values: dict[int, float | None] = {}

    def propose(
        self: sampler_module.Sampler, number: int, history: Sequence[Observation]
    ) -> dict[str, JsonValue]:
        values.update({told.number: told.value for told in history})
        return {"quality": qualities[number - 1]}

    monkeypatch.setattr(sampler_module.Sampler, "propose", propose)
    return values


def test_a_proposal_that_is_known_becomes_new_seeds_of_its_trial(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = propose_always(monkeypatch, [0.3, 0.3, 0.3, 0.6, 0.61, 0.62])
    text = PRUNED.replace("pruner: median", "confirm: {top: 1, seeds: 3}")
    outcome = place.run(text, "sampler=tpe", "trials=7", "seeds=2")
    assert outcome.done == outcome.total == 7 * 2 + (1 + 1 + 2) * 3
    rows = place.ask(
        "SELECT number, list(seed ORDER BY seed) FROM trial JOIN member USING (trial_id)"
        " WHERE phase = 'search' GROUP BY ALL ORDER BY ALL"
    )
    new = [1_000_000 + seed for seed in range(4)]
    assert rows == [(0, [0, 1]), (1, [0, 1, *new]), (4, [0, 1]), (5, [0, 1]), (6, [0, 1])]
    assert told[1] == told[2] == told[3]
    ((mean, done, planned),) = place.ask(
        "SELECT mean, seeds_done, seeds_planned FROM trials WHERE number = 1"
    )
    assert (told[1], done, planned) == (pytest.approx(mean), 6, 6)
    assert place.ask("SELECT DISTINCT n FROM comparisons WHERE number = 1") == [(2,)]
    found = load_tables(place.results, "pruned").of_phase("search")
    ranked = [trial.number for trial in found.ranked(found.primary)]
    assert sorted(ranked[:3]) == [4, 5, 6]  # six seeds of the third are no reason to lead
    best = final_table(place.results, "pruned")
    assert [row.summary.n for row in best.rows] == [3, 3, 3, 3]


@pytest.mark.parametrize("parallel", [2, 3])
def test_new_seeds_of_a_pruned_trial_are_never_trained(
    place: Place, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    qualities = [0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.05, 0.9, 0.9]
    qualities.insert(5 + parallel, 0.05)  # as soon as it cannot be known yet that it was pruned
    propose_always(monkeypatch, qualities)
    given = ("trials=11", f"parallel_trials={parallel}", "seeds=2")
    outcome = place.run(PRUNED, *given)
    asked = (
        "SELECT varied ->> 'quality', count(*), count(*) FILTER (is_pruned) FROM trial"
        " JOIN member USING (trial_id) WHERE number >= 7 AND role = 'trial' GROUP BY ALL ORDER BY 1"
    )
    assert place.ask(asked) == [("0.05", 4, 4), ("0.9", 4, 0)]
    trained = [line["seed"] for line in toy_workload.calls(place.folder) if line["quality"] == 0.05]
    assert trained == [0]
    # A second call knows sooner how trials end; that must not matter.
    again = place.run(PRUNED, *given)
    assert again == outcome._replace(trained=0, forecast=None)
    assert place.ask(asked) == [("0.05", 4, 4), ("0.9", 4, 0)]


def test_a_trial_that_is_trained_to_its_end_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose_always(monkeypatch, [0.6, *(0.6 - 0.001 * step for step in range(1, 19))])
    text = PRUNED.replace("epochs: 9", "epochs: 1")
    place.run(text, "pruner=wilcoxon", "trials=20", "seeds=6")
    rows = place.ask("SELECT seeds_done, seeds_pruned FROM pruned")
    assert rows
    assert set(rows) == {(5, 1)}
