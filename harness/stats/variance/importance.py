"""Share of the variance of a score that each parameter, and each pair, explains. Pure.

In a crossed design, where every combination of values was tried, these are the sums of squares of
an analysis of variance: exact, and the interval comes from drawing seeds anew. Elsewhere regression
trees stand in for the score, and the interval comes from drawing trials anew and fitting again.
What a pair explains is beyond what its two parameters explain alone.

Source:
    Functional analysis of variance of tree ensembles: Hutter, Hoos, Leyton-Brown, ICML 2014. A
    choice counts as an equal part of its axis, so that a tree can split a choice off on its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Term: TypeAlias = tuple[int, ...]
"""Positions of one parameter or of two."""
Shares: TypeAlias = dict[Term, float]

TREES, REFITS, TREES_OF_A_REFIT = 64, 50, 4
DRAWS = 400
MOST_LEAVES = 128
"""Of a tree: the sums take its leaves to the third power."""
_ENDS = (2.5, 97.5)


class Explained(NamedTuple):
    """A share of the variance with its 95 % interval; without ends if nothing can be drawn anew."""

    share: float
    low: float | None
    high: float | None


class Tree(Protocol):
    """The arrays of a regression tree, as scikit-learn names them; leaves have no children."""

    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]
    """``(nodes, 1, 1)``."""


def is_crossed(levels: NDArray[np.int64]) -> bool:
    """Whether ``(trials, parameters)`` holds every combination of values exactly once."""
    sizes = [len(np.unique(column)) for column in levels.T]
    return len(np.unique(levels, axis=0)) == len(levels) == int(np.prod(sizes))


def crossed_shares(
    levels: NDArray[np.int64], values: NDArray[np.float64]
) -> dict[Term, Explained] | None:
    """Explain the variance between the trials of a crossed design.

    Args:
        levels: ``(trials, parameters)``: each value by its index; see ``is_crossed``.
        values: ``(seeds, trials)``: scores of the seeds that all trials have.

    Returns:
        Each parameter and pair; None if all trials have the same mean.
    """
    estimate = _anova(levels, values.mean(axis=0))
    draw = np.random.default_rng(0)
    seeds = len(values)
    drawn = [
        _anova(levels, values[draw.integers(seeds, size=seeds)].mean(axis=0))
        for _ in range(DRAWS if seeds > 1 else 0)
    ]
    return _explained(estimate, drawn)


def forest_shares(
    points: NDArray[np.float64], values: NDArray[np.float64]
) -> dict[Term, Explained] | None:
    """Explain the variance of a score over the whole space of its parameters.

    Args:
        points: ``(trials, parameters)``: from 0 to 1; choice i of n is at ``(i + 0.5) / n``.
        values: ``(trials,)``.

    Returns:
        Each parameter and pair; None if all trials have the same score.
    """
    draw = np.random.default_rng(0)
    estimate = _forest(points, values, TREES, draw)
    count = len(values)
    drawn = []
    for _ in range(REFITS):
        chosen = draw.integers(count, size=count)
        drawn.append(_forest(points[chosen], values[chosen], TREES_OF_A_REFIT, draw))
    return _explained(estimate, drawn)


def _explained(
    estimate: Shares | None, drawn: Sequence[Shares | None]
) -> dict[Term, Explained] | None:
    if estimate is None:
        return None
    known = [each for each in drawn if each is not None]
    found = {}
    for term, share in estimate.items():
        ends: tuple[float | None, float | None] = (None, None)
        if known:
            low, high = np.percentile([each[term] for each in known], _ENDS)
            ends = (min(float(low), share), max(float(high), share))
        found[term] = Explained(share, *ends)
    return found


def _terms(parameters: int) -> Iterator[Term]:
    yield from ((one,) for one in range(parameters))
    yield from itertools.combinations(range(parameters), 2)


def _anova(levels: NDArray[np.int64], values: NDArray[np.float64]) -> Shares | None:
    total = float(values.var())
    if total == 0:
        return None
    found: Shares = {}
    for term in _terms(levels.shape[1]):
        _, cell = np.unique(levels[:, term], axis=0, return_inverse=True)
        means = np.bincount(cell.ravel(), values) / np.bincount(cell.ravel())
        found[term] = float(means.var()) / total
    return _beyond_each(found)


def _beyond_each(found: Mapping[Term, float]) -> Shares:
    """Subtract from what a pair explains what its parameters explain alone."""
    return {
        term: share if len(term) == 1 else max(0.0, share - found[term[:1]] - found[term[1:]])
        for term, share in found.items()
    }


def _forest(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    trees: int,
    draw: np.random.Generator,
) -> Shares | None:
    """Average the shares over trees, each fitted to trials drawn anew."""
    from sklearn.tree import DecisionTreeRegressor  # takes a second: only studies that need it

    single = points.astype(np.float32)  # what trees are fitted to
    totals: dict[Term, float] = dict.fromkeys(_terms(points.shape[1]), 0.0)
    grown = 0
    for _ in range(trees):
        chosen = draw.integers(len(values), size=len(values))
        tree = DecisionTreeRegressor(
            max_leaf_nodes=MOST_LEAVES, random_state=int(draw.integers(2**31))
        )
        tree.fit(single[chosen], values[chosen], check_input=False)  # checks take half the time
        if (shares := tree_shares(tree.tree_, points.shape[1])) is not None:
            grown += 1
            for term, share in shares.items():
                totals[term] += share
    return {term: total / grown for term, total in totals.items()} if grown else None


def tree_shares(tree: Tree, parameters: int) -> Shares | None:
    """Return what each parameter and pair explains of a fitted tree; None for a constant one.

    Args:
        tree: A fitted tree.
        parameters: Their number; each ranges from 0 to 1.
    """
    low, high, values = _leaves(tree, parameters)
    widths = high - low  # (leaves, parameters)
    sizes = widths.prod(axis=1)
    mean = float(sizes @ values)
    total = float(sizes @ (values - mean) ** 2)
    if total <= 0:
        return None
    edges = [np.unique(np.concatenate([low[:, p], high[:, p]])) for p in range(parameters)]
    lengths = [np.diff(each) for each in edges]
    covers = [  # (leaves, intervals): whether the leaf holds the interval
        ((low[:, p, None] <= edges[p][:-1]) & (high[:, p, None] >= edges[p][1:])).astype(np.float64)
        for p in range(parameters)
    ]
    found: Shares = {}
    for term in _terms(parameters):
        weights = values * np.delete(widths, term, axis=1).prod(axis=1)
        if len(term) == 1:
            means, parts = weights @ covers[term[0]], lengths[term[0]]
        else:
            one, other = term
            means = (covers[one] * weights[:, None]).T @ covers[other]
            parts = np.outer(lengths[one], lengths[other])
        found[term] = float((parts * (means - mean) ** 2).sum()) / total
    return _beyond_each(found)


class _Leaves(NamedTuple):
    low: NDArray[np.float64]
    """``(leaves, parameters)``."""
    high: NDArray[np.float64]
    values: NDArray[np.float64]
    """``(leaves,)``."""


def _leaves(tree: Tree, parameters: int) -> _Leaves:
    """Return the boxes that a tree divides the space into."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature  # copies
    threshold, value = tree.threshold, tree.value[:, 0, 0]
    found = []
    waiting = [(0, np.zeros(parameters), np.ones(parameters))]
    while waiting:
        node, low, high = waiting.pop()
        if left[node] < 0:
            found.append((low, high, value[node]))
            continue
        ends, begins = high.copy(), low.copy()
        ends[feature[node]] = begins[feature[node]] = threshold[node]
        waiting += [(left[node], low, ends), (right[node], begins, high)]
    lows, highs, values = zip(*found, strict=True)
    return _Leaves(np.array(lows), np.array(highs), np.array(values))
