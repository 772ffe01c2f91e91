"""One byte of a results folder or of the cache changed, at random: is it ever used silently?

    python tests/benchmarks/flips.py [--flips 500] [--seed 0] [--write]

A small study of real training is run once. Then, again and again, one byte of a copy is changed,
with the file's size and time as they were, and whatever reads that file is called: ``rebuild`` for
spools, records, facts, tables and the database; the next call of the study for a checkpoint and for
the cache (images and measured settings apart from thumbnails, which no number comes from);
``take_model`` and ``gcudml.load`` for a model. Each change is *named* (the file appears in what is
said or raised), *without effect* (the same tables, the same model), or *silent*, which is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import duckdb
from kept import ROOT, keep

sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fixtures")]

from flip import flip_byte  # noqa: E402  the line above finds it

import gcudml  # noqa: E402
import harness  # noqa: E402
from harness.errors import HarnessError  # noqa: E402
from harness.export.best_model import take_model  # noqa: E402
from harness.store import database, rebuild  # noqa: E402

STUDY = {
    "study": "flips",
    "question": "Is damage used silently?",
    "workload": "gcudml.workload",
    "base": {
        "data": {"name": "strokes", "classes": 16, "images_per_class": 8, "image_size": 16},
        "model": {"width": 8, "embedding_dim": 8, "wide_dim": 12},
        "method": {"name": "gcudml", "clusters": 8, "groups": 2},
        "train": {"epochs": 3, "batch_size": 16, "images_per_cluster": 4},
        "evaluate": {"map": "pca"},
    },
    "search": {"train.learning_rate": {"grid": [0.001, 0.01]}},
    "seeds": 2,
}
NUMBERS = (
    "SELECT run_id, state, failure, code, data, params, facts FROM run ORDER BY ALL",
    "SELECT run_id, epoch, name, value FROM epoch WHERE name NOT LIKE 'seconds/%' ORDER BY ALL",
    "SELECT * FROM recall ORDER BY ALL",
    "SELECT * FROM score ORDER BY ALL",
    "SELECT * FROM clusters ORDER BY ALL",
    "SELECT * FROM queries ORDER BY ALL",
    "SELECT * FROM projection ORDER BY ALL",
    "SELECT * EXCLUDE (updated, command) FROM study ORDER BY ALL",
    "SELECT * FROM trial ORDER BY ALL",
    "SELECT * FROM member ORDER BY ALL",
    "SELECT * FROM comparison ORDER BY ALL",
)
Heard = list[str]


class Listener:
    """A watcher that keeps what is said."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.said: Heard = []
        self._stop_after = stop_after

    def started(self, line: object, snapshot: object) -> None:
        """Nothing to keep."""

    def ended(self, line: object, snapshot: object) -> None:
        """Nothing to keep."""

    def tick(self, snapshot: object) -> None:
        """Nothing to keep."""

    def say(self, text: str) -> None:
        self.said.append(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = flip_all(Path(name), arguments.flips, random.Random(arguments.seed))
    print(f"{'':12} {'flips':>6} {'named':>6} {'no effect':>9} {'silent':>6}")
    for kind, counts in table.items():
        print(
            f"{kind:12} {counts.total():6} {counts['named']:6} "
            f"{counts['no effect']:9} {counts['silent']:6}"
        )
    if arguments.write:
        keep("flips", table={kind: dict(counts) for kind, counts in table.items()})


def flip_all(folder: Path, flips: int, draw: random.Random) -> dict[str, Counter[str]]:
    """Kind of file -> how its changes ended."""
    os.environ["GCUDML_CACHE"] = str(folder / "cache")
    whole = folder / "whole"
    run(whole)
    stopped = folder / "stopped"
    stop_early(stopped)
    kinds: dict[str, Callable[[Path, random.Random], str]] = {
        "spool": lambda at, draw: rebuilt(whole, at, "runs/*/spool.jsonl", draw),
        "record": lambda at, draw: rebuilt(whole, at, "studies/*.json", draw),
        "facts": lambda at, draw: rebuilt(whole, at, "runs/*/work/facts.json", draw),
        "tables": lambda at, draw: rebuilt(whole, at, "runs/*/work/tables/*.jsonl", draw),
        "model": lambda at, draw: taken(whole, at, draw),
        "checkpoint": lambda at, draw: resumed(whole, stopped, at, draw),
        "cache": lambda at, draw: trained_from(whole, folder / "cache", at, draw),
        "thumbnails": lambda at, draw: trained_from(
            whole, folder / "cache", at, draw, thumbnails=True
        ),
        "database": lambda at, draw: asked(whole, at, draw),
    }
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for number in range(flips):
        kind = list(kinds)[number % len(kinds)]
        place = folder / "copy"
        outcome = kinds[kind](place, draw)
        table[kind][outcome] += 1
        shutil.rmtree(place, ignore_errors=True)
        print(f"\r{number + 1} of {flips}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return table


def run(results: Path, *overrides: str) -> Heard:
    """Run the study in this process; all that it says, whatever ends it."""
    listener, errors = Listener(), io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            harness.run(
                STUDY, results=results, overrides=overrides, executor="local", watcher=listener
            )
    except HarnessError as error:
        listener.said.append(str(error))
    logs = [path.read_text() for path in results.glob("runs/*/stderr.log")]
    return [*listener.said, errors.getvalue(), *logs]


def stop_early(results: Path) -> None:
    """Leave a study whose first run was stopped after its first epoch, with a checkpoint."""
    from harness.executors.worker import stop_request

    class Stopper(Listener):
        def started(self, line: object, snapshot: object) -> None:
            stop_request.set()

    with contextlib.suppress(HarnessError, KeyboardInterrupt):
        harness.run(STUDY | {"seeds": 1}, results=results, executor="local", watcher=Stopper())
    assert checkpoints(results), "no run was stopped with a checkpoint"


def checkpoints(results: Path) -> list[Path]:
    return [path for path in results.glob("runs/*/work/checkpoint*") if path.is_file()]


def numbers(results: Path) -> list[list[tuple[object, ...]]]:
    """All that a reader could take for a result."""
    return [database.query(results, sql).rows for sql in NUMBERS]


def flipped(paths: list[Path], draw: random.Random) -> Path:
    """Change a byte of one of the files; which."""
    path = draw.choice(sorted(path for path in paths if path.stat().st_size))
    flip_byte(path, draw.randrange(path.stat().st_size), draw.randrange(1, 256))
    return path


def with_early_stopping(is_same: bool, path: Path, heard: Heard) -> str:
    if any(path.name in text for text in heard):
        return "named"
    if is_same:
        return "no effect"
    print(f"\nsilent: {path}; it was said: {heard}", file=sys.stderr)
    return "silent"


def rebuilt(whole: Path, place: Path, pattern: str, draw: random.Random) -> str:
    shutil.copytree(whole, place)
    path = flipped(list(place.glob(pattern)), draw)
    try:
        heard = [*rebuild.rebuild(place).notices]
        is_same = numbers(place) == numbers(whole)
    except HarnessError as error:
        heard, is_same = [str(error)], False
    return with_early_stopping(is_same, path, heard)


def taken(whole: Path, place: Path, draw: random.Random) -> str:
    """A model is taken away, and loaded where it lies."""
    shutil.copytree(whole, place)
    path = flipped(list(place.glob("runs/*/work/model.*")), draw)
    heard: Heard = []
    try:
        gcudml.load(path)
        heard.append("")
    except (HarnessError, ValueError) as error:
        heard.append(str(error))
    is_named = with_early_stopping(False, path, heard) == "named"
    best = place / "best"
    try:
        found = take_model(place, "flips", best)
        is_same = found.run_id not in str(path)
        return "named" if is_same and is_named else "silent"
    except HarnessError as error:
        return with_early_stopping(False, path, [str(error)]) if is_named else "silent"


def resumed(whole: Path, stopped: Path, place: Path, draw: random.Random) -> str:
    """The study goes on from a checkpoint."""
    shutil.copytree(stopped, place)
    path = flipped(checkpoints(place), draw)
    heard = run(place, "seeds=1")
    wanted = f"SELECT run_id, epoch, name, value FROM epoch WHERE run_id = '{path.parents[1].name}' AND name NOT LIKE 'seconds/%' ORDER BY ALL"
    is_same = database.query(place, wanted).rows == database.query(whole, wanted).rows
    return with_early_stopping(is_same, path, heard)


def trained_from(
    whole: Path, cache: Path, place: Path, draw: random.Random, *, thumbnails: bool = False
) -> str:
    """A study is trained from the image cache, of which another copy is put back afterwards."""
    kept = cache.with_name("kept")
    shutil.copytree(cache, kept)
    try:
        files = [path for path in cache.rglob("*") if path.is_file()]
        path = flipped(
            [each for each in files if (each.parent.name == "thumbnails") == thumbnails], draw
        )
        heard = run(place, "seeds=1", "search.train.learning_rate={grid: [0.001, 0.01]}")
        wanted = "SELECT run_id, name, value FROM score WHERE run_id IN (SELECT run_id FROM run WHERE seed = 0) ORDER BY ALL"
        is_same = database.query(place, wanted).rows == database.query(whole, wanted).rows
        return with_early_stopping(is_same, path, heard)
    finally:
        shutil.rmtree(cache)
        kept.rename(cache)


def asked(whole: Path, place: Path, draw: random.Random) -> str:
    """The database itself is asked."""
    place.mkdir()
    shutil.copy2(database.database_path(whole), database.database_path(place))
    path = flipped([database.database_path(place)], draw)
    try:
        return with_early_stopping(numbers(place) == numbers(whole), path, [])
    except (HarnessError, duckdb.Error) as error:
        return with_early_stopping(False, path, [str(error)])


if __name__ == "__main__":
    main()
