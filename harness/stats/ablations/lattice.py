"""Effects of components and of their interactions, paired by seed. Pure: numbers in, numbers out.

Every effect is a weighted sum of cells (see ``designs``), computed for each seed by itself, so that
whatever a seed shares between its cells cancels. The values of the seeds are then treated as any
paired differences: t-interval, exact sign flips, and Holm's correction within the kind of effect.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from harness.stats.ablations.designs import Cell, Design, Kind, Term, terms
from harness.stats.paired import holm, sign_flip_p, t_interval

_ROUNDING = 1e-12


class Effect(NamedTuple):
    """One effect, over the seeds that have finished every cell that it weighs."""

    kind: Kind
    term: str
    """The component, or the two of an interaction joined by `` x ``."""
    n: int
    """Number of these seeds."""
    estimate: float
    low: float | None
    """Lower end of the 95 % paired t-interval; None for a single seed."""
    high: float | None
    p: float
    """Two-sided p value of the sign-flip test."""
    p_holm: float
    """``p`` adjusted for the effects of this kind."""


def effects(design: Design, values: Mapping[Cell, Mapping[int, float]]) -> list[Effect]:
    """Estimate every effect of a design that shares at least one seed between its cells.

    If a cell has no value for a seed, for example because its run failed, the effects that are
    computed from this cell leave the seed out.

    Args:
        design: The components, and the cells that are trained.
        values: Trained cell -> seed -> value, all finite.
    """
    return estimated(terms(design), values)


def estimated(wanted: Iterable[Term], values: Mapping[Cell, Mapping[int, float]]) -> list[Effect]:
    """Estimate any weighted sums of cells; see ``effects``."""
    found = [(term, list(by_seed(term, values).values())) for term in wanted]
    families: defaultdict[Kind, list[tuple[Term, Sequence[float]]]] = defaultdict(list)
    for term, seeds in found:
        if seeds:
            families[term.kind].append((term, seeds))
    return [effect for kind, family in families.items() for effect in _tested(kind, family)]


def by_seed(term: Term, values: Mapping[Cell, Mapping[int, float]]) -> dict[int, float]:
    """Return the effect in each seed that has finished every cell of ``term``."""
    weighed = [(float(weight), values.get(cell, {})) for cell, weight in term.weights.items()]
    seeds = sorted(set.intersection(*(set(found) for _, found in weighed)))
    return {seed: _sum([weight * found[seed] for weight, found in weighed]) for seed in seeds}


def _tested(kind: Kind, family: Sequence[tuple[Term, Sequence[float]]]) -> list[Effect]:
    p_values = [sign_flip_p(seeds) for _, seeds in family]
    found = []
    for (term, seeds), p, p_holm in zip(family, p_values, holm(p_values), strict=True):
        mean, _, low, high = t_interval(seeds)
        found.append(Effect(kind, term.text, len(seeds), mean, low, high, p, p_holm))
    return found


def _sum(parts: Sequence[float]) -> float:
    """Add up; what is left of equal cells by rounding is zero."""
    total = math.fsum(parts)
    return 0.0 if abs(total) <= _ROUNDING * math.fsum(map(abs, parts)) else total
