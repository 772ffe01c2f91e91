"""Load a study without training: its plan, its schedule and the states of its runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness.engine.dispatch.run_states import RunTable
from harness.engine.dispatch.store_writer import StoreWriter
from harness.errors import InputError
from harness.records.studies.study_record import StudyRecord, read_study_record
from harness.records.trial import Run, Trial
from harness.search.rules import check_rules
from harness.search.scheduler import Scheduler
from harness.study.claim_changes import refuse_changed_claims
from harness.study.loading import Loaded, load_study
from harness.study.trials.folds import fold_params, refused
from harness.study.trials.plan import Plan, make_plan
from harness.workload import Params, load_workload


class StudyState(NamedTuple):
    """A study and its stored runs."""

    plan: Plan
    schedule: Scheduler
    """Contains all trials that the results so far determine."""
    runs: RunTable
    """The states of their runs."""


def load_study_state(study: Path | Params, overrides: tuple[str, ...], results: Path) -> StudyState:
    """Load a study as ``run_study`` would, without training or writing anything.

    Raises:
        InputError: the study or its data is invalid, or registered claims have changed.
    """
    plan = plan_of(load_study(study, overrides))
    schedule = Scheduler(plan, RunIdentity(plan))
    before = read_study_record(results, plan.spec.study)
    refuse_changed_claims(plan.loaded, before.claims if before else ())
    restore_search_end(schedule, plan, before)
    runs = RunTable(results, StoreWriter(results), watched=watched(plan))
    runs.load(schedule.tasks.values())
    while schedule.propose_more(runs.finished):
        runs.load(schedule.tasks.values())
    return StudyState(plan, schedule, runs)


def plan_of(loaded: Loaded) -> Plan:
    """Return the study's plan, after checking that both ends of every axis fit the data.

    Raises:
        InputError: the study or its data is invalid.
    """
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    for trial in (*plan.fixed, *plan.ends):
        plan.code.of(trial.params)  # before reading data: refuses code edited in the meantime
    for trial in plan.ends:  # a range that the data rule out would waste trials
        fold = plan.folds_of(trial)[-1]
        params = fold_params(plan.loaded, plan.workload, trial, fold)
        _fingerprint(plan, trial, params, fold)
    return plan


def restore_search_end(schedule: Scheduler, plan: Plan, before: StudyRecord | None) -> None:
    """Restore the rules and the end of an earlier search, unless the time budget has grown.

    Raises:
        InputError: a newer version of this program began the search, or it has too few seeds.
    """
    if before is not None:
        schedule.keep_rules(before.rules)
    check_rules(plan.loaded, schedule.rules)
    if before is None or before.search_end is None or plan.spec.budget.hours is None:
        return
    if plan.spec.budget.hours <= (before.search_end_hours or 0.0):
        schedule.end_search(before.search_end)


def watched(plan: Plan) -> str | None:
    """Return the metric whose per-epoch values decide about early stopping, if any."""
    return plan.spec.searched if plan.spec.stops_by_epochs else None


class RunIdentity:
    """Builds the run that identifies a trial, a seed and a fold.

    The workload is asked once per trial and fold for the fingerprint of its data; it may refuse
    parameters that do not fit the data. Such a trial does not end the study if a search proposed
    it: its runs start, and fail as invalid.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # Trial id and fold -> parameters and fingerprint of the data.
        self._known: dict[tuple[str, int], tuple[Params, str]] = {}
        self.test_sets: dict[str, str] = {}
        """Trial id -> digest of the test set of a trial that is scored on it, where known."""

    def __call__(self, trial: Trial, seed: int, fold: int = 0) -> Run:
        """Return the run of a trial with a seed that holds out a fold; 0 if the data are not cut.

        Raises:
            InputError: a trial that the study names does not fit the data.
        """
        if (trial.trial_id, fold) not in self._known:
            self._known[trial.trial_id, fold] = self._ask(trial, fold)
            if trial.phase == "confirm" and (found := self._test_set(trial)):
                self.test_sets[trial.trial_id] = found
        params, data = self._known[trial.trial_id, fold]
        return Run(
            workload=self._plan.spec.workload,
            params=params,
            seed=seed,
            test=trial.phase == "confirm",
            code=self._plan.code.of(params),
            data=data,
        )

    def _test_set(self, trial: Trial) -> str:
        """Return the digest of a trial's test set; empty if unknown, as for unusable data."""
        try:
            return self._plan.workload.test_fingerprint(trial.params)
        except ValueError:  # data_fingerprint has reported it, or the run will
            return ""

    def _ask(self, trial: Trial, fold: int) -> tuple[Params, str]:
        plan = self._plan
        params = fold_params(plan.loaded, plan.workload, trial, fold)
        try:
            return params, _fingerprint(plan, trial, params, fold)
        except InputError:
            if plan.spec.is_fixed or trial.role != "trial":
                raise
            return params, "refused"


def _fingerprint(plan: Plan, trial: Trial, params: Params, fold: int = 0) -> str:
    try:
        return plan.workload.data_fingerprint(params)
    except ValueError as error:
        raise refused(plan.loaded, plan.workload, trial, fold, str(error)) from None
