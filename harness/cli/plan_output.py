"""Format the forecast of `harness plan`."""

from __future__ import annotations

from harness.planning.forecast import Forecast, Power, Stopping
from harness.units import duration, mebibytes


def describe(forecast: Forecast) -> list[str]:
    """Format the forecast as lines of text."""
    seeds = f"{forecast.seeds} seed{'s' * (forecast.seeds != 1)}"
    if forecast.stopping is not None or forecast.is_raced:
        seeds = f"at most {seeds}"
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
        *forecast.design,
        *(f"changed since it was run: {change}" for change in forecast.changes),
        *_expense_lines(forecast),
    ]
    if forecast.power is not None:
        lines.append(_power_line(forecast.power))
    if forecast.stopping is not None:
        lines.append(_stopping_line(forecast.stopping))
    return [*lines, *(f"warning: {warning}" for warning in forecast.warnings)]


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
    return [
        f"time: about {duration(expense.total_s)} on {workers}, {duration(expense.run_s)} per run "
        f"(from {expense.basis}){together}",
        f"disk: about {mebibytes(expense.needed_mib)}, {mebibytes(expense.free_mib)} free",
    ]


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
    return (
        f"power: a difference in {what} of {power.difference:.4f} is detected in 80 % of such "
        f"studies ({family}, paired sd {power.spread.sd:.4f} of {power.spread.trials} trials of "
        f"{power.spread.where})"
    )
