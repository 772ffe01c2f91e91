"""Designs of ablations: which combinations of components are trained, and how effects weigh them.

A cell is the set of components that are switched on. A cell whose components lack what they need
cannot be trained: it takes the value of the cell without those components. Weights are fractions,
so that cells that cancel do so exactly. Pure.

Source:
    Shapley 1953; Harsanyi 1963 (dividends: the Moebius transform of the cells); Grabisch and
    Roubens 1999 (mean second differences as interactions); Box and Hunter 1961 (fractions of
    resolution V); Castro et al. 2009 (sampled permutations); Fawcett and Hoos 2016 (paths).
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

Cell: TypeAlias = frozenset[str]
"""The components that are on."""
DesignName: TypeAlias = Literal["leave_one_out", "add_one_in", "lattice", "path"]
Kind: TypeAlias = Literal["removal", "addition", "shapley", "main", "interaction", "path"]

MOST_OF_A_LATTICE = 5
"""With more components a lattice is a fraction of its cells, or sampled permutations."""
MOST_OF_A_PATH = 12
FEWEST_OF_A_FRACTION = 5
"""With fewer components no fraction has resolution V."""
KIND_NAMES: Mapping[Kind, str] = {
    "removal": "removal",
    "addition": "addition",
    "shapley": "Shapley value",
    "main": "main effect",
    "interaction": "interaction",
    "path": "path step",
}
JOINED = " x "
"""Joins the components of a term: ``groups x distillation``."""


@dataclass(frozen=True)
class Design:
    """The components of an ablation, and the cells of their lattice that are wanted."""

    name: DesignName
    components: tuple[str, ...]
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Component -> the components without which it cannot be on; without circles."""
    fraction: bool = False
    """Whether only a fraction of resolution V of the lattice is trained."""
    permutations: int | None = None
    """Number of orders of the components along which the lattice is sampled."""
    seed: int = 0
    """Seed of these orders."""
    from_bare: bool = False
    """Whether a path begins with everything off, and switches components on."""
    flips: tuple[str, ...] = ()
    """The components of a path in the order in which they are flipped, as far as it is known."""


class Term(NamedTuple):
    """One effect: a weighted sum of cells."""

    kind: Kind
    components: tuple[str, ...]
    """One component, or the two of an interaction."""
    weights: Mapping[Cell, Fraction]
    """By trained cell; none is zero."""

    @property
    def text(self) -> str:
        """The components, joined."""
        return JOINED.join(self.components)


def cells(design: Design) -> tuple[Cell, ...]:
    """Return the cells to train, each once: those with the most components first.

    ``add_one_in`` begins with the cell in which everything is off, a path with its start.
    """
    if design.name == "path":
        return nodes(design)
    order = {name: place for place, name in enumerate(design.components)}

    def place(cell: Cell) -> tuple[int, list[int]]:
        off = sorted(order[name] for name in order.keys() - cell)
        on = sorted(order[name] for name in cell)
        return (len(on), on) if design.name == "add_one_in" else (len(off), off)

    return tuple(sorted({trainable(design, cell) for cell in _asked(design)}, key=place))


def trainable(design: Design, cell: Iterable[str]) -> Cell:
    """Switch off every component that lacks what it needs, until none does."""
    on = frozenset(cell)
    while lacking := {name for name in on if not on.issuperset(design.needs.get(name, ()))}:
        on -= lacking
    return on


def nodes(design: Design) -> tuple[Cell, ...]:
    """Return the cells of a path, from its start, as far as it is known."""
    start = frozenset() if design.from_bare else frozenset(design.components)
    return tuple(itertools.accumulate(design.flips, _flipped, initial=start))


def flippable(design: Design, node: Cell) -> tuple[str, ...]:
    """Return the components that the next step of a path may flip, in their order.

    What another component needs is switched off after it, and on before it, so that each step
    flips one component.
    """
    return tuple(
        name
        for name in design.components
        if (name in node) != design.from_bare
        and trainable(design, _flipped(node, name)) == _flipped(node, name)
    )


def some_path(design: Design) -> Design:
    """Return the design with a path that it could take: any has the same number of steps."""
    while names := flippable(design, nodes(design)[-1]):
        design = replace(design, flips=(*design.flips, names[0]))
    return design


