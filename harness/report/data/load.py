"""Read the numbers of a report from the store with SQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.errors import InputError, nearest
from harness.report.data.decisions import as_decided, read_decisions
from harness.report.data.mixture import read_circumstances
from harness.report.data.study_data import (
    Comparison,
    OverClasses,
    PrunedTrial,
    RunRow,
    SeedValue,
    SourceShare,
    Study,
    StudyTables,
    Summary,
    TrialRow,
    View,
    comparison_of,
)
from harness.stats import paired
from harness.stats.ablations.lattice import Effect
from harness.store.database import Connection, reading
from harness.store.tables.computed.effects import design_of
from harness.store.tables.verifications import last_verification
from harness.store.typed_rows import read_rows

Found = TypeVar("Found")
SHOWN_SPLITS = ("test", "val")
"""The splits that a report shows, the decisive one first."""

# Columns are in the order of the fields that they fill.
_STUDY = """
SELECT
    study, question, split_part(metric, '/', -1), sampler, spec, fingerprint, command, versions
FROM study WHERE study = ?
"""
_TRIALS = """
SELECT trial_id, number, label, phase, role, variant, varied, is_baseline
FROM trial WHERE study = ? AND pruned IS NULL
ORDER BY role = 'control', number, trial_id
"""
_PRUNED = "SELECT number, trial, reason, seeds_done FROM pruned WHERE study = ? ORDER BY number"
# A member whose run has not started may have no row in `run` yet.
_RUNS = """
SELECT
    member.trial_id, member.seed, member.run_id, coalesce(run.state, 'queued'), run.failure,
    run.message, coalesce(run.attempts, 0), run.seconds, run.peak_mib, run.host, run.threads,
    run.facts, run.code, run.data, run.git_commit, run.dirty, run.versions, run.stderr,
    coalesce(run.finished < study.created, false), member.fold
FROM member JOIN trial USING (trial_id) JOIN study USING (study) LEFT JOIN run USING (run_id)
WHERE trial.study = ? AND trial.pruned IS NULL
ORDER BY trial.role = 'control', trial.number, member.trial_id, member.seed,
    member.fold
"""
_VALUES = """
SELECT split, name, trial_id, seed, run_id, value
FROM results WHERE study = ? AND list_contains(?, split)
ORDER BY split, name, number, seed
"""
_FOLD_VALUES = """
SELECT split, name, run_id, value FROM folds
WHERE study = ? AND list_contains(?, split) AND fold > 0
"""
_COMPARISONS = """
SELECT
    split, metric, trial_id, low_classes, high_classes, classes, share_classes, folds, n,
    difference, low, high, p, p_holm, prob_improvement
FROM comparisons WHERE study = ?
"""
_EFFECTS = """
SELECT split, metric, kind, term, n, estimate, low, high, p, p_holm
FROM effect WHERE study = ? ORDER BY split, metric, number
"""

_VARIANCE = """
SELECT split, metric, source, n, sd, share, low, high FROM variance WHERE study = ?
"""


def load_tables(results: Path, study: str) -> StudyTables:
    """Open the database and read every number of ``study``; see ``read_tables``.

    Raises:
        InputError: no such study in ``results``; the message names the nearest one.
        StoreError: the database cannot be read.
    """
    with reading(results) as con:
        return read_tables(con, results, study)


def read_tables(con: Connection, results: Path, study: str) -> StudyTables:
    """Read every number of ``study``; an unfinished study gives what is there so far.

    Raises:
        InputError: no such study in ``results``; the message names the nearest one.
    """
    found = read_rows(con, _STUDY, [study])
    if not found:
        known = [name for (name,) in read_rows(con, "SELECT study FROM study ORDER BY 1", [])]
        raise InputError(f"{results}: unknown study {study!r}; {nearest(study, known)}")
    values = _read_values(con, study)
    decisions = read_decisions(con, study)
    verified = last_verification(con, study)
    return StudyTables(
        study=Study(*found[0]),
        trials=tuple(TrialRow(*row) for row in read_rows(con, _TRIALS, [study])),
        runs=_read_runs(con, study),
        values=values,
        summaries=_summaries(values),
        comparisons=as_decided(_read_comparisons(con, study), decisions, Study(*found[0])),
        pruned=tuple(PrunedTrial(*row) for row in read_rows(con, _PRUNED, [study])),
        design=design_of(con, study),
        effects=_by_view(con, _EFFECTS, study, Effect),
        fold_values=_read_fold_values(con, study),
        decisions={trial_id: found.text for trial_id, found in decisions.items()},
        variance=_by_view(con, _VARIANCE, study, SourceShare),
        verified=verified.text if verified else "",
    )


def _view_order(view: View) -> tuple[int, int, int, str]:
    name, _, k = view.measure.partition("@")
    is_recall = name == "recall" and k.isdigit()
    order = SHOWN_SPLITS.index(view.split)
    return (order, 0 if is_recall else 1, int(k) if is_recall else 0, view.measure)


def _read_runs(con: Connection, study: str) -> tuple[RunRow, ...]:
    circumstances = read_circumstances(con, [study])
    rows = read_rows(con, _RUNS, [study])
    return tuple(RunRow(*(*row, circumstances.get(row[2], {}))) for row in rows)


def _read_values(con: Connection, study: str) -> dict[View, tuple[SeedValue, ...]]:
    rows = read_rows(con, _VALUES, [study, list(SHOWN_SPLITS)])
    values: dict[View, list[SeedValue]] = {}
    for split, measure, *value in rows:
        values.setdefault(View(split, measure), []).append(SeedValue(*value))
    return {view: tuple(values[view]) for view in sorted(values, key=_view_order)}


def _read_fold_values(con: Connection, study: str) -> dict[tuple[View, str], float]:
    rows = read_rows(con, _FOLD_VALUES, [study, list(SHOWN_SPLITS)])
    return {(View(split, measure), run_id): value for split, measure, run_id, value in rows}


def _summaries(
    values: dict[View, tuple[SeedValue, ...]],
) -> dict[tuple[View, str], Summary]:
    grouped: dict[tuple[View, str], list[float]] = {}
    for view, found in values.items():
        for one in found:
            grouped.setdefault((view, one.trial_id), []).append(one.value)
    return {key: Summary(*paired.t_interval(each), n=len(each)) for key, each in grouped.items()}


def _read_comparisons(con: Connection, study: str) -> dict[tuple[View, str], Comparison]:
    found = {}
    for split, measure, trial_id, *numbers in read_rows(con, _COMPARISONS, [study]):
        wide = None if numbers[0] is None else OverClasses(*numbers[:5])
        found[View(split, measure), trial_id] = comparison_of(*[*numbers[5:], wide])
    return found


def _by_view(
    con: Connection, sql: str, study: str, make: Callable[..., Found]
) -> dict[View, tuple[Found, ...]]:
    """Group the rows of a study by their first two columns, split and metric."""
    found: dict[View, list[Found]] = {}
    for split, measure, *row in read_rows(con, sql, [study]):
        found.setdefault(View(split, measure), []).append(make(*row))
    return {view: tuple(rows) for view, rows in found.items()}
