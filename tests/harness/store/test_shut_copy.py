"""A shut copy has no test score of a study before its confirmation is done, in any place."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from driver_place import Place
from sealed_studies import OPEN, SEALED

from harness.errors import InputError
from harness.store.database import Table, connect, database_path, query, reading
from harness.store.shut_copy import make_shut_copy, rule_of


def copied(place: Place, name: str) -> tuple[Path, frozenset[str]]:
    folder = place.folder / name
    folder.mkdir()
    return folder, make_shut_copy(place.results, folder)


def tables(folder: Path) -> dict[str, Table]:
    """Every table, read over one connection, since opening takes longer than reading."""
    with reading(folder) as con:
        names = con.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
        return {name: _table(con, f'FROM "{name}" ORDER BY ALL') for (name,) in names}


def views(folder: Path, *names: str) -> dict[str, Table]:
    with reading(folder) as con:
        asked = "FROM {} WHERE study = 'sealed' ORDER BY ALL"
        return {name: _table(con, asked.format(name)) for name in names}


def _table(con: duckdb.DuckDBPyConnection, sql: str) -> Table:
    rows = con.execute(sql).fetchall()
    return Table(tuple(column[0] for column in con.description or ()), rows)


def interrupt_the_confirmation(place: Place) -> None:
    """Make one run of the confirmation look as if it were still running."""
    with connect(place.results, read_only=False) as con:
        con.execute(
            "UPDATE run SET state = 'running' WHERE run_id = (SELECT max(run_id) FROM run "
            "JOIN member USING (run_id) JOIN trial USING (trial_id) "
            "WHERE study = 'sealed' AND test)"
        )


@pytest.mark.timeout(60)
def test_nothing_of_a_run_that_may_see_the_test_is_there_until_all_have_ended(
    place: Place,
) -> None:
    place.run(SEALED)
    place.run(OPEN)
    whole = tables(place.results)
    interrupt_the_confirmation(place)
    folder, opened = copied(place, "shut")
    assert opened == frozenset()
    found = tables(folder)
    assert found["run"].rows
    with reading(folder) as con:
        told = con.execute("SELECT DISTINCT facts, message, stderr FROM run WHERE test").fetchall()
        assert told == [(None, None, None)]
        hidden = con.execute("SELECT run_id FROM run WHERE test").fetchall()
        seen = {run_id for (run_id,) in hidden}
        assert con.execute("SELECT DISTINCT study FROM results").fetchall() == [("sealed",)]
        compared = con.execute("SELECT DISTINCT study, split FROM comparisons").fetchall()
        assert compared == [("sealed", "val")]
        assert con.execute("SELECT verdict, n FROM claims").fetchall() == [("undecided", 0)]
        important = con.execute("SELECT * FROM importance WHERE study = 'plain'").fetchall()
        assert important == []
        statistics = str(con.execute("SELECT stats(recall) FROM recall").fetchall())
    for name, table in found.items():
        if name not in ("run", "member"):
            assert not seen.intersection(str(value) for row in table.rows for value in row), name
        if "split" in table.columns:
            assert {row[table.columns.index("split")] for row in table.rows} <= {"val", ""}, name
    assert len(found["recall"].rows) < len(whole["recall"].rows)
    # Not even as the largest value of a column, which DuckDB keeps.
    score = query(place.results, "SELECT max(recall) FROM recall WHERE split = 'test'").rows[0][0]
    assert str(score) not in statistics
    assert [path.name for path in folder.iterdir()] == ["results.duckdb"]


def test_a_confirmed_study_is_open_and_whole(place: Place) -> None:
    place.run(SEALED)
    place.run(OPEN)
    folder, opened = copied(place, "shut")
    assert opened == {"sealed"}
    names = ("results", "comparisons", "claims", "curves", "openings", "summary")
    assert views(folder, *names) == views(place.results, *names)
    assert query(folder, "SELECT DISTINCT study FROM results WHERE split = 'test'").rows == [
        ("sealed",)
    ]


def test_a_search_that_goes_on_shows_its_validation_scores(place: Place) -> None:
    place.run(SEALED.replace("claims", "budget: {hours: 9}\nclaims"))
    interrupt_the_confirmation(place)
    folder, _ = copied(place, "shut")
    asked = "FROM results WHERE phase = 'search' ORDER BY ALL"
    assert query(folder, asked).rows == query(place.results, asked).rows != []


def test_a_table_that_nothing_is_known_of_is_left_out(place: Place) -> None:
    place.run(OPEN)
    with connect(place.results, read_only=False) as con:
        con.execute("CREATE TABLE secret AS SELECT 0.75 AS best_test")
        con.execute("CREATE TABLE told AS SELECT 'plain' AS study, 0.75 AS best_test")
    folder, _ = copied(place, "shut")
    assert "secret" not in tables(folder)
    assert tables(folder)["told"].rows == []
    assert rule_of("folds", ["study", "split", "value"]) is not None


def test_the_copy_of_no_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    with pytest.raises(InputError, match="no results in"):
        make_shut_copy(tmp_path / "results", tmp_path / "shut")


def test_the_file_has_no_block_with_a_shut_score(place: Place) -> None:
    place.run(OPEN)
    folder, _ = copied(place, "shut")
    with duckdb.connect(str(database_path(folder)), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM recall").fetchone() == (0,)
        assert con.execute("SELECT count(*) FROM epoch").fetchone() == (0,)
