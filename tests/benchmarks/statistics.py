"""Do the harness's statistics keep their promises? Simulated studies with known effects.

    python tests/benchmarks/statistics.py [--only NAME] [--write]

Prints a table for each part; ``--write`` keeps it in ``results/statistics-NAME.json``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# This folder holds a file named like a module of the standard library: this one.
sys.path[:] = [str(ROOT), str(ROOT / "tests" / "fixtures"), *sys.path[1:], sys.path[0]]

from crossed_studies import MIXES, coverage  # noqa: E402  the line above finds it

Rows = list[dict[str, object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    for name, simulate in PARTS.items():
        if arguments.only in (None, name):
            rows = simulate()
            print(f"{name}\n{table(rows)}")
            if arguments.write:
                from kept import keep

                keep(f"statistics-{name}", rows=rows)


def classes() -> Rows:
    """How often the interval over seeds and classes holds the true difference; 95 % is promised."""
    return [
        {
            "varies": name,
            "seeds": seeds,
            "classes": count,
            "studies": 5000,
            **coverage(mix, seeds=seeds, classes=count, studies=5000, key=0)._asdict(),
        }
        for name, mix in MIXES.items()
        for seeds, count in ((5, 20), (10, 10), (10, 20), (10, 50))
    ]


def table(rows: Rows) -> str:
    """The rows as aligned text."""
    texts = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]
    lines = [list(rows[0]), *texts]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


PARTS: dict[str, Callable[[], Rows]] = {"classes": classes}


if __name__ == "__main__":
    main()
