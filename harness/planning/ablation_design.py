"""What the design of an ablation costs, estimates and confounds."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import NamedTuple

from harness.stats.designs import (
    JOINED,
    KIND_NAMES,
    MOST_OF_A_LATTICE,
    Design,
    cells,
    defining_words,
    some_path,
    terms,
)
from harness.stats.power import can_be_significant, seeds_needed
from harness.stats.race import RaceRule, race_runs

_MOST_WORDS = 6
_RACE = RaceRule()


class Settings(NamedTuple):
    """What is chosen for each cell on validation classes."""

    keys: tuple[str, ...]
    trials: int
    """Settings of a cell."""
    seeds: int
    """Seeds of a setting."""


def design_lines(
    design: Design, seeds: int, rule: RaceRule = _RACE, tuned: Settings | None = None
) -> tuple[str, ...]:
    """Say what the design costs beside another one, what it can show, and what it confounds.

    Args:
        design: The components, and the cells that are trained.
        seeds: Number of seeds of the study.
        rule: Of the races of a path.
        tuned: The search of each cell, if there is one.
    """
    if design.name == "path":
        return (_cost_of_path(design, rule), _tests(some_path(design), seeds))
    tuning = () if tuned is None else (_cost_of_tuning(design, tuned),)
    return (_cost(design), *tuning, _tests(design, seeds), *_aliases(design))


def largest_family(design: Design) -> tuple[int, float]:
    """Return the size of the largest family of tests, and the noise of its effects.

    The noise is a standard deviation, in that of the difference of two trials, as if the runs of a
    seed were independent. An effect that averages many runs has less.
    """
    found = terms(some_path(design) if design.name == "path" else design)
    ((kind, size),) = Counter(term.kind for term in found).most_common(1)
    noise = max(
        sum(float(weight) ** 2 for weight in term.weights.values())
        for term in found
        if term.kind == kind
    )
    return size, (noise / 2) ** 0.5


def _cost(design: Design) -> str:
    count = len(design.components)
    what = f"{count} component{'s' * (count != 1)}"
    single = dataclasses.replace(design, name="leave_one_out", fraction=False, permutations=None)
    alone = len(cells(single))
    if design.name == "lattice":
        kind = "a fraction of the lattice" if design.fraction else "a lattice"
        if design.permutations is not None:
            kind = f"{design.permutations} sampled orders"
        estimated = "Shapley value" if design.permutations is not None else "main effect"
        of = "many" if design.permutations is not None else "all"
        return (
            f"design: {kind} of {what} costs {len(cells(design))} x n runs and estimates each "
            f"{estimated} from {of} of them; leave-one-out {alone} x n"
        )
    name = "leave-one-out" if design.name == "leave_one_out" else "add-one-in"
    beside = "a fraction of their lattice, or sampled orders, would show more"
    if count <= MOST_OF_A_LATTICE:
        lattice = len(cells(dataclasses.replace(design, name="lattice")))
        beside = f"a lattice {lattice} x n, each main effect from all of them, and interactions"
    return (
        f"design: {name} of {what} costs {len(cells(design))} x n runs and estimates each "
        f"component from 2 x n of them; {beside}"
    )


def _cost_of_tuning(design: Design, tuned: Settings) -> str:
    count = len(cells(design))
    each = f"{tuned.seeds} seed{'s' * (tuned.seeds != 1)} each"
    return (
        f"tune: every cell gets the same {tuned.trials} settings of {', '.join(tuned.keys)} on "
        f"validation classes, {each}: at most {count * tuned.trials * tuned.seeds} runs before "
        "these, and the best of each cell is trained"
    )


def _cost_of_path(design: Design, rule: RaceRule) -> str:
    count = len(design.components)
    least, most = race_runs(design, rule)
    way = "from bare to full" if design.from_bare else "from full to bare"
    return (
        f"design: a path of {count} components, {way}, costs {least} to {most} runs on validation "
        f"classes for its races (at most {rule.seeds} seeds each), then {count + 1} x n runs, and "
        "estimates each step from 2 x n of them"
    )


def _tests(design: Design, seeds: int) -> str:
    counts = Counter(term.kind for term in terms(design))
    listed = [f"{n} {KIND_NAMES[kind]}{'s' * (n != 1)}" for kind, n in counts.items()]
    *first, last = listed
    said = f"{', '.join(first)} and {last}" if first else last
    most = max(counts.values())
    needed = seeds_needed(most)
    each = " (for each kind by itself)" if first else ""
    if needed is None:
        return f"tests: Holm over {said}{each}; no number of seeds can make any of them significant"
    enough = "" if can_be_significant(seeds, most) else f", and there are {seeds}"
    return f"tests: Holm over {said}{each}; significance needs {needed} seeds{enough}"


def _aliases(design: Design) -> tuple[str, ...]:
    if not design.fraction:
        return ()
    words = [JOINED.join(word) for word in defining_words(design)]
    more = f", and {len(words) - _MOST_WORDS} more" if len(words) > _MOST_WORDS else ""
    return (
        "aliases: constant in this fraction: "
        f"{', '.join(words[:_MOST_WORDS])}{more}; a main effect or interaction is confounded with "
        "the interaction of the others in such a product",
    )
