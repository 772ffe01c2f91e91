"""Turns Ctrl-C and SIGTERM into a flag to poll, instead of an exception at any point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalGuard:
    """Records the first signal within a ``with`` block; a second one raises."""

    def __init__(self, at_first: Callable[[], object] | None = None) -> None:
        """Prepare the guard, which takes effect in the ``with`` block.

        Args:
            at_first: Called by the handler of the first signal.
        """
        self.signal: int | None = None
        self._at_first = at_first
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Install the handlers; outside the main thread, where Python forbids it, do nothing."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        if self._at_first is not None:
            self._at_first()
