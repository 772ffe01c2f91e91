"""Files that this user may not read or write: a line that names the file, and no traceback.

Root may read everything: there the command is run without that capability, where the system can.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_workload
from driver_place import GRID, Place
from roots import PYTHONPATH
from waiting import DEADLINE_S

LESS = "-dac_override,-dac_read_search"
DROP = ["setpriv", f"--inh-caps={LESS}", f"--bounding-set={LESS}"] if os.geteuid() == 0 else []
CASES = {
    "a spool": ("results/runs/*/spool.jsonl", 0, ["rebuild"], 0),
    "a spool of the study": ("results/runs/*/spool.jsonl", 0, ["run", "study.yaml"], 2),
    "a folder of a run": ("results/runs/*", 0, ["rebuild"], 0),
    "a table": ("results/runs/*/work/tables/clusters.jsonl", 0, ["rebuild"], 0),
    "a record": ("results/studies/*.json", 0, ["rebuild"], 0),
    "the database": ("results/results.duckdb", 0, ["ls"], 2),
    "the database, to write": ("results/results.duckdb", 0, ["run", "study.yaml"], 2),
    "the folder of runs": ("results/runs", 0o555, ["run", "study.yaml", "--set", "seeds=3", "--extend"], 2),
    "the results folder": ("results", 0o555, ["run", "study.yaml", "--set", "study=other"], 2),
    "the study": ("study.yaml", 0, ["check", "study.yaml"], 2),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    place = Place(tmp_path)
    place.run(GRID)
    yield place
    for path in (place.folder, *place.folder.rglob("*")):
        path.chmod(0o755)


@pytest.mark.process
@pytest.mark.skipif(
    bool(DROP) and shutil.which("setpriv") is None,
    reason="root without setpriv may read everything",
)
@pytest.mark.parametrize("name", CASES)
def test_what_may_not_be_used_is_named_in_a_line(place: Place, name: str) -> None:
    pattern, mode, words, status = CASES[name]
    path = sorted(place.folder.glob(pattern))[0]
    path.chmod(mode)
    options = [] if words[0] == "check" else ["--results", "results"]
    done = subprocess.run(
        [*DROP, sys.executable, "-m", "harness", *words, *options],
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert "Traceback" not in done.stderr
    assert "Permission denied" in done.stderr, done
    assert str(path.relative_to(place.folder)).split("/*")[0] in done.stderr
    assert done.returncode == status
