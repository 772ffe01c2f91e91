"""Files that were changed at random: status 0, 1 or 2, never a traceback, never a hang."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from driver_place import SEARCH, Place
from pydantic import JsonValue

from harness.cli import commands
from harness.records.event_log import sealed
from harness.records.studies.study_record import _sealed as sealed_record

Mutate: TypeAlias = Callable[[bytes, random.Random], bytes]
SEEDS = [
    pytest.param(range(2), id="few"),
    pytest.param(range(2, 10), id="many", marks=[pytest.mark.slow, pytest.mark.timeout(120)]),
]
"""Each seed draws other changes, and takes one to two seconds of a core."""
STUDIES_OF_A_SEED = 70
SPOOLS_OF_A_SEED = 30
RECORDS_OF_A_SEED = 20
HOSTILE: tuple[JsonValue, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    -(2**63),
    1e308,
    1e-320,
    "",
    "NaN",
    "1e400",
    "\ud800",
    "\x1b[31m\x00",
    "x" * 5000,
    "0001-01-01T00:00:00+14:00",
    "../../etc/passwd",
    [],
    {},
    [[1]],
    {"": 1},
    {"a": {"b": [None]}},
)
SNIPPETS = (
    b"\n", b"  ", b"\t", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: *a", b"!!int ", b"|",
    b"#", b"'", b'"', b"\x00", b"\xff", b"\xef\xbb\xbf", b"~", b"0x1f", b"1e999", b"true", b"..", b"---\n",
    b"search:\n", b"seeds: ", b"baseline: {quality: 2}\n", b"confirm: {top: 0}\n", b"zip: [[a]]\n",
)  # fmt: skip


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The status with which the command line ends; anything but an exit is a failure."""
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as exit_:
        commands.main()
    return int(exit_.value.code or 0)


def with_other_bytes(content: bytes, draw: random.Random) -> bytes:
    """A file in which a few places are changed, cut out, doubled or filled with something else."""
    for _ in range(draw.randrange(1, 4)):
        place, length = draw.randrange(len(content) + 1), draw.choice((0, 1, 1, 5, 40))
        piece = draw.choice((*SNIPPETS, bytes([draw.randrange(256)]), content[place : place + 30]))
        content = content[:place] + piece + content[place + length :]
    return content


