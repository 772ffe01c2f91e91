"""Lock a results folder: shared for drivers, exclusive for a rebuild; released on process exit."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from harness.errors import InputError
from harness.records.plain_file import open_no_follow, writing


def sharing(results: Path) -> AbstractContextManager[None]:
    """Hold a shared lock on ``results/.lock`` for a ``with`` block; the folder is created.

    Raises:
        InputError: a rebuild is running; the message names its process.
        StoreError: the folder is not writable.
    """
    return _held(results, fcntl.LOCK_SH)


def alone(results: Path) -> AbstractContextManager[None]:
    """Hold an exclusive lock on ``results/.lock`` for a ``with`` block; the folder is created.

    Raises:
        InputError: another process holds the lock; the message names one.
        StoreError: the folder is not writable.
    """
    return _held(results, fcntl.LOCK_EX)


@contextmanager
def _held(results: Path, kind: int) -> Iterator[None]:
    path = results / ".lock"
    with writing(path):
        results.mkdir(parents=True, exist_ok=True)
        descriptor = open_no_follow(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{results}: process {holder} is writing results there; wait for it, end it, or "
                "choose another folder with --results"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
