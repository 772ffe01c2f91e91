"""Decides, when an attempt ends, whether its run is finished, restarted or retried."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.run_queue import RunQueue
from harness.engine.dispatch.run_states import RunRow, RunTable
from harness.errors import StoreError
from harness.executors.interface import Ended
from harness.executors.worker.run_attempt import (
    STATUS_NOT_WRITABLE,
    STATUS_OUTRUN,
    finished_by_death,
)
from harness.executors.worker.run_log import why_not_writable


@dataclass(frozen=True)
class AttemptEnds:
    """Handles ended attempts."""

    runs: RunTable
    queue: RunQueue
    leases: Leases
    say: Callable[[str], None]

    def take(self, ended: Ended, *, is_ending: bool) -> RunRow | None:
        """Handle the end of an attempt. Returns its run if that is over.

        Returns None if the run is restarted or retried; its status is then leased or waiting.

        Args:
            ended: How the attempt ended.
            is_ending: Whether the call is ending, so that no more runs are started.

        Raises:
            StoreError: the disk is full, or the run's spool was damaged too often.
        """
        attempt, row = self.runs.stop(ended.run_id), self.runs[ended.run_id]
        state = self.runs.read(ended.run_id)
        if ended.exit_code == STATUS_NOT_WRITABLE:
            raise why_not_writable(attempt.job)
        if state.attempts < attempt.job.attempt or not state.is_over:
            if self._starts_again(row, attempt, ended, is_ending=is_ending):
                return None
            event = finished_by_death(
                attempt.job,
                ended,
                seconds=time.monotonic() - attempt.began,
                log_start=attempt.log_start,
                exceeded=attempt.exceeded,
            )
            with self.leases.holding():  # another driver may have taken the run over
                self.runs.write_end(ended.run_id, event)
        return None if not is_ending and self._is_retried(row, attempt) else row

    def _starts_again(
        self, row: RunRow, attempt: Attempt, ended: Ended, *, is_ending: bool
    ) -> bool:
        """Whether to restart the run, since the end of this attempt says nothing about it."""
        is_packed = attempt.job.together > 1
        if is_ending and (is_packed or attempt.exceeded is None):
            return True  # it was asked to stop: the next call resumes it
        if is_packed:  # any run of the process may be the cause
            self._unpack(
                attempt,
                is_memory=ended.signal == signal.SIGKILL and attempt.exceeded is None,
            )
            return True
        if ended.exit_code == STATUS_OUTRUN:  # by a worker of this driver or of a dead one
            self.leases.check()
            return True
        if ended.is_lost and self.queue.requeue_lost(row):
            self.say(f"{row.task.name}: its worker is gone; it restarts")
            return True
        damage = row.state.damage
        if damage is None or is_ending:
            return False
        path = row.reader.path  # damaged or removed during training
        if not self.queue.requeue_lost(row):
            raise StoreError(f"{path}: {damage}, again; check the disk, and what writes there")
        self.say(f"{path}: {damage}; the run starts from scratch")
        return True

    def _is_retried(self, row: RunRow, attempt: Attempt) -> bool:
        """Schedule a retry of a failed run if its failure class allows one."""
        task, state = row.task, row.state
        if state.failure is None:
            return False
        if state.failure == "oom" and attempt.job.together > 1:  # any of them may have used it up
            self._unpack(attempt, is_memory=True)
            return True
        retry = self.runs.retry(task.run_id, state.failure, active=self.queue.most_active)
        if retry is None:
            return False
        when = f" in {retry.wait_s:g} s" if retry.wait_s else ""
        if retry.takes_slot:
            when += f", with at most {self.queue.most_active} at once from now on"
        self.say(
            f"{task.name}: {state.failure}: {state.message}; "
            f"retry {retry.number} of {retry.most}{when}"
        )
        return True

    def _unpack(self, attempt: Attempt, *, is_memory: bool) -> None:
        """Restart a run alone after the process that it shared has ended."""
        if is_memory:
            self.queue.packing.halve_after_oom(attempt.task, attempt.job.together)
        reason = "" if attempt.exceeded is None else f" ({attempt.exceeded.message})"
        self.say(
            f"{attempt.task.name}: the worker that trained it with "
            f"{attempt.job.together - 1} others has ended{reason}; it restarts alone"
        )
