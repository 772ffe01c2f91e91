"""What follows when a run fails: the rule of each class of failure.

Attempts are counted within one call of ``harness run``. A later call gives every run whose class
has retries a fresh chance; the other classes are final until ``harness retry`` asks for them.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows a failure of one class."""

    retries: int = 0
    """Further attempts in the same call; 0 is final."""
    back_off_s: float = 0.0
    """Wait before the first of them; it doubles with each, and holds no other run up."""
    takes_slot: bool = False
    """Whether one run less is active at once from then on."""


RULES: Mapping[str, Rule] = {
    "oom": Rule(retries=2, takes_slot=True),
    "crash": Rule(retries=2, back_off_s=2.0),
    "timeout": Rule(retries=1),
    "stalled": Rule(retries=1),
    "diverged": Rule(),
    "collapsed": Rule(),
    "invalid": Rule(),
}
FINAL_FAILURES = frozenset(failure for failure, rule in RULES.items() if not rule.retries)
"""Failures that another attempt would only repeat."""


class Retry(NamedTuple):
    """Another attempt, and what comes before it."""

    number: int
    """1 is the first attempt after a failure."""
    most: int
    """So many there may be."""
    wait_s: float
    takes_slot: bool


def next_retry(failure: str, failed: int) -> Retry | None:
    """What follows a failure; None when it is final.

    Args:
        failure: The class of the newest failure.
        failed: Attempts at this run that have failed in this call, the newest included.
    """
    rule = RULES[failure]
    if failed > rule.retries:
        return None
    return Retry(failed, rule.retries, rule.back_off_s * 2 ** (failed - 1), rule.takes_slot)


class RetryQueue:
    """The failures of one call, and the runs that wait for their next attempt."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has failed yet.

        Args:
            clock: Seconds that never go back.
        """
        self.most_active = math.inf
        """How many runs may be active at once, after those that ran out of memory."""
        self._clock = clock
        self._failed: Counter[str] = Counter()
        self._waiting: list[tuple[float, str]] = []

    def __bool__(self) -> bool:
        """Whether a run waits."""
        return bool(self._waiting)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The runs that wait, in the order in which they are due."""
        return tuple(run_id for _, run_id in sorted(self._waiting))

    @property
    def wait_s(self) -> float:
        """Until the first of them is due."""
        return max(0.0, min(self._waiting)[0] - self._clock())

    def note(self, run_id: str, failure: str, *, active: int) -> Retry | None:
        """Note a failure; the attempt that follows, which then waits until it is due.

        Args:
            run_id: What has failed.
            failure: Its class.
            active: How many runs may be active at once so far.
        """
        self._failed[run_id] += 1
        retry = next_retry(failure, self._failed[run_id])
        if retry is not None:
            heapq.heappush(self._waiting, (self._clock() + retry.wait_s, run_id))
            if retry.takes_slot:
                self.most_active = max(1, active - 1)
        return retry

    def take(self) -> str | None:
        """A run whose next attempt is due, which then no longer waits."""
        if self._waiting and self._waiting[0][0] <= self._clock():
            return heapq.heappop(self._waiting)[1]
        return None
