"""Drivers share a results folder; a rebuild has it alone. The locks end with their processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from harness.errors import InputError
from harness.records.plain_file import open_no_follow, unwritable


def sharing(results: Path) -> AbstractContextManager[None]:
    """Hold ``results/.lock`` beside other drivers for a ``with`` block; the folder is made.

    Raises:
        InputError: a rebuild is at work; the message names its process.
        StoreError: the folder is not writable.
    """
    return _held(results, fcntl.LOCK_SH)


def alone(results: Path) -> AbstractContextManager[None]:
    """Hold ``results/.lock`` while nobody else does, for a ``with`` block; the folder is made.

    Raises:
        InputError: another process is at work; the message names one.
        StoreError: the folder is not writable.
    """
    return _held(results, fcntl.LOCK_EX)


@contextmanager
def _held(results: Path, kind: int) -> Iterator[None]:
    path = results / ".lock"
    try:
        results.mkdir(parents=True, exist_ok=True)
        descriptor = open_no_follow(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise unwritable(path, error) from None
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
