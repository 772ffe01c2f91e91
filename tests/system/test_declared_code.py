"""What gcudml declares of its code is what its runs load: all of it, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from roots import FIXTURES, ROOT

from gcudml import workload
from harness.study.loading import load_study
from harness.workload import code_files
from harness.workload.code_digest import version
from harness.workload.code_files import CodeFiles

STUDIES = sorted((ROOT / "studies").rglob("*.yaml"))

Versions = Callable[..., str]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_runs_of_every_shipped_study_load_what_they_declare(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "GCUDML_CACHE": str(tmp_path / "cache"),
    }
    script = FIXTURES / "declared_code.py"
    done = subprocess.run(
        [sys.executable, str(script), str(ROOT / "studies"), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {name for each in answers for name in each["studies"]} == {p.stem for p in STUDIES}
    wrong = [each for each in answers if each["undeclared"] or each["unused"]]
    assert not wrong, json.dumps(wrong[0], indent=1)
    assert len(answers) > 50


@pytest.fixture
def version_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Versions:
    """Tells the version of a setting after a line was added to a file of a copy of gcudml."""
    copy = tmp_path / "gcudml"
    shutil.copytree(ROOT / "gcudml", copy, ignore=shutil.ignore_patterns("__pycache__"))
    place = code_files._Place(copy / "__init__.py", (copy,))
    monkeypatch.setattr(code_files, "_found_by_import", lambda top: place)

    def told(edited: str | None = None, **params: Any) -> str:
        file = copy / (edited or "training/run.py")
        before = file.read_text(encoding="utf-8")
        if edited is not None:
            file.write_text(before + "\nEDITED = 1\n", encoding="utf-8")
        try:
            sources = CodeFiles("gcudml.workload").behind(workload.code(params))
        finally:
            file.write_text(before, encoding="utf-8")
        return version({name: source.module for name, source in sources.items()})

    return told


@pytest.mark.parametrize(
    ("edited", "counts_for"),
    [
        ("methods/gcudml/method.py", {"gcudml", "squeezenet", "bundled"}),
        ("methods/gcudml/losses.py", {"gcudml", "squeezenet", "bundled"}),
        ("methods/cbswr/method.py", {"cbswr"}),
        ("methods/cbswr/decoder.py", {"cbswr"}),
        ("models/backbones/torchvision.py", {"squeezenet"}),
        ("models/backbones/timm.py", {"timm", "bundled"}),
        (
            "models/backbones/conv4.py",
            {"gcudml", "cbswr", "squeezenet", "timm", "bundled", "untrained"},
        ),
        ("config/cbswr.py", {"gcudml", "cbswr", "squeezenet", "timm", "bundled", "untrained"}),
        ("api.py", set()),
    ],
)
def test_an_edit_counts_for_the_runs_that_use_the_file(
    version_after: Versions, edited: str, counts_for: set[str]
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "gcudml": {},
        "cbswr": {"method": {"name": "cbswr"}},
        "squeezenet": {"model": {"backbone": "squeezenet1_1"}},
        "timm": {"model": {"backbone": "timm:resnet10t"}, "method": {"name": "stml"}},
        "bundled": {"model": {"backbone": "efficientnet_lite0", "weights": "bundled"}},
        "untrained": {"method": {"name": "untrained"}},
    }
    changed = {
        name
        for name, params in settings.items()
        if version_after(edited, **params) != version_after(**params)
    }
    assert changed == counts_for


def test_the_study_of_a_network_has_the_code_of_the_network_in_its_version(
    version_after: Versions,
) -> None:
    base = load_study(ROOT / "studies" / "birds" / "components.yaml").spec.base
    assert version_after(**base) != version_after("models/backbones/torchvision.py", **base)
