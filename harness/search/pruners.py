"""Decide when a search prunes a trial: by epoch curves, or by a test over paired seeds. Pure.

A run gets its thresholds before it starts: the least value it must have reached after each number
of epochs. They follow from earlier trials alone, so a worker needs no further information, and a
run that was interrupted, or finished by another study, is judged in the same way.
"""

from __future__ import annotations

import binascii
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.stats.looks.sequential import first_crossing

WARM_UP_EPOCHS = 1
"""The median pruner never stops a run before this many epochs."""
STARTUP_RUNS = 5
"""The median pruner needs this many finished runs of other trials with the same seed."""
FEWEST_EPOCHS = 1
"""Epochs before hyperband's first rung."""
REDUCTION = 3
"""Hyperband keeps one trial in three at a rung; the next rung is three times as far."""
WILCOXON_LEVEL = 0.1
"""First rules: a trial counts as worse than the best one below this p."""
WILCOXON_ERROR = 0.05
"""Probability, over all looks, that a trial as good as the best one is pruned."""
WILCOXON_SPENT = 0.045
"""The part of it for the test itself. The rest covers the selection of rivals: they passed the same
test and so look slightly better than they are (0.004 by simulation, 20 seeds, 40 trials)."""
_LEAST_PAIRS = 2


class Earlier(NamedTuple):
    """A finished or pruned run of an earlier trial with the same seed."""

    number: int
    """Number of its trial."""
    is_done: bool
    values: Sequence[float]
    """The metric, epoch by epoch."""


def median_thresholds(earlier: Sequence[Earlier]) -> dict[int, float]:
    """Return the median of finished runs at each epoch (the rule of Optuna's ``MedianPruner``)."""
    done = [run.values for run in earlier if run.is_done]
    if len(done) < STARTUP_RUNS:
        return {}
    longest = max(len(values) for values in done)
    return {
        count: statistics.median(values[count - 1] for values in done if len(values) >= count)
        for count in range(WARM_UP_EPOCHS + 1, longest + 1)
    }


def hyperband_thresholds(
    earlier: Sequence[Earlier], *, study: str, number: int, most_epochs: int
) -> dict[int, float]:
    """Return what a run must reach at each rung of its bracket, given the runs before it.

    Asynchronous successive halving, as in Optuna's ``HyperbandPruner``: trials are divided among
    brackets; the first rung of each is ``REDUCTION`` times later than that of the one before.

    Args:
        earlier: Runs of earlier trials.
        study: Its name.
        number: The trial's position in the study.
        most_epochs: The largest number of epochs of any run.

    Source:
        Li et al., JMLR 18 (2018), arXiv:1603.06560; Li et al., MLSys 2020, arXiv:1810.05934.
        Unlike there, a stopped trial is never resumed.
    """
    bracket = bracket_of(study, number, most_epochs)
    rivals = [
        run.values for run in earlier if bracket_of(study, run.number, most_epochs) == bracket
    ]
    least: dict[int, float] = {}
    count = FEWEST_EPOCHS * REDUCTION**bracket
    while count <= most_epochs:
        there = sorted((v[count - 1] for v in rivals if len(v) >= count), reverse=True)
        kept = max(1, (len(there) + 1) // REDUCTION)
        if len(there) >= kept:
            least[count] = there[kept - 1]
        count *= REDUCTION
    return least


def bracket_of(study: str, number: int, most_epochs: int) -> int:
    """Draw the bracket of a trial, from 0, so that each has early and late trials."""
    brackets = 1
    while FEWEST_EPOCHS * REDUCTION**brackets <= most_epochs:
        brackets += 1
    # A bracket with more rungs stops more trials early, so it gets more of them.
    sizes = [math.ceil(brackets * REDUCTION**left / (left + 1)) for left in range(brackets)][::-1]
    place = binascii.crc32(f"{study}_{number}".encode()) % sum(sizes)
    bracket = 0
    while place >= sizes[bracket]:
        place -= sizes[bracket]
        bracket += 1
    return bracket


def is_worse(values: Mapping[int, float], best: Mapping[int, float]) -> bool:
    """Whether a trial is worse than the best one so far, by the first rules.

    The rule of Optuna's ``WilcoxonPruner``: a one-sided signed-rank test at ``WILCOXON_LEVEL`` that
    never prunes a trial whose mean is as high as the best one's. It is made after every seed, so it
    prunes far more than a tenth of the trials that are as good as the best one.

    Args:
        values: Seed -> value of the trial.
        best: Seed -> value of the best trial.
    """
    # Imported late: it costs half a second, and no other rule needs it.
    from scipy.stats import wilcoxon

    differences = [values[seed] - best[seed] for seed in sorted(values.keys() & best.keys())]
    if len(differences) < _LEAST_PAIRS:
        return False
    if statistics.fmean(values.values()) >= statistics.fmean(best.values()):
        return False
    test = wilcoxon(differences, alternative="less", zero_method="zsplit")
    return bool(test.pvalue < WILCOXON_LEVEL)


def choose_rivals(values: NDArray[np.float64], more: Sequence[Sequence[float]]) -> list[int]:
    """For each seed but the last, find the trial with the best mean over all later seeds.

    A rival must not be chosen by the values that a run is compared with: the best of many equally
    good trials is the one that was lucky with these seeds, and any new trial would look worse.
    After the last seed there is nothing left to save.

    Args:
        values: One row per earlier trial, ordered by number; one column per seed.
        more: Per trial, its values with other seeds, which always count.

    Returns:
        Row indices into ``values``; ties go to the earlier trial.
    """
    later = values[:, ::-1].cumsum(axis=1)[:, -2::-1]
    sums = np.array([sum(others) for others in more])[:, None] + later
    counts = np.array([len(others) for others in more])[:, None] + np.arange(later.shape[1], 0, -1)
    return [int(row) for row in (sums / counts).argmax(axis=0)]


def is_worse_than_rivals(pairs: Sequence[tuple[float, float]], *, looks: int) -> bool:
    """Whether a trial is worse than the best ones, by a signed-rank test over all looks so far.

    The error holds for each trial: one distributed like the best earlier trial is pruned
    with probability ``WILCOXON_ERROR`` at most, over all its seeds together and however many
    trials the best one was chosen from. A trial whose mean is as high is never pruned.

    Args:
        pairs: Values of the trial and of its rivals (``choose_rivals``), in the order of seeds.
        looks: Number of seeds after which the test may be made.
    """
    differences = [value - rival for value, rival in pairs]
    if not differences or statistics.fmean(differences) >= 0:
        return False
    return first_crossing(differences, looks=looks, level=WILCOXON_SPENT) is not None
