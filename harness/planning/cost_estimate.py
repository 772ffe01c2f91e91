"""Estimate the time and disk space of runs, from finished runs or else from a probe."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from harness.engine.study_state import StudyState
from harness.planning.pilot_run import PilotRun, folder_size, run_pilot
from harness.records.event_log import read_spool
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState, replay
from harness.records.study_record import Member, read_study_record
from harness.records.trial import Trial

Basis = Literal["earlier runs", "a probe"]


class Cost(NamedTuple):
    """Cost of one run."""

    seconds: float
    size: float
    """In bytes."""


@dataclass(frozen=True)
class Measured:
    """Measured cost of a finished run."""

    trial: Trial
    cost: Cost


class CostEstimator:
    """Estimates what each trial's runs will cost."""

    def __init__(
        self, study: StudyState, measured: Sequence[Measured], probed: PilotRun | None
    ) -> None:
        """Use the measured costs; a probe of the baseline stands in if there are none."""
        self._workload = study.plan.workload
        self._measured = measured
        self._probe = probed

    @property
    def basis(self) -> Basis | None:
        """What the estimate rests on; None if nothing is known."""
        if any(each.trial.role != "control" for each in self._measured):
            return "earlier runs"
        return None if self._probe is None else "a probe"

    def of_run(self, trial: Trial) -> Cost | None:
        """Estimate the cost of one run of ``trial``; None if nothing is known.

        The estimate is the mean of the trial's own runs; else the cost per epoch of other trials
        times its number of epochs (controls report once); else what the probe gives.
        """
        own = [each.cost for each in self._measured if each.trial.trial_id == trial.trial_id]
        if own:
            return _mean(own)
        is_control = trial.role == "control"
        alike = [each for each in self._measured if (each.trial.role == "control") == is_control]
        epochs = self._epochs(trial)
        if alike and not is_control:
            if epochs is None:
                return _mean(each.cost for each in alike)
            return _mean(_scaled(each.cost, epochs / self._of(each)) for each in alike)
        if self._probe is not None and epochs is not None:
            return Cost(self._probe.seconds(epochs), self._probe.size(epochs))
        others = [each for each in self._measured if each.trial.role != "control"]
        if is_control and others and epochs is not None:
            return _mean(_scaled(each.cost, epochs / self._of(each)) for each in others)
        return None

    def _epochs(self, trial: Trial) -> int | None:
        return self._workload.epochs(trial.params)

    def _of(self, measured: Measured) -> int:
        return max(1, self._epochs(measured.trial) or 1)


def estimate_costs(
    study: StudyState, results: Path, *, threads: int, may_probe: bool
) -> CostEstimator:
    """Collect measured costs, and run a probe if nothing is known.

    Finished runs count, including those of this study under earlier code; a probe is run only if
    none of them was a training run.

    Raises:
        InputError: the probe failed.
        HarnessError: no run can be started.
    """
    measured = _measured(study, results)
    is_known = any(each.trial.role != "control" for each in measured)
    if is_known or not may_probe:
        return CostEstimator(study, measured, None)
    typical = study.plan.typical
    seed = study.plan.seeds_of(typical)[0]
    tasks = study.schedule.tasks.values()
    task = next(t for t in tasks if (t.trial.trial_id, t.run.seed) == (typical.trial_id, seed))
    code = study.plan.code.table(task.run.code)
    return CostEstimator(study, measured, run_pilot(task.run, threads=threads, code=code))


def _measured(study: StudyState, results: Path) -> list[Measured]:
    trials = {trial.trial_id: trial for trial in study.schedule.trials}
    states = {run_id: study.runs[run_id].state for run_id in study.schedule.tasks}
    found = _of_members(study.schedule.members, trials, states, results)
    if found:
        return found
    record = read_study_record(results, study.plan.spec.study)
    if record is None:
        return []
    spools = {each.run_id: spool_path(run_dir(results, each.run_id)) for each in record.members}
    states = {run_id: replay(read_spool(path)) for run_id, path in spools.items()}
    before = {trial.trial_id: trial for trial in record.trials}
    return _of_members(record.members, before, states, results)


def _of_members(
    members: Iterable[Member],
    trials: Mapping[str, Trial],
    states: Mapping[str, RunState],
    results: Path,
) -> list[Measured]:
    found = []
    for member in members:
        state = states.get(member.run_id)
        # A second attempt that resumed from a checkpoint covers only part of the time.
        if state and state.state == "done" and state.attempts == 1 and state.seconds is not None:
            size = folder_size(run_dir(results, member.run_id))
            found.append(Measured(trials[member.trial_id], Cost(state.seconds, size)))
    return found


def _scaled(cost: Cost, share: float) -> Cost:
    return Cost(cost.seconds * share, cost.size)  # most of a folder does not grow with epochs


def _mean(costs: Iterable[Cost]) -> Cost:
    seconds, sizes = zip(*costs, strict=True)
    return Cost(statistics.fmean(seconds), statistics.fmean(sizes))
