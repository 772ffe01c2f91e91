"""Checks that a study which stops by itself can show anything with the seeds it may use."""

from __future__ import annotations

import dataclasses

from harness.errors import InputError
from harness.stats.looks.stopping import StopRule, every_seed, first_look
from harness.study.loading import Loaded

_MOST_TRIED = 100


def check_stop(loaded: Loaded, *, comparisons: int) -> None:
    """Refuse ``stop`` if no look could show a difference.

    Args:
        loaded: The study.
        comparisons: Number of trials that are compared with the baseline.

    Raises:
        InputError: naming the number of seeds that is enough.
    """
    stop = loaded.spec.stop
    if stop is None:
        return
    if comparisons == 0:
        raise InputError(
            f"{loaded.source.where(('stop',))}: stop: there is nothing to compare with the "
            "baseline; add a trial, or give seeds"
        )
    if first_look(stop.rule, comparisons) is None:
        family = f"{comparisons} comparison{'s' * (comparisons != 1)}"
        raise InputError(
            f"{loaded.source.where(('stop', 'most_seeds'))}: stop.most_seeds: {stop.most_seeds} "
            f"seeds can show nothing in {family}; {_remedy(stop.rule, comparisons)}"
        )


def _remedy(rule: StopRule, comparisons: int) -> str:
    """Name the least number of seeds that can show something."""
    for seeds in range(rule.looks[-1] + 1, _MOST_TRIED + 1):
        longer = dataclasses.replace(rule, looks=every_seed(seeds))
        if first_look(longer, comparisons) is not None:
            return f"give at least {seeds}, or compare fewer trials"
    return "compare fewer trials"
