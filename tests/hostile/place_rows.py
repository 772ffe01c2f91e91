"""Data that are missing, blamed on the line that names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hostile_row import HostileRow

HEAD = """\
study: places
question: Where?
workload: toy_workload
metric: recall@1
seeds: [0]
"""


def _study(text: str) -> Callable[[Path], Sequence[str]]:
    def prepare(folder: Path) -> Sequence[str]:
        (folder / "study.yaml").write_text(HEAD + text, encoding="utf-8")
        return ("run", "study.yaml", "--executor", "local")

    return prepare


def _row(name: str, text: str, line: int) -> HostileRow:
    return HostileRow(name, _study(text), [rf"study\.yaml:{line}:\d+: data: no images there"])


ROWS = [
    _row(
        "missing data in the base", "base:\n  quality: 0.5\n  data: missing\nvariants: {a: {}}\n", 8
    ),
    _row(
        "missing data in a variant",
        "base: {data: toy}\nvariants:\n  a: {}\n  b:\n    quality: 0.4\n    data: missing\n",
        11,
    ),
    _row(
        "missing data in an axis",
        "base: {data: toy}\nsearch:\n  quality: {grid: [0.4]}\n  data: {grid: [toy, missing]}\n",
        9,
    ),
    _row(
        "missing data in a tied axis",
        "base: {data: toy}\nzip: [[quality, data]]\nsearch:\n  quality: {grid: [0.4, 0.5]}\n"
        "  data: {grid: [toy, missing]}\n",
        10,
    ),
    _row(
        "missing data at the end of a searched axis",
        "base: {data: toy}\nsampler: random\ntrials: 2\nsearch:\n  data: {choice: [toy, missing]}\n",
        10,
    ),
]
