"""An agent runs studies that are confirmed, on one test set, and reads what it may know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy_workload
from sealed_studies import OPEN, SEALED

import harness
from harness.agents.admission import Admission
from harness.agents.agent_tools import MOST_ROWS, Tools
from harness.errors import InputError
from harness.store.database import connect


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with study files, and others beside it."""
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "sealed.yaml").write_text(SEALED)
    (studies / "open.yaml").write_text(OPEN)
    (studies / "foreign.yaml").write_text(SEALED.replace("toy_workload", "quadratic"))
    (studies / "more.yaml").write_text("extends: ../outside.yaml\nstudy: more\n")
    (studies / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (tmp_path / "outside.yaml").write_text(SEALED)
    return tmp_path


@pytest.fixture
def tools(folder: Path) -> Iterator[Tools]:
    made = Tools(Admission(folder / "results", folder / "studies", ("toy_workload",)), query_s=1.0)
    yield made
    made.close()


def train(folder: Path, name: str) -> None:
    harness.run(folder / "studies" / name, results=folder / "results", executor="local")


@pytest.mark.parametrize(
    ("study", "overrides", "text"),
    [
        ("open.yaml", [], "open.yaml: confirm: missing: agents run only studies whose test"),
        ("sealed.yaml", ["claims=[]", "confirm=null"], "sealed.yaml: confirm: missing"),
        ("foreign.yaml", [], "workload: 'quadratic' was not named when the server was started"),
        ("sealed.yaml", ["workload=quadratic"], "'quadratic' was not named"),
        ("seald.yaml", [], "no study file 'seald.yaml' in .*; did you mean 'sealed.yaml'"),
        ("../outside.yaml", [], "no study file '../outside.yaml' in"),
        ("link.yaml", [], "no study file 'link.yaml' in"),
        ("more.yaml", [], "more.yaml: extends: no study file"),
        ("/etc/passwd", [], "no study file '/etc/passwd' in"),
        ("sealed.yaml", ["data=/etc"], "sealed.yaml: base.data: '/etc' is outside the folders"),
        ("sealed.yaml", ["data=~/x"], "base.data: '~/x' is outside the folders"),
        ("sealed.yaml", ["data=studies/../x"], "base.data: 'studies/../x' is outside the folders"),
        ("sealed.yaml", ["data=outside.yaml"], "'outside.yaml' is outside the folders"),
        ("sealed.yaml", ["search.quality={choice: [0.1, 0.1]}"], "quality"),
    ],
)
def test_what_may_not_be_run_is_refused_in_a_line(
    tools: Tools, study: str, overrides: list[str], text: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: tools.check(study, overrides),
        lambda: tools.plan(study, overrides),
        lambda: tools.run(study, overrides),
    ]
    for call in calls:
        with pytest.raises(InputError, match=text) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert tools.status().studies == ()


def test_all_studies_of_a_folder_have_one_test_set(
    folder: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(folder, "open.yaml")
    assert tools.check("sealed.yaml").runs == 14
    monkeypatch.setattr(
        toy_workload,
        "test_fingerprint",
        lambda params: f"of {params['clusters']}",
        raising=False,
    )
    assert tools.check("sealed.yaml").runs == 14
    with pytest.raises(InputError, match="base: another test set than that of study 'plain'"):
        tools.check("sealed.yaml", ["clusters=3"])


def test_a_plan_does_not_tell_how_test_scores_vary(folder: Path, tools: Tools) -> None:
    train(folder, "open.yaml")
    found = tools.plan("sealed.yaml", ["seeds=3"]).root
    assert (found.runs, found.to_do) == (17, 17)
    assert found.power is not None
    assert found.power.split == "test"
    assert (found.power.spread, found.power.difference) == (None, None)


def test_results_are_shut_until_the_confirmation_is_done(folder: Path, tools: Tools) -> None:
    train(folder, "sealed.yaml")
    train(folder, "open.yaml")
    with connect(folder / "results", read_only=False) as con:
        con.execute("UPDATE run SET state = 'running' WHERE test AND seed > 1 AND state = 'done'")
    assert tools.status().open == ()
    assert {line.study for line in tools.status().studies} == {"sealed", "plain"}
    split = "SELECT count(*) AS n FROM results WHERE split = 'test'"
    assert tools.sql(split).rows == [{"n": 0}]
    assert tools.report("plain").rows[0].mean is None
    assert tools.report("sealed").answer
    assert tools.claims("sealed").claims[0].difference is None
    with connect(folder / "results", read_only=False) as con:
        con.execute("UPDATE run SET state = 'done'")
    assert tools.status().open == ("sealed",)
    assert tools.sql(split).rows != [{"n": 0}]
    assert tools.report("sealed").split == "test"
    assert tools.claims("sealed").claims[0].difference is not None
    best = tools.report("sealed").best_model
    assert best is not None
    assert Path(best.path).is_relative_to(folder / "results")


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('/etc/passwd')",
        "FROM 'results/results.duckdb'",
        "ATTACH 'results/results.duckdb' AS whole",
        "COPY study TO 'out.csv'",
        "CREATE TABLE mine AS SELECT 1",
        "DELETE FROM run",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "FROM glob('*')",
        "SELECT getenv('HOME')",
    ],
)
def test_sql_reads_the_copy_and_nothing_else(folder: Path, tools: Tools, query: str) -> None:
    train(folder, "open.yaml")
    with pytest.raises(InputError, match="SQL: "):
        tools.sql(query)
    assert not (folder / "out.csv").exists()


def test_sql_is_cut_in_rows_and_in_time(folder: Path, tools: Tools) -> None:
    train(folder, "open.yaml")
    found = tools.sql("FROM range(1003)")
    assert (len(found.rows), found.left_out) == (MOST_ROWS, 3)
    with pytest.raises(InputError, match="not answered within 1 s; ask for less"):
        tools.sql("SELECT sum(a.range * b.range) FROM range(9000000) a, range(9000000) b")
    assert threading.active_count() < 50
    assert tools.sql("SELECT 1 AS one").rows == [{"one": 1}]
