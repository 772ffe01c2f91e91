"""Where benchmarks keep what they measured, and with what."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from harness.records.provenance import git_state, library_versions

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(__file__).resolve().parent / "results"


def keep(name: str, **content: object) -> None:
    """Write what was measured to ``results/NAME.json`` beside machine, versions and commit."""
    commit = git_state(ROOT)
    made_with = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": library_versions(),
        "commit": commit.commit,
        "dirty": commit.dirty,
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(content | made_with, indent=1) + "\n", encoding="utf-8")
