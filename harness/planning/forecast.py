"""Estimate what a study will take and what it can detect, before anything is trained."""

from __future__ import annotations

import math
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path

from harness.engine.dispatch.packing import Packing
from harness.engine.run_options import RunOptions, division_of_cores, gpus_for
from harness.engine.study_state import StudyState, load_study_state
from harness.errors import InputError
from harness.executors.interface import PROCESS_EXECUTORS
from harness.planning.ablation_design import Settings, design_lines, largest_family
from harness.planning.cost_estimate import Basis, Cost, CostEstimator, estimate_costs
from harness.stats.margin_tests import pairs_for_verdict
from harness.stats.paired import t_quantile
from harness.stats.power import (
    LEVEL,
    can_be_significant,
    detectable_effect,
    seeds_needed,
    smallest_p,
)
from harness.stats.stopping import first_look, smallest_margin
from harness.store.database import query
from harness.study.spec import StudySpec
from harness.study.spec_diff import changes_of
from harness.study.trials.plan import Plan
from harness.units import mebibytes


@dataclass(frozen=True)
class CostEstimate:
    """Time and disk space of the runs still to do."""

    basis: Basis
    workers: int
    threads: int
    run_s: float
    """Of a typical training run."""
    total_s: float
    """Until everything is done, on this many workers."""
    needed_mib: float
    free_mib: float
    """On the disk of the results."""


@dataclass(frozen=True)
class Spread:
    """Spread of paired differences, in earlier runs."""

    sd: float
    """Median over trials of the standard deviation of their differences from the baseline."""
    trials: int
    where: str
    """``this study`` or ``other studies``."""


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


@dataclass(frozen=True)
class Stopping:
    """What a study with ``stop`` could show, and when."""

    first_seeds: int
    """Number of seeds at the first look that could show a difference."""
    most_seeds: int
    comparisons: int
    margin: float | None
    smallest_margin: float | None
    """The smallest margin that equal trials could be shown to be within, in standard deviations of
    paired differences if the spread is unknown; None if there are too few seeds for any."""
    spread: Spread | None


@dataclass(frozen=True)
class Forecast:
    """Everything that is estimated for a study."""

    study: str
    question: str
    trials: int
    """In the whole study, not counting controls and confirmations."""
    controls: int
    seeds: int
    confirmed: int
    """Trials that are retrained, including the baseline."""
    confirm_seeds: int
    runs: int
    """An upper bound for a search."""
    done: int
    failed: int
    """Failed permanently."""
    to_do: int
    changes: tuple[str, ...]
    """Differences from the study of this name in the results."""
    expense: CostEstimate | None
    """None if nothing is known, or if there is nothing to do."""
    power: Power | None
    """None if nothing is tested: one trial, or a search without a confirmation."""
    warnings: tuple[str, ...]
    stopping: Stopping | None
    """None if the study has no ``stop``."""
    together: int
    """Maximum number of runs that one worker would train at once; 1 if the workload was not asked
    for it."""
    design: tuple[str, ...] = ()
    """Of an ablation: what its design costs, can show and confounds."""
    is_raced: bool = False
    """Whether a trial of the first phase may get fewer seeds than the others."""


def make_forecast(
    path: Path, overrides: tuple[str, ...], options: RunOptions, *, may_probe: bool
) -> Forecast:
    """Estimate what ``run_study`` would do with the same arguments. Nothing is written.

    Args:
        path: The study file.
        overrides: ``KEY=VALUE`` each, taking precedence over the file.
        options: Where and how the study would be run.
        may_probe: Whether to train two epochs of the baseline if no earlier run gives the time.

    Raises:
        InputError: the study or its data is wrong, or the probe failed.
        HarnessError: no run can be started.
    """
    found = load_study_state(path, overrides, options.results)
    plan, spec = found.plan, found.plan.spec
    states = [found.runs.finished.get(run_id) for run_id in found.schedule.tasks]
    done = sum(state is not None and state.state == "done" for state in states)
    failed = sum(state is not None and state.state == "failed" for state in states)
    total = found.schedule.total
    expense = _expense(found, options, may_probe=may_probe) if total > done + failed else None
    power = _power(plan, options.results)
    stopping = None if power is None else _stopping(plan, power)
    trials = len(plan.fixed) if spec.is_fixed else spec.trials or 0
    if spec.is_chosen:
        trials = plan.most_chosen_by // len(spec.seed_list)
    return Forecast(
        study=spec.study,
        question=spec.question,
        trials=trials,
        controls=len(plan.controls),
        seeds=len(spec.seed_list),
        confirmed=_confirmed(plan) + 1 if spec.is_confirmed else 0,
        confirm_seeds=len(spec.confirm_seed_list),
        runs=total,
        done=done,
        failed=failed,
        to_do=total - done - failed,
        changes=tuple(str(change) for change in changes_of(plan, options.results)),
        expense=expense,
        power=power,
        warnings=(
            *_warnings(power, expense),
            *_claim_warnings(spec),
            *_warnings_of_margin(stopping),
        ),
        stopping=stopping,
        together=_together(found, options) if may_probe else 1,
        design=_design_lines(spec),
        is_raced=plan.is_path,
    )


def _design_lines(spec: StudySpec) -> tuple[str, ...]:
    if spec.ablate is None:
        return ()
    seeds = len(spec.confirm_seed_list if spec.is_confirmed else spec.seed_list)
    tune = spec.ablate.tune
    settings = None if tune is None else Settings(tuple(tune.search), tune.trials, tune.seeds)
    return design_lines(spec.ablate.plan, seeds, spec.ablate.race_rule, settings)