def with_another_value(document: JsonValue, draw: random.Random) -> JsonValue:
    """JSON in which one value, at any depth, is a hostile one, missing, or given one more key."""
    if isinstance(document, dict) and document and draw.random() < 0.85:
        key = draw.choice(list(document))
        if draw.random() < 0.1:
            return {name: value for name, value in document.items() if name != key}
        return {**document, key: with_another_value(document[key], draw)}
    if isinstance(document, list) and document and draw.random() < 0.85:
        place = draw.randrange(len(document))
        return [
            *document[:place],
            with_another_value(document[place], draw),
            *document[place + 1 :],
        ]
    return draw.choice(HOSTILE)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A small study, done."""
    place = Place(tmp_path_factory.mktemp("whole"))
    place.run(SEARCH, "trials=2", "seeds=1", "epochs=3")
    return place


@pytest.fixture(scope="module")
def spool(place: Place) -> bytes:
    """The spool of a whole run."""
    return max(
        place.results.glob("runs/*/spool.jsonl"), key=lambda path: path.stat().st_size
    ).read_bytes()


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_changed_study_file(
    seeds: range,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.yaml"
    for seed in seeds:
        draw = random.Random(seed)
        for _ in range(STUDIES_OF_A_SEED):
            path.write_bytes(with_other_bytes(SEARCH.encode(), draw))
            status = call(monkeypatch, "check", str(path))
            said = capsys.readouterr()
            assert status in (0, 2), path.read_text(errors="replace")
            assert "Traceback" not in said.err
            assert (status == 0) == (said.err == "")


def mutated(spool: bytes, draw: random.Random) -> bytes:
    """A spool with other bytes, or one whose lines were written so, with or without checksums."""
    if draw.random() < 0.25:
        return with_other_bytes(spool, draw)
    documents = [json.loads(line) for line in spool.splitlines()]
    chosen = draw.randrange(len(documents))
    documents[chosen] = with_another_value(documents[chosen], draw)
    lines, previous = [], ""
    is_sealed = draw.random() < 0.5
    for document in documents:
        if isinstance(document, dict):
            document = {k: v for k, v in document.items() if k not in ("previous", "checksum")}
        if draw.random() < 0.05:
            lines.append(nested(draw.choice((900, 1100, 100_000))) + b"\n")
        if is_sealed and isinstance(document, dict):
            lines.append(sealed(document, previous=previous))
            previous = json.loads(lines[-1])["checksum"]
        else:
            lines.append(json.dumps(document).encode() + b"\n")
    return b"".join(lines)


@pytest.mark.parametrize("seeds", SEEDS)
def test_changed_spools_facts_and_tables(
    seeds: range,
    spool: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed in seeds:
        write_changed_runs(tmp_path / str(seed), spool, random.Random(seed))
        place = ("--results", str(tmp_path / str(seed)))
        assert call(monkeypatch, "rebuild", *place) == 0
        assert call(monkeypatch, "rebuild", "--check", *place) in (0, 1)
        for sql in ("FROM run", "FROM epoch", "FROM recall", "FROM clusters", "FROM summary"):
            assert call(monkeypatch, "sql", sql, *place) == 0
        assert "Traceback" not in capsys.readouterr().err


def write_changed_runs(results: Path, spool: bytes, draw: random.Random) -> None:
    for number in range(SPOOLS_OF_A_SEED):
        directory = results / "runs" / f"{number:016x}"
        (directory / "work" / "tables").mkdir(parents=True)
        (directory / "spool.jsonl").write_bytes(mutated(spool, draw))
        facts = json.dumps(with_another_value({"device": "cpu", "remarks": ["a", "b"]}, draw))
        rows = [
            json.dumps(with_another_value({"epoch": 0, "cluster": 1, "size": 3}, draw))
            for _ in "ab"
        ]
        (directory / "work" / "facts.json").write_bytes(draw.choice((facts.encode(), nested(5000))))
        (directory / "work" / "tables" / draw.choice(("clusters.jsonl", "own.jsonl"))).write_text(
            "\n".join(rows)
        )


def mutated_record(content: bytes, name: str, draw: random.Random) -> bytes:
    """A record with other bytes, or one that was written so, with or without a checksum."""
    if draw.random() < 0.25:
        return with_other_bytes(content, draw)
    document = json.loads(content.replace(b'"best"', json.dumps(name).encode()))
    del document["checksum"]
    if is_old := draw.random() < 0.5:
        document["version"] = 0
    written = json.dumps(with_another_value(document, draw), indent=1).encode()
    if draw.random() < 0.1:
        return nested(draw.choice((900, 100_000)))
    return written if is_old or not written.startswith(b"{\n") else sealed_record(written[2:])


@pytest.mark.parametrize("seeds", SEEDS)
def test_changed_records(
    seeds: range,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = (place.results / "studies" / "best.json").read_bytes()
    for seed in seeds:
        draw, results = random.Random(seed), tmp_path / str(seed)
        (results / "studies").mkdir(parents=True)
        for number in range(RECORDS_OF_A_SEED):
            name = f"s{number}"
            path = results / "studies" / f"{name}.json"
            path.write_bytes(mutated_record(content, name, draw))
        assert call(monkeypatch, "rebuild", "--results", str(results)) == 0
        assert call(monkeypatch, "rebuild", "--check", "--results", str(results)) in (0, 1)
        assert call(monkeypatch, "ls", "--results", str(results)) == 0
        study = SEARCH.replace("study: best", f"study: s{draw.randrange(RECORDS_OF_A_SEED)}")
        (results / "study.yaml").write_text(study)
        preview = ("run", str(results / "study.yaml"), "--dry-run", "--results", str(results))
        assert call(monkeypatch, *preview) in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
