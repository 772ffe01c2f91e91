"""Print to a terminal, with control characters in names and messages made visible.

Every line for people passes through here. Output for programs keeps its bytes, unless it goes to a
terminal.
"""

from __future__ import annotations

import re
import sys

_COMMANDS = re.compile(
    # Control characters except tab and line feed, bidirectional overrides, and lone surrogates,
    # which no stream can write.
    "[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


def visible(text: str) -> str:
    r"""Write what a terminal would obey as text, such as ``\x1b``; tabs and newlines stay."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def show(text: str) -> None:
    """Print text for people."""
    print(visible(text))


def show_data(text: str) -> None:
    """Print text for programs."""
    print(visible(text) if sys.stdout.isatty() else text)


def say(text: str) -> None:
    """Print a message for people to standard error, apart from the command's output."""
    print(visible(text), file=sys.stderr)
