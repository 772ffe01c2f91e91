"""What is installed from a wheel is whole: a study runs from it, far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from roots import FIXTURES, ROOT
from waiting import PATIENCE

PACKAGES = ("harness", "gcudml")
STUDY = """
study: installed
question: Does it run where it was installed?
workload: elsewhere
base: {epochs: 2}
search:
  x: {grid: [0.0, 0.25]}
metric: height
seeds: 2
"""
WORKLOAD = f'''
"""``quadratic``, in processes that must not know the checkout."""
import sys
from pathlib import Path
import harness
from quadratic import check, run, schema

assert Path(harness.__file__).is_relative_to(Path(__file__).parents[1] / "installed")
assert not any(Path(entry).resolve() == Path({str(ROOT)!r}) for entry in sys.path)
'''

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(180)]


def call(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=env,
        timeout=120 * PATIENCE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: building leaves folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    call(sys.executable, "-m", "pip", "wheel", ".", *options, cwd=sources)
    (made,) = folder.glob("*.whl")
    return made


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    files = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.name != "README.md"
    }
    assert {Path(name).suffix for name in ours} == {".py", ".sql", ".css", ".js", ".typed"}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == ours


def test_a_study_runs_and_is_reported_far_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, folder = tmp_path / "installed", tmp_path / "work"
    folder.mkdir()
    options = ["--no-deps", "--no-index", "--target", installed]
    call(sys.executable, "-m", "pip", "install", *options, wheel, cwd=tmp_path)
    (folder / "study.yaml").write_text(STUDY)
    (folder / "elsewhere.py").write_text(WORKLOAD)
    shutil.copy(FIXTURES / "workloads" / "quadratic.py", folder)
    # -S: a checkout that is installed as editable adds itself when Python starts.
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    paths = [str(installed), *sorted(libraries)]
    said = call(
        *(sys.executable, "-S", "-m", "harness", "run", "study.yaml"),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert "report: reports/installed.html" in said
    assert "2/2" in said
    page = (folder / "reports" / "installed.html").read_text(encoding="utf-8")
    assert "Does it run where it was installed?" in page
