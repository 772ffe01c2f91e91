"""An attempt at a run that is under way, as the driver sees it: when it was heard of, and limits.

Times are by the monotonic clock of the driver, so that a clock that is set does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.executors.interface import Job
from harness.records.run_state import LimitExceeded
from harness.search.scheduler import ScheduledRun
from harness.study.limits import Limits


@dataclass
class Attempt:
    """One attempt, from its submission to its end."""

    task: ScheduledRun
    job: Job
    began: float
    log_start: int
    """Bytes that earlier attempts have left in the log."""
    bytes_read: int
    """How much of the spool had been read when the run was last heard of."""
    heard_at: float
    """When that was; at first, when it was submitted."""
    started: float | None = None
    """When its start was read; before, a worker may wait for the import of the workload."""
    exceeded: LimitExceeded | None = None
    """The limit that it has broken."""

    def note_progress(self, bytes_read: int, *, attempts: int, now: float) -> None:
        """Take in how much of the run's spool has been read by now.

        Args:
            bytes_read: So much of it.
            attempts: How many attempts it tells of.
            now: The time.
        """
        if bytes_read != self.bytes_read:
            self.bytes_read, self.heard_at = bytes_read, now
        if self.started is None and attempts >= self.job.attempt:
            self.started = now

    def exceeds_limit(self, limits: Limits, now: float) -> bool:
        """Whether it breaks a limit now that it had not broken before.

        The time of a process that trains several runs is divided among them.
        """
        if self.exceeded is not None:
            return False
        running_s = 0.0 if self.started is None else now - self.started
        share = 1 / self.job.together
        self.exceeded = check_limits(
            limits, running_s=share * running_s, silent_s=share * (now - self.heard_at)
        )
        return self.exceeded is not None


def check_limits(limits: Limits, *, running_s: float, silent_s: float) -> LimitExceeded | None:
    """The limit that an attempt has broken, if any.

    Args:
        limits: Of the study.
        running_s: Since it started.
        silent_s: Since it was last heard of: its start, or an epoch.
    """
    if limits.run_minutes is not None and running_s > 60 * limits.run_minutes:
        return LimitExceeded(
            "timeout",
            f"not done after {limits.run_minutes:g} minutes; give it more with limits.run_minutes",
        )
    if limits.stall_minutes is not None and silent_s > 60 * limits.stall_minutes:
        return LimitExceeded(
            "stalled",
            f"reported nothing for {limits.stall_minutes:g} minutes; find out what it waits for, "
            "or give it more with limits.stall_minutes",
        )
    return None
