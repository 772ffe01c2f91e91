"""Rebuild a damaged database from the spools."""

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
    """Rebuild the database. The calling driver must have released all its locks and leases.

    Args:
        results: The results folder.
        error: The error that reported the damage.
        say: Receives progress messages.

    Raises:
        StoreError: other drivers are running (the message names them), a record is damaged, or
            the disk is full.
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
                f"{what}; no result is lost, but the folder is in use by {who}: once it is "
                f"free, `{rebuild_command(results)}` or the same command rebuilds the database"
            ) from None
        say(what)
        made = rebuild(results, wait_s=_WAIT_S, on_wait=say)
    for notice in made.notices:
        say(notice)
    say(f"{results}: rebuilt from {made.studies} studies and {made.runs} runs")


def rebuild_results(results: Path, on_wait: Callable[[str], None]) -> Rebuilt:
    """Rebuild the database from the spools while no driver is running.

    Args:
        results: The results folder.
        on_wait: Called once, with a sentence, if a reader holds the database.

    Raises:
        InputError: the folder does not exist, or a driver is running.
        StoreError: the folder is not writable.
    """
    if not results.is_dir():  # taking the lock must not create it
        raise InputError(f"{results}: no such results folder; give one with --results")
    with alone(results):
        return rebuild(results, wait_s=10.0, on_wait=on_wait)
