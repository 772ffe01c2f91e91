"""The interval over folds: against slow sums, at its edges, and in simulated cross-validations."""

from __future__ import annotations

import numpy as np
import pytest
from folded_studies import MIXES, coverage, learned_coverage
from scipy import stats

from harness.stats.paired import t_interval
from harness.stats.variance.folds import fold_interval


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_equals_the_slow_formula(folds: int) -> None:
    values = np.random.default_rng(folds).normal(0.1, 1.0, folds).tolist()
    mean = sum(values) / folds
    squared = sum((value - mean) ** 2 for value in values) / (folds - 1)
    share_held_out = (1 / folds) / (1 - 1 / folds)  # validation classes per training class
    half = stats.t.ppf(0.975, folds - 1) * ((1 / folds + share_held_out) * squared) ** 0.5
    found = fold_interval(values)
    assert found is not None
    assert found == pytest.approx((mean - half, mean + half, folds), rel=1e-12)


def test_is_wider_than_the_interval_of_independent_folds() -> None:
    values = [0.1, 0.3, 0.2, 0.25]
    wide, narrow = fold_interval(values), t_interval(values)
    assert wide is not None
    assert narrow.low is not None
    assert wide.low < narrow.low


def test_equal_folds_have_an_interval_without_width_and_one_fold_has_none() -> None:
    found = fold_interval([0.5, 0.5, 0.5])
    assert found == (0.5, 0.5, 3)
    assert fold_interval([0.5]) is None
    assert fold_interval([]) is None


@pytest.mark.parametrize("folds", [4, 10])
def test_covers_other_classes_where_the_plain_interval_does_not(folds: int) -> None:
    found = coverage(MIXES["validation and training classes"], folds=folds, studies=1500, key=1)
    assert found.corrected > 0.94
    assert found.plain < 0.93


@pytest.mark.slow
def test_covers_the_difference_that_a_learner_makes() -> None:
    found = learned_coverage(folds=4, studies=1000, key=1)
    assert found.corrected > 0.94
