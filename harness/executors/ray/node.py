"""One run on a node of a Ray cluster, as an actor that reports news when the driver asks.

The node shares no disk with the driver. The run uses a temporary folder of the same layout, which
the driver copies: with each request the driver says how much it already has and receives the rest,
so repeating a request is harmless.
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
    """Everything a node needs to execute a run."""

    job: Mapping[str, JsonValue]
    workload: str
    git: GitState
    spool: bytes
    """The spool of earlier attempts."""
    work: Changes
    """The work folder of earlier attempts."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How much of the run's files the driver already has."""

    spool: int
    """Bytes of the spool."""
    log: int = 0
    """Bytes of this attempt's log."""
    work: Mapping[str, Stamp] = field(default_factory=dict)


class News(NamedTuple):
    """What is new since the state that the driver has seen."""

    spool: bytes
    """Whole lines; the end of the attempt is included only in the last news."""
    log: bytes
    work: Changes
    ended: Ended | None
    """How the run's process ended; if set, these are the last news."""


class NodeRun:
    """A run in a child process, with its temporary folder."""

    def __init__(self, order: Order) -> None:
        """Start the run; ``news`` raises any error, which an actor's ``__init__`` would hide."""
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
        """Wait up to ``timeout_s`` for an event or the run's end; return everything that is new.

        Raises:
            HarnessError: the run could not be started, because this node's disk is not writable.
        """
        if self._refusal is not None:
            raise self._refusal
        spool = spool_path(self._folder)
        deadline = time.monotonic() + timeout_s
        while not self._has_ended.wait(_LOOK_EVERY_S) and time.monotonic() < deadline:
            if spool.stat().st_size != seen.spool:
                break
        ended = self._ended  # read first, or the run's last output could be missing
        work = changes(work_dir(self._folder), seen.work)
        log = _read_from(log_path(self._job), seen.log)
        lines = _read_from(spool, seen.spool)  # after the files, so no checkpoint is ahead of it
        return News(_whole_lines(lines, with_end=ended is not None), log, work, ended)

    def cancel(self, grace_s: float | None) -> None:
        """Send SIGTERM to the run, and after ``grace_s`` SIGKILL to it and all its processes."""
        if self._process is None:
            return
        self._process.terminate()
        if grace_s is not None and not self._has_ended.wait(grace_s):
            self._process.kill()

    def clear(self) -> None:
        """Kill any remaining processes of the run, and remove its folder."""
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
    """Return the complete lines of ``text``; stop before the attempt's end unless ``with_end``."""
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
    """Return whether a line of a spool is the end of an attempt."""
    try:
        document = json.loads(line)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("event") == "finished"
