"""Where numbers come from: the code, its commit, the libraries and the machine."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError
from harness.trial import digest

_DISTRIBUTION = "gcudml-harness"
_LIBRARIES = (
    "duckdb",
    "faiss-cpu",
    "numpy",
    "optuna",
    "pillow",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
)
"""What is asked for where the project runs from its folder without being installed."""
_GIT_TIMEOUT_S = 5.0
_LOADED: dict[Path, str] = {}
"""File -> digest of its code when a version was made from it."""


class GitState(NamedTuple):
    """The commit that a folder is at; both None where there is no repository or no git."""

    commit: str | None
    dirty: bool | None
    """Whether tracked files differ from the commit."""


@functools.cache
def code_version(workload: str) -> str:
    """A digest of the code behind the workload ``workload``, which has been imported.

    It covers the modules that are loaded from the workload's own top package, as syntax trees:
    comments, docstrings and layout do not count. The answer is kept, because what counts is the
    code that this process has loaded, not what an editor makes of the files later.

    Raises:
        InputError: the workload is not imported, or a file of it is unreadable.
    """
    package = workload.partition(".")[0]
    parts = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name == package or name.startswith(f"{package}.")):
            parts[name] = _meaning(Path(file))
            _LOADED[Path(file)] = digest(parts[name])
    if not parts:
        raise InputError(f"workload {workload!r}: no source file of it is loaded; import it first")
    return digest([list(part) for part in parts.items()])[:16]


def refuse_changed_code(workload: str) -> None:
    """Stop where the code behind ``workload`` is no longer what this process has loaded.

    A notebook lives on while its workload is edited. Runs in processes of their own would train
    the new code, and be kept under the version of the old.

    Raises:
        InputError: naming a file that has changed.
    """
    package = workload.partition(".")[0]
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        is_part = name == package or name.startswith(f"{package}.")
        if is_part and file in _LOADED and digest(_meaning(file)) != _LOADED[file]:
            raise InputError(f"{file}: has changed since it was imported; restart Python")


def git_state(path: Path) -> GitState:
    """The commit of the repository that ``path`` lies in, and whether its tracked files differ."""
    commit = _git(path, "rev-parse", "HEAD")
    if commit is None:
        return GitState(None, None)
    changes = _git(path, "status", "--porcelain", "--untracked-files=no")
    return GitState(commit, None if changes is None else bool(changes))


def library_versions() -> dict[str, str]:
    """Distribution -> installed version of all that the harness requires, and Python's own."""
    versions = {"python": platform.python_version()}
    for name in _required():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def host_name() -> str:
    """The name of this machine."""
    return platform.node() or "unknown"


def _meaning(file: Path) -> str:
    """What the code in ``file`` does, as text: its syntax tree without docstrings."""
    try:
        source = file.read_bytes()
        if file.suffix != ".py":  # a compiled module
            return digest(source.hex())
        tree = ast.parse(source, filename=str(file))
    except (OSError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: cannot fingerprint the code: {reason}; mend the file") from None
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def _git(path: Path, *arguments: str) -> str | None:
    """What a git command prints; None where it fails, hangs or is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _required() -> list[str]:
    """The names of the distributions that the harness requires, extras left out."""
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return list(_LIBRARIES)
    found = [re.match(r"[A-Za-z0-9._-]+", text) for text in requirements if "extra ==" not in text]
    return sorted(match[0].lower() for match in found if match)
