"""The border between the packages, and that each heavy library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from roots import ROOT

from gcudml import workload as gcudml_workload
from harness.workload import Workload, load_workload

# mypy checks here that the module offers what the border asks for, with the types it asks for.
CHECKED: Workload = gcudml_workload

HOMES: dict[str, tuple[str, ...]] = {
    "duckdb": ("harness/store/", "harness/export/row_files.py"),
    "optuna": ("harness/search/", "harness/export/optuna_journal.py"),
    "mcp": ("harness/agents/server.py",),
    "mlflow": ("harness/export/mlflow_runs.py",),
    "tensorboard": ("harness/export/tensorboard_events.py",),
    "plotly": ("harness/report/plots/render.py", "harness/report/study_page.py"),
    "pandas": ("harness/api.py",),
    "ray": ("harness/executors/ray/executor.py",),
    "prompt_toolkit": ("harness/cli/sql_prompt.py",),
    "typer": ("harness/cli/",),
    "rich": ("harness/cli/",),
    "yaml": ("harness/study/", "harness/report/html/reproduce.py"),
    "faiss": ("gcudml/neighbours/",),
    "PIL": ("gcudml/data/", "gcudml/evaluation/thumbnails.py"),
    "pytorch_metric_learning": ("gcudml/losses/named.py",),
    "safetensors": ("gcudml/training/model_file.py", "gcudml/models/backbones/weights.py"),
    "scipy": (
        "gcudml/data/benchmarks.py",
        "gcudml/evaluation/diagnostics.py",
        "gcudml/methods/gce/meta_classes.py",
        "harness/search/",
        "harness/stats/",
    ),
    "timm": ("gcudml/models/backbones/timm.py",),
    "torchvision": ("gcudml/models/backbones/torchvision.py",),
}
"""Library -> the rooms and files that may import it."""


def imported(path: Path) -> set[str]:
    """Top names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            names |= {
                str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)
            }
    return names


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """File of the packages -> what it imports."""
    sources = [*(ROOT / "harness").rglob("*.py"), *(ROOT / "gcudml").rglob("*.py")]
    return {str(path.relative_to(ROOT)): imported(path) for path in sources}


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_one_home(imports: dict[str, set[str]], library: str) -> None:
    found = {path for path, names in imports.items() if library in names}
    assert found, f"{library} is not used at all"
    assert [path for path in found if not path.startswith(HOMES[library])] == []


def test_the_library_satisfies_the_border() -> None:
    loaded = load_workload("gcudml.workload")
    assert loaded.schema() == CHECKED.schema()
    full = loaded.check({})
    assert loaded.check(full) == full


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("harness.cli.commands", {"torch", "gcudml", "duckdb", "optuna", "plotly"}),
        ("harness", {"duckdb", "pandas", "numpy", "pydantic", "yaml", "typer"}),
        ("harness.api", {"torch", "gcudml", "optuna", "plotly", "pandas"}),
        ("harness.engine.run_study", {"torch", "gcudml", "optuna", "plotly", "pandas"}),
        (
            "gcudml.workload",
            {"harness", "duckdb", "optuna", "plotly", "typer", "timm", "torchvision"},
        ),
    ],
)
@pytest.mark.timeout(60)
def test_importing_one_side_does_not_load_the_other(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted(n for n in sys.modules if '.' not in n))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert sorted(forbidden & loaded) == []
