"""Probe what an epoch costs: start one run in a temporary folder."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.engine.forecast.run_costs import Probed
from harness.engine.forecast.step_times import REPORTS, epochs_in, step_times
from harness.errors import InputError
from harness.executors import make_executor
from harness.executors.interface import Job
from harness.planning.power_meter import PowerMeter
from harness.records.event_log import read_spool
from harness.records.events import Entry, Finished
from harness.records.folders import spool_path, work_dir
from harness.records.trial import Run
from harness.workload.loaded_code import Table

_POLL_S = 0.05


class PilotRun(NamedTuple):
    """A run's first epochs, and the power that they took."""

    probed: Probed
    watts: float | None
    """Mean power of processors and GPU; None if the machine does not tell."""


def run_pilot(run: Run, *, threads: int, code: Table, gpus: Sequence[str] = ()) -> PilotRun:
    """Train ``run`` for a few epochs, in a process of its own, and discard the files.

    The test classes are not scored, even if the run would score them.

    Args:
        run: What to train.
        threads: Arithmetic threads.
        code: The files behind its code version.
        gpus: The GPUs whose power is measured.

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
            meter, reports, has_ended = PowerMeter(gpus), 0, False
            while not has_ended and reports < REPORTS:
                has_ended = bool(executor.poll(_POLL_S))
                meter.sample()
                before, reports = reports, len(epochs_in(read_spool(spool)))
                if reports and not before:  # what comes before is mostly imports
                    meter = PowerMeter(gpus)
            watts = meter.watts()
            executor.stop()
        finally:
            executor.close()
        events = read_spool(spool)
        _refuse_failure(events, has_ended)
        times = step_times(events)
        assert times is not None
        epochs = max(1, len(epochs_in(events)))
        growing = [spool, *work_dir(directory).glob("tables/*.jsonl")]
        grown = sum(path.stat().st_size for path in growing if path.exists())
        once = folder_size(directory) - grown
        return PilotRun(Probed(times, once, grown // epochs), watts)


def folder_size(directory: Path) -> int:
    """Return the size of all files below a folder in bytes, except drafts of a stopped run."""
    return sum(
        path.stat().st_size
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".draft"
    )


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
