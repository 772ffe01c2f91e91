"""Compute what selection on test classes would have claimed: the optimism of published numbers.

Trial and epoch should be chosen on validation classes. Readers of a table of test scores pick its
best line all the same, and many papers pick the epoch that way. Pure, from the tables. What
choosing the trial on test classes adds is always known; what choosing the epoch adds, only if runs
recorded their best test epoch (``METRIC_best_test_epoch``).
"""

from __future__ import annotations

from typing import NamedTuple

from harness.report.data.study_data import StudyTables, TrialRow, View, measure_label
from harness.report.findings.answer import named
from harness.report.findings.estimates import decimal, signed


class Scored(NamedTuple):
    """A trial and its mean test score of the study's metric."""

    trial: TrialRow
    value: float


class Optimism(NamedTuple):
    """What was chosen on validation classes, and what test classes would have chosen."""

    honest: Scored
    """Test score of the trial that is best on validation classes, at the epochs chosen there."""
    best: Scored
    """The trial with the best test score, at the epochs chosen on validation classes."""
    best_by_epoch: Scored | None
    """The best trial if the epoch is chosen on test classes too; None if not recorded."""
    last: float | None
    """Test score of the honest choice after the last epoch."""


def optimism(tables: StudyTables) -> Optimism | None:
    """Return the gap; None unless trials have both validation and test scores."""
    metric = tables.study.metric
    val, test = View("val", metric), View("test", metric)
    on_val = tables.ranked(val)
    best = _best(tables, test)
    if not on_val or best is None or (honest := tables.summary(test, on_val[0])) is None:
        return None
    last = tables.summary(View("test", f"{metric}_last_epoch"), on_val[0])
    return Optimism(
        honest=Scored(on_val[0], honest.mean),
        best=best,
        best_by_epoch=_best(tables, View("test", f"{metric}_best_test_epoch")),
        last=None if last is None else last.mean,
    )


def _best(tables: StudyTables, view: View) -> Scored | None:
    ranked = tables.ranked(view)
    if not ranked:
        return None
    return Scored(ranked[0], tables.summaries[view, ranked[0].trial_id].mean)


def optimism_text(found: Optimism, metric: str) -> tuple[str, ...]:
    """Describe the gap in sentences.

    Args:
        found: The gap.
        metric: The study's metric.
    """
    chosen, honest = found.honest
    said = [
        f"Chosen on validation classes, {named(chosen)} has {measure_label(metric)} "
        f"{decimal(honest)} on test classes."
    ]
    if found.best.trial == chosen:
        said.append(
            "It is also the best on test classes: choosing there would have claimed no more."
        )
    else:
        said.append(f"Choosing the trial on test classes {_claimed(found.best, honest)}")
    if found.best_by_epoch is None:
        said.append("The effect of choosing the epoch there was not recorded.")
    else:
        claimed = _claimed(found.best_by_epoch, honest)
        said.append(f"Choosing the epoch of every run there too {claimed}")
    if found.last is not None:
        change = signed(found.last - honest)
        same = "the same" if change == signed(0.0) else change
        said.append(f"After the last epoch {named(chosen)} has {decimal(found.last)} ({same}).")
    return tuple(said)


def _claimed(found: Scored, honest: float) -> str:
    gap = signed(found.value - honest)
    return f"would have claimed {decimal(found.value)} ({gap}), with {named(found.trial)}."
