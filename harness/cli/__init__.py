"""Command line: parse, call, print. The only room that writes to a terminal."""

from harness.cli.commands import main

__all__ = ["main"]
