"""Claims from the study file to their verdicts: registered, immutable, tested, shown."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from driver_place import Place, Witness
from driver_place import interrupt as interrupt_at

from harness.cli import commands
from harness.engine.preview import preview
from harness.engine.run_options import RunOptions
from harness.errors import InputError
from harness.planning.forecast import make_forecast
from harness.records.studies.study_record import read_study_record
from harness.report.findings.claim_lines import claim_line
from harness.report.study_claims import read_study_claims
from harness.report.study_page import page_text
from harness.store.database import connect
from harness.store.rebuild import rebuild
from harness.store.tables.computed.comparisons import refresh_comparisons
from harness.store.tables.ingest import write_study

STUDY = """
study: quality
question: Does quality matter?
workload: toy_workload
base: {epochs: 1, clusters: 2}
search:
  quality: {grid: [0.2, 0.21, 0.5]}
seeds: 8
"""
CLAIMS = """
claims:
  - {trial: quality=0.5, better_than: quality=0.2, by: 0.2}
  - {trial: quality=0.2, no_worse_than: quality=0.21, margin: 0.1}
  - {trial: quality=0.2, better_than: untrained, by: 0.3, metric: recall@1}
  - {trial: quality=0.21, same_as: quality=0.2, margin: 0.001}
"""
FIRST = "SELECT claim, verdict, n, is_registered, known_pairs FROM claims ORDER BY number"


def command(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
) -> tuple[int, str, str]:
    monkeypatch.chdir(place.folder)
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as exit_:
        commands.main()
    said = capsys.readouterr()
    return int(exit_.value.code or 0), said.out, said.err


def test_claims_are_registered_before_the_first_run_and_then_tested(place: Place) -> None:
    place.run(STUDY + CLAIMS)
    rows = place.ask(FIRST)
    assert [row[1] for row in rows] == ["held", "held", "refuted", "undecided"]
    assert [row[2:] for row in rows] == [(8, True, 0)] * 4
    assert rows[0][0] == "quality=0.5 is better than quality=0.2 by more than 0.2 in recall@1"
    tested = place.ask("SELECT p, p_against, p_holm, p_against_holm FROM claims ORDER BY number")
    assert tested[0][0] == 1 / 256
    assert tested[0][2] == 4 / 256
    assert tested[2][1] == 1 / 256
    registered = place.ask("SELECT noted FROM claim")[0][0]
    assert registered <= place.ask("SELECT min(started) FROM run")[0][0]  # type: ignore[operator]


def test_a_rebuild_keeps_what_was_registered_and_when(place: Place) -> None:
    place.run(STUDY + CLAIMS)
    everything = "SELECT * FROM claims ORDER BY number"
    before = place.ask(everything)
    rebuild(place.results)
    assert place.ask(everything) == before


def test_claims_that_are_added_later_are_made_after_results(place: Place) -> None:
    first = CLAIMS.splitlines()[:3]
    place.run(STUDY + "\n".join(first))
    place.run(STUDY + CLAIMS)
    rows = place.ask(FIRST)
    assert [row[3] for row in rows] == [True, False, False, False]
    assert [row[4] for row in rows] == [0, 8, 8, 8]
    kept = place.ask("SELECT noted FROM claim ORDER BY number")
    assert kept[0][0] < kept[1][0]  # type: ignore[operator]
    place.run(STUDY + "\n".join(CLAIMS.splitlines()[:4]))  # those made later may go again
    assert len(place.ask(FIRST)) == 2


def test_results_of_another_study_count_as_known(place: Place) -> None:
    place.run(STUDY)
    other = STUDY.replace("study: quality", "study: other")
    place.run(other + CLAIMS)
    assert [row[4] for row in place.ask(FIRST)] == [8, 8, 8, 8]


def test_registered_claims_that_change_are_refused_with_both_versions(place: Place) -> None:
    place.run(STUDY + CLAIMS)
    calls = place.calls()
    with pytest.raises(InputError) as refused:
        place.run(STUDY + CLAIMS.replace("by: 0.2}", "by: 0.1}"))
    lines = str(refused.value).split("\n")
    assert "study.yaml" in lines[0]
    assert any(line.startswith("  registered") and "more than 0.2" in line for line in lines)
    assert any(line.startswith("  now: ") and "more than 0.1" in line for line in lines)
    assert "--set study=NAME" in lines[-1]
    with pytest.raises(InputError, match="now: none"):
        place.run(STUDY)
    with pytest.raises(InputError, match="now: none"):
        preview(place.write(STUDY), (), place.results)
    assert place.calls() == calls
    reordered = ["claims:", *reversed(CLAIMS.strip().splitlines()[1:])]
    place.run(STUDY + "\n".join(reordered))


def test_claims_in_another_order_never_show_the_verdicts_of_each_other(place: Place) -> None:
    place.run(STUDY + CLAIMS)
    record = read_study_record(place.results, "quality")
    assert record is not None
    turned = dataclasses.replace(record, claims=record.claims[::-1])
    with connect(place.results, read_only=False) as con:
        write_study(con, record)
    assert [row[1] for row in place.ask(FIRST)] == ["held", "held", "refuted", "undecided"]
    with connect(place.results, read_only=False) as con:
        write_study(con, turned)
    assert [row[1] for row in place.ask(FIRST)] == ["undecided"] * 4
    with connect(place.results, read_only=False) as con:
        refresh_comparisons(con, "quality")
    assert [row[1] for row in place.ask(FIRST)] == ["undecided", "refuted", "held", "held"]


def test_an_unfinished_claim_is_not_tested_yet(place: Place) -> None:
    place.run(STUDY + CLAIMS, watcher=Witness(interrupt_at(30)))
    rows = place.ask("SELECT verdict, n, p, reason FROM claims ORDER BY number")
    assert rows[0][0] == "undecided"
    assert rows[0][2] is None
    assert rows[0][3] == f"{rows[0][1]} of 8 pairs have ended"
    place.run(STUDY + CLAIMS)
    assert [row[1] for row in place.ask(FIRST)] == ["held", "held", "refuted", "undecided"]


def test_the_command_prints_a_line_each_and_ends_with_the_worst_verdict(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.run(STUDY + CLAIMS)
    capsys.readouterr()
    status, out, _ = command(place, monkeypatch, capsys, "claims", "study.yaml")
    assert status == 1
    lines = out.splitlines()
    assert lines[0].startswith("held: quality=0.5 is better than quality=0.2 by more than 0.2")
    assert "p 0.004 (Holm 0.016), 8 pairs; registered 20" in lines[0]
    assert lines[2].startswith("refuted: quality=0.2 is better than untrained")
    assert "against it 0.004 (0.016)" in lines[2]
    assert lines[3].startswith("undecided: ")
    assert lines[4].startswith("4 claims were registered before their first results, on 20")
    assert len(lines) == 5
    assert command(place, monkeypatch, capsys, "claims", "quality")[0] == 1


@pytest.mark.parametrize(("kept", "status"), [((0, 1), 0), ((0, 1, 2), 1), ((0, 3), 3)])
def test_the_exit_status_is_that_of_the_claims(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kept: tuple[int, ...],
    status: int,
) -> None:
    lines = CLAIMS.strip().splitlines()
    place.run(STUDY + "\n".join(["claims:", *(lines[1 + each] for each in kept)]))
    assert command(place, monkeypatch, capsys, "claims", "study.yaml")[0] == status


def test_programs_read_the_claims_as_json_and_junit(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.run(STUDY + CLAIMS)
    capsys.readouterr()
    arguments = ("claims", "study.yaml", "--format", "json", "--junit", "out/claims.xml")
    status, out, _ = command(place, monkeypatch, capsys, *arguments)
    document = json.loads(out)
    assert document["status"] == status == 1
    assert [claim["verdict"] for claim in document["claims"]] == [
        "held",
        "held",
        "refuted",
        "undecided",
    ]
    assert document["claims"][0]["p"] == 1 / 256
    assert document["claims"][0]["is_registered"] is True
    suite = ElementTree.parse(place.folder / "out" / "claims.xml").getroot()[0]
    assert suite.attrib | {"name": ""} == {
        "name": "",
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [
        ["system-out"],
        ["system-out"],
        ["failure"],
        ["skipped"],
    ]


def test_the_page_shows_claims_with_their_registration(place: Place) -> None:
    place.run(STUDY + CLAIMS)
    page = page_text(place.results, "quality")
    assert "<h3>Claims</h3>" in page
    assert '<strong class="verdict refuted">refuted</strong>: quality=0.2 is better than' in page
    assert "4 claims were registered before their first results" in page
    place.run(STUDY.replace("study: quality", "study: silent"))
    assert "<h3>Claims</h3>" not in page_text(place.results, "silent")


def test_the_winner_of_a_search_can_be_claimed_before_it_is_known(place: Place) -> None:
    search = STUDY.replace("grid: [0.2, 0.21, 0.5]", "uniform: [0.3, 0.9]").replace(
        "seeds: 8", "seeds: 2"
    )
    search += "sampler: random\ntrials: 4\nconfirm: {seeds: 6}\nbaseline: {quality: 0.1}\n"
    place.run(search + "claims: [{trial: winner, better_than: quality=0.1}]")
    assert place.ask(FIRST) == [
        ("winner is better than quality=0.1 in recall@1", "held", 6, True, 0)
    ]


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (
            "{trial: quality=0.6, better_than: quality=0.2}",
            r"claims.0.trial: no trial 'quality=0.6'",
        ),
        (
            "{trial: quality=0.5, better_than: raw pixel}",
            r"better_than: no trial 'raw pixel'; did you mean",
        ),
        ("{trial: winner, better_than: quality=0.2}", r"claims.0.trial: no trial 'winner'"),
        (
            "{trial: a, better_than: b, no_worse_than: c}",
            "give one of better_than, no_worse_than, same_as, got better_than and no_worse_than",
        ),
        ("{trial: a}", "got none of them"),
        ("{trial: a, no_worse_than: b, margin: -0.1}", r"claims.0.margin: .* greater than 0"),
        ("{trial: a, better_than: b, by: -0.1}", r"claims.0.by: .*greater than or equal to 0"),
        ("{trial: a, no_worse_than: b}", "no_worse_than needs a margin"),
        ("{trial: a, better_than: b, margin: 0.1}", "better_than takes 'by', not 'margin'"),
        ("{trial: a, same_as: b, by: 0.1}", "same_as takes 'margin', not 'by'"),
        ("{trial: a, better_than: a}", "compares 'a' with itself"),
        ("{trial: a, better_then: b}", "did you mean 'better_than'"),
    ],
)
def test_a_wrong_claim_is_refused_in_a_line_with_its_place(
    place: Place, claim: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as refused:
        place.run(STUDY + f"claims: [{claim}]")
    assert "study.yaml:9:" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert place.calls() == 0


def test_an_unknown_metric_is_refused_once_a_run_shows_which_there_are(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = STUDY + "claims: [{trial: quality=0.5, better_than: quality=0.2, metric: recall@9}]"
    with pytest.raises(InputError, match=r"claims.0.metric: no run reports test/recall@9; did"):
        place.run(text)
    status, _, said = command(place, monkeypatch, capsys, "claims", "study.yaml")
    assert status == 2
    assert said.startswith("error: study.yaml:9:")
    assert "no run reports test/recall@9" in said


def test_a_search_that_scores_no_test_classes_claims_nothing(place: Place) -> None:
    search = STUDY.replace("grid: [0.2, 0.21, 0.5]", "uniform: [0.3, 0.9]")
    text = f"{search}sampler: random\ntrials: 4\nclaims: [{{trial: a, better_than: b}}]"
    with pytest.raises(InputError, match="a search without confirm never scores the test classes"):
        place.run(text)


def test_a_failed_seed_is_left_out_and_the_rest_is_tested(place: Place) -> None:
    text = STUDY.replace("epochs: 1,", "epochs: 1, fail: invalid, only_seeds: [3],")
    place.run(text + "claims: [{trial: quality=0.5, better_than: quality=0.2}]")
    assert place.ask("SELECT verdict, n, planned FROM claims") == [("held", 7, 8)]


def test_too_few_seeds_say_how_many_are_needed(place: Place) -> None:
    place.run(STUDY.replace("seeds: 8", "seeds: 5") + CLAIMS)
    ((reason,), *_) = place.ask("SELECT reason FROM claims ORDER BY number")
    assert reason == "5 pairs cannot decide it; it needs 7"
    lines = [claim_line(each) for each in read_study_claims(place.results, "quality").found]
    assert not any(", p " in line for line in lines)


def test_what_no_run_has_noted_is_tested_but_not_registered(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    place.run(STUDY)
    place.write(STUDY + "\n".join(CLAIMS.splitlines()[:4]))
    capsys.readouterr()
    status, out, _ = command(place, monkeypatch, capsys, "claims", "study.yaml")
    assert status == 0
    assert out.count("made after results, not noted by a run") == 2
    assert "registered" not in out
    status, _, said = command(place, monkeypatch, capsys, "claims", "quality")
    assert status == 2
    assert "makes no claims" in said


def test_the_plan_says_that_seeds_are_too_few_for_the_claims(place: Place) -> None:
    def warnings(text: str) -> list[str]:
        options = RunOptions(place.results, workers=1, threads=1)
        found = make_forecast(place.write(text), (), options, may_probe=False).warnings
        return [each for each in found if "claim" in each]

    assert warnings(STUDY + CLAIMS) == []
    few = STUDY.replace("seeds: 8", "seeds: 6")
    assert warnings(few + CLAIMS) == [
        "with 6 seeds no claim can be decided: 4 claims need at least 7"
    ]
    assert warnings(few) == []
