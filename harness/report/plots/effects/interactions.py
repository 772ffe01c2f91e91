"""Draw how pairs of parameters interact, and what each variant adds; pure, from the tables.

A grid cell is a pair of values. If other parameters vary too, it is the mean over them, seed by
seed, so that its interval is over seeds, as everywhere. Only seeds that every trial of the cell has
finished count.
"""

from __future__ import annotations

import html
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.data.study_data import Comparison, StudyTables, Summary, TrialRow, View
from harness.report.findings.axes.swept_axes import SweptAxis, swept_axes
from harness.report.findings.estimates import (
    bar_lengths,
    difference_text,
    evidence,
    summary_text,
    verdict,
)
from harness.report.plots.colours import ACCENT, BASELINE, INK
from harness.report.plots.picture import Picture, Trace, first_told, line_axis, tick, titled_axis
from harness.stats import paired

MOST_VALUES = 24
"""A grid with more values on a side is skipped: no reader could take it in."""
MOST_PAIRS = 6
MOST_BARS = 40
_MOST_WRITTEN = 60  # largest grid whose cells show their numbers
_MOST_TOLD = 12


@dataclass(frozen=True, slots=True)
class Grid:
    """Two parameters, with every pair of their values trained."""

    across: SweptAxis
    down: SweptAxis
    across_values: tuple[str, ...]
    down_values: tuple[str, ...]
    trials: dict[tuple[int, int], tuple[TrialRow, ...]]
    """By position across and down."""

    @property
    def title(self) -> str:
        """Both titles, such as ``clusters and groups``."""
        return f"{self.across.title} and {self.down.title}"

    def cells(self, tables: StudyTables, view: View) -> dict[tuple[int, int], Summary | None]:
        """Average the trials of each cell, row by row.

        None where no seed was finished by all of them.
        """
        return {place: _summary(means) for place, means in self.by_seed(tables, view).items()}

    def by_seed(self, tables: StudyTables, view: View) -> dict[tuple[int, int], dict[int, float]]:
        """Average the trials of each cell on every seed that all of them have finished."""
        by_trial: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for one in tables.values.get(view, ()):
            by_trial[one.trial_id][one.seed] = one.value
        return {
            (x, y): _together([by_trial[trial.trial_id] for trial in self.trials[x, y]])
            for y in range(len(self.down_values))
            for x in range(len(self.across_values))
        }


def _together(trials: Sequence[Mapping[int, float]]) -> dict[int, float]:
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in trials)))
    return {seed: sum(by_seed[seed] for by_seed in trials) / len(trials) for seed in seeds}


def _summary(means: Mapping[int, float]) -> Summary | None:
    return Summary(*paired.t_interval([*means.values()]), n=len(means)) if means else None


def grids(tables: StudyTables) -> tuple[Grid, ...]:
    """Return every crossed pair of parameters, in the order of the study file.

    A search has no grids: its pairs of values hardly ever repeat.
    """
    if tables.primary is None or not tables.is_grid:
        return ()
    axes = [axis for axis in swept_axes(tables) if axis.key != "trial"]
    found = [_grid(tables, across, down) for across, down in itertools.combinations(axes, 2)]
    return tuple([grid for grid in found if grid is not None][:MOST_PAIRS])


def _grid(tables: StudyTables, across: SweptAxis, down: SweptAxis) -> Grid | None:
    """Build the grid of two axes; None if it is too large or has empty cells."""
    shared = [
        trial
        for trial in tables.contenders
        if trial.trial_id in across.positions and trial.trial_id in down.positions
    ]
    texts = [_values(shared, axis) for axis in (across, down)]
    if not all(1 < len(each) <= MOST_VALUES for each in texts):
        return None
    places = [{at: i for i, at in enumerate(each)} for each in texts]
    cells: defaultdict[tuple[int, int], list[TrialRow]] = defaultdict(list)
    for trial in shared:
        x = places[0][across.positions[trial.trial_id]]
        cells[x, places[1][down.positions[trial.trial_id]]].append(trial)
    if len(cells) < len(texts[0]) * len(texts[1]):
        return None
    return Grid(
        across,
        down,
        tuple(texts[0].values()),
        tuple(texts[1].values()),
        {place: tuple(trials) for place, trials in cells.items()},
    )


