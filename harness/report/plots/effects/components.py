"""Draw the effects of components: bars, interactions as a matrix, and the way from bare to full."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.components import (
    effect_text,
    effect_verdict,
    interactions,
    is_shown,
    ranked_effects,
    shown_effects,
    told,
)
from harness.report.findings.estimates import decimal, p_text, signed
from harness.report.plots.colours import ACCENT, BASELINE, BEST, INK
from harness.report.plots.picture import Picture, Trace, first_told, line_axis, tick, titled_axis
from harness.stats.ablations.designs import JOINED, KIND_NAMES, Design
from harness.stats.ablations.lattice import Effect
from harness.stats.paired import half_interval, may_show_p

_ADDING_UP = {"shapley": "by Shapley values", "path": "by the steps of the path"}
_MOST_TOLD = 12
_MOST_WRITTEN = 8  # columns of a matrix whose cells show their numbers
_MOST_IN_A_LINE = 24  # letters of names below a matrix that is as narrow as a phone


def effect_pictures(tables: StudyTables) -> tuple[Picture, ...]:
    """Draw what the components are worth; empty for a study without effects."""
    primary, design = tables.primary, tables.design
    if primary is None or design is None or not tables.effects.get(primary):
        return ()
    found = [_bars(tables, primary)]
    if interactions(tables, primary):
        found.append(_matrix(tables, primary, design))
    if (way := steps(tables, primary)) is not None:
        found.append(_waterfall(tables, primary, way))
    return tuple(found)


class Steps(NamedTuple):
    """The way from everything off to everything on."""

    bare: float
    """Mean with everything off."""
    sizes: Mapping[str, float]
    """Component -> its Shapley value, the largest first; or its step on a path."""


def steps(tables: StudyTables, view: View) -> Steps | None:
    """Return what the components add to the bare mean.

    None unless Shapley values or the steps of a path are known and rest on the same seeds, so that
    they add up.
    """
    found = ranked_effects(tables, view)
    if tables.design is not None and tables.design.name == "path" and not tables.design.from_bare:
        found = found[::-1]
    seeds = _common_seeds(tables, view)
    bare = _bare_mean(tables, view, seeds)
    if bare is None or any(e.kind not in _ADDING_UP or e.n != len(seeds) for e in found):
        return None
    return Steps(bare, {effect.term: effect.estimate for effect in found})


def _bars(tables: StudyTables, primary: View) -> Picture:
    names = [effect.term for effect in shown_effects(tables, primary)]
    places = {name: place for place, name in enumerate(names)}
    kind = KIND_NAMES[shown_effects(tables, primary)[0].kind]
    traces, ranges, titles = [], {}, {}
    for view in tables.chosen_views():
        found = [e for e in shown_effects(tables, view) if e.term in places]
        ends = [0.0, *(end for e in found for end in (e.low, e.high, e.estimate) if end)]
        ranges[view.key] = _padded(ends)
        titles[view.key] = f"{html.escape(view.label)}, {view.where}: {kind}"
        traces.append(_bar_trace(found, places, view, is_visible=view == primary))
    return Picture(
        name="effects",
        title=f"What each component is worth ({kind})",
        text=_in_words(
            f"{primary.text}, {kind} of each component with its interval",
            told(shown_effects(tables, primary)),
        ),
        traces=tuple(traces),
        layout={
            "xaxis": titled_axis(titles[primary.key], range=ranges[primary.key], nticks=6),
            "yaxis": line_axis([tick(name) for name in names]),
            "shapes": [_line_at_zero(len(names))],
            "meta": {"axis": "xaxis", "ranges": ranges, "titles": titles},
        },
        height=110 + 36 * len(names),
    )


def _in_words(what: str, values: Sequence[str]) -> str:
    return f"{what}. {first_told(values, _MOST_TOLD)}."


def _bar_trace(
    found: Sequence[Effect], places: dict[str, int], view: View, *, is_visible: bool
) -> Trace:
    halves = [half_interval(effect.low, effect.high) for effect in found]
    return {
        "type": "bar",
        "orientation": "h",
        "x": [round(effect.estimate, 6) for effect in found],
        "y": [places[effect.term] for effect in found],
        "marker": {
            "color": [ACCENT if is_shown(effect) else BASELINE for effect in found],
            "opacity": 0.75,
        },
        "error_x": {
            "type": "data",
            "array": [None if half is None else round(half, 6) for half in halves],
            "color": INK,
            "thickness": 1.5,
        },
        "customdata": [_hover(effect) for effect in found],
        "hovertemplate": f"%{{customdata[0]}}<br>{html.escape(view.label)} %{{customdata[1]}}"
        "<br>%{customdata[2]}<extra></extra>",
        "meta": {"view": view.key},
        "visible": is_visible,
    }


def _matrix(tables: StudyTables, primary: View, design: Design) -> Picture:
    names = [n for n in design.components if any(n in e.term.split(JOINED) for e in _all(tables))]
    traces = []
    for view in tables.chosen_views():
        by_pair = {frozenset(e.term.split(JOINED)): e for e in interactions(tables, view)}
        grid = [[by_pair.get(frozenset({one, other})) for one in names] for other in names]
        traces.append(matrix_trace(grid, view, is_visible=view == primary))
    ticks = {"tickvals": list(range(len(names))), "ticktext": [tick(name) for name in names]}
    is_long = sum(map(len, names)) > _MOST_IN_A_LINE
    return Picture(
        name="effect-pairs",
        title="More or less together than apart",
        text=_in_words(
            f"{primary.text}, interaction of each pair of components with its interval",
            told(interactions(tables, primary)),
        ),
        traces=tuple(traces),
        layout={
            "xaxis": titled_axis("", **ticks, showgrid=False, tickangle=-35 if is_long else 0),
            "yaxis": titled_axis("", **ticks, showgrid=False, autorange="reversed"),
        },
        height=min(640, 150 + 44 * len(names)),
    )


def _all(tables: StudyTables) -> list[Effect]:
    return [effect for view in tables.chosen_views() for effect in interactions(tables, view)]


def matrix_trace(grid: Sequence[Sequence[Effect | None]], view: View, *, is_visible: bool) -> Trace:
    """Draw effects in rows and columns, coloured around zero; a star marks a Holm p below 0.05."""
    most = max((abs(e.estimate) for row in grid for e in row if e is not None), default=0.0) or 1e-6
    trace: Trace = {
        "type": "heatmap",
        "x": list(range(len(grid[0]))),
        "y": list(range(len(grid))),
        "z": [[None if e is None else round(e.estimate, 6) for e in row] for row in grid],
        "customdata": [[["", "", ""] if e is None else _hover(e) for e in row] for row in grid],
        "text": [[_cell(effect) for effect in row] for row in grid],
        "hovertemplate": f"%{{customdata[0]}}<br>{html.escape(view.label)} %{{customdata[1]}}"
        "<br>%{customdata[2]}<extra></extra>",
        "hoverongaps": False,
        "colorscale": [[0, BEST], [0.5, "#f4f4f4"], [1, ACCENT]],
        "zmin": -round(most, 6),
        "zmax": round(most, 6),
        "colorbar": {"thickness": 12, "outlinewidth": 0, "nticks": 5},
        "xgap": 2,
        "ygap": 2,
        "meta": {"view": view.key},
        "visible": is_visible,
    }
    if len(grid[0]) <= _MOST_WRITTEN:
        trace |= {"texttemplate": "%{text}", "showscale": False}
    return trace


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return ""
    return f"{signed(effect.estimate)}{' *' if is_shown(effect) else ''}"


def _waterfall(tables: StudyTables, primary: View, shown: Steps) -> Picture:
    names = list(shown.sizes)
    traces: list[Trace] = []
    ranges, titles = {}, {}
    for view in tables.chosen_views():
        found = steps(tables, view)
        if found is not None and found.sizes.keys() == shown.sizes.keys():
            levels = _levels(found, names)
            ranges[view.key] = _padded(levels, 0.14)
            titles[view.key] = html.escape(view.title)
            part = {"meta": {"view": view.key}, "visible": view == primary}
            traces += [trace | part for trace in _waterfall_traces(levels, names, view)]
    rows = ["bare", *names, "full"]
    return Picture(
        name="effect-steps",
        title="From bare to full",
        text=_in_words(
            f"{primary.text}, from {decimal(shown.bare)} with everything off, "
            f"{_ADDING_UP[shown_effects(tables, primary)[0].kind]}",
            [f"{name}: {signed(size)}" for name, size in shown.sizes.items()],
        ),
        traces=tuple(traces),
        layout={
            "xaxis": titled_axis(titles[primary.key], range=ranges[primary.key], nticks=6),
            "yaxis": line_axis([tick(name) for name in rows]),
            "meta": {"axis": "xaxis", "ranges": ranges, "titles": titles},
        },
        height=110 + 34 * len(rows),
    )


def _levels(found: Steps, names: Sequence[str]) -> list[float]:
    """Return the level before the first step and after each."""
    return list(itertools.accumulate((found.sizes[name] for name in names), initial=found.bare))


def _waterfall_traces(levels: Sequence[float], names: Sequence[str], view: View) -> list[Trace]:
    """Draw a floating bar for each step, thin lines between them, and a mark at both ends."""
    sizes = [after - before for before, after in itertools.pairwise(levels)]
    line: list[float | None] = []
    rows: list[int | None] = []
    for place, level in enumerate(levels):
        line += [round(level, 6), round(level, 6), None]
        rows += [place, place + 1, None]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": line,
            "y": rows,
            "line": {"color": BASELINE, "width": 1},
            "hoverinfo": "skip",
        },
        {
            "type": "bar",
            "orientation": "h",
            "base": [round(level, 6) for level in levels[:-1]],
            "x": [round(size, 6) for size in sizes],
            "y": list(range(1, len(names) + 1)),
            "marker": {"color": [ACCENT if size >= 0 else BEST for size in sizes]},
            "customdata": [[html.escape(n), signed(s)] for n, s in zip(names, sizes, strict=True)],
            "hovertemplate": "%{customdata[0]}<br>"
            + html.escape(view.label)
            + " %{customdata[1]}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [round(levels[0], 6), round(levels[-1], 6)],
            "y": [0, len(names) + 1],
            "text": [f"&nbsp;{decimal(levels[0])}", f"{decimal(levels[-1])}&nbsp;"],
            "textposition": ["middle right", "middle left"],
            "textfont": {"color": INK},
            "marker": {"symbol": "diamond", "size": 11, "color": INK},
            "hoverinfo": "skip",
        },
    ]


def _common_seeds(tables: StudyTables, view: View) -> set[int]:
    """Return the seeds that every trial with components has finished."""
    design = tables.design
    if design is None:
        return set()
    trials = [t.trial_id for t in tables.trials if t.varied.keys() >= set(design.components)]
    found: dict[str, set[int]] = {trial_id: set() for trial_id in trials}
    for value in tables.values.get(view, ()):
        if value.trial_id in found:
            found[value.trial_id].add(value.seed)
    return set.intersection(*found.values()) if found else set()


def _bare_mean(tables: StudyTables, view: View, seeds: set[int]) -> float | None:
    """Return the mean, over ``seeds``, of the trial in which everything is off."""
    names = tables.design.components if tables.design is not None else ()
    bare = {t.trial_id for t in tables.trials if t.varied and not any(map(t.varied.get, names))}
    found = [
        value.value
        for value in tables.values.get(view, ())
        if value.trial_id in bare and value.seed in seeds
    ]
    return sum(found) / len(found) if found else None


def _hover(effect: Effect) -> list[str]:
    seeds = "1 paired seed" if effect.n == 1 else f"{effect.n} paired seeds"
    p = f"Holm p {p_text(effect.p_holm)}, " if may_show_p(effect.n) else ""
    return [html.escape(effect.term), effect_text(effect), f"{p}{seeds}: {effect_verdict(effect)}"]


def _padded(ends: Sequence[float], share: float = 0.06) -> list[float]:
    pad = share * (max(ends) - min(ends)) or 0.01
    return [round(min(ends) - pad, 6), round(max(ends) + pad, 6)]


def _line_at_zero(rows: int) -> dict[str, object]:
    line = {"color": BASELINE, "width": 1}
    return {"type": "line", "x0": 0, "x1": 0, "y0": -0.5, "y1": rows - 0.5, "line": line}
