"""State where the variance between seeds comes from; pure, from the tables."""

from __future__ import annotations

from harness.report.data.study_data import SourceShare, StudyTables, View
from harness.report.findings.estimates import decimal
from harness.stats.variance.variance_share import additivity

ALL, NONE = "all", "none"


def sources_of(tables: StudyTables, view: View) -> list[SourceShare]:
    """Return the sources that varied alone, the one with the largest share first."""
    found = [each for each in tables.variance.get(view, ()) if each.source not in (ALL, NONE)]
    return sorted(found, key=lambda each: -each.share)


def shown_shares(tables: StudyTables, view: View) -> list[SourceShare]:
    """Return the sources as ``sources_of`` does, and what is left with all of them pinned."""
    left = [each for each in tables.variance.get(view, ()) if each.source == NONE]
    return [*sources_of(tables, view), *left]


def is_left(found: SourceShare) -> bool:
    """Whether this is what is left with everything pinned."""
    return found.source == NONE


def source_name(found: SourceShare) -> str:
    """Name a source for a reader."""
    return "everything pinned" if is_left(found) else found.source


def share_text(found: SourceShare) -> str:
    """Format a share with its 95 % interval: ``64 % [31, 133]``."""
    if found.low is None or found.high is None:
        return _percent(found.share)
    return f"{_percent(found.share)} [{_points(found.low)}, {_points(found.high)}]"


def variance_claim(tables: StudyTables, view: View) -> str:
    """Say in a sentence what share each source gives; that none is known yet, without shares."""
    found = sources_of(tables, view)
    if not found:
        return (
            "There is no answer yet: a share of the variance needs three seeds, finished both with "
            "a source varying alone and with everything varying, and values that differ."
        )
    (whole,) = (each for each in tables.variance[view] if each.source == ALL)
    listed = ", ".join(f"{each.source} {share_text(each)}" for each in found)
    return (
        f"Of the variance of {view.label} on {view.where} between seeds (sd {decimal(whole.sd, 4)} "
        f"over {whole.n} seeds), each source alone gives: {listed}; {_left(tables, view)}."
    )


def variance_sentences(tables: StudyTables) -> tuple[str, ...]:
    """Write a sentence on each source, the largest first, and on their sum; empty without."""
    view = tables.primary
    found = [] if view is None else sources_of(tables, view)
    if view is None or not found:
        return ()
    said = [
        f"{each.source} alone: {share_text(each)} of the variance (sd {decimal(each.sd, 4)}, "
        f"{each.n} pairs of seeds)."
        for each in found
    ]
    left = _left(tables, view)
    return (*said, f"{left[0].upper()}{left[1:]}.", _sum(tables, view))


def variance_methods(tables: StudyTables) -> list[str]:
    """Say how the shares were estimated, for a paper; empty for any other study."""
    if not tables.is_variance:
        return []
    return [
        "Each source of randomness varied alone, with all others pinned to one seed; its share is "
        "its variance divided by the variance with everything varying, over the same seeds, with "
        "Pitman's 95 % interval for the variances of paired values."
    ]


def _left(tables: StudyTables, view: View) -> str:
    """Say how much runs still differ when every source of randomness is pinned."""
    left = [each for each in tables.variance[view] if each.source == NONE]
    if not left:
        return "runs with everything pinned are still to come"
    if left[0].share == 0:
        return "with everything pinned all runs are equal"
    return (
        f"with everything pinned {share_text(left[0])} is left, which the machine gives at random "
        "and which is part of every share"
    )


def _sum(tables: StudyTables, view: View) -> str:
    """Say what the shares add up to, and whether the sources do, seed by seed."""
    shares = [each.share for each in sources_of(tables, view)]
    noise = sum(each.share for each in tables.variance[view] if each.source == NONE)
    total = sum(shares) - noise * max(0, len(shares) - 1)
    said = f"By these estimates the sources alone add up to {_percent(total)} of the variance"
    found = additivity(*_paired(tables, view))
    if found is None:
        return f"{said}."
    return (
        f"{said}. Seed by seed, the sum of what they give alone correlates with what all give "
        f"together by {decimal(found.correlation, 2)} [{decimal(found.low, 2)}, "
        f"{decimal(found.high, 2)}]: 1 if each adds its own part, near 0 if any change of any "
        "source, or a source that is not named, changes everything."
    )


def _paired(tables: StudyTables, view: View) -> tuple[list[list[float]], list[float]]:
    """Return the values of each source and of everything, on the seeds that all of them have."""
    labels = {trial.trial_id: trial.label for trial in tables.trials}
    values: dict[str, dict[int, float]] = {}
    for each in tables.values[view]:
        values.setdefault(labels[each.trial_id], {})[each.seed] = each.value
    wanted = [ALL, *(each.source for each in sources_of(tables, view))]
    seeds = sorted(set.intersection(*(set(values[label]) for label in wanted)))
    whole, *alone = ([values[label][seed] for seed in seeds] for label in wanted)
    return alone, whole


def _percent(share: float) -> str:
    return f"{_points(share)} %"


def _points(share: float) -> str:
    """Format a share as a percentage, small ones with a decimal."""
    return f"{100 * share:.1f}" if 0 < share < 0.0995 else f"{100 * share:.0f}"
