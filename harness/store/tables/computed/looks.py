"""Recompute what the looks of a study with ``stop`` have decided, in the table ``look``."""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping

import duckdb

from harness.stats.looks.stopping import (
    Ends,
    Look,
    StopRule,
    interval,
    paired_values,
    rule_of,
    take_looks,
)
from harness.store.tables.bulk_rows import Row, insert_rows

Finished = Mapping[str, Mapping[int, float | None]]
"""Trial -> seed -> value of the study's metric; None if its run failed."""


def refresh_looks(con: duckdb.DuckDBPyConnection, study: str, baselines: Mapping[str, str]) -> None:
    """Recompute the looks of ``study`` from its finished runs; nothing if it has no ``stop``.

    They follow from the finished runs as they do when the study is run, so they are the same.

    Args:
        con: The database; runs inside the caller's transaction.
        study: The study.
        baselines: Trial -> its baseline.
    """
    con.execute("DELETE FROM look WHERE study = $1", [study])
    found = con.execute("SELECT spec -> 'stop' FROM study WHERE study = $1", [study]).fetchone()
    stop = None if found is None or found[0] is None else json.loads(found[0])
    if stop is not None:
        insert_rows(con, "look", list(_rows(con, study, baselines, rule_of(stop))))


def _rows(
    con: duckdb.DuckDBPyConnection, study: str, baselines: Mapping[str, str], rule: StopRule
) -> Iterator[Row]:
    finished = _finished(con, study)
    trials = con.execute(
        "SELECT trial_id FROM trial WHERE study = $1 AND role = 'trial' ORDER BY number", [study]
    ).fetchall()
    comparisons = {
        trial_id: tuple(
            paired_values(finished.get(trial_id, {}), finished.get(baselines[trial_id], {}))
        )
        for (trial_id,) in trials
    }
    for trial_id, looks in take_looks(comparisons, rule).items():
        for look in looks:
            values = comparisons[trial_id][: look.seeds]
            known = [value for value in values if value is not None]
            ends = Ends(-math.inf, math.inf)
            if look is looks[-1]:
                ends = _interval(values, rule, look)
            yield {
                "study": study,
                "trial_id": trial_id,
                "seeds": look.seeds,
                "statistic": look.statistic,
                "boundary": _finite(look.boundary),
                "decision": look.decision,
                "difference": statistics.fmean(known) if known else None,
                "low": _finite(ends.low),
                "high": _finite(ends.high),
            }


@functools.lru_cache(maxsize=1024)
def _interval(values: tuple[float | None, ...], rule: StopRule, look: Look) -> Ends:
    """Compute an interval once: a second at twenty seeds, and rows are refreshed at each tick."""
    return interval(values, rule, look)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finished(con: duckdb.DuckDBPyConnection, study: str) -> Finished:
    """Return the results of finished runs, on test classes where a run has one of them."""
    rows = con.execute(
        """
        SELECT member.trial_id, member.seed, arg_min(results.value, results.split)
        FROM member
        JOIN trial USING (trial_id)
        JOIN study USING (study)
        JOIN run USING (run_id)
        LEFT JOIN results
            ON results.trial_id = member.trial_id AND results.seed = member.seed
            AND results.name = split_part(study.metric, '/', -1)
            AND results.split IN ('test', 'val')
        WHERE study.study = $1 AND run.state IN ('done', 'failed')
        GROUP BY ALL
        """,
        [study],
    ).fetchall()
    finished: defaultdict[str, dict[int, float | None]] = defaultdict(dict)
    for trial_id, seed, value in rows:
        finished[trial_id][seed] = value
    return finished
