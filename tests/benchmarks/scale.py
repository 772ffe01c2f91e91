"""Time and memory against the number of images N, from 1,000 on, ten times more each time.

    python tests/benchmarks/scale.py [--most 1000000] [--minutes 25] [--write]

Clustering (k-means with N/10 clusters), the table of 8 neighbours, evaluation (Recall@K, MAP@R), the
approximate indexes IVF and HNSW beside exact search, and the report: writing the tables of N test
queries, taking two such runs into the database, and the page. Embeddings are synthetic: 128 numbers
near a space of 16 dimensions, classes of 50. Each figure comes from a process of its own: seconds,
and megabytes beyond what was there before. Exponents are fitted over the last three sizes measured.

No work gets more than its share of ``--minutes``. Before each size from the third on, its time is
predicted from the exponent so far. Where it would take too long, exact searches are measured for a sample of the
queries at that size and multiplied; else the size is left out, its prediction told, and both are
said so. ``--write`` keeps all of it in ``tests/benchmarks/results/scale.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from kept import keep

SCRIPT = Path(__file__).resolve().parent / "scale_work.py"
FEWEST_SAMPLED, MOST_SAMPLED = 500, 20_000
ALWAYS = 2  # sizes that are measured whatever they take: seconds, and mostly overhead
START_S = 8.0
"""About what a process takes beside what it measures: libraries, embeddings."""
Cost = dict[str, Any]


class Series(NamedTuple):
    """One kind of work at growing sizes."""

    name: str
    share: float
    """Of the time; what is not used goes to those behind."""
    least_exponent: float
    """Small sizes are all overhead: no prediction grows more slowly than this."""
    can_sample: bool = False
    beside: float = 1.0
    """How much longer a process takes than its first seconds tell: other things are measured too."""


SERIES = (
    Series("clustering", 0.12, 2.0),
    Series("neighbours", 0.12, 2.0, can_sample=True),
    Series("evaluation", 0.14, 2.0, can_sample=True),
    Series("ivf", 0.16, 1.5, beside=1.3),
    Series("report", 0.2, 1.0, beside=1.2),
    Series("hnsw", 0.26, 1.1, beside=1.3),
)
PARTS = ("tables", "ingest", "page")
"""Of the report."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--only", nargs="+", choices=[each.name for each in SERIES])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    sizes = [10**power for power in range(3, int(math.log10(arguments.most) + 1e-9) + 1)]
    chosen = [each for each in SERIES if not arguments.only or each.name in arguments.only]
    began, share = time.perf_counter(), 0.0
    costs: list[Cost] = []
    for series in chosen:
        share += series.share / sum(each.share for each in chosen)
        costs += run_series(series, sizes, deadline=began + 60 * arguments.minutes * share)
    minutes = round((time.perf_counter() - began) / 60, 1)
    exponents = fitted(costs)
    for name, (of_time, of_memory) in exponents.items():
        print(f"{name}: time grows as N^{of_time}, memory as N^{of_memory}")
    print(f"{minutes} minutes, of at most {arguments.minutes:g}")
    if arguments.write:
        limits = {"most": arguments.most, "minutes": arguments.minutes, "took_minutes": minutes}
        keep("scale", limits=limits, costs=costs, exponents=exponents)


def run_series(series: Series, sizes: Sequence[int], *, deadline: float) -> list[Cost]:
    """The work at all sizes: measured, multiplied from a sample, or predicted."""
    known: dict[int, Cost] = {}
    costs: list[Cost] = []
    for place, size in enumerate(sizes):
        left = deadline - time.perf_counter() - START_S
        cost: Cost | None = None
        if place < ALWAYS:
            cost = measured(series.name, size)
        else:
            predicted = prediction(known, size, series.least_exponent)
            if predicted * series.beside < left:
                # Stopped in the end: a wrong prediction must not take the time of all others.
                cost = measured(series.name, size, limit_s=left)
            elif series.can_sample and left > START_S:
                asked = min(MOST_SAMPLED, max(FEWEST_SAMPLED, int(size * left / predicted / 2)))
                cost = measured(series.name, size, asked=asked, limit_s=left)
            if cost is None:
                seconds = float(f"{predicted:.3g}")
                cost = {"work": series.name, "size": size, "predicted_seconds": seconds}
        if "asked" not in cost and "predicted_seconds" not in cost:
            known[size] = cost
        costs.append(cost)
        print(sentence(costs[-1]), flush=True)
    return costs


def prediction(known: Mapping[int, Cost], size: int, least_exponent: float) -> float:
    """Seconds at a size, from those at smaller ones."""
    sizes = list(known)
    found = exponent(sizes, [total(known[each]) for each in sizes], last=2) or 0.0
    return total(known[sizes[-1]]) * (size / sizes[-1]) ** max(found, least_exponent)


def total(cost: Cost) -> float:
    """Seconds of all that a process measured."""
    return float(sum(cost[name] for name in cost if name.endswith("seconds")))


def measured(
    name: str, size: int, *, asked: int | None = None, limit_s: float | None = None
) -> Cost | None:
    """What a process of its own measures; None where that took longer than it may."""
    command = [sys.executable, str(SCRIPT), name, str(size), *([str(asked)] if asked else [])]
    try:
        said = subprocess.check_output(command, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None
    found = {key: float(f"{value:.4g}") for key, value in json.loads(said).items()}
    cost: Cost = {"work": name, "size": size} | found
    if asked is not None:
        cost |= {"asked": asked, "seconds": float(f"{found['seconds'] * size / asked:.4g}")}
    return cost


def sentence(cost: Cost) -> str:
    """What was measured at one size, or that it was not."""
    where = f"{cost['work']}, {cost['size']:,}"
    if "predicted_seconds" in cost:
        return f"{where}: NOT MEASURED; predicted: {cost['predicted_seconds']:,.0f} s"
    figures = ", ".join(f"{k} {v:g}" for k, v in cost.items() if k not in ("work", "size"))
    sampled = f" (EXTRAPOLATED from {cost['asked']:,} of the queries)" if "asked" in cost else ""
    return f"{where}: {figures}{sampled}"


def fitted(costs: Sequence[Cost]) -> dict[str, list[float | None]]:
    """Work, or a part of the report -> exponents of time and of memory, where it was measured."""
    found: dict[str, list[float | None]] = {}
    for name in dict.fromkeys(cost["work"] for cost in costs):
        own = [cost for cost in costs if cost["work"] == name and "predicted_seconds" not in cost]
        for part in PARTS if name == "report" else [""]:
            keys = [f"{part} {what}".strip() for what in ("seconds", "mib")]
            whole = [cost for cost in own if "asked" not in cost]
            sizes = [cost["size"] for cost in whole]
            found[part or name] = [exponent(sizes, [cost[key] for cost in whole]) for key in keys]
    return found


def exponent(sizes: Sequence[int], costs: Sequence[float], *, last: int = 3) -> float | None:
    """The slope of log cost over log size, by least squares over the last sizes.

    None where something was too cheap to be measured, or was measured once only.
    """
    if len(sizes) < 2 or min(costs[-last:]) <= 0:
        return None
    slope, _ = np.polyfit(np.log(sizes[-last:]), np.log(costs[-last:]), 1)
    return round(float(slope), 2)


if __name__ == "__main__":
    main()
