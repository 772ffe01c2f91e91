"""Where numbers come from: the commit of the code, the libraries and the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

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


class GitState(NamedTuple):
    """The commit that a folder is at; both None where there is no repository or no git."""

    commit: str | None
    dirty: bool | None
    """Whether tracked files differ from the commit."""


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
