"""Ctrl-C while the database works on a query: DuckDB by itself looks up from it only at times."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_by_ctrl_c(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C end what runs in the ``with`` block at once, as a KeyboardInterrupt.

    Args:
        interrupt: Makes the database give up its query, such as ``con.interrupt``. Whatever else
            Ctrl-C would do is done as well. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    is_set = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal is_set
        is_set = True
        interrupt()
        if callable(before):
            before(number, frame)
        else:  # ignored by whoever started us in the background; who signals now means it
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end)
    try:
        yield
    except Exception:
        # DuckDB makes one of several errors of it, by where it was and who else heard the signal.
        if not is_set:
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)
