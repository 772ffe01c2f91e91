"""Turns a study into its trials, without running, reading or writing anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import InputError
from harness.records.trial import Trial
from harness.stats.ablations.designs import cells, most_raced
from harness.study.loading import Loaded
from harness.study.spec import MOST_PROPOSED, StudySpec
from harness.study.trials.ablation import make_ablation, numbered_ends, with_bare
from harness.study.trials.budget import check_budget, check_chosen_budget
from harness.study.trials.claimed import check_claims
from harness.study.trials.conditions import Varied, check_conditions, fill
from harness.study.trials.controls import make_controls
from harness.study.trials.folds import fold_params
from harness.study.trials.grid import baseline_of_search, check_axes, ends_of_axes, make_grid
from harness.study.trials.single_trial import make_trial
from harness.study.trials.stop_check import check_stop
from harness.study.trials.tuning import tuned
from harness.study.trials.variance import make_variance
from harness.workload import Workload
from harness.workload.code_version import CodeVersions


@dataclass(frozen=True)
class Plan:
    """The trials of a study that are known before anything runs."""

    loaded: Loaded
    workload: Workload
    fixed: tuple[Trial, ...]
    """All trials of a grid; only the baseline, number 0, of a search; both ends of a path."""
    controls: tuple[Trial, ...]
    """The workload's control trials, numbered after all others."""
    ends: tuple[Trial, ...] = ()
    """For a search: a trial at each end of each axis, which is checked but never trained."""
    most_epochs: int | None = None
    """For hyperband: number of epochs of the longest run."""
    code: CodeVersions = field(kw_only=True)
    """Versions of the workload's code, as read by this call."""

    @property
    def spec(self) -> StudySpec:
        """The study that was planned."""
        return self.loaded.spec

    @property
    def typical(self) -> Trial:
        """The trial that costs are estimated from: the baseline, unless a control stands for it."""
        baseline = next(trial for trial in self.fixed if trial.role == "baseline")
        borrowed = self.spec.ablate is not None and self.spec.ablate.bare is not None
        if borrowed and not any(baseline.varied.values()):
            return next(trial for trial in self.fixed if trial is not baseline)
        return baseline

    @property
    def is_path(self) -> bool:
        """Whether the trials are the nodes of an ablation's path, found by races."""
        return self.spec.ablate is not None and self.spec.ablate.design == "path"

    @property
    def most_chosen_by(self) -> int:
        """The most runs that an ablation chooses by on validation classes."""
        trials = sum(trial.phase == "search" for trial in self.fixed)
        if self.spec.ablate is not None and self.is_path:
            trials = most_raced(len(self.spec.ablate.components))
        return trials * len(self.spec.seed_list) if self.spec.is_chosen else 0

    @property
    def most_confirmed(self) -> int:
        """The most runs that such an ablation then trains, controls included."""
        ablate = self.spec.ablate
        if ablate is None or not self.spec.is_chosen:
            return 0
        count = len(ablate.components) + 1 if self.is_path else len(cells(ablate.plan))
        # A control that stands for everything off is not trained twice.
        borrowed = sum(bool(control.varied) for control in self.controls)
        return (count - borrowed + len(self.controls)) * len(self.spec.confirm_seed_list)

    def trial(self, number: int, varied: Varied) -> Trial:
        """Make the trial of a proposal.

        Raises:
            InputError: the workload rejects the parameters.
        """
        return make_trial(self.loaded, self.workload, number, varied, "trial")

    def seeds_of(self, trial: Trial) -> tuple[int, ...]:
        """Return the seeds that a trial is trained with."""
        if trial.phase == "confirm" and self.spec.is_sealed:
            return self.spec.confirm_seed_list
        return self.spec.seed_list

    def folds_of(self, trial: Trial) -> tuple[int, ...]:
        """Return the folds that each seed of a trial is trained with; 0: the data are not cut."""
        if self.spec.folds is None or trial.phase == "confirm":
            return (0,)
        return tuple(range(1, self.spec.folds + 1))

    @property
    def confirmed_from(self) -> int:
        """Number of the first trial of the confirmation."""
        if self.spec.ablate is not None and self.is_path:
            return most_raced(len(self.spec.ablate.components))
        return confirmed_from(self.spec, len(self.fixed))

    def confirmation(self, winners: Sequence[Trial]) -> tuple[Trial, ...]:
        """Return confirmation trials of the baseline and of the search's winners, best first.

        Of a tuned ablation: of each cell, with the best of its settings among ``winners``.
        """
        if self.spec.ablate is not None and self.spec.ablate.tune is not None:
            searched = [trial for trial in self.fixed if trial.phase == "search"]
            return tuned(self.spec.ablate, searched, winners, self.confirmed_from)
        baseline = next(trial for trial in self.fixed if trial.role == "baseline")
        chosen = (baseline, *winners)
        first = self.confirmed_from
        return tuple(
            dataclasses.replace(trial, number=first + place, phase="confirm")
            for place, trial in enumerate(chosen)
        )


