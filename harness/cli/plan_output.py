"""Format the forecast of `harness plan`."""

from __future__ import annotations

from harness.planning.ablation_design import DesignPower, KindPower
from harness.planning.design_power import Power
from harness.planning.forecast import Forecast, Stopping
from harness.units import duration, duration_range, mebibytes, number_range


def describe(forecast: Forecast) -> list[str]:
    """Format the forecast as lines of text."""
    seeds = f"{forecast.seeds} seed{'s' * (forecast.seeds != 1)}"
    if forecast.stopping is not None or forecast.is_raced:
        seeds = f"at most {seeds}"
    if forecast.folds is not None:
        seeds = f"{seeds} x {forecast.folds} folds"
    size = f"{forecast.trials} trials and {forecast.controls} controls x {seeds}"
    if forecast.confirmed:
        size = (
            f"{forecast.trials} trials x {seeds}, then {forecast.confirmed} trials and "
            f"{forecast.controls} controls x {forecast.confirm_seeds} fresh seeds"
        )
    failed = f", {forecast.failed} failed permanently" if forecast.failed else ""
    lines = [
        f"study {forecast.study}: {forecast.question}",
        f"runs: {size} = {forecast.runs}; {forecast.done} done{failed}, {forecast.to_do} to do",
        *_fold_lines(forecast.folds),
        *forecast.design,
        *(f"changed since it was run: {change}" for change in forecast.changes),
        *_expense_lines(forecast),
        *_kept_lines(forecast),
    ]
    if forecast.power is not None:
        lines.append(_power_line(forecast.power))
    if forecast.designs and any(kind.effect for kind in forecast.designs[0].kinds):
        lines += [_design_line(each, forecast.seeds) for each in forecast.designs]
    if forecast.stopping is not None:
        lines.append(_stopping_line(forecast.stopping))
    return [*lines, *(f"warning: {warning}" for warning in forecast.warnings)]


def _fold_lines(folds: int | None) -> list[str]:
    if folds is None:
        return []
    return [
        f"folds: each seed of a trial is {folds} runs, {folds} times the cost of a single split; "
        f"its result is their mean, on classes held out in turn. Test classes stay shut"
    ]


def _stopping_line(stopping: Stopping) -> str:
    family = f"{stopping.comparisons} comparison{'s' * (stopping.comparisons != 1)}"
    line = (
        f"stop: a difference can be shown from {stopping.first_seeds} of {stopping.most_seeds} "
        f"seeds on ({family})"
    )
    if stopping.smallest_margin is None:
        return f"{line}; equality cannot, with any margin"
    unit = " standard deviations of paired differences" * (stopping.spread is None)
    return f"{line}; equality with a margin of about {stopping.smallest_margin:.2g}{unit} or more"


def _expense_lines(forecast: Forecast) -> list[str]:
    expense = forecast.expense
    if expense is None:
        return [] if not forecast.to_do else ["time and disk: unknown without a probe"]
    workers = f"{expense.workers} worker{'s' * (expense.workers != 1)}"
    together = f"; up to {forecast.together} runs share one" * (forecast.together > 1)
    lines = [
        f"time: {duration_range(expense.low_s, expense.high_s)} on {workers}, "
        f"{duration_range(expense.run_low_s, expense.run_high_s)} per run "
        f"(from {expense.basis}){together}",
        f"disk: about {mebibytes(expense.needed_mib)}, {mebibytes(expense.free_mib)} free",
    ]
    if expense.gpus:
        hours = number_range(*expense.gpu_hours, "GPU-hours")
        lines.append(f"GPUs: {hours} on {expense.gpus} GPU{'s' * (expense.gpus != 1)}")
    if expense.low_kwh is not None and expense.high_kwh is not None:
        lines.append(
            f"energy: {number_range(expense.low_kwh, expense.high_kwh, 'kWh')}, from the "
            f"{expense.watts:.0f} W that the probe took"
        )
    return lines


def _kept_lines(forecast: Forecast) -> list[str]:
    """Say how forecasts of this study, else of all studies, compare with what they took."""
    own = [each for each in forecast.kept if each.study == forecast.study]
    kept = own or list(forecast.kept)
    if not kept:
        return []
    held, last = sum(each.has_held for each in kept), kept[-1]
    whose = "of this study" if own else "of other studies"
    said = duration_range(3600 * last.low_hours, 3600 * last.high_hours)
    return [
        f"earlier forecasts {whose}: {held} of {len(kept)} held; the last said {said}, and it took "
        f"{duration(3600 * last.took_hours)}"
    ]


def _design_line(power: DesignPower, seeds: int) -> str:
    kinds = [f"{_article(kind.kind)} {kind.kind} of {_size(kind)}" for kind in power.kinds]
    name = power.design.replace("_", "-")
    instead = "" if power.is_chosen else " would"
    return (
        f"power of {name} ({power.runs_per_seed} x {seeds} runs):{instead} detect"
        f"{'s' * power.is_chosen} {', '.join(kinds)}"
    )


def _size(kind: KindPower) -> str:
    if kind.effect is None:
        return "no size"
    return f"{kind.effect:.1f} sd" if kind.difference is None else f"{kind.difference:.4f}"


def _article(word: str) -> str:
    return "an" if word[0] in "aio" else "a"


def _power_line(power: Power) -> str:
    what = f"{power.metric} ({power.split})"
    family = f"{power.seeds} seeds, {power.comparisons} comparison{'s' * (power.comparisons != 1)}"
    if power.effect is None:
        return f"power: no difference in {what} can be significant with {family}"
    if power.difference is None or power.spread is None:
        return (
            f"power: a difference in {what} of {power.effect:.1f} standard deviations of paired "
            f"differences is detected in 80 % of such studies ({family}); that deviation is "
            "unknown without earlier runs"
        )
    spread = power.spread
    bound = f": the upper 80 % bound, since few seeds gave {spread.measured:.4f}" * spread.is_bound
    return (
        f"power: a difference in {what} of {power.difference:.4f} is detected in 80 % of such "
        f"studies ({family}, paired sd {spread.sd:.4f} of {spread.trials} trials of "
        f"{spread.where}{bound})"
    )
