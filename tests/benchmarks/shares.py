"""Where the time of shipped studies' runs goes, as ``harness run --profile`` measures it.

    GCUDML_DATA=FOLDER GCUDML_WEIGHTS=FOLDER python tests/benchmarks/shares.py
        [--study studies/momentum.yaml --study ...] [--write]

Every trial of each study with one seed for three epochs; controls do not count. All that is neither
the student's forward and backward nor the teacher's forward is added up. Without the two variables,
leave out the study of birds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kept import ROOT, keep

from gcudml.runtime.timer import PARTS
from harness.report.html.profile import read_profile
from harness.store.database import reading
from harness.study.loading import load_study
from harness.workload import JsonValue

STUDIES = (
    "studies/momentum.yaml",
    "studies/clusters.yaml",
    "studies/groups.yaml",
    "studies/methods.yaml",
    "studies/birds/components.yaml",
)
NETWORKS = ("student", "teacher", "backward")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", action="append", dest="studies")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures = {}
    for study in arguments.studies or STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            figures[study] = shares(study, Path(folder))
        print(study, figures[study], flush=True)
        if arguments.write:
            keep("shares", figures=figures)


def shares(study: str, folder: Path) -> dict[str, JsonValue]:
    """Percent of the measured time, part by part."""
    command = [sys.executable, "-m", "harness", "run", study, "--profile"]
    command += ["--set", "seeds=1", "--set", "train.epochs=3"]
    command += ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    environment = os.environ | {"GCUDML_CACHE": str(folder / "cache")}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    with reading(folder / "results") as con:
        profile = read_profile(con, load_study(ROOT / study).spec.study)
    assert profile is not None
    percent = {part.name: 100 * part.share for part in profile.parts}
    assert percent.keys() == set(PARTS)
    beside = sum(percent[part] for part in PARTS if part not in NETWORKS)
    found: dict[str, JsonValue] = {"runs": profile.runs}
    found |= {part: round(percent[part], 1) for part in PARTS}
    return found | {"neither network": round(beside, 1)}


if __name__ == "__main__":
    main()
