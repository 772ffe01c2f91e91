"""Estimate what a study will take and what it can detect, before anything is trained."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.engine.dispatch.packing import Packing
from harness.engine.forecast.run_costs import costs_to_come, total_time
from harness.engine.run_options import RunOptions, division_of_cores, gpus_for
from harness.engine.study_state import StudyState, load_study_state
from harness.executors.interface import PROCESS_EXECUTORS
from harness.planning.ablation_design import DesignPower, Settings, design_lines, powers
from harness.planning.cost_estimate import Basis, estimate_costs
from harness.planning.design_power import Power, Spread, confirmed_trials, power_of
from harness.planning.kept_forecasts import KeptForecast, kept_forecasts
from harness.planning.variance_design import variance_lines
from harness.stats.looks.stopping import first_look, smallest_margin
from harness.stats.margin_tests import pairs_for_verdict
from harness.stats.power import LEVEL
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
    """Of a typical training run: the middle of the range that follows."""
    run_low_s: float
    run_high_s: float
    total_s: float
    """Until everything is done, on this many workers: the middle of the range that follows."""
    low_s: float
    high_s: float
    needed_mib: float
    free_mib: float
    """On the disk of the results."""
    gpus: int
    """Number of GPUs in use until everything is done; 0 without a GPU."""
    watts: float | None
    """Power of processors and GPU during the probe; None without a probe, or if the machine does
    not tell."""
    low_kwh: float | None
    """Energy of all runs if several at once take no more power than one."""
    high_kwh: float | None
    """The same if each takes as much as one by itself."""

    @property
    def gpu_hours(self) -> tuple[float, float]:
        """The range of GPU-hours."""
        return self.gpus * self.low_s / 3600, self.gpus * self.high_s / 3600


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
    """None if nothing is tested: one trial, a search without a confirmation, or a study
    of variance."""
    warnings: tuple[str, ...]
    stopping: Stopping | None
    """None if the study has no ``stop``."""
    together: int
    """Maximum number of runs that one worker would train at once; 1 if the workload was not asked
    for it."""
    design: tuple[str, ...] = ()
    """Of an ablation or a study of variance: what its design costs and can show."""
    folds: int | None = None
    """Folds that each seed is trained with; None if the data are not cut."""
    designs: tuple[DesignPower, ...] = ()
    """Of an ablation: what its design could detect, and others of the same components."""
    kept: tuple[KeptForecast, ...] = ()
    """Earlier forecasts of the studies of this folder, oldest first."""
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
        may_probe: Whether to train four epochs of the baseline if no earlier run gives the time.

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
    power = power_of(plan, options.results)
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
        confirmed=confirmed_trials(plan) + 1 if spec.is_confirmed else 0,
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
        design=variance_lines(spec.variance) or _design_lines(spec),
        is_raced=plan.is_path,
        folds=spec.folds,
        designs=_designs(spec, power),
        kept=kept_forecasts(options.results),
    )


def _designs(spec: StudySpec, power: Power | None) -> tuple[DesignPower, ...]:
    if spec.ablate is None:
        return ()
    sd = None if power is None or power.spread is None else power.spread.sd
    return powers(spec.ablate.plan, _effect_seeds(spec), sd)


def _design_lines(spec: StudySpec) -> tuple[str, ...]:
    if spec.ablate is None:
        return ()
    tune = spec.ablate.tune
    settings = None if tune is None else Settings(tuple(tune.search), tune.trials, tune.seeds)
    return design_lines(spec.ablate.plan, _effect_seeds(spec), spec.ablate.race_rule, settings)


def _effect_seeds(spec: StudySpec) -> int:
    """Count the seeds with which an ablation estimates its effects."""
    return len(spec.confirm_seed_list if spec.is_confirmed else spec.seed_list)


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
    gpus = gpus_for(options)
    workers, threads = division_of_cores(options, len(gpus))
    workers = workers or 1
    known = estimate_costs(found, options.results, threads=threads, gpus=gpus, may_probe=may_probe)
    typical = known.costs.of_run(found.plan.typical)
    if typical is None or known.basis is None:
        return None
    runs = costs_to_come(found, known.costs, typical)
    total = total_time(runs, workers)
    hours = sum(run.high_s for run in runs) / 3600
    return CostEstimate(
        basis=known.basis,
        workers=workers,
        threads=threads,
        run_s=typical.seconds,
        run_low_s=typical.low_s,
        run_high_s=typical.high_s,
        total_s=total.middle_s,
        low_s=total.low_s,
        high_s=total.high_s,
        needed_mib=sum(run.size for run in runs) / 2**20,
        free_mib=shutil.disk_usage(_existing(options.results)).free / 2**20,
        gpus=min(len(gpus), workers),
        watts=known.watts,
        low_kwh=None if known.watts is None else known.watts * total.low_s / 3.6e6,
        high_kwh=None if known.watts is None else known.watts * hours / 1000,
    )


def _together(found: StudyState, options: RunOptions) -> int:
    """Return the largest number of runs still to do that may share a process."""
    packing = Packing(found.plan, is_possible=options.executor in PROCESS_EXECUTORS)
    waiting = found.schedule.tasks.keys() - found.runs.finished.keys()
    return max((packing.capacity(found.schedule.tasks[run_id]) for run_id in waiting), default=1)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
