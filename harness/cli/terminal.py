"""Print to a terminal, with control characters in names and messages made visible.

Every line for people passes through here. Output for programs keeps its bytes, unless it goes to a
terminal. A command that answers a program as JSON writes JSON to standard error, too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise

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
    """Write a notice to standard error; standard output belongs to the command's answer."""
    print(notice(text), file=sys.stderr)


def notice(text: str) -> str:
    """Return a notice as it is written to standard error."""
    return _message("notice", text) if _IS_JSON.get() else visible(text)


def say_error(text: str, status: int) -> None:
    """Write an error to standard error: a line for each of its lines, or one JSON document."""
    text = text.rstrip("\n")
    if _IS_JSON.get():
        print(_message("error", text, status), file=sys.stderr)
        return
    for line in text.split("\n"):
        say(f"error: {line}")


def _message(kind: str, text: str, status: int | None = None) -> str:
    # The fields of harness.answers.documents.Message, which is slow to import.
    return json.dumps({"kind": kind, "text": text, "status": status})


@contextmanager
def speaking(arguments: Sequence[str]) -> Iterator[bool]:
    """Write messages as JSON in this block if the command line asks for JSON; yield whether.

    The arguments are read here as well as by Typer, because a message may say what is wrong with
    them.
    """
    pairs = {"=".join(pair) for pair in pairwise(arguments)}
    token = _IS_JSON.set(not _JSON.isdisjoint(pairs.union(arguments)))
    try:
        yield _IS_JSON.get()
    finally:
        _IS_JSON.reset(token)


_IS_JSON: ContextVar[bool] = ContextVar("is_json", default=False)
_JSON = {"--format=json", "--answer=json"}
