"""The retry policy of each failure class.

Attempts are counted per call of ``harness run``. A later call retries every failed run whose class
has retries; the other classes are final until ``harness retry`` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The retry policy of one failure class."""

    retries: int = 0
    """Maximum retries in the same call; with 0 the failure is final."""
    back_off_s: float = 0.0
    """Delay before the first retry, doubled for each further one; other runs are not delayed."""
    takes_slot: bool = False
    """Whether each retry lowers the number of concurrent runs by one."""


RETRY_POLICIES: Mapping[str, RetryPolicy] = {
    "oom": RetryPolicy(retries=2, takes_slot=True),
    "crash": RetryPolicy(retries=2, back_off_s=2.0),
    "timeout": RetryPolicy(retries=1),
    "stalled": RetryPolicy(retries=1),
    "diverged": RetryPolicy(),
    "collapsed": RetryPolicy(),
    "invalid": RetryPolicy(),
}
FINAL_FAILURES = frozenset(
    failure for failure, policy in RETRY_POLICIES.items() if not policy.retries
)
"""Failure classes that are not retried, because a retry would fail again."""


class Retry(NamedTuple):
    """A retry: its number and the delay before it."""

    number: int
    """1 for the first retry."""
    most: int
    """The maximum number of retries."""
    wait_s: float
    takes_slot: bool


def next_retry(failure: str, failed: int) -> Retry | None:
    """Return the retry after a failure; None if the failure is final.

    Args:
        failure: The class of the newest failure.
        failed: Attempts at this run that have failed in this call, the newest included.
    """
    policy = RETRY_POLICIES[failure]
    if failed > policy.retries:
        return None
    wait_s = policy.back_off_s * 2 ** (failed - 1)
    return Retry(failed, policy.retries, wait_s, policy.takes_slot)
