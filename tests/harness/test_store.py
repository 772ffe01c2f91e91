"""The database holds what was written once, in whatever pieces it came, and shares its file."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from store_examples import a_record, a_run, a_trial, ask, done, failed, reported, start, write

from harness import store
from harness.errors import InputError, StoreBusyError, StoreError
from harness.events import Event, Finished
from harness.spool import append, run_dir, spool_path, work_dir, write_study_record

TRIAL = a_trial(0, "baseline")
RUN = a_run(TRIAL, 0)
ID = RUN.run_id


def ingest(results: Path, *events: Event, run_id: str = ID) -> tuple[str, ...]:
    with store.connect(results, read_only=False) as con:
        return store.ingest(con, results, run_id, events)


def everything(results: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table and view, columns by name and rows in a fixed order."""
    content = {}
    with store.connect(results, read_only=True) as con:
        names = con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name <> 't_quantile' UNION ALL "
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        for (name,) in names:
            found = con.execute(f'FROM "{name}"')
            columns = [column[0] for column in found.description]
            order = sorted(range(len(columns)), key=lambda i: columns[i])
            rows = [tuple(row[i] for i in order) for row in found.fetchall()]
            content[name] = [tuple(sorted(columns)), *sorted(rows, key=repr)]
    return content


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished run; not to be written to."""
    results = tmp_path_factory.mktemp("one_run")
    write(results, [TRIAL], {0: [0.5]})
    return results


HOLDER = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(results: Path, mode: str = "write") -> Iterator[subprocess.Popen[str]]:
    """Another process has the database open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.database_path(results)), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    try:
        yield process
    finally:
        process.communicate()


# Opening


def test_nothing_to_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results in .*none yet; run a study first"):
        store.query(tmp_path / "none", "SELECT 1")
    assert not (tmp_path / "none").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    for read_only in (True, False):
        with (
            pytest.raises(InputError, match="a file, not a results folder"),
            store.connect(tmp_path / "results", read_only=read_only),
        ):
            pass
    assert (tmp_path / "results").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "not a database", "x" * 10_000])
def test_a_file_that_is_no_database_is_one_line_and_stays(tmp_path: Path, text: str) -> None:
    store.database_path(tmp_path).write_text(text)
    for read_only in (True, False):
        with (
            pytest.raises(StoreError, match="not a DuckDB database; move it away") as caught,
            store.connect(tmp_path, read_only=read_only),
        ):
            pass
        assert "\n" not in str(caught.value)
    assert store.database_path(tmp_path).read_text() == text


def test_what_a_block_wrote_is_undone_by_an_exception(tmp_path: Path) -> None:
    def stop_halfway() -> None:
        with store.connect(tmp_path, read_only=False) as con:
            store.write_study(con, a_record([TRIAL], [0]))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_halfway()
    assert ask(tmp_path, "FROM study") == []


