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


def duration_range(low: float, high: float) -> str:
    """A range of seconds, to two digits: ``4.2 to 6.1 h``; ``about 5 h`` if both read the same."""
    size, unit = next(
        (pair for pair in ((3600, "h"), (60, "min")) if high >= 2 * pair[0]), (1, "s")
    )
    return number_range(low / size, high / size, unit)


def number_range(low: float, high: float, unit: str) -> str:
    """A range of numbers, to two digits: ``0.8 to 1.6 kWh``; ``about 1 kWh`` if they are equal."""
    texts = [_two_digits(low), _two_digits(high)]
    return f"about {texts[0]} {unit}" if texts[0] == texts[1] else f"{' to '.join(texts)} {unit}"


def _two_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{float(f'{number:.2g}'):g}"


def total_duration(seconds: float) -> str:
    """A sum of times, for comparing costs: ``431 s``, ``2.17 h``."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


def mebibytes(size: float) -> str:
    """A size in MiB as text: ``12.5 MiB``, ``1.5 GiB``."""
    return f"{size / 1024:.1f} GiB" if size >= 1024 else f"{size:.1f} MiB"


def shortened(text: str, longest: int) -> str:
    """``text``, or its first characters and an ellipsis: at most ``longest`` in all."""
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
