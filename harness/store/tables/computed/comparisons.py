"""Compare each trial with its study's baseline and controls, paired by seed, in two tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import duckdb

from harness.stats.paired import Difference, holm, paired_difference
from harness.store.tables.bulk_rows import Row, insert_rows
from harness.store.tables.claims import refresh_claims
from harness.store.tables.computed.class_intervals import refresh_class_intervals
from harness.store.tables.computed.effects import refresh_effects
from harness.store.tables.computed.fold_intervals import refresh_fold_intervals
from harness.store.tables.computed.fronts import refresh_fronts
from harness.store.tables.computed.label_agreement import refresh_label_agreement
from harness.store.tables.computed.looks import refresh_looks

BySeed = dict[int, float]
Quantity = tuple[str, str]
"""Split and metric name."""
Kind = tuple[str, bool]
"""Phase of a trial, and whether it is a control."""
Values = Mapping[str, Mapping[Quantity, BySeed]]
"""Trial -> split and metric -> the value of each finished seed."""
Families = defaultdict[tuple[Quantity, Kind], dict[str, Difference]]
"""Family of Holm's correction -> the differences of its trials."""


def refresh_comparisons(con: duckdb.DuckDBPyConnection, study: str) -> None:
    """Recompute comparisons and effects of ``study`` from its finished runs, for every metric.

    A trial is compared with the baseline of its own phase, or with the study's only baseline. A
    Holm family consists of all comparisons of one metric on one split in one phase. Controls form
    a separate family: they answer another question and would reduce the power of the study's own
    comparisons. A search and its confirmation are separate phases, hence separate families. Runs
    inside the caller's transaction; call it after ingesting runs.
    """
    values, kinds = _values(con, study), _kinds(con, study)
    baselines = _baselines(con, study)
    families: Families = defaultdict(dict)
    for trial_id, quantities in values.items():
        for quantity, by_seed in quantities.items():
            other = values.get(baselines.get(trial_id, ""), {}).get(quantity, {})
            if (difference := paired_difference(by_seed, other)) is not None:
                families[quantity, kinds[trial_id]][trial_id] = difference
    rows = [{**row, "study": study} for row in _rows(families)]
    con.execute("DELETE FROM comparison WHERE study = $1", [study])
    insert_rows(con, "comparison", rows)
    _refresh_control_comparisons(con, study, values, kinds)
    refresh_effects(con, study, values)
    refresh_fronts(con, study, values)
    refresh_claims(con, study)
    refresh_class_intervals(con, study, baselines)
    refresh_fold_intervals(con, study, baselines)
    refresh_looks(con, study, baselines)
    refresh_label_agreement(con, study)


def _refresh_control_comparisons(
    con: duckdb.DuckDBPyConnection, study: str, values: Values, kinds: Mapping[str, Kind]
) -> None:
    """Recompute the table ``control_comparison``, by the study's metric only.

    A Holm family consists of all trials that are compared with one control on one split.
    """
    found = con.execute("SELECT metric FROM study WHERE study = $1", [study]).fetchone()
    rows: list[Row] = []
    for control_id in (trial_id for trial_id in values if kinds[trial_id][1]):
        families: Families = defaultdict(dict)
        for trial_id in (trial_id for trial_id in values if not kinds[trial_id][1]):
            for quantity, by_seed in values[trial_id].items():
                other = values[control_id].get(quantity, {})
                if found is not None and quantity[1] == found[0]:
                    difference = paired_difference(by_seed, other)
                    if difference is not None:
                        families[quantity, kinds[trial_id]][trial_id] = difference
        fixed = {"study": study, "control_id": control_id}
        rows += [{**row, **fixed} for row in _rows(families)]
    con.execute("DELETE FROM control_comparison WHERE study = $1", [study])
    insert_rows(con, "control_comparison", rows)


def _rows(families: Families) -> Iterator[Row]:
    """Yield a row for each comparison, with its p adjusted within its family."""
    for ((split, metric), _), family in families.items():
        adjusted = holm([difference.p for difference in family.values()])
        for (trial_id, difference), p_holm in zip(family.items(), adjusted, strict=True):
            yield {
                "trial_id": trial_id,
                "split": split,
                "metric": metric,
                "p_holm": p_holm,
                "exploratory": difference.is_exploratory,
                **difference._asdict(),
            }


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
    """Return trial -> its baseline; omit baselines and trials that have none.

    A study of variance compares spreads, not means: none of its trials has a baseline.
    """
    rows = con.execute(
        """
        SELECT trial.trial_id, baseline.trial_id
        FROM trial
        JOIN trial AS baseline ON baseline.study = trial.study AND baseline.is_baseline
        JOIN study ON study.study = trial.study
        WHERE trial.study = $1 AND NOT trial.is_baseline
            AND json_type(study.spec, '$.variance') IS DISTINCT FROM 'OBJECT'
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


def _values(con: duckdb.DuckDBPyConnection, study: str) -> Values:
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
