"""Detects changes to a study that already has results, and decides whether it may continue.

A study's name stands for its content: one table, one comparison with one baseline, one family of
tests. A changed file under the same name is rejected, with the differences. A change that only adds
trials or seeds can be accepted, since every existing run keeps its meaning. Results are never
removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from harness.errors import InputError
from harness.records.studies.study_record import StudyRecord, read_study_record
from harness.records.trial import Trial, flat_set
from harness.study.axes import same_value
from harness.study.loading import Loaded
from harness.study.spec import StudySpec
from harness.study.trials.plan import Plan, make_plan
from harness.study.yaml_source import Source
from harness.workload import JsonValue, Workload

FREE = frozenset({"question", "limits", "budget", "train_together", "claims"})
"""Fields that affect no result, so they may change at any time. Claims have a rule of their own:
see ``harness.study.claim_changes``."""
_OF_TRIALS = frozenset(
    {"base", "search", "variants", "ablate", "variance", "zip", "forbid", "seeds", "baseline"}
)
"""Fields of a grid whose changes are judged by the resulting trials and seeds."""
_ORDERED = ("search", "variants")
_COULD_CHANGE = "its winners have been confirmed on the test classes, and they could change"


class Change(NamedTuple):
    """A field that differs between two versions of a study."""

    field: str
    """Dotted key."""
    old: JsonValue
    """None if not set."""
    new: JsonValue

    def __str__(self) -> str:
        """Describe the change in one line, such as ``seeds: 2 -> 4``."""
        return f"{self.field}: {_show(self.old)} -> {_show(self.new)}"


def diff_specs(old: Mapping[str, JsonValue], new: StudySpec) -> tuple[Change, ...]:
    """List the changes since a study was recorded, leaving out those that affect no result.

    Args:
        old: The recorded study.
        new: The current study.
    """
    spec = _read(old)
    before = old if spec is None else spec.model_dump(mode="json")
    after = new.model_dump(mode="json")
    flat_before, flat_after = flat_set(before), flat_set(after)
    changes = [
        Change(field, flat_before.get(field), flat_after.get(field))
        for field in dict.fromkeys([*flat_before, *flat_after])
        if not same_value(flat_before.get(field), flat_after.get(field))
        and field.partition(".")[0] not in FREE
    ]
    for field in _ORDERED:
        one, other = list(_mapping(before, field)), list(_mapping(after, field))
        if one != other and set(one) == set(other):
            changes.append(Change(f"{field} (order)", [*one], [*other]))
    return tuple(each for each in changes if not _is_in_other_words(each, spec, new))


def changes_of(plan: Plan, results: Path) -> tuple[Change, ...]:
    """List the changes since the study of this name was last run in ``results``."""
    record = read_study_record(results, plan.spec.study)
    return () if record is None else diff_specs(record.spec, plan.spec)


def refuse_incompatible(
    plan: Plan, record: StudyRecord | None, results: Path, *, extend: bool
) -> None:
    """Reject a study that differs from the one recorded under its name in ``results``.

    Args:
        plan: The current study.
        record: The study as run before; None if it was not.
        results: The results folder.
        extend: Accept changes that only add trials or seeds.

    Raises:
        InputError: one line per difference, and the remedy.
    """
    if record is None or not (changes := diff_specs(record.spec, plan.spec)):
        return
    obstacle = _obstacle(plan, record, changes)
    if obstacle is None and extend:
        return
    where = plan.loaded.source.where(("study",))
    another = "give the changed study another name (in the file, or with --set study=NAME)"
    if obstacle is None:
        remedy = f"it only adds trials or seeds: accept that with --extend, or {another}"
    else:
        remedy = f"{another}; --extend accepts new trials and seeds, but {obstacle}"
    lines = [
        f"{where}: study {plan.spec.study!r} differs from the one in {results}:",
        *(f"  {change}" for change in changes),
        remedy,
    ]
    raise InputError("\n".join(lines))


def _obstacle(plan: Plan, record: StudyRecord, changes: Iterable[Change]) -> str | None:
    """Explain why a study does not extend its record; None if it does."""
    if (old := _read(record.spec)) is None:
        return "the study in the results was written by another version of this program"
    touched = {change.field.partition(".")[0].partition(" ")[0] for change in changes}
    if old.is_fixed and plan.spec.is_fixed:
        if others := sorted(touched - _OF_TRIALS):
            return f"{others[0]} has changed"
        if old.is_sealed and not old.is_chosen and _is_confirmed(record):
            return _COULD_CHANGE
        if old.is_chosen != plan.spec.is_chosen:
            return "what is trained would be chosen in another way"
        if old.is_chosen and touched != {"seeds"}:
            return "what it trains was chosen with the old ones"
        return _lost_of_grid(plan, old, plan.workload)
    allowed = {"trials", "confirm"} | (set() if old.is_adaptive else {"seeds"})
    if others := sorted(touched - allowed):
        return f"{others[0]} has changed, and the proposals of a search depend on it"
    return _lost_of_search(plan.spec, old, record)


def _lost_of_grid(plan: Plan, old: StudySpec, workload: Workload) -> str | None:
    """Name the first thing that a grid would lose; None if it loses nothing."""
    try:
        before = make_plan(Loaded(old, Source(old.model_dump(mode="json"), {}, "")), workload)
    except InputError:
        return "the workload no longer accepts the parameters of the existing trials"
    kept = {trial.trial_id for trial in plan.fixed}
    if lost := [trial for trial in before.fixed if trial.trial_id not in kept]:
        return f"trial {lost[0].label!r} would be gone"
    if _baseline(before).trial_id != _baseline(plan).trial_id:
        return f"the baseline would be {_baseline(plan).label!r}, not {_baseline(before).label!r}"
    return _lost_seeds(old.seed_list, plan.spec.seed_list) or (
        _lost_seeds(old.confirm_seed_list, plan.spec.confirm_seed_list)
    )


def _lost_of_search(new: StudySpec, old: StudySpec, record: StudyRecord) -> str | None:
    """Name the first thing that a search would lose; None if it loses nothing."""
    if (new.trials or 0) < (old.trials or 0):
        return "there would be fewer trials"
    if lost := _lost_seeds(old.seed_list, new.seed_list):
        return lost
    is_longer = new.trials != old.trials or set(new.seed_list) != set(old.seed_list)
    if is_longer and _is_confirmed(record):
        return _COULD_CHANGE
    if old.confirm is None:
        return None
    if new.confirm is None or new.confirm.top < old.confirm.top:
        return "fewer winners would be confirmed"
    return _lost_seeds(old.confirm_seed_list, new.confirm_seed_list)


def _is_confirmed(record: StudyRecord) -> bool:
    """Return whether a confirmation has begun."""
    return any(trial.phase == "confirm" and trial.role != "control" for trial in record.trials)


def _lost_seeds(old: tuple[int, ...], new: tuple[int, ...]) -> str | None:
    lost = sorted(set(old) - set(new))
    return f"seed {lost[0]} would be gone" if lost else None


def _baseline(plan: Plan) -> Trial:
    return next(trial for trial in plan.fixed if trial.role == "baseline")


def _read(spec: Mapping[str, JsonValue]) -> StudySpec | None:
    """Read a recorded study; None if another version of this program wrote it.

    Fields that were added since have their defaults.
    """
    try:
        return StudySpec.model_validate(spec)
    except ValidationError:
        return None


def _is_in_other_words(change: Change, old: StudySpec | None, new: StudySpec) -> bool:
    """Return whether a change of seeds only rewrites a number as an equivalent list, or back."""
    if old is None:
        return False
    if change.field == "seeds":
        return set(old.given_seeds) == set(new.given_seeds)
    return change.field == "confirm.seeds" and (
        set(old.confirm_seed_list) == set(new.confirm_seed_list)
    )


def _mapping(value: Mapping[str, JsonValue], field: str) -> Mapping[str, JsonValue]:
    inner = value.get(field)
    return inner if isinstance(inner, dict) else {}


def _show(value: JsonValue) -> str:
    return "not set" if value is None else json.dumps(value)
