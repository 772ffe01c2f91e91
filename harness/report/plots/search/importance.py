"""Draw the importance of a search's parameters, and contours over the first two."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence

from harness.report.data.study_data import TrialRow
from harness.report.findings.axes.search_space import Parameter, Searched
from harness.report.plots.colours import ACCENT, PAPER, RAMP
from harness.report.plots.picture import Picture, Trace, line_axis, tick, titled, titled_axis

FEWEST_FOR_A_SURFACE = 15
"""With fewer trials, no surface is drawn between them."""
MOST_DOTS = 1000
_SCALE = [[place / (len(RAMP) - 1), colour] for place, colour in enumerate(RAMP)]
_GRID = 24
_WIDTH = 0.12  # of the kernel, as a fraction of each axis
_SUPPORT = 2.0  # total weight, in trials, below which a point stays empty


def landscape_pictures(found: Searched) -> tuple[Picture, ...]:
    """Draw importance and contours, each if there are enough trials."""
    return (*_importance(found), *_contour(found))


def _importance(found: Searched) -> tuple[Picture, ...]:
    """Draw a bar chart of parameter importances."""
    known = found.importances
    if known is None:
        return ()
    titles = {each.dimension.name: each.title for each in found.parameters}
    shares = {titles[name]: share for name, share in known.shares.items()}
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [round(share, 4) for share in shares.values()],
        "y": list(range(len(shares))),
        "text": [f"{share:.2f}" for share in shares.values()],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": ACCENT},
        "hoverinfo": "skip",
    }
    said = ", ".join(f"{title} {share:.2f}" for title, share in shares.items())
    missing = [each.title for each in found.parameters if each.dimension.name not in known.shares]
    text = f"Importance by {known.method} from {known.trials} trials of the search: {said}."
    if missing:
        text += f" Not estimated, for lack of trials: {', '.join(missing)}."
    picture = Picture(
        name="importance",
        title=f"Importance of each parameter ({known.method}, {known.trials} trials)",
        text=text,
        traces=(bars,),
        layout={
            "xaxis": titled_axis(
                "share of explained spread, each alone",
                range=[0, 1.12 * max(shares.values())],
                nticks=6,
            ),
            "yaxis": line_axis([tick(title) for title in shares]),
        },
        height=max(180, 90 + 34 * len(shares)),
    )
    return (picture,)


def _contour(found: Searched) -> tuple[Picture, ...]:
    """Draw the trials in the plane of the two most important ranges, coloured by score."""
    numbers = [each for each in found.parameters if not each.dimension.choices][:2]
    if len(numbers) < 2:
        return ()
    across, up = numbers
    drawn = [t for t in found.trials if t.trial_id in across.values and t.trial_id in up.values]
    if len(drawn) < 2:
        return ()
    every = len(drawn)
    best = max(drawn, key=lambda trial: (found.values[trial.trial_id], -trial.number))
    step = math.ceil(every / MOST_DOTS)
    drawn = [t for place, t in enumerate(drawn) if place % step == 0 or t == best]
    values = [found.values[trial.trial_id] for trial in drawn]
    low, high = _colour_range(values)
    surface = _surface(across, up, [t.trial_id for t in drawn], values)
    traces: list[Trace] = []
    if surface is not None:
        traces.append(surface | {"colorscale": _SCALE, "zmin": low, "zmax": high})
    which = f"{len(drawn)} of {every}" if len(drawn) < every else str(every)
    text = (
        f"{found.measure} of {which} trials of the search, by {across.title} and {up.title}. "
        f"The best, {found.values[best.trial_id]:.4f}, is at {across.title} "
        f"{across.values[best.trial_id]:.4g} and {up.title} {up.values[best.trial_id]:.4g}. "
    )
    text += (
        "The background is a smoothed mean of nearby trials, empty where there are fewer than two."
        if traces
        else f"With fewer than {FEWEST_FOR_A_SURFACE} trials no background is drawn."
    )
    picture = Picture(
        name="contour",
        title=f"{across.title} and {up.title}",
        text=text,
        traces=(*traces, _dots(found, across, up, drawn)),
        layout={"xaxis": _number_axis(across), "yaxis": _number_axis(up)},
        height=360,
    )
    return (picture,)


def _dots(found: Searched, across: Parameter, up: Parameter, drawn: Sequence[TrialRow]) -> Trace:
    """Draw one dot per trial, with the colour bar."""
    values = [found.values[trial.trial_id] for trial in drawn]
    low, high = _colour_range(values)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [across.values[trial.trial_id] for trial in drawn],
        "y": [up.values[trial.trial_id] for trial in drawn],
        "text": [f"trial {t.number}<br>{html.escape(t.label)}" for t in drawn],
        "marker": {
            "color": [round(value, 6) for value in values],
            "colorscale": _SCALE,
            "cmin": low,
            "cmax": high,
            "size": 9,
            "line": {"color": PAPER, "width": 1.5},
            "colorbar": {
                "orientation": "h",
                "thickness": 8,
                "outlinewidth": 0,
                "nticks": 5,
                "y": 1.0,
                "yanchor": "bottom",
                "ypad": 4,
                "title": titled(html.escape(found.measure)) | {"side": "top"},
            },
        },
        "hovertemplate": "%{marker.color:.4f}, %{text}<extra></extra>",
    }


def _surface(
    across: Parameter, up: Parameter, drawn: Sequence[str], values: Sequence[float]
) -> Trace | None:
    """Smooth the trials with a kernel on a grid; None if there are too few trials."""
    if len(drawn) < FEWEST_FOR_A_SURFACE:
        return None
    places = [(across.height(trial) or 0.0, up.height(trial) or 0.0) for trial in drawn]
    steps = [step / (_GRID - 1) for step in range(_GRID)]
    rows: list[list[float | None]] = []
    for y in steps:
        row: list[float | None] = []
        for x in steps:
            weights = [math.exp(-((x - u) ** 2 + (y - v) ** 2) / 2 / _WIDTH**2) for u, v in places]
            total = sum(weights)
            mean = sum(w * value for w, value in zip(weights, values, strict=True)) / (total or 1)
            row.append(float(f"{mean:.5g}") if total >= _SUPPORT else None)
        rows.append(row)
    if not any(value is not None for value in itertools.chain(*rows)):
        return None
    return {
        "type": "contour",
        "x": [across.at(step) for step in steps],
        "y": [up.at(step) for step in steps],
        "z": rows,
        "ncontours": 8,
        "connectgaps": False,
        "showscale": False,
        "opacity": 0.45,
        "line": {"width": 0.5},
        "hoverinfo": "skip",
    }


def _colour_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the colour scale, so that one failed trial does not flatten the rest."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 10], ordered[-1]
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _number_axis(parameter: Parameter) -> dict[str, object]:
    """Return Plotly's axis settings for a range, with ticks at decades or parts of them."""
    one = parameter.dimension
    axis = titled_axis(html.escape(parameter.title), nticks=6)
    if not one.is_log:
        pad = 0.04 * (one.high - one.low)
        return axis | {"range": [one.low - pad, one.high + pad]}
    low, high = math.log10(one.low), math.log10(one.high)
    pad = 0.04 * (high - low)
    powers = range(math.floor(low), math.ceil(high) + 1)
    parts = (1, 2, 5) if high - low < 2 else (1,)
    ticks = [part * 10.0**power for power in powers for part in parts]
    ticks = [tick for tick in ticks if one.low <= tick * 1.001 and tick <= one.high * 1.001]
    axis |= {"type": "log", "range": [low - pad, high + pad], "tickvals": ticks}
    return axis | {"ticktext": [f"{tick:g}" for tick in ticks]}
