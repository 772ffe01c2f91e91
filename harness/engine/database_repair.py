"""Rebuild a database that was found damaged while a study is running."""

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
    """Rebuild a damaged database; the calling driver must hold no lock in the folder.

    Args:
        results: The results folder.
        error: The error that reported the damage.
        say: Receives progress messages.

    Raises:
        StoreError: other drivers are using the folder (the message names them), a record is
            damaged, or the disk is full.
        StoreBusyError: a reader keeps the file open.
    """
    what = str(error).partition("; ")[0]
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(results))
        except InputError:
            training = sorted({str(owner) for owner in Leases(results).taken().values()})
            who = ", ".join(training) or "another process"
            raise StoreError(
                f"{what}; no result is lost, but the folder is in use ({who}): when that has "
                f"ended, run the same command again or `{rebuild_command(results)}`"
            ) from None
        say(what)
        made = rebuild(results, wait_s=_WAIT_S, on_wait=say)
    for notice in made.notices:
        say(notice)
    say(f"{results}: rebuilt from {made.studies} studies and {made.runs} runs")


def rebuild_results(results: Path, on_wait: Callable[[str], None]) -> Rebuilt:
    """Rebuild the database from the spools while no driver is using the folder.

    Args:
        results: The results folder.
        on_wait: Called once, with a message, when waiting for a reader begins.

    Raises:
        InputError: the folder holds no results, or a driver is using it.
        StoreError: the folder is not writable.
    """
    if not results.is_dir():  # taking the lock would create it
        raise InputError(f"{results}: no such results folder; give one with --results")
    with alone(results):
        return rebuild(results, wait_s=10.0, on_wait=on_wait)
