"""Adjusted mutual information against scikit-learn's, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from harness.stats.mutual_information import adjusted_mutual_information


@pytest.mark.parametrize("clusters", [2, 7, 40])
@pytest.mark.parametrize("moved", [0.0, 0.3, 1.0])
def test_equals_scikit_learn(clusters: int, moved: float) -> None:
    chance = np.random.default_rng(clusters)
    one = chance.zipf(1.5, size=200) % clusters  # clusters of very unequal sizes
    other = np.where(chance.random(200) < moved, chance.integers(clusters, size=200), one + 3)
    expected = adjusted_mutual_info_score(one, other)
    assert adjusted_mutual_information(one, other) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 1, 1], [5, 5, -2, -2], 1.0),
        ([0, 0, 0], [1, 1, 1], 1.0),
        ([0, 1, 2], [2, 0, 1], 1.0),
        ([0, 0, 0, 0], [0, 1, 0, 1], 0.0),
        ([3], [4], 1.0),
    ],
)
def test_edges(one: list[int], other: list[int], expected: float) -> None:
    assert adjusted_mutual_information(one, other) == pytest.approx(expected)


def test_independent_clusterings_agree_as_chance_does() -> None:
    chance = np.random.default_rng(0)
    found = [adjusted_mutual_information(*chance.integers(20, size=(2, 100))) for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.0, abs=0.01)
