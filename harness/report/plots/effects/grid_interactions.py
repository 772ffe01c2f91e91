"""Draw how much more two changes of a grid do together than apart, beside its heat map."""

from __future__ import annotations

from collections.abc import Mapping

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.components import effect_text
from harness.report.plots.effects.components import matrix_trace
from harness.report.plots.effects.interactions import Grid, category_axis, grids
from harness.report.plots.picture import Picture, first_told
from harness.stats.ablations.designs import second_difference
from harness.stats.ablations.lattice import Effect, estimated

MOST_CONTRASTS = 36
"""A grid with more pairs of changes has no picture: Holm's correction would leave nothing."""
_MOST_TOLD = 12

Place = tuple[int, int]


def contrast_pictures(tables: StudyTables) -> tuple[Picture, ...]:
    """Draw the interactions of each grid, with all measures and splits."""
    return tuple(
        _picture(tables, grid, f"contrast-{number}")
        for number, grid in enumerate(grids(tables))
        if (len(grid.across_values) - 1) * (len(grid.down_values) - 1) <= MOST_CONTRASTS
    )


def contrasts(tables: StudyTables, grid: Grid, view: View) -> dict[Place, Effect]:
    """Return the interaction of each pair of changes from the baseline's values.

    If the baseline lies outside the grid, changes start from its first values.
    """
    x0, y0 = reference(grid)
    values = {
        frozenset({f"x{x}", f"y{y}"}): means for (x, y), means in grid.by_seed(tables, view).items()
    }
    places = {f"x{x} x y{y}": (x, y) for x, y in grid.trials if x != x0 and y != y0}
    wanted = [
        second_difference((f"x{x0}", f"x{x}"), (f"y{y0}", f"y{y}")) for x, y in places.values()
    ]
    return {places[effect.term]: effect for effect in estimated(wanted, values)}


def reference(grid: Grid) -> Place:
    """Return the place of the baseline; the first one without it."""
    own = [place for place, trials in grid.trials.items() if any(t.is_baseline for t in trials)]
    return own[0] if own else (0, 0)


def _picture(tables: StudyTables, grid: Grid, name: str) -> Picture:
    primary = tables.primary
    x0, y0 = reference(grid)
    traces, told = [], []
    for view in tables.chosen_views():
        found = contrasts(tables, grid, view)
        rows = [
            [_named(found, grid, (x, y)) for x in range(len(grid.across_values))]
            for y in range(len(grid.down_values))
        ]
        traces.append(matrix_trace(rows, view, is_visible=view == primary))
        if view == primary:
            told = [
                f"{effect.term}: {effect_text(effect)}"
                for row in rows
                for effect in row
                if effect is not None
            ]
    start = _setting(grid, (x0, y0))
    return Picture(
        name=name,
        title=f"More or less together than apart, from {start}",
        text=f"How much more a change of {grid.across.title} and one of {grid.down.title}, from "
        f"{start}, do together than apart. {first_told(told, _MOST_TOLD)}.",
        traces=tuple(traces),
        layout={
            "xaxis": category_axis(grid.across, grid.across_values),
            "yaxis": category_axis(grid.down, grid.down_values) | {"autorange": "reversed"},
        },
        height=min(560, 140 + 42 * len(grid.down_values)),
    )


def _named(found: Mapping[Place, Effect], grid: Grid, place: Place) -> Effect | None:
    """Return the effect of a cell, with its values for a name."""
    effect = found.get(place)
    if effect is None:
        return None
    return effect._replace(term=_setting(grid, place))


def _setting(grid: Grid, place: Place) -> str:
    """Name a cell: ``clusters 50 with groups 1``."""
    across, down = grid.across_values[place[0]], grid.down_values[place[1]]
    return f"{grid.across.title} {across} with {grid.down.title} {down}"
