"""The trials of a search as lines across their parameters: parallel coordinates.

Drawn with plain lines: Plotly's own kind needs WebGL and evaluates code, which the page's policy
forbids, and prints as a picture.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from harness.report.data.study_data import TrialRow
from harness.report.findings.search_space import Parameter, Searched, share
from harness.report.plots.picture import INK, PAPER, RAMP, Picture, Trace, shortened

MOST_LINES = 300
_MOST_AXES = 6
_MOST_TICKS = 10
_LONGEST_TITLE = 18
_TICKS = (0.0, 0.5, 1.0)
_MISSING = -0.16
"""The height of a parameter that a trial lacks."""


def parallel_pictures(found: Searched) -> tuple[Picture, ...]:
    """A line a trial across its parameters to what it reached; none for a single parameter."""
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
            title="Every trial across its parameters to what it reached",
            text=_told(found, parameters, drawn),
            # Worst first, so that the best are drawn over them.
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
    """The lines of one colour, one after another with gaps between them."""
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
    """Upright axes with their own ticks; the last is what was reached."""
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


def _title(place: int, name: str) -> dict[str, object]:
    """What an upright axis is called, above it."""
    return {
        "x": place,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": "left",
        "xshift": -4,
        "text": f"<b>{html.escape(shortened(name, _LONGEST_TITLE))}</b>",
        "showarrow": False,
        "font": {"size": 12},
    }


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    """Heights with their texts; of very many choices every so many."""
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


def _note(place: int, height: float, text: str) -> dict[str, object]:
    """A tick of an upright axis, on the ground of the page so that lines do not cross it."""
    return {
        "x": place,
        "y": height,
        "text": html.escape(shortened(text)),
        "xanchor": "left",
        "xshift": 7,
        "showarrow": False,
        "bgcolor": PAPER,
        "opacity": 0.85,
        "borderpad": 1,
        "font": {"size": 11, "color": INK},
    }


def _told(found: Searched, parameters: Sequence[Parameter], drawn: Sequence[TrialRow]) -> str:
    """The lines in words."""
    titles = ", ".join(each.title for each in parameters)
    every = len(found.trials)
    which = f"The best {len(drawn)} of {every}" if len(drawn) < every else str(every)
    more = len(found.parameters) - len(parameters)
    left_out = f" ({more} less important parameters are left out)" if more else ""
    return (
        f"{which} trials of the search as lines across {titles}{left_out}, to {found.measure} at "
        "the right. Colours go from blue, the lowest fifth, to orange, the highest fifth. The best "
        f"is {drawn[0].label} with {found.values[drawn[0].trial_id]:.4f}."
    )


def _ranks(count: int) -> list[tuple[str, list[int]]]:
    """Colour -> the places that have it, of ``count`` things with the best first; worst first."""
    groups: dict[str, list[int]] = {}
    for place in reversed(range(count)):
        rank = 1 - (place + 0.5) / count
        groups.setdefault(RAMP[int(rank * len(RAMP))], []).append(place)
    return list(groups.items())
