"""A damaged database is reported as damaged, never as busy, and is rebuilt from the spools."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import toy_workload
from driver_place import GRID, RECALL, Place, Witness
from store_examples import TRIAL, ask, damage_rows, everything, held, write

import harness
from harness.engine.database_repair import rebuild_results
from harness.errors import InputError, StoreBusyError, StoreDamagedError, StoreError
from harness.store import database, rebuild
from harness.store.database_file import damage
from harness.store.results_lock import sharing


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50_000])


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "notes").touch()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped header": (lambda path: flip(path, 4100), "Corrupt database file"),
    "a zeroed block": (
        lambda path: path.write_bytes(path.read_bytes()[:12_288].ljust(path.stat().st_size, b"\0")),
        "Corrupt database file",
    ),
    "a cut file": (cut, "it is cut short"),
    "an empty file": (lambda path: path.write_bytes(b""), "it is not a DuckDB database"),
    "another file": (lambda path: path.write_text("notes" * 999), "it is not a DuckDB database"),
    "a folder": (put_a_folder, "it is a folder"),
    "a folder for the log": (
        lambda path: path.with_name("results.duckdb.wal").mkdir(),
        "its log (.wal) cannot be applied",
    ),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    return Place(tmp_path)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write(tmp_path / "results", [TRIAL], {0: [0.5, 0.6]})
    return tmp_path / "results"


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_to_whoever_opens_the_file_and_a_rebuild_mends_it(
    results: Path, name: str
) -> None:
    before = everything(results)
    spoil, reason = DAMAGES[name]
    path = database.database_path(results)
    spoil(path)
    for read_only in (True, False):
        with (
            pytest.raises(StoreDamagedError) as caught,
            database.connect(results, read_only=read_only),
        ):
            pass
        said = str(caught.value)
        assert said.startswith(f"{path}: the database is damaged: ")
        assert reason in said
        assert f"`harness rebuild --results {results}`" in said
        assert "\n" not in said
    (notice,) = rebuild.rebuild(results).notices
    (aside,) = results.glob("results.duckdb.damaged-*[0-9]")  # of a log alone the file is whole
    assert aside.name in notice
    assert everything(results) == before
    assert len(list(results.glob("*.wal"))) == (name == "a folder for the log")


def test_damage_that_a_query_finds_is_no_wrong_sql(results: Path) -> None:
    damage_rows(results, "recall")
    with pytest.raises(StoreDamagedError, match=r"results\.duckdb: the database is damaged: Corr"):
        ask(results, "FROM recall")
    assert ask(results, "SELECT 7") == [(7,)]
    with pytest.raises(InputError, match=r"^SQL: Invalid Input Error: Corrupt database"):
        ask(results, "SELECT error('Corrupt database file: a checksum does not match')")
    with pytest.raises(StoreDamagedError, match="`harness rebuild"):
        harness.load(results).query("FROM recall")


def test_the_log_of_another_database_is_not_applied(results: Path, tmp_path: Path) -> None:
    other = database.database_path(tmp_path / "other")
    other.parent.mkdir()
    duckdb.connect(str(other)).close()  # no copy: these are one database to DuckDB
    write(other.parent, [TRIAL], {0: [0.9, 0.9]})
    con = duckdb.connect(str(other))
    con.execute("UPDATE score SET value = 0.1")
    log = other.with_name("results.duckdb.wal")
    before = everything(results)
    shutil.copy(log, results / log.name)
    con.close()
    with pytest.raises(StoreDamagedError, match=r"its log \(\.wal\) cannot be applied"):
        ask(results, "FROM score")
    rebuild.rebuild(results)
    assert everything(results) == before


def test_damaged_files_are_kept_under_names_of_their_own(results: Path) -> None:
    before = everything(results)
    for text in ("one", "two", "three"):
        database.database_path(results).write_text(text)
        rebuild.rebuild(results)
    kept = [path.read_text() for path in results.glob("results.duckdb.damaged-*")]
    assert sorted(kept) == ["one", "three", "two"]
    damage_rows(results, "recall")
    rebuild.rebuild(results)
    assert len(list(results.glob("results.duckdb.damaged-*"))) == 4
    assert everything(results) == before


def test_a_damaged_database_without_any_spools_is_no_dead_end(tmp_path: Path) -> None:
    database.database_path(tmp_path).write_text("notes")
    assert rebuild.rebuild(tmp_path)[:2] == (0, 0)
    assert ask(tmp_path, "FROM run") == []


def test_a_whole_database_without_spools_is_not_replaced_by_nothing(tmp_path: Path) -> None:
    with database.connect(tmp_path, read_only=False):
        pass
    with pytest.raises(InputError, match="no results in"):
        rebuild.rebuild(tmp_path)


@pytest.mark.process
def test_who_holds_a_damaged_file_is_still_its_holder(results: Path) -> None:
    with held(results):
        cut(database.database_path(results))
        with pytest.raises(StoreBusyError, match="in use by"):
            database.query(results, "FROM run", wait_s=0)
        with pytest.raises(StoreBusyError, match="in use by"):
            rebuild.rebuild(results)


@pytest.mark.parametrize(
    ("error", "is_damage"),
    [
        (duckdb.IOException('IO Error: Cannot open file "corrupt": Permission denied'), False),
        (duckdb.FatalException("FATAL Error: checkpoint failed: No space left on device"), False),
        (duckdb.FatalException("FATAL Error: Corrupt database file: a checksum"), True),
        (duckdb.TransactionException("Failed to commit: Corrupt database file"), True),
        (duckdb.InvalidInputException("Corrupt database file"), False),
    ],
)
def test_a_path_a_full_disk_or_a_word_of_the_query_is_no_damage(
    error: duckdb.Error, is_damage: bool
) -> None:
    assert (damage(Path("results.duckdb"), error) is not None) == is_damage


# A study


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two small studies, to copy."""
    place = Place(tmp_path_factory.mktemp("two"))
    place.run()
    place.run(GRID.replace("study: quality", "study: other"))
    return place.results


