"""A symmetric e-process: evidence against differences that centre on zero, at any time. Pure.

It needs no plan of looks: whatever decides when to look, the evidence exceeds ``1 / level`` with
probability ``level`` at most if differences centre on zero. It starts at 1. Each difference ``z``
multiplies the bet ``strength`` by ``exp(strength * z) / cosh(strength * z)``, whose mean is 1 if
``z`` and ``-z`` are equally likely; ``z`` is the difference in units of the earlier ones. The
evidence is the mean of bets of several strengths.

Source:
    Ramdas, Ruf, Larsson, Koolen, arXiv:2009.03167 (2020), on sign-symmetric martingales.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRENGTHS = (0.25, 0.5, 1.0, 2.0)
"""The strengths of the bets, in units of the earlier differences."""


def evidence(differences: Sequence[float | None], *, both_tails: bool = True) -> list[float]:
    """Return the evidence after each difference, the largest so far.

    Args:
        differences: One per seed, in order; None where a seed has none.
        both_tails: Whether differences below zero count as evidence, too.

    Returns:
        One value a seed; ``1 / value`` is a p value that holds at any time.
    """
    strengths = np.array([*STRENGTHS, *([-each for each in STRENGTHS] if both_tails else [])])
    logs = np.zeros(len(strengths))
    squares, count, largest = 0.0, 0, 1.0
    found = []
    for each in differences:
        if each is not None:
            scale = (squares / count) ** 0.5 if squares else abs(each) or 1.0
            # exp(x) / cosh(x) = 2 / (1 + exp(-2x)), which cannot overflow in this form.
            logs += np.log(2) - np.logaddexp(0, -2 * strengths * each / scale)
            squares, count = squares + each * each, count + 1
            largest = max(largest, float(np.exp(np.logaddexp.reduce(logs) - np.log(len(logs)))))
        found.append(largest)
    return found


def fewest_seeds(level: float) -> int:
    """Return after how many equal differences the evidence exceeds ``1 / level``."""
    seeds = 1
    while evidence([1.0] * seeds)[-1] < 1 / level:
        seeds += 1
    return seeds
