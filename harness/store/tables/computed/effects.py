"""Estimate the effects of an ablation's components, paired by seed, in the table ``effect``."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Mapping

import duckdb

from harness.stats.ablations.designs import Cell, Design
from harness.stats.ablations.lattice import effects
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
    cells = _cells(con, study, design.components, _phase(con, study))
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
    components = tuple(ablate["components"])
    is_path = ablate["design"] == "path"
    return Design(
        name=ablate["design"],
        components=components,
        needs={name: tuple(each["needs"]) for name, each in ablate["components"].items()},
        fraction=ablate["fraction"] is not None,
        permutations=ablate["permutations"],
        seed=ablate["permutation_seed"],
        from_bare=ablate.get("start") == "bare",
        flips=_flips(con, study, components) if is_path else (),
    )


def _flips(
    con: duckdb.DuckDBPyConnection, study: str, components: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the components of a path in the order in which its nodes flip them.

    The control that stands for everything off comes last, or first with the smallest number.
    """
    nodes = list(_cells(con, study, components, "confirm").values())
    return tuple(name for a, b in itertools.pairwise(nodes) for name in a ^ b)


def _phase(con: duckdb.DuckDBPyConnection, study: str) -> str:
    """Return the phase of the trials that effects are computed from.

    If an ablation first chooses what it trains, these are the trials that were chosen.
    """
    row = con.execute(
        """
        SELECT if(
            bool_or((spec ->> '$.ablate.design') = 'path' OR (spec -> '$.ablate.tune') IS NOT NULL),
            'confirm', max(phase)
        )
        FROM trial JOIN study USING (study) WHERE study = $1 AND role <> 'control'
        """,
        [study],
    ).fetchone()
    return str(row[0]) if row and row[0] else "confirm"


def _cells(
    con: duckdb.DuckDBPyConnection, study: str, components: tuple[str, ...], phase: str
) -> dict[str, Cell]:
    """Return trial -> the components that it has, with the control that stands for none."""
    rows = con.execute(
        """
        SELECT trial_id, varied FROM trial
        WHERE study = $1 AND (phase = $2 OR role = 'control') ORDER BY number
        """,
        [study, phase],
    ).fetchall()
    found = {}
    for trial_id, text in rows:
        varied = json.loads(text)
        if varied.keys() >= set(components):  # what was tuned is varied, too
            found[trial_id] = frozenset(name for name in components if varied[name])
    return found
