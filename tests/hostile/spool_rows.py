"""Spools, facts and tables that are not what a run writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile_row import HostileRow
from store_examples import ID, RUN, a_record, a_trial, done, put, reported, start

from harness.records.event_log import append
from harness.records.events import to_json
from harness.records.folders import run_dir, spool_path
from harness.records.study_record import write_study_record

REBUILD = ("rebuild", "--results", ".")
DEEP = "[" * 1000 + "]" * 1000


def _results(folder: Path) -> Path:
    """A study of one finished run; the folder of the run."""
    write_study_record(folder, a_record([a_trial(0, "baseline")], [0]))
    path = spool_path(run_dir(folder, ID))
    for event in (start(RUN), reported(0), done(val__recall_at_1=0.5)):
        append(path, event)
    return path.parent


def _old_line(**changes: object) -> str:
    """The line of an epoch as versions without checksums wrote it, with something else in it."""
    return json.dumps(to_json(reported(1)) | changes) + "\n"  # type: ignore[operator]


def _with_line(line: str) -> Callable[[Path], Sequence[str]]:
    def prepare(folder: Path) -> Sequence[str]:
        path = spool_path(_results(folder))
        path.write_text(json.dumps(to_json(start(RUN))) + "\n" + line)
        return REBUILD

    return prepare


def _damaged(folder: Path) -> Sequence[str]:
    path = spool_path(_results(folder))
    path.write_bytes(path.read_bytes().replace(b'"epoch":0', b'"epoch":1'))
    return REBUILD


def _checked(folder: Path) -> Sequence[str]:
    return (*_damaged(folder), "--check")


def _with_facts(text: str) -> Callable[[Path], Sequence[str]]:
    def prepare(folder: Path) -> Sequence[str]:
        _results(folder)
        put(folder, "facts.json", text)
        return REBUILD

    return prepare


def _with_table(make: Callable[[Path], object]) -> Callable[[Path], Sequence[str]]:
    def prepare(folder: Path) -> Sequence[str]:
        tables = _results(folder) / "work" / "tables"
        tables.mkdir(parents=True)
        make(tables / "clusters.jsonl")
        return REBUILD

    return prepare


def _file_for_a_run(folder: Path) -> Sequence[str]:
    _results(folder)
    (folder / "runs" / "0123456789abcdef").write_text("mine")
    return REBUILD


def _in_place_of_a_spool(make: Callable[[Path], object]) -> Callable[[Path], Sequence[str]]:
    def prepare(folder: Path) -> Sequence[str]:
        path = spool_path(_results(folder))
        path.unlink()
        make(path)
        return REBUILD

    return prepare


FINE = r"made anew from 1 studies and 1 runs"
ROWS = [
    HostileRow("a damaged line", _damaged, [r"spool\.jsonl:2: a damaged line", FINE], status=0),
    HostileRow(
        "a damaged line that is looked for",
        _checked,
        [r"spool\.jsonl:2: a damaged line", "1 damaged files"],
        status=1,
        lines=0,
    ),
    HostileRow("a bad time in a spool", _with_line(_old_line(time="soon")), [FINE], 0, 0),
    HostileRow(
        "a time before all time",
        _with_line(_old_line(time="0001-01-01T00:00:00+14:00")),
        [FINE],
        0,
        0,
    ),
    HostileRow("an epoch that no column holds", _with_line(_old_line(epoch=10**12)), [FINE], 0, 0),
    HostileRow("a deeply nested line", _with_line(f'{{"event": {DEEP}}}\n'), [FINE], 0, 0),
    HostileRow("deeply nested facts", _with_facts(DEEP), [FINE], status=0, lines=None),
    HostileRow(
        "facts that are nested too deeply",
        _with_facts(DEEP * 100),
        [r"facts\.json: skipped", FINE],
        status=0,
    ),
    HostileRow(
        "a folder in place of a table",
        _with_table(Path.mkdir),
        [r"clusters\.jsonl: is no plain file", FINE],
        0,
    ),
    HostileRow(
        "a pipe in place of a table",
        _with_table(os.mkfifo),
        [r"clusters\.jsonl: is no plain file", FINE],
        0,
    ),
    HostileRow(
        "a file in place of the folder of a run",
        _file_for_a_run,
        [r"0123456789abcdef/.*Not a directory", FINE],
        0,
    ),
    HostileRow(
        "a folder in place of a spool",
        _in_place_of_a_spool(Path.mkdir),
        [r"spool\.jsonl: .*(folder|directory)"],
        status=0,
    ),
    HostileRow(
        "a pipe in place of a spool",
        _in_place_of_a_spool(os.mkfifo),
        [r"spool\.jsonl: is no plain file"],
        status=0,
    ),
]
