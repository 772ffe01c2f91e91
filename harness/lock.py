"""One writer a results folder: the lock that a driver holds for as long as it lives.

The system drops the lock with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import InputError
from harness.spool import unwritable


@contextmanager
def only_writer(results: Path) -> Iterator[None]:
    """Hold ``results/.lock`` for the length of a ``with`` block; the folder is made.

    Raises:
        InputError: another process holds it; the message names that process.
        StoreError: the folder is not writable.
    """
    path = results / ".lock"
    try:
        results.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{results}: process {holder} is writing results there; wait for it, end it, or "
                "choose another folder with --results"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
