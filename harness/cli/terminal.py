"""What goes to a terminal: names and messages of others can hold commands to it, which are shown.

Every line for people passes through here. What is written for programs keeps its bytes, unless a
terminal is what reads it.
"""

from __future__ import annotations

import re
import sys

_COMMANDS = re.compile(
    # Controls but tab and line feed, what reverses the order of letters, and halves of characters,
    # which no stream can write.
    "[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


def visible(text: str) -> str:
    r"""The text with what a terminal would obey written as ``\x1b``; tabs and line ends stay."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def show(text: str) -> None:
    """Print lines for people."""
    print(visible(text))


def show_data(text: str) -> None:
    """Print lines for programs."""
    print(visible(text) if sys.stdout.isatty() else text)


def say(text: str) -> None:
    """Print a line for whoever looks on, apart from what the command prints for programs."""
    print(visible(text), file=sys.stderr)
