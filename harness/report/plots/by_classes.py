"""Draw Recall@1 against the number of classes, on validation and on test classes."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.report.data.evidence.by_classes import ByClasses, ClassPoint
from harness.report.data.study_data import TrialRow
from harness.report.plots.colours import BASELINE
from harness.report.plots.picture import (
    Picture,
    Trace,
    first_told,
    legend_above,
    short_number,
    titled_axis,
    trial_colours,
)

_DASHES = {"val": "dot", "test": "solid"}
_NAMES = {"val": "validation classes", "test": "test classes"}
_MOST_TOLD = 8


def by_classes_picture(found: ByClasses, trials: Sequence[TrialRow]) -> Picture:
    """Draw the curves of ``trials``: test solid, validation dotted, with a line where both meet."""
    colours = trial_colours(trials)
    traces: list[Trace] = [_named(split) for split in _DASHES]
    told = []
    for trial in trials:
        for split in _DASHES:
            points = found.curves.get((trial.trial_id, split), ())
            if points:
                traces.append(_curve(trial, split, points, colours[trial.trial_id]))
        at = [found.matched[split].get(trial.trial_id) for split in _DASHES]
        if at[0] is not None and at[1] is not None:
            told.append(f"{trial.label}: validation {at[0]:.3f}, test {at[1]:.3f}")
    matched = found.matched_classes
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": matched, "x1": matched}
    return Picture(
        name="by-classes",
        title="Recall@1 by number of classes",
        text="Expected Recall@1 if only some of the classes were there, by their number. Among "
        f"{matched} classes: {first_told(told, _MOST_TOLD)}.",
        traces=tuple(traces),
        layout={
            "xaxis": titled_axis(
                "number of classes", type="log", **_ticks(max(found.classes.values()))
            ),
            "yaxis": titled_axis("Recall@1", nticks=6),
            "shapes": [line | {"line": {"color": BASELINE, "width": 1, "dash": "dash"}}],
            **legend_above(1.02),
        },
        height=340,
    )


def _named(split: str) -> Trace:
    """Return a legend entry for the line style of a split."""
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": "lines",
        "name": _NAMES[split],
        "line": {"color": BASELINE, "width": 2, "dash": _DASHES[split]},
    }


def _curve(trial: TrialRow, split: str, points: Sequence[ClassPoint], colour: str) -> Trace:
    return {
        "type": "scatter",
        "x": [point.classes for point in points],
        "y": [short_number(point.recall) for point in points],
        "mode": "lines",
        "showlegend": False,
        "line": {"color": colour, "width": 2, "dash": _DASHES[split]},
        "hovertemplate": f"{html.escape(trial.label)}, {_NAMES[split]}<br>"
        "%{y:.3f} among %{x} classes<extra></extra>",
        "meta": {"trial": trial.trial_id},
    }


def _ticks(most: int) -> dict[str, object]:
    """Return ticks at 1, 2 and 5 of each decade."""
    values = [lead * 10**power for power in range(7) for lead in (1, 2, 5)]
    shown = [value for value in values if 2 <= value <= most]
    return {"tickvals": shown, "ticktext": [f"{value:,}" for value in shown]}