def most_raced(components: int) -> int:
    """Return how many candidates the races of a path have at most: the last step needs no race."""
    return sum(range(2, components + 1))


def _flipped(node: Cell, name: str) -> Cell:
    return node ^ {name}


def terms(design: Design) -> list[Term]:
    """Return the effects that a design estimates, with the weights of its trained cells.

    An effect that is zero by construction is left out: a component added alone that needs others.
    So is the interaction of a component with one that it needs, since it is never on without it.
    """
    found = []
    for kind, names, weights in _asked_terms(design):
        merged: defaultdict[Cell, Fraction] = defaultdict(Fraction)
        for cell, weight in weights.items():
            merged[trainable(design, cell)] += weight
        kept = {cell: weight for cell, weight in merged.items() if weight}
        if kept and not _depend(design, names):
            found.append(Term(kind, names, kept))
    return found


def second_difference(one: tuple[str, str], other: tuple[str, str]) -> Term:
    """Return the interaction of two changes: how much more both do together than apart.

    Args:
        one: The level before and after the first change; a cell is the set of its two levels.
        other: Of the second change.
    """
    weights = {
        frozenset({one[a], other[b]}): Fraction((-1) ** (a + b)) for a in (0, 1) for b in (0, 1)
    }
    return Term("interaction", (one[1], other[1]), weights)


def fraction_cells(components: int) -> int:
    """Return the number of cells of a fraction of resolution V."""
    return 1 << max(_columns(components)).bit_length()


def defining_words(design: Design) -> list[tuple[str, ...]]:
    """Return the words of a fraction's defining relation, the shortest first.

    The product of the contrasts of a word's components is constant in the fraction, so an effect
    cannot be told from the interaction of the rest of each word that contains it.
    """
    columns = _columns(len(design.components))
    generators = [
        frozenset([place, *(columns.index(1 << bit) for bit in _bits(column))])
        for place, column in enumerate(columns)
        if column.bit_count() > 1
    ]
    words: set[frozenset[int]] = set()
    for generator in generators:
        words |= {generator, *(word ^ generator for word in words)}
    named = [tuple(design.components[place] for place in sorted(word)) for word in words]
    return sorted(named, key=lambda word: (len(word), [*map(design.components.index, word)]))


def aliases(design: Design, names: tuple[str, ...], *, most: int) -> list[tuple[str, ...]]:
    """Return what an effect is confounded with in a fraction: up to ``most`` components each."""
    found = []
    for word in defining_words(design):
        rest = tuple(n for n in design.components if (n in word) != (n in names))
        if len(rest) <= most:
            found.append(rest)
    return found


def orders(design: Design) -> list[tuple[str, ...]]:
    """Return the sampled orders of the components; every second one reverses the one before it.

    They are sorted by a digest of seed and number: the first orders stay the same if more are
    asked for, on every machine and with every version of the libraries.
    """
    found: list[tuple[str, ...]] = []
    for number in range(design.permutations or 0):
        if number % 2:
            found.append(found[-1][::-1])
            continue
        keys = [
            hashlib.sha256(f"{design.seed} {number} {place}".encode()).hexdigest()
            for place in range(len(design.components))
        ]
        found.append(tuple(name for _, name in sorted(zip(keys, design.components, strict=True))))
    return found


def _asked(design: Design) -> Iterator[Cell]:
    """Yield the cells that a design asks for, whether they can be trained or not."""
    everything = frozenset(design.components)
    if design.name == "leave_one_out":
        yield everything
        yield from (everything - {name} for name in design.components)
    elif design.name == "add_one_in":
        yield frozenset()
        yield from (frozenset({name}) for name in design.components)
    elif design.permutations is not None:
        for order in orders(design):
            yield from (frozenset(order[:end]) for end in range(len(order) + 1))
    elif design.fraction:
        yield from _fraction(design.components)
    else:
        yield from _subsets(design.components)


