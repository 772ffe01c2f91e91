"""Compute what selection on test classes would have claimed: the optimism of published numbers.

Trial and epoch should be chosen on validation classes. Readers of a table of test scores pick its
best line all the same, and many papers pick the epoch that way. Pure, from the tables. What
choosing the trial on test classes adds is always known; what choosing the epoch adds, only if runs
recorded their best test epoch (``METRIC_best_test_epoch``).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.data.study_data import StudyTables, TrialRow, View, measure_label
from harness.report.findings.answer import named
from harness.report.findings.estimates import decimal, signed


@dataclass(frozen=True, slots=True)
class Optimism:
    """Mean test scores of the study's metric, by what was chosen on which classes."""

    chosen: TrialRow
    """The trial with the best mean on validation classes."""
    honest: float
    """Its test score, at the epochs chosen on validation classes."""
    best: TrialRow
    """The trial with the best test score."""
    claimed: float
    """Its test score, at the epochs chosen on validation classes."""
    best_by_epoch: TrialRow | None
    """The best trial if the epoch is chosen on test classes too; None if not recorded."""
    claimed_by_epoch: float | None
    """Its test score at its best epochs."""
    last: float | None
    """Test score of ``chosen`` after the last epoch."""

    @property
    def gap(self) -> float:
        """What choosing only the trial on test classes adds."""
        return self.claimed - self.honest

    @property
    def gap_by_epoch(self) -> float | None:
        """What choosing both trial and epoch on test classes adds."""
        return None if self.claimed_by_epoch is None else self.claimed_by_epoch - self.honest


def optimism(tables: StudyTables) -> Optimism | None:
    """Return the gap; None unless trials have both validation and test scores."""
    metric = tables.study.metric
    val, test = View("val", metric), View("test", metric)
    on_val, on_test = tables.ranked(val), tables.ranked(test)
    if not on_val or not on_test or (test, on_val[0].trial_id) not in tables.summaries:
        return None
    chosen, best = on_val[0], on_test[0]
    by_epoch = View("test", f"{metric}_best_test_epoch")
    ranked = tables.ranked(by_epoch)
    last = tables.summaries.get((View("test", f"{metric}_last_epoch"), chosen.trial_id))
    return Optimism(
        chosen=chosen,
        honest=tables.summaries[test, chosen.trial_id].mean,
        best=best,
        claimed=tables.summaries[test, best.trial_id].mean,
        best_by_epoch=ranked[0] if ranked else None,
        claimed_by_epoch=tables.summaries[by_epoch, ranked[0].trial_id].mean if ranked else None,
        last=None if last is None else last.mean,
    )


def optimism_text(found: Optimism, metric: str) -> tuple[str, ...]:
    """Describe the gap in sentences.

    Args:
        found: The gap.
        metric: The study's metric.
    """
    measure = measure_label(metric)
    said = [
        f"Chosen on validation classes, {named(found.chosen)} has {measure} "
        f"{decimal(found.honest)} on test classes."
    ]
    if found.best == found.chosen:
        said.append(
            "It is also the best on test classes: choosing there would have claimed no more."
        )
    else:
        said.append(
            f"Choosing the trial on test classes would have claimed {decimal(found.claimed)} "
            f"({signed(found.gap)}), with {named(found.best)}."
        )
    if found.claimed_by_epoch is None or found.best_by_epoch is None or found.gap_by_epoch is None:
        said.append("The effect of choosing the epoch there was not recorded.")
    else:
        said.append(
            f"Choosing the epoch of every run there too would have claimed "
            f"{decimal(found.claimed_by_epoch)} ({signed(found.gap_by_epoch)}), with "
            f"{named(found.best_by_epoch)}."
        )
    if found.last is not None:
        change = signed(found.last - found.honest)
        same = "the same" if change == signed(0.0) else change
        said.append(
            f"After the last epoch {named(found.chosen)} has {decimal(found.last)} ({same})."
        )
    return tuple(said)
