"""Simulate the statistics of the harness at full size; results are kept beside the timings.

python tests/benchmarks/statistics.py [--only NAME]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

# This file has the name of a module of Python, which must come first for everybody else.
sys.path.append(sys.path.pop(0))

import kept
import stopping

STUDIES = 1000


def stop() -> None:
    """Simulate studies that stop by themselves, in four mixes of trials and by both methods."""
    cases = [(mix, False) for mix in stopping.MIXES]
    cases += [(mix, True) for mix in (stopping.MIXES[0], stopping.MIXES[2])]
    found: list[dict[str, object]] = []
    for mix, is_e_process in cases:
        rule = stopping.rule_of(mix, is_e_process=is_e_process)
        method = "e-process" if is_e_process else "group_sequential"
        found.append({"method": method, "mix": mix.name, **stopping.simulate(mix, rule, STUDIES)})
        print(found[-1], flush=True)
        kept.keep("statistics-stop", studies=STUDIES, seeds=stopping.SEEDS, rows=found)


SIMULATIONS: Mapping[str, Callable[[], None]] = {"stop": stop}


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
