"""Draw the ablation pictures: a measure against what was varied, as plain traces.

A picture holds all measures and splits; the page's script shows one of them at a time.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.report.data.study_data import StudyTables, Summary, TrialRow, View
from harness.report.findings.axes.swept_axes import SweptAxis, drawn_axes, trial_axis
from harness.report.findings.estimates import bar_lengths, decimal, summary_text
from harness.report.plots.colours import ACCENT, BASELINE, BEST, CONTROL_DASHES, INK, PAPER
from harness.report.plots.picture import Picture, Trace, first_told, tick, titled

_MOST_DESCRIBED = 12
_MOST_BY_TRIAL = 40


class Panel(NamedTuple):
    """The axis of one picture, and its level of detail."""

    axis: SweptAxis
    by_seed: bool
    """Whether every seed is drawn, with the trial's mean and interval, or trial means only."""


def ablation_panels(tables: StudyTables) -> tuple[Panel, ...]:
    """Choose the pictures of a study.

    A study with one axis shows every seed. A study with several first shows every seed of each
    trial, unless there are too many trials, and then the trial means on each axis. A search shows
    trial means; a confirmation, whose few winners differ in everything, shows their seeds only.
    """
    if tables.primary is None:
        return ()
    if tables.is_confirmation:
        return (Panel(trial_axis(tables), True),)
    axes = drawn_axes(tables)
    has_one = len(axes) == 1 and not tables.is_search
    panels = tuple(Panel(axis, has_one) for axis in axes)
    if has_one or tables.is_search or len(tables.contenders) > _MOST_BY_TRIAL:
        return panels
    return (Panel(trial_axis(tables), True), *panels)


def ablation_pictures(tables: StudyTables) -> tuple[Picture, ...]:
    """Draw one picture per panel, each with all measures and splits."""
    primary = tables.primary
    if primary is None:
        return ()
    return tuple(
        _picture(tables, primary, panel.axis, panel.by_seed, f"ablation-{place}")
        for place, panel in enumerate(ablation_panels(tables))
    )


