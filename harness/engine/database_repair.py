"""Replaces a database that was found damaged while a study runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from harness.engine.dispatch.leases import Leases
from harness.errors import InputError, StoreDamagedError, StoreError
from harness.store.database_file import rebuild_command
from harness.store.rebuild import Rebuilt, rebuild
from harness.store.results_lock import alone

_WAIT_S = 10.0


def mend(results: Path, error: StoreDamagedError, say: Callable[[str], None]) -> None:
    """Make the database anew, by a driver that holds nothing in the folder any more.

    Args:
        results: The results folder.
        error: How its damage was found.
        say: Is told what is done.

    Raises:
        StoreError: other drivers are at work, as the message names them; or a record is damaged,
            or the disk is full.
        StoreBusyError: a reader does not let go of the file.
    """
    what = str(error).partition("; ")[0]
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(results))
        except InputError:
            training = sorted({str(owner) for owner in Leases(results).taken().values()})
            who = ", ".join(training) or "another process"
            raise StoreError(
                f"{what}; no result is lost, but others are at work in the folder ({who}): when "
                f"they have ended, `{rebuild_command(results)}` or the same command makes it anew"
            ) from None
        say(what)
        made = rebuild(results, wait_s=_WAIT_S, on_wait=say)
    for notice in made.notices:
        say(notice)
    say(f"{results}: made anew from {made.studies} studies and {made.runs} runs")


def rebuild_results(results: Path, on_wait: Callable[[str], None]) -> Rebuilt:
    """Make the database anew from the spools, while no driver is at work on them.

    Args:
        results: The results folder.
        on_wait: Called once with a sentence when a reader has to be waited for.

    Raises:
        InputError: nothing there, or a driver is at work.
        StoreError: the folder is not writable.
    """
    if not results.is_dir():  # the lock must not make it
        raise InputError(f"{results}: no such results folder; give one with --results")
    with alone(results):
        return rebuild(results, wait_s=10.0, on_wait=on_wait)
