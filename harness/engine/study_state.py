"""A study before anything is trained: its plan, its runs, and what is there of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.engine.dispatch.run_states import RunStates
from harness.errors import InputError
from harness.records.study_record import StudyRecord, read_study_record
from harness.records.trial import Run, Trial
from harness.search.rules import check_rules
from harness.search.scheduler import Scheduler
from harness.study.loading import Loaded, load_study
from harness.study.plan import Plan, make_plan
from harness.study.trials import locate
from harness.workload import Params, load_workload


class StudyState(NamedTuple):
    """A study and what is there of it."""

    plan: Plan
    schedule: Scheduler
    """With all trials that can be known by now."""
    ledger: RunStates
    """With the states of their runs."""


def load_study_state(study: Path | Params, overrides: tuple[str, ...], results: Path) -> StudyState:
    """Take up a study as ``run_study`` would. Nothing is trained and nothing written.

    Raises:
        InputError: the study or its data is wrong.
    """
    plan = plan_of(load_study(study, overrides))
    schedule = Scheduler(plan, identifier(plan))
    restore_search_end(schedule, plan, read_study_record(results, plan.spec.study))
    ledger = RunStates(results, watched=watched(plan))
    ledger.load(schedule.thresholds)
    while schedule.propose_more(ledger.settled):
        ledger.load(schedule.thresholds)
    return StudyState(plan, schedule, ledger)


def plan_of(loaded: Loaded) -> Plan:
    """The study's plan, of which the ends of every axis fit the data.

    Raises:
        InputError: the study or its data is wrong.
    """
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    for trial in (*plan.fixed, *plan.ends):
        plan.code.of(trial.params)  # before any data: code that was edited meanwhile is refused
    for trial in plan.ends:  # a range that the data cannot serve would cost a search trials
        _fingerprint(plan, trial)
    return plan


def restore_search_end(schedule: Scheduler, plan: Plan, before: StudyRecord | None) -> None:
    """Search by the rules of an earlier call; end where it has ended, unless there is more time.

    Raises:
        InputError: the search began in a newer version of this program, or has too few seeds.
    """
    if before is not None:
        schedule.keep_rules(before.rules)
    check_rules(plan.loaded, schedule.rules)
    if before is None or before.search_end is None or plan.spec.budget.hours is None:
        return
    if plan.spec.budget.hours <= (before.search_end_hours or 0.0):
        schedule.end_search(before.search_end)


def watched(plan: Plan) -> str | None:
    """The metric whose values over the epochs decide something."""
    return plan.spec.searched if plan.spec.stops_by_epochs else None


def identifier(plan: Plan) -> Callable[[Trial, int], Run]:
    """What turns a trial and a seed into a run.

    The workload is asked once a trial for the fingerprint of its data, which is also when it
    refuses parameters that do not fit them. A trial that a search proposed must not end the
    study: its runs start, and fail as invalid.
    """
    fingerprints: dict[str, str] = {}

    def identify(trial: Trial, seed: int) -> Run:
        key = trial.trial_id
        if key not in fingerprints:
            try:
                fingerprints[key] = _fingerprint(plan, trial)
            except InputError:
                if plan.spec.is_fixed or trial.role != "trial":
                    raise
                fingerprints[key] = "refused"
        return Run(
            workload=plan.spec.workload,
            params=trial.params,
            seed=seed,
            test=trial.phase == "confirm",
            code=plan.code.of(trial.params),
            data=fingerprints[key],
        )

    return identify


def _fingerprint(plan: Plan, trial: Trial) -> str:
    try:
        return plan.workload.data_fingerprint(trial.params)
    except ValueError as error:
        line = " ".join(str(error).split())
        where = locate(plan.loaded, trial.varied, line.partition(":")[0])
        raise InputError(f"{where}: {line}") from None
