"""One run on a node of a cluster, as an actor there: it tells what is new, whenever it is asked.

The node shares no disk with the driver. The run has a temporary folder of the same layout, and the
driver keeps a copy of it: it says how far its copy goes and gets what follows, so that asking twice
does no harm.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from harness.executors.interface import Ended, Job
from harness.executors.ray.folder_sync import Changes, Stamp, changes, put
from harness.executors.run_process import RunProcess
from harness.executors.worker.run_log import log_path
from harness.records.folders import spool_path, work_dir
from harness.records.provenance import GitState
from harness.workload import JsonValue

_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Order:
    """What a node needs to know to execute a run."""

    job: Mapping[str, JsonValue]
    workload: str
    git: GitState
    spool: bytes
    """What earlier attempts have spooled."""
    work: Changes
    """What they have left in the work folder."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the driver's copy goes."""

    spool: int
    """Bytes."""
    log: int = 0
    """Bytes, of this attempt."""
    work: Mapping[str, Stamp] = field(default_factory=dict)


class News(NamedTuple):
    """What follows."""

    spool: bytes
    """Whole lines; an end of the attempt comes with the last news only."""
    log: bytes
    work: Changes
    ended: Ended | None
    """How the run's process ended; these are the last news then."""


class NodeRun:
    """A run in a process of its own below this one, and its folder."""

    def __init__(self, order: Order) -> None:
        """Start the run. What goes wrong is told by ``news``, since an actor would not say it."""
        self._folder = Path(tempfile.mkdtemp(prefix="harness-run-"))
        self._ended: Ended | None = None
        self._has_ended = threading.Event()
        self._refusal: Exception | None = None
        self._job = replace(Job.from_json(order.job), directory=self._folder)
        self._process: RunProcess | None = None
        try:
            put(work_dir(self._folder), order.work)
            spool_path(self._folder).write_bytes(order.spool)
            self._process = RunProcess(
                self._job, workload=order.workload, threads=self._job.threads, git=order.git
            )
        except Exception as error:
            self._refusal = error
        else:
            threading.Thread(target=self._await, args=(self._process,), daemon=True).start()

    def news(self, seen: Seen, timeout_s: float) -> News:
        """Wait for an event, an end, or ``timeout_s`` at most; all that is new then.

        Raises:
            HarnessError: the run could not be started, since this node's disk is not writable.
        """
        if self._refusal is not None:
            raise self._refusal
        spool = spool_path(self._folder)
        deadline = time.monotonic() + timeout_s
        while not self._has_ended.wait(_LOOK_EVERY_S) and time.monotonic() < deadline:
            if spool.stat().st_size != seen.spool:
                break
        ended = self._ended  # asked first, or what the run did last could be missing
        work = changes(work_dir(self._folder), seen.work)
        log = _read_from(log_path(self._job), seen.log)
        lines = _read_from(spool, seen.spool)  # after the files: no checkpoint is ahead of it
        return News(_whole_lines(lines, with_end=ended is not None), log, work, ended)

    def cancel(self, grace_s: float | None) -> None:
        """Send SIGTERM to the run, and after ``grace_s`` SIGKILL to all that it has started."""
        if self._process is None:
            return
        self._process.terminate()
        if grace_s is not None and not self._has_ended.wait(grace_s):
            self._process.kill()

    def clear(self) -> None:
        """Kill what is still there of the run, and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._has_ended.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await(self, process: RunProcess) -> None:
        self._ended = process.wait()
        self._has_ended.set()


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read()
    except FileNotFoundError:
        return b""


def _whole_lines(text: bytes, *, with_end: bool) -> bytes:
    """The lines of ``text`` that are complete, up to the attempt's end unless it is wanted."""
    whole = text[: text.rfind(b"\n") + 1]
    if with_end:
        return whole
    kept = b""
    for line in whole.splitlines(keepends=True):
        if is_end(line):
            break
        kept += line
    return kept


def is_end(line: bytes) -> bool:
    """Whether a spool's line is the end of an attempt."""
    try:
        document = json.loads(line)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("event") == "finished"
