"""Where the time of a run goes, part by part."""

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
"""What a network computes counts for the network, whatever asks for it: ``student`` and ``teacher``
are their forwards in training steps, before a clustering and in an evaluation; ``data`` (indices
and pixels) and ``views`` are what is made for these. So ``losses`` is without the teacher's
forward, ``clustering`` is k-means or the search for neighbours, groups, imprinting and what is told
of the clusters, and ``evaluation`` is searches, k-means and scores."""
VARIABLE = "HARNESS_PROFILE"
"""Set to 1 in the environment of a run whose parts shall be measured."""


class Stopwatch:
    """Wall time by part. What runs inside another part counts for the inner one alone.

    A GPU works on while Python goes ahead, so it is waited for at both ends of a part: that costs
    time, which is why nothing is measured unless it is asked for.
    """

    def __init__(self, device: torch.device, *, is_on: bool) -> None:
        self._is_on = is_on
        self._wait: Callable[[], None] = (
            torch.cuda.synchronize if device.type == "cuda" else lambda: None
        )
        self._seconds: dict[str, float] = {}
        self._open: list[float] = []
        """For each part that is under way: seconds of parts inside it."""

    @staticmethod
    def for_run(device: torch.device) -> "Stopwatch":
        """One that is on where the environment says so."""
        return Stopwatch(device, is_on=os.environ.get(VARIABLE) == "1")

    @staticmethod
    def off() -> "Stopwatch":
        """One that measures nothing."""
        return Stopwatch(torch.device("cpu"), is_on=False)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what happens meanwhile for ``part``."""
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
        """``seconds/part/PART`` of each part since the last call; empty where it is off."""
        taken = {f"seconds/part/{part}": self._seconds.get(part, 0.0) for part in PARTS}
        found = taken if self._is_on else {}
        self._seconds = {}
        return found
