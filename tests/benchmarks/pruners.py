"""How often ``pruner: wilcoxon`` gives up a trial that is as good as the best, and what it saves.

    python tests/benchmarks/pruners.py [--studies 1000] [--only WORD] [--write]

Simulated are whole searches with the rules that a search uses: each trial is compared, seed by seed, with the best of
the earlier ones that were not given up. All trials of a search are equally good in truth; the share of them that is
given up is the error, which the second rules (see ``harness.search.rules``) hold at 5 % for every number of trials.
Then the last trial is made worse by one and by two standard deviations of a paired difference: printed are how often
it is given up, and the share of its seeds that is spared. Searches of 40 trials are fewer, half as many where the error
of the second rules is shown and else a tenth; by the first rules with ties there are a tenth again. Standard errors of
the second rules' errors are half a percent, over all trials of a search. Takes 40 minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from kept import keep
from numpy.typing import NDArray

from harness.search.pruners import WILCOXON_SPENT, choose_rivals, is_worse
from harness.stats.looks.sequential import first_crossing

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, int]], Values]
NOISES: dict[str, Noise] = {
    "normal": lambda chance, shape: chance.normal(size=shape),
    "skewed": lambda chance, shape: chance.exponential(size=shape),
    "ties": lambda chance, shape: np.round(chance.normal(size=shape)),
}
PAIRED = 2**0.5
"""The standard deviation of a difference, in that of a value."""
RULES = (1, 2)
SEEDS = (6, 10, 20)
TRIALS = (2, 40)


class Row(NamedTuple):
    """One setting."""

    noise: str
    seeds: int
    trials: int
    rules: int
    worse_by: float
    studies: int
    given_up: float
    """Of all trials but the first, where all are equal; else of the last one."""
    last_given_up: float
    """Of the last one, which has the most rivals to choose the best from."""
    spared: float
    """Of the last trial's seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--only", default="", help="the noise with this name")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    rows = []
    print(
        "| noise | seeds | trials | rules | worse by, sd | given up | the last one | its seeds spared |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in measure(arguments.studies, arguments.only):
        rows.append(row)
        print(
            f"| {row.noise} | {row.seeds} | {row.trials} | {row.rules} | {row.worse_by:g} | "
            f"{row.given_up:.3f} | {row.last_given_up:.3f} | {row.spared:.3f} |",
            flush=True,
        )
    if arguments.write:
        keep("pruners", rows=[row._asdict() for row in rows])


def measure(studies: int, only: str = "") -> Iterator[Row]:
    for noise, draw in NOISES.items():
        if only and noise != only:
            continue
        for seeds in SEEDS:
            for trials in TRIALS:
                for rules in RULES:
                    for worse_by in (0.0, 1.0, 2.0) if noise == "normal" else (0.0,):
                        count = studies
                        if trials > 2:  # trials of one search have rivals in common
                            count = max(1, studies // (2 if rules > 1 and not worse_by else 10))
                        if (
                            noise == "ties" and rules == 1
                        ):  # scipy takes 0.1 to 1 s a test with ties
                            count = max(1, count // 10)
                        yield _row(noise, draw, seeds, trials, rules, worse_by, count)


def _row(
    noise: str, draw: Noise, seeds: int, trials: int, rules: int, worse_by: float, studies: int
) -> Row:
    chance = np.random.default_rng([len(noise), seeds, trials, round(worse_by)])
    looks = [
        looks_of_search(draw(chance, (trials, seeds)), rules, worse_by * PAIRED)
        for _ in range(studies)
    ]
    last = [each[-1] for each in looks]
    with_early_stopping = last if worse_by else [look for each in looks for look in each]
    return Row(
        noise,
        seeds,
        trials,
        rules,
        worse_by,
        studies,
        given_up=float(np.mean([look is not None for look in with_early_stopping])),
        last_given_up=float(np.mean([look is not None for look in last])),
        spared=float(np.mean([0 if look is None else 1 - look / seeds for look in last])),
    )


def looks_of_search(values: Values, rules: int, worse_by: float = 0.0) -> list[int | None]:
    """After how many seeds each trial but the first is given up; None: it is not.

    Args:
        values: A row for each trial, a column for each seed.
        rules: Of ``harness.search.rules``.
        worse_by: How much lower the last trial is.
    """
    values = values.copy()
    values[-1] -= worse_by
    kept, found = [0], []
    for trial in range(1, len(values)):
        look = (_first_look if rules > 1 else _old_look)(values[trial], values[kept])
        found.append(look)
        if look is None:
            kept.append(trial)
    return found


def _first_look(values: Values, earlier: Values) -> int | None:
    seeds = len(values)
    rivals = choose_rivals(earlier, [[]] * len(earlier))
    differences = values[:-1] - earlier[rivals, np.arange(seeds - 1)]
    crossed = first_crossing(list(differences), looks=seeds - 1, level=WILCOXON_SPENT)
    if crossed is None:
        return None
    return next((n for n in range(crossed, seeds) if differences[:n].mean() < 0), None)


def _old_look(values: Values, earlier: Values) -> int | None:
    best = _by_seed(earlier[earlier.mean(axis=1).argmax()])
    return next((n for n in range(2, len(values)) if is_worse(_by_seed(values[:n]), best)), None)


def _by_seed(values: Sequence[float] | Values) -> dict[int, float]:
    return {seed: float(value) for seed, value in enumerate(values)}


if __name__ == "__main__":
    main()
