"""Records of studies and locks that are not what a driver writes, and places it cannot write to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from driver_place import GRID
from hostile_row import HostileRow
from store_examples import ID, RUN, a_record, a_trial, done, reported, start

from harness.records.event_log import append
from harness.records.folders import run_dir, spool_path
from harness.records.study_record import record_path, write_study_record

Make = Callable[[Path], object]
TRAIN = ("run", "study.yaml", "--results", "results", "--executor", "local", "--set", "seeds=1")


def _rebuild_with(make: Make, study: str = "t") -> Callable[[Path], Sequence[str]]:
    """A study of one finished run, and what stands in place of the record of another one."""

    def prepare(folder: Path) -> Sequence[str]:
        write_study_record(folder, a_record([a_trial(0, "baseline")], [0]))
        for event in (start(RUN), reported(0), done(val__recall_at_1=0.5)):
            append(spool_path(run_dir(folder, ID)), event)
        path = record_path(folder, study)
        path.unlink(missing_ok=True)
        make(path)
        return ("rebuild", "--results", ".")

    return prepare


def _train_with(name: str, make: Make) -> Callable[[Path], Sequence[str]]:
    """A study that can be run, and what stands in place of a file of its results."""

    def prepare(folder: Path) -> Sequence[str]:
        (folder / "study.yaml").write_text(GRID)
        path = folder / "results" / name
        path.parent.mkdir(parents=True)
        make(path)
        return TRAIN

    return prepare


def _text(text: str) -> Make:
    return lambda path: path.write_text(text)


def _with(**changes: object) -> Make:
    """The record of a version without checksums, with something else in it."""

    def make(path: Path) -> None:
        write_study_record(path.parents[1], a_record([a_trial(0, "baseline", study="t")], [0]))
        document = json.loads(path.read_text()) | changes
        del document["checksum"]
        path.write_text(json.dumps(document))

    return make


def _link(path: Path) -> None:
    mine = path.resolve().parent / "mine.txt"
    mine.write_text("precious")
    path.symlink_to(mine)


def _long_name(folder: Path) -> Sequence[str]:
    (folder / "study.yaml").write_text(GRID)
    return (*TRAIN[:3], "n" * 300, *TRAIN[4:])


FINE = r"made anew from 1 studies and 1 runs"
LINK = r"is a symbolic link, which is not followed"
ROWS = [
    *(
        HostileRow(f"{what} in place of a record", _rebuild_with(make), [says, FINE], status=0)
        for what, make, says in (
            ("half a record", _text('{\n "study": "t",'), r"t\.json: damaged: .*run its study"),
            ("a deep record", _text('{"a":' * 1000), r"t\.json: damaged: .*recursion"),
            ("a list", _text("[]"), r"t\.json: damaged: no study record"),
            (
                "a text for a number",
                _with(spent_seconds="long"),
                r"t\.json: damaged: .*spent_seconds",
            ),
            ("a bad time", _with(created="yesterday"), r"t\.json: damaged: .*created"),
            ("a folder", Path.mkdir, r"t\.json: is no plain file but a folder; move it away"),
            ("a pipe", os.mkfifo, r"t\.json: is no plain file; move it away"),
            ("a link", _link, rf"t\.json: {LINK}"),
        )
    ),
    *(
        HostileRow(f"{what} in place of {name}", _train_with(name, make), [says])
        for name in (".lock", ".leases")
        for what, make, says in (
            ("a link", _link, LINK),
            ("a folder", Path.mkdir, r"is no plain file but a folder; move it away"),
            ("a pipe", os.mkfifo, r"is no plain file; move it away"),
        )
    ),
    HostileRow(
        "a link in place of the record of the study",
        _train_with("studies/quality.json", _link),
        [rf"quality\.json: {LINK}"],
    ),
    HostileRow(
        "a link in place of the database",
        _train_with("results.duckdb", _link),
        [rf"duckdb: {LINK}"],
    ),
    HostileRow(
        "a file in place of the drivers",
        _train_with("drivers", _text("x")),
        [r"drivers: a file in the place of a folder; move it"],
    ),
    HostileRow(
        "a damaged record of the study",
        _train_with("studies/quality.json", _text("{")),
        [r"quality\.json: damaged: .*kept as quality\.json\.damaged-\w+", r"4/4 done"],
        status=0,
        lines=None,
    ),
    HostileRow(
        "results with too long a name",
        _long_name,
        [r"File name too long; choose another with --results"],
    ),
]
