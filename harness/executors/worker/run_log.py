"""The places in a run's folder that a worker writes to, its log above all.

The log holds what the workers of a run have printed, one attempt after the other.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import StoreError
from harness.executors.interface import Job
from harness.records.event_log import append_lines
from harness.records.folders import spool_path, work_dir
from harness.records.plain_file import open_no_follow, unwritable

_LINES = 100


def open_log(job: Job) -> int:
    """A file descriptor that appends to the run's log; the run's directory is made.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = log_path(job)
    try:
        job.directory.mkdir(parents=True, exist_ok=True)
        return open_no_follow(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise unwritable(path, error) from None


def log_path(job: Job) -> Path:
    """Where the output of the run's workers is kept, one attempt after the other."""
    return job.process / "stderr.log"


def log_size(job: Job) -> int:
    """How many bytes earlier attempts have left in the run's log."""
    path = log_path(job)
    return path.stat().st_size if path.exists() else 0


def last_lines(path: Path, start: int) -> str | None:
    """The last hundred lines of the file from byte ``start`` on; None if there is nothing.

    None as well where it cannot be read, or is no plain file: how a run ended can be told without.
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
    """The workload's own folder, which is made.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    work = work_dir(job.directory)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(work, error) from None
    return work


def why_not_writable(job: Job) -> StoreError:
    """What keeps a worker from writing the run's files; a disk that is full where all can be."""
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