def _warnings(power: Power | None, expense: CostEstimate | None) -> tuple[str, ...]:
    found = []
    if power is not None and power.effect is None:
        needed = (
            "no number of seeds is enough for this many comparisons: compare fewer trials"
            if power.seeds_needed is None
            else f"use at least {power.seeds_needed} seeds"
        )
        holm = f"{power.comparisons} x " if power.comparisons > 1 else ""
        found.append(
            f"with {power.seeds} seed{'s' * (power.seeds != 1)} no difference can be significant: "
            f"the smallest p is {holm}2/2^{power.seeds} = {power.smallest_p:.4g}, "
            f"not below {LEVEL}; {needed}"
        )
    if expense is not None and expense.needed_mib > expense.free_mib:
        found.append(
            f"the results need about {mebibytes(expense.needed_mib)}, but only "
            f"{mebibytes(expense.free_mib)} are free; make space, or choose another "
            "folder with --results"
        )
    return tuple(found)


def _claim_warnings(spec: StudySpec) -> list[str]:
    """Say if there are too few seeds to decide any of the study's claims."""
    seeds = len(spec.confirm_seed_list if spec.is_confirmed else spec.seed_list)
    needed = pairs_for_verdict(len(spec.claims))
    if not spec.claims or seeds >= needed:
        return []
    return [
        f"with {seeds} seed{'s' * (seeds != 1)} no claim can be decided: {len(spec.claims)} "
        f"claim{'s' * (len(spec.claims) != 1)} need at least {needed}"
    ]


def _stopping(plan: Plan, power: Power) -> Stopping | None:
    stop = plan.spec.stop
    if stop is None:
        return None
    first = first_look(stop.rule, power.comparisons)
    sd = 1.0 if power.spread is None else power.spread.sd
    least = smallest_margin(stop.rule, power.comparisons, sd)
    return Stopping(
        first_seeds=first or stop.most_seeds,
        most_seeds=stop.most_seeds,
        comparisons=power.comparisons,
        margin=stop.margin,
        smallest_margin=least if math.isfinite(least) else None,
        spread=power.spread,
    )


def _warnings_of_margin(stopping: Stopping | None) -> tuple[str, ...]:
    """Warn of a margin that no trial could be shown to be within."""
    if stopping is None or stopping.margin is None:
        return ()
    start = f"no trial can be shown to be within the margin of {stopping.margin:g}"
    if stopping.smallest_margin is None:
        return (f"{start}, or any other, with {stopping.most_seeds} seeds; raise stop.most_seeds",)
    if stopping.spread is None or stopping.margin >= stopping.smallest_margin:
        return ()
    return (
        f"{start}: with {stopping.most_seeds} seeds the smallest is about "
        f"{stopping.smallest_margin:.2g}; raise stop.margin or stop.most_seeds",
    )


def _expense(found: StudyState, options: RunOptions, *, may_probe: bool) -> CostEstimate | None:
    workers, threads = division_of_cores(options, len(gpus_for(options)))
    workers = workers or 1
    costs = estimate_costs(found, options.results, threads=threads, may_probe=may_probe)
    typical, basis = costs.of_run(found.plan.typical), costs.basis
    if typical is None or basis is None:
        return None
    runs = _run_costs(found, costs, typical)
    seconds = sum(run.seconds for run in runs) / min(workers, len(runs))
    return CostEstimate(
        basis=basis,
        workers=workers,
        threads=threads,
        run_s=typical.seconds,
        total_s=max(seconds, *(run.seconds for run in runs)),
        needed_mib=sum(run.size for run in runs) / 2**20,
        free_mib=shutil.disk_usage(_existing(options.results)).free / 2**20,
    )


def _together(found: StudyState, options: RunOptions) -> int:
    """Return the largest number of runs still to do that may share a process."""
    packing = Packing(found.plan, is_possible=options.executor in PROCESS_EXECUTORS)
    waiting = found.schedule.tasks.keys() - found.runs.finished.keys()
    return max((packing.capacity(found.schedule.tasks[run_id]) for run_id in waiting), default=1)


def _run_costs(found: StudyState, costs: CostEstimator, typical: Cost) -> list[Cost]:
    """Return the cost of every run still to do; runs not yet proposed get the typical cost."""
    schedule = found.schedule
    waiting = [task for run_id, task in schedule.tasks.items() if run_id not in found.runs.finished]
    trials = {task.trial.trial_id: task.trial for task in waiting}
    by_trial = {key: costs.of_run(trial) or typical for key, trial in trials.items()}
    later = schedule.total - len(schedule.tasks)
    return [*(by_trial[task.trial.trial_id] for task in waiting), *[typical] * later]


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _power(plan: Plan, results: Path) -> Power | None:
    spec, noise = plan.spec, 1.0
    if spec.ablate is not None:
        seeds, split = len(spec.confirm_seed_list or spec.seed_list), "test"
        comparisons, noise = largest_family(spec.ablate.plan)
    elif not spec.is_sealed:
        seeds, comparisons, split = len(spec.seed_list), len(plan.fixed) - 1, "test"
    elif spec.confirm is not None:
        seeds, comparisons, split = len(spec.confirm_seed_list), _confirmed(plan), "test"
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


def _confirmed(plan: Plan) -> int:
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
    found = [(str(study), _sd(int(str(n)), float(str(width)))) for study, n, width in rows]
    own = [sd for study, sd in found if study == spec.study]
    others = [sd for study, sd in found if study != spec.study]
    for deviations, where in ((own, "this study"), (others, "other studies")):
        if deviations:
            return Spread(statistics.median(deviations), len(deviations), where)
    return None


# One row per trial, on the decisive split; constant differences carry no information.
_SPREAD = """
    SELECT comparison.study, comparison.n, comparison.high - comparison.low
    FROM comparison
    JOIN trial USING (trial_id)
    WHERE comparison.metric = $1 AND trial.role = 'trial' AND comparison.n > 2
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
