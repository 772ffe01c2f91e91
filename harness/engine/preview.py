"""What a call would do, without doing it."""

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
    """``done``, ``failed`` (which stays so), ``pruned``, or ``to do``."""


class Preview(NamedTuple):
    """What a call would do."""

    study: str
    question: str
    runs: tuple[PlannedRun, ...]
    """In the order in which they would start."""
    proposed_later: int
    """Trials that a search has still to propose; an upper bound."""
    changes: tuple[str, ...]
    """Differences to the study of this name in the results; see ``harness.study.spec_diff``."""
    is_open: bool = False
    """Whether a budget alone will say how many there are."""


def preview(study: Path | Params, overrides: tuple[str, ...], results: Path) -> Preview:
    """What ``run_study`` would do. Nothing is trained and nothing written.

    Raises:
        InputError: the study or its data is wrong.
    """
    plan, schedule, table = load_study_state(study, overrides, results)
    skipped = {member.run_id for member in schedule.members if member.is_pruned}
    runs = []
    for task in schedule.planned:
        state = table.finished.get(task.run_id)
        shown = "pruned" if task.run_id in skipped else "to do" if state is None else state.state
        runs.append(PlannedRun(task.trial.label, task.run.seed, task.run_id, shown))
    later = schedule.total - len(runs)
    spec = plan.spec
    return Preview(
        study=spec.study,
        question=spec.question,
        runs=tuple(runs),
        proposed_later=later // len(spec.seed_list),
        is_open=schedule.is_open,
        changes=tuple(str(change) for change in changes_of(plan, results)),
    )
