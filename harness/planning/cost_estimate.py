"""Collect what is known about the cost of runs: finished runs, or else a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from harness.engine.forecast.run_costs import CostEstimator, Measured, measured_runs
from harness.engine.study_state import StudyState
from harness.planning.pilot_run import folder_size, run_pilot
from harness.records.event_log import read_spool
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState, replay
from harness.records.studies.study_record import read_study_record

Basis = Literal["earlier runs", "a probe"]


class KnownCosts(NamedTuple):
    """An estimator, and what it rests on."""

    costs: CostEstimator
    basis: Basis | None
    """None if nothing is known."""
    watts: float | None = None
    """Power during the probe, if there was one and the machine tells."""


def estimate_costs(
    study: StudyState, results: Path, *, threads: int, gpus: Sequence[str] = (), may_probe: bool
) -> KnownCosts:
    """Collect measured costs, and run a probe if nothing is known.

    Finished runs count, including those of this study under earlier code; a probe is run only if
    none of them was a training run.

    Raises:
        InputError: the probe failed.
        HarnessError: no run can be started.
    """
    measured = _measured(study, results)
    costs = CostEstimator(study, measured, None)
    if costs.is_measured or not may_probe:
        return KnownCosts(costs, "earlier runs" if costs.is_measured else None)
    typical = study.plan.typical
    seed = study.plan.seeds_of(typical)[0]
    tasks = study.schedule.tasks.values()
    task = next(t for t in tasks if (t.trial.trial_id, t.run.seed) == (typical.trial_id, seed))
    code = study.plan.code.table(task.run.code)
    # Alone, a run takes the first of the GPUs.
    probed, watts = run_pilot(task.run, threads=threads, code=code, gpus=gpus[:1])
    return KnownCosts(CostEstimator(study, measured, probed), "a probe", watts)


def _measured(study: StudyState, results: Path) -> list[Measured]:
    def size_of(run_id: str) -> float:
        return folder_size(run_dir(results, run_id))

    trials = {trial.trial_id: trial for trial in study.schedule.trials}
    states: Mapping[str, RunState] = {
        run_id: study.runs[run_id].state for run_id in study.schedule.tasks
    }
    found = measured_runs(study.schedule.members, trials, states, size_of)
    if found:
        return found
    record = read_study_record(results, study.plan.spec.study)
    if record is None:
        return []
    spools = {each.run_id: spool_path(run_dir(results, each.run_id)) for each in record.members}
    states = {run_id: replay(read_spool(path)) for run_id, path in spools.items()}
    before = {trial.trial_id: trial for trial in record.trials}
    return measured_runs(record.members, before, states, size_of)