def test_a_copy_of_the_file_is_whole(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    (tmp_path / "copy").mkdir()
    shutil.copy(store.database_path(tmp_path), store.database_path(tmp_path / "copy"))
    assert everything(tmp_path / "copy") == everything(tmp_path)
    assert [path.name for path in tmp_path.glob("*.wal")] == []


@pytest.mark.parametrize("mode", ["write", "read"])
def test_the_holder_is_named_when_the_wait_is_over(tmp_path: Path, mode: str) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    said: list[str] = []
    with (
        held(tmp_path, mode) as other,
        pytest.raises(StoreBusyError, match=rf"in use by .*\b{other.pid}\b") as caught,
        store.connect(tmp_path, read_only=False, wait_s=0.1, on_wait=said.append),
    ):
        pass
    assert "python" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(said) == 1
    assert str(other.pid) in said[0]


def test_a_reader_waits_until_the_writer_is_done(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    said = []
    with held(tmp_path) as other:

        def let_go(sentence: str) -> None:
            said.append(sentence)
            other.communicate()

        assert store.query(tmp_path, "SELECT 7", wait_s=10, on_wait=let_go).rows == [(7,)]
    assert len(said) == 1


def test_many_read_at_once_without_a_wait(one_run: Path) -> None:
    with held(one_run, "read"):
        assert store.query(one_run, "SELECT 7", wait_s=0).rows == [(7,)]


def test_a_database_open_in_this_process_is_busy_too(tmp_path: Path) -> None:
    with (
        store.connect(tmp_path, read_only=False),
        pytest.raises(StoreBusyError, match="this process"),
    ):
        store.query(tmp_path, "SELECT 1", wait_s=0)


# Asking


def test_an_answer_has_names_and_plain_values(one_run: Path) -> None:
    answer = store.query(one_run, "SELECT study, k, mean FROM summary WHERE k = $k", {"k": 1})
    assert answer == (("study", "k", "mean"), [("s", 1, 0.5)])
    assert store.query(one_run, "SELECT ? + ?", [1, 2]).rows == [(3,)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("FROM sumary", 'sumary does not exist! Did you mean "summary"'),
        ("DELETE FROM run", "read-only mode"),
        ("CREATE TABLE t (x INTEGER)", "read-only mode"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("COPY run TO 'stolen.csv'", "disabled by configuration"),
        ("ATTACH 'other.duckdb'", "disabled by configuration"),
        ("SET enable_external_access = true", "configuration"),
        ("SELECT 'a'::INTEGER", "Could not convert"),
        ("SELECT $1", "parameter"),
    ],
)
def test_wrong_sql_is_one_line_and_changes_nothing(one_run: Path, sql: str, message: str) -> None:
    with pytest.raises(InputError, match=r"^SQL: ") as caught:
        store.query(one_run, sql)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ask(one_run, "SELECT count(*) FROM run") == [(1,)]


def test_studies_are_listed_with_their_counts(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL, a_trial(1)], {0: [0.5, 0.6], 1: [0.1]})
    write(tmp_path, [a_trial(0, study="a")], {0: [0.5]})
    run = a_run(a_trial(1), 1)
    ingest(tmp_path, start(run), failed(), run_id=run.run_id)
    with store.connect(tmp_path, read_only=True) as con:
        lines = store.list_studies(con)
    assert [(line.study, line.trials, line.runs, line.done, line.failed) for line in lines] == [
        ("a", 1, 1, 1, 0),
        ("s", 2, 4, 3, 1),
    ]
    assert lines[0].updated.isoformat() == "2026-03-01T12:00:00.250000"


# Studies


def test_a_study_that_shrank_leaves_no_trials_behind(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL, a_trial(1)], {0: [0.5, 0.6], 1: [0.5, 0.6]})
    write(tmp_path, [TRIAL], {0: [0.5]})
    write(tmp_path, [a_trial(5, study="other")], {5: [0.5]})
    assert ask(tmp_path, "SELECT trial, seeds_planned FROM trials WHERE study = 's'") == [
        ("m=0", 1)
    ]
    assert ask(tmp_path, "SELECT count(*) FROM member") == [(2,)]
    assert ask(tmp_path, "FROM comparisons") == []


def test_writing_a_study_twice_in_a_transaction_is_harmless(tmp_path: Path) -> None:
    with store.connect(tmp_path, read_only=False) as con:
        store.write_study(con, a_record([TRIAL], [0, 1]))
        store.write_study(con, a_record([TRIAL], [0, 1, 2]))
    assert ask(tmp_path, "SELECT count(*) FROM member") == [(3,)]


def test_a_run_can_serve_two_studies(tmp_path: Path) -> None:
    record = a_record([TRIAL], [0])
    twin = a_record([a_trial(0, "baseline", study="twin")], [0])
    assert twin.members[0].run_id == record.members[0].run_id
    with store.connect(tmp_path, read_only=False) as con:
        store.write_study(con, record)
        store.write_study(con, twin)
        store.ingest(con, tmp_path, ID, [start(RUN), done(test__recall_at_1=0.5)])
    assert ask(tmp_path, "SELECT study, mean FROM trials") == [("s", 0.5), ("twin", 0.5)]


# Runs


def test_a_run_row_tells_what_was_run_and_how_it_went(tmp_path: Path) -> None:
    ingest(tmp_path, start(RUN), reported(0), done(val__recall_at_1=0.5))
    table = store.query(tmp_path, "FROM run")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["run_id"], row["workload"], row["seed"], row["test"]) == (ID, "toy", 0, True)
    assert (row["state"], row["failure"], row["attempts"]) == ("done", None, 1)
    assert (row["seconds"], row["peak_mib"], row["threads"]) == (2.5, 100.0, 2)
    assert (row["git_commit"], row["dirty"], row["code"], row["data"]) == (
        "abc",
        False,
        "code",
        "data",
    )
    assert str(row["started"]) == "2026-03-01 12:00:00.250000"
    assert row["versions"] == '{"numpy":"2"}'


