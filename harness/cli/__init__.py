"""Commands: parse arguments, call the other rooms, print; nothing else writes to a terminal."""

from harness.cli.commands import main

__all__ = ["main"]
