"""Render the section on the components of an ablation."""

from __future__ import annotations

from harness.report.data.study_data import StudyTables
from harness.report.findings.components import component_sentences
from harness.report.html.elements.layout import folded, note, panels, section, sentence_list
from harness.report.html.elements.tables import each_view, effects_table, view_choices
from harness.report.plots.effects.components import effect_pictures
from harness.stats.ablations.designs import JOINED, Design, defining_words
from harness.stats.paired import MIN_SEEDS_FOR_TEST

_MOST_WORDS = 31


def effect_section(tables: StudyTables) -> str:
    """Show what components are worth, alone and together; empty before there are effects."""
    pictures, primary, design = effect_pictures(tables), tables.primary, tables.design
    if not pictures or primary is None or design is None:
        return ""
    cells = each_view(tables, primary, lambda view: effects_table(tables, view))
    return section(
        "Components",
        sentence_list(component_sentences(tables)),
        view_choices(tables, "component"),
        note(_how_to_read(design)),
        panels(pictures),
        folded("Every effect", cells),
        *([note(_confounded(design))] if design.fraction else []),
    )


def _how_to_read(design: Design) -> str:
    said = [_MEANING[_kind(design)]]
    if design.name == "lattice" and design.permutations is None:
        said.append(
            "The matrix shows how much more a pair is worth together than apart: the mean second "
            "difference over all settings of the others. A star marks a Holm p below 0.05."
        )
    if design.permutations is not None:
        said.append(
            f"They are estimated from {design.permutations} sampled orders; the intervals are over "
            "seeds and do not include the sampling of orders."
        )
    needing = [
        f"{name} needs {' and '.join(needed)}" for name, needed in design.needs.items() if needed
    ]
    if needing and design.name == "lattice":
        said.append(
            f"Since {', '.join(needing)}, a combination without what it needs takes the value of "
            "the one without both, and the two have no interaction."
        )
    elif needing and design.name == "path":
        said.append(f"A component is on only together with what it needs: {', '.join(needing)}.")
    elif needing and design.name == "add_one_in":
        said.append(f"What needs another component is not added alone: {', '.join(needing)}.")
    said.append(
        "Effects are computed seed by seed; a seed with a failed run does not count in the effects "
        "that the run enters. A bar is coloured if Holm p, over the effects of its kind, is below "
        f"0.05 (with {MIN_SEEDS_FOR_TEST} seeds or more)."
    )
    return " ".join(said)


def _kind(design: Design) -> str:
    return "fraction" if design.fraction else design.name


_MEANING = {
    "lattice": "A Shapley value is what a component adds, averaged over all orders in which "
    "components can be added; together they are the way from bare to full.",
    "fraction": "A main effect is the mean of all trials with the component minus the mean of all "
    "trials without it.",
    "leave_one_out": "A bar is the full trial minus the trial without the component, and without "
    "what needs it.",
    "path": "A path flips one component after another, the one that mattered most in a race on "
    "validation classes first, and its nodes are then trained on other seeds. A bar is the trial "
    "with the component minus the trial without it, at its step: what it is worth once the "
    "components before it have been flipped.",
    "add_one_in": "A bar is the trial with this component alone minus the bare trial.",
}


def _confounded(design: Design) -> str:
    """Name what a fraction cannot tell apart."""
    words = [JOINED.join(word) for word in defining_words(design)]
    more = f" and {len(words) - _MOST_WORDS} more" if len(words) > _MOST_WORDS else ""
    return (
        "This is a fraction of resolution V: a main effect or an interaction is confounded with "
        "the interaction of the other components in each of these products, which are constant: "
        f"{', '.join(words[:_MOST_WORDS])}{more}."
    )
