"""Interval of a paired difference that covers another draw of classes as well as other seeds. Pure.

Each seed scores the same classes, so the differences of a trial form a table, seeds by classes. The
interval over seeds holds the classes fixed: it covers what other seeds would give on these classes.
With other classes the difference varies more, because some classes gain where others lose. Both
variances are estimated from the mean squares of the table, and so are the degrees of freedom.

Percentile bootstraps over seeds and classes cover too little at ten seeds.

Source:
    Satterthwaite, Biometrics Bulletin 2 (1946), for the degrees of freedom; Miller,
    arXiv:2411.00640, for scores of clustered questions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


class CrossedInterval(NamedTuple):
    """The 95 % interval of a mean difference over seeds and classes."""

    low: float
    high: float
    classes: int
    """Number of classes."""
    share: float
    """Share of the variance of the mean that is due to the classes; 0 if all values are equal."""


class _MeanSquares(NamedTuple):
    """Two-way analysis of variance with one value per cell."""

    seeds: float
    classes: float
    rest: float


def crossed_interval(
    differences: NDArray[np.float64], weights: NDArray[np.float64]
) -> CrossedInterval | None:
    """Compute the interval of the weighted mean of a table of differences.

    Classes of unequal size are a ratio estimate: each value counts by its deviation from the mean,
    times the share of its class. The interval's variance is never below the one over seeds.

    Args:
        differences: ``(seeds, classes)``; finite.
        weights: ``(classes,)``: the number of queries of each class, above 0.

    Returns:
        None with a single seed or a single class.
    """
    seeds, classes = differences.shape
    if seeds < 2 or classes < 2:
        return None
    shares = weights / weights.sum()
    mean = float(np.mean(differences @ shares))
    squares = _mean_squares((differences - mean) * shares * classes)
    found = squares.seeds + max(0.0, squares.classes - squares.rest)
    if found == 0:
        return CrossedInterval(mean, mean, classes, 0.0)
    half = float(stdtrit(_freedom(squares, seeds, classes), 0.975))
    half *= (found / (seeds * classes)) ** 0.5
    return CrossedInterval(mean - half, mean + half, classes, 1 - squares.seeds / found)


def _mean_squares(table: NDArray[np.float64]) -> _MeanSquares:
    seeds, classes = table.shape
    mean = table.mean()
    by_seed, by_class = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    rest = table - mean - by_seed[:, None] - by_class
    return _MeanSquares(
        seeds=float(classes * (by_seed @ by_seed) / (seeds - 1)),
        classes=float(seeds * (by_class @ by_class) / (classes - 1)),
        rest=float((rest**2).sum() / ((seeds - 1) * (classes - 1))),
    )


def _freedom(squares: _MeanSquares, seeds: int, classes: int) -> float:
    """Return Satterthwaite's degrees of freedom of the variance of the mean."""
    if squares.classes <= squares.rest:
        return seeds - 1
    total = squares.seeds + squares.classes - squares.rest
    spread = squares.seeds**2 / (seeds - 1) + squares.classes**2 / (classes - 1)
    spread += squares.rest**2 / ((seeds - 1) * (classes - 1))
    return max(1.0, total**2 / spread)
