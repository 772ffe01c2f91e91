"""Interval of a cross-validated difference that covers another draw of classes. Pure.

The folds share most of their training classes, so their results are correlated, and the variance
between them is too small: the usual interval over folds covers too little. Nadeau and Bengio add
the ratio of validation to training classes, 1/(K - 1) for K folds.

Source:
    Nadeau and Bengio, Machine Learning 52 (2003), the corrected resampled t-test; here for the
    folds of a cross-validation, whose values are means over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from harness.stats.paired import t_quantile


class FoldInterval(NamedTuple):
    """The 95 % interval of a mean difference over other training and validation classes."""

    low: float
    high: float
    folds: int


def fold_interval(differences: Sequence[float]) -> FoldInterval | None:
    """Compute the interval of the mean of one difference per fold; None below two folds.

    The variance is (1/K + 1/(K - 1)) s², with K - 1 degrees of freedom.
    """
    folds = len(differences)
    if folds < 2:
        return None
    mean = statistics.fmean(differences)
    variance = (1 / folds + 1 / (folds - 1)) * statistics.variance(differences)
    half = t_quantile(folds - 1) * variance**0.5
    return FoldInterval(mean - half, mean + half, folds)
