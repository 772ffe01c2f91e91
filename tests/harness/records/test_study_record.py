"""Records of studies: they come back as they were written, or their damage is named."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driver_place import GRID, RECALL, Place, Witness
from store_examples import a_record, a_trial

from harness.engine.database_repair import rebuild_results
from harness.errors import StoreError
from harness.records.studies.study_record import (
    DamagedRecordError,
    StudyRecord,
    read_study_record,
    read_study_records,
    record_path,
    write_study_record,
)
from harness.workload import JsonValue

OTHER = GRID.replace("study: quality", "study: other")


@pytest.fixture
def record() -> StudyRecord:
    return replace(a_record([a_trial(0), a_trial(1)], [0, 1]), version=3, spent_seconds=1.5)


def unsealed(results: Path, record: StudyRecord) -> dict[str, Any]:
    """The content of a record of an earlier version of this program."""
    write_study_record(results, record)
    document: dict[str, Any] = json.loads(record_path(results, record.study).read_bytes())
    del document["checksum"], document["version"]
    return document


def test_study_records_come_back_equal_and_by_name(tmp_path: Path) -> None:
    nested: dict[str, JsonValue] = {"list": [1, 2.5, None, True], "dict": {"k": "v"}}
    trial = replace(a_trial(0, "baseline"), varied={"a.b": 1e-4}, params=nested, variant="full")
    records = [
        a_record([trial, a_trial(1)], [0, 1]),
        a_record([a_trial(0, study="a")], [3]),
    ]
    for record in records:
        write_study_record(tmp_path, record)
    back = read_study_records(tmp_path)
    assert back == (records[1], records[0])
    assert back[1].trials[0].trial_id == trial.trial_id


def test_what_was_pruned_comes_back_and_older_records_have_nothing_pruned(tmp_path: Path) -> None:
    record = a_record([a_trial(0), a_trial(1)], [0, 1])
    members = (*record.members[:3], record.members[3]._replace(is_pruned=True))
    pruned = replace(record, members=members, pruned={record.trials[1].trial_id: "too low"})
    write_study_record(tmp_path, pruned)
    assert read_study_records(tmp_path) == (pruned,)
    path = tmp_path / "studies" / "s.json"
    document = json.loads(path.read_text())
    for field in ("checksum", "version", "pruned"):
        del document[field]
    document["members"] = [member[:3] for member in document["members"]]
    path.write_text(json.dumps(document))
    assert read_study_records(tmp_path) == (record,)


def test_no_results_folder_has_no_records(tmp_path: Path) -> None:
    assert read_study_records(tmp_path / "none") == ()


def test_a_full_disk_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = a_record([a_trial(0)], [0])
    write_study_record(tmp_path, record)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write: No space left"):
        write_study_record(tmp_path, replace(record, question="Another?"))
    assert read_study_records(tmp_path) == (record,)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["s.json"]


def test_any_byte_that_is_changed_is_noticed(tmp_path: Path, record: StudyRecord) -> None:
    write_study_record(tmp_path, record)
    path = record_path(tmp_path, "s")
    content = path.read_bytes()
    for place, byte in enumerate(content):
        for flip in (0x01, 0x20, 0x80):
            path.write_bytes(
                content[:place] + bytes([byte ^ flip]) + content[place + 1 :],
            )
            with pytest.raises(DamagedRecordError, match=r"s\.json: damaged: "):
                read_study_record(tmp_path, "s")
    for cut in (content[:-1], content + b"\n", content[1:], b""):
        path.write_bytes(cut)
        with pytest.raises(DamagedRecordError):
            read_study_record(tmp_path, "s")


def test_a_record_of_before_there_were_checksums_is_read(
    tmp_path: Path, record: StudyRecord
) -> None:
    document = unsealed(tmp_path, record)
    record_path(tmp_path, "s").write_text(json.dumps(document))
    assert read_study_record(tmp_path, "s") == replace(record, version=0)


def test_the_record_before_takes_the_place_of_a_damaged_one(
    tmp_path: Path, record: StudyRecord
) -> None:
    write_study_record(tmp_path, record)
    write_study_record(tmp_path, replace(record, version=4))
    path = record_path(tmp_path, "s")
    path.write_bytes(path.read_bytes()[:-9])
    notices: list[str] = []
    assert read_study_record(tmp_path, "s", notices) == record
    assert notices == [
        f"{path}: damaged: its checksum does not match; s.json.before is used instead"
    ]
    write_study_record(tmp_path, replace(record, version=5))  # and keeps it, not the damaged one
    path.write_bytes(b"")
    assert read_study_record(tmp_path, "s") == record
    path.unlink()
    assert read_study_record(tmp_path, "s") is None


def set_to(**values: JsonValue) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(values)


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "a bad time": set_to(created="yesterday"),
    "a time that is none in UTC": set_to(updated="0001-01-01T00:00:00+23:00"),
    "a number for a time": set_to(created=5),
    "a list for a mapping": set_to(spec=[]),
    "a text for a number": set_to(spent_seconds="1"),
    "a short member": set_to(members=[["a"]]),
    "a text for a seed": set_to(members=[["a", "0", "b"]]),
    "too large a seed": set_to(members=[["a", 2**63, "b"]]),
    "too large a number": lambda document: document["trials"][0].update(number=2**31),
    "an unknown role": lambda document: document["trials"][0].update(role="judge"),
    "an unknown field of a trial": lambda document: document["trials"][0].update(x=1),
    "an unknown field": set_to(x=1),
    "a field too few": lambda document: document.pop("trials"),
    "another study": set_to(study="t"),
}
TEXTS = {
    "nothing": "",
    "a list": "[]",
    "an empty object": "{}",
    "half a surrogate": '{"study": "\\ud800"}',
    "a thousand brackets": "[" * 1000,
    "a hundred thousand objects": '{"a":' * 100_000,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_record_is_told_in_one_line(
    tmp_path: Path, record: StudyRecord, name: str
) -> None:
    document = unsealed(tmp_path, record)
    WRONG[name](document)
    record_path(tmp_path, "s").write_text(json.dumps(document))
    with pytest.raises(DamagedRecordError, match=r"s\.json: damaged: .*run its study") as caught:
        read_study_record(tmp_path, "s")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TEXTS)
def test_no_record_at_all_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "studies").mkdir()
    record_path(tmp_path, "s").write_text(TEXTS[name])
    with pytest.raises(DamagedRecordError, match=r"s\.json: damaged: ") as caught:
        read_study_record(tmp_path, "s")
    assert "\n" not in str(caught.value)


def test_a_record_of_a_later_version_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: StudyRecord
) -> None:
    plain = json.dumps
    monkeypatch.setattr(
        json, "dumps", lambda document, **options: plain(document | {"later": 1}, **options)
    )
    write_study_record(tmp_path, record)
    with pytest.raises(StoreError, match="written by another version of this program") as caught:
        read_study_record(tmp_path, "s")
    assert not isinstance(caught.value, DamagedRecordError)


@pytest.mark.parametrize("what", ["a folder", "a pipe", "a link", "no permission"])
def test_what_is_no_readable_file_is_left_out_with_a_line(
    tmp_path: Path, record: StudyRecord, what: str
) -> None:
    write_study_record(tmp_path, record)
    write_study_record(tmp_path, a_record([a_trial(0, study="t")], [0]))
    path = record_path(tmp_path, "t")
    content = path.read_bytes()
    path.unlink()
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(content)
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
    notices: list[str] = []
    assert read_study_records(tmp_path, notices) == (record,)
    (notice,) = notices
    assert notice.startswith(f"{path}: ")


def test_a_damaged_record_of_another_study_is_named_and_the_rest_works(place: Place) -> None:
    place.run(OTHER)
    path = record_path(place.results, "other")
    path.write_text("{")
    path.with_name("other.json.before").unlink()
    watcher = Witness()
    assert place.run(watcher=watcher).done == 8
    (said,) = [text for text in watcher.said if "other.json" in text]
    assert "damaged" in said
    assert path.read_text() == "{"
    made = rebuild_results(place.results, on_wait=print)
    assert made.studies == 1
    assert len([notice for notice in made.notices if "other.json: damaged" in notice]) == 1
    assert place.ask("SELECT study FROM study") == [("quality",)]
    place.run(OTHER)  # as the notice says
    assert place.ask("SELECT count(*) FROM study") == [(2,)]


@pytest.mark.parametrize("has_copy", [True, False])
def test_a_study_whose_own_record_is_damaged_goes_on(place: Place, has_copy: bool) -> None:
    place.have_run()
    table, trained = place.ask(RECALL), place.calls()
    path = record_path(place.results, "quality")
    before = read_study_record(place.results, "quality")
    assert before is not None
    damaged = path.read_bytes().replace(b'"quality"', b'"qualitz"')
    path.write_bytes(damaged)
    if not has_copy:
        path.with_name("quality.json.before").unlink()
    watcher = Witness()
    assert place.run(watcher=watcher).done == 8
    assert place.calls() == trained
    assert place.ask(RECALL) == table
    after = read_study_record(place.results, "quality")
    assert after is not None
    assert (after.trials, after.members) == (before.trials, before.members)
    assert len([text for text in watcher.said if "quality.json: damaged" in text]) == 1
    aside = list(place.results.glob("studies/quality.json.damaged-*"))
    if has_copy:
        assert after.created == before.created
        assert after.version > before.version
        assert aside == []
    else:
        assert [each.read_bytes() for each in aside] == [damaged]


def test_writers_of_equal_process_ids_do_not_take_each_others_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: StudyRecord
) -> None:
    """As two containers have: the second writes while the first is about to put its draft there."""
    replace_file, versions = Path.replace, [5]

    def replace_late(path: Path, target: Path) -> Path:
        if versions:
            write_study_record(tmp_path, replace(record, version=versions.pop()))
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", replace_late)
    write_study_record(tmp_path, record)
    assert read_study_record(tmp_path, "s") == record
    assert [path for path in (tmp_path / "studies").iterdir() if "draft" in path.name] == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space there"),
        (errno.EROFS, "it is read-only: mount it for writing or choose another folder"),
        (errno.EACCES, "give write access"),
        (errno.EIO, "the disk is faulty"),
        (errno.EBUSY, "fix that"),
    ],
)
def test_the_remedy_fits_what_is_wrong_with_the_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record: StudyRecord,
    number: int,
    remedy: str,
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=rf"s\.json: cannot write: [^;\n]*; {remedy}"):
        write_study_record(tmp_path, record)


def test_drafts_of_writers_that_were_killed_are_removed(place: Place) -> None:
    place.have_run()
    draft = place.results / "studies" / ".quality.json.0123abcd.draft"
    draft.write_text("half a rec")
    place.run()
    assert not draft.exists()
