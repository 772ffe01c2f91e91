"""State what the components of an ablation are worth, alone and together; pure, from the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.estimates import decimal, p_text, signed, signed_interval
from harness.stats.ablations.designs import JOINED, KIND_NAMES, Design, Kind
from harness.stats.ablations.lattice import Effect
from harness.stats.paired import may_show_p

MOST_SAID = 8
SINGLE: tuple[Kind, ...] = ("shapley", "main", "removal", "addition", "path")
"""Kinds of effects of one component, the one to show first."""
_LEVEL = 0.05
_SHARES = ("recall@", "map@", "precision@", "r_precision")


def component_sentences(tables: StudyTables) -> tuple[str, ...]:
    """Write a sentence on each component, the most valuable first, then on pairs.

    The components of a path are in its order. Of pairs, those with a verdict are named, or else the
    one with the largest estimate. Empty without effects.
    """
    view = tables.primary
    if view is None or not tables.effects.get(view):
        return ()
    ranked = ranked_effects(tables, view)
    said = [_single(effect, view) for effect in ranked[:MOST_SAID]]
    if len(ranked) > MOST_SAID:
        said.append(f"And {len(ranked) - MOST_SAID} more components in the table.")
    return (*said, *_pair_sentences(tables, view))


def headline(tables: StudyTables) -> str:
    """Return the sentence on the component or pair that matters most; empty without effects."""
    view = tables.primary
    if view is None or not tables.effects.get(view):
        return ""
    pairs = [effect for effect in interactions(tables, view) if is_shown(effect)]
    if pairs:
        return _pair(max(pairs, key=lambda effect: abs(effect.estimate)), view)
    if tables.design is not None and tables.design.name == "path":
        return _path_sentence(tables, view, tables.design)
    return component_sentences(tables)[0]


def shown_effects(tables: StudyTables, view: View) -> list[Effect]:
    """Return the effect of each component, of the first kind that the design estimates."""
    found = tables.effects.get(view, ())
    kind = next((kind for kind in SINGLE if any(e.kind == kind for e in found)), None)
    return [effect for effect in found if effect.kind == kind]


def ranked_effects(tables: StudyTables, view: View) -> list[Effect]:
    """Return the effect of each component, the largest first; of a path in its order."""
    found = shown_effects(tables, view)
    if found and found[0].kind == "path":
        return found
    return sorted(found, key=lambda effect: -effect.estimate)


def interactions(tables: StudyTables, view: View) -> list[Effect]:
    """Return the interactions of pairs."""
    return [effect for effect in tables.effects.get(view, ()) if effect.kind == "interaction"]


def is_shown(effect: Effect) -> bool:
    """Whether an effect differs from zero: there are enough seeds, and Holm p is below 0.05."""
    return may_show_p(effect.n) and effect.p_holm < _LEVEL


def effect_text(effect: Effect) -> str:
    """Format an effect with its 95 % interval: ``+0.031 [+0.010, +0.052]``."""
    return f"{signed(effect.estimate)} {signed_interval(effect)}".rstrip()


def effect_verdict(effect: Effect) -> str:
    """Return ``helps`` or ``hurts``, or of a pair ``more together`` or ``less together``.

    ``undecided`` if neither is shown, and ``exploratory`` if seeds are too few.
    """
    if not may_show_p(effect.n):
        return "exploratory"
    if not is_shown(effect):
        return "undecided"
    words = (
        ("more together", "less together") if effect.kind == "interaction" else ("helps", "hurts")
    )
    return words[effect.estimate < 0]


def design_text(design: Design) -> str:
    """Name the design and its components, for the text of a page."""
    listed = ", ".join(design.flips or design.components)
    if design.name == "leave_one_out":
        return f"leave-one-out of {listed}"
    if design.name == "add_one_in":
        return f"add-one-in of {listed}"
    if design.name == "path":
        return f"the nodes of a path {path_direction(design)} along {listed}"
    if design.fraction:
        return f"a fraction of resolution V of the lattice of {listed}"
    if design.permutations is not None:
        return f"{design.permutations} sampled orders of {listed}"
    return f"the lattice of {listed}"


def path_direction(design: Design) -> str:
    """Say where a path begins and ends."""
    return "from bare to full" if design.from_bare else "from full to bare"


def effect_methods(tables: StudyTables) -> list[str]:
    """Say how the effects were estimated and tested, for a paper; empty without effects."""
    view = tables.primary
    found = () if view is None else tables.effects.get(view, ())
    counts = Counter(KIND_NAMES[effect.kind] for effect in found)
    if not counts:
        return []
    *first, last = [f"{n} {name}{'s' * (n > 1)}" for name, n in counts.items()]
    listed = f"{', '.join(first)} and {last}" if first else last
    if not any(may_show_p(effect.n) for effect in found):
        return [f"{listed} of components were computed seed by seed, with 95 % t-intervals."]
    return [
        f"{listed} of components were computed seed by seed, with 95 % t-intervals and two-sided "
        "sign-flip tests; p values are Holm-corrected within each kind."
    ]


def _path_sentence(tables: StudyTables, view: View, design: Design) -> str:
    """Tell a path in its order, with what each step is worth."""
    found = shown_effects(tables, view)
    steps = [f"{e.term} ({_worth(e.estimate, view)}{view.label})" for e in found[:1]]
    steps += [f"{e.term} ({_number(e.estimate, view, is_signed=True)})" for e in found[1:]]
    *first, last = steps
    listed = f"{', '.join(first)} and {last}" if first else last
    how = "on" if design.from_bare else "off"
    return f"The path {path_direction(design)} switches {how}, one by one, {listed}."


def _single(effect: Effect, view: View) -> str:
    return (
        f"{effect.term}: {_worth(effect.estimate, view)}{view.label} "
        f"({_evidence(effect, view)}: {effect_verdict(effect)})."
    )


def _pair_sentences(tables: StudyTables, view: View) -> list[str]:
    pairs = sorted(interactions(tables, view), key=lambda effect: -abs(effect.estimate))
    if not pairs:
        return []
    found = [effect for effect in pairs if is_shown(effect)]
    said = [_pair(effect, view) for effect in found[:MOST_SAID]]
    if len(found) > MOST_SAID:
        said.append(f"And {len(found) - MOST_SAID} more pairs in the table.")
    if found:
        return said
    verdict = "undecided" if may_show_p(pairs[0].n) else "exploratory"
    return [f"{_pair(pairs[0], view).removesuffix('.')}: {verdict}, and no pair more so."]


def _pair(effect: Effect, view: View) -> str:
    one, other = effect.term.split(JOINED)
    how = "more" if effect.estimate >= 0 else "less"
    return (
        f"{one} and {other} are worth {_amount(effect.estimate, view)} {how} together than "
        f"apart ({_evidence(effect, view)})."
    )


def _evidence(effect: Effect, view: View) -> str:
    parts = []
    if effect.low is not None and effect.high is not None:
        low, high = (_number(end, view, is_signed=True) for end in (effect.low, effect.high))
        parts.append(f"95 % interval {low} to {high}")
    if may_show_p(effect.n):
        p = p_text(effect.p_holm)
        parts.append(f"Holm p {p}" if p.startswith("<") else f"Holm p = {p}")
    parts.append("1 paired seed" if effect.n == 1 else f"{effect.n} paired seeds")
    return ", ".join(parts)


def _worth(value: float, view: View) -> str:
    """Format a worth before its measure: shares in points, everything else as it is."""
    return f"{_number(value, view, is_signed=True)} {'points of ' * _is_share(view)}"


def _amount(value: float, view: View) -> str:
    """Format a size without its sign."""
    return f"{_number(abs(value), view, is_signed=False)}{' points' * _is_share(view)}"


def _number(value: float, view: View, *, is_signed: bool) -> str:
    write = signed if is_signed else decimal
    return write(100 * value, 1) if _is_share(view) else write(value)


def _is_share(view: View) -> bool:
    return view.measure.startswith(_SHARES)


def told(effects: Sequence[Effect]) -> list[str]:
    """Return each effect in words, for readers who cannot see a picture."""
    return [f"{effect.term}: {effect_text(effect)}" for effect in effects]
