"""Simulate the races of a path: what they save, and how often they are wrong."""

from __future__ import annotations

import numpy as np

from harness.stats.ablations.race import RaceRule, run_race

CANDIDATES = 4
GAPS = (0.0, 0.5, 1.0, 2.0)
"""How far the best candidate is ahead, in standard deviations of paired differences."""


def simulate(
    gap: float, rule: RaceRule, races: int, *, spread: float = 1.0, key: int = 0
) -> dict[str, float]:
    """Simulate races in which the first candidate is ahead of three equal ones.

    Args:
        gap: How far.
        rule: The rule.
        races: Number of races.
        spread: Of the first candidate, as a multiple of that of the others.
        key: Of the random numbers.

    Returns:
        Shares: of races that dropped the best before their end, or chose it, and of the runs of
        races to the end. ``optimism``: how far the winner's mean exceeds what it is worth, in
        standard deviations of paired differences.
    """
    rng = np.random.default_rng([key, rule.seeds, round(100 * gap)])
    worth = np.array([gap] + [0.0] * (CANDIDATES - 1))
    lost = won = runs = 0
    optimism = 0.0
    for _ in range(races):
        noise = rng.normal(0, 0.5**0.5, (CANDIDATES, rule.seeds))
        noise[0] *= spread
        values = worth[:, None] + noise
        table = {str(place): list(map(float, row)) for place, row in enumerate(values)}
        race = run_race(table, rule)
        winner = int(race.left[0])
        ended = max(race.dropped.values())
        lost += race.dropped.get("0", rule.seeds) < rule.seeds
        won += winner == 0
        runs += ended + sum(race.dropped.values())
        optimism += float(values[winner, :ended].mean() - worth[winner])
    return {
        "dropped": lost / races,
        "chosen": won / races,
        "runs": runs / (races * CANDIDATES * rule.seeds),
        "optimism": optimism / races,
    }