def _asked_terms(
    design: Design,
) -> Iterator[tuple[Kind, tuple[str, ...], Mapping[Cell, Fraction]]]:
    everything = frozenset(design.components)
    one, pairs = Fraction(1), list(itertools.combinations(design.components, 2))
    if design.name == "path":
        for name, (before, after) in zip(
            design.flips, itertools.pairwise(nodes(design)), strict=True
        ):
            more, less = (after, before) if design.from_bare else (before, after)
            yield "path", (name,), {more: one, less: -one}
        return
    for name in design.components:
        alone = frozenset({name})
        if design.name == "leave_one_out":
            yield "removal", (name,), {everything: one, everything - alone: -one}
        elif design.name == "add_one_in":
            yield "addition", (name,), {alone: one, frozenset(): -one}
        elif design.permutations is not None:
            yield "shapley", (name,), _over_orders(orders(design), name)
        elif not design.fraction:
            yield "shapley", (name,), _of_dividends(design.components, alone, _shapley_share)
    if design.name != "lattice" or design.permutations is not None:
        return
    for kind, groups in (("main", [(name,) for name in design.components]), ("interaction", pairs)):
        for names in groups:
            if design.fraction:
                weights = _contrast(design.components, names)
            else:
                share = _mean_share(len(names))
                weights = _of_dividends(design.components, frozenset(names), share)
            yield kind, names, weights  # type: ignore[misc]  # a literal that mypy widens


def _of_dividends(
    components: tuple[str, ...], inside: Cell, share: Callable[[int], Fraction]
) -> Mapping[Cell, Fraction]:
    """Weigh the cells in a sum of the dividends of all sets that contain ``inside``.

    The dividend of a set, its value in the Moebius transform, is what it is worth beyond all its
    subsets: the sum of its subsets' cells with alternating signs. ``share`` is the share of the
    dividend of a set of this many components.
    """
    weights: defaultdict[Cell, Fraction] = defaultdict(Fraction)
    for whole in _subsets(components):
        if inside <= whole:
            part = share(len(whole))
            for cell in _subsets(tuple(whole)):
                weights[cell] += part * (-1) ** (len(whole) - len(cell))
    return weights


def _shapley_share(size: int) -> Fraction:
    """Divide a dividend equally between its components."""
    return Fraction(1, size)


def _mean_share(order: int) -> Callable[[int], Fraction]:
    """Average over all cells of the other components, each of which is on in half of them."""
    return lambda size: Fraction(1, 2 ** (size - order))


def _over_orders(sampled: list[tuple[str, ...]], name: str) -> Mapping[Cell, Fraction]:
    """Average what a component adds to the components before it in each order."""
    weights: defaultdict[Cell, Fraction] = defaultdict(Fraction)
    for order in sampled:
        before = frozenset(order[: order.index(name)])
        weights[before | {name}] += Fraction(1, len(sampled))
        weights[before] -= Fraction(1, len(sampled))
    return weights


def _contrast(components: tuple[str, ...], names: tuple[str, ...]) -> Mapping[Cell, Fraction]:
    """Weigh the cells of a fraction for the mean difference of one component, or of a pair."""
    found = list(_fraction(components))
    size = Fraction(2 ** len(names), len(found))
    return {cell: size * (-1) ** len(frozenset(names) - cell) for cell in found}


def _fraction(components: tuple[str, ...]) -> Iterator[Cell]:
    """Yield the cells of a fraction, the one with everything on first."""
    columns = _columns(len(components))
    for run in range(1 << max(columns).bit_length()):
        is_off = [(run & column).bit_count() % 2 for column in columns]
        yield frozenset(n for n, off in zip(components, is_off, strict=True) if not off)


def _columns(components: int) -> list[int]:
    """Return a column of binary digits per component, no four of which add up to zero.

    Each is the smallest that is not the sum of up to three earlier ones, so that every word of the
    defining relation has five components or more.
    """
    columns: list[int] = []
    candidate = 0
    while len(columns) < components:
        candidate += 1
        sums = {0} | {
            a ^ b ^ c for a in (0, *columns) for b in (0, *columns) for c in (0, *columns)
        }
        if candidate not in sums:
            columns.append(candidate)
    return columns


def _bits(column: int) -> list[int]:
    return [bit for bit in range(column.bit_length()) if column >> bit & 1]


def _subsets(names: tuple[str, ...]) -> Iterator[Cell]:
    for size in range(len(names) + 1):
        yield from (frozenset(each) for each in itertools.combinations(names, size))


def _depend(design: Design, names: tuple[str, ...]) -> bool:
    """Return whether one of two components needs the other, through others or not."""
    if len(names) < 2:
        return False
    one, other = names
    everything = frozenset(design.components)
    return other not in trainable(design, everything - {one}) or (
        one not in trainable(design, everything - {other})
    )
