"""Write a sentence on every trial compared with the baseline; pure, from the tables.

How many more seeds would settle an undecided comparison is estimated from the observed difference
and its spread, as if both were the true ones; with fewer than three pairs the spread is unknown.
"""

from __future__ import annotations

import math
from collections import Counter

from harness.report.data.study_data import Comparison, StudyTables, TrialRow, View
from harness.report.findings.answer import named
from harness.report.findings.estimates import difference_text, evidence, verdict
from harness.stats.paired import half_interval, t_quantile
from harness.stats.power import MOST_SEEDS, POWER, seeds_to_settle

MOST_SENTENCES = 8
ESTIMATE = (
    "\N{LEFT DOUBLE QUOTATION MARK}About N more seeds\N{RIGHT DOUBLE QUOTATION MARK} is where a "
    "paired test at the strictest step of Holm\N{RIGHT SINGLE QUOTATION MARK}s correction would "
    f"detect, in {POWER:.0%} of studies, a difference of the observed size and spread. It is as "
    "rough an estimate as those are."
)
_FEWEST_FOR_A_SPREAD = 3


def comparison_sentences(tables: StudyTables) -> tuple[str, ...]:
    """Write one sentence per compared trial, best first, then one on the rest.

    Empty for a search, which claims nothing, and if nothing is compared.
    """
    view = tables.primary
    if view is None or tables.is_search:
        return ()
    compared = compared_trials(tables, view)
    said = [_sentence(tables, view, trial, len(compared)) for trial in compared[:MOST_SENTENCES]]
    if left := compared[MOST_SENTENCES:]:
        said.append(_rest(tables, view, left))
    return tuple(said)


def compared_trials(tables: StudyTables, view: View) -> list[TrialRow]:
    """Return the trials compared with the baseline, best first; those missing seeds last."""
    ranked = tables.ranked(view)
    order = {trial.trial_id: place for place, trial in enumerate(ranked)}
    found = [
        trial
        for trial in tables.contenders
        if not trial.is_baseline and (view, trial.trial_id) in tables.comparisons
    ]
    return sorted(found, key=lambda trial: (order.get(trial.trial_id, len(order)), trial.number))


def is_estimated(said: tuple[str, ...]) -> bool:
    """Whether any sentence says how many more seeds are needed."""
    return any(" more seed" in sentence for sentence in said)


def more_seeds(comparison: Comparison, comparisons: int) -> int | None:
    """Estimate how many more pairs would settle it; None if unknown or too many.

    Args:
        comparison: The spread is recovered from its 95 % interval.
        comparisons: Size of the family in Holm's correction.
    """
    effect = _effect(comparison)
    if effect is None:
        return None
    needed = seeds_to_settle(effect, comparisons)
    return None if needed is None else max(1, needed - comparison.n)


def _effect(comparison: Comparison) -> float | None:
    """Return the difference in sd of the paired differences; None if the spread is unknown."""
    n, half = comparison.n, half_interval(comparison.low, comparison.high)
    if n < _FEWEST_FOR_A_SPREAD or half is None or half <= 0:
        return None
    spread = half / t_quantile(n - 1) * math.sqrt(n)
    return comparison.difference / spread


def _sentence(tables: StudyTables, view: View, trial: TrialRow, comparisons: int) -> str:
    comparison = tables.comparisons[view, trial.trial_id]
    start = (
        f"{named(trial)}: {view.label} {difference_text(comparison)} against the "
        f"baseline; {evidence(comparison)}"
    )
    if comparison.decision or verdict(comparison) in ("better", "worse"):
        return f"{start}."
    return f"{start}; {_remedy(comparison, comparisons)}."


def _remedy(comparison: Comparison, comparisons: int) -> str:
    if _effect(comparison) is None:
        is_constant = comparison.n >= _FEWEST_FOR_A_SPREAD
        why = "the differences do not vary" if is_constant else "there are too few seeds"
        return f"{why}, so the number that would settle it is unknown"
    more = more_seeds(comparison, comparisons)
    if more is None:
        return f"even {MOST_SEEDS:,} seeds would not settle it: there is next to no difference"
    return f"about {more} more seed{'' if more == 1 else 's'} would settle it"


def _rest(tables: StudyTables, view: View, left: list[TrialRow]) -> str:
    counts = Counter(verdict(tables.comparisons[view, trial.trial_id]) for trial in left)
    names = ("better", "worse", "undecided", "exploratory")
    said = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
    return f"And {len(left)} more in the table: {said}."
