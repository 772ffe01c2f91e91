"""Study files that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hostile_row import HostileRow


def _empty_file(folder: Path) -> Sequence[str]:
    (folder / "study.yaml").touch()
    return ("run", "study.yaml")


ROWS = [
    HostileRow("an empty study file", _empty_file, [r"study\.yaml:1:1: is empty"]),
]
