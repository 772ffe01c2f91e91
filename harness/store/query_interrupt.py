"""Interrupt a running query with Ctrl-C, or when it takes too long.

DuckDB alone checks for signals only occasionally.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from harness.errors import InputError


@contextmanager
def ended_by_ctrl_c(interrupt: Callable[[], None]) -> Iterator[None]:
    """Make Ctrl-C interrupt the ``with`` block immediately with a KeyboardInterrupt.

    The previous signal handler is called as well. Outside the main thread this does nothing.

    Args:
        interrupt: Aborts the running query, such as ``con.interrupt``.
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
        else:  # SIGINT was ignored (a background process), but this one was sent on purpose
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end)
    try:
        yield
    except Exception:
        # Which error DuckDB raises on an interrupt depends on where it was and on other handlers.
        if not is_set:
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ended_after(interrupt: Callable[[], None], limit_s: float | None) -> Iterator[None]:
    """Interrupt the queries of the ``with`` block after some time; None for no limit.

    Raises:
        InputError: it took longer.
    """
    if limit_s is None:
        yield
        return
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        interrupt()

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not is_over.is_set():
            raise
        raise InputError(f"SQL: not answered within {limit_s:g} s; ask for less") from None
    finally:
        timer.cancel()
