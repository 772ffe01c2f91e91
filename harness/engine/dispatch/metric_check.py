"""Whether a study's metric exists: what runs report is known when the first of them is finished."""

from __future__ import annotations

from harness.errors import InputError, nearest
from harness.records.run_state import RunState
from harness.records.trial import Trial
from harness.study.loading import Loaded


def check_metric(loaded: Loaded, trial: Trial, state: RunState) -> None:
    """Refuse a study that a finished run shows to ask for what there is not.

    Args:
        loaded: The study.
        trial: Whose run it is. A control need not have the metric, but shows which splits there
            are.
        state: How the run went.

    Raises:
        InputError: in one line, at the field that is to be changed.
    """
    spec, where = loaded.spec, loaded.source.where
    if trial.role == "control":
        if not spec.is_fixed and "val" not in _splits(state):
            raise InputError(
                f"{where(('sampler',))}: sampler: a search is scored on validation classes, and "
                "these data have none; give them a validation split, or set sampler to grid"
            )
        return
    splits = ("val", "test") if trial.phase == "confirm" else ("val",)
    wanted = [f"{split}/{spec.metric}" for split in splits]
    if not any(name in state.results for name in wanted):
        names = {name.partition("/")[2] for name in state.results} - {"", "queries", "dropped"}
        raise InputError(
            f"{where(('metric',))}: metric: no run reports {' or '.join(wanted)}; "
            f"{nearest(spec.metric, sorted(names))}; finished runs are kept"
        )
    if spec.stops_by_epochs and not state.curve:
        raise InputError(
            f"{where(('pruner',))}: pruner: no run reports val/{spec.metric} epoch by epoch, so "
            f"{spec.pruner} has nothing to go by; remove pruner, or set it to wilcoxon; finished "
            "runs are kept"
        )


def _splits(state: RunState) -> set[str]:
    """The splits on which a run was scored."""
    return {name.partition("/")[0] for name in state.results}
