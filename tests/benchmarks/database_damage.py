"""What a damaged results database answers: what it held, or that it is damaged. Never anything else.

    python tests/benchmarks/database_damage.py [--cases 600] [--seed 0] [--write]

A small database of three studies is damaged at random places, in turn by a flipped bit, by up to a
whole block of zeros or of noise, and by a cut; a third of the places lie in its headers. A process
of its own then reads every table and view, another one changes what is there and reads it then.
``used`` are cases that changed a byte of a header, of rows or of what is known of them; the others
changed indexes, free blocks or nothing. A write may be ``right`` where it replaces what is damaged. Prints a table; ``--write`` keeps it in
``tests/benchmarks/results/database_damage.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
from kept import ROOT, keep

from harness.errors import StoreBusyError, StoreError
from harness.store import database

sys.path.insert(0, str(ROOT / "tests" / "fixtures"))

from store_examples import TRIAL, a_trial, everything, write

HEADERS, BLOCK = 3 * 4096, 1 << 18
KINDS = ("flip", "zeros", "noise", "cut")
ACTIONS = ("read", "write")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts: Counter[tuple[str, bool, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        make(results)
        path = database.database_path(results)
        whole, used = path.read_bytes(), used_blocks(path)
        expected = {}
        for action in ACTIONS:
            path.write_bytes(whole)
            expected[action] = apart(action, results)
        for number in range(arguments.cases):
            kind = KINDS[number % len(KINDS)]
            spoilt = damaged(whole, kind, rng)
            is_used = touches(whole, spoilt, used)
            for action in ACTIONS:
                for each in results.glob("results.duckdb*"):
                    each.unlink()
                path.write_bytes(spoilt)
                answer = apart(action, results)
                if answer == expected[action]:
                    answer = "right"
                elif answer.startswith("{"):
                    answer = "WRONG"
                counts[kind, is_used, action, answer] += 1
    answers = sorted({key[3] for key in counts})
    print(f"{'':24}" + "".join(f"{answer:>12}" for answer in answers))
    figures: dict[str, float] = {}
    for kind in KINDS:
        for is_used in (True, False):
            for action in ACTIONS:
                row = [counts[kind, is_used, action, answer] for answer in answers]
                title = f"{kind}, {'used' if is_used else 'other'}, {action}"
                print(f"{title:24}" + "".join(f"{count:12}" for count in row))
                figures |= {f"{title}: {a}": n for a, n in zip(answers, row, strict=True)}
    if arguments.write:
        keep("database_damage", figures=figures)


def make(results: Path) -> None:
    """Three studies, and rows that fill blocks of their own."""
    for study in "abc":
        trials = [a_trial(number, study=study) for number in range(4)]
        write(results, trials, {n: [0.5 + n / 50 + s / 100 for s in range(5)] for n in range(4)})
    write(results, [TRIAL], {0: [0.5]})
    with database.connect(results, read_only=False) as con:
        con.execute(
            "CREATE TABLE many AS SELECT hash(i) AS a, hash(i + 1)::VARCHAR AS b, i / 7 AS c "
            "FROM range(100_000) AS r(i)"
        )


def used_blocks(path: Path) -> frozenset[int]:
    """The blocks in which rows, or what is known of them, lie."""
    with duckdb.connect(str(path), read_only=True) as con:
        found = {
            block
            for (block,) in con.execute("SELECT block_id FROM pragma_metadata_info()").fetchall()
        }
        for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            rows = con.execute(
                f"SELECT block_id, additional_block_ids FROM pragma_storage_info('{table}')"
            ).fetchall()
            for block, more in rows:
                found |= {block, *(more or ())}
    return frozenset(found)


def damaged(whole: bytes, kind: str, rng: random.Random) -> bytes:
    """The file with a random damage of a kind."""
    data = bytearray(whole)
    at = rng.randrange(HEADERS if rng.random() < 1 / 3 else len(data))
    size = min(rng.choice((1, 16, 512, 4096, BLOCK)), len(data) - at)
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    else:
        data[at : at + size] = bytes(size) if kind == "zeros" else rng.randbytes(size)
    return bytes(data)


def touches(whole: bytes, spoilt: bytes, used: frozenset[int]) -> bool:
    """Whether a header or a used block has changed."""
    parts = [(0, 4096), (4096, 8192), (8192, HEADERS)]
    parts += [(HEADERS + b * BLOCK, HEADERS + (b + 1) * BLOCK) for b in used if b >= 0]
    return any(whole[low:high] != spoilt[low:high] for low, high in parts)


def apart(action: str, results: Path) -> str:
    """What a process of its own says of the database: its content, or a word for what went wrong."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_send, args=(there, action, results)
    )
    process.start()
    there.close()
    try:
        answer = str(here.recv()) if here.poll(60) else "HANG"
    except EOFError:
        answer = "CRASH"
    process.join(1)
    process.kill()
    return answer


def _send(to: Connection, action: str, results: Path) -> None:
    to.send(_answer(ACTIONS_OF[action], results))


def _answer(act: Callable[[Path], None], results: Path) -> str:
    try:
        act(results)
        return repr(everything(results))
    except StoreBusyError:
        return "BUSY"
    except StoreError as error:
        text = str(error)
        is_line = text.startswith(f"{database.database_path(results)}: ") and "\n" not in text
        return "named" if is_line else "UNCLEAR"
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return "TRACEBACK"


def _change(results: Path) -> None:
    with database.connect(results, read_only=False) as con:
        con.execute("UPDATE run SET message = 'changed'")
        con.execute("DELETE FROM comparison")
        con.execute("INSERT INTO many SELECT i, i::VARCHAR, i FROM range(1000) AS r(i)")


ACTIONS_OF: dict[str, Callable[[Path], None]] = {"read": lambda results: None, "write": _change}

if __name__ == "__main__":
    main()
