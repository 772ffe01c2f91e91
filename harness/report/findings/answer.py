"""State the answer of a study in plain sentences, with its uncertainty; pure, from the tables.

With fewer than ``stats.MIN_SEEDS_FOR_TEST`` pairs no exact test can reach 0.05: such an answer is
exploratory and gives no verdict. A search never makes a claim.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.report.data.study_data import StudyTables, Summary, TrialRow, View
from harness.report.findings.estimates import decimal, difference_text, evidence, plus_minus
from harness.report.findings.variance import variance_claim
from harness.workload import JsonValue


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer at the top of the page."""

    claim: str
    """One sentence."""
    label: str
    """Strength of the evidence: ``exploratory``, ``search``, ``tested``, ``measured`` for a
    study of variance, or ``no result yet``."""
    remarks: tuple[str, ...]
    """On the controls, and on what is missing; the sentences on each trial are in ``sentences``."""


def answer(tables: StudyTables) -> Answer:
    """Return the answer that the finished runs give so far."""
    view = tables.primary
    ranked = tables.ranked(view)
    missing = [*_missing(tables), *_alarms(tables), *_remarks(tables)]
    if view is None or not ranked:
        what = (
            "seed of a trial has finished all its folds"
            if tables.folds
            else "run of a trial has finished"
        )
        claim = f"There is no answer yet: no {what}."
        return Answer(claim, "no result yet", tuple(missing))
    if tables.is_variance:
        label = "measured" if tables.variance.get(view) else "no result yet"
        return Answer(variance_claim(tables, view), label, tuple(missing))
    controls = _controls(tables, view, ranked[0])
    is_search = tables.is_search
    claim = _search_claim(tables, view, ranked[0]) if is_search else _claim(tables, view, ranked)
    if warning := _below_a_control(tables, view):
        claim = f"{claim.removesuffix('.')}; {warning}."
    label = "search" if is_search else _label(tables, view)
    return Answer(claim, label, (*controls, *missing))


def named(trial: TrialRow) -> str:
    """Return a trial's label for use in a sentence: a setting as it is, a name in quotes."""
    if "=" in trial.label:
        return trial.label
    return f"\N{LEFT DOUBLE QUOTATION MARK}{trial.label}\N{RIGHT DOUBLE QUOTATION MARK}"


def _search_claim(tables: StudyTables, view: View, best: TrialRow) -> str:
    where = _where(tables, view)
    if tables.is_chosen:
        return f"What to train is still being chosen on {where}; no effect is known yet."
    return (
        f"Search on {where}: of {len(tables.ranked(view))} finished trials, {named(best)} has the "
        f"best {view.label}, {_level(tables.summaries[view, best.trial_id])}; "
        "train the winner on fresh seeds before quoting it."
    )


def _claim(tables: StudyTables, view: View, ranked: tuple[TrialRow, ...]) -> str:
    best, baseline = ranked[0], tables.baseline
    measure, where = view.label, _where(tables, view)
    level = _level(tables.summaries[view, best.trial_id])
    if baseline is not None and best.is_baseline:
        rivals = [t for t in ranked[1:] if (view, t.trial_id) in tables.comparisons]
        if not rivals:
            return (
                f"{named(baseline)}, the baseline, has {measure} {level} on {where}; no other "
                "trial can be compared yet."
            )
        near = rivals[0]
        comparison = tables.comparisons[view, near.trial_id]
        return (
            f"The baseline {named(baseline)} has the highest mean {measure} on "
            f"{where}{_among(tables, view, best)}, {level}; "
            f"the nearest is {named(near)}, {difference_text(comparison)} from it "
            f"({evidence(comparison)})."
        )
    among = _among(tables, view, best)
    start = f"{named(best)} has the highest mean {measure} on {where}{among}, {level}"
    if baseline is None:
        return f"{start}; no baseline is named, so nothing is compared."
    found = tables.comparison(view, best)
    if found is None:
        return f"{start}; it shares no finished seed with the baseline {named(baseline)} yet."
    return (
        f"{start}, {difference_text(found)} over the baseline {named(baseline)} "
        f"({evidence(found)})."
    )


def _where(tables: StudyTables, view: View) -> str:
    return f"{view.where} of {tables.folds} folds" if tables.folds else view.where


