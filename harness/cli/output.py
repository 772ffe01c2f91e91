"""Print a study's size, what is to be done, and its table."""

from __future__ import annotations

from pathlib import Path

from harness.api import Results
from harness.cli.row_formats import format_rows
from harness.cli.terminal import show
from harness.engine.preview import Preview
from harness.export.best_model import BestModel, best_model
from harness.report.findings.tables.final_table import final_table
from harness.study.trials.budget import search_trials
from harness.study.trials.plan import Plan


def size_of(plan: Plan) -> str:
    """Say how many trials and runs a study has."""
    spec = plan.spec
    trials = len(plan.fixed)
    if not spec.is_fixed:
        most = search_trials(spec, controls=len(plan.controls))
        if most is None:
            return f"as many trials as fit into {spec.budget.hours:g} h"
        trials = most
    seeds, confirm = len(spec.seed_list), spec.confirm
    controls = f" and {len(plan.controls)} controls"
    skipped = " at most" if spec.pruner != "none" or spec.stop is not None else ""
    if spec.is_chosen:
        chosen, later, fresh = plan.most_chosen_by, plan.most_confirmed, len(spec.confirm_seed_list)
        limit = " at most" if plan.is_path else ""
        return (
            f"{chosen} runs{limit} on validation classes, then {later // fresh} trials and "
            f"controls x {fresh} fresh seeds = {chosen + later} runs{limit}"
        )
    if confirm is None:
        runs = (trials + len(plan.controls)) * seeds
        return f"{trials} trials{controls} x {seeds} seeds = {runs} runs{skipped}"
    fresh = len(spec.confirm_seed_list)
    top = min(confirm.top, max(0, trials - 1))
    runs = trials * seeds + (top + 1 + len(plan.controls)) * fresh
    return (
        f"{trials} trials x {seeds} seeds, then the best {top}, the baseline{controls} x "
        f"{fresh} fresh seeds = {runs} runs{skipped}"
    )


def print_preview(planned: Preview) -> None:
    """Print what `harness run` would do."""
    show(f"study {planned.study}: {planned.question}")
    columns = ("trial", "seed", "run", "state")
    show(format_rows(columns, planned.runs, "table"))
    done = sum(each.state == "done" for each in planned.runs)
    show(f"{len(planned.runs)} runs, {done} done")
    for change in planned.changes:
        show(f"changed since it was run: {change}")
    if planned.is_open:
        show("plus the trials that the search will propose until its budget is spent")
    elif planned.proposed_later:
        show(f"plus up to {planned.proposed_later} trials that the search has yet to propose")
    elif planned.confirmed_later:
        show(f"plus {planned.confirmed_later} runs that confirm its winners")
    elif planned.raced_later:
        show(f"plus up to {planned.raced_later} runs that find the rest of its path")
    elif planned.later_seeds:
        show(f"plus up to {planned.later_seeds} runs with the seeds that undecided trials get")


def print_results(results: Path, study: str, reports: Path) -> None:
    """Print a study's table and write its report."""
    table = final_table(results, study)
    page = Results(results).report(study, reports)
    rows = [
        (
            f"{trial.label} (baseline)" if trial.is_baseline else trial.label,
            "" if found is None else f"{found.mean:.4f}",
            "" if found is None or found.sd is None else f"{found.sd:.4f}",
            "" if found is None or found.low is None else f"[{found.low:.4f}, {found.high:.4f}]",
            f"{0 if found is None else found.n}/{planned}",
        )
        for trial, found, planned in table.rows
    ]
    if table.note:
        print(f"note: {table.note}")
    heading = f"{table.view.label} ({table.view.split})"
    show(format_rows(("trial", heading, "sd", "95 % interval", "seeds"), rows, "table"))
    for decision in table.decisions:
        show(decision)
    show(f"answer: {table.claim}")
    show(f"report: {page}")
    if (best := best_model(results, study)) is not None:
        show(f"best model: {describe_model(best)}")


def describe_model(model: BestModel) -> str:
    """Say where a model is and which run it comes from."""
    score = "" if model.score is None else f", val {model.score:.4f}"
    return f"{model.path} ({model.trial}, seed {model.seed}{score})"
