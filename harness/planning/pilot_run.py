"""Probe what an epoch costs: start one run in a temporary folder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError
from harness.executors import make_executor
from harness.executors.interface import Job
from harness.records.event_log import read_spool
from harness.records.events import Entry, EpochReported, Finished, Started
from harness.records.folders import spool_path, work_dir
from harness.records.trial import Run
from harness.workload.loaded_code import Table

_REPORTS = 2  # the first epoch alone would include one-off work
_POLL_S = 0.05


class PilotRun(NamedTuple):
    """Cost of a run, extrapolated from its first epochs."""

    start_s: float
    """Time outside the epochs: data, network, first steps."""
    epoch_s: float
    once_bytes: int
    """Size of files that a run writes once, such as its checkpoint."""
    epoch_bytes: int
    """Growth of spool and tables per epoch."""

    def seconds(self, epochs: int) -> float:
        """Estimate the duration of a run that reports this often."""
        return self.start_s + epochs * self.epoch_s

    def size(self, epochs: int) -> int:
        """Estimate the size of such a run in bytes."""
        return self.once_bytes + epochs * self.epoch_bytes


def run_pilot(run: Run, *, threads: int, code: Table) -> PilotRun:
    """Train ``run`` until its second report, in a process of its own, and discard the files.

    The test classes are not scored, even if the run would score them.

    Args:
        run: What to train.
        threads: Arithmetic threads.
        code: The files behind its code version.

    Raises:
        InputError: the run failed.
        HarnessError: no run can be started.
    """
    shut = dataclasses.replace(run, test=False)
    with tempfile.TemporaryDirectory(prefix="harness-probe-") as folder:
        directory = Path(folder) / shut.run_id
        spool = spool_path(directory)
        executor = make_executor("process", shut.workload, slots=1, threads=threads)
        try:
            executor.submit(Job(shut, shut.run_id, directory, 1, threads=threads, code=code))
            has_ended = False
            while not has_ended and len(_epochs(read_spool(spool))) < _REPORTS:
                has_ended = bool(executor.poll(_POLL_S))
            executor.stop()
        finally:
            executor.close()
        events = read_spool(spool)
        _refuse_failure(events, has_ended)
        epochs = max(1, len(_epochs(events)))
        growing = [spool, *work_dir(directory).glob("tables/*.jsonl")]
        grown = sum(path.stat().st_size for path in growing if path.exists())
        start_s, epoch_s = _times(events)
        return PilotRun(start_s, epoch_s, folder_size(directory) - grown, grown // epochs)


def folder_size(directory: Path) -> int:
    """Return the size of all files below a folder in bytes, except drafts of a stopped run."""
    return sum(
        path.stat().st_size
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".draft"
    )


def _times(events: Iterable[Entry]) -> tuple[float, float]:
    """Return the seconds of the start and of an epoch."""
    started = next(event for event in events if isinstance(event, Started))
    times = [datetime.fromisoformat(event.time) for event in _epochs(events)]
    begun = datetime.fromisoformat(started.time)
    if len(times) < _REPORTS:  # the run ended first
        ended = next(event for event in events if isinstance(event, Finished))
        return 0.0, ended.seconds or 0.0
    epoch_s = (times[1] - times[0]).total_seconds()
    return max(0.0, (times[0] - begun).total_seconds() - epoch_s), epoch_s


def _epochs(events: Iterable[Entry]) -> list[EpochReported]:
    return [event for event in events if isinstance(event, EpochReported)]


def _refuse_failure(events: Iterable[Entry], has_ended: bool) -> None:
    """Raise if the run failed, or its process died."""
    ends = [event for event in events if isinstance(event, Finished)]
    if ends and ends[0].state == "failed":
        said = f"{ends[0].failure}: {ends[0].message}"
    elif has_ended and not ends:
        said = "its process died"
    else:
        return
    raise InputError(f"the probe of the baseline failed ({said}); fix it, or pass --no-probe")
