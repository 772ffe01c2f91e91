"""Render the section on a study with several metrics."""

from __future__ import annotations

from harness.report.data.evidence.front import Front
from harness.report.findings.front import axis_title, front_text, value_text
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.layout import folded, note, panels, section
from harness.report.html.elements.tables import data_table, table_row
from harness.report.plots.front import front_pictures
from harness.units import duration

_CLASSES = {"val": "validation", "test": "test"}
_HOW_TO_READ = (
    "A trial is on the front if no other is at least as good in every metric and better in one. "
    "Seconds and memory are shown and not searched: they differ each time a run is repeated. "
    "Values are means over seeds, so a front says nothing about differences between its trials "
    "that are within the noise of seeds."
)


def front_section(front: Front | None) -> str:
    """Show the Pareto front as pictures, a sentence and a table; empty with one metric."""
    if front is None:
        return ""
    return section(
        f"Pareto front ({_CLASSES.get(front.split, front.split)})",
        f'<p class="claim">{escaped(front_text(front))}</p>',
        panels(front_pictures(front)),
        folded("The front as a table", _table(front)),
        note(_HOW_TO_READ),
    )


def _table(front: Front) -> str:
    rows = [
        table_row(
            escaped(point.trial.label),
            [
                *(value_text(value) for value in point.values),
                "" if point.seconds is None else duration(point.seconds),
                "" if point.peak_mib is None else f"{point.peak_mib:.0f} MiB",
            ],
        )
        for point in front.kept
    ]
    heads = ("Trial", *map(axis_title, front.axes), "Time of a run", "Memory")
    return data_table("Trials on the Pareto front", heads, rows, texts=("Trial",))
