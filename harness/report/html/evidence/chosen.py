"""Render the section on how an ablation chose what it then trained."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.chosen import Tuned, choice_text, races, tuned_keys, tunings
from harness.report.findings.estimates import NONE, decimal
from harness.report.html.elements.escape import escaped, label
from harness.report.html.elements.layout import folded, note, section
from harness.report.html.elements.tables import data_table, table_row
from harness.stats.ablations.designs import Design
from harness.study.trials.single_trial import show


def choice_section(search: StudyTables, confirmed: StudyTables | None) -> str:
    """Show the candidates and what became of them; empty for a study that chooses nothing.

    Args:
        search: The trials on validation classes.
        confirmed: The trials that were then trained; None if nothing has been chosen yet.
    """
    design, view = search.design, View("val", search.study.metric)
    if design is None:
        return ""
    if design.name == "path":
        return section("Races", note(choice_text(search)), _race_table(search, design, view))
    found = tunings(search, confirmed, design)
    chosen = [each for each in found if each.is_chosen]
    keys = tuned_keys(search)
    return section(
        "Tuning",
        note(choice_text(search)),
        _settings_table(f"{view.text}, chosen settings", keys, chosen, view) if chosen else "",
        folded("Every setting", _settings_table(f"{view.text}, all settings", keys, found, view)),
    )


def _race_table(search: StudyTables, design: Design, view: View) -> str:
    rows = [
        table_row(
            label(each.label),
            [str(each.step), decimal(each.mean), str(each.seeds), "next node" * each.is_chosen],
        )
        for each in races(search, design)
    ]
    heads = ["candidate", "step", f"mean {view.label}", "seeds", "outcome"]
    return data_table(f"{view.text}, races", heads, rows)


def _settings_table(caption: str, keys: Sequence[str], found: Sequence[Tuned], view: View) -> str:
    rows = [
        table_row(
            label(each.cell),
            [
                *(escaped(show(value)) for value in each.settings),
                NONE if each.mean is None else decimal(each.mean),
                str(each.seeds),
                "chosen" * each.is_chosen,
            ],
        )
        for each in found
    ]
    return data_table(caption, ["trial", *keys, f"mean {view.label}", "seeds", "outcome"], rows)
