"""How much more two changes of a grid do together than apart, on the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from report_fixtures import Made, make_study, momentum, value_of

from harness.report.data.load import load_tables
from harness.report.data.study_data import StudyTables, View
from harness.report.plots.effects.grid_interactions import (
    contrast_pictures,
    contrasts,
    reference,
)
from harness.report.plots.effects.interactions import MOST_VALUES, grids
from harness.report.plots.render import figure_json
from harness.report.study_page import page_text
from harness.stats.paired import holm, sign_flip_p

TEST = View("test", "recall@1")
CLUSTERS, GROUPS = (50, 100, 200), (1, 4)


def crossed(
    baseline: tuple[int, int] = (50, 1),
    *,
    columns: int = 3,
    groups: tuple[int, ...] = GROUPS,
) -> list[Made]:
    return [
        Made(
            f"clusters={c}, groups={g}",
            0.5 + 0.05 * (g == 4) + 0.03 * (c == 100) + 0.06 * (g == 4 and c == 100),
            {"method.clusters": c, "method.groups": g},
            "baseline" if (c, g) == baseline else "trial",
        )
        for c in (*CLUSTERS, *range(300, 300 + columns - 3))
        for g in groups
    ]


def tables_of(folder: Path, made: list[Made], seeds: int = 8) -> StudyTables:
    return load_tables(make_study(folder, made, seeds=seeds), "momentum")


def test_a_contrast_is_the_second_difference_of_the_seeds(tmp_path: Path) -> None:
    made = crossed()
    tables = tables_of(tmp_path, made)
    (grid,) = grids(tables)
    found = contrasts(tables, grid, TEST)
    assert found.keys() == {(1, 1), (2, 1)}

    def at(place: int) -> Callable[[int], float]:
        return lambda seed: value_of(made[place], seed, "test", 1)

    by_seed = {
        place: [at(both)(s) - at(one)(s) - at(1)(s) + at(0)(s) for s in range(8)]
        for place, both, one in (((1, 1), 3, 2), ((2, 1), 5, 4))
    }
    for place, seeds in by_seed.items():
        assert found[place].estimate == pytest.approx(sum(seeds) / 8)
        assert found[place].n == 8
    p_holm = holm([sign_flip_p(seeds) for seeds in by_seed.values()])
    assert [found[place].p_holm for place in by_seed] == pytest.approx(p_holm)
    assert found[1, 1].estimate == pytest.approx(0.06, abs=0.02)


def test_changes_start_from_the_baseline(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, crossed(baseline=(100, 4)), seeds=2)
    (grid,) = grids(tables)
    assert reference(grid) == (1, 1)
    assert contrasts(tables, grid, TEST).keys() == {(0, 0), (2, 0)}


def test_the_picture_stands_beside_the_heat_map(tmp_path: Path) -> None:
    results = make_study(tmp_path, crossed(), seeds=8)
    tables = load_tables(results, "momentum")
    (picture,) = contrast_pictures(tables)
    assert picture.title == "More or less together than apart, from clusters 50 with groups 1"
    assert "clusters 100 with groups 4: +0.0" in picture.text
    figure_json(picture)
    (trace,) = [trace for trace in picture.traces if trace["visible"]]
    assert [[cell is None for cell in row] for row in trace["z"]] == [  # type: ignore[attr-defined]
        [True, True, True],
        [True, False, False],
    ]
    page = page_text(results, "momentum")
    assert page.index('id="grid-0"') < page.index('id="contrast-0"')


def test_a_large_grid_and_a_study_of_one_axis_have_none(tmp_path: Path) -> None:
    large = tables_of(tmp_path / "large", crossed(columns=MOST_VALUES, groups=(1, 4, 8)), seeds=1)
    assert len(grids(large)) == 1
    assert contrast_pictures(large) == ()
    assert contrast_pictures(tables_of(tmp_path / "one", momentum(), seeds=1)) == ()
