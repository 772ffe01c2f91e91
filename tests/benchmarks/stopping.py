"""Simulate studies that stop by themselves, and compare them with fixed numbers of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.stats.looks.stopping import (
    BETTER,
    FUTILE,
    SAME,
    UNDECIDED,
    WORSE,
    StopRule,
    every_seed,
    take_looks,
)

SEEDS = 20
EFFECT = 0.85
"""The planned difference, in standard deviations of paired differences."""


@dataclass(frozen=True)
class Mix:
    """True differences of the trials of a study, in standard deviations."""

    name: str
    effects: tuple[float, ...]
    margin: float = EFFECT / 2


MIXES = (
    Mix("A: 4 without effect, 2 planned, 2 twice", (0.0,) * 4 + (EFFECT,) * 2 + (2 * EFFECT,) * 2),
    Mix("B: 6 without effect, 2 planned", (0.0,) * 6 + (EFFECT,) * 2),
    Mix("8 without effect", (0.0,) * 8),
    Mix("4 without effect, 4 at a wide margin", (0.0,) * 4 + (EFFECT,) * 4, margin=EFFECT),
)


class Outcome(NamedTuple):
    """What became of one study."""

    runs: float
    """As a share of the runs of a fixed number of seeds, the baseline's included."""
    power: float
    """Share of the true effects that were found, in the right direction; NaN without any."""
    fixed_power: float
    """Power of a fixed number of seeds, tested once by exact sign flips with Holm's method."""
    is_false: bool
    """Whether any claim was false: a difference, its direction, or an equivalence."""
    is_fixed_false: bool
    decisions: tuple[str, ...]


def simulate(mix: Mix, rule: StopRule, studies: int, seed: int = 0) -> dict[str, float]:
    """Simulate ``studies`` studies; return shares and means over them."""
    generator = np.random.default_rng(seed)
    outcomes = [_study(mix, rule, generator) for _ in range(studies)]
    made = [decision for each in outcomes for decision in each.decisions]
    found = {
        "runs": float(np.mean([each.runs for each in outcomes])),
        "false": float(np.mean([each.is_false for each in outcomes])),
        "fixed_false": float(np.mean([each.is_fixed_false for each in outcomes])),
        **{
            name: made.count(decision) / len(made)
            for name, decision in (
                ("better", BETTER),
                ("worse", WORSE),
                ("same", SAME),
                ("futile", FUTILE),
                ("undecided", UNDECIDED),
            )
        },
    }
    if any(mix.effects):
        found["power"] = float(np.mean([each.power for each in outcomes]))
        found["fixed_power"] = float(np.mean([each.fixed_power for each in outcomes]))
    return found


def _study(mix: Mix, rule: StopRule, generator: np.random.Generator) -> Outcome:
    count = len(mix.effects)
    noise = generator.standard_normal((SEEDS, count + 1)) / 2**0.5
    differences = noise[:, 1:] - noise[:, :1] + np.array(mix.effects)
    rows = {str(place): [float(each) for each in differences[:, place]] for place in range(count)}
    looks = take_looks(rows, rule)
    seeds = [looks[name][-1].seeds for name in rows]
    made = tuple(looks[name][-1].decision for name in rows)
    fixed = _holm([flip_p(differences[:, place]) for place in range(count)], rule.alpha)
    above = differences.mean(axis=0) > 0
    at_end = [
        (BETTER if is_above else WORSE) if is_found else UNDECIDED
        for is_found, is_above in zip(fixed, above, strict=True)
    ]
    return Outcome(
        runs=(sum(seeds) + max(seeds)) / ((count + 1) * SEEDS),
        power=_power(mix, made),
        fixed_power=_power(mix, at_end),
        is_false=_is_false(mix, made),
        is_fixed_false=_is_false(mix, at_end),
        decisions=made,
    )


def _power(mix: Mix, made: Sequence[str]) -> float:
    hits = [one == BETTER for one, effect in zip(made, mix.effects, strict=True) if effect]
    return float(np.mean(hits)) if hits else float("nan")


def _is_false(mix: Mix, made: Sequence[str]) -> bool:
    for decision, effect in zip(made, mix.effects, strict=True):
        if decision == SAME and abs(effect) >= mix.margin:
            return True
        if decision == WORSE or (decision == BETTER and effect == 0):
            return True
    return False


def _holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    found = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values)):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        found[place] = True
    return found


def flip_p(differences: NDArray[np.float64]) -> float:
    """Return the exact two-sided sign-flip p, from the sums of two halves."""
    sizes = np.abs(differences)
    middle = len(sizes) // 2
    left, right = _sums(sizes[:middle]), np.sort(_sums(sizes[middle:]))
    observed = abs(float(differences.sum())) * (1 - 1e-12)
    above = len(right) - np.searchsorted(right, observed - left)
    return float(2 * above.sum() / 2 ** len(sizes))


def _sums(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def rule_of(mix: Mix, *, is_e_process: bool = False) -> StopRule:
    """Return the rule of a study that looks after every seed."""
    return StopRule(every_seed(SEEDS), effect=EFFECT, margin=mix.margin, is_e_process=is_e_process)
