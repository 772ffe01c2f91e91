"""A table whose runs were not made alike says so above its answer, wherever it stands."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum
from store_examples import TIME, a_record, a_run, a_trial, ask, done, failed, ingest_into, start

from harness.answers.of_results import reported
from harness.api import load
from harness.cli.output import result_lines
from harness.export.export_study import export_study
from harness.records.events import Started
from harness.records.trial import Trial
from harness.report.comparison_page import write_comparison
from harness.report.data.load import load_tables
from harness.report.data.mixture import Compared, mixture, mixture_of
from harness.report.findings.tables.methods_text import methods_paragraph
from harness.report.index_page import write_all
from harness.store import database
from harness.store.tables.computed.comparisons import refresh_comparisons
from harness.store.tables.ingest import write_study
from harness.study.ablate import Ablate

GPU = {"device": "NVIDIA <b>H100</b>", "number_format": "fp32"}
TORCH = "torch 2.11.0 (15 runs) and 2.15.0 (3 runs)"
SAID = (
    "Not all runs were made in the same environment: device cpu (13 runs) and NVIDIA <b>H100</b> (2 runs); "
    f"number format bfloat16 (13 runs) and fp32 (2 runs); {TORCH}. The differences of "
    "teacher_momentum=0.9 and teacher_momentum=0.99 from the baseline may be due to this."
)


def mixed_study(results: Path) -> Path:
    """Three seeds, of which some runs had another torch and a GPU; pixels record no device."""
    made = momentum()
    made[1] = dataclasses.replace(made[1], torch={1: "2.15.0", 2: "2.15.0"}, facts={1: GPU, 2: GPU})
    made[2] = dataclasses.replace(made[2], torch={2: "2.15.0"})
    silent = {seed: {"device": None, "number_format": None} for seed in range(3)}
    made[4] = dataclasses.replace(made[4], facts=silent)
    return make_study(results, made, seeds=3, with_clusters=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "results"
    newer = dict.fromkeys(range(3), "2.16.0")
    groups = [
        Made(
            f"groups={k}", 0.6, {"method.groups": k}, "trial" if k > 1 else "baseline", torch=newer
        )
        for k in (1, 4)
    ]
    make_study(folder, groups, study="groups", seeds=3, with_clusters=False)
    return mixed_study(folder)


def read(path: Path) -> str:
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.S)


def test_the_page_says_so_above_its_answer(results: Path, tmp_path: Path) -> None:
    for page in (write_all(results, tmp_path).path, tmp_path / "momentum.html"):
        text = read(page)
        text = re.split(r"momentum(?:</a></h2>|</h1>)", text)[1]
        place = text.index(
            '<div class="notice"><p>Not all runs were made in the same environment:</p>'
        )
        assert place < text.index("has the highest mean")
        assert f"<li>{TORCH}</li>" in text
        assert "<li>device cpu (13 runs) and NVIDIA &lt;b&gt;H100&lt;/b&gt; (2 runs)</li>" in text
        assert "differences of teacher_momentum=0.9 and teacher_momentum=0.99 from the" in text


def test_the_terminal_says_so_above_its_table(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print("\n".join(result_lines(reported(results, "momentum", tmp_path))))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"note: {SAID}"
    assert lines[1].startswith("trial  ")


def test_exports_for_readers_and_the_methods_say_so(results: Path) -> None:
    latex = export_study(results, "momentum", "latex")
    assert "15 runs) and 2.15.0 (3 runs). The differences of teacher\\_momentum=0.9" in latex
    assert latex.index("Not all runs were made") < latex.index(r"\begin{tabular}")
    markdown = export_study(results, "momentum", "markdown")
    assert markdown.startswith(
        "**Note.** Not all runs were made in the same environment: device cpu (13 runs)"
    )
    assert r"NVIDIA \<b\>H100\</b\>" in markdown
    text = methods_paragraph(load_tables(results, "momentum"), None)
    assert "on NVIDIA <b>H100</b>, cpu with torch 2.11.0, 2.15.0." in text
    assert SAID in text


def test_a_comparison_of_studies_says_so_though_each_was_made_alike(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    for study, torch in (("old", "2.11.0"), ("new", "2.16.0")):
        trials = [
            Made(f"{study}={k}", 0.6, {study: k}, "trial" if k else "baseline") for k in (0, 1)
        ]
        trials = [
            dataclasses.replace(each, torch=dict.fromkeys(range(2), torch)) for each in trials
        ]
        make_study(folder, trials, study=study, seeds=2, with_clusters=False)
    assert ask(folder, "FROM mixed") == []
    text = read(write_comparison(folder, ["old", "new"], tmp_path))
    assert "<li>torch 2.11.0 (4 runs) and 2.16.0 (4 runs)</li>" in text
    assert text.index("Not all runs were made") < text.index("has the highest mean")
    assert "<p>The differences of new / new=" in text
    assert (
        "old / old=1"
        not in text[text.index('"notice"') : text.index("</header>")].split("</div>")[0]
    )


def test_a_run_of_two_studies_is_counted_once(tmp_path: Path) -> None:
    shared = [
        Made("m=0", 0.6, {"m": 0}, "baseline", torch={0: "2.15.0"}),
        Made("m=1", 0.6, {"m": 1}),
    ]
    make_study(tmp_path / "r", shared, study="one", seeds=2, with_clusters=False)
    make_study(tmp_path / "r", shared, study="two", seeds=3, with_clusters=False)
    text = read(write_comparison(tmp_path / "r", ["one", "two"], tmp_path))
    assert "<li>torch 2.11.0 (5 runs) and 2.15.0 (1 run)</li>" in text


def test_the_view_says_what_the_page_says(results: Path) -> None:
    rows = ask(results, "SELECT what, value, runs FROM mixed WHERE study = 'momentum'")
    assert rows == [
        ("device", "cpu", 13),
        ("device", "NVIDIA <b>H100</b>", 2),
        ("number_format", "bfloat16", 13),
        ("number_format", "fp32", 2),
        ("torch", "2.11.0", 15),
        ("torch", "2.15.0", 3),
    ]
    frame = load(results).mixed
    assert [tuple(row) for row in frame[frame.study == "momentum"].values[:, 2:]] == rows
    found = mixture_of(load_tables(results, "momentum"))
    assert found is not None
    assert len(found.kinds) == len({what for what, *_ in rows})


def test_a_study_whose_runs_were_made_alike_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make_study(tmp_path / "r", momentum(), seeds=2, with_clusters=False)
    print("\n".join(result_lines(reported(results, "momentum", tmp_path))))
    shown = capsys.readouterr().out + read(tmp_path / "momentum.html")
    shown += export_study(results, "momentum", "markdown")
    shown += export_study(results, "momentum", "latex")
    assert "made in the same environment" not in shown
    assert "Note." not in shown
    assert ask(results, "FROM mixed") == []


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"varied": {"train.number_format": "fp32"}}, set()),
        ({"varied": {"train.device": "cuda"}}, {"number_format"}),
        ({"varied": {"number_formats": "fp32"}}, {"number_format"}),
    ],
)
def test_what_a_study_varies_is_its_question_and_no_accident(
    tmp_path: Path, asked: dict[str, dict[str, str]], named: set[str]
) -> None:
    facts = {seed: {"number_format": "fp32"} for seed in range(2)}
    key = next(iter(asked["varied"]))
    made = [Made("a", 0.5, {key: "x"}, "baseline"), Made("b", 0.5, {key: "y"}, facts=facts)]
    results = make_study(tmp_path, made, seeds=2, with_clusters=False)
    assert {row[0] for row in ask(results, "SELECT what FROM mixed")} == named


def test_what_variants_override_is_their_question(tmp_path: Path) -> None:
    facts = {seed: {"number_format": "fp32"} for seed in range(2)}
    made = [
        Made("a", 0.5, variant="a", role="baseline"),
        Made("b", 0.5, variant="b", facts=facts),
    ]
    spec = {"study": "momentum", "variants": {"a": {}, "b": {"train": {"number_format": "fp32"}}}}
    results = make_study(tmp_path, made, seeds=2, spec=spec, with_clusters=False)
    assert mixture_of(load_tables(results, "momentum")) is None
    assert ask(results, "FROM mixed") == []


def test_a_variant_of_that_name_hides_no_mixture(tmp_path: Path) -> None:
    facts = {seed: {"number_format": "fp32"} for seed in range(2)}
    made = [
        Made("a", 0.5, variant="a", role="baseline"),
        Made("number_format", 0.5, variant="number_format", facts=facts),
    ]
    spec = {"study": "momentum", "variants": {"a": {}, "number_format": {"method": {"groups": 2}}}}
    results = make_study(tmp_path, made, seeds=2, spec=spec, with_clusters=False)
    assert {row[0] for row in ask(results, "SELECT what FROM mixed")} == {"number_format"}


def test_only_runs_that_count_count(tmp_path: Path) -> None:
    newer = {0: "2.15.0"}
    made = [
        Made("m=0", 0.5, {"m": 0}, "baseline"),
        Made("m=1", 0.5, {"m": 1}, torch=newer, failed=(0,)),
        Made("m=2", 0.5, {"m": 2}, torch=newer, running=(0,)),
        Made("m=3", 0.5, {"m": 3}, torch=newer),
    ]
    results = make_study(tmp_path, made, seeds=2, with_clusters=False)
    assert [row[-1] for row in ask(results, "FROM mixed")] == [5, 1]
    with database.connect(results, read_only=False) as con:
        con.execute("UPDATE trial SET pruned = 'bad' WHERE label = 'm=3'")
    assert ask(results, "FROM mixed") == []
    assert mixture_of(load_tables(results, "momentum")) is None


def test_a_confirmation_does_not_speak_of_its_search(tmp_path: Path) -> None:
    trials = [a_trial(0, "baseline", "search"), a_trial(1, "baseline"), a_trial(2)]
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record(trials, [0, 1]))
        for trial, versions in zip(trials, ("old", "new", "new"), strict=True):
            for seed in (0, 1):
                finish(con, tmp_path, trial, seed, torch=versions)
        refresh_comparisons(con, "s")
    assert ask(tmp_path, "FROM mixed") == []
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("UPDATE trial SET phase = 'confirm'")
    assert ask(tmp_path, "SELECT value, runs FROM mixed") == [("new", 4), ("old", 2)]


def finish(con: object, results: Path, trial: Trial, seed: int, **versions: str) -> None:
    run = a_run(trial, seed)
    begun = Started(1, TIME, run, "host", 42, 2, "abc", False, versions)
    split = "test" if trial.phase == "confirm" else "val"
    value = {f"{split}__recall_at_1": 0.5 + seed / 10}
    ingest_into(con, results, run.run_id, [begun, done(**value)])  # type: ignore[arg-type]


def test_libraries_that_have_no_part_in_a_result_may_differ(tmp_path: Path) -> None:
    trial = a_trial(0, "baseline")
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([trial], [0, 1, 2]))
        for seed, other in ((0, "1"), (1, "2")):
            silent = dict.fromkeys(("duckdb", "rich", "threadpoolctl"), other)
            computing = {"faiss-cpu": f"1.1{other}", "python": f"3.1{other}"}
            finish(con, tmp_path, trial, seed, **silent, **computing)
        finish(con, tmp_path, trial, 2)  # recorded nothing, which is no difference
    rows = ask(tmp_path, "SELECT what, value, runs FROM mixed")
    assert rows == [
        ("faiss-cpu", "1.11", 1),
        ("faiss-cpu", "1.12", 1),
        ("python", "3.11", 1),
        ("python", "3.12", 1),
    ]


def test_a_failed_study_is_not_mixed(tmp_path: Path) -> None:
    run = a_run(a_trial(0, "baseline"), 0)
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([a_trial(0, "baseline")], [0]))
        ingest_into(con, tmp_path, run.run_id, [start(run), failed()])
    assert ask(tmp_path, "FROM circumstances") == []


A, B = {"torch": "1"}, {"torch": "2"}
UNAFFECTED = (
    "Every run was compared with a run of the baseline in the same environment, so the "
    "differences are not due to this; the means are over runs of different environments."
)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, "A difference between trials may be due to this."),
        ({"x": {0: A, 1: B}}, UNAFFECTED),
        ({"x": {0: A, 1: {}}}, UNAFFECTED),
        ({"x": {0: B, 1: B}}, "The difference from the baseline may be due to this."),
        ({"x": {0: B}, "y": {1: A}}, "Every difference from the baseline may be due to this."),
        ({"x": {0: B}, "y": {1: B}}, "The difference of x from the baseline may be due to this."),
        ({"x": {7: B}, "y": {0: B}}, "The difference of y from the baseline may be due to this."),
    ],
)
def test_it_says_which_comparisons_may_be_affected(
    made: dict[str, dict[int, dict[str, str]]], said: str
) -> None:
    compared = [Compared(name, runs) for name, runs in made.items()]
    found = mixture([A, B], compared, {0: A, 1: B}, "the baseline")
    assert found is not None
    assert said in found.consequence


def test_many_values_and_many_trials_are_counted_not_listed() -> None:
    runs = [{"torch": f"2.{number:02}"} for number in range(9)]
    compared = [Compared(f"m={number}", {0: runs[1]}) for number in range(9)]
    found = mixture(runs, [*compared, Compared("same", {0: runs[0]})], {0: runs[0]}, "the baseline")
    assert found is not None
    assert found.kinds == (
        "torch 2.00 (1 run), 2.01 (1 run), 2.02 (1 run), 2.03 (1 run) and 5 more",
    )
    assert "m=4, m=5 and 3 more from the baseline" in found.consequence


def test_a_recorded_value_is_one_short_printable_line() -> None:
    found = mixture([{"device": "a\x1b[31m\nb"}, {"device": "x" * 500}], [], {}, "the baseline")
    assert found is not None
    assert found.text.isprintable()
    assert len(found.text) < 300


def test_the_search_part_of_a_page_speaks_for_itself(tmp_path: Path) -> None:
    made = [*momentum()[:2], *controls()]
    made[1] = dataclasses.replace(made[1], torch={0: "2.15.0"})
    results = make_study(tmp_path, made, sampler="tpe", seeds=2, with_clusters=False)
    text = read(write_all(results, tmp_path).pages[0])
    assert "<li>torch 2.11.0 (7 runs) and 2.15.0 (1 run)</li>" in text


@pytest.mark.parametrize(
    ("overrides", "mixed"),
    [({"method.groups": 1}, {"number_format"}), ({"train.number_format": "fp32"}, set())],
)
def test_what_a_component_overrides_is_its_question_and_its_name_is_not(
    tmp_path: Path, overrides: dict[str, object], mixed: set[str]
) -> None:
    facts = {seed: {"number_format": "fp32"} for seed in range(2)}
    made = [
        Made("full", 0.5, {"number_format": True}, role="baseline"),
        Made("no number_format", 0.5, {"number_format": False}, facts=facts),
    ]
    ablate = Ablate.model_validate(
        {"design": "leave_one_out", "components": {"number_format": overrides}}
    )
    spec = {"study": "momentum", "ablate": ablate.model_dump(mode="json")}
    results = make_study(tmp_path, made, seeds=2, spec=spec, with_clusters=False)
    assert {row[0] for row in ask(results, "SELECT what FROM mixed")} == mixed
