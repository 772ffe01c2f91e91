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
from harness.records.studies.verifications import (
    VerifyOutcome,
    add_verification,
    read_verifications,
)
from harness.report.study_page import page_text
from harness.store import table_diff
from harness.store.database import connect
from harness.store.rebuild import rebuild
from harness.store.table_diff import compare, first_state_apart
from harness.study.loading import load_study
from harness.verify import Verification, Verified, describe, keep_outcome

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
    arguments = ["verify", path, "--kills", "1", "--workers", "2", "--results", str(place.results)]
    monkeypatch.setattr("sys.argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as caught:
        commands.main()
    assert caught.value.code == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("recall ")]
    assert "8 rows differ, most " in line
    (kept,) = temporary.iterdir()
    assert f"NOT equal to the uninterrupted study; both are kept in {kept}" in out
    assert {path.name for path in kept.iterdir()} >= {"whole", "killed-0"}
    # A study that ends before its kill is due is not killed.
    asked = "SELECT study, kills <= 1, is_equal, differences, is_newest FROM verifications"
    assert place.ask(asked) == [("quality", True, False, "recall", True)]


@pytest.mark.process
def test_a_study_that_cannot_be_run_is_refused_with_its_words(
    place: Place, temporary: Path
) -> None:
    with pytest.raises(InputError, match=r"cannot be run: .*no images there"):
        verification(place, GRID, "data=missing").run()
    assert list(temporary.iterdir()) == []


def test_the_first_epoch_and_part_that_differ_are_found(place: Place) -> None:
    place.have_run()
    twin = place.folder / "twin"
    rows = [("b", 0, "student", "1"), ("a", 1, "student", "2"), ("a", 1, "teacher", "3")]
    rows += [("a", epoch, "student", "4") for epoch in range(2, 40)]
    with connect(place.results, read_only=False) as con:
        con.executemany("INSERT INTO states VALUES (?, ?, ?, ?)", rows)
    shutil.copytree(place.results, twin)
    assert first_state_apart(place.results, twin) is None
    with connect(twin, read_only=False) as con:
        con.execute("UPDATE states SET digest = '9' WHERE run_id = 'a'")
    assert first_state_apart(place.results, twin) == ("a", 1, ("student", "teacher"))
    tables = tuple(compare(place.results, twin))
    verified = Verified({"driver": 2}, 1, tables, twin, first_state_apart(place.results, twin))
    said = describe(verified)
    assert said[-2] == "training parts ways in epoch 1 of run a: student, teacher"
    outcome = keep_outcome(place.results, load_study(place.write(GRID)).spec, verified)
    assert outcome.text.endswith(
        ": NOT equal: states; training parts ways in epoch 1 of run a: student, teacher"
    )


def test_outcomes_are_on_the_page_and_survive_a_rebuild(place: Place) -> None:
    place.have_run()
    for kills, is_equal in ((3, False), (20, True)):
        made = VerifyOutcome(
            study="quality",
            checked=f"2026-01-{kills:02}T12:00:00",
            kills=kills,
            is_equal=is_equal,
            git_commit="0123456789abcdef",
            dirty=kills == 3,
            differences="" if is_equal else "recall",
        )
        add_verification(place.results, made)
    with (place.results / "studies" / "quality.verified.jsonl").open("a") as stream:
        stream.write('{"study": "quality"')
    rebuilt = rebuild(place.results)
    (notice,) = rebuilt.notices
    assert notice.endswith("quality.verified.jsonl:3: not an outcome of harness verify; left out")
    assert place.ask("SELECT kills, is_newest FROM verifications ORDER BY kills") == [
        (3, False),
        (20, True),
    ]
    page = page_text(place.results, "quality")
    assert "20 kills on 2026-01-20 at commit 0123456789: equal" in page
    assert "3 kills" not in page
    assert read_verifications(place.results, [])[0].text == (
        "3 kills on 2026-01-03 at commit 0123456789 with uncommitted changes: NOT equal: recall"
    )


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
