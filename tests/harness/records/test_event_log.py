"""Spools lose nothing that was whole, and damage to them is told from a crash."""

from __future__ import annotations

import errno
import json
import math
import os
import random
from pathlib import Path

import pytest
from store_examples import a_run, a_trial, done, failed, reported, start

from harness.errors import StoreError
from harness.records import event_log
from harness.records.event_log import (
    SpoolReader,
    SpoolWriter,
    append,
    append_lines,
    read_spool,
)
from harness.records.events import Damaged, Event, to_json
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import replay

RUN = a_run(a_trial(0), 0)
LIFE: tuple[Event, ...] = (
    start(RUN),
    reported(0),
    reported(1),
    start(RUN, 2),
    reported(1, 2, loss=math.inf),
    done(2, val__nmi=0.5),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return spool_path(run_dir(tmp_path / "results", RUN.run_id))


def write(path: Path, *events: Event) -> bytes:
    for event in events:
        append(path, event)
    return path.read_bytes()


def test_events_come_back_in_order(path: Path) -> None:
    write(path, *LIFE)
    assert read_spool(path) == LIFE


def test_reading_goes_on_where_it_stopped(path: Path) -> None:
    write(path, start(RUN))
    spool = SpoolReader(path)
    assert spool.read() == ((start(RUN),), True)
    assert spool.read() == ((), False)
    append(path, reported(0))
    assert spool.read() == ((reported(0),), False)
    assert spool.offset == path.stat().st_size


def test_a_spool_that_is_not_there_has_no_events(path: Path) -> None:
    assert SpoolReader(path).read() == ((), True)


def test_a_spool_that_was_removed_or_replaced_is_read_from_its_start(path: Path) -> None:
    write(path, *LIFE)
    spool = SpoolReader(path)
    spool.read()
    path.unlink()
    assert spool.read() == ((), True)
    write(path, start(RUN))
    assert spool.read() == ((start(RUN),), True)
    other = path.with_name("other")
    write(other, *LIFE)
    other.replace(path)
    assert spool.read() == (LIFE, True)


def test_a_torn_last_line_is_left_for_later(path: Path) -> None:
    whole = write(path, start(RUN), reported(0))
    path.write_bytes(whole[:-20])
    spool = SpoolReader(path)
    assert spool.read().entries == (start(RUN),)
    with path.open("ab") as stream:
        stream.write(whole[-20:])
    assert spool.read() == ((reported(0),), False)


def test_a_torn_line_does_not_poison_the_next_attempt(path: Path) -> None:
    path.write_bytes(write(path, start(RUN), reported(0))[:-20])
    write(path, start(RUN, attempt=2), reported(0, attempt=2))
    assert read_spool(path) == (start(RUN), start(RUN, 2), reported(0, 2))


def test_every_line_cut_at_every_byte_is_survived(path: Path) -> None:
    size = len(write(path, start(RUN)))
    whole = write(path, reported(0))
    for cut in range(size, len(whole)):
        path.write_bytes(whole[:cut])
        append(path, done(attempt=1))
        # Only the line end is missing from the last cut: that event is whole.
        kept = (reported(0),) if cut == len(whole) - 1 else ()
        assert read_spool(path) == (start(RUN), *kept, done())


def test_what_was_never_an_event_is_passed_over(path: Path) -> None:
    write(path, start(RUN))
    with path.open("ab") as stream:
        stream.write(b'\x00\x00\x00\n[1]\n"text"\n{"event": "party"}\n\xff\xfe\n\n')
    append(path, reported(0))
    assert read_spool(path) == (start(RUN), reported(0))


def test_every_changed_byte_is_found(path: Path) -> None:
    whole = write(path, *LIFE)
    draw = random.Random(0)
    for place in range(len(whole)):
        changed = bytes([whole[place] ^ draw.randrange(1, 256)])
        path.write_bytes(whole[:place] + changed + whole[place + 1 :])
        entries = read_spool(path)
        line = whole[:place].count(b"\n") + 1
        assert Damaged(line) in entries, (place, changed, entries)
        assert replay(entries).state == "running"


def test_the_same_is_found_by_who_reads_along(path: Path) -> None:
    whole = write(path, *LIFE)
    lines = whole.splitlines(keepends=True)
    damaged = b"".join([*lines[:2], lines[2].replace(b"loss", b"lass"), *lines[3:]])
    path.write_bytes(b"")
    spool, entries = SpoolReader(path), ()
    for place in range(0, len(damaged), 7):
        with path.open("ab") as stream:
            stream.write(damaged[place : place + 7])
        entries += spool.read().entries
    assert entries == (*LIFE[:2], Damaged(3), *LIFE[3:])


@pytest.mark.parametrize("missing", range(5))
def test_a_line_that_was_taken_out_is_missed(path: Path, missing: int) -> None:
    lines = write(path, *LIFE).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:missing] + lines[missing + 1 :]))
    assert Damaged(max(1, missing)) in read_spool(path)