def _values(trials: Sequence[TrialRow], axis: SweptAxis) -> dict[float, str]:
    """Map position to text for each value of an axis, ascending."""
    ticks = dict(axis.ticks) if axis.scale == "category" else {}
    found = sorted({axis.positions[trial.trial_id] for trial in trials})
    by_place = {axis.positions[trial.trial_id]: trial for trial in trials}
    return {at: ticks.get(at, _text(by_place[at], axis, at)) for at in found}


def _text(trial: TrialRow, axis: SweptAxis, at: float) -> str:
    value = trial.varied.get(axis.key, at)
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def grid_pictures(tables: StudyTables, *, is_alone: bool = False) -> tuple[Picture, ...]:
    """Draw a heat map per crossed pair of parameters, each with all measures and splits.

    Args:
        tables: The study.
        is_alone: Draw the study's metric only, whatever the reader selects on the page.
    """
    views = tables.chosen_views()
    if is_alone:
        views = tuple(view for view in views if view == tables.primary)
    pictures = tuple(
        _heat_map(tables, grid, views, f"grid-{place}") for place, grid in enumerate(grids(tables))
    )
    if is_alone:
        for trace in (trace for picture in pictures for trace in picture.traces):
            trace["meta"] = {}
    return pictures


def _heat_map(tables: StudyTables, grid: Grid, views: Sequence[View], name: str) -> Picture:
    traces: list[Trace] = []
    told: list[str] = []
    for view in views:
        cells = grid.cells(tables, view)
        traces.append(_heat_trace(tables, grid, view, cells))
        if view == tables.primary:
            told = [
                f"{grid.across_values[x]}, {grid.down_values[y]}: {summary_text(cell)}"
                for (x, y), cell in cells.items()
                if cell is not None
            ]
    return Picture(
        name=name,
        title=f"By {grid.title}",
        text=f"Means by {grid.title}. {first_told(told, _MOST_TOLD)}.",
        traces=tuple(traces),
        layout={
            "xaxis": category_axis(grid.across, grid.across_values),
            "yaxis": category_axis(grid.down, grid.down_values) | {"autorange": "reversed"},
        },
        height=min(560, 140 + 42 * len(grid.down_values)),
    )


def category_axis(axis: SweptAxis, values: Sequence[str]) -> dict[str, object]:
    """Return an axis with a place for each value."""
    return titled_axis(
        html.escape(axis.title),
        tickvals=list(range(len(values))),
        ticktext=[tick(value) for value in values],
        showgrid=False,
    )


def _heat_trace(
    tables: StudyTables, grid: Grid, view: View, cells: dict[tuple[int, int], Summary | None]
) -> Trace:
    wide, high = len(grid.across_values), len(grid.down_values)
    hover = [[_hover(grid, (x, y), cells[x, y]) for x in range(wide)] for y in range(high)]
    trace: Trace = {
        "type": "heatmap",
        "x": list(range(wide)),
        "y": list(range(high)),
        "z": [[_mean(cells[x, y]) for x in range(wide)] for y in range(high)],
        "customdata": hover,
        "hovertemplate": f"{html.escape(grid.across.title)} %{{x}}<br>"
        f"{html.escape(grid.down.title)} %{{y}}<br>"
        f"{html.escape(view.label)} %{{customdata}}<extra></extra>",
        "colorscale": "Viridis",
        "colorbar": {"thickness": 12, "outlinewidth": 0, "nticks": 5},
        "xgap": 2,
        "ygap": 2,
        "meta": {"view": view.key},
        "visible": view == tables.primary,
    }
    if wide * high <= _MOST_WRITTEN:
        trace["texttemplate"] = "%{z:.3f}"
    return trace


def _mean(cell: Summary | None) -> float | None:
    return None if cell is None else round(cell.mean, 5)