def _among(tables: StudyTables, view: View, best: TrialRow) -> str:
    """Qualify the claim that a trial is best if others, with fewer seeds so far, are above it."""
    level = tables.summaries[view, best.trial_id].mean
    means = [s.mean for t in tables.contenders if (s := tables.summary(view, t))]
    return " of those with the most seeds so far" if max(means) > level else ""


def _label(tables: StudyTables, view: View) -> str:
    pairs = tables.compared(view)
    return "tested" if pairs and not any(c.exploratory for c in pairs) else "exploratory"


def _level(summary: Summary) -> str:
    why = "one seed, so no interval" if summary.n == 1 else "95 % interval"
    return f"{plus_minus(summary)} ({why})"


def _controls(tables: StudyTables, view: View, best: TrialRow) -> list[str]:
    top = tables.summaries[view, best.trial_id].mean
    parts = []
    for trial in tables.trials:
        found = tables.summary(view, trial)
        if trial.is_control and found is not None:
            side = "above" if top >= found.mean else "below"
            gap = decimal(abs(top - found.mean))
            where = f"{gap} {side}" if float(gap) else "level with"
            parts.append(f"{where} {trial.label} ({decimal(found.mean)})")
    *first, last = parts or [""]
    listed = f"{', '.join(first)} and {last}" if first else last
    return [f"{named(best)} is {listed}."] if parts else []


def _below_a_control(tables: StudyTables, view: View) -> str:
    """Say which trials are below a control, which trains nothing; empty if none is.

    The control named is the highest one, below which the most trials are.
    """
    means = {
        trial.trial_id: found.mean
        for trial in tables.trials
        if (found := tables.summaries.get((view, trial.trial_id))) is not None
    }
    controls = [t for t in tables.trials if t.is_control and t.trial_id in means]
    trials = [t for t in tables.contenders if t.trial_id in means]
    if not controls:
        return ""
    top = max(controls, key=lambda control: means[control.trial_id])
    below = [trial for trial in trials if means[trial.trial_id] < means[top.trial_id]]
    if not below:
        return ""
    who = f"{len(below)} of {len(trials)} trials are"
    if len(below) == len(trials):
        who = "every trial is" if len(trials) > 1 else "it is"
    elif len(below) == 1:
        who = f"{named(below[0])} is"
    level = decimal(means[top.trial_id])
    return f"but {who} below the control {named(top)}, {level}, for which nothing is trained"


def _missing(tables: StudyTables) -> list[str]:
    states = Counter(run.state for run in tables.runs)
    total = len(tables.runs)
    sentences = []
    if tables.pruned:
        trials = "1 trial was" if len(tables.pruned) == 1 else f"{len(tables.pruned)} trials were"
        sentences.append(f"{trials} pruned and are in no table; see Pruned.")
    if states["failed"]:
        kinds = Counter(run.failure or "crash" for run in tables.runs if run.state == "failed")
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        sentences.append(
            f"{states['failed']} of {total} runs failed ({shown}); their seeds do not count."
        )
    if waiting := total - states["done"] - states["failed"]:
        sentences.append(
            f"{waiting} of {total} runs are not finished ({states['running']} running): "
            "the numbers may still change."
        )
    return sentences


def _alarms(tables: StudyTables) -> list[str]:
    """List what the workload found wrong in runs, and in which trials."""
    labels = {trial.trial_id: trial.label for trial in tables.trials}
    found: dict[str, list[str]] = {}
    for run in tables.runs:
        for alarm in _sentences(run.facts.get("alarms")):
            found.setdefault(alarm, []).append(labels[run.trial_id])
    return [
        f"Alarm in {len(trials)} of {len(tables.runs)} runs ({', '.join(dict.fromkeys(trials))}): "
        f"{alarm}"
        for alarm, trials in found.items()
    ]


def _remarks(tables: StudyTables) -> list[str]:
    """List what the workload wants every reader to know, each remark once."""
    found = [s for run in tables.runs for s in _sentences(run.facts.get("remarks"))]
    return list(dict.fromkeys(found))


def _sentences(fact: JsonValue) -> list[str]:
    return [str(each) for each in fact] if isinstance(fact, list) else []
