"""A flag that asks the run in this process to end, set by a signal and read by ``report``."""

from __future__ import annotations

import os
import signal

_is_set = False


def set(*_: object) -> None:
    """Ask the run in this process to end after its current epoch; usable as a signal handler."""
    global _is_set
    _is_set = True


def is_set() -> bool:
    """Return whether the run was asked to end."""
    return _is_set


def forget() -> None:
    """Clear the request, for the next run in this process."""
    global _is_set
    _is_set = False


def listen() -> None:
    """Make SIGTERM ask the run to end instead of ending this process.

    Processes that the run forks, such as the workers of a pool or a data loader, still end on
    SIGTERM; otherwise their parent would wait for them forever.
    """
    signal.signal(signal.SIGTERM, set)
    os.register_at_fork(after_in_child=_be_ended_by_sigterm)


def _be_ended_by_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is set:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
