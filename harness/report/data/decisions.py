"""Read what the looks of a study with ``stop`` have decided, and put it into its comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from harness.report.data.study_data import Comparison, Study, View
from harness.stats.looks.stopping import BETTER, FUTILE, SAME, UNDECIDED, WORSE
from harness.store.database import Connection
from harness.store.typed_rows import read_rows
from harness.workload import JsonValue

_NEWEST = """
SELECT
    evidence.trial_id, evidence.seeds, evidence.most_seeds, evidence.difference, evidence.low,
    evidence.high, evidence.decision,
    CAST(study.spec -> 'stop' ->> 'margin' AS DOUBLE)
FROM evidence JOIN study USING (study) WHERE study = ? AND is_last
"""
Comparisons = Mapping[tuple[View, str], Comparison]


class Decided(NamedTuple):
    """What the newest look at a trial decided."""

    seeds: int
    most_seeds: int
    difference: float | None
    low: float | None
    """Ends of the repeated confidence interval; None where it is open."""
    high: float | None
    decision: str
    margin: float | None

    @property
    def text(self) -> str:
        """For a sentence: ``better, decided after 9 of 20 seeds``."""
        after = f"after {self.seeds} of {self.most_seeds} seeds"
        if self.decision in (BETTER, WORSE):
            return f"{self.decision}, decided {after}"
        if self.decision == SAME:
            return f"no difference larger than {self.margin:g}, decided {after}"
        if self.decision == FUTILE:
            reason = FUTILE.partition(": ")[2]
            return f"stopped {after}: {reason}"
        if self.decision == UNDECIDED:
            return f"undecided after all {self.most_seeds} seeds"
        return f"undecided yet, {after}"


def read_decisions(con: Connection, study: str) -> dict[str, Decided]:
    """Return trial_id -> what its newest look decided; empty for a study without ``stop``."""
    rows = read_rows(con, _NEWEST, [study])
    return {trial_id: Decided(*values) for trial_id, *values in rows}


def as_decided(
    comparisons: Comparisons, decisions: Mapping[str, Decided], study: Study
) -> dict[tuple[View, str], Comparison]:
    """Replace fixed-sample statistics, which do not hold once a study has stopped by itself.

    The comparison that decided gets its decision and its repeated interval. Other measures keep
    their intervals, but are not tested.
    """
    stop: JsonValue = study.spec.get("stop")
    if stop is None:
        return dict(comparisons)
    splits = {view.split for view, _ in comparisons if view.measure == study.metric}
    decisive = View("test" if "test" in splits else "val", study.metric)
    found = {}
    for (view, trial_id), comparison in comparisons.items():
        decided = decisions.get(trial_id)
        plain = replace(comparison, p=None, p_holm=None, decision="not tested")
        if view == decisive and decided is not None and decided.difference is not None:
            plain = replace(
                plain, difference=decided.difference, low=decided.low, high=decided.high
            )
            plain = replace(plain, n=decided.seeds, decision=decided.text)
        found[view, trial_id] = plain
    return found
