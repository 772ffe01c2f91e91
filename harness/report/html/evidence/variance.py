"""Render the section on where the variance between seeds comes from."""

from __future__ import annotations

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.estimates import decimal
from harness.report.findings.variance import (
    is_left,
    share_text,
    shown_shares,
    source_name,
    variance_sentences,
)
from harness.report.html.elements.escape import label
from harness.report.html.elements.layout import folded, note, panels, section, sentence_list
from harness.report.html.elements.tables import data_table, each_view, table_row, view_choices
from harness.report.plots.effects.share_bars import ShareBar, share_picture

_HOW_TO_READ = (
    "Each source of randomness varies alone, with all others pinned to one seed. Its share is its "
    "variance divided by the variance with everything varying, on the same seeds; the interval "
    "(95 %, Pitman) covers other seeds, but not other values of what is pinned. Sources that act "
    "independently add up to 100 %. Where a small change of anything changes the whole run, each "
    "source alone gives about as much as all together."
)


def variance_section(tables: StudyTables) -> str:
    """Show what share each source gives alone; empty before there are shares."""
    primary = tables.primary
    if primary is None or not tables.variance.get(primary):
        return ""
    bars = [
        ShareBar(source_name(each), each.share, each.low, each.high, is_minor=is_left(each))
        for each in shown_shares(tables, primary)
    ]
    words = f"{primary.text}, share of the variance between seeds that each source gives alone"
    picture = share_picture("variance", "What each source gives alone", words, bars)
    cells = each_view(tables, primary, lambda view: _table(tables, view))
    return section(
        "Variance",
        sentence_list(variance_sentences(tables)),
        note(_HOW_TO_READ),
        panels((picture,)),
        folded("Every measure", view_choices(tables, "variance"), cells),
    )


def _table(tables: StudyTables, view: View) -> str:
    rows = [
        table_row(
            label(source_name(each)),
            [share_text(each), decimal(each.sd, 4), str(each.n)],
        )
        for each in shown_shares(tables, view)
    ]
    heads = ["varies alone", "share [95 % interval]", "sd", "seeds"]
    return data_table(f"{view.text}, shares of the variance between seeds", heads, rows)
