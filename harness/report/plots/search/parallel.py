"""Draw the trials of a search as lines across their parameters: parallel coordinates.

Plain lines are used because Plotly's own kind needs WebGL, evaluates code, which the page's policy
forbids, and prints as a bitmap.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from harness.report.data.study_data import TrialRow
from harness.report.findings.axes.search_space import Parameter, Searched, share
from harness.report.plots.colours import INK, PAPER, RAMP
from harness.report.plots.picture import Picture, Trace, tick
from harness.units import shortened

MOST_LINES = 300
_MOST_AXES = 6
_MOST_TICKS = 10
_LONGEST_TITLE = 18
_TICKS = (0.0, 0.5, 1.0)
_MISSING = -0.16
"""Height at which a parameter that a trial does not set is drawn."""


def parallel_pictures(found: Searched) -> tuple[Picture, ...]:
    """Draw one line per trial across its parameters to its score; none for a single parameter."""
    if len(found.parameters) < 2 or len(found.trials) < 2:
        return ()
    parameters = found.parameters[:_MOST_AXES]
    best_first = sorted(found.trials, key=lambda t: (-found.values[t.trial_id], t.number))
    drawn = best_first[:MOST_LINES]
    ends = (found.values[drawn[-1].trial_id], found.values[drawn[0].trial_id])
    names = [*(each.title for each in parameters), found.measure.partition(",")[0]]
    return (
        Picture(
            name="parallel",
            title="Each trial across its parameters to its score",
            text=_told(found, parameters, drawn),
            # Worst first, so that the best are drawn on top.
            traces=tuple(
                _lines(found, parameters, [drawn[place] for place in places], colour, ends)
                for colour, places in _ranks(len(drawn))
            ),
            layout=_layout(parameters, names, ends),
            height=320,
            min_width=140 * len(names),
        ),
    )


def _lines(
    found: Searched,
    parameters: Sequence[Parameter],
    trials: Sequence[TrialRow],
    colour: str,
    ends: tuple[float, float],
) -> Trace:
    """Draw the lines of one colour as a single trace with gaps."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    for trial in trials:
        value = found.values[trial.trial_id]
        heights = [each.height(trial.trial_id) for each in parameters]
        stands = [_MISSING if height is None else height for height in heights]
        xs += [*range(len(parameters) + 1), None]
        ys += [*(round(height, 4) for height in [*stands, share(value, *ends)]), None]
        note = f"trial {trial.number}: {value:.4f}"
        texts += [*([note] * len(parameters)), f"{note}<br>{html.escape(trial.label)}", ""]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": xs,
        "y": ys,
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": colour, "width": 1.5},
        "marker": {"color": colour, "size": 4},
        "opacity": 0.75,
    }


def _layout(
    parameters: Sequence[Parameter], names: Sequence[str], ends: tuple[float, float]
) -> dict[str, object]:
    """Lay out vertical axes with their own ticks; the last is the score."""
    notes: list[dict[str, object]] = []
    for place, each in enumerate(parameters):
        notes += [_note(place, height, text) for height, text in _ticks(each)]
    low, high = ends
    last = len(parameters)
    notes += [_note(last, at, f"{low + at * (high - low):.3f}") for at in _TICKS]
    notes += [_title(place, name) for place, name in enumerate(names)]
    line = {"color": INK, "width": 1}
    bottom = _MISSING if any(each.dimension.is_conditional for each in parameters) else 0.0
    return {
        "xaxis": {"visible": False, "range": [-0.05, last + 0.45], "fixedrange": True},
        "yaxis": {"visible": False, "range": [bottom - 0.06, 1.06], "fixedrange": True},
        "annotations": notes,
        "margin": {"l": 8, "r": 8, "t": 36, "b": 8},
        "shapes": [
            {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line, "opacity": 0.35}
            for x in range(len(names))
        ],
    }


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    """Return heights with their texts; long lists of choices are thinned out."""
    one = parameter.dimension
    if one.choices:
        step = math.ceil(one.choices / _MOST_TICKS)
        ticks = [
            (share(place, 0, one.choices - 1), text)
            for place, text in enumerate(parameter.texts)
            if place % step == 0
        ]
    else:
        ticks = [(height, f"{parameter.at(height):.3g}") for height in _TICKS]
    return [*ticks, (_MISSING, "not set")] if one.is_conditional else ticks


def _text(place: int, **style: object) -> dict[str, object]:
    """Return a text beside a vertical axis."""
    return {"x": place, "xanchor": "left", "showarrow": False, **style}


def _title(place: int, name: str) -> dict[str, object]:
    """Return the title above a vertical axis."""
    text = f"<b>{html.escape(shortened(name, _LONGEST_TITLE))}</b>"
    above = {"y": 1, "yref": "paper", "yanchor": "bottom", "xshift": -4}
    return _text(place, text=text, font={"size": 12}, **above)


def _note(place: int, height: float, text: str) -> dict[str, object]:
    """Return a tick label, on the colour of the page so that lines do not cross it."""
    paper = {"bgcolor": PAPER, "opacity": 0.85, "borderpad": 1}
    font = {"size": 11, "color": INK}
    return _text(place, y=height, text=tick(text), xshift=7, font=font, **paper)


def _told(found: Searched, parameters: Sequence[Parameter], drawn: Sequence[TrialRow]) -> str:
    """Describe the lines in words."""
    titles = ", ".join(each.title for each in parameters)
    every = len(found.trials)
    which = f"The best {len(drawn)} of {every}" if len(drawn) < every else str(every)
    more = len(found.parameters) - len(parameters)
    left_out = f" ({more} less important parameters are left out)" if more else ""
    return (
        f"{which} trials of the search as lines across {titles}{left_out}, to {found.measure} on "
        "the right. Colours run from blue (lowest fifth) to orange (highest fifth). The best "
        f"is {drawn[0].label} with {found.values[drawn[0].trial_id]:.4f}."
    )


def _ranks(count: int) -> list[tuple[str, list[int]]]:
    """Group ``count`` places, best first, by colour; the worst group comes first."""
    groups: dict[str, list[int]] = {}
    for place in reversed(range(count)):
        rank = 1 - (place + 0.5) / count
        groups.setdefault(RAMP[int(rank * len(RAMP))], []).append(place)
    return list(groups.items())
