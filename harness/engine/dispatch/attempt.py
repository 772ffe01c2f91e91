"""A running attempt as the driver tracks it: its last sign of life, and its limits.

Times are from the driver's monotonic clock, so changes of the system clock do no harm.
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
    """Size in bytes of the log before this attempt."""
    bytes_read: int
    """Bytes of the spool read when the run last reported."""
    heard_at: float
    """When the run last reported; before its first report, when it was submitted."""
    started: float | None = None
    """When its start was read; until then the worker may still be importing the workload."""
    exceeded: LimitExceeded | None = None
    """The limit that it has exceeded."""

    def note_progress(self, bytes_read: int, *, attempts: int, now: float) -> None:
        """Update the last sign of life and the start from what has been read of the spool.

        Args:
            bytes_read: Bytes of the spool read so far.
            attempts: The number of attempts in the spool.
            now: The current time.
        """
        if bytes_read != self.bytes_read:
            self.bytes_read, self.heard_at = bytes_read, now
        if self.started is None and attempts >= self.job.attempt:
            self.started = now

    def exceeds_limit(self, limits: Limits, now: float) -> bool:
        """Whether the attempt has exceeded its first limit just now.

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
    """Return the limit that an attempt has exceeded, if any.

    Args:
        limits: The limits of the study.
        running_s: Seconds since it started.
        silent_s: Seconds since its last report, be it its start or an epoch.
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
