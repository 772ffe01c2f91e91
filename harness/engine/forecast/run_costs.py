"""Estimate what each run of a study costs, from finished runs or else from a run's first epochs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from harness.engine.forecast.step_times import StepTimes
from harness.engine.study_state import StudyState
from harness.records.run_state import RunState
from harness.records.studies.study_record import Member
from harness.records.trial import Trial

SizeOf: TypeAlias = Callable[[str], float]
"""Run id -> size of its folder in bytes."""
_USUAL = (0.1, 0.9)
"""The share of earlier runs below the faster and the slower end of a range."""


class Cost(NamedTuple):
    """Cost of one run."""

    low_s: float
    high_s: float
    """Its duration lies between these, if the machine is as busy as it was."""
    size: float
    """In bytes."""

    @property
    def seconds(self) -> float:
        """The middle of the range."""
        return (self.low_s + self.high_s) / 2


@dataclass(frozen=True)
class Measured:
    """Measured cost of a finished run."""

    trial: Trial
    seconds: float
    size: float


class Probed(NamedTuple):
    """The first epochs of a run."""

    times: StepTimes
    once_bytes: int = 0
    """Size of files that a run writes once, such as its checkpoint."""
    epoch_bytes: int = 0
    """Growth of spool and tables per epoch."""

    def cost(self, epochs: int) -> Cost:
        """Estimate the cost of a run that reports this often."""
        size = self.once_bytes + epochs * self.epoch_bytes
        return Cost(self.times.low(epochs), self.times.high(epochs), size)


class CostEstimator:
    """Estimates what each trial's runs will cost."""

    def __init__(
        self, study: StudyState, measured: Sequence[Measured], probed: Probed | None
    ) -> None:
        """Use the measured costs; the first epochs of a run stand in if there are none."""
        self._workload = study.plan.workload
        self._probed = probed
        self._own: defaultdict[str, list[Measured]] = defaultdict(list)
        for each in measured:
            self._own[each.trial.trial_id].append(each)
        self._controls = [each for each in measured if each.trial.role == "control"]
        self._trained = [each for each in measured if each.trial.role != "control"]
        self._low, self._high = self._variation()

    @property
    def is_measured(self) -> bool:
        """Whether any training run was measured."""
        return bool(self._trained)

    def of_run(self, trial: Trial) -> Cost | None:
        """Estimate the cost of one run of ``trial``; None if nothing is known.

        The estimate is the mean of the trial's own runs; else the cost per epoch of other trials
        times its number of epochs (controls report once); else what the first epochs give. A range
        from finished runs holds 80 % of them, as multiples of the mean of their trial.
        """
        if own := self._own.get(trial.trial_id):
            return self._cost(statistics.fmean(each.seconds for each in own), own)
        is_control = trial.role == "control"
        epochs = self._epochs(trial)
        if self._trained and not is_control:
            return self._scaled(self._trained, epochs)
        if self._probed is not None and epochs is not None:
            return self._probed.cost(epochs)
        if is_control and self._trained and epochs is not None:
            return self._scaled(self._trained, epochs)
        return None

    def _scaled(self, measured: Sequence[Measured], epochs: int | None) -> Cost:
        """Return the cost of a run with this many epochs; most of a folder does not grow."""
        if epochs is None:
            return self._cost(statistics.fmean(each.seconds for each in measured), measured)
        return self._cost(epochs * statistics.fmean(map(self._pace, measured)), measured)

    def _cost(self, seconds: float, alike: Sequence[Measured]) -> Cost:
        size = statistics.fmean(each.size for each in alike)
        return Cost(self._low * seconds, self._high * seconds, size)

    def _variation(self) -> tuple[float, float]:
        """Return how fast and how slow runs are, as multiples of the mean of equal ones."""
        groups = [own for own in self._own.values() if len(own) > 1] or [self._trained]
        shares = [
            pace / mean
            for group in groups
            if (mean := statistics.fmean(map(self._pace, group)) if group else 0.0)
            for pace in map(self._pace, group)
        ]
        low, high = np.quantile(shares, _USUAL) if shares else (1.0, 1.0)
        return float(low), float(high)

    def _pace(self, measured: Measured) -> float:
        """Return the seconds that a measured run took per epoch."""
        return measured.seconds / max(1, self._epochs(measured.trial) or 1)

    def _epochs(self, trial: Trial) -> int | None:
        return self._workload.epochs(trial.params)


class TotalTime(NamedTuple):
    """Seconds until several runs are done."""

    low_s: float
    high_s: float

    @property
    def middle_s(self) -> float:
        """The middle of the range."""
        return (self.low_s + self.high_s) / 2


def costs_to_come(study: StudyState, costs: CostEstimator, typical: Cost) -> list[Cost]:
    """Return the cost of every run still to do; runs not yet proposed get the typical cost."""
    schedule, finished = study.schedule, study.runs.finished
    waiting = [task for run_id, task in schedule.tasks.items() if run_id not in finished]
    trials = {task.trial.trial_id: task.trial for task in waiting}
    by_trial = {key: costs.of_run(trial) or typical for key, trial in trials.items()}
    later = max(0, schedule.total - len(schedule.tasks) - schedule.skipped)
    return [*(by_trial[task.trial.trial_id] for task in waiting), *[typical] * later]


def total_time(runs: Sequence[Cost], workers: int) -> TotalTime:
    """Return the time that the runs take on this many workers."""
    slots = max(1, min(workers, len(runs)))

    def total(seconds: Sequence[float]) -> float:
        return max(sum(seconds) / slots, *seconds)

    return TotalTime(total([run.low_s for run in runs]), total([run.high_s for run in runs]))


def measured_runs(
    members: Iterable[Member],
    trials: Mapping[str, Trial],
    states: Mapping[str, RunState],
    size_of: SizeOf,
) -> list[Measured]:
    """Return the costs of finished runs.

    Args:
        members: The runs of a study.
        trials: Its trials, by id.
        states: Run id -> state.
        size_of: Measures the folder of a run.
    """
    found = []
    for member in members:
        state = states.get(member.run_id)
        # A second attempt that resumed from a checkpoint covers only part of the time.
        if state and state.state == "done" and state.attempts == 1 and state.seconds is not None:
            size = size_of(member.run_id)
            found.append(Measured(trials[member.trial_id], state.seconds, size))
    return found
