"""Files that a workload leaves in its folder become tables, and bad ones harm nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest
from store_examples import (
    CLUSTER,
    ID,
    RUN,
    TRIAL,
    a_run,
    a_trial,
    ask,
    done,
    ingest,
    put,
    start,
    write,
)

from harness.errors import StoreError
from harness.store import database
from harness.store.tables import workload_files
from harness.store.tables.computed.comparisons import refresh_comparisons_of_runs
from harness.store.tables.ingest import ingest_all


def finish(results: Path, run_id: str = ID) -> tuple[str, ...]:
    return ingest(results, start(RUN), done(val__nmi=0.5), run_id=run_id)


def test_clusters_are_taken_over_with_the_run_in_front(tmp_path: Path) -> None:
    put(tmp_path, "tables/clusters.jsonl", CLUSTER + '{"epoch":0,"cluster":2,"size":9,"group":3}\n')
    assert finish(tmp_path) == ()
    assert ask(tmp_path, "FROM clusters ORDER BY cluster") == [
        (ID, 0, 1, 30, 0.5, None, None),
        (ID, 0, 2, 9, None, 3, None),
    ]


def test_a_column_that_clusters_lacks_is_added(tmp_path: Path) -> None:
    put(tmp_path, "tables/clusters.jsonl", CLUSTER.replace("}", ', "radius": 1}'))
    put(tmp_path, "tables/clusters.jsonl", CLUSTER.replace("}", ', "radius": 0.5}'), "other")
    assert finish(tmp_path) == finish(tmp_path, "other") == ()
    assert ask(tmp_path, "SELECT size, radius FROM clusters ORDER BY radius") == [
        (30, 0.5),
        (30, 1.0),
    ]


def test_an_unknown_table_is_made_with_fitting_types(tmp_path: Path) -> None:
    put(
        tmp_path,
        "tables/finds.jsonl",
        '{"query": 1, "label": "a", "hit": true, "neighbours": [3, 4], "near": [0.5, 1], "x": {"y": 1}}\n'
        '{"query": 2, "label": null, "similarity": 0.25, "neighbours": [], "order": "k", "none": null}\n',
    )
    assert finish(tmp_path) == ()
    table = database.query(tmp_path, "FROM finds ORDER BY query")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows == [
        {"run_id": ID, "query": 1, "label": "a", "hit": True, "neighbours": [3, 4], "near": [0.5, 1.0],
         "x": '{"y":1}', "similarity": None, "order": None},
        {"run_id": ID, "query": 2, "label": None, "hit": None, "neighbours": [], "near": None,
         "x": None, "similarity": 0.25, "order": "k"},
    ]  # fmt: skip


QUERY = '{"image": 3, "label": "a", "dropped": false, "first_hit": 2, "neighbours": [5, 1], '
QUERY += '"neighbour_labels": ["b", "a"], "similarities": [1, 0.5]}\n'


def test_queries_and_points_are_taken_over_with_their_types(tmp_path: Path) -> None:
    empty = '{"image": 4, "label": "b", "dropped": true, "neighbours": [], "similarities": []}\n'
    put(tmp_path, "tables/queries.jsonl", QUERY + empty)
    put(tmp_path, "tables/queries.jsonl", QUERY.replace("[1, 0.5]", "[1, 1]"), "other")
    put(tmp_path, "tables/projection.jsonl", '{"image": 3, "label": "a", "x": 1, "y": 0.5}\n')
    assert finish(tmp_path) == finish(tmp_path, "other") == ()
    rows = ask(
        tmp_path,
        "SELECT run_id, image, dropped, first_hit, neighbours, neighbour_labels, similarities, picture"
        " FROM queries ORDER BY run_id, image",
    )
    assert rows == [
        (ID, 3, False, 2, [5, 1], ["b", "a"], [1.0, 0.5], None),
        (ID, 4, True, None, [], None, [], None),
        ("other", 3, False, 2, [5, 1], ["b", "a"], [1.0, 1.0], None),
    ]
    assert ask(tmp_path, "FROM projection") == [(ID, 3, None, "a", 1.0, 0.5, None)]


def test_rows_that_are_taken_over_in_parts_are_all_there_and_replace_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload_files, "_MOST_WAITING", 1)
    events = {run_id: [start(RUN), done(val__nmi=0.5)] for run_id in "abc"}
    for times in (1, 2):
        for run_id in events:
            put(tmp_path, "tables/extra.jsonl", f'{{"x": {times}}}\n{{"x": 0.5}}\n', run_id)
        with database.connect(tmp_path, read_only=False) as con:
            con.execute("DELETE FROM run")
            assert ingest_all(con, tmp_path, events) == ()
        rows = ask(tmp_path, "SELECT run_id, x FROM extra ORDER BY ALL")
        assert rows == [(run_id, x) for run_id in "abc" for x in (0.5, float(times))]


def test_a_long_file_is_taken_over_in_parts_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload_files, "_MOST_WAITING", 2)
    values = ["1", "2", "0.5", '"text"', "null", "6", "7"]
    lines = [f'{{"place": {place}, "x": {x}}}\n' for place, x in enumerate(values)]
    put(tmp_path, "tables/extra.jsonl", "".join([*lines[:3], "torn\n", *lines[3:]]))
    put(tmp_path, "tables/queries.jsonl", 6 * QUERY + QUERY.replace("[5, 1]", '["5"]'))
    torn, unfit = finish(tmp_path)
    assert "extra.jsonl: 1 line(s) are not JSON objects" in torn
    assert "queries.jsonl: skipped: 'neighbours' holds VARCHAR[]" in unfit
    assert ask(tmp_path, "SELECT x FROM extra ORDER BY place") == [
        (None if x == "null" else x if "t" in x else str(float(x)) if "." in x else x,)
        for x in values
    ]
    assert ask(tmp_path, "FROM queries") == []


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a"), ("a", "b", "a")])
def test_types_widen_in_any_order(tmp_path: Path, order: Sequence[str]) -> None:
    put(tmp_path, "tables/extra.jsonl", '{"x": 1, "y": "one", "z": [1]}\n', "a")
    put(tmp_path, "tables/extra.jsonl", '{"x": 0.5, "y": 2, "z": "text", "new": true}\n', "b")
    for run_id in order:
        assert finish(tmp_path, run_id) == ()
    assert ask(tmp_path, "SELECT run_id, x, y, z, new FROM extra ORDER BY run_id") == [
        ("a", 1.0, '"one"', "[1]", None),
        ("b", 0.5, "2", '"text"', True),
    ]
    silent = "SELECT column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal"
    assert ask(tmp_path, silent) == []


@pytest.mark.parametrize("name", ["run", "summary", "meta", "Big", "1st", "a-b", "duckdb_views"])
def test_a_table_that_takes_a_used_or_odd_name_is_left_out_and_said_so(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path, f"tables/{name}.jsonl", '{"x": 1}\n')
    (notice,) = finish(tmp_path)
    assert f"{name}.jsonl: skipped: a table cannot be named" in notice
    assert ask(tmp_path, "SELECT state FROM run") == [("done",)]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("clusters", '{"epoch": 0, "cluster": 1}', "a row lacks 'size'"),
        ("clusters", CLUSTER.replace("30", '"many"'), "'size' holds VARCHAR"),
        ("clusters", CLUSTER.replace("30", "0.5"), "'size' holds DOUBLE"),
        ("queries", QUERY.replace('"a", "dropped"', '"a", "was"'), "a row lacks 'dropped'"),
        ("queries", QUERY.replace("[5, 1]", '["5"]'), "'neighbours' holds VARCHAR[]"),
        ("extra", '{"run_id": "mine"}', "cannot be named 'run_id'"),
        ("extra", '{"Odd name": 1}', "cannot be named 'Odd name'"),
    ],
)
def test_rows_that_do_not_fit_are_left_out_and_said_so(
    tmp_path: Path, name: str, line: str, message: str
) -> None:
    put(tmp_path, f"tables/{name}.jsonl", line + "\n")
    (notice,) = finish(tmp_path)
    assert message in notice
    assert ask(tmp_path, "SELECT state FROM run") == [("done",)]
    assert ask(tmp_path, "FROM clusters") == []


def test_torn_lines_and_non_finite_numbers_spoil_no_table(tmp_path: Path) -> None:
    put(
        tmp_path,
        "tables/extra.jsonl",
        '{"x": NaN, "y": 1}\n[1]\n\n{"x": 1e999, "y": 2}\n{"x": 0.5, "y"',
    )
    (notice,) = finish(tmp_path)
    assert "2 line(s) are not JSON objects" in notice
    assert ask(tmp_path, "SELECT y FROM extra ORDER BY y") == [(1,), (2,)]


def test_facts_are_kept_and_wrong_ones_said_so(tmp_path: Path) -> None:
    put(tmp_path, "facts.json", '{"device": "cpu", "images": 3}')
    put(tmp_path, "facts.json", "{", "other")
    assert finish(tmp_path) == ()
    (notice,) = finish(tmp_path, "other")
    assert "facts.json: skipped" in notice
    assert ask(tmp_path, "SELECT facts ->> 'device' FROM run ORDER BY facts IS NULL") == [
        ("cpu",),
        (None,),
    ]


def test_comparisons_follow_the_runs_of_a_study_whichever_study_trained_them(
    tmp_path: Path,
) -> None:
    trials = [TRIAL, a_trial(1)]
    write(tmp_path, trials, {0: [0.5, 0.6, 0.55], 1: [0.7, 0.6, 0.65]})
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("DELETE FROM comparison")
        refresh_comparisons_of_runs(con, ["f" * 16])
        assert con.execute("SELECT count(*) FROM comparison").fetchall() == [(0,)]
        refresh_comparisons_of_runs(con, [a_run(TRIAL, 0).run_id])
    assert ask(tmp_path, "SELECT DISTINCT trial_id, n FROM comparison") == [
        (a_trial(1).trial_id, 3)
    ]


def test_a_commit_that_finds_the_disk_full_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"results\.duckdb: .*No space left.*run the same command"),
        database.connect(tmp_path, read_only=False),
    ):
        raise duckdb.TransactionException("Failed to commit: No space left on device")
