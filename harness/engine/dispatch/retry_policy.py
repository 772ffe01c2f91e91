"""What follows when a run fails: the policy for each class of failure.

Attempts are counted within one call of ``harness run``. A later call gives every run whose class
has retries a fresh chance; the other classes are final until ``harness retry`` asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What follows a failure of one class."""

    retries: int = 0
    """Further attempts in the same call; 0 is final."""
    back_off_s: float = 0.0
    """Wait before the first of them; it doubles with each, and holds no other run up."""
    takes_slot: bool = False
    """Whether one run less is active at once from then on."""


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
    policy = RETRY_POLICIES[failure]
    if failed > policy.retries:
        return None
    wait_s = policy.back_off_s * 2 ** (failed - 1)
    return Retry(failed, policy.retries, wait_s, policy.takes_slot)