def test_results_go_where_they_belong(tmp_path: Path) -> None:
    results = {
        "val/recall@1": 0.5, "val/recall@10": 0.75, "val/queries": 90.0, "val/dropped": 10.0,
        "test/recall@1": 0.25, "val/nmi": 0.1, "map@r": 0.2, "last/test/recall@1": 0.3,
        "other/queries": 5.0, "val/recall@1x": 0.4,
    }  # fmt: skip
    ingest(tmp_path, start(RUN), Finished(1, "2026-03-01T12:00:00+00:00", "done", results=results))
    assert ask(tmp_path, "SELECT * EXCLUDE (run_id) FROM recall ORDER BY ALL") == [
        ("last/test", 1, 0.3, None, None),
        ("test", 1, 0.25, None, None),
        ("val", 1, 0.5, 90, 10),
        ("val", 10, 0.75, 90, 10),
    ]
    assert ask(tmp_path, "SELECT * EXCLUDE (run_id) FROM score ORDER BY ALL") == [
        ("", "map@r", 0.2),
        ("other", "queries", 5.0),
        ("val", "nmi", 0.1),
        ("val", "recall@1x", 0.4),
    ]


def test_non_finite_numbers_never_enter(tmp_path: Path) -> None:
    ingest(
        tmp_path,
        start(RUN),
        reported(0, loss=math.nan, rate=0.1),
        reported(1, loss=math.inf, rate=0.2),
        done(val__recall_at_1=math.nan, val__nmi=-math.inf, val__ami=0.5),
    )
    assert ask(tmp_path, "SELECT epoch, name, value FROM epoch ORDER BY ALL") == [
        (0, "rate", 0.1),
        (1, "rate", 0.2),
    ]
    assert ask(tmp_path, "FROM recall") == []
    assert ask(tmp_path, "SELECT name, value FROM score") == [("ami", 0.5)]


def test_numbers_keep_every_bit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    ingest(tmp_path, start(RUN), *[reported(i, loss=value) for i, value in enumerate(values)])
    found = [row[0] for row in ask(tmp_path, "SELECT value FROM epoch ORDER BY epoch")]
    assert [float(str(value)).hex() for value in found] == [value.hex() for value in values]


LIFE: list[Event] = [
    start(RUN),
    reported(0, loss=1.0),
    reported(1, loss=0.9),
    reported(2, loss=0.8),
    failed("oom"),
    start(RUN, 2),
    reported(1, 2, loss=0.7),
    reported(2, 2, loss=0.6),
    done(2, test__recall_at_1=0.5, val__recall_at_1=0.4, val__nmi=0.3),
]


def test_an_attempt_replaces_the_epochs_it_repeats_and_keeps_those_before(tmp_path: Path) -> None:
    ingest(tmp_path, *LIFE)
    assert ask(tmp_path, "SELECT epoch, value, attempt FROM epoch ORDER BY epoch") == [
        (0, 1.0, 1),
        (1, 0.7, 2),
        (2, 0.6, 2),
    ]


def test_an_attempt_from_the_start_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    ingest(tmp_path, start(RUN), *[reported(i, loss=1.0, old=1.0) for i in range(5)])
    ingest(tmp_path, start(RUN, 2), reported(0, 2, loss=0.5))
    assert ask(tmp_path, "SELECT epoch, name, value FROM epoch") == [(0, "loss", 0.5)]


@pytest.mark.parametrize("is_one_transaction", [False, True])
def test_in_pieces_and_again_is_the_same_as_in_one_go(
    tmp_path: Path, is_one_transaction: bool
) -> None:
    cuts = range(len(LIFE) + 1)
    rounds: list[dict[str, list[Event]]] = [
        {f"piece {cut}": LIFE[:cut] for cut in cuts} | {f"again {cut}": LIFE[:cut] for cut in cuts},
        {f"piece {cut}": LIFE[cut:] for cut in cuts} | {f"again {cut}": LIFE for cut in cuts},
        {f"again {cut}": LIFE[:cut] for cut in cuts} | {"one": LIFE},
    ]
    if is_one_transaction:
        with store.connect(tmp_path, read_only=False) as con:
            for events in rounds:
                store.ingest_all(con, tmp_path, events)
    else:
        for events in rounds:
            with store.connect(tmp_path, read_only=False) as con:
                store.ingest_all(con, tmp_path, events)
    for table in ("run", "epoch", "recall", "score"):
        rows: dict[str, list[object]] = {}
        for run_id, *row in ask(tmp_path, f"FROM {table} ORDER BY ALL"):
            rows.setdefault(str(run_id), []).append(row)
        assert len(rows) == 1 + 2 * len(cuts)
        assert all(found == rows["one"] for found in rows.values()), table


