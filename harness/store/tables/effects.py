"""Estimate the effects of an ablation's components, paired by seed, in the table ``effect``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

import duckdb

from harness.stats.designs import Cell, Design
from harness.stats.lattice import effects
from harness.store.tables.bulk_rows import Row, insert_rows

Quantity = tuple[str, str]
"""Split and metric name."""
Values = Mapping[str, Mapping[Quantity, Mapping[int, float]]]
"""Trial -> split and metric -> the value of each finished seed."""


def refresh_effects(con: duckdb.DuckDBPyConnection, study: str, values: Values) -> None:
    """Recompute the effects of ``study``, for every metric; none if it is no ablation.

    Runs inside the caller's transaction.

    Args:
        con: The database.
        study: Its name.
        values: Of its finished runs.
    """
    con.execute("DELETE FROM effect WHERE study = $1", [study])
    design = design_of(con, study)
    if design is None:
        return
    cells = _cells(con, study, design)
    by_quantity: defaultdict[Quantity, dict[Cell, Mapping[int, float]]] = defaultdict(dict)
    for trial_id, quantities in values.items():
        for quantity, by_seed in quantities.items():
            if trial_id in cells:
                by_quantity[quantity][cells[trial_id]] = by_seed
    rows: list[Row] = [
        {"study": study, "split": split, "metric": metric, "number": number, **effect._asdict()}
        for (split, metric), found in by_quantity.items()
        for number, effect in enumerate(effects(design, found))
    ]
    insert_rows(con, "effect", rows)


def design_of(con: duckdb.DuckDBPyConnection, study: str) -> Design | None:
    """Return the design of an ablation; None if the study is none."""
    row = con.execute("SELECT spec -> '$.ablate' FROM study WHERE study = $1", [study]).fetchone()
    ablate = None if row is None or row[0] is None else json.loads(row[0])
    if ablate is None:
        return None
    return Design(
        name=ablate["design"],
        components=tuple(ablate["components"]),
        needs={name: tuple(each["needs"]) for name, each in ablate["components"].items()},
        fraction=ablate["fraction"] is not None,
        permutations=ablate["permutations"],
        seed=ablate["permutation_seed"],
    )


def _cells(con: duckdb.DuckDBPyConnection, study: str, design: Design) -> dict[str, Cell]:
    """Return trial -> the components that it has, with the control that stands for none."""
    rows = con.execute("SELECT trial_id, varied FROM trial WHERE study = $1", [study]).fetchall()
    found = {}
    for trial_id, text in rows:
        varied = json.loads(text)
        if varied.keys() == set(design.components):
            found[trial_id] = frozenset(name for name, is_on in varied.items() if is_on)
    return found
