"""What a run's first epochs say about its duration."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from harness.records.events import Entry, EpochReported, Finished, Started

STEPS = 3
"""Number of timed epochs: one says how long an epoch takes, three how much that varies."""
REPORTS = STEPS + 1
"""Reports to wait for: the first epoch is not timed, since it includes one-off work."""


class StepTimes(NamedTuple):
    """Duration of a run, extrapolated from its first epochs."""

    start_s: float
    """Time outside the epochs: data, network, first steps."""
    fastest_s: float
    """Of the timed epochs."""
    slowest_s: float

    def low(self, epochs: int) -> float:
        """Estimate the duration if every epoch is as fast as the fastest."""
        return self.start_s + epochs * self.fastest_s

    def high(self, epochs: int) -> float:
        """Estimate the duration if every epoch is as slow as the slowest."""
        return self.start_s + epochs * self.slowest_s


def step_times(events: Iterable[Entry]) -> StepTimes | None:
    """Time the epochs of an attempt; None if it has not ended and has too few of them.

    A run that ends early is timed by the epochs that it has, or as a whole.
    """
    listed = list(events)
    started = next((event for event in listed if isinstance(event, Started)), None)
    ended = next((event for event in listed if isinstance(event, Finished)), None)
    times = [_time(event) for event in epochs_in(listed)][:REPORTS]
    if started is None or (ended is None and len(times) < REPORTS):
        return None
    steps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    if not steps:
        seconds = 0.0 if ended is None else ended.seconds or 0.0
        return StepTimes(0.0, seconds, seconds)
    first_s = (times[0] - _time(started)).total_seconds()
    return StepTimes(max(0.0, first_s - statistics.median(steps)), min(steps), max(steps))


def epochs_in(events: Iterable[Entry]) -> list[EpochReported]:
    """Return the reports of epochs among ``events``."""
    return [event for event in events if isinstance(event, EpochReported)]


def _time(event: Started | EpochReported) -> datetime:
    return datetime.fromisoformat(event.time)
