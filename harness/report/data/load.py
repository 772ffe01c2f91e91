"""Read the numbers of a report from the store with SQL."""

from __future__ import annotations

import math
import re
from pathlib import Path

from harness.errors import InputError, nearest
from harness.report.data.mixture import mixture_of, read_circumstances
from harness.report.data.study_data import (
    Comparison,
    FinalRow,
    FinalTable,
    PrunedTrial,
    RunRow,
    SeedValue,
    Study,
    StudyTables,
    Summary,
    TrialRow,
    View,
    comparison_of,
)
from harness.stats import paired
from harness.store.typed_rows import (
    integer,
    number,
    number_or_none,
    one_state,
    read_object,
    read_rows,
    text_or_none,
)

SHOWN_SPLITS = ("test", "val")
"""The splits that a report shows, the decisive one first."""


def final_table(results: Path, study: str) -> FinalTable:
    """Return the primary measure of each trial of ``study``; a search is sorted best first.

    Raises:
        InputError: no such study in ``results``.
        StoreError: the database cannot be read.
    """
    tables = load_tables(results, study)
    tables = tables.of_phase(tables.phases[-1]) if tables.phases else tables
    view = tables.primary or View("val" if tables.is_search else "test", tables.study.metric)
    rows = []
    planned = tables.planned()
    for trial in ordered_trials(tables, view):
        found = tables.summaries.get((view, trial.trial_id)) or Summary(
            math.nan, None, None, None, 0
        )
        rows.append(
            FinalRow(
                trial=trial.label,
                role=trial.role,
                is_baseline=trial.is_baseline,
                mean=found.mean if found.n else None,
                sd=found.sd,
                low=found.low,
                high=found.high,
                n=found.n,
                planned=planned[trial.trial_id],
            )
        )
    mixed = mixture_of(tables)
    note = "" if mixed is None else mixed.text
    return FinalTable(measure_label(view.measure), view.split, tuple(rows), note)


def ordered_trials(tables: StudyTables, view: View) -> tuple[TrialRow, ...]:
    """Return all trials in table order: as planned, or best first in a search; controls last."""
    if not tables.is_search:
        return tables.trials
    ranked = tables.ranked(view)
    listed = set(ranked)
    return (*ranked, *(trial for trial in tables.trials if trial not in listed))


def measure_label(measure: str) -> str:
    """Return the usual spelling of a measure: ``recall@1`` -> ``Recall@1``, ``nmi`` -> ``NMI``."""
    known = {"nmi": "NMI", "ami": "AMI", "map@r": "MAP@R", "r_precision": "R-precision"}
    return known.get(measure, re.sub("^recall@", "Recall@", measure))


def load_tables(results: Path, study: str) -> StudyTables:
    """Read every number of ``study``; an unfinished study gives what is there so far.

    Raises:
        InputError: no such study in ``results``; the message names the nearest one.
        StoreError: the database cannot be read.
    """
    with one_state(results):
        found = _read_study(results, study)
        values = _read_values(results, study)
        views = tuple(sorted(values, key=_view_order))
        return StudyTables(
            study=found,
            trials=_read_trials(results, study),
            runs=_read_runs(results, study),
            views=views,
            values={view: values[view] for view in views},
            summaries=_summaries(values),
            comparisons=_read_comparisons(results, study),
            pruned=_read_pruned(results, study),
        )


def _view_order(view: View) -> tuple[int, int, int, str]:
    name, _, k = view.measure.partition("@")
    is_recall = name == "recall" and k.isdigit()
    order = SHOWN_SPLITS.index(view.split)
    return (order, 0 if is_recall else 1, int(k) if is_recall else 0, view.measure)


def _read_study(results: Path, study: str) -> Study:
    rows = read_rows(
        results,
        "SELECT study, question, metric, sampler, spec, fingerprint, command, versions"
        " FROM study WHERE study = ?",
        [study],
    )
    if rows:
        name, question, metric, sampler, spec, fingerprint, command, versions = rows[0]
        return Study(
            name=str(name),
            question=str(question),
            metric=str(metric).rpartition("/")[2],
            sampler=str(sampler),
            spec=read_object(spec),
            fingerprint=str(fingerprint),
            command=str(command),
            versions=read_object(versions),
        )
    known = [str(row[0]) for row in read_rows(results, "SELECT study FROM study ORDER BY 1", [])]
    raise InputError(f"{results}: unknown study {study!r}; {nearest(study, known)}")


