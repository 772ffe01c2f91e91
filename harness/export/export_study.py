"""Export a study for other tools, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from harness.errors import InputError, StoreError
from harness.report.data.load import load_tables
from harness.store import database

ExportForm = Literal["csv", "parquet", "latex", "markdown", "optuna", "tensorboard", "mlflow"]

MARKER = ".harness-export"
"""Marks a folder as written by an export, so that a later export may replace it."""
_WAIT_S = 10.0
_FOLDERS = ("csv", "parquet", "tensorboard")
_ENDINGS = {"latex": ".tex", "markdown": ".md", "optuna": ".journal.log", "mlflow": ".mlflow.db"}

_ROW_FILES = (
    "one file each for trials, runs, results, summary, comparisons, curves and mixed, and for what "
    "else the study has: effects, claims, flips and others"
)
_HINTS = {
    "csv": _ROW_FILES,
    "parquet": _ROW_FILES,
    "latex": "a table for \\input; it needs \\usepackage{booktabs}",
    "markdown": "a table",
    "optuna": "open it with `optuna-dashboard FILE`",
    "tensorboard": "open it with `tensorboard --logdir FOLDER`",
    "mlflow": "open it with `mlflow ui --backend-store-uri sqlite:///FILE`",
}


def export_study(
    results: Path, study: str, form: ExportForm, to: str | None = None, *, force: bool = False
) -> str:
    """Export ``study`` for another tool; return where the export is and what opens it.

    It is written to a temporary path and renamed, so that no reader sees half of it. If ``to`` is
    None, a table is returned instead of written.

    Args:
        results: The results folder.
        study: Its name.
        form: Format of the export.
        to: File or folder, or a URI for MLflow; None for a path below ``exports``.
        force: Whether to replace an existing file, or the folder of an earlier export.

    Raises:
        InputError: no such study, no finished run, something is in the way, or a library is
            not installed.
        StoreError: the database cannot be read, or the target cannot be written.
    """
    _check_study(results, study)
    if form in ("latex", "markdown") and to is None:
        return _table(results, study, form).rstrip("\n")
    target = Path(to) if to is not None else Path("exports") / _name(study, form)
    try:
        if form == "mlflow" and to is not None and "://" in to:
            return f"{to}: {_add_runs(results, study, to)} new runs in the experiment {study!r}"
        _check_target(target, is_folder=form in _FOLDERS, force=force)
        with _beside(target) as part:
            _write(results, study, form, part, target)
    except OSError as error:
        raise StoreError(
            f"{to or target}: cannot write: {error.strerror or error}; free some space, or choose "
            "another path with --to"
        ) from None
    return f"{target}: {_HINTS[form]}"


def _write(results: Path, study: str, form: ExportForm, part: Path, target: Path) -> None:
    """Write the export to ``part``, which becomes ``target``."""
    if form in _FOLDERS:
        part.mkdir()
        (part / MARKER).write_text(f"{form} of {study}\n", encoding="utf-8")
    # Imported here: each takes a second or more to load.
    if form == "csv" or form == "parquet":
        from harness.export.row_files import write_tables

        write_tables(results, study, form, part)
    elif form == "tensorboard":
        from harness.export.tensorboard_events import write_event_files

        write_event_files(results, study, part)
    elif form == "optuna":
        from harness.export.optuna_journal import write_journal

        write_journal(results, study, part)
    elif form == "mlflow":
        artifacts = target.with_name(target.name + ".artifacts").absolute()
        _add_runs(results, study, f"sqlite:///{part.absolute()}", artifacts.as_uri())
    else:
        part.write_text(_table(results, study, form), encoding="utf-8")


def _add_runs(results: Path, study: str, uri: str, artifacts: str | None = None) -> int:
    from harness.export.mlflow_runs import write_runs

    return write_runs(results, study, uri, artifacts)


def _table(results: Path, study: str, form: ExportForm) -> str:
    """Return the table for a paper, ending with a newline."""
    from harness.report.findings.tables.paper_table import paper_table

    table = paper_table(load_tables(results, study))
    return table.markdown() if form == "markdown" else table.latex(f"tab:{study}")


def _check_study(results: Path, study: str) -> None:
    """Raise if the study does not exist, or has no finished run."""
    tables = load_tables(results, study)  # raises, naming the nearest study
    done = "SELECT count(*) FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)"
    rows = database.query(
        results, f"{done} WHERE study = $1 AND state = 'done'", [study], wait_s=_WAIT_S
    ).rows
    if rows == [(0,)]:
        raise InputError(
            f"{results}: the study {tables.study.name!r} has no finished run yet; export it when "
            "it has one"
        )


def _name(study: str, form: ExportForm) -> str:
    """Return the default name of the file or folder below ``exports``."""
    return f"{study}-{form}" if form in _FOLDERS else study + _ENDINGS[form]


def _check_target(target: Path, *, is_folder: bool, force: bool) -> None:
    """Refuse to overwrite anything except, with ``force``, what an export may have written."""
    if target.is_symlink() or target.exists():
        if not force:
            raise InputError(f"{target}: already exists; replace it with --force, or choose --to")
        is_ours = (target / MARKER).is_file() or (is_folder and _is_empty(target))
        if target.is_dir() and not (is_folder and is_ours):
            raise InputError(
                f"{target}: a folder, but not an earlier export; choose another path with --to"
            )
        if is_folder and not target.is_dir():
            raise InputError(f"{target}: a file is in the way; choose another path with --to")
    target.parent.mkdir(parents=True, exist_ok=True)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``target`` if the block succeeds."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        part = Path(folder) / "part"
        yield part
        _sync(part)
        if target.is_dir() and not target.is_symlink():
            target.replace(Path(folder) / "old")
        part.replace(target)


def _sync(path: Path) -> None:
    """Sync files to disk before they are renamed: a full disk fails here at the latest."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
