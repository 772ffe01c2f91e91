"""Format seconds, bytes and long names as text."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """A time as people say it: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    return f"{seconds:.1f} s" if seconds < 10 else whole_duration(math.ceil(seconds))


def whole_duration(seconds: int) -> str:
    """``duration`` without tenths of a second: ``4 s``."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def total_duration(seconds: float) -> str:
    """A sum of times, for comparing costs: ``431 s``, ``2.17 h``."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


def mebibytes(size: float) -> str:
    """A size in MiB as text: ``12.5 MiB``, ``1.5 GiB``."""
    return f"{size / 1024:.1f} GiB" if size >= 1024 else f"{size:.1f} MiB"


def shortened(text: str, longest: int) -> str:
    """``text``, or its first characters and an ellipsis: at most ``longest`` in all."""
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
