"""Checks a study's metric against what its first finished run reports."""

from __future__ import annotations

from harness.errors import InputError, nearest
from harness.records.run_state import RunState
from harness.records.studies.objectives import parameter
from harness.records.trial import Trial, flat
from harness.study.loading import Loaded


def check_metric(loaded: Loaded, trial: Trial, state: RunState) -> None:
    """Refuse a study whose metric, split or curve is missing from a finished run.

    Args:
        loaded: The study.
        trial: The trial of the run. A control need not report the metric, but shows which splits
            exist.
        state: The state of the finished run.

    Raises:
        InputError: in one line that names the field to change.
    """
    spec, where = loaded.spec, loaded.source.where
    if trial.role == "control":
        if spec.is_sealed and "val" not in _splits(state):
            field, remedy = ("confirm", "remove it") if spec.is_fixed else ("sampler", "use grid")
            if spec.is_chosen:
                field, remedy = "ablate", "use another design, without tune"
            raise InputError(
                f"{where((field,))}: {field}: a search is scored on validation classes, and these "
                f"data have none; give them a validation split, or {remedy}"
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
    for position, objective in enumerate(spec.named_objectives[1:], 1):
        name, numbers = objective.name, flat(trial.params)
        reported = [result for result in (f"val/{name}", name) if result in state.results]
        if parameter(trial.params, name) is None and not reported:
            known = {result.removeprefix("val/") for result in state.results} | numbers.keys()
            raise InputError(
                f"{where(('metric', position))}: metric.{position}: no run reports {name} on "
                f"validation classes, and no parameter has this name; "
                f"{nearest(name, sorted(known))}; finished runs are kept"
            )
    for position, claim in enumerate(spec.claimed if trial.phase == "confirm" else ()):
        if f"test/{claim.metric}" not in state.results:
            names = {name.removeprefix("test/") for name in state.results if "test/" in name}
            raise InputError(
                f"{where(('claims', position, 'metric'))}: claims.{position}.metric: no run "
                f"reports test/{claim.metric}; {nearest(claim.metric, sorted(names))}; finished "
                "runs are kept"
            )
    if spec.stops_by_epochs and not state.curve:
        raise InputError(
            f"{where(('pruner',))}: pruner: no run reports val/{spec.metric} epoch by epoch, so "
            f"{spec.pruner} has nothing to go by; remove pruner, or set it to wilcoxon; finished "
            "runs are kept"
        )


def _splits(state: RunState) -> set[str]:
    """Return the splits on which a run was scored."""
    return {name.partition("/")[0] for name in state.results}
