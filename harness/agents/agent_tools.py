"""The tools of the MCP server as plain functions, with the documents of the command line.

Whatever reads results reads a copy of the database without shut test scores; see
``harness.store.shut_copy``. Studies are run by ``harness run`` in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.agents.admission import Admission
from harness.agents.study_process import StudyProcess
from harness.answers.documents import (
    Checked,
    ClaimsTested,
    Planned,
    Reported,
    RunStarted,
    SomeRows,
    Status,
)
from harness.answers.of_results import listed, model, reported, rows, tested
from harness.answers.of_studies import checked
from harness.engine.run_options import RunOptions
from harness.errors import InputError
from harness.export.best_model import best_model
from harness.planning.forecast import make_forecast
from harness.report.study_claims import read_study_claims
from harness.store import database
from harness.store.database import connect, database_path
from harness.store.shut_copy import make_shut_copy
from harness.store.studies import list_studies

MOST_ROWS = 1000
_QUERY_S = 60.0


class Tools:
    """The tools of one server. Calls may come from several threads; one is served at a time."""

    def __init__(self, admission: Admission, *, query_s: float = _QUERY_S) -> None:
        self._admission = admission
        self._results = admission.results
        self._query_s = query_s
        self._lock = threading.RLock()
        self._copies = tempfile.TemporaryDirectory(prefix="harness-mcp-")
        self._copy: tuple[object, Path, frozenset[str]] | None = None
        self._running: StudyProcess | None = None

    def check(self, study: str, overrides: Sequence[str] = ()) -> Checked:
        """Check a study file, and whether agents may run it; count its runs.

        Args:
            study: Name of a file in the folder of study files.
            overrides: KEY=VALUE each, such as seeds=2 or train.epochs=2.
        """
        with self._lock:
            return checked(self._admission.admit(study, overrides))

    def plan(self, study: str, overrides: Sequence[str] = ()) -> Planned:
        """Estimate what a study will take and what difference it could detect.

        Time is known only from earlier runs, and the spread of test scores is not told.
        """
        with self._lock:
            self._admission.admit(study, overrides)
            path = self._admission.file(study)
            options = RunOptions(self._results)
            found = make_forecast(path, tuple(overrides), options, may_probe=False)
            if found.power is not None and found.power.split == "test":
                found = replace(found, power=replace(found.power, spread=None, difference=None))
            return Planned(replace(found, stopping=None))

    def run(
        self,
        study: str,
        overrides: Sequence[str] = (),
        workers: int | None = None,
        wait_s: float = 30.0,
    ) -> RunStarted:
        """Train the missing runs of a study, in the background; one study at a time.

        Call it again to wait longer, or to resume a study that was interrupted.

        Args:
            study: Name of a file in the folder of study files.
            overrides: KEY=VALUE each.
            workers: Maximum number of runs at once.
            wait_s: How long to wait for the end, at most 600 seconds.
        """
        with self._lock:
            name = self._admission.admit(study, overrides).spec.study
            RunOptions(self._results, workers=workers)
            running = self._running
            if running is not None and running.is_running and running.study != name:
                raise InputError(f"{running.study} is still running; wait for it with status")
            if running is None or running.study != name or not running.is_running:
                running = self._start(study, name, overrides, workers)
        ended = running.wait(min(max(wait_s, 0.0), 600.0))
        if ended is None:
            return RunStarted(study=name, is_running=True, ended=None)
        with self._lock:
            results = None if ended.results is None else self._reported(name)
        ended = ended.model_copy(update={"results": results})
        return RunStarted(study=name, is_running=False, ended=ended)

    def status(self) -> Status:
        """List the studies: runs done and failed, whether test scores are open, what is running."""
        with self._lock:
            running = self._running.study if self._running and self._running.is_running else None
            if not database_path(self._results).exists():
                return Status(studies=(), open=(), running=running)
            folder, opened = self._shut()
            with connect(folder, read_only=True) as con:
                studies = listed(list_studies(con)).studies
            return Status(studies=studies, open=tuple(sorted(opened)), running=running)

    def sql(self, query: str) -> SomeRows:
        """Query the results with DuckDB's SQL, read-only; views are listed in duckdb_views().

        There are no test scores of studies that are not confirmed yet. At most 1,000 rows.
        """
        with self._lock:
            folder, _ = self._shut()
            table = database.query(folder, query, limit_s=self._query_s)
        kept = table._replace(rows=table.rows[:MOST_ROWS])
        return SomeRows(rows=rows(kept).root, left_out=len(table.rows) - len(kept.rows))

    def report(self, study: str) -> Reported:
        """Return a study's table and answer; before its confirmation, on validation classes.

        Args:
            study: Name of the study, as status lists it.
        """
        with self._lock:
            return self._reported(study)

    def claims(self, study: str) -> ClaimsTested:
        """Test a study's claims; undecided before its confirmation.

        Args:
            study: Name of the study, as status lists it.
        """
        with self._lock:
            folder, _ = self._shut()
            if study.endswith((".yaml", ".yml")) or Path(study).is_file():
                raise InputError(f"{study}: give the name of a study, as status lists it")
            return tested(read_study_claims(folder, study))

    def close(self) -> None:
        """Interrupt the study that is running, and remove the copy of the database."""
        if self._running is not None:
            self._running.stop()
        self._copies.cleanup()

    def _reported(self, study: str) -> Reported:
        folder, _ = self._shut()
        found = reported(folder, study, None)
        # Chosen on validation classes; the model is in the results folder, not in the copy.
        best = best_model(self._results, study)
        return found.model_copy(update={"best_model": None if best is None else model(best)})

    def _shut(self) -> tuple[Path, frozenset[str]]:
        """Return the folder of an up-to-date shut copy, and the open studies."""
        path = database_path(self._results)
        if not path.exists():
            raise InputError("there are no results yet; run a study first")
        stamp = (path.stat().st_mtime_ns, path.stat().st_size)
        if self._copy is None or self._copy[0] != stamp:
            folder = Path(tempfile.mkdtemp(dir=self._copies.name))
            self._copy = (stamp, folder, make_shut_copy(self._results, folder))
        return self._copy[1:]

    def _start(
        self, file: str, study: str, overrides: Sequence[str], workers: int | None
    ) -> StudyProcess:
        command = [sys.executable, "-m", "harness", "run", str(self._admission.file(file))]
        command += ["--results", str(self._results), "--reports", str(self._results / "reports")]
        command += ["--format", "json"]
        command += [] if workers is None else ["--workers", str(workers)]
        for override in overrides:
            command += [f"--set={override}"]
        self._running = StudyProcess(study, command)
        return self._running
