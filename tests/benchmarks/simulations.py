"""Simulate the statistics of the harness at full size; results are kept beside the timings.

python tests/benchmarks/simulations.py [--only NAME]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "fixtures"))

import claim_errors
import crossed_studies
import folded_studies
import kept
import known_effects
import known_variances
import raced
import stopping

from harness.stats.ablations.race import RaceRule


def effects() -> None:
    """Simulate lattices with known effects, by the number of seeds."""
    studies, rows = 1000, []
    for seeds in (3, 6, 8, 12):
        found = known_effects.coverage(studies=studies, seeds=seeds, key=seeds)
        rows += [{"seeds": seeds, "kind": kind, **shares} for kind, shares in found.items()]
        print(*rows[-len(found) :], sep="\n", flush=True)
    kept.keep("simulations-effects", studies=studies, rows=rows)


def claims() -> None:
    """Simulate studies with three claims, at their boundaries and on either side of them."""
    studies, rows = 2000, []
    for seeds in (8, 10, 12):
        for shift in (-1.5, -1.0, 0.0, 1.0, 1.5):
            found = claim_errors.rates(studies=studies, seeds=seeds, shift=shift, key=seeds)
            rows.append({"seeds": seeds, "shift": shift, **found})
            print(rows[-1], flush=True)
    kept.keep("simulations-claims", studies=studies, rows=rows)


def classes() -> None:
    """Simulate tables of seeds and classes, by what varies and how many there are of each."""
    studies, rows = 5000, []
    for name, mix in crossed_studies.MIXES.items():
        for seeds, count in ((5, 20), (10, 10), (10, 20), (10, 50)):
            found = crossed_studies.coverage(
                mix, seeds=seeds, classes=count, studies=studies, key=0
            )
            rows.append({"varies": name, "seeds": seeds, "classes": count, **found._asdict()})
            print(rows[-1], flush=True)
    kept.keep("simulations-classes", studies=studies, rows=rows)


def stop() -> None:
    """Simulate 1,000 studies that stop by themselves, in four mixes of trials and by both methods."""
    cases = [(mix, False) for mix in stopping.MIXES]
    cases += [(mix, True) for mix in (stopping.MIXES[0], stopping.MIXES[2])]
    found: list[dict[str, object]] = []
    for mix, is_e_process in cases:
        rule = stopping.rule_of(mix, is_e_process=is_e_process)
        method = "e-process" if is_e_process else "group_sequential"
        found.append({"method": method, "mix": mix.name, **stopping.simulate(mix, rule, 1000)})
        print(found[-1], flush=True)
        kept.keep("simulations-stop", studies=1000, seeds=stopping.SEEDS, rows=found)


def folds() -> None:
    """Simulate cross-validations, by what varies and the number of folds; and some that learn."""
    studies, rows = 4000, []
    for count in (2, 4, 5, 10):
        for name, mix in folded_studies.MIXES.items():
            found = folded_studies.coverage(mix, folds=count, studies=studies, key=0)
            rows.append({"varies": name, "folds": count, **found._asdict()})
        found = folded_studies.learned_coverage(folds=count, studies=studies, key=0)
        rows.append({"varies": "a metric is learned", "folds": count, **found._asdict()})
        print(*rows[-4:], sep="\n", flush=True)
    kept.keep(
        "simulations-folds",
        studies=studies,
        classes=folded_studies.CLASSES,
        seeds=folded_studies.SEEDS,
        rows=rows,
    )


def variance() -> None:
    """Simulate studies of variance with known components, by how sources act and by levels."""
    studies, rows = 5000, []
    for name, mix in known_variances.MIXES.items():
        for levels in (5, 10, 20):
            found = known_variances.coverage(mix, studies=studies, levels=levels, key=levels)
            rows.append({"sources": name, "levels": levels, **found})
            print(rows[-1], flush=True)
    kept.keep("simulations-variance", studies=studies, mixes=known_variances.MIXES, rows=rows)


def path() -> None:
    """Simulate 2,000 races of four candidates, by the number of seeds and the lead of the best."""
    rows = []
    for seeds in (4, 6, 10):
        rule = RaceRule(seeds=seeds, alpha=0.1)
        for gap, spread in (*((gap, 1.0) for gap in raced.GAPS), (0.0, 3.0)):
            found = raced.simulate(gap, rule, 2000, spread=spread)
            rows.append({"seeds": seeds, "gap": gap, "spread": spread, **found})
            print(rows[-1], flush=True)
    kept.keep("simulations-path", races=2000, alpha=0.1, rows=rows)


SIMULATIONS: Mapping[str, Callable[[], None]] = {
    "effects": effects,
    "claims": claims,
    "classes": classes,
    "stop": stop,
    "folds": folds,
    "variance": variance,
    "path": path,
}


def main() -> None:
    """Run all simulations, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SIMULATIONS)
    only = parser.parse_args().only
    for name, simulate in SIMULATIONS.items():
        if only in (None, name):
            simulate()


if __name__ == "__main__":
    main()
