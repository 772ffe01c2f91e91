"""Ctrl-C and SIGTERM as a state to look at, instead of an exception out of anywhere."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes the first signal for the length of a ``with`` block; a second one raises."""

    def __init__(self, *, is_abrupt: bool) -> None:
        """Prepare; nothing is caught before the ``with`` block.

        Args:
            is_abrupt: Raise ``KeyboardInterrupt`` at the first signal already, because the loop
                has no say while a run is executed in this process.
        """
        self.signal: int | None = None
        self._is_abrupt = is_abrupt
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Take over the signals; only the main thread can, elsewhere nothing changes."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_first = self.signal is None
        self.signal = self.signal or number
        if self._is_abrupt or not is_first:
            raise KeyboardInterrupt
