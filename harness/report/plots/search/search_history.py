"""Draw a search without its confirmation: its history, and each of its axes."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping
from dataclasses import replace

from harness.report.data.study_data import StudyTables, Summary, TrialRow, View
from harness.report.plots.ablation import ablation_pictures
from harness.report.plots.colours import ACCENT, BASELINE, BEST, PAPER
from harness.report.plots.picture import Picture, Trace, legend_above, titled_axis

_HEIGHT = 300


def exploration_pictures(search: StudyTables) -> tuple[Picture, ...]:
    """Draw the primary measure against the order of the trials, then against each parameter.

    The pictures show the measure that the search saw, whatever is selected on the page.
    """
    primary = search.primary
    if primary is None:
        return ()
    alone = replace(search, values={primary: search.values[primary]})
    slices = [
        replace(
            picture,
            name=f"slice-{place}",
            traces=tuple(_always_shown(trace) for trace in picture.traces),
            layout={key: value for key, value in picture.layout.items() if key != "meta"},
        )
        for place, picture in enumerate(ablation_pictures(alone))
    ]
    return (_history(search, primary), *slices)


def _always_shown(trace: Mapping[str, object]) -> Trace:
    return {key: value for key, value in trace.items() if key not in ("meta", "visible")}


def _history(search: StudyTables, view: View) -> Picture:
    """Draw every trial in the order proposed, and the best so far as a line."""
    found = [
        (trial, summary)
        for trial in sorted(search.contenders, key=lambda trial: trial.number)
        if (summary := search.summary(view, trial))
    ]
    best = list(itertools.accumulate((summary.mean for _, summary in found), max))
    line: Trace = {
        "type": "scatter",
        "x": [trial.number for trial, _ in found],
        "y": [round(value, 6) for value in best],
        "mode": "lines",
        "line": {"color": BEST, "width": 2, "shape": "hv"},
        "name": "best so far",
        "hovertemplate": "best so far %{y:.4f}<extra></extra>",
    }
    kinds = (
        ([pair for pair in found if not pair[0].is_baseline], "trial", ACCENT, "circle", 8),
        ([pair for pair in found if pair[0].is_baseline], "baseline", BASELINE, "diamond", 12),
    )
    dots = [_dots(*kind) for kind in kinds if kind[0]]
    measure = view.title
    return Picture(
        name="history",
        title="Trials in the order proposed",
        text=_told(found, measure),
        traces=(line, *dots),
        layout={
            "xaxis": titled_axis("trial", nticks=10),
            "yaxis": titled_axis(html.escape(view.title)),
            **legend_above(1.02),
        },
        height=_HEIGHT,
    )


def _dots(
    pairs: list[tuple[TrialRow, Summary]], name: str, colour: str, symbol: str, size: int
) -> Trace:
    return {
        "type": "scatter",
        "x": [trial.number for trial, _ in pairs],
        "y": [round(summary.mean, 6) for _, summary in pairs],
        "mode": "markers",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": size,
            "line": {"color": PAPER, "width": 1},
        },
        "name": name,
        "text": [html.escape(trial.label) for trial, _ in pairs],
        "hovertemplate": "trial %{x}: %{y:.4f}<br>%{text}<extra></extra>",
    }


def _told(found: list[tuple[TrialRow, Summary]], measure: str) -> str:
    """Describe the history in words."""
    best, summary = max(found, key=lambda pair: (pair[1].mean, -pair[0].number))
    return (
        f"{measure} of {len(found)} trials in the order proposed. The best was trial "
        f"{best.number}, {best.label}, with {summary.mean:.4f}."
    )