def test_each_event_by_itself_is_the_same_as_in_one_go(tmp_path: Path) -> None:
    ingest(tmp_path, *LIFE, run_id="one")
    with store.connect(tmp_path, read_only=False) as con:
        for event in LIFE:
            store.ingest(con, tmp_path, "single", [event])
    for table in ("run", "epoch", "recall", "score"):
        columns = "* EXCLUDE (run_id)"
        assert ask(
            tmp_path, f"SELECT {columns} FROM {table} WHERE run_id = 'one' ORDER BY ALL"
        ) == ask(tmp_path, f"SELECT {columns} FROM {table} WHERE run_id = 'single' ORDER BY ALL")


@pytest.mark.parametrize("life", [LIFE, LIFE[:-1]], ids=["over", "running"])
def test_a_worker_that_was_given_up_changes_nothing(tmp_path: Path, life: list[Event]) -> None:
    ingest(tmp_path, *life)
    before = everything(tmp_path)
    ingest(tmp_path, reported(7), done(1, val__nmi=0.9), failed(), start(RUN))
    assert everything(tmp_path) == before


def test_what_follows_the_end_of_an_attempt_changes_nothing(tmp_path: Path) -> None:
    ingest(tmp_path, *LIFE)
    before = everything(tmp_path)
    ingest(tmp_path, reported(8, 2), failed(attempt=2), start(RUN, 2))
    assert everything(tmp_path) == before


def test_an_end_without_a_start_is_left_out_and_said_so(tmp_path: Path) -> None:
    (notice,) = ingest(tmp_path, failed("crash"))
    assert ID in notice
    assert ask(tmp_path, "FROM run") == []


def test_a_second_attempt_that_dies_before_its_start_is_a_failure(tmp_path: Path) -> None:
    ingest(tmp_path, start(RUN), failed("oom"))
    assert ingest(tmp_path, failed("crash", attempt=2)) == ()
    assert ask(tmp_path, "SELECT state, failure, attempts FROM run") == [("failed", "crash", 2)]


def test_text_that_is_not_unicode_is_stored_all_the_same(tmp_path: Path) -> None:
    odd = Finished(
        1, "2026-03-01T12:00:00+00:00", "failed", "crash", 'a\udcff"\\', stderr="\x00\U0001f600\n"
    )
    ingest(tmp_path, start(RUN), odd)
    assert ask(tmp_path, "SELECT message, stderr FROM run") == [('a?"\\', "\x00\U0001f600\n")]


# Files of the workload


def put(results: Path, name: str, text: str, run_id: str = ID) -> None:
    path = work_dir(run_dir(results, run_id)) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def finish(results: Path, run_id: str = ID) -> tuple[str, ...]:
    return ingest(results, start(RUN), done(val__nmi=0.5), run_id=run_id)


CLUSTER = '{"epoch": 0, "cluster": 1, "size": 30, "purity": 0.5, "group": null}\n'


def test_clusters_are_taken_over_with_the_run_in_front(tmp_path: Path) -> None:
    put(tmp_path, "tables/clusters.jsonl", CLUSTER + '{"epoch":0,"cluster":2,"size":9,"group":3}\n')
    assert finish(tmp_path) == ()
    assert ask(tmp_path, "FROM clusters ORDER BY cluster") == [
        (ID, 0, 1, 30, 0.5, None),
        (ID, 0, 2, 9, None, 3),
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
        "tables/queries.jsonl",
        '{"query": 1, "label": "a", "hit": true, "neighbours": [3, 4], "near": [0.5, 1], "x": {"y": 1}}\n'
        '{"query": 2, "label": null, "similarity": 0.25, "neighbours": [], "order": "k", "none": null}\n',
    )
    assert finish(tmp_path) == ()
    table = store.query(tmp_path, "FROM queries ORDER BY query")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows == [
        {"run_id": ID, "query": 1, "label": "a", "hit": True, "neighbours": [3, 4], "near": [0.5, 1.0],
         "x": '{"y":1}', "similarity": None, "order": None},
        {"run_id": ID, "query": 2, "label": None, "hit": None, "neighbours": [], "near": None,
         "x": None, "similarity": 0.25, "order": "k"},
    ]  # fmt: skip


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
    assert "2 line(s) are no JSON object" in notice
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
    with store.connect(tmp_path, read_only=False) as con:
        con.execute("DELETE FROM comparison")
        store.refresh_comparisons_of_runs(con, ["f" * 16])
        assert con.execute("SELECT count(*) FROM comparison").fetchall() == [(0,)]
        store.refresh_comparisons_of_runs(con, [a_run(TRIAL, 0).run_id])
    assert ask(tmp_path, "SELECT DISTINCT trial_id, n FROM comparison") == [
        (a_trial(1).trial_id, 3)
    ]