def _picture(
    tables: StudyTables, primary: View, axis: SweptAxis, by_seed: bool, name: str
) -> Picture:
    frame = _Frame(axis, is_flat=_is_flat(axis))
    traces = []
    ranges = {}
    for view in tables.chosen_views():
        low, high = _value_range(tables, view, by_seed)
        ranges[view.key] = [low, high]
        drawn = _references(tables, view, frame, low, high)
        drawn += _seed_traces(tables, view, frame) if by_seed else []
        drawn += _trial_traces(tables, view, frame, by_seed)
        shown = {"meta": {"view": view.key}, "visible": view == primary}
        traces += [trace | shown for trace in drawn]
    titles = {view.key: html.escape(view.title) for view in tables.chosen_views()}
    value = {"range": ranges[primary.key], "title": titled(titles[primary.key])}
    across, along = ("xaxis", "yaxis") if frame.is_flat else ("yaxis", "xaxis")
    return Picture(
        name=name,
        title=f"By {axis.title}",
        text=_described(tables, primary, axis),
        traces=tuple(traces),
        layout={
            across: value | {"automargin": True},
            along: frame.layout(),
            "meta": {"axis": across, "ranges": ranges, "titles": titles},
        },
        height=frame.height,
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """A parameter axis and its orientation: if flat, the values run from left to right."""

    axis: SweptAxis
    is_flat: bool

    @property
    def height(self) -> int:
        return 120 + 38 * len(self.axis.ticks) if self.is_flat else 360

    @property
    def ends(self) -> tuple[float, float]:
        """First and last position drawn, in data coordinates."""
        places = list(self.axis.positions.values())
        low, high = min(places, default=0.0), max(places, default=1.0)
        if self.axis.scale == "log":
            factor = max((high / low) ** 0.06, 1.1)
            return low / factor, high * factor
        if self.axis.scale == "category":
            return low - 0.5, high + 0.5
        pad = 0.06 * (high - low) or 0.5
        return low - pad, high + pad

    def layout(self) -> dict[str, object]:
        """Return the axis settings for Plotly."""
        low, high = self.ends
        axis: dict[str, object] = {
            "title": titled("" if self.is_flat else html.escape(self.axis.title)),
            "type": "log" if self.axis.scale == "log" else "linear",
            "automargin": True,
        }
        if self.axis.scale == "log":
            axis["range"] = [math.log10(low), math.log10(high)]
            powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
            if len(powers) > 1:  # Plotly would write 0.0001 as 100 micro
                axis["tickvals"] = [10.0**power for power in powers]
                axis["ticktext"] = [f"{10.0**power:g}" for power in powers]
        else:
            axis["range"] = [high, low] if self.is_flat else [low, high]
        if self.axis.ticks:
            axis["tickvals"] = [place for place, _ in self.axis.ticks]
            axis["ticktext"] = [tick(text) for _, text in self.axis.ticks]
        if self.axis.scale == "category":
            axis["showgrid"] = False
        return axis

    def scatter(
        self, places: Sequence[float | None], values: Sequence[float | None], **style: object
    ) -> Trace:
        """Return a trace with positions along the axis and values across it."""
        x, y = (values, places) if self.is_flat else (places, values)
        return {"type": "scatter", "x": list(x), "y": list(y), **style}


def _is_flat(axis: SweptAxis) -> bool:
    """Whether the axis texts need a line each to be readable on a phone."""
    return axis.scale == "category" and sum(len(text) + 2 for _, text in axis.ticks) > 36


def _value_range(tables: StudyTables, view: View, by_seed: bool) -> tuple[float, float]:
    """Return the range of values to draw: all trials, and the controls that are close to them.

    Seeds and intervals count only if they are drawn.
    """
    controls = {trial.trial_id for trial in tables.trials if trial.is_control}
    own: list[float] = []
    far: list[float] = []
    for one in tables.values[view] if by_seed else ():
        (far if one.trial_id in controls else own).append(one.value)
    for (of, trial_id), summary in tables.summaries.items():
        if of != view:
            continue
        (far if trial_id in controls else own).append(summary.mean)
        if by_seed and summary.low is not None and summary.high is not None:
            # A wide interval of two seeds must not squeeze everything else flat.
            half = min(summary.high - summary.mean, 3 * (summary.sd or 0))
            (far if trial_id in controls else own).extend(
                [summary.mean - half, summary.mean + half]
            )
    own = own or far
    low, high = min(own), max(own)
    reach = max(1.5 * (high - low), 0.02)
    near = [value for value in far if low - reach <= value <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.08 * (high - low) or 0.05
    return round(low - pad, 6), round(high + pad, 6)


def _references(
    tables: StudyTables, view: View, frame: _Frame, low: float, high: float
) -> list[Trace]:
    """Draw reference lines: the baseline, and each control with its name and value.

    A control outside the range is named at the edge, with an arrow.
    """
    first, last = frame.ends
    traces = []
    baseline = tables.baseline
    if baseline is not None and (found := tables.summary(view, baseline)):
        thin = {"color": BASELINE, "width": 1}
        at = round(found.mean, 6)
        traces.append(
            frame.scatter([first, last], [at, at], mode="lines", line=thin, hoverinfo="skip")
        )
    controls = [trial for trial in tables.trials if trial.is_control]
    for place, trial in enumerate(controls):
        found = tables.summary(view, trial)
        if found is None:
            continue
        at = min(max(round(found.mean, 6), low), high)
        at_start = place % 2 == 0  # labels of close values would overlap
        side = _text_side(at_start, is_flat=frame.is_flat, is_above=found.mean > high)
        arrow = _arrow(found.mean, low, high, is_flat=frame.is_flat)
        note = f"&nbsp;{arrow}{tick(trial.label)} {decimal(found.mean)}&nbsp;"
        style = {"color": INK, "width": 1, "dash": CONTROL_DASHES[place % len(CONTROL_DASHES)]}
        traces.append(
            frame.scatter(
                [first, last],
                [at, at],
                mode="text" if arrow else "lines+text",
                text=[note, ""] if at_start else ["", note],
                textposition=side,
                textfont={"color": INK, "size": 11},
                line=style,
                hoverinfo="skip",
                opacity=0.75,
            )
        )
    return traces


def _text_side(at_start: bool, *, is_flat: bool, is_above: bool) -> str:
    """Return the text position, at its end of a line, that stays inside the picture."""
    if is_flat:
        return f"{'bottom' if at_start else 'top'} {'left' if is_above else 'right'}"
    return f"{'bottom' if is_above else 'top'} {'right' if at_start else 'left'}"


def _arrow(value: float, low: float, high: float, *, is_flat: bool) -> str:
    """Return an arrow towards a value outside the picture; empty for one inside."""
    below, above = ("\N{LEFTWARDS ARROW}", "\N{RIGHTWARDS ARROW}")
    if not is_flat:
        below, above = ("\N{DOWNWARDS ARROW}", "\N{UPWARDS ARROW}")
    return f"{below} " if value < low else f"{above} " if value > high else ""


def _seed_traces(tables: StudyTables, view: View, frame: _Frame) -> list[Trace]:
    """Draw one dot per seed, side by side if there is room, and a faint line along each seed."""
    labels = {trial.trial_id: trial.label for trial in tables.contenders}
    found = [v for v in tables.values[view] if v.trial_id in frame.axis.positions]
    seeds = sorted({one.seed for one in found})
    room = 0.24 if frame.axis.scale == "category" else 0.0
    offset = {s: room * ((i + 0.5) / len(seeds) - 0.5) for i, s in enumerate(seeds)}
    found.sort(key=lambda one: (one.seed, frame.axis.positions[one.trial_id]))
    places = [frame.axis.positions[one.trial_id] + offset[one.seed] for one in found]
    values = [round(one.value, 6) for one in found]
    dots = frame.scatter(
        places,
        values,
        mode="markers",
        marker={"color": ACCENT, "size": 7, "opacity": 0.55},
        customdata=[[html.escape(labels[v.trial_id]), v.seed, v.run_id] for v in found],
        hovertemplate="%{customdata[0]}<br>seed %{customdata[1]}, run %{customdata[2]}<br>"
        + f"{html.escape(view.label)} %{{{'x' if frame.is_flat else 'y'}:.4f}}<extra></extra>",
    )
    if not frame.axis.ordered or not 1 < len(seeds) <= 12:
        return [dots]
    line_places: list[float | None] = []
    line_values: list[float | None] = []
    for place, (one, value) in enumerate(zip(found, values, strict=True)):
        if place and found[place - 1].seed != one.seed:
            line_places.append(None)
            line_values.append(None)
        line_places.append(places[place])
        line_values.append(value)
    lines = frame.scatter(
        line_places,
        line_values,
        mode="lines",
        line={"color": ACCENT, "width": 1},
        opacity=0.25,
        hoverinfo="skip",
    )
    return [lines, dots]


def _trial_traces(tables: StudyTables, view: View, frame: _Frame, by_seed: bool) -> list[Trace]:
    """Draw the mean of every trial, with its interval if the picture shows the seeds too."""
    positions = frame.axis.positions
    found = [
        (trial, tables.summaries[view, trial.trial_id])
        for trial in tables.contenders
        if trial.trial_id in positions and (view, trial.trial_id) in tables.summaries
    ]
    found.sort(key=lambda pair: positions[pair[0].trial_id])
    ranked = tables.ranked(view)
    best = ranked[:1] if not by_seed else ()
    groups = [
        ([p for p in found if not p[0].is_baseline and p[0] not in best], ACCENT, "circle", 9),
        ([p for p in found if p[0] in best and not p[0].is_baseline], BEST, "star", 14),
        ([p for p in found if p[0].is_baseline], BASELINE, "diamond", 12),
    ]
    traces = []
    if frame.axis.ordered and not tables.is_search:
        traces.append(_mean_line(found, frame))
    for pairs, colour, symbol, size in groups:
        if pairs:
            marker = {"color": colour, "symbol": symbol, "size": size}
            marker["line"] = {"color": PAPER, "width": 1}
            if not by_seed and symbol == "circle":
                marker["opacity"] = 0.7
            traces.append(_mean_trace(pairs, view, frame, marker, by_seed))
    return traces


def _mean_line(found: Sequence[tuple[TrialRow, Summary]], frame: _Frame) -> Trace:
    """Draw a line through the mean of the trials at each value."""
    at: dict[float, list[float]] = {}
    for trial, summary in found:
        at.setdefault(frame.axis.positions[trial.trial_id], []).append(summary.mean)
    means = [round(sum(values) / len(values), 6) for values in at.values()]
    line = {"color": ACCENT, "width": 2}
    return frame.scatter(list(at), means, mode="lines", line=line, hoverinfo="skip")


def _mean_trace(
    pairs: Sequence[tuple[TrialRow, Summary]],
    view: View,
    frame: _Frame,
    marker: Mapping[str, object],
    by_seed: bool,
) -> Trace:
    halves = bar_lengths(summary for _, summary in pairs)
    error: dict[str, object] = {}
    if by_seed and any(half is not None for half in halves):
        bar = {"type": "data", "array": halves, "color": marker["color"], "thickness": 2}
        error = {"error_x" if frame.is_flat else "error_y": bar | {"width": 6}}
    return frame.scatter(
        [frame.axis.positions[trial.trial_id] for trial, _ in pairs],
        [round(summary.mean, 6) for _, summary in pairs],
        mode="markers",
        marker=marker,
        customdata=[[html.escape(t.label), summary_text(s)] for t, s in pairs],
        hovertemplate="%{customdata[0]}<br>"
        + html.escape(view.label)
        + " %{customdata[1]}<extra></extra>",
        **error,
    )


def _described(tables: StudyTables, view: View, axis: SweptAxis) -> str:
    """Describe the picture in words: the first trials with their numbers."""
    found = [
        f"{trial.label}: {summary_text(summary)}"
        for trial in tables.trials
        if (summary := tables.summary(view, trial))
    ]
    return f"{view.text} against {axis.key}. {first_told(found, _MOST_DESCRIBED)}."
