"""What the benchmark of scale does with work that would take too long, and how it is told."""

from __future__ import annotations

import importlib
import time
from types import ModuleType
from typing import Any

import pytest
from kept_tables import readme_tables
from roots import ROOT

SIZES = [1_000, 10_000, 100_000, 1_000_000]


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, with work of a billionth of N² seconds that is not done."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    module = importlib.import_module("scale")

    def measured(name: str, size: int, *, asked: int | None = None, limit_s: Any = None) -> Any:
        cost = {"work": name, "size": size, "seconds": 1e-9 * size**2, "mib": size // 100}
        if limit_s is not None and cost["seconds"] * (asked or size) / size > limit_s:
            return None
        return cost | ({"asked": asked} if asked else {})

    monkeypatch.setattr(module, "measured", measured)
    return module


def run(scale: ModuleType, seconds: float, **series: Any) -> list[dict[str, Any]]:
    work = scale.Series("neighbours", 1.0, **({"least_exponent": 2.0} | series))
    return scale.run_series(work, SIZES, deadline=time.perf_counter() + seconds)


def test_what_takes_too_long_is_predicted_from_smaller_sizes(scale: ModuleType) -> None:
    costs = run(scale, 100)
    assert [cost.get("seconds") for cost in costs] == pytest.approx([0.001, 0.1, 10, None])
    assert costs[3]["predicted_seconds"] == pytest.approx(1000)
    assert scale.fitted(costs) == {"neighbours": [2.0, 1.0]}
    assert scale.sentence(costs[3]) == "neighbours, 1,000,000: NOT MEASURED; predicted: 1,000 s"


def test_exact_search_is_measured_for_some_queries_and_says_so(scale: ModuleType) -> None:
    costs = run(scale, 30, can_sample=True)
    assert "asked" not in costs[2]
    assert 5_000 < costs[3]["asked"] < 11_000  # half of the 22 s that are left
    assert scale.sentence(costs[3]).endswith(
        f"(EXTRAPOLATED from {costs[3]['asked']:,} of the queries)"
    )
    assert scale.fitted(costs) == {"neighbours": [2.0, 1.0]}  # of what was measured alone


def test_work_that_was_stopped_is_told_like_work_that_was_not_begun(scale: ModuleType) -> None:
    costs = run(scale, 15, least_exponent=1.0, beside=0.5)  # foretells half the time
    assert "seconds" not in costs[2]
    assert costs[2]["predicted_seconds"] == pytest.approx(10)
    assert costs[3]["predicted_seconds"] == pytest.approx(1000)


def test_small_sizes_are_measured_whatever_is_left(scale: ModuleType) -> None:
    costs = run(scale, -100, can_sample=True)
    assert ["seconds" in cost for cost in costs] == [True, True, False, False]


def test_tables_tell_measured_extrapolated_and_predicted_apart(scale: ModuleType) -> None:
    found = {"build_s": 0.2, "ms_a_query": 0.02, "exact_ms_a_query": 0.14, "found_percent": 98.06}
    found |= {"exact_recall@1": 0.755, "recall@1_difference": -0.002}
    found |= {"exact_recall@8": 0.9, "recall@8_difference": 0.0, "seconds": 1.0, "mib": 11}
    parts = {f"{part} {what}": 2.0 for part in scale.PARTS for what in ("seconds", "mib")}
    costs = [
        *run(scale, 30, can_sample=True),
        *({"work": "report", "size": size} | parts for size in SIZES[:3]),
        {"work": "report", "size": SIZES[3], "predicted_seconds": 400.0},
        {"work": "ivf", "size": SIZES[0]} | found,
        {"work": "ivf", "size": SIZES[3], "predicted_seconds": 5000.0},
    ]
    table = readme_tables().scale_tables({"costs": costs, "exponents": scale.fitted(costs)})
    assert (
        "| 8 neighbours of each, exact | 0.001 s, 10 MiB | 0.1 s, 100 MiB | 10 s, 1000 MiB | 1,000 s, extrapolated from "
        in table
    )
    assert "| N^2 | N^1 |" in table
    assert (
        "| the page | 2 s, 2 MiB | 2 s, 2 MiB | 2 s, 2 MiB | not measured; predicted 400 s in all |"
        in table
    )
    assert (
        "| IVF | 1,000 | 0.2 | 0.02 | 0.14 | 98.1 | -0.0020 (0.755) | +0.0000 (0.900) | 11 |"
        in table
    )
    assert "| IVF | 1,000,000 | not measured; predicted 5,000 s | | | | | | |" in table
    assert len({line.count("|") for line in table.split("\n\n")[1].splitlines()}) == 1


def test_a_table_without_its_file_says_so() -> None:
    text = "<!-- table: no-such-file -->\n| old | numbers |\n<!-- end -->"
    assert readme_tables().filled(text).splitlines()[1] == "Not measured yet."