def test_damage_counts_until_a_run_starts_anew(path: Path) -> None:
    whole = write(path, start(RUN), reported(0), reported(1), done())
    path.write_bytes(whole.replace(b'"epoch":0', b'"epoch":7'))
    state = replay(read_spool(path))
    assert (state.state, state.damage, state.is_over) == ("running", "line 2 is damaged", False)
    append(path, start(RUN, 2))
    append(path, done(2))
    assert replay(read_spool(path)).state == "running"  # it went on from what is damaged
    append(path, start(RUN, 3, is_anew=True))
    append(path, reported(0, 3))
    append(path, done(3, val__nmi=0.5))
    state = replay(read_spool(path))
    assert (state.state, state.damage, state.reported) == ("done", None, (0,))


def test_two_writers_that_do_not_know_of_each_other_are_no_damage(path: Path) -> None:
    first = write(path, start(RUN))
    one = write(path, reported(0))[len(first) :]
    path.write_bytes(first)
    other = write(path, start(RUN, 2))[len(first) :]
    path.write_bytes(first + one + other)
    assert read_spool(path) == (start(RUN), reported(0), start(RUN, 2))


def test_a_copy_that_follows_line_by_line_is_whole(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    for line in write(path, *LIFE).splitlines(keepends=True):
        append_lines(copy, line)
    assert read_spool(copy) == LIFE


def test_a_spool_of_an_older_version_is_read_and_goes_on(path: Path) -> None:
    old = [to_json(event) for event in LIFE[:3]]
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in old))
    assert read_spool(path) == LIFE[:3]
    write(path, *LIFE[3:])
    assert read_spool(path) == LIFE
    path.write_bytes(path.read_bytes().replace(b'"epoch": 1', b'"epoch": 3', 1))
    assert Damaged(3) in read_spool(path)  # the last line without a checksum has one in the next


def test_an_event_of_a_newer_version_is_passed_over(path: Path) -> None:
    whole = write(path, start(RUN))
    from harness.records.event_log import sealed

    previous = json.loads(whole)["checksum"]
    with path.open("ab") as stream:
        stream.write(sealed({"event": "party"}, previous=previous))
    append(path, reported(0))
    assert read_spool(path) == (start(RUN), reported(0))


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "finished", "attempt": 1, "time": "yesterday", "state": "done"}',
        '{"event": "epoch", "attempt": 1, "time": "2026-01-01T00:00:00", "epoch": 1e300}',
        '{"event": "epoch", "attempt": [], "time": "2026-01-01", "epoch": 1, "metrics": {}}',
        '{"event": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"event": []}',
        "null",
    ],
)
def test_an_old_line_that_makes_no_sense_is_passed_over(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert read_spool(path) == ()


def test_a_folder_in_place_of_a_spool_is_one_line(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"spool\.jsonl: is not a plain file but a folder; move"):
        read_spool(path)
    with pytest.raises(StoreError, match=r"spool\.jsonl: is not a plain file but a folder"):
        append(path, reported(0))


def test_all_but_the_start_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    sizes = []
    for event in (start(RUN), reported(0), done()):
        append(path, event)
        sizes.append(path.stat().st_size)
    assert synced == sizes[1:]


def test_a_full_disk_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r": cannot write: No space left.*free some space"):
        append(path, reported(0))


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    with pytest.raises(StoreError, match=r"cannot write.*file is in the way") as caught:
        append(spool_path(run_dir(tmp_path / "results", "abc")), failed())
    assert "\n" not in str(caught.value)


def test_a_writer_reads_the_spool_only_after_others_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "spool.jsonl"
    looked, really_look = [], event_log._last_mark
    monkeypatch.setattr(
        event_log, "_last_mark", lambda stream: looked.append(None) or really_look(stream)
    )
    first, second = SpoolWriter(path), SpoolWriter(path)
    events = [reported(number) for number in range(6)]
    for writer, event in zip((first, first, first, second, first, first), events, strict=True):
        writer.append(event)
    assert len(looked) == 3  # at each writer's start, and once after the other's line
    assert (first.is_last, second.is_last) == (True, False)
    assert read_spool(path) == tuple(events)  # no line is missing from the chain


@pytest.mark.parametrize("how", ["removed", "replaced", "cut", "torn"])
def test_a_writer_follows_a_spool_that_was_changed_under_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "spool.jsonl"
    writer = SpoolWriter(path)
    writer.append(reported(0))
    writer.append(reported(1))
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        (tmp_path / "other").write_bytes(b"".join(lines))
        (tmp_path / "other").replace(path)
    elif how == "cut":
        path.write_bytes(lines[0])
    else:
        path.write_bytes(lines[0] + lines[1][:-9])
    assert not writer.is_last
    writer.append(reported(2))
    kept = {"removed": [2], "replaced": [0, 1, 2], "cut": [0, 2], "torn": [0, 2]}[how]
    assert read_spool(path) == tuple(reported(number) for number in kept)
