"""Whether the run in this process was asked to end: noted by a signal, looked at by ``report``."""

from __future__ import annotations

import os
import signal

_is_set = False


def set(*_: object) -> None:
    """Ask the run in this process to end with the epoch that it is in; fit for a signal handler."""
    global _is_set
    _is_set = True


def is_set() -> bool:
    """Whether it was asked to."""
    return _is_set


def forget() -> None:
    """Let the next run of this process begin without having been asked."""
    global _is_set
    _is_set = False


def listen() -> None:
    """From now on SIGTERM asks the run to end, instead of ending this process.

    A process that the run forks ends at SIGTERM as ever, or whoever ends it so would wait for it
    for ever: a pool of processes, the workers of a data loader.
    """
    signal.signal(signal.SIGTERM, set)
    os.register_at_fork(after_in_child=_be_ended_by_sigterm)


def _be_ended_by_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is set:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
