"""Timing of a run by part."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

PARTS = (
    "data",
    "views",
    "student",
    "losses",
    "teacher",
    "backward",
    "optimizer",
    "ema",
    "clustering",
    "evaluation",
    "checkpoint",
)
"""Forward passes count for their network, whatever they are for: ``student`` and ``teacher`` are
forwards in training steps, before a clustering and in an evaluation; ``data`` (indices and pixels)
and ``views`` prepare their inputs. So ``losses`` excludes the teacher's forward; ``clustering`` is
k-means or the neighbour search, groups, imprinting and the statistics of the clusters; and
``evaluation`` is searches, k-means and scores."""
VARIABLE = "HARNESS_PROFILE"
"""Environment variable; set it to 1 to time the parts of a run."""


class Stopwatch:
    """Measures wall time by part; the time of a nested part counts only for the inner part.

    GPU work is asynchronous, so both ends of a part synchronise with the device. This slows the run
    down, so timing is off by default.
    """

    def __init__(self, device: torch.device, *, is_on: bool) -> None:
        self._is_on = is_on
        self._wait: Callable[[], None] = (
            torch.cuda.synchronize if device.type == "cuda" else lambda: None
        )
        self._seconds: dict[str, float] = {}
        self._open: list[float] = []
        """For each open part: seconds spent in parts nested in it."""

    @staticmethod
    def for_run(device: torch.device) -> "Stopwatch":
        """Create a stopwatch that is on if the environment variable says so."""
        return Stopwatch(device, is_on=os.environ.get(VARIABLE) == "1")

    @staticmethod
    def off() -> "Stopwatch":
        """Create a stopwatch that measures nothing."""
        return Stopwatch(torch.device("cpu"), is_on=False)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add the time spent in the block to ``part``."""
        if not self._is_on:
            yield
            return
        self._wait()
        began = time.perf_counter()
        self._open.append(0.0)
        try:
            yield
        finally:
            self._wait()
            took = time.perf_counter() - began
            inner = self._open.pop()
            if self._open:
                self._open[-1] += took
            self._seconds[part] = self._seconds.get(part, 0.0) + took - inner

    def take(self) -> dict[str, float]:
        """Return ``seconds/part/PART`` for the time since the last call; empty if timing is off."""
        taken = {f"seconds/part/{part}": self._seconds.get(part, 0.0) for part in PARTS}
        found = taken if self._is_on else {}
        self._seconds = {}
        return found
