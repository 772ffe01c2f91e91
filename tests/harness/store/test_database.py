"""The database holds what was written once, in whatever pieces it came, and shares its file."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from store_examples import (
    ID,
    LIFE,
    RUN,
    TRIAL,
    a_record,
    a_run,
    a_trial,
    ask,
    done,
    everything,
    failed,
    held,
    ingest,
    ingest_into,
    reported,
    start,
    write,
)

from harness.errors import InputError, StoreBusyError, StoreDamagedError
from harness.records.events import Event, Finished
from harness.store import database, studies
from harness.store.tables.ingest import ingest_all, write_study


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished run; not to be written to."""
    results = tmp_path_factory.mktemp("one_run")
    write(results, [TRIAL], {0: [0.5]})
    return results


# Opening


def test_nothing_to_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results in .*none yet; run a study first"):
        database.query(tmp_path / "none", "SELECT 1")
    assert not (tmp_path / "none").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    for read_only in (True, False):
        with (
            pytest.raises(InputError, match="a file, not a results folder"),
            database.connect(tmp_path / "results", read_only=read_only),
        ):
            pass
    assert (tmp_path / "results").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "not a database", "x" * 10_000])
def test_a_file_that_is_no_database_is_one_line_and_stays(tmp_path: Path, text: str) -> None:
    database.database_path(tmp_path).write_text(text)
    for read_only in (True, False):
        with (
            pytest.raises(
                StoreDamagedError, match="damaged: it is not a DuckDB database; `"
            ) as caught,
            database.connect(tmp_path, read_only=read_only),
        ):
            pass
        assert "\n" not in str(caught.value)
    assert database.database_path(tmp_path).read_text() == text


def test_what_a_block_wrote_is_undone_by_an_exception(tmp_path: Path) -> None:
    def stop_halfway() -> None:
        with database.connect(tmp_path, read_only=False) as con:
            write_study(con, a_record([TRIAL], [0]))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_halfway()
    assert ask(tmp_path, "FROM study") == []


def test_a_copy_of_the_file_is_whole(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    (tmp_path / "copy").mkdir()
    shutil.copy(database.database_path(tmp_path), database.database_path(tmp_path / "copy"))
    assert everything(tmp_path / "copy") == everything(tmp_path)
    assert [path.name for path in tmp_path.glob("*.wal")] == []


@pytest.mark.process
@pytest.mark.parametrize("mode", ["write", "read"])
def test_the_holder_is_named_when_the_wait_is_over(tmp_path: Path, mode: str) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    said: list[str] = []
    with (
        held(tmp_path, mode) as other,
        pytest.raises(StoreBusyError, match=rf"in use by .*\b{other.pid}\b") as caught,
        database.connect(tmp_path, read_only=False, wait_s=0.1, on_wait=said.append),
    ):
        pass
    assert "python" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(said) == 1
    assert str(other.pid) in said[0]


@pytest.mark.process
def test_a_reader_waits_until_the_writer_is_done(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL], {0: [0.5]})
    said = []
    with held(tmp_path) as other:

        def let_go(sentence: str) -> None:
            said.append(sentence)
            other.communicate()

        assert database.query(tmp_path, "SELECT 7", wait_s=10, on_wait=let_go).rows == [(7,)]
    assert len(said) == 1


@pytest.mark.process
def test_many_read_at_once_without_a_wait(one_run: Path) -> None:
    with held(one_run, "read"):
        assert database.query(one_run, "SELECT 7", wait_s=0).rows == [(7,)]


def test_a_database_open_in_this_process_is_busy_too(tmp_path: Path) -> None:
    with (
        database.connect(tmp_path, read_only=False),
        pytest.raises(StoreBusyError, match="this process"),
    ):
        database.query(tmp_path, "SELECT 1", wait_s=0)


# Asking


