"""When a search gives a trial up: rules over epochs, and a test over paired seeds. Pure.

A run is stopped by a table that is made before it starts: what it must have reached after so many
epochs. It follows from earlier trials alone, so that the worker needs to ask nobody, and a run
that was interrupted, or that another study has trained to its end, is judged as it would have been.
"""

from __future__ import annotations

import binascii
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.stats.sequential import first_crossing

WARM_UP_EPOCHS = 1
"""After so few epochs the median stops nobody."""
STARTUP_RUNS = 5
"""The median needs so many finished runs of other trials with the same seed."""
FEWEST_EPOCHS = 1
"""Before hyperband's first rung."""
REDUCTION = 3
"""Hyperband keeps one in so many at a rung, and the next rung is so many times as far."""
WILCOXON_LEVEL = 0.1
"""By the first rules: below this p a trial counts as worse than the best one."""
WILCOXON_ERROR = 0.05
"""At most so many of the trials that are as good as the best are given up, over all looks."""
WILCOXON_SPENT = 0.045
"""What the test may spend of it. The rest is for the rivals: they have passed the same test, which
makes them look a little better than they are; simulated, by 0.004 with 20 seeds and 40 trials."""
_LEAST_PAIRS = 2


class Earlier(NamedTuple):
    """A run of an earlier trial with the same seed, done or pruned."""

    number: int
    """Of its trial."""
    is_done: bool
    values: Sequence[float]
    """The metric, epoch by epoch."""


def median_thresholds(earlier: Sequence[Earlier]) -> dict[int, float]:
    """The median of finished runs, epoch by epoch (the rule of Optuna's ``MedianPruner``)."""
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
    """What lets a trial pass the rungs of its bracket, among the runs that got there before it.

    Asynchronous successive halving, as in Optuna's ``HyperbandPruner``: trials are divided among
    brackets of which each has its first rung ``REDUCTION`` times later than the one before.

    Args:
        earlier: Runs of earlier trials.
        study: Its name.
        number: The trial's position in the study.
        most_epochs: Of any run of the study.

    Source:
        Li et al., JMLR 18 (2018), arXiv:1603.06560; Li et al., MLSys 2020, arXiv:1810.05934. A
        trial is never resumed after it was stopped, unlike in either.
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
    """The bracket of a trial, from 0: by chance, so that early and late trials are in each."""
    brackets = 1
    while FEWEST_EPOCHS * REDUCTION**brackets <= most_epochs:
        brackets += 1
    # A bracket with more rungs stops more of its trials early, so it gets more of them.
    sizes = [math.ceil(brackets * REDUCTION**left / (left + 1)) for left in range(brackets)][::-1]
    place = binascii.crc32(f"{study}_{number}".encode()) % sum(sizes)
    bracket = 0
    while place >= sizes[bracket]:
        place -= sizes[bracket]
        bracket += 1
    return bracket


def is_worse(values: Mapping[int, float], best: Mapping[int, float]) -> bool:
    """Whether a trial is worse than the best one so far, by the first rules.

    The rule of Optuna's ``WilcoxonPruner``, a one-sided signed-rank test: at ``WILCOXON_LEVEL``,
    and never a trial whose mean so far is as high as the best one's. It is asked after every seed,
    so of trials that are as good as the best one it gives up far more than one in ten.

    Args:
        values: Seed -> value of the trial.
        best: Seed -> value of the best trial.
    """
    # Loaded here: it costs half a second, and no other rule needs it.
    from scipy.stats import wilcoxon

    differences = [values[seed] - best[seed] for seed in sorted(values.keys() & best.keys())]
    if len(differences) < _LEAST_PAIRS:
        return False
    if statistics.fmean(values.values()) >= statistics.fmean(best.values()):
        return False
    test = wilcoxon(differences, alternative="less", zero_method="zsplit")
    return bool(test.pvalue < WILCOXON_LEVEL)


def choose_rivals(values: NDArray[np.float64], more: Sequence[Sequence[float]]) -> list[int]:
    """For each seed but the last, the trial that has the best mean over all the later seeds.

    A run must not be compared with values by which its rival was chosen: the best of many trials
    that are equally good is the one that was lucky with these seeds, and any new trial would look
    worse. After the last seed nothing is left to spare.

    Args:
        values: Of earlier trials, a row each in the order of their numbers, the seeds as columns.
        more: Of each, its values with other seeds, which always count.

    Returns:
        Rows of ``values``; the earlier one where two are equal.
    """
    later = values[:, ::-1].cumsum(axis=1)[:, -2::-1]
    sums = np.array([sum(others) for others in more])[:, None] + later
    counts = np.array([len(others) for others in more])[:, None] + np.arange(later.shape[1], 0, -1)
    return [int(row) for row in (sums / counts).argmax(axis=0)]


def is_worse_than_rivals(pairs: Sequence[tuple[float, float]], *, looks: int) -> bool:
    """Whether a trial is worse than the best ones, by a signed-rank test over all looks so far.

    The error is meant for each trial by itself: one whose values are drawn as those of the best
    earlier trial is given up with a probability of ``WILCOXON_ERROR`` at most in all its seeds
    together, however many trials the best one was chosen from. Never a trial whose mean is as high.

    Args:
        pairs: Values of the trial and of its rivals (``choose_rivals``), in the order of seeds.
        looks: After how many seeds it may be asked.
    """
    differences = [value - rival for value, rival in pairs]
    if not differences or statistics.fmean(differences) >= 0:
        return False
    return first_crossing(differences, looks=looks, level=WILCOXON_SPENT) is not None
