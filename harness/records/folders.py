"""Folders given by the user, and the paths of a run's files below them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.errors import InputError

_PARTS = ("runs", "studies", "drivers")


def folder(given: str | Path, kind: Literal["results", "reports"]) -> Path:
    """Check a folder given by the user; it need not exist.

    Raises:
        InputError: the name is empty or invalid, or a file is in the place of the folder, of a
            folder above it, or of one that the harness needs in it.
    """
    remedy = f"choose another with --{kind}"
    if not str(given).strip() or "\0" in str(given):
        raise InputError(f"{str(given)!r}: not a folder name; {remedy}")
    path = Path(given)
    try:
        there = next(each for each in (path, *path.parents, Path("/")) if each.exists())
        is_folder = there.is_dir()
        parts = [path / name for name in _PARTS if kind == "results"]
        in_the_way = [each for each in parts if each.exists() and not each.is_dir()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; {remedy}") from None
    if not is_folder:
        what = "a file" if there == path else f"below {there}, which is a file"
        raise InputError(f"{path}: {what}, not a {kind} folder; {remedy}")
    if in_the_way:
        raise InputError(f"{in_the_way[0]}: a file where a folder is needed; move it, or {remedy}")
    return path


def run_dir(results: Path, run_id: str) -> Path:
    """Return the folder of a run; it need not exist."""
    return results / "runs" / run_id


def spool_path(directory: Path) -> Path:
    """Return the event file in a run's folder ``directory`` (see ``run_dir``)."""
    return directory / "spool.jsonl"


def work_dir(directory: Path) -> Path:
    """Return the workload's own folder in a run's folder ``directory``."""
    return directory / "work"