def test_an_answer_has_names_and_plain_values(one_run: Path) -> None:
    answer = database.query(one_run, "SELECT study, k, mean FROM summary WHERE k = $k", {"k": 1})
    assert answer == (("study", "k", "mean"), [("s", 1, 0.5)])
    assert database.query(one_run, "SELECT ? + ?", [1, 2]).rows == [(3,)]


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
        database.query(one_run, sql)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ask(one_run, "SELECT count(*) FROM run") == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT 1; SELECT * FROM read_parquet('{folder}/secret.csv')",
        "SELECT * FROM read_csv('https://localhost/secret.csv')",
        "SELECT * FROM sqlite_scan('{folder}/secret.csv', 'x')",
        "COPY (SELECT 1) TO '{folder}/stolen.csv'",
        "COPY run FROM '{folder}/secret.csv'",
        "EXPORT DATABASE '{folder}/stolen'",
        "ATTACH '{folder}/stolen.duckdb'",
        "ATTACH 'https://localhost/other.duckdb'",
        "ATTACH ':memory:' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET autoload_known_extensions = true",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
        "INSERT INTO run SELECT * FROM run",
    ],
)
def test_sql_reaches_no_file_no_network_no_extension_and_no_setting(
    one_run: Path, tmp_path_factory: pytest.TempPathFactory, sql: str
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "secret.csv").write_text("secret\n")
    with pytest.raises(InputError) as caught:
        database.query(one_run, sql.format(folder=folder))
    message = str(caught.value)
    assert message.startswith("SQL: a query can only read the database: ")
    assert "\n" not in message
    assert [path.name for path in folder.iterdir()] == ["secret.csv"]


def test_sql_does_not_see_the_variables_of_the_program(one_run: Path) -> None:
    rows = database.query(one_run, "SELECT 1 AS x")
    assert rows.rows == [(1,)]
    with pytest.raises(InputError, match="rows does not exist"):
        database.query(one_run, "SELECT * FROM rows")


def test_studies_are_listed_with_their_counts(tmp_path: Path) -> None:
    write(tmp_path, [TRIAL, a_trial(1)], {0: [0.5, 0.6], 1: [0.1]})
    write(tmp_path, [a_trial(0, study="a")], {0: [0.5]})
    run = a_run(a_trial(1), 1)
    ingest(tmp_path, start(run), failed(), run_id=run.run_id)
    with database.connect(tmp_path, read_only=True) as con:
        lines = studies.list_studies(con)
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
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([TRIAL], [0, 1]))
        write_study(con, a_record([TRIAL], [0, 1, 2]))
    assert ask(tmp_path, "SELECT count(*) FROM member") == [(3,)]


def test_a_run_can_serve_two_studies(tmp_path: Path) -> None:
    record = a_record([TRIAL], [0])
    twin = a_record([a_trial(0, "baseline", study="twin")], [0])
    assert twin.members[0].run_id == record.members[0].run_id
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, record)
        write_study(con, twin)
        ingest_into(con, tmp_path, ID, [start(RUN), done(test__recall_at_1=0.5)])
    assert ask(tmp_path, "SELECT study, mean FROM trials") == [("s", 0.5), ("twin", 0.5)]


# Runs


def test_a_run_row_tells_what_was_run_and_how_it_went(tmp_path: Path) -> None:
    ingest(tmp_path, start(RUN), reported(0), done(val__recall_at_1=0.5))
    table = database.query(tmp_path, "FROM run")
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
        with database.connect(tmp_path, read_only=False) as con:
            for events in rounds:
                ingest_all(con, tmp_path, events)
    else:
        for events in rounds:
            with database.connect(tmp_path, read_only=False) as con:
                ingest_all(con, tmp_path, events)
    for table in ("run", "epoch", "recall", "score"):
        rows: dict[str, list[object]] = {}
        for run_id, *row in ask(tmp_path, f"FROM {table} ORDER BY ALL"):
            rows.setdefault(str(run_id), []).append(row)
        assert len(rows) == 1 + 2 * len(cuts)
        assert all(found == rows["one"] for found in rows.values()), table


def test_each_event_by_itself_is_the_same_as_in_one_go(tmp_path: Path) -> None:
    ingest(tmp_path, *LIFE, run_id="one")
    with database.connect(tmp_path, read_only=False) as con:
        for event in LIFE:
            ingest_into(con, tmp_path, "single", [event])
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


def test_what_follows_the_end_of_a_pruned_attempt_changes_nothing(tmp_path: Path) -> None:
    end = Finished(1, "2026-03-01T12:00:00+00:00", "pruned", message="too low")
    ingest(tmp_path, start(RUN), reported(0), end)
    before = everything(tmp_path)
    ingest(tmp_path, reported(1), done())
    assert everything(tmp_path) == before
    assert ask(tmp_path, "SELECT state, failure, message FROM run") == [("pruned", None, "too low")]


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
