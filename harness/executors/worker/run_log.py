"""The log and the work folder that a worker writes to in a run's folder.

The log holds the output of the run's workers, one attempt after another.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import StoreError
from harness.executors.interface import Job
from harness.records.event_log import append_lines
from harness.records.folders import spool_path, work_dir
from harness.records.plain_file import open_no_follow, writing

_LINES = 100


def open_log(job: Job) -> int:
    """Open the run's log for appending, creating the run's directory; return the descriptor.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = log_path(job)
    with writing(path):
        job.directory.mkdir(parents=True, exist_ok=True)
        return open_no_follow(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def log_path(job: Job) -> Path:
    """Return the path of the log, which the runs of one process share."""
    return job.process / "stderr.log"


def log_size(job: Job) -> int:
    """Return the current size of the run's log in bytes; 0 if there is none."""
    path = log_path(job)
    return path.stat().st_size if path.exists() else 0


def last_lines(path: Path, start: int) -> str | None:
    """Return the last hundred lines of a file from byte ``start`` on; None if there are none.

    Also None if the file cannot be read or is not a plain file: the end of a run can be recorded
    without it.
    """
    try:
        with os.fdopen(open_no_follow(path, os.O_RDONLY), "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(start, size - (1 << 16)))
            text = stream.read().decode(errors="replace")
    except (OSError, StoreError):
        return None
    return "\n".join(text.splitlines()[-_LINES:]) or None


def make_work_dir(job: Job) -> Path:
    """Create and return the workload's own folder.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    work = work_dir(job.directory)
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    return work


def why_not_writable(job: Job) -> StoreError:
    """Find why a worker could not write its files; if all are writable, assume a full disk."""
    try:
        os.close(open_log(job))
        append_lines(spool_path(job.directory), b"")
        make_work_dir(job)
    except StoreError as error:
        return error
    return StoreError(
        f"{job.directory}: a worker cannot write its results there; free some space, then run the "
        "same command again"
    )
