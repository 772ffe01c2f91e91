"""Kills at random moments, and whether the study ends in the same tables.

    python tests/benchmarks/faults.py [--kills 20] [--held-s 60] [--write]

``kill -9`` of the driver, of a worker and of the fork server, each so many times in a study of its
own, which is then called until it is done; and a reader that holds the store for a minute. Prints
a table; ``--write`` keeps it in ``tests/benchmarks/results/faults.json``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from kept import ROOT, keep

sys.path[:0] = [str(ROOT / "tests" / "fixtures"), str(ROOT / "tests" / "fixtures" / "workloads")]

from store_examples import held  # noqa: E402  the line above finds it
from subject import VICTIMS, Subject  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--held-s", type=float, default=60.0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, int | bool] = {}
    with tempfile.TemporaryDirectory() as name:
        whole = Subject(Path(name) / "whole")
        whole.finish()
        for victim in VICTIMS:
            figures |= killed(Path(name), victim, arguments.kills, whole)
        figures["a reader for a minute: same tables"] = held_for(
            Path(name), arguments.held_s, whole
        )
    for figure, value in figures.items():
        print(f"{figure:48} {value}")
    if arguments.write:
        keep("faults", figures=figures)


def killed(folder: Path, victim: str, kills: int, whole: Subject) -> dict[str, int | bool]:
    """How many of so many studies were hit in time, and how many ended in the same tables."""
    moments = random.Random(victim)
    hit = same = calls = 0
    for number in range(kills):
        subject = Subject(folder / f"{victim}{number}")
        hit += subject.harm(moments.randrange(1, 7 * 32), VICTIMS[victim])
        calls = max(calls, subject.finish())
        same += subject.tables() == whole.tables()
    return {
        f"{victim} killed: times": hit,
        f"{victim} killed: same tables": same,
        f"{victim} killed: most calls until done": calls,
    }


def held_for(folder: Path, seconds: float, whole: Subject) -> bool:
    """Whether a study ends in the same tables though its store is held for so long."""
    subject = Subject(folder / "held")
    subject.start("--set", "seeds=1").communicate()
    process = subject.start("--extend")
    with held(subject.results, "read"):
        time.sleep(seconds)
    process.communicate()
    subject.finish()
    return subject.tables() == whole.tables()


if __name__ == "__main__":
    main()
