"""Draw a label-free criterion against Recall@1."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.report.data.agreement import REFERENCE, Agreement, rho_text
from harness.report.data.study_data import measure_label
from harness.report.plots.colours import ACCENT
from harness.report.plots.picture import Picture, Trace, short_number, titled_axis


def agreement_pictures(found: Sequence[Agreement]) -> tuple[Picture, ...]:
    """Draw one panel per data set, with one point per run."""
    return tuple(_picture(f"agreement-{place}", one) for place, one in enumerate(found))


def _picture(name: str, found: Agreement) -> Picture:
    criterion, recall = measure_label(found.criterion), measure_label(REFERENCE)
    trace: Trace = {
        "type": "scatter",
        "x": [short_number(x) for x, _ in found.points],
        "y": [short_number(y) for _, y in found.points],
        "mode": "markers",
        "marker": {"color": ACCENT, "size": 7, "opacity": 0.55},
        "hovertemplate": f"{html.escape(criterion)} %{{x:.3f}}, {recall} %{{y:.3f}}<extra></extra>",
    }
    return Picture(
        name=name,
        title=f"{found.data}: {rho_text(found)}",
        text=f"{criterion} against {recall} on validation data of {found.data}: "
        f"{rho_text(found)}, {len(found.points)} runs.",
        traces=(trace,),
        layout={
            "xaxis": titled_axis(html.escape(criterion), nticks=6),
            "yaxis": titled_axis(recall, nticks=6),
        },
        height=250,
    )