@pytest.mark.parametrize("name", DAMAGES)
def test_a_study_that_is_alone_makes_a_damaged_database_anew_and_says_so(
    two_studies: Path, place: Place, name: str
) -> None:
    before = everything(two_studies)
    shutil.copytree(two_studies, place.results)
    DAMAGES[name][0](database.database_path(place.results))
    witness = Witness()
    assert place.run(watcher=witness).trained == 0
    assert place.calls() == 0
    assert any("the database is damaged" in text for text in witness.said)
    assert any("rebuilt from 2 studies and 8 runs" in text for text in witness.said)
    after = everything(place.results)
    assert [after[view] for view in ("recall", "run", "trials")] == [
        before[view] for view in ("recall", "run", "trials")
    ]


@pytest.mark.process
def test_beside_other_drivers_a_study_names_them_and_stops(place: Place) -> None:
    place.have_run()
    cut(database.database_path(place.results))
    code = (
        "import sys, pathlib; from harness.store.results_lock import sharing; from harness.engine.dispatch.leases import Leases\n"
        "results = pathlib.Path(sys.argv[1])\n"
        "with sharing(results), Leases(results) as leases:\n"
        "    leases.claim('other'); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(place.results)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StoreError, match=rf"damaged.*no result is lost.*\b{other.pid}\b"):
            place.run()
        with pytest.raises(InputError, match="is writing"):
            rebuild_results(place.results, on_wait=pytest.fail)
        other.communicate()
    assert database.database_path(place.results).stat().st_size == 50_000
    assert place.run().trained == 0


def test_with_a_driver_that_trains_nothing_a_study_stops_too(place: Place) -> None:
    place.have_run()
    cut(database.database_path(place.results))
    with sharing(place.results), pytest.raises(StoreError, match=r"\(another process\)"):
        place.run()


@pytest.mark.parametrize("spoil", [cut, lambda path: damage_rows(path.parent, "recall")])
def test_damage_in_the_middle_of_a_study_costs_no_result(
    place: Place, spoil: Callable[[Path], object]
) -> None:
    whole = place.folder / "whole"
    place.run(results=whole)
    place.run(GRID, "seeds=1")

    def at_end(number: int) -> None:
        if number == 2:
            spoil(database.database_path(place.results))

    witness = Witness(at_end)
    outcome = place.run(watcher=witness, extend=True)
    assert (outcome.exit_status, outcome.done) == (0, 8)
    assert place.calls() == 2 * 8
    assert any("the database is damaged" in text for text in witness.said)
    assert place.ask(RECALL) == place.ask(RECALL, whole)


def test_who_interrupts_a_study_waits_for_no_repair(place: Place) -> None:
    def at_end(number: int) -> None:
        if number == 2:
            cut(database.database_path(place.results))
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoreError, match="the database is damaged"):
        place.run(watcher=Witness(at_end))
    assert database.database_path(place.results).stat().st_size == 50_000
    assert place.run().done == 8
