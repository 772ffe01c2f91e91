"""Submits runs to workers, one attempt each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.run_states import RunRow, RunTable
from harness.executors.interface import Executor, Job, in_one_process
from harness.executors.worker.run_log import log_size
from harness.records.folders import work_dir
from harness.records.provenance import user_name
from harness.workload.code_version import CodeVersions


@dataclass(frozen=True)
class AttemptStarts:
    """Starts attempts at runs that this driver has leased."""

    code: CodeVersions
    runs: RunTable
    executor: Executor
    threads: int
    profile: bool
    command: str
    user: str = field(default_factory=user_name)

    def start(self, rows: Sequence[RunRow]) -> None:
        """Submit runs to one worker, which trains them together."""
        jobs = in_one_process([self._job(row) for row in rows])
        for job in jobs:
            if job.is_anew:  # old files would end it at once, or resume it from damaged data
                shutil.rmtree(work_dir(job.directory), ignore_errors=True)
        now = time.monotonic()
        attempts = [
            Attempt(row.task, job, now, log_size(job), row.reader.offset, now)
            for row, job in zip(rows, jobs, strict=True)
        ]
        self.executor.submit(jobs[0])
        for attempt in attempts:
            self.runs.start(attempt)

    def _job(self, row: RunRow) -> Job:
        task, state = row.task, row.state
        return Job(
            run=task.run,
            run_id=task.run_id,
            directory=row.directory,
            attempt=state.attempts + 1,
            threads=self.threads,
            thresholds=task.thresholds,
            profile=self.profile,
            user=self.user,
            command=self.command,
            is_anew=state.damage is not None or row.previous is not None,
            code=self.code.table(task.run.code),
        )
