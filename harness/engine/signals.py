"""Ctrl-C and SIGTERM as a state to look at, instead of an exception out of anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalGuard:
    """Notes the first signal for the length of a ``with`` block; a second one raises."""

    def __init__(self, at_first: Callable[[], object] | None = None) -> None:
        """Prepare; nothing is caught before the ``with`` block.

        Args:
            at_first: Called within the handler of the first signal.
        """
        self.signal: int | None = None
        self._at_first = at_first
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Take over the signals; only the main thread can, elsewhere nothing changes."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        if self._at_first is not None:
            self._at_first()
