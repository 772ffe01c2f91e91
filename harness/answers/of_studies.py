"""Documents about a study before and while it is run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from harness.answers.documents import (
    Checked,
    ComparedTable,
    Forecasted,
    Previewed,
    PreviewedRun,
    Ran,
    Reported,
    StateApart,
    VerifiedStudy,
)
from harness.engine.preview import Preview
from harness.engine.run_study import Outcome
from harness.search.rules import NEWEST_RULES, check_rules
from harness.study.loading import Loaded
from harness.study.trials.budget import search_trials
from harness.study.trials.plan import Plan, make_plan
from harness.verify import Verified
from harness.workload import load_workload


def checked(loaded: Loaded) -> Checked:
    """Check a loaded study without its data, and count its runs.

    Raises:
        InputError: the study does not fit its workload.
    """
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    check_rules(loaded, NEWEST_RULES)
    return _size(plan, loaded.source.name)


def _size(plan: Plan, file: str) -> Checked:
    spec = plan.spec
    controls, seeds = len(plan.controls), len(spec.seed_list)
    trials = len(plan.fixed) if spec.is_fixed else search_trials(spec, controls=controls)
    confirmed, fresh, runs = 0, len(spec.confirm_seed_list), None
    if spec.confirm:
        confirmed = 1 + (
            spec.confirm.top if trials is None else min(spec.confirm.top, max(0, trials - 1))
        )
    if spec.is_chosen:
        trials = confirmed = plan.most_confirmed // fresh - controls
        runs = plan.most_chosen_by + plan.most_confirmed
    elif trials is not None:
        runs = (trials + (0 if confirmed else controls)) * spec.runs_of_trial
        runs += (confirmed + controls) * fresh if confirmed else 0
    return Checked(
        study=spec.study,
        file=file,
        question=spec.question,
        metric=spec.metric,
        trials=trials,
        controls=controls,
        seeds=seeds,
        folds=spec.folds,
        confirmed=confirmed,
        confirm_seeds=fresh,
        chosen_by=plan.most_chosen_by,
        runs=runs,
        are_at_most=spec.pruner != "none" or spec.stop is not None or plan.is_path,
        hours=spec.budget.hours,
    )


def previewed(found: Preview) -> Previewed:
    """Return the document of a preview."""
    runs = [PreviewedRun.model_validate(run._asdict()) for run in found.runs]
    done = sum(run.state == "done" for run in runs)
    return Previewed.model_validate(found._asdict() | {"runs": runs, "done": done})


def ran(outcome: Outcome, results: Reported | None) -> Ran:
    """Return the document of a call that trained."""
    forecast = outcome.forecast and Forecasted.model_validate(asdict(outcome.forecast))
    return Ran.model_validate(outcome._asdict() | {"results": results, "forecast": forecast})


def verified(study: str, found: Verified) -> VerifiedStudy:
    """Return the document of a verification."""
    return VerifiedStudy(
        study=study,
        kills={**found.kills},
        studies=found.studies,
        is_equal=found.is_equal,
        tables=tuple(ComparedTable.model_validate(table._asdict()) for table in found.tables),
        kept=None if found.kept is None else text_of(found.kept),
        apart=found.apart and StateApart.model_validate(found.apart._asdict()),
    )


def text_of(path: Path) -> str:
    """Return a path as text; bytes that no character has are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")
