"""Compute what selection on test classes would have claimed: the optimism of published numbers.

Trial and epoch should be chosen on validation classes. Readers of a table of test scores pick its
best line all the same, and many papers pick the epoch that way. Pure, from the tables. What
choosing the trial on test classes adds is always known; what choosing the epoch adds, only if runs
recorded their best test epoch (``METRIC_best_test_epoch``).
"""

from __future__ import annotations

from typing import NamedTuple

from harness.report.data.evidence.vault import Readings
from harness.report.data.study_data import StudyTables, TrialRow, View, measure_label
from harness.report.findings.answer import named
from harness.report.findings.estimates import decimal, signed
from harness.stats.selection import luck_of_the_best


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
    """Return the gap; None unless trials have both validation and test scores.

    None as well for a study of variance, in which no trial is chosen.
    """
    metric = tables.study.metric
    val, test = View("val", metric), View("test", metric)
    on_val = tables.ranked(val)
    best = _best(tables, test)
    if tables.is_variance or not on_val or best is None:
        return None
    if (honest := tables.summary(test, on_val[0])) is None:
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


class Luck(NamedTuple):
    """What the best of equally good trials would seem to gain on the test classes."""

    trials: int
    """Trials of the study that are scored on them."""
    of_study: float
    of_all: float | None
    """The same for all trials ever scored on this test set; None if there are no others."""


def luck(tables: StudyTables, readings: Readings | None) -> Luck | None:
    """Return the expected luck of the best trial; None below two trials or two shared seeds.

    None as well for a study of variance, whose trials differ in nothing but their draws.
    """
    view = View("test", tables.study.metric)
    ids = {trial.trial_id for trial in tables.contenders}
    by_trial: dict[str, dict[int, float]] = {}
    for each in tables.values.get(view, ()):
        if each.trial_id in ids:
            by_trial.setdefault(each.trial_id, {})[each.seed] = each.value
    if not by_trial or tables.is_variance:
        return None
    shared = sorted(set.intersection(*(set(values) for values in by_trial.values())))
    rows = [[values[seed] for seed in shared] for values in by_trial.values()]
    of_study = luck_of_the_best(rows, len(rows))
    if of_study is None:
        return None
    others = readings is not None and readings.trials > len(rows)
    of_all = luck_of_the_best(rows, readings.trials) if readings and others else None
    return Luck(len(rows), of_study, of_all)


def vault_text(readings: Readings | None, found: Luck | None) -> str:
    """Say how often the test set has been read, and what luck that buys; empty if it was not."""
    if readings is None:
        return ""
    studies = "1 study" if readings.studies == 1 else f"{readings.studies} studies"
    times = "once" if readings.trials == 1 else f"{readings.trials} times"
    which = (
        "This test set"
        if readings.test_sets == 1
        else f"The most used of the {readings.test_sets} test sets of this study"
    )
    said = (
        f"{which} has been read {times} by {studies} in this results folder, counting each trial "
        "that was scored on it."
    )
    if found is None:
        return said
    said += (
        f" If its {found.trials} trials were equally good, the best of them would still be "
        f"expected {decimal(found.of_study, 4)} above what it is worth, by the luck of seeds"
    )
    if found.of_all is not None:
        said += f"; as the best of all {readings.trials}, {decimal(found.of_all, 4)}"
    return f"{said}."


def _claimed(found: Scored, honest: float) -> str:
    gap = signed(found.value - honest)
    return f"would have claimed {decimal(found.value)} ({gap}), with {named(found.trial)}."
