"""Fill the table ``comparison``: each trial against its study's baseline, paired by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import duckdb

from harness.stats.paired import Difference, holm, paired_difference
from harness.store.bulk_rows import Row, insert_rows

BySeed = dict[int, float]
Quantity = tuple[str, str]
"""Split and metric name."""
Kind = tuple[str, bool]
"""Phase of a trial, and whether it is a control."""


def refresh_comparisons(con: duckdb.DuckDBPyConnection, study: str) -> None:
    """Recompute the comparisons of ``study`` from its finished runs, for every metric.

    A trial is compared with the baseline of its own phase, or with the study's only baseline. A
    Holm family consists of all comparisons of one metric on one split in one phase. Controls form
    a separate family: they answer another question and would reduce the power of the study's own
    comparisons. A search and its confirmation are separate phases, hence separate families. Runs
    inside the caller's transaction; call it after ingesting runs.
    """
    rows: list[Row] = []
    baselines = _baselines(con, study)
    kinds = _kinds(con, study)
    families: defaultdict[tuple[Quantity, Kind], dict[str, Difference]] = defaultdict(dict)
    values = _values(con, study)
    for trial_id, quantities in values.items():
        baseline = baselines.get(trial_id)
        if baseline is None:
            continue
        for quantity, by_seed in quantities.items():
            other = values.get(baseline, {}).get(quantity, {})
            difference = paired_difference(by_seed, other)
            if difference is not None:
                families[quantity, kinds[trial_id]][trial_id] = difference
    for ((split, metric), _), family in families.items():
        adjusted = holm([difference.p for difference in family.values()])
        for (trial_id, difference), p_holm in zip(family.items(), adjusted, strict=True):
            rows.append(
                {
                    "study": study,
                    "trial_id": trial_id,
                    "split": split,
                    "metric": metric,
                    "p_holm": p_holm,
                    "exploratory": difference.is_exploratory,
                    **difference._asdict(),
                }
            )
    con.execute("DELETE FROM comparison WHERE study = $1", [study])
    insert_rows(con, "comparison", rows)


def refresh_comparisons_of_runs(
    con: duckdb.DuckDBPyConnection, run_ids: Iterable[str], *, but: str | None = None
) -> None:
    """Recompute the comparisons of every study, except ``but``, that contains any of the runs.

    Runs inside the caller's transaction.
    """
    studies = con.execute(
        """
        SELECT DISTINCT study FROM trial JOIN member USING (trial_id)
        WHERE run_id IN (SELECT unnest($1::VARCHAR[])) AND study IS DISTINCT FROM $2 ORDER BY study
        """,
        [list(run_ids), but],
    ).fetchall()
    for (study,) in studies:
        refresh_comparisons(con, study)


def _baselines(con: duckdb.DuckDBPyConnection, study: str) -> dict[str, str]:
    """Return trial -> its baseline; omit baselines and trials that have none."""
    rows = con.execute(
        """
        SELECT trial.trial_id, baseline.trial_id
        FROM trial
        JOIN trial AS baseline ON baseline.study = trial.study AND baseline.is_baseline
        WHERE trial.study = $1 AND NOT trial.is_baseline
        QUALIFY row_number() OVER (
            PARTITION BY trial.trial_id
            ORDER BY baseline.phase <> trial.phase, baseline.number
        ) = 1
        """,
        [study],
    ).fetchall()
    return dict(rows)


def _kinds(con: duckdb.DuckDBPyConnection, study: str) -> dict[str, Kind]:
    """Return trial -> phase, and whether the trial is a control."""
    rows = con.execute(
        "SELECT trial_id, phase, role = 'control' FROM trial WHERE study = $1", [study]
    ).fetchall()
    return {trial_id: (phase, is_control) for trial_id, phase, is_control in rows}


def _values(con: duckdb.DuckDBPyConnection, study: str) -> Mapping[str, Mapping[Quantity, BySeed]]:
    """Return trial -> (split, metric) -> seed -> value of finished runs, by trial number."""
    values: defaultdict[str, defaultdict[Quantity, BySeed]] = defaultdict(lambda: defaultdict(dict))
    rows = con.execute(
        """
        SELECT trial_id, split, name, seed, value FROM results
        WHERE study = $1 ORDER BY number, split, name, seed
        """,
        [study],
    ).fetchall()
    for trial_id, split, name, seed, value in rows:
        values[trial_id][split, name][seed] = value
    return values
