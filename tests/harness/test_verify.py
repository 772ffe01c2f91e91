"""A verification kills studies and tells equal tables from others."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from driver_place import GRID, Place

from harness.cli import commands
from harness.errors import InputError
from harness.records.folders import run_dir, work_dir
from harness.store import table_diff
from harness.store.database import connect
from harness.store.table_diff import compare
from harness.verify import Verification, describe

LONGER = GRID.replace("epochs: 1", "epochs: 6, sleep_s: 0.05, checkpoints: true")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def verification(place: Place, text: str, *overrides: str, kills: int = 3) -> Verification:
    said: list[str] = []
    return Verification(place.write(text), overrides, kills, 1, 2, 1, said.append)


@pytest.mark.process
@pytest.mark.timeout(180)
def test_a_killed_study_ends_equal_and_leaves_nothing(place: Place, temporary: Path) -> None:
    verified = verification(place, LONGER).run()
    assert sum(verified.kills.values()) == 3
    assert verified.is_equal
    rows = {table.table: table.rows for table in verified.tables}
    assert (rows["run"], rows["trial"], rows["member"]) == (8, 4, 8)
    assert min(rows["recall"], rows["epoch"], rows["clusters"]) > 0
    assert describe(verified)[-1] == "equal to the uninterrupted study"
    assert list(temporary.iterdir()) == []


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_difference_is_shown_kept_and_the_exit_status(
    place: Place,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def spoiled(ours: Path, theirs: Path) -> list[table_diff.TableDiff]:
        with connect(theirs, read_only=False) as con:
            con.execute("UPDATE recall SET recall = recall + 0.25 WHERE split = 'test' AND k = 1")
        return compare(ours, theirs)

    monkeypatch.setattr("harness.verify.compare", spoiled)
    path = str(place.write(GRID))
    monkeypatch.setattr("sys.argv", ["harness", "verify", path, "--kills", "1", "--workers", "2"])
    with pytest.raises(SystemExit) as caught:
        commands.main()
    assert caught.value.code == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("recall ")]
    assert "8 rows differ, most " in line
    (kept,) = temporary.iterdir()
    assert f"NOT equal to the uninterrupted study; both are kept in {kept}" in out
    assert {path.name for path in kept.iterdir()} >= {"whole", "killed-0"}


@pytest.mark.process
def test_a_study_that_cannot_be_run_is_refused_with_its_words(
    place: Place, temporary: Path
) -> None:
    with pytest.raises(InputError, match=r"cannot be run: .*no images there"):
        verification(place, GRID, "data=missing").run()
    assert list(temporary.iterdir()) == []


def test_folders_are_compared_row_by_row_and_file_by_file(place: Place) -> None:
    place.have_run()
    twin = place.folder / "twin"
    shutil.copytree(place.results, twin)
    assert [table.table for table in compare(place.results, twin) if table.differences] == []
    (run_id, recall) = place.ask(
        "SELECT run_id, recall FROM recall WHERE split = 'val' AND k = 2 ORDER BY ALL LIMIT 1"
    )[0]
    with connect(twin, read_only=False) as con:
        con.execute(f"UPDATE recall SET recall = 0.125 WHERE run_id = '{run_id}' AND k = 2")
        con.execute("DELETE FROM clusters WHERE cluster = 0")
        con.execute("UPDATE run SET host = 'elsewhere', attempts = 9, seconds = 3")
    (work_dir(run_dir(twin, str(run_id))) / "new.png").write_bytes(b"a picture")
    found = {table.table: table.differences for table in compare(place.results, twin)}
    different = {name for name, lines in found.items() if lines}
    assert different == {"recall", "clusters", "files"}
    assert found["recall"][0].startswith("2 rows differ, most ")
    assert str(run_id) in found["recall"][0]
    assert found["recall"][0].endswith(" and 0.125")
    assert "rows only in the uninterrupted study" in found["clusters"][0]
    assert found["files"] == (
        f"1 rows only in the killed study, first {run_id} new.png "
        + (found["files"][0].rpartition(" ")[2]),
    )
    assert recall != 0.125
