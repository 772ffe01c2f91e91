"""Notes a forecast in the record of a study as soon as its runs allow one, and what they took.

The first runs of a call are its probe: their first epochs, or the first run that ends. So a study
starts at once, and the forecast costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.engine.dispatch.attempt import Attempt
from harness.engine.forecast.run_costs import (
    CostEstimator,
    Probed,
    costs_to_come,
    measured_runs,
    total_time,
)
from harness.engine.forecast.step_times import REPORTS, StepTimes, step_times
from harness.engine.study_state import StudyState
from harness.records.event_log import read_spool
from harness.records.events import utc_now
from harness.records.folders import spool_path
from harness.records.studies.forecasts import NotedForecast, closed


@dataclass
class ForecastNotes:
    """The forecasts of a study: those of earlier calls, and the one of this call."""

    noted: tuple[NotedForecast, ...] = ()
    """Oldest first."""
    last: NotedForecast | None = None
    """The forecast whose runs this call has finished."""

    def note(
        self, study: StudyState, active: Iterable[Attempt], *, workers: int, spent_s: float
    ) -> bool:
        """Make a forecast if the study has none for its runs, and enough is known for one.

        Args:
            study: The study.
            active: The running attempts.
            workers: The most runs at once.
            spent_s: Time that the study has taken so far.

        Returns:
            Whether there is a new one.
        """
        total = study.schedule.total
        if any(each.total >= total for each in self.noted):
            return False
        costs = _known(study, active)
        typical = None if costs is None else costs.of_run(study.plan.typical)
        if costs is None or typical is None:
            return False
        runs = costs_to_come(study, costs, typical)
        if not runs:
            return False
        low, high = total_time(runs, workers)
        new = NotedForecast(utc_now(), total, len(runs), low, high, spent_s)
        self.noted = (*self.noted, new)
        return True

    def close(self, spent_s: float) -> None:
        """Note what the runs took, once all are done.

        Args:
            spent_s: Time that the study has taken so far.
        """
        self.noted, self.last = closed(self.noted, spent_s)


def _known(study: StudyState, active: Iterable[Attempt]) -> CostEstimator | None:
    """Return an estimator from the finished runs, else from the active ones; None without any."""
    trials = {trial.trial_id: trial for trial in study.schedule.trials}
    measured = measured_runs(study.schedule.members, trials, study.runs.finished, lambda _: 0.0)
    found = CostEstimator(study, measured, None)
    if found.is_measured:
        return found
    for attempt in active:
        row = study.runs[attempt.job.run_id]
        if row.task.trial.role == "control" or row.state.epochs < REPORTS:
            continue
        if times := step_times(read_spool(spool_path(row.directory))):
            share = attempt.job.together
            each = StepTimes(*(seconds / share for seconds in times))
            return CostEstimator(study, measured, Probed(each))
    return None
