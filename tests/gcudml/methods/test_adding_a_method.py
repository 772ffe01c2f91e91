"""A method is added in four places, in just the way that the README shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from roots import ROOT

from gcudml import workload
from gcudml.config import METHODS, AnyMethodConfig

SECTION = (ROOT / "gcudml" / "README.md").read_text(encoding="utf-8").partition("## Adding a m")[2]
TRAINS = """
from gcudml import workload
from harness.study.loading import load_study
from roots import ROOT


def test_align_uniform_trains_its_study(tmp_path):
    study = load_study(ROOT / "studies" / "align_uniform.yaml").spec
    data = {"name": "strokes", "classes": 16, "images_per_class": 8}
    train = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 12, "number_format": "fp32"}
    train |= {"memory_layout": "contiguous"}
    params = workload.check(study.base | {"data": data, "train": train})
    assert workload.code(params) == ["gcudml.methods.align_uniform.method"]
    seen = []
    results = workload.run(
        params, seed=0, workdir=tmp_path, report=lambda *each: seen.append(each) or True, test=True
    )
    assert "loss/uniformity" in seen[0][1]
    assert 0.0 <= results["test/recall@1"] <= 1.0
"""


def test_the_table_and_the_type_name_the_same_configurations() -> None:
    assert [entry.config for entry in METHODS.values()] == list(get_args(AnyMethodConfig))
    for name, entry in METHODS.items():
        assert entry.config().name == name


def test_the_code_of_a_method_is_declared_by_its_own_runs_alone() -> None:
    modules = {
        name: set(workload.code({"method": {"name": name}}))
        for name, entry in METHODS.items()
        if entry.builder
    }
    for name, own in modules.items():
        assert own == {METHODS[name].builder.partition(":")[0]}
        assert not any(own & other for each, other in modules.items() if each != name)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and of its tests, to which the README's method was added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("gcudml", "tests/fixtures", "tests/gcudml/methods", "tests/gcudml/training"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/gcudml/conftest.py"):
        shutil.copy(ROOT / name, root / name)
    (root / "harness").symlink_to(ROOT / "harness")

    for path, content in re.findall(r"```python\n# (\S+)\n(.*?)```", SECTION, flags=re.S):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    room = root / "gcudml" / "methods" / "align_uniform"
    (room / "__init__.py").write_text('"""Alignment and uniformity."""\n', encoding="utf-8")
    test_room = root / "tests" / "gcudml" / "methods" / "align_uniform"
    (test_room / "test_study.py").write_text(TRAINS, encoding="utf-8")
    (root / "studies").mkdir()
    (root / "studies" / "align_uniform.yaml").write_text(block("yaml"), encoding="utf-8")
    table = root / "gcudml" / "config" / "methods.py"
    table.write_text(with_added(table.read_text(encoding="utf-8"), block("diff")), encoding="utf-8")
    return root


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, flags=re.S)
    return str(found)


def with_added(text: str, diff: str) -> str:
    """Put each group of added lines before the line that follows it in the diff."""
    for added, follows in re.findall(r"((?:^\+.*\n)+)^ (.*\n)", diff, flags=re.M):
        assert text.count(f"\n{follows}") == 1, follows
        new = re.sub(r"^\+", "", added, flags=re.M)
        text = text.replace(f"\n{follows}", f"\n{new}{follows}")
    return text


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_method_of_the_readme_trains_and_passes_the_tests_of_all_methods(
    checkout: Path,
) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-k", "align_uniform and not few_epochs"]
    done = subprocess.run(
        [*command, "tests"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) >= 8, done.stdout
