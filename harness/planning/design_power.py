"""What a design could detect, in units of the metric where earlier runs give the spread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.planning.ablation_design import largest_family
from harness.stats.paired import t_quantile
from harness.stats.power import (
    can_be_significant,
    detectable_effect,
    seeds_needed,
    smallest_p,
)
from harness.stats.variance.spread import Deviation, planned_spread
from harness.store.database import query
from harness.study.spec import StudySpec
from harness.study.trials.plan import Plan


@dataclass(frozen=True)
class Spread:
    """Spread of paired differences, in earlier runs."""

    sd: float
    """Median over trials of the standard deviation of their differences from the baseline; with
    three seeds or fewer an upper bound of it, see ``harness.stats.variance.spread``."""
    trials: int
    where: str
    """``this study`` or ``other studies``."""
    measured: float
    """The median itself."""
    is_bound: bool
    """Whether ``sd`` is the upper bound."""


@dataclass(frozen=True)
class Power:
    """What the design could detect."""

    metric: str
    split: str
    seeds: int
    comparisons: int
    smallest_p: float
    """Smallest p that any result can have, after Holm's correction."""
    seeds_needed: int | None
    """Number of seeds with which a result could be significant; None if no number is enough."""
    effect: float | None
    """Detected in 80 % of studies, in standard deviations of paired differences; None if nothing is
    detectable."""
    spread: Spread | None
    difference: float | None
    """The effect in the metric's own units, if the spread is known."""


def power_of(plan: Plan, results: Path) -> Power | None:
    """Return what a study could detect; None if it makes no comparison."""
    spec, noise = plan.spec, 1.0
    if spec.variance is not None:  # it tests no difference
        return None
    if spec.ablate is not None:
        seeds = len(spec.confirm_seed_list or spec.seed_list)
        split = "val" if spec.folds and not spec.is_confirmed else "test"
        comparisons, noise = largest_family(spec.ablate.plan)
    elif not spec.is_sealed or (spec.is_fixed and spec.confirm is None):
        seeds, comparisons = len(spec.seed_list), len(plan.fixed) - 1
        split = "val" if spec.folds else "test"
    elif spec.confirm is not None:
        seeds, comparisons, split = len(spec.confirm_seed_list), confirmed_trials(plan), "test"
    else:  # a search without a confirmation makes no claim
        return None
    if comparisons < 1:
        return None
    spread = _spread(spec, results)
    effect = detectable_effect(seeds, comparisons)
    return Power(
        metric=spec.metric,
        split=split,
        seeds=seeds,
        comparisons=comparisons,
        smallest_p=min(1.0, comparisons * smallest_p(seeds)),
        seeds_needed=seeds if can_be_significant(seeds, comparisons) else seeds_needed(comparisons),
        effect=effect,
        spread=spread,
        difference=None if effect is None or spread is None else effect * noise * spread.sd,
    )


def confirmed_trials(plan: Plan) -> int:
    """Count the winners that will be compared with the baseline."""
    spec = plan.spec
    if spec.is_chosen:
        return plan.most_confirmed // len(spec.confirm_seed_list) - len(plan.controls) - 1
    trials = len(plan.fixed) if spec.is_fixed else spec.trials or 1
    return 0 if spec.confirm is None else min(spec.confirm.top, trials - 1)


def _spread(spec: StudySpec, results: Path) -> Spread | None:
    """Return the spread of the comparisons in the store, preferring this study's own."""
    try:
        rows = query(results, _SPREAD, [spec.metric, spec.workload]).rows
    except InputError:  # no results yet
        return None
    found = [
        (str(study), Deviation(_sd(int(str(n)), float(str(width))), int(str(n))))
        for study, n, width in rows
    ]
    own = [each for study, each in found if study == spec.study]
    others = [each for study, each in found if study != spec.study]
    if not own and not others:
        return None
    where = "this study" if own else "other studies"
    planned = planned_spread(own, others) if own else planned_spread(others, others)
    return Spread(planned.sd, len(own or others), where, planned.measured, planned.is_bound)


# One row per trial, on the decisive split; constant differences carry no information.
_SPREAD = """
    SELECT comparison.study, comparison.n, comparison.high - comparison.low
    FROM comparison
    JOIN trial USING (trial_id)
    WHERE comparison.metric = $1 AND trial.role = 'trial' AND comparison.n > 1
        AND comparison.high > comparison.low
        AND EXISTS (
            SELECT 1 FROM member JOIN run USING (run_id)
            WHERE member.trial_id = comparison.trial_id AND run.workload = $2
        )
    QUALIFY row_number() OVER (
        PARTITION BY comparison.trial_id ORDER BY comparison.split <> 'test', comparison.split
    ) = 1
    ORDER BY ALL
"""


def _sd(pairs: int, width: float) -> float:
    """Return the standard deviation behind a 95 % t-interval of this width."""
    return float(width / 2 * pairs**0.5 / t_quantile(pairs - 1))
