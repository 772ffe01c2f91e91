"""What the design of an ablation costs, estimates and confounds."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness.stats.ablations.designs import (
    JOINED,
    KIND_NAMES,
    MOST_OF_A_LATTICE,
    Design,
    DesignName,
    Term,
    cells,
    defining_words,
    some_path,
    terms,
)
from harness.stats.ablations.race import RaceRule, race_runs
from harness.stats.power import can_be_significant, detectable_effect, seeds_needed

_MOST_WORDS = 6
_RACE = RaceRule()


@dataclasses.dataclass(frozen=True)
class KindPower:
    """What a design could detect of one kind of effect."""

    kind: str
    effects: int
    """Size of the family that Holm's correction covers."""
    effect: float | None
    """Detected in 80 % of studies, in standard deviations of the difference of two trials; None if
    nothing is detectable."""
    difference: float | None
    """The same in the metric's own units, if the spread is known."""


@dataclasses.dataclass(frozen=True)
class DesignPower:
    """What a design of the same components could detect."""

    design: DesignName
    runs_per_seed: int
    is_chosen: bool
    kinds: tuple[KindPower, ...]


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
        return (_cost_of_path(design, rule), _tests(_known(design), seeds))
    tuning = () if tuned is None else (_cost_of_tuning(design, tuned),)
    return (_cost(design), *tuning, _tests(design, seeds), *_aliases(design))


def largest_family(design: Design) -> tuple[int, float]:
    """Return the size of the largest family of tests, and the noise of its effects.

    The noise is a standard deviation, in that of the difference of two trials, as if the runs of a
    seed were independent. An effect that averages many runs has less.
    """
    found = terms(_known(design))
    ((kind, size),) = Counter(term.kind for term in found).most_common(1)
    return size, _noise([term for term in found if term.kind == kind])


def _known(design: Design) -> Design:
    """Return a design whose cells are known: of a path, one that it may take."""
    return some_path(design) if design.name == "path" else design


def powers(design: Design, seeds: int, sd: float | None) -> tuple[DesignPower, ...]:
    """Return what each kind of effect of a design could show, and of the other designs.

    Args:
        design: The design of the study.
        seeds: Number of seeds of the study.
        sd: Standard deviation of the difference of two trials, if it is known.
    """
    names: list[DesignName] = ["leave_one_out"]
    if len(design.components) <= MOST_OF_A_LATTICE:
        names.append("lattice")
    others = [
        dataclasses.replace(design, name=name, fraction=False, permutations=None)
        for name in names
        if name != design.name
    ]
    return tuple(
        DesignPower(each.name, len(cells(_known(each))), each is design, _kinds(each, seeds, sd))
        for each in (design, *others)
    )


def _kinds(design: Design, seeds: int, sd: float | None) -> tuple[KindPower, ...]:
    found = terms(_known(design))
    kinds = []
    for kind in dict.fromkeys(term.kind for term in found):
        family = [term for term in found if term.kind == kind]
        effect = detectable_effect(seeds, len(family))
        size = None if effect is None else effect * _noise(family)
        known = None if size is None or sd is None else size * sd
        kinds.append(KindPower(KIND_NAMES[kind], len(family), size, known))
    return tuple(kinds)


def _noise(family: Sequence[Term]) -> float:
    """Return the standard deviation of the noisiest effect, in that of a difference of trials."""
    squares = (sum(float(weight) ** 2 for weight in term.weights.values()) for term in family)
    return float((max(squares) / 2) ** 0.5)


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
