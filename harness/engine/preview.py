"""Preview of ``harness run``: the runs that it would train."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness.engine.study_state import load_study_state
from harness.study.spec_diff import changes_of
from harness.workload import Params


class PlannedRun(NamedTuple):
    """A run in a preview."""

    trial: str
    seed: int
    run_id: str
    state: str
    """``done``, ``failed`` (and not retried), ``pruned``, or ``to do``."""
    fold: int = 0
    """Fold of the training data that it holds out; 0 if they are not cut."""


class Preview(NamedTuple):
    """The runs that ``harness run`` would train, and how the study has changed."""

    study: str
    question: str
    runs: tuple[PlannedRun, ...]
    """In starting order."""
    proposed_later: int
    """Upper bound on the trials that the search has yet to propose."""
    changes: tuple[str, ...]
    """Differences from the stored study of this name; see ``harness.study.spec_diff``."""
    is_open: bool = False
    """Whether only the time budget limits the number of trials."""
    confirmed_later: int = 0
    """Upper bound on the runs of a sealed grid's confirmation, if it has not begun."""
    raced_later: int = 0
    """Upper bound on the runs of a path's races and nodes that are not yet known."""
    later_seeds: int = 0
    """Upper bound on the runs that a study with ``stop`` adds for trials still undecided."""


def preview(study: Path | Params, overrides: tuple[str, ...], results: Path) -> Preview:
    """Return what ``run_study`` would do, without training or writing anything.

    Raises:
        InputError: the study or its data is invalid.
    """
    plan, schedule, table = load_study_state(study, overrides, results)
    skipped = {member.run_id for member in schedule.members if member.is_pruned}
    runs = []
    for task in schedule.planned:
        state = table.finished.get(task.run_id)
        shown = "pruned" if task.run_id in skipped else "to do" if state is None else state.state
        planned = PlannedRun(task.trial.label, task.run.seed, task.run_id, shown, task.fold)
        runs.append(planned)
    later = schedule.total - len(runs)
    spec = plan.spec
    return Preview(
        study=spec.study,
        question=spec.question,
        runs=tuple(runs),
        proposed_later=0 if spec.is_fixed else later // spec.runs_of_trial,
        confirmed_later=later if spec.is_fixed and spec.is_sealed and not plan.is_path else 0,
        raced_later=later if plan.is_path else 0,
        later_seeds=0 if spec.stop is None else later,
        is_open=schedule.is_open,
        changes=tuple(str(change) for change in changes_of(plan, results)),
    )