def _hover(grid: Grid, place: tuple[int, int], cell: Summary | None) -> str:
    """Return the hover text of a cell; the template adds its values."""
    trials = grid.trials[place]
    said = ["no finished run" if cell is None else summary_text(cell)]
    if len(trials) > 1:
        said.append(f"mean over {len(trials)} trials")
    if any(trial.is_baseline for trial in trials):
        said.append("baseline" if len(trials) == 1 else "the baseline is among them")
    return "<br>".join(said)


def component_pictures(tables: StudyTables) -> tuple[Picture, ...]:
    """Draw each variant's difference from the baseline as a bar; empty without variants."""
    primary = tables.primary
    bars = component_trials(tables)
    if primary is None or not bars:
        return ()
    views = tables.chosen_views()
    ranges, traces = {}, []
    for view in views:
        found = [(t, c) for t in bars if (c := tables.comparison(view, t))]
        ends = [0.0, *(end for _, c in found for end in (c.low, c.high, c.difference) if end)]
        pad = 0.06 * (max(ends) - min(ends)) or 0.01
        ranges[view.key] = [round(min(ends) - pad, 6), round(max(ends) + pad, 6)]
        traces.append(_bars(bars, found, view, is_shown=view == primary))
    titles = {
        view.key: f"{html.escape(view.label)}, {view.where}, minus baseline" for view in views
    }
    return (
        Picture(
            name="components",
            title="Difference from the baseline",
            text=_told_bars(tables, primary, bars),
            traces=tuple(traces),
            layout={
                "xaxis": titled_axis(titles[primary.key], range=ranges[primary.key], nticks=6),
                "yaxis": line_axis([tick(trial.label) for trial in bars]),
                "shapes": [_zero_line(len(bars))],
                "meta": {"axis": "xaxis", "ranges": ranges, "titles": titles},
            },
            height=110 + 36 * len(bars),
        ),
    )


def component_trials(tables: StudyTables) -> tuple[TrialRow, ...]:
    """Return the compared trials of a study with variants, in study order, up to a limit."""
    if tables.is_search or not any(trial.variant is not None for trial in tables.contenders):
        return ()
    compared = {trial_id for view, trial_id in tables.comparisons if view == tables.primary}
    return tuple([t for t in tables.contenders if t.trial_id in compared][:MOST_BARS])


def _bars(
    bars: Sequence[TrialRow],
    found: Sequence[tuple[TrialRow, Comparison]],
    view: View,
    *,
    is_shown: bool,
) -> Trace:
    places = {trial.trial_id: place for place, trial in enumerate(bars)}
    return {
        "type": "bar",
        "orientation": "h",
        "x": [round(c.difference, 6) for _, c in found],
        "y": [places[trial.trial_id] for trial, _ in found],
        "marker": {
            "color": [ACCENT if verdict(c) in ("better", "worse") else BASELINE for _, c in found],
            "opacity": 0.75,
        },
        "error_x": {
            "type": "data",
            "array": bar_lengths(c for _, c in found),
            "color": INK,
            "thickness": 1.5,
        },
        "customdata": [
            [html.escape(trial.label), difference_text(c), html.escape(evidence(c))]
            for trial, c in found
        ],
        "hovertemplate": "%{customdata[0]}<br>"
        + html.escape(view.label)
        + " %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        "meta": {"view": view.key},
        "visible": is_shown,
    }


def _zero_line(bars: int) -> dict[str, object]:
    line = {"color": BASELINE, "width": 1}
    return {"type": "line", "x0": 0, "x1": 0, "y0": -0.5, "y1": bars - 0.5, "line": line}


def _told_bars(tables: StudyTables, view: View, bars: Sequence[TrialRow]) -> str:
    said = [
        f"{trial.label}: {difference_text(tables.comparisons[view, trial.trial_id])}"
        for trial in bars
    ]
    told = first_told(said, _MOST_TOLD)
    return f"{view.text}, difference from the baseline with its interval. {told}."
