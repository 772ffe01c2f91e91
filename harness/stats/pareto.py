"""The Pareto front: points that no other point beats. Pure.

Source: Deb et al. 2002 (NSGA-II), for the crowding distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Point = Sequence[float]
"""The values of all objectives, more is better."""


def on_front(points: Sequence[Point]) -> list[bool]:
    """Return for each point whether no other one is as good in all objectives and better in one.

    Equal points do not beat each other.
    """
    if not points:
        return []
    values = np.asarray(points, dtype=float)
    return [
        not bool(((values >= point).all(axis=1) & (values > point).any(axis=1)).any())
        for point in values
    ]


def spread_out(points: Sequence[Point], most: int) -> list[int]:
    """Choose up to ``most`` points of a front that lie far from each other.

    The best of each objective come first, then those with the largest crowding distance; ties go
    to the earlier point.

    Returns:
        Their positions, ascending.
    """
    distances = _crowding(points)
    ranked = sorted(range(len(points)), key=lambda place: (-distances[place], place))
    return sorted(ranked[:most])


def _crowding(points: Sequence[Point]) -> list[float]:
    """Return the crowding distance of each point; infinite at the ends of an objective."""
    found = [0.0] * len(points)
    for column in np.asarray(points, dtype=float).T:
        order = np.argsort(column, kind="stable")
        width = float(column[order[-1]] - column[order[0]])
        for place, at in enumerate(order):
            if place in (0, len(order) - 1):
                found[at] = math.inf
            elif width > 0:
                gap = column[order[place + 1]] - column[order[place - 1]]
                found[at] += float(gap) / width
    return found