def test_a_commit_that_finds_the_disk_full_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"results\.duckdb: .*No space left.*run the same command"),
        store.connect(tmp_path, read_only=False),
    ):
        raise duckdb.TransactionException("Failed to commit: No space left on device")


# Making it anew


def a_full_folder(results: Path) -> None:
    """Two studies, runs in all states, retried runs and workload tables, ingested piece by piece."""
    trials = [TRIAL, a_trial(1), a_trial(2, "control")]
    write(results, trials, {0: [0.5, 0.6, 0.55], 1: [0.7, 0.6, 0.65], 2: [0.1, 0.1, 0.1]})
    write(results, [a_trial(0, "baseline", "search", "t")], {0: [0.3, 0.35]}, metric="map@r")
    more = a_trial(9, study="u")
    record = a_record([more], range(4))
    write_study_record(results, record)
    lives: list[list[Event]] = [
        [LIFE[0], *LIFE[1:]],
        [start(a_run(more, 1)), reported(0), failed("diverged")],
        [start(a_run(more, 2)), reported(0)],
    ]
    for seed, life in enumerate(lives):
        run_id = a_run(more, seed).run_id
        put(results, "tables/clusters.jsonl", CLUSTER, run_id)
        put(results, "tables/queries.jsonl", f'{{"query": {seed}, "near": [{seed / 2}]}}\n', run_id)
        put(results, "facts.json", '{"device": "cpu"}', run_id)
        for event in life:
            append(spool_path(run_dir(results, run_id)), event)
            ingest(results, event, run_id=run_id)
    with store.connect(results, read_only=False) as con:
        store.write_study(con, record)
        store.refresh_comparisons(con, "u")


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied by each test: it takes many synced writes."""
    results = tmp_path_factory.mktemp("full") / "results"
    a_full_folder(results)
    return results


@pytest.fixture
def full(full_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(full_folder, tmp_path / "results")


def test_a_rebuilt_database_equals_the_one_built_along_the_way(full: Path) -> None:
    before = everything(full)
    assert len(before["comparison"]) == 1 + 2 * 2
    for missing in (False, True):
        if missing:
            store.database_path(full).unlink()
        assert store.rebuild(full) == (3, 14, ())
        assert everything(full) == before
    assert sorted(path.name for path in full.iterdir()) == ["results.duckdb", "runs", "studies"]


def test_a_rebuild_replaces_a_damaged_or_newer_file_and_its_log(full: Path) -> None:
    before = everything(full)
    store.database_path(full).write_text("damaged")
    (full / "results.duckdb.wal").write_text("old log")
    (full / ".rebuild").mkdir()
    (full / ".rebuild" / "results.duckdb").write_text("left by a crash")
    store.rebuild(full)
    assert everything(full) == before
    with duckdb.connect(str(store.database_path(full))) as con:
        con.execute("UPDATE meta SET value = '99'")
    store.rebuild(full)
    assert everything(full) == before


def test_a_rebuild_that_fails_leaves_the_old_database(full: Path) -> None:
    before = everything(full)
    (full / "studies" / "broken.json").write_text("{")
    with pytest.raises(StoreError, match=r"broken\.json"):
        store.rebuild(full)
    assert everything(full) == before


def test_a_rebuild_waits_for_who_is_at_work(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    with held(tmp_path), pytest.raises(StoreBusyError, match="in use"):
        store.rebuild(tmp_path)


def test_a_rebuild_needs_something_to_build_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results in"):
        store.rebuild(tmp_path)
    assert not store.database_path(tmp_path).exists()