def _read_trials(results: Path, study: str) -> tuple[TrialRow, ...]:
    rows = read_rows(
        results,
        "SELECT trial_id, number, label, phase, role, variant, varied, is_baseline"
        " FROM trial WHERE study = ? AND pruned IS NULL"
        " ORDER BY role = 'control', number, trial_id",
        [study],
    )
    return tuple(
        TrialRow(
            trial_id=str(trial_id),
            number=integer(number),
            label=str(label),
            phase=str(phase),
            role=str(role),
            variant=text_or_none(variant),
            varied=read_object(varied),
            is_baseline=bool(is_baseline),
        )
        for trial_id, number, label, phase, role, variant, varied, is_baseline in rows
    )


def _read_pruned(results: Path, study: str) -> tuple[PrunedTrial, ...]:
    rows = read_rows(
        results,
        "SELECT number, trial, reason, seeds_done FROM pruned WHERE study = ? ORDER BY number",
        [study],
    )
    return tuple(
        PrunedTrial(integer(number), str(trial), str(reason), integer(seeds_done))
        for number, trial, reason, seeds_done in rows
    )


def _read_runs(results: Path, study: str) -> tuple[RunRow, ...]:
    circumstances = read_circumstances(results, [study])
    # A member whose run has not started may have no row in `run` yet.
    rows = read_rows(
        results,
        "SELECT member.trial_id, member.seed, member.run_id, coalesce(run.state, 'queued'),"
        " run.failure, run.message, coalesce(run.attempts, 0), run.seconds, run.peak_mib,"
        " run.host, run.threads, run.facts, run.code, run.data, run.git_commit, run.dirty,"
        " run.versions, run.stderr, coalesce(run.finished < study.created, false)"
        " FROM member JOIN trial USING (trial_id) JOIN study USING (study)"
        " LEFT JOIN run USING (run_id)"
        " WHERE trial.study = ? AND trial.pruned IS NULL"
        " ORDER BY trial.role = 'control', trial.number, member.trial_id, member.seed",
        [study],
    )
    return tuple(
        RunRow(
            trial_id=str(row[0]),
            seed=integer(row[1]),
            run_id=str(row[2]),
            state=str(row[3]),
            failure=text_or_none(row[4]),
            message=text_or_none(row[5]),
            attempts=integer(row[6]),
            seconds=number_or_none(row[7]),
            peak_mib=number_or_none(row[8]),
            host=text_or_none(row[9]),
            threads=None if row[10] is None else integer(row[10]),
            facts=read_object(row[11]),
            code=text_or_none(row[12]),
            data=text_or_none(row[13]),
            commit=text_or_none(row[14]),
            dirty=None if row[15] is None else bool(row[15]),
            versions=read_object(row[16]),
            stderr=text_or_none(row[17]),
            is_reused=bool(row[18]),
            circumstances=circumstances.get(str(row[2]), {}),
        )
        for row in rows
    )


def _read_values(results: Path, study: str) -> dict[View, tuple[SeedValue, ...]]:
    rows = read_rows(
        results,
        "SELECT split, name, trial_id, seed, run_id, value FROM results WHERE study = ?"
        " ORDER BY split, name, number, seed",
        [study],
    )
    values: dict[View, list[SeedValue]] = {}
    for split, measure, trial_id, seed, run_id, value in rows:
        if split in SHOWN_SPLITS:
            values.setdefault(View(str(split), str(measure)), []).append(
                SeedValue(str(trial_id), integer(seed), str(run_id), number(value))
            )
    return {view: tuple(found) for view, found in values.items()}


def _summaries(
    values: dict[View, tuple[SeedValue, ...]],
) -> dict[tuple[View, str], Summary]:
    grouped: dict[tuple[View, str], list[float]] = {}
    for view, found in values.items():
        for one in found:
            grouped.setdefault((view, one.trial_id), []).append(one.value)
    summaries = {}
    for key, numbers in grouped.items():
        interval = paired.t_interval(numbers)
        summaries[key] = Summary(*interval, n=len(numbers))
    return summaries


def _read_comparisons(results: Path, study: str) -> dict[tuple[View, str], Comparison]:
    rows = read_rows(
        results,
        "SELECT split, metric, trial_id, n, difference, low, high, p, p_holm,"
        " prob_improvement FROM comparisons WHERE study = ?",
        [study],
    )
    return {
        (View(str(split), str(measure)), str(trial_id)): comparison_of(
            integer(n),
            number(difference),
            number_or_none(low),
            number_or_none(high),
            p=number_or_none(p),
            p_holm=number_or_none(p_holm),
            better=number_or_none(better),
        )
        for split, measure, trial_id, n, difference, low, high, p, p_holm, better in rows
    }