def confirmed_from(spec: StudySpec, fixed: int) -> int:
    """Return the number that follows those of all trials of a study with ``fixed`` known trials."""
    return fixed if spec.is_fixed else spec.trials or MOST_PROPOSED


def make_plan(loaded: Loaded, workload: Workload) -> Plan:
    """Enumerate and check the trials of a study.

    Raises:
        InputError: with file, line and column: a parameter is unknown or impossible, two trials
            are the same, or the baseline is not one of the trials.
    """
    spec = loaded.spec
    check_axes(loaded)
    filled = fill(spec, workload)
    check_conditions(loaded, filled)
    ends: tuple[Trial, ...] = ()
    baseline: int | None = 0
    if spec.ablate is not None:
        fixed, baseline = make_ablation(loaded, spec.ablate, workload)
        after = len(fixed)
    elif spec.variance is not None:
        fixed = make_variance(loaded, spec.variance, workload)
    elif spec.is_fixed:
        fixed = make_grid(loaded, workload, filled)
        check_stop(loaded, comparisons=len(fixed) - 1)
    else:
        ends = ends_of_axes(loaded, workload, filled)
        fixed = (make_trial(loaded, workload, 0, baseline_of_search(loaded), "baseline"),)
    after = confirmed_from(spec, len(fixed)) + (spec.confirm.top + 1 if spec.confirm else 0)
    controls: tuple[Trial, ...] = ()
    if spec.variance is None:  # it compares no trials
        controls = make_controls(loaded, workload, [*fixed, *ends], first_number=after)
    if spec.ablate is not None:
        chosen = 0 if spec.confirm is None else spec.confirm.top + 1
        if spec.ablate.tune is not None:
            chosen = len(fixed) // spec.ablate.tune.trials
        fixed, controls = with_bare(loaded, fixed, controls, baseline, chosen=chosen)
        if spec.ablate.design == "path":
            fixed, controls = numbered_ends(spec.ablate, fixed, controls)
    if spec.folds is not None:  # reject parameters that rule them out before data are read
        fold_params(loaded, workload, fixed[0], spec.folds)
    known = [*fixed, *controls]
    if spec.ablate is not None and spec.ablate.tune is not None:
        known += tuned(spec.ablate, fixed, (), 0)
    check_claims(loaded, known)
    check_budget(loaded, fixed=len(fixed), controls=len(controls))
    epochs = None
    if spec.pruner == "hyperband":
        epochs = most_epochs(loaded, workload, [*fixed, *ends])
    code = CodeVersions(spec.workload, workload.code)
    plan = Plan(loaded, workload, fixed, controls, ends, epochs, code=code)
    if spec.is_chosen:
        check_chosen_budget(loaded, needed=plan.most_chosen_by + plan.most_confirmed)
    return plan


def most_epochs(loaded: Loaded, workload: Workload, trials: Sequence[Trial]) -> int:
    """Return the number of epochs of a study's longest run, from which hyperband sets its rungs.

    Raises:
        InputError: the workload does not report how many epochs a run has.
    """
    found = [workload.epochs(trial.params) for trial in trials]
    known = [epochs for epochs in found if epochs is not None]
    if len(known) < len(found):
        raise InputError(
            f"{loaded.source.where(('pruner',))}: pruner: hyperband needs the number of epochs of "
            f"a run, which {loaded.spec.workload!r} does not give; set pruner to median"
        )
    return max(known)
