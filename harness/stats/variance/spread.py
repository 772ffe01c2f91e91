"""The standard deviation to plan with, where earlier runs have measured it on a few seeds. Pure.

A standard deviation of three seeds is off by a factor of two in either direction every few times,
and a plan that believes it is too small half of the time. So with ``FEW_SEEDS`` or fewer it is
moderated: the variances of this study are pooled and shrunk towards those of other studies, as many
degrees of freedom as these agree among each other, and the plan uses the upper 80 % confidence
bound of the result by the chi-square distribution.

Source: Smyth 2004, "Linear models and empirical Bayes methods" (limma), section 6.2, for the prior.
We differ: trials are pooled, with the degrees of freedom of variances that share a baseline.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, digamma, polygamma

FEW_SEEDS = 3
CONFIDENCE = 0.8
"""The plan's standard deviation is too small in one of five cases."""
_FEWEST_OTHERS = 3
_ALIKE = 1 / 4
"""Correlation of the variances of two comparisons with one baseline: that of their differences is
1/2, and variances of normals correlate by its square."""
_NEWTON_STEPS = 50


class Deviation(NamedTuple):
    """The standard deviation of a trial's paired differences."""

    sd: float
    seeds: int


class Prior(NamedTuple):
    """The variance that trials have in general, worth this many degrees of freedom."""

    variance: float
    freedom: float
    """Infinite if the variances of trials differ by chance only."""


class PlannedSpread(NamedTuple):
    """The standard deviation to plan with."""

    sd: float
    measured: float
    """Median of the trials' own standard deviations."""
    is_bound: bool
    """Whether ``sd`` is an upper bound, since there are few seeds."""


def planned_spread(own: Sequence[Deviation], others: Sequence[Deviation] = ()) -> PlannedSpread:
    """Return the standard deviation of paired differences to plan a study with.

    With more than ``FEW_SEEDS`` seeds (median over trials), it is the median of the trials.

    Args:
        own: Of the trials to go by; at least one.
        others: Of other studies.
    """
    measured = statistics.median(each.sd for each in own)
    if statistics.median(each.seeds for each in own) > FEW_SEEDS:
        return PlannedSpread(measured, measured, False)
    pooled, freedom = pool(own)
    prior = fit_prior(others)
    if prior is not None:
        pooled, freedom = _moderated(pooled, freedom, prior)
    return PlannedSpread(upper_bound(pooled, freedom) ** 0.5, measured, True)


def pool(trials: Sequence[Deviation]) -> tuple[float, float]:
    """Return the mean variance of trials that share a baseline, and its degrees of freedom."""
    count = len(trials)
    variance = statistics.fmean(each.sd**2 for each in trials)
    freedom = statistics.fmean(each.seeds - 1 for each in trials)
    return variance, freedom * count / (1 + (count - 1) * _ALIKE)


def upper_bound(variance: float, freedom: float) -> float:
    """Return the upper confidence bound of a variance with this many degrees of freedom."""
    if math.isinf(freedom):
        return variance
    return variance * freedom / float(chdtri(freedom, CONFIDENCE))


def fit_prior(trials: Sequence[Deviation]) -> Prior | None:
    """Fit a scaled inverse chi-square distribution to the variances of trials, by moments.

    Returns:
        The prior, or None if there are fewer than three trials that vary.
    """
    kept = [each for each in trials if each.sd > 0 and each.seeds > 1]
    if len(kept) < _FEWEST_OTHERS:
        return None
    half = np.array([each.seeds - 1 for each in kept]) / 2
    logs = 2 * np.log([each.sd for each in kept]) - digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - polygamma(1, half).mean())
    mean = float(logs.mean())
    if excess <= 0:
        return Prior(math.exp(mean), math.inf)
    freedom = 2 * _inverse_trigamma(excess)
    return Prior(math.exp(mean + float(digamma(freedom / 2)) - math.log(freedom / 2)), freedom)


def _moderated(variance: float, freedom: float, prior: Prior) -> tuple[float, float]:
    """Return the variance shrunk towards the prior, and its degrees of freedom."""
    if math.isinf(prior.freedom):
        return prior.variance, math.inf
    total = freedom + prior.freedom
    return (freedom * variance + prior.freedom * prior.variance) / total, total


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = ``value`` > 0; Newton's method on 1 / trigamma is monotone."""
    x = 0.5 + 1 / value
    for _ in range(_NEWTON_STEPS):
        at = float(polygamma(1, x))
        step = at * (1 - at / value) / float(polygamma(2, x))
        x += step
        if abs(step) <= 1e-9 * x:
            break
    return x
