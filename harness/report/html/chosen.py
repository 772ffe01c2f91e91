"""Render the section on how an ablation chose what it then trained."""

from __future__ import annotations

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.chosen import choice_text, races
from harness.report.findings.estimates import decimal
from harness.report.html.escape import label
from harness.report.html.layout import note, section
from harness.report.html.tables import data_table, table_row


def choice_section(search: StudyTables) -> str:
    """Show the candidates and what became of them; empty before there are any.

    Args:
        search: The trials on validation classes.
    """
    design = search.design
    if design is None:
        return ""
    view = View("val", search.study.metric)
    rows = [
        table_row(
            label(each.label),
            [str(each.step), decimal(each.mean), str(each.seeds), "next node" * each.is_chosen],
        )
        for each in races(search, design)
    ]
    heads = ["candidate", "step", f"mean {view.label}", "seeds", "outcome"]
    return section(
        "Races", note(choice_text(search)), data_table(f"{view.text}, races", heads, rows)
    )
