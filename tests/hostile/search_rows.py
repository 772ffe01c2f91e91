"""Searches that the rules they go by cannot serve."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile_row import HostileRow

SEARCH = {
    "study": "hill",
    "question": "Is that one line?",
    "workload": "quadratic",
    "search": {"x": {"uniform": [-1, 1]}, "y": {"uniform": [-1, 1]}},
    "metric": "height",
    "sampler": "random",
    "trials": 8,
    "pruner": "wilcoxon",
    "seeds": 5,
}


def asked(command: str) -> Callable[[Path], Sequence[str]]:
    """A search that is too small for its pruner."""

    def prepare(folder: Path) -> Sequence[str]:
        (folder / "study.yaml").write_text(json.dumps(SEARCH), encoding="utf-8")
        return (command, "study.yaml")

    return prepare


ROWS = [
    HostileRow(
        f"{command}: a test over too few seeds",
        asked(command),
        [
            r"study\.yaml:\d+:\d+: pruner: wilcoxon needs 6 seeds or more, .*; got 5: give more seeds"
        ],
    )
    for command in ("run", "plan")
]
