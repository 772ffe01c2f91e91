"""Render the costs and failures of a study as HTML: runs, time, memory, machines."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from harness.report.data.study_data import RunRow, TrialRow
from harness.report.findings.estimates import NONE
from harness.report.findings.tables.listing import MOST_ROWS
from harness.report.html.elements.escape import escaped, label
from harness.report.html.elements.layout import folded, note, section
from harness.report.html.elements.tables import (
    counted,
    data_table,
    description_list,
    failures_table,
    table_row,
)
from harness.units import total_duration

_FACTS = ("device", "number_format")


def cost_section(trials: Sequence[TrialRow], runs: Sequence[RunRow]) -> str:
    """Render failures and their reasons, then time and memory, over all phases of a study."""
    if not runs:
        return ""
    labels = {trial.trial_id: trial.label for trial in trials}
    failed = [run for run in runs if run.state == "failed"]
    started = [run for run in runs if run.code is not None]
    parts = [failures_table(labels, failed)] if failed else [note("No run has failed.")]
    if len(failed) > MOST_ROWS:
        parts.append(
            note(f"{len(failed) - MOST_ROWS} more failures are listed in the view failures.")
        )
    if not started:
        parts.append(note("No run has started, so there are no costs yet."))
        return section("Failures and costs", *parts)
    parts.append(_totals(runs, started))
    own: dict[str, list[RunRow]] = {}
    for run in started:
        own.setdefault(run.trial_id, []).append(run)
    shown = [trial for trial in trials if trial.trial_id in own]
    table = _by_trial([(trial, own[trial.trial_id]) for trial in shown[:MOST_ROWS]])
    more = len(shown) - MOST_ROWS
    parts.append(folded("By trial", table))
    if more > 0:
        parts.append(note(f"The first {MOST_ROWS} trials are listed; {more} more are in the CSV."))
    return section("Failures and costs", *parts)


def _totals(runs: Sequence[RunRow], started: Sequence[RunRow]) -> str:
    retried = sum(run.attempts > 1 for run in started)
    reused = sum(run.is_reused for run in runs)
    trained = [run for run in started if not run.is_reused]
    items = [
        ("runs", escaped(_states(runs))),
        ("retried", escaped(f"{retried} of {len(started)}") if retried else "none"),
        ("cache hits", escaped(_reused(reused, runs))),
        ("time in runs", escaped(seconds_text(trained))),
        ("peak memory", escaped(_peak(started))),
        ("host", counted(run.host for run in started)),
        ("threads per run", counted(run.threads for run in started)),
        *((n.replace("_", " "), counted(run.facts.get(n) for run in started)) for n in _FACTS),
    ]
    return description_list(items)


def _states(runs: Sequence[RunRow]) -> str:
    counts = Counter(run.state for run in runs)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _reused(reused: int, runs: Sequence[RunRow]) -> str:
    if not reused:
        return "none: every run was trained for this study"
    saved = sum(run.seconds or 0.0 for run in runs if run.is_reused)
    return (
        f"{reused} of {len(runs)} runs were trained earlier for another study and reused, which "
        f"saved {total_duration(saved)}"
    )


def seconds_text(runs: Sequence[RunRow]) -> str:
    """Format as ``131 s in total; per run 14.5 s (median), at most 16.5 s``; empty if unknown."""
    found = _seconds(runs)
    if not found:
        return ""
    median, longest = f"{statistics.median(found):.1f} s (median)", f"at most {max(found):.1f} s"
    return f"{total_duration(sum(found))} in total; per run {median}, {longest}"


def _peak(runs: Sequence[RunRow]) -> str:
    found = _peaks(runs)
    return f"at most {max(found):.0f} MiB per run" if found else ""


def _seconds(runs: Sequence[RunRow]) -> list[float]:
    return [run.seconds for run in runs if run.seconds is not None]


def _peaks(runs: Sequence[RunRow]) -> list[float]:
    return [run.peak_mib for run in runs if run.peak_mib is not None]


def _by_trial(shown: Sequence[tuple[TrialRow, Sequence[RunRow]]]) -> str:
    rows = []
    for trial, mine in shown:
        times, peaks = _seconds(mine), _peaks(mine)
        cells = [
            str(sum(run.state == "done" for run in mine)),
            str(sum(run.state == "failed" for run in mine)),
            str(sum(run.attempts > 1 for run in mine)),
            str(sum(run.is_reused for run in mine)),
            f"{sum(times) / len(times):.1f}" if times else NONE,
            f"{sum(times):.0f}" if times else NONE,
            f"{max(peaks):.0f}" if peaks else NONE,
        ]
        rows.append(table_row(label(trial.label), cells, "control" if trial.is_control else ""))
    heads = ["trial", "done", "failed", "retried", "reused", "s per run", "s in total", "peak MiB"]
    return data_table("Time and memory by trial", heads, rows)
